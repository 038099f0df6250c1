#include "field.h"

#include "limit.h"

#include <errno.h>
#include <math.h>
#include <string.h>

typedef int (*decode_fn)(const struct field *f, json_t *v, void *p);
typedef json_t *(*encode_fn)(const void *p);

static int decode_string(const struct field *f, json_t *v, void *p)
{
        if (!json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v))
                return -EINVAL;
        if ((f->flags & FIELD_NOT_EMPTY) && json_string_length(v) == 0)
                return -EINVAL;
        *(const char **)p = json_string_value(v);
        return 0;
}

static int decode_int(const struct field *f, json_t *v, void *p)
{
        if (!json_is_integer(v) || ((f->flags & FIELD_NOT_NEGATIVE) && json_integer_value(v) < 0))
                return -EINVAL;
        *(int64_t *)p = json_integer_value(v);
        return 0;
}

static int decode_float(const struct field *f, json_t *v, void *p)
{
        double d = json_number_value(v);

        if (!json_is_number(v) || !isfinite(d) || ((f->flags & FIELD_NOT_NEGATIVE) && d < 0))
                return -EINVAL;
        *(double *)p = d;
        return 0;
}

static int decode_bool(const struct field *f, json_t *v, void *p)
{
        (void)f;
        if (!json_is_boolean(v))
                return -EINVAL;
        *(bool *)p = json_is_true(v);
        return 0;
}

static int decode_object(const struct field *f, json_t *v, void *p)
{
        if (!json_is_object(v) || ((f->flags & FIELD_NOT_EMPTY) && json_object_size(v) == 0))
                return -EINVAL;
        *(json_t **)p = v;
        return 0;
}

static int decode_array(const struct field *f, json_t *v, void *p)
{
        if (!json_is_array(v) || ((f->flags & FIELD_NOT_EMPTY) && json_array_size(v) == 0))
                return -EINVAL;
        *(json_t **)p = v;
        return 0;
}

static int decode_fd(const struct field *f, json_t *v, void *p)
{
        json_int_t index = json_integer_value(v);

        (void)f;
        if (!json_is_integer(v) || index < 0 || index >= LIMIT_MESSAGE_FDS)
                return -EINVAL;
        *(int64_t *)p = index;
        return 0;
}

static json_t *encode_string(const void *p)
{
        return json_string(*(const char *const *)p);
}

static json_t *encode_int(const void *p)
{
        return json_integer(*(const int64_t *)p);
}

static json_t *encode_float(const void *p)
{
        return json_real(*(const double *)p);
}

static json_t *encode_bool(const void *p)
{
        return json_boolean(*(const bool *)p);
}

static json_t *encode_json(const void *p)
{
        return json_incref(*(json_t *const *)p);
}

static const struct {
        decode_fn decode;
        encode_fn encode;
        size_t bytes;
} types[] = {
        [FIELD_STRING] = {decode_string, encode_string, sizeof(char *)},
        [FIELD_INT] = {decode_int, encode_int, sizeof(int64_t)},
        [FIELD_FLOAT] = {decode_float, encode_float, sizeof(double)},
        [FIELD_BOOL] = {decode_bool, encode_bool, sizeof(bool)},
        [FIELD_OBJECT] = {decode_object, encode_json, sizeof(json_t *)},
        [FIELD_ARRAY] = {decode_array, encode_json, sizeof(json_t *)},
        [FIELD_FD] = {decode_fd, encode_int, sizeof(int64_t)},
};

static const char *find_unknown(const struct field *table, json_t *object)
{
        const struct field *f;
        const char *name;
        json_t *value;

        json_object_foreach (object, name, value) {
                for (f = table; f->name && strcmp(f->name, name) != 0; f++)
                        ;
                if (!f->name)
                        return name;
        }
        return NULL;
}

/* 1: there; 0: absent, which null is too; negative: refused. */
static int decode_member(const struct field *f, json_t *object, char *base)
{
        json_t *v = json_object_get(object, f->name);
        int r;

        if (f->type == FIELD_FD)
                *(int64_t *)(base + f->offset) = -1;
        if (!v || json_is_null(v))
                return f->flags & FIELD_REQUIRED ? -EINVAL : 0;
        r = types[f->type].decode(f, v, base + f->offset);
        if (r < 0)
                return r;
        if (f->present > 0)
                *(bool *)(base + f->present) = true;
        return 1;
}

int field_decode(const struct field *table, json_t *object, void *ret, const char **ret_bad)
{
        const char *bad;
        size_t n = 0;
        int r;

        for (const struct field *f = table; f->name; f++) {
                r = decode_member(f, object, ret);
                if (r < 0) {
                        *ret_bad = f->name;
                        return r;
                }
                n += (size_t)r;
        }
        bad = n == json_object_size(object) ? NULL : find_unknown(table, object);
        if (bad) {
                *ret_bad = bad;
                return -EINVAL;
        }
        return 0;
}

static bool is_given(const struct field *f, const char *base)
{
        static const char zeroes[sizeof(int64_t)];

        if (f->flags & FIELD_REQUIRED)
                return true;
        if (f->present > 0)
                return *(const bool *)(base + f->present);
        if (f->type == FIELD_FD)
                return *(const int64_t *)(base + f->offset) >= 0;
        return memcmp(base + f->offset, zeroes, types[f->type].bytes) != 0;
}

json_t *field_encode(const struct field *table, const void *from)
{
        const char *base = from;
        json_t *object = json_object();

        for (const struct field *f = table; object && f->name; f++) {
                if (!is_given(f, base))
                        continue;
                if (json_object_set_new_nocheck(object, f->name,
                                                types[f->type].encode(base + f->offset)) < 0) {
                        json_decref(object);
                        object = NULL;
                }
        }
        return object;
}
