#include "bundle.h"

#include "bundle-entry.h"
#include "crc32c.h"
#include "limit.h"
#include "slice-key.h"
#include "stored-build.h"
#include "varint.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

struct slice_entry { /* one part, under its slice key */
        struct buffer key;
        const struct dtype *dtype;
        int n_dims;
        int64_t *dims;
        struct stored_part part;
};

struct reader {
        struct stored *s;
        struct damage damage;
        struct bundle_arena arena;
        uint32_t n_shards;
        size_t *files; /* one a shard: 1 + its file's index; 0: no entry names it */
        bool has_header;
        size_t n_slices;
        struct slice_entry *slices; /* in the order of their keys */
};

static void reader_done(struct reader *r)
{
        for (size_t i = 0; i < r->n_slices; i++) {
                buffer_done(&r->slices[i].key);
                free(r->slices[i].dims);
        }
        free(r->slices);
        free(r->files);
        damage_done(&r->damage);
        stored_free(r->s);
}

char *bundle_data_name(const char *prefix, size_t shard, size_t n_shards)
{
        char *name;

        return asprintf(&name, "%s.data-%05zu-of-%05zu", prefix, shard, n_shards) < 0 ? NULL : name;
}

static int read_header(struct reader *r, const struct table_entry *e)
{
        struct diag d = {0};
        int k = e->key_len > 0 ? diag_set(&d, -EBADMSG, "failed to seek to header entry")
                               : bundle_header_parse(&r->arena, e, &r->n_shards, &d);

        if (k < 0) {
                damage_add(&r->damage,
                           "Unable to read file (%s" BUNDLE_INDEX_SUFFIX
                           "). Perhaps the file is corrupt or was produced by a newer version of "
                           "TensorFlow with format changes (%s)",
                           r->s->name, diag_text(&d, k));
                diag_done(&d);
                return k;
        }
        r->has_header = true;
        r->files = calloc(r->n_shards, sizeof(*r->files));
        return r->files ? 0 : -ENOMEM;
}

/* Until all entries are read, a part's file is its shard. */
static int take_part(struct reader *r, const struct bundle_entry *e, const char *name,
                     struct stored_part *ret)
{
        if (e->shard >= r->n_shards) {
                damage_add(&r->damage, "%s: shard %u of %u", name, e->shard, r->n_shards);
                return -EBADMSG;
        }
        r->files[e->shard] = 1;
        *ret = (struct stored_part){
                .file = e->shard,
                .offset = e->offset,
                .bytes = e->bytes,
                .crc32c = e->crc32c,
                .has_crc = true,
        };
        return 0;
}

static int add_slice(struct reader *r, const struct table_entry *t, struct bundle_entry *e,
                     const char *name)
{
        struct slice_entry *slice;
        struct stored_part part;

        if (e->message->n_slices > 0) {
                damage_add(&r->damage, "Entry for key %s (a slice) not parseable.", name);
                return 0;
        }
        if (take_part(r, e, name, &part) < 0)
                return 0;
        if ((r->n_slices & (r->n_slices - 1)) == 0) {
                slice = reallocarray(r->slices, r->n_slices ? 2 * r->n_slices : 1, sizeof(*slice));
                if (!slice)
                        return -ENOMEM;
                r->slices = slice;
        }
        slice = &r->slices[r->n_slices++];
        *slice = (struct slice_entry){
                .dtype = e->dtype, .n_dims = e->n_dims, .dims = take_ptr(e->dims), .part = part};
        return buffer_append(&slice->key, t->key, t->key_len);
}

static int compare_slice(const void *key, const void *slice)
{
        const struct buffer *a = key, *b = &((const struct slice_entry *)slice)->key;

        return table_compare(a->data, a->len, b->data, b->len);
}

