#include "bundle.h"

#include "bundle.pb-c.h"
#include "crc32c.h"
#include "limit.h"
#include "slice-key.h"
#include "table.h"

#include <errno.h>
#include <string.h>

static int layout(struct manifest *m, size_t n_shards, struct diag *d)
{
        uint64_t at = 0;

        (void)n_shards;
        for (size_t i = 0; i < m->n; i++) {
                struct tensor *t = &m->tensors[i];

                if (t->offset < 0)
                        continue;
                if (!t->dtype->tensorflow)
                        return diag_set(d, -EINVAL, "%s: a TensorBundle cannot hold %s", t->name,
                                        t->dtype->name);
                at = (at + BUNDLE_ALIGNMENT - 1) & ~(uint64_t)(BUNDLE_ALIGNMENT - 1);
                t->offset = (int64_t)at;
                if (__builtin_add_overflow(at, t->bytes, &at) || at > LIMIT_STATE_BYTES)
                        return diag_set(d, -E2BIG, "the data file has more than %lld bytes",
                                        LIMIT_STATE_BYTES);
        }
        m->head_bytes = 0;
        m->bytes = at;
        return 0;
}

static int data_name(char out[static FORMAT_NAME_MAX], const char *name, size_t shard,
                     size_t n_shards)
{
        int r = format_check_name(&format_tensorbundle, name, NULL);
        int n = snprintf(out, FORMAT_NAME_MAX, "%s.data-%05zu-of-%05zu", name, shard, n_shards);

        if (r < 0)
                return r;
        return n < FORMAT_NAME_MAX ? 0 : -ENAMETOOLONG;
}

static int index_name(char out[static FORMAT_NAME_MAX], const char *name, size_t n_shards)
{
        int r = format_check_name(&format_tensorbundle, name, NULL);
        int n = snprintf(out, FORMAT_NAME_MAX, "%s" BUNDLE_INDEX_SUFFIX, name);

        (void)n_shards;
        if (r < 0)
                return r;
        return n < FORMAT_NAME_MAX ? 0 : -ENAMETOOLONG;
}

/* A tensor that is stored somewhere. */
struct item {
        const struct tensor *tensor;
        size_t shard;
        uint32_t crc32c;
        struct buffer key; /* of a part; else its name is the key */
        size_t n_parts;    /* > 0: stands for a tensor in parts, which follow in `parts` */
        const struct item *parts;
};

struct items {
        struct item *at;
        size_t n;
};

static void items_done(struct items *l)
{
        for (size_t i = 0; i < l->n; i++)
                buffer_done(&l->at[i].key);
        free(l->at);
}

static int compare_names(const void *a, const void *b)
{
        const struct item *x = a, *y = b;
        int r = strcmp(x->tensor->name, y->tensor->name);

        if (r == 0)
                r = (x->shard > y->shard) - (x->shard < y->shard);
        return r ? r : (x->tensor > y->tensor) - (x->tensor < y->tensor);
}

/* All stored tensors; parts without elements hold nothing and are left out. */
static int collect(const struct format_checkpoint *c, struct items *ret)
{
        size_t n = 0;

        for (size_t s = 0; s < c->n_shards; s++)
                n += c->shards[s].manifest->n;
        ret->at = calloc(2 * n + 1, sizeof(*ret->at)); /* room for the tensors in parts */
        if (!ret->at)
                return -ENOMEM;
        for (size_t s = 0; s < c->n_shards; s++) {
                const struct format_shard *shard = &c->shards[s];

                for (size_t i = 0; i < shard->manifest->n; i++) {
                        const struct tensor *t = &shard->manifest->tensors[i];

                        if (t->offset < 0 || (t->start && t->bytes == 0))
                                continue;
                        ret->at[ret->n++] =
                                (struct item){.tensor = t, .shard = s, .crc32c = shard->crc32c[i]};
                }
        }
        qsort(ret->at, ret->n, sizeof(*ret->at), compare_names);
        return 0;
}

