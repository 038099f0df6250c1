#include "snappy.h"
#include "table.h"
#include "crc32c.h"
#include "varint.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int add_text(struct table_writer *w, const char *key, const char *value)
{
        return table_writer_add(w, key, strlen(key), value, strlen(value));
}

/* An index that TensorFlow wrote: one float tensor. */
static void writes_the_known_bytes(void **state)
{
        static const uint8_t header[] = {0x08, 0x01, 0x1a, 0x02, 0x08, 0x01};
        static const uint8_t entry[] = {0x08, 0x01, 0x12, 0x04, 0x12, 0x02, 0x08, 0x02,
                                        0x28, 0x08, 0x35, 0x59, 0x3c, 0xe5, 0x35};
        static const uint8_t behind_data[] = {
                0x00, 0x91, 0x36, 0x42, 0x33, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00,
                0xc0, 0xf2, 0xa1, 0xb0, 0x00, 0x01, 0x02, 0x79, 0x00, 0x24, 0x00, 0x00, 0x00, 0x00,
                0x01, 0x00, 0x00, 0x00, 0x00, 0x08, 0x12, 0x10, 0x17, 0x29, 0x08, 0x36, 0x0e};
        _cleanup_(table_writer_done) struct table_writer w;
        _cleanup_(buffer_done) struct buffer file = {0};

        (void)state;
        table_writer_init(&w);
        assert_int_equal(table_writer_add(&w, "", 0, header, sizeof(header)), 0);
        assert_int_equal(table_writer_add(&w, "x", 1, entry, sizeof(entry)), 0);
        assert_int_equal(table_writer_finish(&w, &file), 0);
        assert_int_equal(file.len, 121);
        assert_memory_equal(file.data + 0x24, behind_data, sizeof(behind_data));
}

static void refuses_keys_that_do_not_grow(void **state)
{
        _cleanup_(table_writer_done) struct table_writer w;

        (void)state;
        table_writer_init(&w);
        assert_int_equal(add_text(&w, "b", "1"), 0);
        assert_int_equal(add_text(&w, "b", "1"), -EINVAL);
        assert_int_equal(add_text(&w, "a", "1"), -EINVAL);
        assert_int_equal(add_text(&w, "ba", "1"), 0);
}

struct counting {
        size_t n;
        unsigned every;
};

static int count(const struct table_entry *e, void *user)
{
        struct counting *c = user;
        char key[32];

        snprintf(key, sizeof(key), "layer_%06zu/kernel", c->n++);
        assert_int_equal(table_compare(e->key, e->key_len, key, strlen(key)), 0);
        for (size_t i = 0; i < e->value_len; i++)
                assert_int_equal(e->value[i], (uint8_t)(c->n - 1));
        return 0;
}

/* Enough for several blocks, with one value beyond any block. */
static void reads_back_many_blocks(void **state)
{
        _cleanup_(table_writer_done) struct table_writer w;
        _cleanup_(buffer_done) struct buffer file = {0};
        _cleanup_(freep) uint8_t *value = malloc(600000);
        struct counting c = {0};

        (void)state;
        table_writer_init(&w);
        for (size_t i = 0; i < 5000; i++) {
                char key[32];

                snprintf(key, sizeof(key), "layer_%06zu/kernel", i);
                memset(value, (uint8_t)i, 600000);
                assert_int_equal(
                        table_writer_add(&w, key, strlen(key), value, i == 77 ? 600000 : i % 300),
                        0);
        }
        assert_int_equal(table_writer_finish(&w, &file), 0);
        assert_int_equal(table_read(file.data, file.len, count, &c, NULL), 0);
        assert_int_equal(c.n, 5000);
}

static int ignore(const struct table_entry *e, void *user)
{
        (void)e;
        (void)user;
        return 0;
}

static void small_table(struct buffer *ret, int n)
{
        _cleanup_(table_writer_done) struct table_writer w;

        table_writer_init(&w);
        for (int i = 0; i < n; i++) {
                char key[32];

                snprintf(key, sizeof(key), "key%03d", i);
                assert_int_equal(add_text(&w, key, "value"), 0);
        }
        assert_int_equal(table_writer_finish(&w, ret), 0);
}

static void finds_every_flipped_bit(void **state)
{
        _cleanup_(buffer_done) struct buffer file = {0};

        (void)state;
        small_table(&file, 40);
        for (size_t i = 0; i < file.len; i++)
                for (int bit = 0; bit < 8; bit++) {
                        file.data[i] ^= (uint8_t)(1 << bit);
                        assert_int_equal(table_read(file.data, file.len, ignore, NULL, NULL),
                                         -EBADMSG);
                        file.data[i] ^= (uint8_t)(1 << bit);
                }
        assert_int_equal(table_read(file.data, file.len, ignore, NULL, NULL), 0);
}

