#include "state-file.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define DIGITS_MAX 17 /* enough for every double */
#define NUMBER_MAX_BYTES 64
#define FIXED_EXPONENT_MAX 16 /* from here on, and below -4, Python prints an exponent */

/* Everything that is not plain ASCII as protobuf's text format has escaped it from its
 * beginning. */
static int append_string(struct buffer *b, const char *text)
{
        static const char escaped[] = "\t\n\r\"'\\", letters[] = "tnr\"'\\";
        int r = buffer_append(b, "\"", 1);

        for (const char *at = text; *at && r >= 0; at++) {
                const char *known = strchr(escaped, *at);
                uint8_t c = (uint8_t)*at;

                if (known)
                        r = buffer_printf(b, "\\%c", letters[known - escaped]);
                else if (c < 0x20 || c >= 0x7f)
                        r = buffer_printf(b, "\\%03o", c);
                else
                        r = buffer_append(b, at, 1);
        }
        return r < 0 ? r : buffer_append(b, "\"", 1);
}

/* Fixed notation of DIGITS * 10^(exponent - n + 1), always with a point. */
static int append_fixed(struct buffer *b, const char *digits, int n, int exponent)
{
        if (exponent < 0)
                return buffer_printf(b, "0.%.*s%s", -exponent - 1, "000", digits);
        if (exponent + 1 >= n)
                return buffer_printf(b, "%s%.*s.0", digits, exponent + 1 - n, "0000000000000000");
        return buffer_printf(b, "%.*s.%s", exponent + 1, digits, digits + exponent + 1);
}

/* Prints the fewest digits that read back as v; returns how many.  printf rounds a tie to the even
 * digit, and beside a power of two only the odd one above it may read back. */
static int shortest(char text[static NUMBER_MAX_BYTES], double v)
{
        int n;

        for (n = 1; n < DIGITS_MAX; n++) {
                char *last;

                snprintf(text, NUMBER_MAX_BYTES, "%.*e", n - 1, v);
                if (strtod(text, NULL) == v)
                        return n;
                last = strchr(text, 'e') - 1;
                if (*last < '9') {
                        ++*last;
                        if (strtod(text, NULL) == v)
                                return n;
                }
        }
        snprintf(text, NUMBER_MAX_BYTES, "%.*e", n - 1, v);
        return n;
}

/* As Python's str(float): the shortest decimal that reads back as the same number. */
static int append_double(struct buffer *b, double v)
{
        char text[NUMBER_MAX_BYTES], digits[DIGITS_MAX + 1];
        int exponent, n, r;

        if (isnan(v))
                return buffer_printf(b, "nan");
        if (isinf(v))
                return buffer_printf(b, v < 0 ? "-inf" : "inf");
        n = shortest(text, fabs(v));
        exponent = atoi(strchr(text, 'e') + 1);
        digits[0] = text[0];
        memcpy(digits + 1, text + 2, (size_t)n - 1);
        digits[n] = '\0';
        r = signbit(v) ? buffer_append(b, "-", 1) : 0;
        if (r < 0)
                return r;
        if (exponent >= -4 && exponent < FIXED_EXPONENT_MAX)
                return append_fixed(b, digits, n, exponent);
        return buffer_printf(b, "%c%s%se%c%02d", digits[0], n > 1 ? "." : "", digits + 1,
                             exponent < 0 ? '-' : '+', abs(exponent));
}

static int append_path(struct buffer *b, const char *field, const char *path)
{
        int r = buffer_printf(b, "%s: ", field);

        if (r >= 0)
                r = append_string(b, path);
        return r < 0 ? r : buffer_append(b, "\n", 1);
}

static int append_time(struct buffer *b, const char *field, double v)
{
        int r = buffer_printf(b, "%s: ", field);

        if (r >= 0)
                r = append_double(b, v);
        return r < 0 ? r : buffer_append(b, "\n", 1);
}

static int append_all(const struct state_file *f, struct buffer *b)
{
        int r = append_path(b, "model_checkpoint_path", f->newest);

        for (size_t i = 0; i < f->n && r >= 0; i++)
                r = append_path(b, "all_model_checkpoint_paths", f->paths[i]);
        for (size_t i = 0; i < f->n && f->timestamps && r >= 0; i++)
                r = append_time(b, "all_model_checkpoint_timestamps", f->timestamps[i]);
        if (r >= 0 && (f->last_preserved > 0 || f->last_preserved < 0 || isnan(f->last_preserved)))
                r = append_time(b, "last_preserved_timestamp", f->last_preserved);
        return r;
}

int state_file_format(const struct state_file *f, struct buffer *ret)
{
        locale_t plain = newlocale(LC_ALL_MASK, "C", NULL), before; /* decimal points */
        int r;

        if (!plain)
                return -ENOMEM;
        before = uselocale(plain);
        r = append_all(f, ret);
        uselocale(before);
        freelocale(plain);
        return r;
}