static void fill_extents(const struct tensor *t, struct slice_extent *extents)
{
        for (int i = 0; i < t->n_dims; i++)
                extents[i] = (struct slice_extent){
                        .full = t->dims[i] == t->full_dims[i],
                        .start = t->start[i],
                        .length = t->dims[i],
                };
}

static int make_key(struct item *part)
{
        struct slice_extent extents[LIMIT_RANK];

        fill_extents(part->tensor, extents);
        return slice_key_encode(&part->key, part->tensor->name, extents, part->tensor->n_dims);
}

/* Gives parts their keys, and every tensor in parts an item of its own behind the list. */
static int join_parts(struct items *l, struct item *parts, struct diag *d)
{
        size_t n_stored = l->n;

        for (size_t first = 0, n; first < n_stored; first += n) {
                const struct tensor *t = l->at[first].tensor;
                int r = 0;

                for (n = 1; first + n < n_stored; n++)
                        if (strcmp(l->at[first + n].tensor->name, t->name) != 0)
                                break;
                if (n > 1 && !t->start)
                        return diag_set(d, -EINVAL, "Adding duplicate key: %s", t->name);
                if (!t->start)
                        continue;
                for (size_t i = 0; i < n && r >= 0; i++) {
                        r = make_key(&l->at[first + i]);
                        parts[first + i] = l->at[first + i];
                }
                if (r < 0)
                        return r;
                l->at[l->n++] = (struct item){.tensor = t, .n_parts = n, .parts = parts + first};
        }
        return 0;
}

static const void *key_of(const struct item *i, size_t *ret_len)
{
        *ret_len = i->key.data ? i->key.len : strlen(i->tensor->name);
        return i->key.data ? (const void *)i->key.data : i->tensor->name;
}

static int compare_keys(const void *a, const void *b)
{
        size_t x_len, y_len;
        const void *x = key_of(a, &x_len), *y = key_of(b, &y_len);

        return table_compare(x, x_len, y, y_len);
}

static int add_message(struct table_writer *w, const void *key, size_t key_len,
                       const ProtobufCMessage *message)
{
        _cleanup_(freep) uint8_t *bytes = malloc(protobuf_c_message_get_packed_size(message) + 1);

        if (!bytes)
                return -ENOMEM;
        return table_writer_add(w, key, key_len, bytes, protobuf_c_message_pack(message, bytes));
}

struct shape { /* a message and what it points to */
        Bundle__Shape message;
        Bundle__Dim dims[LIMIT_RANK], *pointers[LIMIT_RANK];
};

static void fill_shape(struct shape *s, int n_dims, const int64_t *dims)
{
        bundle__shape__init(&s->message);
        for (int i = 0; i < n_dims; i++) {
                bundle__dim__init(&s->dims[i]);
                s->dims[i].size = dims[i];
                s->pointers[i] = &s->dims[i];
        }
        s->message.n_dim = (size_t)n_dims;
        s->message.dim = s->pointers;
}

static int add_plain(struct table_writer *w, const struct item *item)
{
        const struct tensor *t = item->tensor;
        Bundle__Entry entry = BUNDLE__ENTRY__INIT;
        struct shape shape;
        size_t key_len;
        const void *key = key_of(item, &key_len);

        fill_shape(&shape, t->n_dims, t->dims);
        entry.dtype = t->dtype->number;
        entry.shape = &shape.message;
        entry.shard_id = (int32_t)item->shard;
        entry.offset = t->offset;
        entry.size = (int64_t)t->bytes;
        entry.crc32c = crc32c_mask(item->crc32c);
        return add_message(w, key, key_len, &entry.base);
}

struct slices { /* the messages of a tensor's parts, and what they point to */
        Bundle__Slice *messages, **pointers;
        Bundle__Extent *extents, **extent_pointers;
};

static void slices_done(struct slices *s)
{
        free(s->messages);
        free(s->pointers);
        free(s->extents);
        free(s->extent_pointers);
}

