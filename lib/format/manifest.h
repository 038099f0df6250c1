/* The manifest: names, dtypes, shapes (and slice of the full tensor) of what one rank saves, in
 * the order of the job.  Parsed from untrusted JSON; owner frees.  Immutable after its layout is
 * made. */
#pragma once

#include "cleanup.h"
#include "diag.h"
#include "dtype.h"
#include "region.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tensor {
        char *name;
        const struct dtype *dtype;
        int n_dims;
        int64_t *dims;      /* of this part */
        int64_t *full_dims; /* of the full tensor, NULL: this is all of it */
        int64_t *start; /* n_dims, where the part begins in the full tensor; NULL with full_dims */
        uint64_t bytes; /* of this part, row-major */
        int64_t offset; /* in the data file; -1: a lower rank stores it */
        int owner_rank; /* the rank that stores it; its own unless offset is -1 */
        size_t owner_index; /* its index in that rank's manifest */
};

struct manifest {
        size_t n;
        struct tensor *tensors;
        size_t *by_name;     /* indices sorted by name, then start */
        uint64_t bytes;      /* of the data file, once laid out */
        uint64_t head_bytes; /* of the data file's header, once laid out (safetensors) */
};

/* JSON text of []Tensor (io.ckptd.Jobs).  Refused by name: unknown dtype, string (no image), a
 * name twice, empty or over LIMIT_NAME_BYTES or with a NUL, negative dims, products over
 * LIMIT_STATE_BYTES, a slice that does not fit its shape. -EINVAL, -E2BIG, -ENOMEM. */
int manifest_parse(const char *text, size_t length, struct manifest **ret, struct diag *d);
int manifest_from_json(const json_t *array, struct manifest **ret, struct diag *d);
void manifest_free(struct manifest *m);
DEFINE_FREEP(struct manifest, manifest_free)

/* Where the tensor lies in the full one; borrows its arrays. */
struct region manifest_region(const struct tensor *t, size_t id);
/* TensorFlow's slice spec ("4 3 0,2:-") for a part of these dims.  -EINVAL. */
int manifest_parse_slice(const char *spec, struct tensor *t, struct diag *d);
const struct tensor *manifest_find(const struct manifest *m,
                                   const char *name); /* first part of that name */
/* Same names, dtypes, shapes and slices in the same order? */
bool manifest_equal(const struct manifest *a, const struct manifest *b);

/* Decides which rank stores a whole tensor that several name: the lowest; the others get offset -1.
 * -EINVAL names the tensor and both ranks where shape or dtype disagree, or parts overlap. */
int manifest_share(struct manifest *const *ranks, size_t n_ranks, struct diag *d);