static void finds_every_truncation(void **state)
{
        _cleanup_(buffer_done) struct buffer file = {0};
        _cleanup_(diag_done) struct diag d = {0};

        (void)state;
        small_table(&file, 3);
        for (size_t n = 0; n < file.len; n++)
                assert_int_equal(table_read(file.data, n, ignore, NULL, NULL), -EBADMSG);
        assert_int_equal(table_read(file.data, 47, ignore, NULL, &d), -EBADMSG);
        assert_string_equal(d.text, "file is too short to be an sstable");
        assert_int_equal(table_read(file.data, file.len - 1, ignore, NULL, &d), -EBADMSG);
        assert_string_equal(d.text, "not an sstable (bad magic number)");
}

static void reads_an_empty_table(void **state)
{
        _cleanup_(buffer_done) struct buffer file = {0};

        (void)state;
        small_table(&file, 0);
        assert_int_equal(table_read(file.data, file.len, ignore, NULL, NULL), 0);
}

static void unpacks_snappy(void **state)
{
        /* "abcd" literal, then 10 bytes from 4 back (two ways), then one from 14 back */
        static const uint8_t packed[] = {0x17,     0x0c, 'a', 'b',  'c', 'd', 0x19, 4,
                                         0x20 - 2, 4,    0,   0x03, 14,  0,   0,    0};
        _cleanup_(buffer_done) struct buffer out = {0};

        (void)state;
        assert_int_equal(snappy_decompress(packed, sizeof(packed), 100, &out), 0);
        assert_int_equal(out.len, 23);
        assert_memory_equal(out.data, "abcdabcdabcdabcdabcdabe", 22);
        for (size_t n = 0; n < sizeof(packed); n++)
                assert_int_equal(snappy_decompress(packed, n, 100, &out), -EBADMSG);
        assert_int_equal(snappy_decompress(packed, sizeof(packed), 22, &out), -EBADMSG);
}

static void refuses_bad_snappy(void **state)
{
        static const uint8_t zero_offset[] = {5, 0x00, 'a', 0x01, 0};
        static const uint8_t before_start[] = {5, 0x00, 'a', 0x01, 2};
        static const uint8_t too_much[] = {4, 0x00, 'a', 0x01, 1};
        static const uint8_t a_lie[] = {0xff, 0xff, 0xff, 0xff, 0x0f, 0x00, 'a'};
        _cleanup_(buffer_done) struct buffer out = {0};

        (void)state;
        assert_int_equal(snappy_decompress(zero_offset, 5, 100, &out), -EBADMSG);
        assert_int_equal(snappy_decompress(before_start, 5, 100, &out), -EBADMSG);
        assert_int_equal(snappy_decompress(too_much, 5, 100, &out), -EBADMSG);
        assert_int_equal(snappy_decompress(a_lie, 7, SIZE_MAX, &out), -EBADMSG);
}

static void append_sum(struct buffer *b, size_t from)
{
        uint8_t masked[4];

        fixed32_put(masked, crc32c_mask(crc32c_extend(0, b->data + from, b->len - from)));
        buffer_append(b, masked, sizeof(masked));
}

/* One compressed block, made by hand: literals only. */
static void make_snappy_table(struct buffer *ret)
{
        _cleanup_(buffer_done) struct buffer plain = {0};
        const size_t block = 31; /* bytes of the plain data block */
        uint8_t entry[] = {0, 1, 2, 'l', 0, (uint8_t)(block + 2)}, footer[48] = {0};
        size_t metaindex, index;
        unsigned n;

        small_table(&plain, 2);
        buffer_append(ret, (uint8_t[]){block, (block - 1) << 2}, 2);
        buffer_append(ret, plain.data, block);
        buffer_append(ret, "\1", 1);
        append_sum(ret, 0);
        metaindex = ret->len;
        buffer_append(ret, plain.data + block + 5, 8 + 5);
        index = ret->len;
        buffer_append(ret, entry, sizeof(entry));
        buffer_append(ret, "\0\0\0\0\1\0\0\0\0", 9);
        append_sum(ret, index);
        n = varint_put(footer, metaindex);
        n += varint_put(footer + n, 8);
        n += varint_put(footer + n, index);
        varint_put(footer + n, sizeof(entry) + 8);
        fixed64_put(footer + 40, TABLE_MAGIC);
        buffer_append(ret, footer, sizeof(footer));
}

static void reads_a_snappy_block(void **state)
{
        _cleanup_(buffer_done) struct buffer file = {0};

        (void)state;
        make_snappy_table(&file);
        assert_int_equal(table_read(file.data, file.len, ignore, NULL, NULL), 0);
        for (size_t i = 0; i < file.len; i++) {
                file.data[i] ^= 0x10;
                assert_int_equal(table_read(file.data, file.len, ignore, NULL, NULL), -EBADMSG);
                file.data[i] ^= 0x10;
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(writes_the_known_bytes),
                cmocka_unit_test(refuses_keys_that_do_not_grow),
                cmocka_unit_test(reads_back_many_blocks),
                cmocka_unit_test(finds_every_flipped_bit),
                cmocka_unit_test(finds_every_truncation),
                cmocka_unit_test(reads_an_empty_table),
                cmocka_unit_test(unpacks_snappy),
                cmocka_unit_test(refuses_bad_snappy),
                cmocka_unit_test(reads_a_snappy_block),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
