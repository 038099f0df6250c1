#include "ctl-values.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#define DIGITS_MIN 6   /* so that 100 is no 1e+02 */
#define DIGITS_MAX 17  /* tell every double from its neighbours */
#define SMALL_DIGITS 5 /* tell every float of at most 11 bits of mantissa from its neighbours */

/* Floating point smaller than C's: sign, exponent, mantissa. */
enum specials { IEEE, ONLY_NAN, MINUS_ZERO_IS_NAN };

static const struct small_float {
        const char *name;
        unsigned exponent_bits, mantissa_bits;
        int bias;
        enum specials specials;
} small_floats[] = {
        {"bfloat16", 8, 7, 127, IEEE},
        {"float16", 5, 10, 15, IEEE},
        {"float8_e5m2", 5, 2, 15, IEEE},
        {"float8_e4m3fn", 4, 3, 7, ONLY_NAN},
        {"float8_e4m3fnuz", 4, 3, 8, MINUS_ZERO_IS_NAN},
        {"float8_e4m3b11fnuz", 4, 3, 11, MINUS_ZERO_IS_NAN},
        {"float8_e5m2fnuz", 5, 2, 16, MINUS_ZERO_IS_NAN},
};

static bool is_nan(const struct small_float *f, bool negative, unsigned exponent, unsigned mantissa)
{
        unsigned exponent_max = (1u << f->exponent_bits) - 1,
                 mantissa_max = (1u << f->mantissa_bits) - 1;

        switch (f->specials) {
        case IEEE:
                return exponent == exponent_max && mantissa != 0;
        case ONLY_NAN:
                return exponent == exponent_max && mantissa == mantissa_max;
        case MINUS_ZERO_IS_NAN:
                return negative && exponent == 0 && mantissa == 0;
        }
        return false;
}

static double small_value(const struct small_float *f, unsigned bits)
{
        unsigned exponent_max = (1u << f->exponent_bits) - 1;
        unsigned mantissa = bits & ((1u << f->mantissa_bits) - 1);
        unsigned exponent = (bits >> f->mantissa_bits) & exponent_max;
        bool negative = bits >> (f->mantissa_bits + f->exponent_bits);
        double sign = negative ? -1 : 1, scale = ldexp(1, -(int)f->mantissa_bits);

        if (is_nan(f, negative, exponent, mantissa))
                return NAN;
        if (f->specials == IEEE && exponent == exponent_max)
                return sign * INFINITY;
        if (exponent == 0)
                return sign * ldexp(mantissa * scale, 1 - f->bias);
        return sign * ldexp(1 + mantissa * scale, (int)exponent - f->bias);
}

/* The fewest digits that read back as the same number of its type. */
static void float_text(char out[static CTL_VALUE_TEXT_MAX], double value, bool is_float)
{
        for (int n = DIGITS_MIN; n <= DIGITS_MAX; n++) {
                double back;

                snprintf(out, CTL_VALUE_TEXT_MAX, "%.*g", n, value);
                back = is_float ? (double)strtof(out, NULL) : strtod(out, NULL);
                if (back == value || isnan(value))
                        break;
        }
        if (isnan(value))
                strcpy(out, "nan");
}

static void small_text(char out[static CTL_VALUE_TEXT_MAX], double value)
{
        if (isnan(value))
                strcpy(out, "nan");
        else
                snprintf(out, CTL_VALUE_TEXT_MAX, "%.*g", SMALL_DIGITS, value);
}

static void text_float32(char *out, const void *p)
{
        float v;

        memcpy(&v, p, sizeof(v));
        float_text(out, (double)v, true);
}

static void text_float64(char *out, const void *p)
{
        double v;

        memcpy(&v, p, sizeof(v));
        float_text(out, v, false);
}

/* "1+2j" */
static void text_complex(char *out, const void *p, size_t half,
                         void (*text)(char *out, const void *p))
{
        char imaginary[CTL_VALUE_TEXT_MAX];
        size_t n;

        text(out, p);
        text(imaginary, (const char *)p + half);
        n = strlen(out);
        snprintf(out + n, CTL_VALUE_TEXT_MAX - n, "%s%.40sj", imaginary[0] == '-' ? "" : "+",
                 imaginary);
}

static void text_complex64(char *out, const void *p)
{
        text_complex(out, p, 4, text_float32);
}

static void text_complex128(char *out, const void *p)
{
        text_complex(out, p, 8, text_float64);
}

static void text_bool(char *out, const void *p)
{
        strcpy(out, *(const uint8_t *)p ? "True" : "False");
}

static const struct {
        const char *name;
        void (*text)(char *out, const void *p);
} others[] = {
        {"float32", text_float32},       {"float64", text_float64}, {"complex64", text_complex64},
        {"complex128", text_complex128}, {"bool", text_bool},
};

/* int8, uint16, qint32 …: whether it has a sign says the name. */
static bool is_integer(const char *name, bool *ret_signed)
{
        name += *name == 'q';
        *ret_signed = *name != 'u';
        name += *name == 'u';
        return strncmp(name, "int", 3) == 0;
}

static void text_integer(char *out, const struct dtype *t, const void *p, bool is_signed)
{
        unsigned shift = 64 - 8 * t->bytes;
        uint64_t bits = 0;

        memcpy(&bits, p, t->bytes);
        if (is_signed)
                snprintf(out, CTL_VALUE_TEXT_MAX, "%" PRId64, (int64_t)(bits << shift) >> shift);
        else
                snprintf(out, CTL_VALUE_TEXT_MAX, "%" PRIu64, bits);
}

const char *ctl_value_text(char out[static CTL_VALUE_TEXT_MAX], const struct dtype *t,
                           const void *p)
{
        uint16_t bits = 0;
        bool is_signed;

        for (size_t i = 0; i < ARRAY_SIZE(others); i++)
                if (strcmp(others[i].name, t->name) == 0) {
                        others[i].text(out, p);
                        return out;
                }
        if (t->bytes > 0 && t->bytes <= 8 && is_integer(t->name, &is_signed)) {
                text_integer(out, t, p, is_signed);
                return out;
        }
        if (t->bytes <= sizeof(bits))
                memcpy(&bits, p, t->bytes);
        snprintf(out, CTL_VALUE_TEXT_MAX, "0x%0*x", 2 * (int)t->bytes, bits);
        for (size_t i = 0; i < ARRAY_SIZE(small_floats); i++)
                if (strcmp(small_floats[i].name, t->name) == 0)
                        small_text(out, small_value(&small_floats[i], bits));
        return out;
}
