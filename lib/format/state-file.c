#include "state-file.h"

#include "limit.h"
#include "utf8.h"

#include <ctype.h>
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define NUMBER_MAX_BYTES 512

struct text_reader {
        const char *at, *end;
        unsigned line;
        struct diag *d;
};

struct reading {
        struct state_file f;
        size_t n_timestamps;
};

static int bad(const struct text_reader *t, const char *what)
{
        return diag_set(t->d, -EBADMSG, "line %u: %s", t->line, what);
}

void state_file_done(struct state_file *f)
{
        for (size_t i = 0; i < f->n; i++)
                free(f->paths[i]);
        free(f->paths);
        free(f->timestamps);
        free(f->newest);
        *f = (struct state_file){0};
}

static void skip_space(struct text_reader *t)
{
        for (; t->at < t->end; t->at++) {
                if (*t->at == '#')
                        while (t->at + 1 < t->end && t->at[1] != '\n')
                                t->at++;
                else if (*t->at == '\n')
                        t->line++;
                else if (!strchr(" \t\r\v\f", *t->at) || !*t->at)
                        return;
        }
}

static bool take_char(struct text_reader *t, char c)
{
        skip_space(t);
        if (t->at == t->end || *t->at != c)
                return false;
        t->at++;
        return true;
}

/* At most max digits of the base; -EBADMSG: fewer than min. */
static int take_digits(struct text_reader *t, unsigned base, unsigned min, unsigned max,
                       uint32_t *ret)
{
        uint32_t v = 0;
        unsigned n = 0;

        for (; n < max && t->at < t->end; n++, t->at++) {
                char c = (char)tolower((unsigned char)*t->at);
                unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                                 : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                                                        : 99;

                if (digit >= base)
                        break;
                v = v * base + digit;
        }
        *ret = v;
        return n < min ? bad(t, "bad escape in a string") : 0;
}

static int take_byte_escape(struct text_reader *t, struct buffer *b, unsigned base, unsigned max)
{
        uint32_t v;
        uint8_t byte;
        int r = take_digits(t, base, 1, max, &v);

        if (r < 0)
                return r;
        if (v > 0xff)
                return bad(t, "bad escape in a string");
        byte = (uint8_t)v;
        return buffer_append(b, &byte, 1);
}

static int take_unicode_escape(struct text_reader *t, struct buffer *b, unsigned digits)
{
        uint8_t bytes[UTF8_MAX_BYTES];
        uint32_t v;
        int r = take_digits(t, 16, digits, digits, &v);

        if (r < 0)
                return r;
        if (v > 0x10ffff || (v >= 0xd800 && v < 0xe000))
                return bad(t, "bad escape in a string");
        return buffer_append(b, bytes, utf8_put(bytes, v));
}

static int take_escape(struct text_reader *t, struct buffer *b)
{
        static const char names[] = "abfnrtv\\'\"?", values[] = "\a\b\f\n\r\t\v\\'\"?";
        const char *known;

        if (t->at == t->end)
                return bad(t, "a string does not end");
        if (*t->at >= '0' && *t->at <= '7')
                return take_byte_escape(t, b, 8, 3);
        known = *t->at ? strchr(names, *t->at) : NULL;
        if (known) {
                t->at++;
                return buffer_append(b, &values[known - names], 1);
        }
        switch (*t->at++) {
        case 'x':
                return take_byte_escape(t, b, 16, 2);
        case 'u':
                return take_unicode_escape(t, b, 4);
        case 'U':
                return take_unicode_escape(t, b, 8);
        default:
                return bad(t, "bad escape in a string");
        }
}

/* One string in quotes of either kind, appended to b. */
static int take_quoted(struct text_reader *t, struct buffer *b)
{
        char quote = *t->at++;
        int r = 0;

        while (r >= 0) {
                if (t->at == t->end || *t->at == '\n')
                        return bad(t, "a string does not end");
                if (*t->at == quote) {
                        t->at++;
                        return 0;
                }
                if (*t->at == '\\') {
                        t->at++;
                        r = take_escape(t, b);
                } else
                        r = buffer_append(b, t->at++, 1);
        }
        return r;
}

static bool is_utf8(const struct buffer *b)
{
        const uint8_t *p = b->data, *end = p + b->len;

        while (p < end) {
                size_t n = utf8_length(p, end);

                if (n == 0)
                        return false;
                p += n;
        }
        return true;
}

/* Strings side by side are one. */
static int take_string(struct text_reader *t, char **ret)
{
        _cleanup_(buffer_done) struct buffer b = {0};
        bool any = false;
        int r = buffer_reserve(&b, 0);

        for (; r >= 0; any = true) {
                skip_space(t);
                if (t->at == t->end || (*t->at != '"' && *t->at != '\''))
                        break;
                r = take_quoted(t, &b);
        }
        if (r < 0)
                return r;
        if (!any)
                return bad(t, "a string in quotes is expected");
        if (memchr(b.data, 0, b.len))
                return bad(t, "a path with a zero byte");
        if (!is_utf8(&b))
                return bad(t, "a string is not UTF-8");
        *ret = buffer_take(&b);
        return *ret ? 0 : -ENOMEM;
}