/* -EBADMSG: the slice does not fit the tensor. */
static int parse_extents(const Bundle__Slice *m, const struct stored_tensor *t,
                         struct stored_part *part, struct slice_extent *extents)
{
        for (int i = 0; i < t->n_dims; i++) {
                const Bundle__Extent *e = m->extent[i];
                bool full = e->has_length_case != BUNDLE__EXTENT__HAS_LENGTH_LENGTH;
                int64_t length = full ? t->dims[i] : e->length, end;

                if (e->start < 0 || length < 0 || __builtin_add_overflow(e->start, length, &end) ||
                    end > t->dims[i])
                        return -EBADMSG;
                extents[i] = (struct slice_extent){full, e->start, length};
                part->start[i] = e->start;
                part->length[i] = length;
        }
        return 0;
}

/* The entry of this part, which must exist and be of its size. */
static int find_slice(const struct reader *r, const struct stored_tensor *t,
                      const struct slice_extent *extents, struct stored_part *part)
{
        _cleanup_(buffer_done) struct buffer key = {0};
        const struct slice_entry *slice = NULL;

        if (slice_key_encode(&key, t->name, extents, t->n_dims) < 0)
                return -ENOMEM;
        if (r->n_slices > 0)
                slice = bsearch(&key, r->slices, r->n_slices, sizeof(*slice), compare_slice);
        if (!slice || slice->dtype != t->dtype || slice->n_dims != t->n_dims ||
            memcmp(slice->dims, part->length, (size_t)t->n_dims * sizeof(int64_t)) != 0)
                return -EBADMSG;
        part->file = slice->part.file;
        part->offset = slice->part.offset;
        part->bytes = slice->part.bytes;
        part->crc32c = slice->part.crc32c;
        part->has_crc = true;
        return 0;
}

static int add_part(struct reader *r, struct stored_tensor *t, const Bundle__Slice *m)
{
        struct slice_extent extents[LIMIT_RANK];
        struct stored_part *part = &t->parts[t->n_parts];
        int k = m->n_extent == (size_t)t->n_dims ? 0 : -EBADMSG;

        if (k < 0)
                return k;
        t->n_parts++;
        part->start = calloc((size_t)t->n_dims + 1, sizeof(int64_t));
        part->length = calloc((size_t)t->n_dims + 1, sizeof(int64_t));
        if (!part->start || !part->length)
                return -ENOMEM;
        k = parse_extents(m, t, part, extents);
        if (k >= 0)
                k = find_slice(r, t, extents, part);
        if (k == -EBADMSG)
                part->bytes = 0;
        return k;
}

static int check_overlap(struct reader *r, const struct stored_tensor *t)
{
        _cleanup_(freep) struct region *regions = calloc(t->n_parts + 1, sizeof(*regions));
        size_t pair[2];
        int k;

        if (!regions)
                return -ENOMEM;
        for (size_t i = 0; i < t->n_parts; i++)
                regions[i] = (struct region){t->n_dims, t->parts[i].start, t->parts[i].length, i};
        k = region_find_overlap(regions, t->n_parts, pair);
        if (k > 0)
                damage_add(&r->damage, "%s: Overlapping slices: %zu and %zu", t->name, pair[0],
                           pair[1]);
        else if (k == -E2BIG)
                damage_add(&r->damage, "%s: too many slices in no regular arrangement", t->name);
        return k == -ENOMEM ? k : 0;
}

static int add_parts(struct reader *r, struct stored_tensor *t, const struct bundle_entry *e)
{
        size_t n = e->message->n_slices;

        t->parts = calloc(n, sizeof(*t->parts));
        if (!t->parts)
                return -ENOMEM;
        if (t->dtype->bytes > 0 && region_bytes(t->dtype, t->n_dims, t->dims, &t->bytes) < 0) {
                damage_add(&r->damage, "Invalid tensor shape: %s has too many bytes", t->name);
                return 0;
        }
        for (size_t i = 0; i < n; i++) {
                int k = add_part(r, t, e->message->slices[i]);

                if (k == -EBADMSG) {
                        damage_add(&r->damage,
                                   "%s: slice %zu of it is not in the index as its entry says",
                                   t->name, i);
                        return 0;
                }
                if (k < 0)
                        return k;
                if (t->dtype->bytes == 0)
                        t->bytes += t->parts[t->n_parts - 1].bytes;
        }
        return check_overlap(r, t);
}

