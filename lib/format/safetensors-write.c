#include "safetensors.h"

#include "crc32c.h"
#include "limit.h"
#include "varint.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define METADATA "__metadata__"

static int compare_order(const void *a, const void *b, void *tensors)
{
        const struct tensor *x = (struct tensor *)tensors + *(const size_t *)a;
        const struct tensor *y = (struct tensor *)tensors + *(const size_t *)b;

        if (x->dtype->bytes != y->dtype->bytes)
                return x->dtype->bytes > y->dtype->bytes ? -1 : 1;
        return strcmp(x->name, y->name);
}

/* The order of the data: wide elements first, so that each is aligned to its own size without a
 * gap. */
static int order_of(const struct manifest *m, size_t **ret, size_t *ret_n)
{
        size_t *order = calloc(m->n + 1, sizeof(*order)), n = 0;

        if (!order)
                return -ENOMEM;
        for (size_t i = 0; i < m->n; i++)
                if (m->tensors[i].offset >= 0)
                        order[n++] = i;
        qsort_r(order, n, sizeof(*order), compare_order, m->tensors);
        *ret = order;
        *ret_n = n;
        return 0;
}

int safetensors_append_string(struct buffer *b, const char *text)
{
        int r = buffer_append(b, "\"", 1);

        for (const char *at = text; *at && r >= 0;) {
                size_t plain = 0;

                while ((uint8_t)at[plain] >= 0x20 && at[plain] != '"' && at[plain] != '\\')
                        plain++;
                r = buffer_append(b, at, plain);
                at += plain;
                if (*at && r >= 0)
                        r = buffer_printf(b, (uint8_t)*at < 0x20 ? "\\u%04x" : "\\%c", *at);
                at += *at ? 1 : 0;
        }
        return r < 0 ? r : buffer_append(b, "\"", 1);
}

/* One header to be written. */
struct head {
        const struct manifest *m;
        const size_t *order;
        size_t n;
        const uint32_t *crc32c; /* NULL: only the length counts */
        int64_t step;
        size_t digits_at; /* of head_crc32c, from the file's start */
};

static int append_metadata(struct buffer *b, struct head *h)
{
        int r = buffer_printf(b, "{\"" METADATA "\":{\"crc32c\":\"");

        for (size_t i = 0; i < h->n && r >= 0; i++)
                r = buffer_printf(b, "%08" PRIx32, h->crc32c ? h->crc32c[h->order[i]] : 0);
        if (r >= 0)
                r = buffer_printf(b, "\",\"format\":\"pt\",\"head_crc32c\":\"");
        h->digits_at = b->len;
        if (r >= 0)
                r = buffer_printf(b, SAFETENSORS_NO_DIGITS "\",\"step\":\"%" PRId64 "\"}", h->step);
        return r;
}

static int append_tensor(struct buffer *b, const struct head *h, const struct tensor *t)
{
        uint64_t begin = (uint64_t)t->offset - h->m->head_bytes;
        int r = buffer_append(b, ",", 1);

        if (r >= 0)
                r = safetensors_append_string(b, t->name);
        if (r >= 0)
                r = buffer_printf(b, ":{\"dtype\":\"%s\",\"shape\":[", t->dtype->safetensors);
        for (int i = 0; i < t->n_dims && r >= 0; i++)
                r = buffer_printf(b, "%s%" PRId64, i > 0 ? "," : "", t->dims[i]);
        if (r >= 0)
                r = buffer_printf(b, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", begin,
                                  begin + t->bytes);
        return r;
}

static int append_head(struct buffer *b, struct head *h)
{
        uint8_t length[8] = {0};
        int r = buffer_append(b, length, sizeof(length));

        if (r >= 0)
                r = append_metadata(b, h);
        for (size_t i = 0; i < h->n && r >= 0; i++)
                r = append_tensor(b, h, &h->m->tensors[h->order[i]]);
        return r < 0 ? r : buffer_append(b, "}", 1);
}