static bool is_special(const char *word, double *ret)
{
        static const struct {
                const char *word;
                double value;
        } special[] = {
                {"inf", INFINITY},       {"inff", INFINITY}, {"infinity", INFINITY},
                {"infinityf", INFINITY}, {"nan", NAN},       {"nanf", NAN},
        };
        const char *magnitude = word + (*word == '-' || *word == '+');

        for (size_t i = 0; i < ARRAY_SIZE(special); i++)
                if (strcmp(magnitude, special[i].word) == 0) {
                        *ret = *word == '-' ? -special[i].value : special[i].value;
                        return true;
                }
        return false;
}

static int take_number(struct text_reader *t, double *ret)
{
        char word[NUMBER_MAX_BYTES], *end;
        size_t n = 0;

        skip_space(t);
        while (t->at < t->end && *t->at &&
               (isalnum((unsigned char)*t->at) || strchr("+-._", *t->at))) {
                if (n + 1 == sizeof(word))
                        return bad(t, "a number is too long");
                word[n++] = (char)tolower((unsigned char)*t->at++);
        }
        word[n] = '\0';
        if (is_special(word, ret))
                return 0;
        if (n > 1 && word[n - 1] == 'f')
                word[--n] = '\0';
        if (n == 0 || strspn(word, "0123456789+-.e") != n)
                return bad(t, "a number is expected");
        *ret = strtod(word, &end);
        return *end ? bad(t, "a number is expected") : 0;
}

static int read_newest(struct text_reader *t, struct reading *r)
{
        char *path;
        int k = take_string(t, &path);

        if (k < 0)
                return k;
        free(r->f.newest);
        r->f.newest = path;
        return 0;
}

/* Room for one more; arrays are full when n is a power of two. */
static int grow(void **array, size_t n, size_t item_bytes)
{
        void *p;

        if (n & (n - 1))
                return 0;
        p = reallocarray(*array, n > 0 ? 2 * n : 1, item_bytes);
        if (!p)
                return -ENOMEM;
        *array = p;
        return 0;
}

static int read_path(struct text_reader *t, struct reading *r)
{
        int k = grow((void **)&r->f.paths, r->f.n, sizeof(*r->f.paths));

        if (k >= 0)
                k = take_string(t, &r->f.paths[r->f.n]);
        if (k >= 0)
                r->f.n++;
        return k;
}

static int read_timestamp(struct text_reader *t, struct reading *r)
{
        int k = grow((void **)&r->f.timestamps, r->n_timestamps, sizeof(double));

        if (k >= 0)
                k = take_number(t, &r->f.timestamps[r->n_timestamps]);
        if (k >= 0)
                r->n_timestamps++;
        return k;
}

static int read_last_preserved(struct text_reader *t, struct reading *r)
{
        return take_number(t, &r->f.last_preserved);
}

static const struct field {
        const char *name;
        bool repeated;
        int (*read)(struct text_reader *t, struct reading *r);
} fields[] = {
        {"model_checkpoint_path", false, read_newest},
        {"all_model_checkpoint_paths", true, read_path},
        {"all_model_checkpoint_timestamps", true, read_timestamp},
        {"last_preserved_timestamp", false, read_last_preserved},
};

static const struct field *take_field(struct text_reader *t)
{
        const char *name = t->at;
        size_t n;

        while (t->at < t->end && (isalnum((unsigned char)*t->at) || *t->at == '_'))
                t->at++;
        n = (size_t)(t->at - name);
        for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
                if (strlen(fields[i].name) == n && memcmp(fields[i].name, name, n) == 0)
                        return &fields[i];
        return NULL;
}

static int read_list(struct text_reader *t, const struct field *field, struct reading *r)
{
        if (take_char(t, ']'))
                return 0;
        for (;;) {
                int k = field->read(t, r);

                if (k < 0)
                        return k;
                if (take_char(t, ']'))
                        return 0;
                if (!take_char(t, ','))
                        return bad(t, "a list does not end");
        }
}

static int read_field(struct text_reader *t, struct reading *r)
{
        const struct field *field = take_field(t);
        int k;

        if (!field)
                return bad(t, "not a field of CheckpointState");
        if (!take_char(t, ':'))
                return bad(t, "':' is expected");
        if (field->repeated && take_char(t, '['))
                k = read_list(t, field, r);
        else
                k = field->read(t, r);
        if (k >= 0 && !take_char(t, ','))
                take_char(t, ';');
        return k;
}

static int read_fields(struct text_reader *t, struct reading *r)
{
        skip_space(t);
        while (t->at < t->end) {
                int k = read_field(t, r);

                if (k < 0)
                        return k;
                skip_space(t);
        }
        if (!r->f.newest || !*r->f.newest)
                return bad(t, "no model_checkpoint_path");
        return 0;
}

int state_file_parse(const char *text, size_t length, struct state_file *ret, struct diag *d)
{
        struct text_reader t = {.at = text, .end = text + length, .line = 1, .d = d};
        struct reading r = {0};
        locale_t plain, before;
        int k;

        if (length > LIMIT_STATE_FILE_BYTES)
                return diag_set(d, -EBADMSG, "line 1: the file has more than %d bytes",
                                LIMIT_STATE_FILE_BYTES);
        plain = newlocale(LC_ALL_MASK, "C", NULL); /* decimal points */
        if (!plain)
                return -ENOMEM;
        before = uselocale(plain);
        k = read_fields(&t, &r);
        uselocale(before);
        freelocale(plain);
        if (k < 0) {
                state_file_done(&r.f);
                return k;
        }
        if (r.n_timestamps != r.f.n) { /* as if there were none, as TensorFlow takes it */
                free(r.f.timestamps);
                r.f.timestamps = NULL;
        }
        *ret = r.f;
        return 0;
}
