/* The index of a bundle, and what else lies in one: its first byte says how the rest is taken.
 *   0 the file as it is    1 the file, its blocks' sums made right    2 entries: key length, value
 *   length (2 bytes), key, value    3 a string tensor of 3 elements    4 variants    5 snappy */
#include "bundle.h"
#include "crc32c.h"
#include "snappy.h"
#include "string-tensor.h"
#include "table.h"
#include "varint.h"

#include <string.h>

#define FOOTER_HANDLES 40
#define ELEMENTS 3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
        if (!condition)
                abort();
}

static void check_tensor(const struct stored *s, const struct stored_tensor *t)
{
        require(t->dtype && t->name[0] && t->n_dims >= 0);
        for (size_t p = 0; p < t->n_parts; p++) {
                const struct stored_part *part = &t->parts[p];

                require(part->file < s->n_files);
                require(part->offset + part->bytes >= part->offset);
                require(!part->start == !part->length);
        }
        require(stored_find(s, t->name) == t);
}

static void parse(const void *file, size_t n)
{
        _cleanup_(stored_freep) struct stored *s = NULL;
        _cleanup_(diag_done) struct diag d = {0};
        size_t n_shards;
        int r = bundle_parse(&(struct bundle_source){"m-1", file, n}, &s, &n_shards, &d);

        require(r >= 0 || d.text);
        require(r < 0 || s);
        for (size_t i = 0; s && i < s->n_tensors; i++)
                check_tensor(s, &s->tensors[i]);
}

/* Writes the right sum behind a block, if it lies in the file. */
static void mend(uint8_t *file, size_t n, uint64_t offset, uint64_t bytes)
{
        if (offset > n || bytes > n - offset || n - offset - bytes < 5)
                return;
        fixed32_put(file + offset + bytes + 1,
                    crc32c_mask(crc32c_extend(0, file + offset, bytes + 1)));
}

static int get_handle(const uint8_t **at, const uint8_t *end, uint64_t handle[2])
{
        return varint_get(at, end, &handle[0]) < 0 || varint_get(at, end, &handle[1]) < 0 ? -1 : 0;
}

/* The data blocks' sums, as far as the index block leads to them; its keys share nothing. */
static void mend_data(uint8_t *file, size_t n, const uint64_t index[2])
{
        const uint8_t *at = file + index[0], *end = at + index[1];

        while (at < end) {
                uint64_t shared, key, value, handle[2];
                const uint8_t *v;

                if (varint_get(&at, end, &shared) < 0 || varint_get(&at, end, &key) < 0 ||
                    varint_get(&at, end, &value) < 0 || key > (size_t)(end - at))
                        return;
                v = at += key;
                if (value > (size_t)(end - at) || get_handle(&v, end, handle) < 0)
                        return;
                at += value;
                mend(file, n, handle[0], handle[1]);
        }
}

static void parse_mended(const uint8_t *data, size_t n)
{
        _cleanup_(freep) uint8_t *file = malloc(n + 1);
        uint64_t metaindex[2], index[2];
        const uint8_t *at;

        if (n < TABLE_FOOTER_BYTES || !file)
                return;
        memcpy(file, data, n);
        at = file + n - TABLE_FOOTER_BYTES;
        if (get_handle(&at, file + n, metaindex) == 0 && get_handle(&at, file + n, index) == 0 &&
            index[0] <= n && index[1] <= n - index[0]) {
                mend(file, n, metaindex[0], metaindex[1]);
                mend_data(file, n, index);
                mend(file, n, index[0], index[1]);
        }
        parse(file, n);
}

static void parse_entries(const uint8_t *at, size_t n)
{
        _cleanup_(table_writer_done) struct table_writer w;
        _cleanup_(buffer_done) struct buffer file = {0};
        const uint8_t *end = at + n;

        table_writer_init(&w);
        while (end - at >= 3) {
                size_t key = at[0], value = at[1] | (size_t)at[2] << 8;

                at += 3;
                if (key > (size_t)(end - at))
                        break;
                if (value > (size_t)(end - at) - key)
                        value = (size_t)(end - at) - key;
                table_writer_add(&w, at, key, at + key, value); /* out of order: left out */
                at += key + value;
        }
        if (table_writer_finish(&w, &file) == 0)
                parse(file.data, file.len);
}

static void unpack(const uint8_t *data, size_t n)
{
        _cleanup_(buffer_done) struct buffer out = {0};

        if (snappy_decompress(data, n, 1 << 20, &out) == 0)
                require(out.len <= 1 << 20);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct strings_view v = {0};
        uint32_t crc;

        if (size == 0)
                return 0;
        switch (data[0]) {
        case 0:
                parse(data + 1, size - 1);
                break;
        case 1:
                parse_mended(data + 1, size - 1);
                break;
        case 2:
                parse_entries(data + 1, size - 1);
                break;
        case 3:
                if (strings_parse(data + 1, size - 1, ELEMENTS, &v, NULL) == 0)
                        require(v.bytes + v.total == data + size);
                free(v.lengths);
                break;
        case 4:
                strings_sum_variants(data + 1, size - 1, ELEMENTS, &crc, NULL);
                break;
        default:
                unpack(data + 1, size - 1);
        }
        return 0;
}
