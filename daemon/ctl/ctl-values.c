#include "ctl-values.h"

#include "buffer.h"
#include "ctl-text.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define STRING_SHOWN 200 /* bytes of a long string that are printed */

void ctl_values_done(struct ctl_values *v)
{
        buffer_done(&v->first);
        buffer_done(&v->last);
        free(v->lengths);
        *v = (struct ctl_values){0};
}

/* The part of [at, at + n) that lies in [from, to), appended. */
static int keep(struct buffer *b, const uint8_t *p, size_t n, uint64_t at, const uint64_t range[2])
{
        uint64_t begin = at > range[0] ? at : range[0];
        uint64_t end = at + n < range[1] ? at + n : range[1];

        return begin < end ? buffer_append(b, p + (begin - at), (size_t)(end - begin)) : 0;
}

static int take_bytes(const void *p, size_t n, void *user)
{
        struct ctl_values *v = user;
        uint64_t edge = v->edge * v->tensor->dtype->bytes, all = v->tensor->bytes;
        int r = keep(&v->first, p, n, v->at, (const uint64_t[]){0, edge});

        if (r == 0 && v->edge < v->n)
                r = keep(&v->last, p, n, v->at, (const uint64_t[]){all - edge, all});
        v->at += n;
        return r;
}

int ctl_values_read(struct ctl_values *v, const struct stored *s, const struct stored_check *how,
                    const struct stored_tensor *t, struct diag *d)
{
        struct stored_elements e = {0};
        int r;

        v->tensor = t;
        if (t->dtype->bytes == 0) {
                r = stored_strings(s, how, t, &e, d);
                v->first = e.bytes;
                v->lengths = e.lengths;
                v->n = e.n;
        } else {
                v->n = t->bytes / t->dtype->bytes;
                v->edge = v->n > CTL_VALUES_MAX ? CTL_VALUES_EDGE : v->n;
                return stored_stream(s, how, t, &(struct stored_sink){take_bytes, v}, d);
        }
        v->edge = v->n > CTL_VALUES_MAX ? CTL_VALUES_EDGE : v->n;
        return r;
}

static uint64_t row_length(const struct ctl_values *v)
{
        int n = v->tensor->n_dims;

        return n > 0 && v->tensor->dims[n - 1] > 0 ? (uint64_t)v->tensor->dims[n - 1] : 1;
}

/* "[3,0,:] " before the first value of a row. */
static void print_place(FILE *f, const struct ctl_values *v, uint64_t i)
{
        const struct stored_tensor *t = v->tensor;
        uint64_t below = v->n;

        if (t->n_dims < 2)
                return;
        fputc('[', f);
        for (int k = 0; k + 1 < t->n_dims; k++) {
                below /= (uint64_t)t->dims[k];
                fprintf(f, "%" PRIu64 ",", i / below % (uint64_t)t->dims[k]);
        }
        fputs(":] ", f);
}

static void print_string(FILE *f, const uint8_t *p, uint64_t n)
{
        const char *text = (const char *)p;
        uint64_t shown = n > STRING_SHOWN ? STRING_SHOWN : n;

        fputc('"', f);
        for (uint64_t i = 0, run; i < shown; i += run) {
                for (run = 0; i + run < shown && text[i + run] != '"' && text[i + run] != '\\';
                     run++)
                        ;
                ctl_put_bytes(f, text + i, run);
                if (i + run < shown)
                        fprintf(f, "\\%c", text[i + run++]);
        }
        fputs(shown < n ? "\"..." : "\"", f);
}

static const uint8_t *fixed_at(const struct ctl_values *v, uint64_t i)
{
        uint64_t bytes = v->tensor->dtype->bytes;

        return i < v->edge ? v->first.data + i * bytes
                           : v->last.data + (i - (v->n - v->edge)) * bytes;
}

static void print_values(FILE *f, const struct ctl_values *v, uint64_t from, uint64_t to)
{
        char text[CTL_VALUE_TEXT_MAX];
        uint64_t row = row_length(v), at = 0;

        for (uint64_t i = 0; v->lengths && i < from; i++)
                at += v->lengths[i];
        for (uint64_t i = from; i < to; i++) {
                if (i % row == 0 || i == from)
                        print_place(f, v, i);
                if (v->lengths) {
                        print_string(f, v->first.data + at, v->lengths[i]);
                        at += v->lengths[i];
                } else {
                        fputs(ctl_value_text(text, v->tensor->dtype, fixed_at(v, i)), f);
                }
                fputc((i + 1) % row == 0 || i + 1 == to ? '\n' : ' ', f);
        }
}

void ctl_values_print(FILE *f, const struct ctl_values *v)
{
        print_values(f, v, 0, v->edge);
        if (v->edge == v->n)
                return;
        fprintf(f, "... %" PRIu64 " more ...\n", v->n - 2 * v->edge);
        print_values(f, v, v->n - v->edge, v->n);
}

/* Numbers as numbers; what JSON has no number for (nan, complex) as text. */
static json_t *value_json(const char *text)
{
        json_t *v;

        if (strcmp(text, "True") == 0 || strcmp(text, "False") == 0)
                return json_boolean(text[0] == 'T');
        v = json_loads(text, JSON_DECODE_ANY, NULL);
        return v ? v : json_string(text);
}

json_t *ctl_values_json(const struct ctl_values *v)
{
        json_auto_t *array = json_array();
        char text[CTL_VALUE_TEXT_MAX];
        uint64_t at = 0;

        if (v->edge < v->n)
                return NULL;
        for (uint64_t i = 0; i < v->n; i++) {
                json_t *one;

                if (v->lengths) {
                        one = ctl_json_text((const char *)v->first.data + at, v->lengths[i]);
                        at += v->lengths[i];
                } else {
                        one = value_json(ctl_value_text(text, v->tensor->dtype, fixed_at(v, i)));
                }
                if (json_array_append_new(array, one) < 0)
                        return NULL;
        }
        return take_ptr(array);
}
