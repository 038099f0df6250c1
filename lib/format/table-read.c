#include "table.h"

#include "crc32c.h"
#include "limit.h"
#include "snappy.h"
#include "varint.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define TRAILER_BYTES 5
#define HANDLES_BYTES 40
#define TYPE_NONE 0
#define TYPE_SNAPPY 1

struct handle {
        uint64_t offset, bytes;
};

struct span {
        const uint8_t *p;
        size_t n;
};

struct reader {
        const uint8_t *file;
        size_t n;
        table_visit visit;
        void *user;
        uint64_t expected;      /* offset at which the next data block begins */
        uint64_t metaindex;     /* offset at which the last one ends */
        uint64_t unpacked;      /* bytes that snappy gave, in all */
        struct buffer last_key; /* of the entries */
        bool has_last;
        struct span separator; /* no key of this block is beyond it */
        struct diag *d;
};

static int damaged(struct reader *r, const char *what)
{
        return diag_set(r->d, -EBADMSG, "%s", what);
}

static int take_handle(const uint8_t **at, const uint8_t *end, struct handle *ret)
{
        int r = varint_get(at, end, &ret->offset);

        return r < 0 ? r : varint_get(at, end, &ret->bytes);
}

/* A block and its trailer, of which the file must have every byte: the sum compared, snappy
 * undone. */
static int load_block(struct reader *r, const struct handle *h, struct buffer *scratch,
                      struct span *ret)
{
        const uint8_t *p = r->file + h->offset;
        uint64_t end;

        if (__builtin_add_overflow(h->offset, h->bytes, &end) ||
            __builtin_add_overflow(end, TRAILER_BYTES, &end) || end > r->n - TABLE_FOOTER_BYTES)
                return damaged(r, "truncated block read");
        if (crc32c_mask(crc32c_extend(0, p, h->bytes + 1)) != fixed32_get(p + h->bytes + 1))
                return diag_set(r->d, -EBADMSG, "block checksum mismatch at byte %" PRIu64,
                                h->offset);
        if (p[h->bytes] == TYPE_NONE) {
                *ret = (struct span){p, h->bytes};
                return 0;
        }
        if (p[h->bytes] != TYPE_SNAPPY)
                return damaged(r, "bad block type");
        if (snappy_decompress(p, h->bytes, LIMIT_INDEX_BYTES - r->unpacked, scratch) < 0)
                return damaged(r, "corrupted compressed block contents");
        r->unpacked += scratch->len;
        *ret = (struct span){scratch->data, scratch->len};
        return 0;
}

struct cursor { /* walks the entries of one block */
        const uint8_t *start, *at, *end;
        const uint8_t *restarts;
        uint32_t n_restarts, next_restart;
        struct buffer key;
};

static int cursor_init(struct reader *r, struct cursor *c, struct span block)
{
        uint32_t n;

        if (block.n < 8)
                return damaged(r, "bad block contents");
        n = fixed32_get(block.p + block.n - 4);
        if (n == 0 || n > (block.n - 4) / 4)
                return damaged(r, "bad block contents");
        *c = (struct cursor){
                .start = block.p,
                .at = block.p,
                .end = block.p + block.n - 4 - 4 * (size_t)n,
                .restarts = block.p + block.n - 4 - 4 * (size_t)n,
                .n_restarts = n,
        };
        return 0;
}

/* At a restart point nothing may be shared; every restart point must be the beginning of an
 * entry. */
static bool restart_fits(struct cursor *c, uint64_t shared)
{
        uint32_t offset;

        if (c->next_restart == c->n_restarts)
                return true;
        offset = fixed32_get(c->restarts + 4 * (size_t)c->next_restart);
        if ((size_t)(c->at - c->start) != offset)
                return (size_t)(c->at - c->start) < offset;
        c->next_restart++;
        return shared == 0;
}

/* 1: an entry, its key in c->key; 0: the end. */
static int cursor_next(struct reader *r, struct cursor *c, struct span *ret_value)
{
        const uint8_t *at = c->at;
        uint64_t shared, unshared, value;

        if (at == c->end)
                return c->next_restart == c->n_restarts || c->start == c->end
                               ? 0
                               : damaged(r, "bad block contents");
        if (varint_get(&at, c->end, &shared) < 0 || varint_get(&at, c->end, &unshared) < 0 ||
            varint_get(&at, c->end, &value) < 0 || shared > c->key.len ||
            unshared > (size_t)(c->end - at) || value > (size_t)(c->end - at) - unshared ||
            !restart_fits(c, shared))
                return damaged(r, "bad entry in block");
        c->key.len = shared;
        if (buffer_append(&c->key, at, unshared) < 0)
                return -ENOMEM;
        *ret_value = (struct span){at + unshared, value};
        c->at = at + unshared + value;
        return 1;
}

