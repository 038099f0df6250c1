#include "dtype.h"

#include "cleanup.h"

#include <string.h>

/* The usual ones first: names are searched in this order. */
static const struct dtype dtypes[] = {
        {1, 4, "float32", "float", "F32"},
        {14, 2, "bfloat16", "bfloat16", "BF16"},
        {19, 2, "float16", "half", "F16"},
        {9, 8, "int64", "int64", "I64"},
        {3, 4, "int32", "int32", "I32"},
        {2, 8, "float64", "double", "F64"},
        {4, 1, "uint8", "uint8", "U8"},
        {10, 1, "bool", "bool", "BOOL"},
        {5, 2, "int16", "int16", "I16"},
        {6, 1, "int8", "int8", "I8"},
        {7, 0, "string", "string", NULL},
        {8, 8, "complex64", "complex64", "C64"},
        {11, 1, "qint8", "qint8", NULL},
        {12, 1, "quint8", "quint8", NULL},
        {13, 4, "qint32", "qint32", NULL},
        {15, 2, "qint16", "qint16", NULL},
        {16, 2, "quint16", "quint16", NULL},
        {17, 2, "uint16", "uint16", "U16"},
        {18, 16, "complex128", "complex128", NULL},
        {21, 0, "variant", "variant", NULL},
        {22, 4, "uint32", "uint32", "U32"},
        {23, 8, "uint64", "uint64", "U64"},
        {24, 1, "float8_e5m2", "float8_e5m2", "F8_E5M2"},
        {25, 1, "float8_e4m3fn", "float8_e4m3fn", "F8_E4M3"},
        {26, 1, "float8_e4m3fnuz", "float8_e4m3fnuz", "F8_E4M3FNUZ"},
        {27, 1, "float8_e4m3b11fnuz", "float8_e4m3b11fnuz", NULL},
        {28, 1, "float8_e5m2fnuz", "float8_e5m2fnuz", "F8_E5M2FNUZ"},
        {29, 1, "int4", "int4", NULL},
        {30, 1, "uint4", "uint4", NULL},
        {31, 1, "int2", "int2", NULL},
        {32, 1, "uint2", "uint2", NULL},
        {33, 1, "float4_e2m1fn", "float4_e2m1fn", NULL},
        {DTYPE_BEYOND_TENSORFLOW, 1, "float8_e8m0fnu", NULL, "F8_E8M0"},
};

const struct dtype *dtype_by_number(int number)
{
        for (size_t i = 0; i < ARRAY_SIZE(dtypes); i++)
                if (dtypes[i].number == number)
                        return &dtypes[i];
        return NULL;
}

const struct dtype *dtype_by_name(const char *name)
{
        for (size_t i = 0; i < ARRAY_SIZE(dtypes); i++)
                if (strcmp(dtypes[i].name, name) == 0)
                        return &dtypes[i];
        return NULL;
}

const struct dtype *dtype_by_safetensors(const char *name)
{
        for (size_t i = 0; i < ARRAY_SIZE(dtypes); i++)
                if (dtypes[i].safetensors && strcmp(dtypes[i].safetensors, name) == 0)
                        return &dtypes[i];
        return NULL;
}
