#include "table.h"

#include "crc32c.h"
#include "varint.h"

#include <errno.h>
#include <string.h>

#define DATA_INTERVAL 16
#define INDEX_INTERVAL 1
#define HANDLES_BYTES 40 /* of the footer, zero-padded */

int table_compare(const void *a, size_t a_len, const void *b, size_t b_len)
{
        size_t shorter = a_len < b_len ? a_len : b_len;
        int r = shorter > 0 ? memcmp(a, b, shorter) : 0;

        return r ? r : (a_len > b_len) - (a_len < b_len);
}

static void block_reset(struct table_block *b)
{
        b->bytes.len = b->restarts.len = b->last_key.len = 0;
        b->n_restarts = 1;
        b->counter = 0;
}

static void block_done(struct table_block *b)
{
        buffer_done(&b->bytes);
        buffer_done(&b->restarts);
        buffer_done(&b->last_key);
}

static int append_varint(struct buffer *b, uint64_t v)
{
        uint8_t bytes[VARINT64_MAX_BYTES];

        return buffer_append(b, bytes, varint_put(bytes, v));
}

static int append_fixed32(struct buffer *b, uint32_t v)
{
        uint8_t bytes[4];

        fixed32_put(bytes, v);
        return buffer_append(b, bytes, sizeof(bytes));
}

static size_t shared_length(const struct buffer *last, const uint8_t *key, size_t key_len)
{
        size_t n = 0;

        while (n < last->len && n < key_len && last->data[n] == key[n])
                n++;
        return n;
}

/* Begins a restart or finds what the key shares with the one before. */
static int block_share(struct table_block *b, const uint8_t *key, size_t key_len, size_t *ret)
{
        int r;

        *ret = 0;
        if (b->counter < b->interval) {
                *ret = shared_length(&b->last_key, key, key_len);
                return 0;
        }
        r = append_fixed32(&b->restarts, (uint32_t)b->bytes.len);
        b->n_restarts++;
        b->counter = 0;
        return r;
}

static int block_add(struct table_block *b, const struct table_entry *e)
{
        size_t shared;
        int r = block_share(b, e->key, e->key_len, &shared);

        if (r >= 0)
                r = append_varint(&b->bytes, shared);
        if (r >= 0)
                r = append_varint(&b->bytes, e->key_len - shared);
        if (r >= 0)
                r = append_varint(&b->bytes, e->value_len);
        if (r >= 0)
                r = buffer_append(&b->bytes, e->key + shared, e->key_len - shared);
        if (r >= 0)
                r = buffer_append(&b->bytes, e->value, e->value_len);
        b->last_key.len = 0;
        if (r >= 0)
                r = buffer_append(&b->last_key, e->key, e->key_len);
        b->counter++;
        return r;
}

static size_t block_size(const struct table_block *b)
{
        return b->bytes.len + 4 * (size_t)b->n_restarts + 4;
}

/* Appends the finished block and its trailer to the file. */
static int write_block(struct table_writer *w, struct table_block *b, uint64_t *ret_offset,
                       uint64_t *ret_bytes)
{
        static const uint8_t type_none = 0;
        uint64_t offset = w->out.len;
        uint32_t crc;
        int r = buffer_append(&w->out, b->bytes.data, b->bytes.len);

        if (r >= 0)
                r = append_fixed32(&w->out, 0);
        if (r >= 0)
                r = buffer_append(&w->out, b->restarts.data, b->restarts.len);
        if (r >= 0)
                r = append_fixed32(&w->out, b->n_restarts);
        if (r >= 0)
                r = buffer_append(&w->out, &type_none, 1);
        if (r < 0)
                return r;
        *ret_offset = offset;
        *ret_bytes = w->out.len - offset - 1;
        crc = crc32c_extend(0, w->out.data + offset, w->out.len - offset);
        return append_fixed32(&w->out, crc32c_mask(crc));
}

/* The shortest key that is not before `a` and before `b` (NULL: nothing follows): changes a in
 * place. */