static int check_tensor(const struct tensor *t, struct diag *d)
{
        if (!t->dtype->safetensors)
                return diag_set(d, -EINVAL, "%s: safetensors cannot hold %s", t->name,
                                t->dtype->name);
        if (t->start)
                return diag_set(
                        d, -EINVAL,
                        "%s: a part of a larger tensor; safetensors holds whole tensors only",
                        t->name);
        if (strcmp(t->name, METADATA) == 0)
                return diag_set(d, -EINVAL, "%s: safetensors keeps this name for itself", t->name);
        return 0;
}

/* Sets offsets from 0 on. */
static int place(struct manifest *m, const size_t *order, size_t n, struct diag *d)
{
        uint64_t at = 0;

        m->head_bytes = 0;
        for (size_t i = 0; i < n; i++) {
                struct tensor *t = &m->tensors[order[i]];
                int r = check_tensor(t, d);

                if (r < 0)
                        return r;
                t->offset = (int64_t)at;
                if (__builtin_add_overflow(at, t->bytes, &at) || at > LIMIT_STATE_BYTES)
                        return diag_set(d, -E2BIG, "the data file has more than %lld bytes",
                                        LIMIT_STATE_BYTES);
        }
        m->bytes = at;
        return 0;
}

static int layout(struct manifest *m, size_t n_shards, struct diag *d)
{
        _cleanup_(buffer_done) struct buffer b = {0};
        _cleanup_(freep) size_t *order = NULL;
        struct head h = {.m = m, .step = INT64_MAX};
        int r = order_of(m, &order, &h.n);

        (void)n_shards;
        if (r >= 0)
                r = place(m, order, h.n, d);
        h.order = order;
        if (r >= 0)
                r = append_head(&b, &h);
        if (r < 0)
                return r;
        if (b.len > SAFETENSORS_HEADER_MAX - SAFETENSORS_ALIGNMENT)
                return diag_set(d, -E2BIG, "the header would have %zu bytes, safetensors allows %d",
                                b.len, SAFETENSORS_HEADER_MAX);
        m->head_bytes =
                (b.len + SAFETENSORS_ALIGNMENT - 1) & ~(uint64_t)(SAFETENSORS_ALIGNMENT - 1);
        for (size_t i = 0; i < h.n; i++)
                m->tensors[order[i]].offset += (int64_t)m->head_bytes;
        m->bytes += m->head_bytes;
        return 0;
}

static int data_name(char out[static FORMAT_NAME_MAX], const char *name, size_t shard,
                     size_t n_shards)
{
        int n;

        if (n_shards == 1)
                n = snprintf(out, FORMAT_NAME_MAX, "%s" SAFETENSORS_SUFFIX, name);
        else
                n = snprintf(out, FORMAT_NAME_MAX, "%s-%05zu-of-%05zu" SAFETENSORS_SUFFIX, name,
                             shard + 1, n_shards);
        return n < FORMAT_NAME_MAX ? 0 : -ENAMETOOLONG;
}

static int index_name(char out[static FORMAT_NAME_MAX], const char *name, size_t n_shards)
{
        int n;

        out[0] = '\0';
        if (n_shards == 1)
                return 0;
        n = snprintf(out, FORMAT_NAME_MAX, "%s" SAFETENSORS_INDEX_SUFFIX, name);
        return n < FORMAT_NAME_MAX ? 0 : -ENAMETOOLONG;
}

uint32_t safetensors_own_sum(const void *text, size_t n, size_t at)
{
        const uint8_t *p = text;
        uint32_t crc = crc32c_extend(0, p, at);
        size_t behind = at + SAFETENSORS_CRC_DIGITS;

        crc = crc32c_extend(crc, SAFETENSORS_NO_DIGITS, SAFETENSORS_CRC_DIGITS);
        return crc32c_extend(crc, p + behind, n - behind);
}

static void put_own_sum(struct buffer *b, size_t at)
{
        char digits[SAFETENSORS_CRC_DIGITS + 1];

        snprintf(digits, sizeof(digits), "%08" PRIx32, safetensors_own_sum(b->data, b->len, at));
        memcpy(b->data + at, digits, SAFETENSORS_CRC_DIGITS);
}

