#include "safetensors.h"

#include "crc32c.h"
#include "limit.h"
#include "region.h"
#include "stored-build.h"
#include "varint.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#define LENGTH_BYTES 8

struct reader {
        const struct safetensors_source *source;
        struct stored *s;
        size_t file, first; /* first: of this file's tensors in s */
        uint64_t data_at;   /* where the data begins in the file */
        struct damage *g;
        struct diag *d;
};

static const char *file_name(const struct reader *r)
{
        return r->s->files[r->file].name;
}

/* A JSON array of n sizes.  -EBADMSG. */
static int parse_sizes(const json_t *array, size_t n, int64_t *ret)
{
        if (!json_is_array(array) || json_array_size(array) != n)
                return -EBADMSG;
        for (size_t i = 0; i < n; i++) {
                const json_t *size = json_array_get(array, i);

                if (!json_is_integer(size) || json_integer_value(size) < 0)
                        return -EBADMSG;
                ret[i] = json_integer_value(size);
        }
        return 0;
}

/* Types below a byte are packed; what is known of them is that we cannot read them. */
static bool is_packed(const char *dtype)
{
        return strncmp(dtype, "F4", 2) == 0 || strncmp(dtype, "F6_", 3) == 0;
}

static int parse_place(const json_t *json, const struct reader *r, struct stored_tensor *t)
{
        int64_t offsets[2];
        uint64_t bytes;

        if (parse_sizes(json_object_get(json, "data_offsets"), 2, offsets) < 0 ||
            offsets[1] < offsets[0] || region_bytes(t->dtype, t->n_dims, t->dims, &bytes) < 0 ||
            bytes != (uint64_t)(offsets[1] - offsets[0]))
                return -EBADMSG;
        t->parts = calloc(1, sizeof(*t->parts));
        if (!t->parts)
                return -ENOMEM;
        t->n_parts = 1;
        t->bytes = bytes;
        t->parts[0] = (struct stored_part){
                .file = r->file, .offset = r->data_at + (uint64_t)offsets[0], .bytes = bytes};
        return 0;
}

static int parse_tensor(struct reader *r, const char *name, const json_t *json)
{
        const char *type = json_string_value(json_object_get(json, "dtype"));
        const json_t *shape = json_object_get(json, "shape");
        size_t n = json_array_size(shape);
        const struct dtype *dtype = type ? dtype_by_safetensors(type) : NULL;
        struct stored_tensor *t;
        int64_t *dims;
        int k;

        if (type && !dtype && is_packed(type))
                return diag_set(r->d, -EOPNOTSUPP, "%s: %s: dtype %s cannot be read here",
                                file_name(r), name, type);
        if (!dtype || n > LIMIT_RANK)
                return -EBADMSG;
        dims = calloc(n + 1, sizeof(*dims));
        if (!dims)
                return -ENOMEM;
        if (parse_sizes(shape, n, dims) < 0) {
                free(dims);
                return -EBADMSG;
        }
        k = stored_add_tensor(r->s, strdup(name), dims, &t);
        if (k < 0)
                return k;
        t->dtype = dtype;
        t->n_dims = (int)n;
        return parse_place(json, r, t);
}

static int parse_tensors(struct reader *r, json_t *header)
{
        const char *name;
        json_t *json;

        json_object_foreach (header, name, json) {
                int k = strcmp(name, "__metadata__") == 0 ? 0 : parse_tensor(r, name, json);

                if (k == -EBADMSG)
                        damage_add(r->g, "%s: %s: invalid shape, data type, or offset",
                                   file_name(r), name);
                else if (k < 0)
                        return k;
        }
        return 0;
}

static int compare_data(const void *a, const void *b)
{
        const struct stored_tensor *x = a, *y = b;
        uint64_t p = x->n_parts ? x->parts[0].offset : 0, q = y->n_parts ? y->parts[0].offset : 0;
        uint64_t m = x->bytes, n = y->bytes;

        if (p != q)
                return p < q ? -1 : 1;
        return (m > n) - (m < n);
}

/* The order in which our writer lays tensors out; their sums stand in the same. */
static int compare_ours(const void *a, const void *b)
{
        const struct stored_tensor *x = a, *y = b;

        if (x->dtype->bytes != y->dtype->bytes)
                return x->dtype->bytes > y->dtype->bytes ? -1 : 1;
        return strcmp(x->name, y->name);
}

/* Tensors follow one another without holes, from the header to the end of the file. */
static void check_cover(struct reader *r)
{
        size_t n = r->s->n_tensors - r->first;
        struct stored_tensor *t = n > 0 ? r->s->tensors + r->first : NULL;
        uint64_t at = r->data_at;

        if (n > 1)
                qsort(t, n, sizeof(*t), compare_data);
        for (size_t i = 0; i < n; i++) {
                if (t[i].n_parts == 0)
                        return; /* told already */
                if (t[i].parts[0].offset != at)
                        damage_add(r->g,
                                   "%s: %s: invalid offset, it begins at byte %" PRIu64
                                   " and not at %" PRIu64,
                                   file_name(r), t[i].name, t[i].parts[0].offset, at);
                at = t[i].parts[0].offset + t[i].bytes;
        }
        r->s->files[r->file].needed = at;
        if (r->source->file_bytes > at)
                damage_add(r->g, "%s: has %" PRIu64 " bytes, the header explains %" PRIu64,
                           file_name(r), r->source->file_bytes, at);
}