static void shorten_key(struct buffer *a, const uint8_t *b, size_t b_len)
{
        size_t i = 0;

        if (!b) {
                while (i < a->len && a->data[i] == 0xff)
                        i++;
                if (i == a->len)
                        return;
        } else {
                while (i < a->len && i < b_len && a->data[i] == b[i])
                        i++;
                if (i == a->len || i == b_len || a->data[i] == 0xff || a->data[i] + 1 >= b[i])
                        return;
        }
        a->data[i]++;
        a->len = i + 1;
}

/* Indexes the block that was written last, now that the key after it is known. */
static int index_pending(struct table_writer *w, const uint8_t *next, size_t next_len)
{
        uint8_t handle[2 * VARINT64_MAX_BYTES];
        struct table_entry e;
        unsigned n;
        int r;

        if (!w->has_pending)
                return 0;
        shorten_key(&w->data.last_key, next, next_len);
        n = varint_put(handle, w->pending_offset);
        n += varint_put(handle + n, w->pending_bytes);
        e = (struct table_entry){w->data.last_key.data, handle, w->data.last_key.len, n};
        r = block_add(&w->index, &e);
        w->has_pending = false;
        w->data.last_key.len = 0;
        return r;
}

/* Writes the data block out; its last key stays, for the index. */
static int flush_data(struct table_writer *w)
{
        struct buffer last = {0};
        int r;

        if (w->data.bytes.len == 0)
                return 0;
        r = write_block(w, &w->data, &w->pending_offset, &w->pending_bytes);
        w->has_pending = true;
        last = w->data.last_key;
        w->data.last_key = (struct buffer){0};
        block_reset(&w->data);
        w->data.last_key = last;
        return r;
}

void table_writer_init(struct table_writer *w)
{
        *w = (struct table_writer){.data.interval = DATA_INTERVAL,
                                   .index.interval = INDEX_INTERVAL};
        block_reset(&w->data);
        block_reset(&w->index);
}

void table_writer_done(struct table_writer *w)
{
        buffer_done(&w->out);
        block_done(&w->data);
        block_done(&w->index);
}

int table_writer_add(struct table_writer *w, const void *key, size_t key_len, const void *value,
                     size_t value_len)
{
        struct table_entry e = {key, value, key_len, value_len};
        const struct buffer *last = &w->data.last_key;
        int r = 0;

        if (key_len > UINT32_MAX || value_len > UINT32_MAX)
                return -EINVAL;
        if (w->n_entries > 0 && table_compare(last->data, last->len, key, key_len) >= 0)
                return -EINVAL;
        if (w->n_entries > 0 && key_len + value_len >= 2 * (size_t)TABLE_BLOCK_BYTES)
                r = flush_data(w);
        if (r >= 0)
                r = index_pending(w, key, key_len);
        if (r >= 0)
                r = block_add(&w->data, &e);
        w->n_entries++;
        if (r >= 0 && block_size(&w->data) >= TABLE_BLOCK_BYTES)
                r = flush_data(w);
        return r;
}

static int write_footer(struct table_writer *w, const uint64_t handles[4])
{
        uint8_t footer[TABLE_FOOTER_BYTES] = {0};
        unsigned n = 0;

        for (int i = 0; i < 4; i++)
                n += varint_put(footer + n, handles[i]);
        fixed64_put(footer + HANDLES_BYTES, TABLE_MAGIC);
        return buffer_append(&w->out, footer, sizeof(footer));
}

int table_writer_finish(struct table_writer *w, struct buffer *ret)
{
        uint64_t handles[4];
        int r = flush_data(w);

        if (r >= 0)
                r = index_pending(w, NULL, 0);
        block_reset(&w->data);
        if (r >= 0)
                r = write_block(w, &w->data, &handles[0], &handles[1]);
        if (r >= 0)
                r = write_block(w, &w->index, &handles[2], &handles[3]);
        if (r >= 0)
                r = write_footer(w, handles);
        if (r < 0)
                return r;
        buffer_done(ret);
        *ret = w->out;
        w->out = (struct buffer){0};
        return 0;
}