static int add_tensor(struct reader *r, struct bundle_entry *e, const char *name)
{
        struct stored_tensor *t;
        struct stored_part part = {0};
        bool in_parts = e->message->n_slices > 0;
        int k;

        if (!in_parts && take_part(r, e, name, &part) < 0)
                return 0;
        k = stored_add_tensor(r->s, strdup(name), take_ptr(e->dims), &t);
        if (k < 0)
                return k;
        t->dtype = e->dtype;
        t->n_dims = e->n_dims;
        if (in_parts)
                return add_parts(r, t, e);
        t->bytes = part.bytes;
        t->parts = malloc(sizeof(part));
        if (!t->parts)
                return -ENOMEM;
        t->parts[0] = part;
        t->n_parts = 1;
        return 0;
}

/* A slice key begins with 0, and its name ends at the next one. */
static int read_entry(struct reader *r, const struct table_entry *t, const char *key)
{
        bool is_slice = key[0] == '\0';
        const char *name = is_slice && t->key_len > 1 ? key + 1 : key;
        struct bundle_entry e = {0};
        struct diag d = {0};
        int k;

        if (!is_slice && strlen(key) != t->key_len) {
                damage_add(&r->damage, "%s: the name has a zero byte", key);
                return 0;
        }
        k = bundle_entry_parse(&r->arena, t, name, &e, &d);
        if (k >= 0)
                k = is_slice ? add_slice(r, t, &e, name) : add_tensor(r, &e, name);
        else if (k == -EBADMSG)
                k = 0;
        damage_take(&r->damage, &d);
        bundle_entry_done(&r->arena, &e);
        return k;
}

static int visit(const struct table_entry *t, void *user)
{
        _cleanup_(freep) char *key = NULL;
        struct reader *r = user;

        if (!r->has_header)
                return read_header(r, t);
        key = malloc(t->key_len + 1);
        if (!key)
                return -ENOMEM;
        memcpy(key, t->key, t->key_len);
        key[t->key_len] = '\0';
        return read_entry(r, t, key);
}

/* Names the files, and turns the parts' shards into files. */
static int settle_files(struct reader *r)
{
        for (uint32_t shard = 0; shard < r->n_shards; shard++) {
                _cleanup_(freep) char *name = NULL;
                size_t index;

                if (!r->files[shard])
                        continue;
                name = bundle_data_name(r->s->name, shard, r->n_shards);
                if (!name || stored_add_file(r->s, name, &index) < 0)
                        return -ENOMEM;
                r->files[shard] = index;
        }
        for (size_t i = 0; i < r->s->n_tensors; i++)
                for (size_t p = 0; p < r->s->tensors[i].n_parts; p++)
                        r->s->tensors[i].parts[p].file = r->files[r->s->tensors[i].parts[p].file];
        return stored_check_parts(r->s, &r->damage);
}

static int read_all(struct reader *r, const struct bundle_source *source)
{
        _cleanup_(freep) char *name = NULL;
        struct diag d = {0};
        size_t index;
        int k;

        if (asprintf(&name, "%s" BUNDLE_INDEX_SUFFIX, source->name) < 0 ||
            stored_add_file(r->s, name, &index) < 0)
                return -ENOMEM;
        k = table_read(source->index, source->n, visit, r, &d);
        if (d.text)
                damage_add(&r->damage, "%s: %s", name, d.text);
        diag_done(&d);
        if (k >= 0 && !r->has_header) {
                damage_add(&r->damage, "%s: the index is empty", name);
                return -EBADMSG;
        }
        return k < 0 ? k : settle_files(r);
}

int bundle_parse(const struct bundle_source *source, struct stored **ret, size_t *ret_n_shards,
                 struct diag *d)
{
        _cleanup_(reader_done) struct reader r = {0};
        int k = stored_new(&format_tensorbundle, source->name, &r.s);

        if (k < 0)
                return k;
        bundle_arena_init(&r.arena);
        k = read_all(&r, source);
        if (k < 0)
                return k == -EBADMSG ? damage_tell(&r.damage, d) : k;
        *ret_n_shards = r.n_shards;
        *ret = take_ptr(r.s);
        return damage_tell(&r.damage, d);
}
