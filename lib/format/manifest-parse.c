#include "manifest-build.h"

#include "json-scan.h"
#include "limit.h"

#include <errno.h>
#include <string.h>

struct parser {
        struct json_scan scan;
        struct manifest *m;
        size_t room; /* tensors */
        struct buffer key, name, dtype, slice;
        bool has_name, has_dtype, has_shape, has_slice, slice_is_null;
        int64_t dims[LIMIT_RANK + 1];
        size_t n_dims;
};

static void parser_done(struct parser *p)
{
        manifest_free(p->m);
        buffer_done(&p->key);
        buffer_done(&p->name);
        buffer_done(&p->dtype);
        buffer_done(&p->slice);
}

/* One dimension beyond the limit is kept, so that there are too many. */
static int parse_shape(struct parser *p)
{
        int r = json_scan_expect(&p->scan, '[');

        p->n_dims = 0;
        if (r < 0 || json_scan_char(&p->scan, ']'))
                return r;
        do {
                if (p->n_dims == ARRAY_SIZE(p->dims))
                        return json_scan_fail(&p->scan, "a shape has too many dimensions");
                r = json_scan_integer(&p->scan, &p->dims[p->n_dims++]);
        } while (r >= 0 && json_scan_char(&p->scan, ','));
        return r < 0 ? r : json_scan_expect(&p->scan, ']');
}

static int parse_slice(struct parser *p)
{
        p->slice_is_null = json_scan_null(&p->scan);
        return p->slice_is_null ? 0 : json_scan_string(&p->scan, &p->slice);
}

static int parse_name(struct parser *p)
{
        return json_scan_string(&p->scan, &p->name);
}

static int parse_dtype(struct parser *p)
{
        return json_scan_string(&p->scan, &p->dtype);
}

static int parse_member(struct parser *p)
{
        const struct {
                const char *key;
                bool *has;
                int (*parse)(struct parser *p);
        } members[] = {
                {"name", &p->has_name, parse_name},
                {"dtype", &p->has_dtype, parse_dtype},
                {"shape", &p->has_shape, parse_shape},
                {"slice", &p->has_slice, parse_slice},
        };
        int r = json_scan_string(&p->scan, &p->key);

        if (r >= 0)
                r = json_scan_expect(&p->scan, ':');
        for (size_t i = 0; i < ARRAY_SIZE(members) && r >= 0; i++) {
                if (strcmp((const char *)p->key.data, members[i].key) != 0)
                        continue;
                if (*members[i].has)
                        return json_scan_fail(&p->scan, "a member is there twice");
                *members[i].has = true;
                return members[i].parse(p);
        }
        return r < 0 ? r : json_scan_fail(&p->scan, "a member besides name, dtype, shape, slice");
}

static int parse_object(struct parser *p)
{
        int r = json_scan_expect(&p->scan, '{');

        p->has_name = p->has_dtype = p->has_shape = p->has_slice = false;
        if (r < 0 || json_scan_char(&p->scan, '}'))
                return r;
        do
                r = parse_member(p);
        while (r >= 0 && json_scan_char(&p->scan, ','));
        return r < 0 ? r : json_scan_expect(&p->scan, '}');
}

static int make_room(struct parser *p)
{
        size_t room = p->room > 0 ? 2 * p->room : 64;
        struct tensor *tensors;

        if (p->m->n < p->room)
                return 0;
        if (p->m->n == LIMIT_TENSORS)
                return diag_set(p->scan.d, -E2BIG, "the manifest has more than %d tensors",
                                LIMIT_TENSORS);
        if (room > LIMIT_TENSORS)
                room = LIMIT_TENSORS;
        tensors = reallocarray(p->m->tensors, room, sizeof(*tensors));
        if (!tensors)
                return -ENOMEM;
        p->m->tensors = tensors;
        p->room = room;
        return 0;
}

static int parse_tensor(struct parser *p)
{
        struct manifest_raw raw;
        int r = parse_object(p);

        if (r >= 0)
                r = make_room(p);
        if (r < 0)
                return r;
        raw = (struct manifest_raw){
                .name = p->has_name ? (const char *)p->name.data : NULL,
                .dtype = p->has_dtype ? (const char *)p->dtype.data : NULL,
                .slice = p->has_slice && !p->slice_is_null ? (const char *)p->slice.data : NULL,
                .has_shape = p->has_shape,
                .dims = p->dims,
                .n_dims = p->n_dims,
        };
        p->m->tensors[p->m->n] = (struct tensor){0};
        p->m->n++;
        return manifest_set_tensor(&p->m->tensors[p->m->n - 1], p->m->n - 1, &raw, p->scan.d);
}

static int parse_array(struct parser *p)
{
        int r = 0;

        if (!json_scan_char(&p->scan, '['))
                return json_scan_fail(&p->scan, "an array is expected");
        if (!json_scan_char(&p->scan, ']')) {
                do
                        r = parse_tensor(p);
                while (r >= 0 && json_scan_char(&p->scan, ','));
                if (r >= 0)
                        r = json_scan_expect(&p->scan, ']');
        }
        if (r >= 0 && (json_scan_char(&p->scan, '\0') || p->scan.at != p->scan.end))
                return json_scan_fail(&p->scan, "more than one value");
        return r;
}

int manifest_parse(const char *text, size_t length, struct manifest **ret, struct diag *d)
{
        _cleanup_(parser_done) struct parser p = {.scan = {.start = text,
                                                           .at = text,
                                                           .end = text + length,
                                                           .what = "the manifest",
                                                           .d = d}};
        int r;

        if (length > LIMIT_MANIFEST_BYTES)
                return diag_set(d, -E2BIG, "the manifest has %zu bytes, at most %d are possible",
                                length, LIMIT_MANIFEST_BYTES);
        p.m = calloc(1, sizeof(*p.m));
        if (!p.m)
                return -ENOMEM;
        r = parse_array(&p);
        if (r >= 0)
                r = manifest_finish(p.m, d);
        if (r < 0)
                return r;
        *ret = take_ptr(p.m);
        return 0;
}