static int make_head(const struct format_checkpoint *c, size_t shard, struct buffer *ret,
                     struct diag *d)
{
        _cleanup_(freep) size_t *order = NULL;
        const struct format_shard *s = &c->shards[shard];
        struct head h = {.m = s->manifest, .crc32c = s->crc32c, .step = c->step};
        size_t bytes = s->manifest->head_bytes;
        int r = order_of(s->manifest, &order, &h.n);

        h.order = order;
        if (r >= 0)
                r = append_head(ret, &h);
        if (r < 0)
                return r;
        if (ret->len > bytes)
                return diag_set(d, -EINVAL, "the header has %zu bytes, its place only %zu",
                                ret->len, bytes);
        r = buffer_reserve(ret, bytes - ret->len);
        if (r < 0)
                return r;
        memset(ret->data + ret->len, ' ', bytes - ret->len);
        ret->len = bytes;
        fixed64_put(ret->data, bytes - 8);
        put_own_sum(ret, h.digits_at);
        return 0;
}

struct mapped { /* a line of the index */
        const struct tensor *tensor;
        size_t shard;
};

static int compare_mapped(const void *a, const void *b)
{
        return strcmp(((const struct mapped *)a)->tensor->name,
                      ((const struct mapped *)b)->tensor->name);
}

static int map_of(const struct format_checkpoint *c, struct mapped **ret, size_t *ret_n,
                  uint64_t *ret_bytes)
{
        size_t n = 0;

        for (size_t s = 0; s < c->n_shards; s++)
                n += c->shards[s].manifest->n;
        *ret = calloc(n + 1, sizeof(**ret));
        if (!*ret)
                return -ENOMEM;
        *ret_n = 0;
        *ret_bytes = 0;
        for (size_t s = 0; s < c->n_shards; s++)
                for (size_t i = 0; i < c->shards[s].manifest->n; i++) {
                        const struct tensor *t = &c->shards[s].manifest->tensors[i];

                        if (t->offset < 0)
                                continue;
                        (*ret)[(*ret_n)++] = (struct mapped){t, s};
                        *ret_bytes += t->bytes;
                }
        qsort(*ret, *ret_n, sizeof(**ret), compare_mapped);
        return 0;
}

static int append_mapped(struct buffer *b, const struct format_checkpoint *c,
                         const struct mapped *m, bool first)
{
        const char *slash = strrchr(c->name, '/');
        char file[FORMAT_NAME_MAX];
        int r = data_name(file, slash ? slash + 1 : c->name, m->shard, c->n_shards);

        if (r >= 0)
                r = buffer_printf(b, "%s\n    ", first ? "" : ",");
        if (r >= 0)
                r = safetensors_append_string(b, m->tensor->name);
        if (r >= 0)
                r = buffer_printf(b, ": ");
        return r < 0 ? r : safetensors_append_string(b, file);
}

static int make_index(const struct format_checkpoint *c, struct buffer *ret, struct diag *d)
{
        _cleanup_(freep) struct mapped *map = NULL;
        size_t n, digits_at;
        uint64_t bytes;
        int r = map_of(c, &map, &n, &bytes);

        if (r >= 0)
                r = buffer_printf(ret, "{\n  \"metadata\": {\n    \"crc32c\": \"");
        digits_at = ret->len;
        if (r >= 0)
                r = buffer_printf(ret,
                                  SAFETENSORS_NO_DIGITS "\",\n    \"step\": \"%" PRId64
                                                        "\",\n    \"total_size\": %" PRIu64
                                                        "\n  },\n  \"weight_map\": {",
                                  c->step, bytes);
        for (size_t i = 0; i < n && r >= 0; i++) {
                if (i > 0 && compare_mapped(&map[i - 1], &map[i]) == 0)
                        return diag_set(d, -EINVAL, "Adding duplicate key: %s",
                                        map[i].tensor->name);
                r = append_mapped(ret, c, &map[i], i == 0);
        }
        if (r >= 0)
                r = buffer_printf(ret, "\n  }\n}\n");
        if (r >= 0)
                put_own_sum(ret, digits_at);
        return r;
}

const struct format format_safetensors = {
        .name = "safetensors",
        .layout = layout,
        .data_name = data_name,
        .index_name = index_name,
        .head = make_head,
        .index = make_index,
};