static int slices_init(struct slices *s, size_t n, size_t n_dims)
{
        s->messages = calloc(n, sizeof(*s->messages));
        s->pointers = calloc(n, sizeof(*s->pointers));
        s->extents = calloc(n * n_dims + 1, sizeof(*s->extents));
        s->extent_pointers = calloc(n * n_dims + 1, sizeof(*s->extent_pointers));
        return s->messages && s->pointers && s->extents && s->extent_pointers ? 0 : -ENOMEM;
}

static void fill_slice(struct slices *s, size_t i, const struct tensor *part)
{
        size_t n_dims = (size_t)part->n_dims, first = i * n_dims;
        struct slice_extent extents[LIMIT_RANK];

        fill_extents(part, extents);
        bundle__slice__init(&s->messages[i]);
        s->pointers[i] = &s->messages[i];
        s->messages[i].n_extent = n_dims;
        s->messages[i].extent = s->extent_pointers + first;
        for (size_t k = 0; k < n_dims; k++) {
                Bundle__Extent *e = &s->extents[first + k];

                bundle__extent__init(e);
                s->extent_pointers[first + k] = e;
                if (extents[k].full)
                        continue;
                e->start = extents[k].start;
                e->length = extents[k].length;
                e->has_length_case = BUNDLE__EXTENT__HAS_LENGTH_LENGTH;
        }
}

static int add_in_parts(struct table_writer *w, const struct item *item)
{
        const struct tensor *t = item->tensor;
        _cleanup_(slices_done) struct slices slices = {0};
        Bundle__Entry entry = BUNDLE__ENTRY__INIT;
        struct shape shape;

        if (slices_init(&slices, item->n_parts, (size_t)t->n_dims) < 0)
                return -ENOMEM;
        fill_shape(&shape, t->n_dims, t->full_dims);
        for (size_t i = 0; i < item->n_parts; i++)
                fill_slice(&slices, i, item->parts[i].tensor);
        entry.dtype = t->dtype->number;
        entry.shape = &shape.message;
        entry.n_slices = item->n_parts;
        entry.slices = slices.pointers;
        return add_message(w, t->name, strlen(t->name), &entry.base);
}

static int add_header(struct table_writer *w, size_t n_shards)
{
        Bundle__Version version = BUNDLE__VERSION__INIT;
        Bundle__Header header = BUNDLE__HEADER__INIT;

        version.producer = BUNDLE_VERSION;
        header.num_shards = (int32_t)n_shards;
        header.version = &version;
        return add_message(w, "", 0, &header.base);
}

static int write_items(const struct format_checkpoint *c, const struct items *l, struct buffer *ret,
                       struct diag *d)
{
        _cleanup_(table_writer_done) struct table_writer w;
        int r;

        table_writer_init(&w);
        r = add_header(&w, c->n_shards);
        for (size_t i = 0; i < l->n && r >= 0; i++) {
                const struct item *item = &l->at[i];

                r = item->n_parts > 0 ? add_in_parts(&w, item) : add_plain(&w, item);
                if (r == -EINVAL)
                        return diag_set(d, r, "Adding duplicate key: %s", item->tensor->name);
        }
        return r < 0 ? r : table_writer_finish(&w, ret);
}

static int make_index(const struct format_checkpoint *c, struct buffer *ret, struct diag *d)
{
        _cleanup_(items_done) struct items items = {0};
        _cleanup_(freep) struct item *parts = NULL;
        int r = format_check_name(&format_tensorbundle, c->name, d);

        if (r >= 0)
                r = collect(c, &items);
        if (r < 0)
                return r;
        parts = calloc(items.n + 1, sizeof(*parts));
        if (!parts)
                return -ENOMEM;
        r = join_parts(&items, parts, d);
        if (r < 0)
                return r;
        qsort(items.at, items.n, sizeof(*items.at), compare_keys);
        return write_items(c, &items, ret, d);
}

const struct format format_tensorbundle = {
        .name = "tensorbundle",
        .state_file = true,
        .layout = layout,
        .data_name = data_name,
        .index_name = index_name,
        .index = make_index,
};
