/* The element types of tensors, one table: numpy's names (and ml_dtypes'), sizes, TensorFlow's
 * numbers and safetensors' names.  The numbers are TensorFlow's DataType, so ckpt.h's enum has them
 * too; types that TensorFlow lacks are numbered from DTYPE_BEYOND_TENSORFLOW on and are only ever
 * read. */
#pragma once

#include <stdint.h>

#define DTYPE_BEYOND_TENSORFLOW 1000

struct dtype {
        int number;              /* TensorFlow's DataType */
        uint32_t bytes;          /* of one element; 0: varying (string, variant) */
        const char *name;        /* "float32", "bfloat16", "float8_e4m3fn", "string" */
        const char *tensorflow;  /* as its messages print it: "float", "half"; NULL: it has none */
        const char *safetensors; /* "F32", "BF16"; NULL: it has none */
};

#define DTYPE_STRING 7
#define DTYPE_VARIANT 21

/* NULL: unknown; "ref" types and resource are unknown */
const struct dtype *dtype_by_number(int number);
const struct dtype *dtype_by_name(const char *name);
const struct dtype *dtype_by_safetensors(const char *name);