static int visit_entry(struct reader *r, const struct buffer *key, struct span value)
{
        const struct table_entry e = {key->data, value.p, key->len, value.n};

        if (r->has_last &&
            table_compare(r->last_key.data, r->last_key.len, key->data, key->len) >= 0)
                return damaged(r, "keys out of order");
        if (table_compare(key->data, key->len, r->separator.p, r->separator.n) > 0)
                return damaged(r, "key beyond its block's index entry");
        r->has_last = true;
        r->last_key.len = 0;
        if (buffer_append(&r->last_key, key->data, key->len) < 0)
                return -ENOMEM;
        return r->visit(&e, r->user);
}

static int read_data_block(struct reader *r, const struct handle *h, struct buffer *scratch)
{
        struct span block, value;
        struct cursor c = {0};
        int k = load_block(r, h, scratch, &block);

        if (k >= 0)
                k = cursor_init(r, &c, block);
        while (k >= 0) {
                k = cursor_next(r, &c, &value);
                if (k <= 0)
                        break;
                k = visit_entry(r, &c.key, value);
        }
        buffer_done(&c.key);
        return k;
}

/* Data blocks follow one another from byte 0 to the metaindex: no byte is left unexplained, and
 * none is read twice. */
static int read_indexed(struct reader *r, struct span value, struct buffer *scratch)
{
        const uint8_t *at = value.p;
        struct handle h;
        int k;

        if (take_handle(&at, value.p + value.n, &h) < 0)
                return damaged(r, "bad block handle");
        if (h.offset != r->expected || h.bytes >= r->metaindex)
                return damaged(r, "blocks are not contiguous");
        k = read_data_block(r, &h, scratch);
        r->expected += h.bytes + TRAILER_BYTES;
        return k;
}

static int read_index_block(struct reader *r, struct cursor *c)
{
        _cleanup_(buffer_done) struct buffer scratch = {0};
        struct span value;
        int k;

        for (;;) {
                k = cursor_next(r, c, &value);
                if (k <= 0)
                        break;
                if (r->has_last &&
                    table_compare(r->last_key.data, r->last_key.len, c->key.data, c->key.len) >= 0)
                        return damaged(r, "keys out of order");
                r->separator = (struct span){c->key.data, c->key.len};
                k = read_indexed(r, value, &scratch);
                if (k < 0)
                        break;
        }
        if (k >= 0 && r->expected != r->metaindex)
                return damaged(r, "blocks are not contiguous");
        return k;
}

/* Only the shortest form of the handles, and zeros behind them: no byte is without a meaning. */
static bool footer_is_exact(const uint8_t *footer, const struct handle *metaindex,
                            const struct handle *index)
{
        uint8_t exact[4 * VARINT64_MAX_BYTES] = {0};
        unsigned n = varint_put(exact, metaindex->offset);

        n += varint_put(exact + n, metaindex->bytes);
        n += varint_put(exact + n, index->offset);
        varint_put(exact + n, index->bytes);
        return memcmp(footer, exact, HANDLES_BYTES) == 0;
}

static int read_footer(struct reader *r, struct handle *metaindex, struct handle *index)
{
        const uint8_t *footer = r->file + r->n - TABLE_FOOTER_BYTES, *at = footer;
        uint64_t end = r->n - TABLE_FOOTER_BYTES;

        if (fixed64_get(footer + HANDLES_BYTES) != TABLE_MAGIC)
                return damaged(r, "not an sstable (bad magic number)");
        if (take_handle(&at, footer + HANDLES_BYTES, metaindex) < 0 ||
            take_handle(&at, footer + HANDLES_BYTES, index) < 0 ||
            !footer_is_exact(footer, metaindex, index))
                return damaged(r, "bad block handle");
        if (metaindex->offset > end || metaindex->bytes > end || index->offset > end ||
            index->bytes > end ||
            metaindex->offset + metaindex->bytes + TRAILER_BYTES != index->offset ||
            index->offset + index->bytes + TRAILER_BYTES != end)
                return damaged(r, "blocks are not contiguous");
        return 0;
}

static int read_file(struct reader *r)
{
        _cleanup_(buffer_done) struct buffer scratch = {0};
        struct handle metaindex, index;
        struct cursor c = {0};
        struct span block;
        int k = read_footer(r, &metaindex, &index);

        if (k >= 0) /* nothing reads it, but its bytes count */
                k = load_block(r, &metaindex, &scratch, &block);
        if (k >= 0)
                k = load_block(r, &index, &scratch, &block);
        if (k >= 0)
                k = cursor_init(r, &c, block);
        if (k < 0)
                return k;
        r->metaindex = metaindex.offset;
        k = read_index_block(r, &c);
        buffer_done(&c.key);
        return k;
}

int table_read(const void *file, size_t n, table_visit visit, void *user, struct diag *d)
{
        struct reader r = {.file = file, .n = n, .visit = visit, .user = user, .d = d};
        int k;

        if (n < TABLE_FOOTER_BYTES)
                return damaged(&r, "file is too short to be an sstable");
        k = read_file(&r);
        buffer_done(&r.last_key);
        return k;
}