int safetensors_parse_digits(const char *digits, uint32_t *ret)
{
        uint32_t v = 0;

        for (int i = 0; i < SAFETENSORS_CRC_DIGITS; i++) {
                const char *all = "0123456789abcdef";
                const char *at = digits[i] ? strchr(all, digits[i]) : NULL;

                if (!at)
                        return -EINVAL;
                v = v << 4 | (uint32_t)(at - all);
        }
        *ret = v;
        return 0;
}

/* The header's own sum.  Its digits are looked for in the text: a JSON parser does not tell
 * where. */
static int check_own_sum(const struct reader *r, const char *digits)
{
        static const char before[] = "\"head_crc32c\":\"";
        const uint8_t *head = r->source->head, *at;
        uint32_t said;

        if (!digits || strlen(digits) != SAFETENSORS_CRC_DIGITS ||
            safetensors_parse_digits(digits, &said) < 0)
                return -EBADMSG;
        at = memmem(head, r->source->n, before, sizeof(before) - 1);
        if (!at || r->source->n - (size_t)(at - head) < sizeof(before) + SAFETENSORS_CRC_DIGITS)
                return -EBADMSG;
        at += sizeof(before) - 1;
        return safetensors_own_sum(head, r->source->n, (size_t)(at - head)) == said ? 0 : -EBADMSG;
}

static int take_sums(struct reader *r, const char *sums)
{
        size_t n = r->s->n_tensors - r->first;
        struct stored_tensor *t = n > 0 ? r->s->tensors + r->first : NULL;

        if (!sums || strlen(sums) != n * SAFETENSORS_CRC_DIGITS)
                return -EBADMSG;
        if (n > 1)
                qsort(t, n, sizeof(*t), compare_ours);
        for (size_t i = 0; i < n; i++) {
                if (t[i].n_parts == 0 || safetensors_parse_digits(sums + i * SAFETENSORS_CRC_DIGITS,
                                                                  &t[i].parts[0].crc32c) < 0)
                        return -EBADMSG;
                t[i].parts[0].has_crc = true;
        }
        return 0;
}

static void take_step(struct reader *r, const char *text)
{
        char *end;
        long long step;

        if (r->s->step >= 0 || !text || *text < '0' || *text > '9')
                return;
        errno = 0;
        step = strtoll(text, &end, 10);
        if (!*end && errno == 0)
                r->s->step = step;
}

static void parse_metadata(struct reader *r, const json_t *metadata)
{
        const char *sums = json_string_value(json_object_get(metadata, "crc32c"));
        const char *own = json_string_value(json_object_get(metadata, "head_crc32c"));
        const char *name;
        json_t *value;

        json_object_foreach ((json_t *)(uintptr_t)metadata, name, value)
                if (!json_is_string(value))
                        damage_add(r->g, "%s: __metadata__ has %s, which is not a string",
                                   file_name(r), name);
        if (metadata && !json_is_object(metadata))
                damage_add(r->g, "%s: __metadata__ is not an object", file_name(r));
        take_step(r, json_string_value(json_object_get(metadata, "step")));
        if (r->source->n % SAFETENSORS_ALIGNMENT != 0 || (!sums && !own))
                return;
        if (check_own_sum(r, own) < 0 || take_sums(r, sums) < 0)
                damage_add(r->g, "%s: the header's sum does not fit the header", file_name(r));
}

static int parse_header(struct reader *r)
{
        const char *text = (const char *)r->source->head + LENGTH_BYTES;
        size_t n = r->source->n - LENGTH_BYTES;
        json_error_t error;
        json_t *header;
        int k;

        if (n == 0 || text[0] != '{') {
                damage_add(r->g, "%s: invalid header: does not begin with {", file_name(r));
                return 0;
        }
        header = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
        if (!header) {
                damage_add(r->g, "%s: invalid header: line %d column %d: %s", file_name(r),
                           error.line, error.column, error.text);
                return 0;
        }
        k = parse_tensors(r, header);
        if (k >= 0) {
                check_cover(r);
                parse_metadata(r, json_object_get(header, "__metadata__"));
        }
        json_decref(header);
        return k;
}

int safetensors_parse(const struct safetensors_source *source, struct stored *s, size_t file,
                      struct damage *g, struct diag *d)
{
        struct reader r = {.source = source,
                           .s = s,
                           .file = file,
                           .first = s->n_tensors,
                           .data_at = source->n,
                           .g = g,
                           .d = d};

        if (source->n < LENGTH_BYTES || fixed64_get(source->head) != source->n - LENGTH_BYTES) {
                damage_add(g, "%s: invalid header length", file_name(&r));
                return 0;
        }
        return parse_header(&r);
}
