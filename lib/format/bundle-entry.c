#include "bundle-entry.h"

#include "bundle.h"
#include "crc32c.h"
#include "limit.h"
#include "region.h"

#include <errno.h>
#include <inttypes.h>

#define VALUE_MAX_BYTES (4 * 1024 * 1024)

static void *arena_alloc(void *data, size_t size)
{
        struct bundle_arena *a = data;
        size_t rounded = (size + 15) & ~(size_t)15;
        void *p;

        if (rounded < size || rounded > sizeof(a->bytes) - a->used)
                return malloc(size);
        p = a->bytes + a->used;
        a->used += rounded;
        return p;
}

static void arena_free(void *data, void *p)
{
        struct bundle_arena *a = data;
        uintptr_t at = (uintptr_t)p, first = (uintptr_t)a->bytes;

        if (at < first || at >= first + sizeof(a->bytes))
                free(p);
}

void bundle_arena_init(struct bundle_arena *a)
{
        a->allocator = (ProtobufCAllocator){arena_alloc, arena_free, a};
        a->used = 0;
}

static int check_version(const Bundle__Version *v, struct diag *d)
{
        if (v->producer < 0)
                return diag_set(d, -EBADMSG, "Checkpoint producer version %d below min producer 0",
                                v->producer);
        if (v->min_consumer > BUNDLE_VERSION)
                return diag_set(d, -EBADMSG,
                                "Checkpoint min consumer version %d above current version %d",
                                v->min_consumer, BUNDLE_VERSION);
        for (size_t i = 0; i < v->n_bad_consumers; i++)
                if (v->bad_consumers[i] == BUNDLE_VERSION)
                        return diag_set(d, -EBADMSG, "Checkpoint disallows consumer version %d",
                                        BUNDLE_VERSION);
        return 0;
}

static int check_header(const Bundle__Header *h, struct diag *d)
{
        if (h->endianness != 0)
                return diag_set(d, -EBADMSG, "big-endian bundles are not supported");
        if (h->num_shards < 1 || h->num_shards > BUNDLE_SHARDS_MAX)
                return diag_set(d, -EBADMSG, "the header says %d data files", h->num_shards);
        return h->version ? check_version(h->version, d) : 0;
}

int bundle_header_parse(struct bundle_arena *a, const struct table_entry *value,
                        uint32_t *ret_n_shards, struct diag *d)
{
        Bundle__Header *h = NULL;
        int r;

        a->used = 0;
        if (value->value_len <= VALUE_MAX_BYTES)
                h = bundle__header__unpack(&a->allocator, value->value_len, value->value);
        if (!h)
                return diag_set(d, -EBADMSG, "unable to parse header");
        r = check_header(h, d);
        *ret_n_shards = (uint32_t)h->num_shards;
        bundle__header__free_unpacked(h, &a->allocator);
        return r;
}

static int parse_shape(const Bundle__Shape *shape, const char *name, struct bundle_entry *e,
                       struct diag *d)
{
        size_t n = shape ? shape->n_dim : 0;

        if (shape && shape->unknown_rank)
                return diag_set(d, -EBADMSG, "Invalid tensor shape: %s has an unknown rank", name);
        if (n > LIMIT_RANK)
                return diag_set(d, -EBADMSG, "Invalid tensor shape: %s has %zu dimensions", name,
                                n);
        e->dims = calloc(n + 1, sizeof(*e->dims));
        if (!e->dims)
                return -ENOMEM;
        e->n_dims = (int)n;
        for (size_t i = 0; i < n; i++)
                e->dims[i] = shape->dim[i]->size;
        if (region_count(e->n_dims, e->dims, &e->count) >= 0)
                return 0;
        return diag_set(d, -EBADMSG,
                        "Invalid tensor shape: %s has a dimension below 0 or too many elements",
                        name);
}

/* Strings: a length each and the sum of the lengths at least. */
static int check_size(const char *name, const struct bundle_entry *e, struct diag *d)
{
        uint64_t expected;

        if (e->dtype->bytes == 0) {
                if (e->dtype->number == DTYPE_STRING && (e->bytes < 4 || e->bytes - 4 < e->count))
                        return diag_set(d, -EBADMSG,
                                        "Invalid size in bundle entry: key %s; stored size %" PRIu64
                                        "; expected size is at least %" PRIu64,
                                        name, e->bytes, e->count + 4);
                return 0;
        }
        if (__builtin_mul_overflow(e->count, (uint64_t)e->dtype->bytes, &expected) ||
            e->bytes != expected)
                return diag_set(d, -EBADMSG,
                                "Invalid size in bundle entry: key %s; stored size %" PRIu64
                                "; expected size %" PRIu64,
                                name, e->bytes, expected);
        return 0;
}

static int check_message(const char *name, struct bundle_entry *e, struct diag *d)
{
        const Bundle__Entry *m = e->message;
        int64_t end;
        int r;

        e->dtype = dtype_by_number(m->dtype);
        if (!e->dtype)
                return diag_set(d, -EBADMSG, "%s: unknown dtype %d", name, m->dtype);
        r = parse_shape(m->shape, name, e, d);
        if (r < 0 || m->n_slices > 0)
                return r;
        if (m->shard_id < 0 || m->offset < 0 || m->size < 0 ||
            __builtin_add_overflow(m->offset, m->size, &end))
                return diag_set(d, -EBADMSG,
                                "Invalid place in bundle entry: key %s; shard %d offset %" PRId64
                                " size %" PRId64,
                                name, m->shard_id, m->offset, m->size);
        e->shard = (uint32_t)m->shard_id;
        e->offset = (uint64_t)m->offset;
        e->bytes = (uint64_t)m->size;
        e->crc32c = crc32c_unmask(m->crc32c);
        return check_size(name, e, d);
}

int bundle_entry_parse(struct bundle_arena *a, const struct table_entry *value, const char *name,
                       struct bundle_entry *e, struct diag *d)
{
        a->used = 0;
        if (value->value_len <= VALUE_MAX_BYTES)
                e->message = bundle__entry__unpack(&a->allocator, value->value_len, value->value);
        if (!e->message)
                return diag_set(d, -EBADMSG, "Entry for key %s not parseable.", name);
        return check_message(name, e, d);
}

void bundle_entry_done(struct bundle_arena *a, struct bundle_entry *e)
{
        if (e->message)
                bundle__entry__free_unpacked(e->message, &a->allocator);
        free(e->dims);
}
