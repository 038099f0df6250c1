#include "bundle.h"
#include "format-opened.h"
#include "slice-key.h"
#include "table.h"

#include <errno.h>

#define TENSOR(name, type, shape)                                                                  \
        "{\"name\":\"" name "\",\"dtype\":\"" type "\",\"shape\":" shape "}"
#define PART(name, type, shape, spec)                                                              \
        "{\"name\":\"" name "\",\"dtype\":\"" type "\",\"shape\":" shape ",\"slice\":\"" spec "\"" \
        "}"

static const char *const one_rank[] = {
        "[" TENSOR("w", "float32", "[5,3]") "," TENSOR("b", "bfloat16", "[3]") "," TENSOR(
                "step", "int64", "[]") "," TENSOR("empty", "float64",
                                                  "[0,4]") "," TENSOR("\u03bb/x", "uint8",
                                                                      "[100]") "]",
};

static const char *const three_ranks[] = {
        "[" TENSOR("shared", "float32", "[9]") "," PART(
                "rows", "int32", "[2,3]", "4 3 0,2:-") "," PART("grid", "int8", "[2,2]",
                                                                "4 4 0,2:0,2") "]",
        "[" PART("rows", "int32", "[2,3]", "4 3 2,2:-") "," TENSOR(
                "shared", "float32",
                "[9]") "," PART("grid", "int8", "[2,2]",
                                "4 4 0,2:2,2") "," PART("grid", "int8", "[2,4]", "4 4 2,2:-") "]",
        "[" TENSOR("shared", "float32", "[9]") "," PART("rows", "int32", "[0,3]", "4 3 4,0:-") "]",
};

static void slice_keys_have_the_known_bytes(void **state)
{
        static const struct {
                int64_t value;
                const char *hex;
        } numbers[] = {
                {0, "80"},
                {1, "81"},
                {63, "bf"},
                {64, "c040"},
                {-1, "7f"},
                {-64, "40"},
                {-65, "3fbf"},
                {8191, "dfff"},
                {8192, "e02000"},
                {-8193, "1fdfff"},
                {100000, "e186a0"},
                {1 << 20, "f0100000"},
                {INT32_MAX, "f87fffffff"},
                {1ll << 40, "fd0000000000"},
                {1ll << 55, "ff8080000000000000"},
                {1ll << 62, "ffc04000000000000000"},
                {INT64_MAX, "ffc07fffffffffffffff"},
                {INT64_MIN, "003f8000000000000000"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
                _cleanup_(buffer_done) struct buffer b = {0};
                struct slice_extent extent = {.start = numbers[i].value, .length = 0};
                char hex[64] = "";

                assert_int_equal(slice_key_encode(&b, "", &extent, 1), 0);
                for (size_t k = 5; k + 1 < b.len; k++) /* 00 | 00 01 | 01 01 | start | 80 */
                        sprintf(hex + strlen(hex), "%02x", b.data[k]);
                assert_string_equal(hex, numbers[i].hex);
        }
}

static void slice_keys_escape_names(void **state)
{
        static const uint8_t key[] = {0, 'w', 0xff, 0, 0, 1, 1, 2, 0x80, 0x82, 0x80, 0x7f};
        const struct slice_extent extents[] = {{false, 0, 2}, {true, 0, 0}};
        _cleanup_(buffer_done) struct buffer b = {0};

        (void)state;
        assert_int_equal(slice_key_encode(&b, "w\xff", extents, 2), 0);
        assert_int_equal(b.len, sizeof(key));
        assert_memory_equal(b.data, key, sizeof(key));
}

/* A whole index with one float tensor, byte for byte as TensorFlow writes it. */
static void writes_the_known_index(void **state)
{
        static const uint8_t index[] = {
                0x00, 0x00, 0x06, 0x08, 0x01, 0x1a, 0x02, 0x08, 0x01, 0x00, 0x01, 0x0f, 0x78, 0x08,
                0x01, 0x12, 0x04, 0x12, 0x02, 0x08, 0x02, 0x28, 0x08, 0x35, 0x59, 0x3c, 0xe5, 0x35,
                0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x91, 0x36, 0x42, 0x33};
        const char *text = "[" TENSOR("x", "float32", "[2]") "]";
        const float values[] = {1, 2};
        _cleanup_(manifest_freep) struct manifest *m = NULL;
        _cleanup_(buffer_done) struct buffer b = {0};
        uint32_t sum = crc32c_extend(0, values, sizeof(values));
        struct format_shard shard = {NULL, &sum};
        const struct format_checkpoint c = {"a", 1, 1, &shard};

        (void)state;
        assert_int_equal(manifest_parse(text, strlen(text), &m, NULL), 0);
        assert_int_equal(format_tensorbundle.layout(m, 1, NULL), 0);
        assert_int_equal(m->bytes, 8);
        shard.manifest = m;
        assert_int_equal(format_tensorbundle.index(&c, &b, NULL), 0);
        assert_int_equal(b.len, 121);
        assert_memory_equal(b.data, index, sizeof(index));
}

static void lays_tensors_out_aligned(void **state)
{
        struct fixture f;

        (void)state;
        fixture_init(&f, &format_tensorbundle, "m-1", one_rank, 1);
        for (size_t i = 0; i < f.ranks[0]->n; i++)
                assert_int_equal(f.ranks[0]->tensors[i].offset % 64, 0);
        assert_int_equal(f.ranks[0]->tensors[4].offset, 192);
        assert_int_equal(f.ranks[0]->bytes, 292);
        assert_int_equal(f.ranks[0]->head_bytes, 0);
        fixture_done(&f);
}

static void refuses_names_that_tensorflow_takes_for_patterns(void **state)
{
        static const char *const bad[] = {"a*", "a?", "[a", "a]", "a\\b", ""};
        char out[FORMAT_NAME_MAX], longest[300];

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                const struct format_checkpoint c = {bad[i], 1, 0, NULL};
                _cleanup_(buffer_done) struct buffer b = {0};

                assert_int_equal(format_tensorbundle.data_name(out, bad[i], 0, 1), -EINVAL);
                assert_int_equal(format_tensorbundle.index_name(out, bad[i], 1), -EINVAL);
                assert_int_equal(format_tensorbundle.index(&c, &b, NULL), -EINVAL);
        }
        memset(longest, 'x', sizeof(longest));
        longest[240] = '\0';
        assert_int_equal(format_tensorbundle.data_name(out, longest, 0, 1), -ENAMETOOLONG);
        assert_int_equal(format_tensorbundle.index_name(out, longest, 1), 0);
        assert_int_equal(format_tensorbundle.data_name(out, "m-7", 2, 100000), 0);
        assert_string_equal(out, "m-7.data-00002-of-100000");
}

static void reads_back_one_shard(void **state)
{
        _cleanup_(stored_freep) struct stored *s = NULL;
        const struct stored_tensor *t;
        struct fixture f;

        (void)state;
        fixture_init(&f, &format_tensorbundle, "m-12", one_rank, 1);
        fixture_write(&f, 12);
        s = fixture_open(&f, "m-12");
        assert_ptr_equal(s->format, &format_tensorbundle);
        assert_string_equal(s->name, "m-12");
        assert_int_equal(s->step, 12);
        assert_int_equal(s->n_tensors, 5);
        assert_int_equal(s->n_files, 2);
        assert_string_equal(s->files[0].name, "m-12.index");
        assert_string_equal(s->files[1].name, "m-12.data-00000-of-00001");
        assert_int_equal(s->files[1].needed, 292);
        assert_int_equal(s->bytes, s->files[0].bytes + 292);
        t = stored_find(s, "b");
        assert_non_null(t);
        assert_string_equal(t->dtype->name, "bfloat16");
        assert_int_equal(t->bytes, 6);
        assert_int_equal(t->parts[0].crc32c, f.sums[0][1]);
        assert_null(stored_find(s, "c"));
        assert_int_equal(fixture_verify(&f, "m-12", NULL), 0);
        fixture_done(&f);
}

/* Whole, its transposed grid of parts, and a band that crosses parts. */
static void fetches_parts_out_of_other_parts(void **state)
{
        static const char wanted[] = "[" TENSOR("grid", "int8", "[4,4]") "," PART(
                "rows", "int32", "[2,2]", "4 3 1,2:1,2") "," TENSOR("shared", "float32", "[9]") "]";
        _cleanup_(manifest_freep) struct manifest *m = NULL;
        _cleanup_(stored_freep) struct stored *s = NULL;
        struct stored_target targets[3];
        struct stored_check how;
        struct fixture f;

        (void)state;
        fixture_init(&f, &format_tensorbundle, "m-3", three_ranks, 3);
        fixture_write(&f, 3);
        s = fixture_open(&f, "m-3");
        assert_int_equal(s->n_tensors, 3);
        assert_int_equal(s->n_files, 4);
        assert_int_equal(stored_find(s, "grid")->n_parts, 3);
        assert_int_equal(stored_find(s, "grid")->bytes, 16);
        assert_int_equal(stored_find(s, "rows")->n_parts, 2);
        assert_int_equal(stored_find(s, "shared")->n_parts, 1);
        assert_int_equal(manifest_parse(wanted, strlen(wanted), &m, NULL), 0);
        for (size_t i = 0; i < 3; i++)
                targets[i] = (struct stored_target){&m->tensors[i], malloc(m->tensors[i].bytes)};
        how = fixture_check(&f);
        assert_int_equal(stored_fetch(s, &how, targets, 3, NULL), 0);
        for (size_t i = 0; i < 3; i++) {
                _cleanup_(freep) uint8_t *bytes = pattern_bytes(&m->tensors[i]);

                assert_memory_equal(targets[i].to, bytes, m->tensors[i].bytes);
                free(targets[i].to);
        }
        assert_int_equal(fixture_verify(&f, "m-3", NULL), 0);
        fixture_done(&f);
}

/* Every bit of a small index: found by stored_open, or by nothing else. */
static void finds_every_flipped_bit_of_the_index(void **state)
{
        _cleanup_(buffer_done) struct buffer index = {0};
        struct fixture f;

        (void)state;
        fixture_init(&f, &format_tensorbundle, "m-3", three_ranks, 3);
        fixture_write(&f, 3);
        directory_get(&f.dir, "m-3.index", &index);
        for (size_t i = 0; i < index.len; i++)
                for (int bit = 0; bit < 8; bit++) {
                        _cleanup_(stored_freep) struct stored *s = NULL;
                        struct bundle_source source = {"m-3", index.data, index.len};
                        _cleanup_(diag_done) struct diag d = {0};
                        size_t n;

                        index.data[i] ^= (uint8_t)(1 << bit);
                        if (bundle_parse(&source, &s, &n, &d) != -EBADMSG)
                                fail_msg("byte %zu of %zu, bit %d", i, index.len, bit);
                        assert_non_null(strstr(d.text, "m-3.index"));
                        index.data[i] ^= (uint8_t)(1 << bit);
                }
        fixture_done(&f);
}

static void finds_every_flipped_byte_of_the_data(void **state)
{
        const char *name = "m-1.data-00000-of-00001";
        struct fixture f;

        (void)state;
        fixture_init(&f, &format_tensorbundle, "m-1", one_rank, 1);
        fixture_write(&f, 1);
        for (size_t t = 0; t < f.ranks[0]->n; t++)
                for (uint64_t i = 0; i < f.ranks[0]->tensors[t].bytes; i++) {
                        _cleanup_(diag_done) struct diag d = {0};
                        uint8_t *byte = f.images[0] + f.ranks[0]->tensors[t].offset + i;

                        *byte ^= 0x40;
                        directory_put(&f.dir, name, f.images[0], f.ranks[0]->bytes);
                        assert_int_equal(fixture_verify(&f, "m-1", &d), -EBADMSG);
                        assert_non_null(strstr(d.text, f.ranks[0]->tensors[t].name));
                        assert_null(strchr(d.text, '\n'));
                        *byte ^= 0x40;
                }
        fixture_done(&f);
}

static int parse_index(const void *entry, size_t n, struct diag *d)
{
        static const uint8_t header[] = {0x08, 0x01, 0x1a, 0x02, 0x08, 0x01};
        _cleanup_(table_writer_done) struct table_writer w;
        _cleanup_(buffer_done) struct buffer file = {0};
        _cleanup_(stored_freep) struct stored *s = NULL;
        size_t shards;

        table_writer_init(&w);
        assert_int_equal(table_writer_add(&w, "", 0, header, sizeof(header)), 0);
        assert_int_equal(table_writer_add(&w, "w", 1, entry, n), 0);
        assert_int_equal(table_writer_finish(&w, &file), 0);
        return bundle_parse(&(struct bundle_source){"m", file.data, file.len}, &s, &shards, d);
}

/* Entries whose sums are right and whose content is not. */
static void refuses_entries_that_lie(void **state)
{
        static const struct {
                const char *bytes;
                size_t n;
                const char *why;
        } cases[] = {
                {"\x08\x01\x12\x04\x12\x02\x08\x02\x28\x08", 10, NULL},
                {"\x08\x01\x12\x04\x12\x02\x08\x02\x28\x07", 10,
                 "Invalid size in bundle entry: key w; stored size 7; expected size 8"},
                {"\x08\x14\x12\x00\x28\x08", 6, "unknown dtype 20"},
                {"\x12\x00\x28\x08", 4, "unknown dtype 0"},
                {"\x08\x01\x12\x0d\x12\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 17,
                 "Invalid tensor shape: w"},
                {"\x08\x01\x12\x02\x18\x01\x28\x04", 8, "Invalid tensor shape: w"},
                {"\x08\x01\x12\x00\x18\x01\x28\x04", 8, "w: shard 1 of 1"},
                {"\x08\x01\x12\x00\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x28\x04", 17,
                 "Invalid place"},
                {"\x08\x01\x12\x00\x20\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x28\x04", 16,
                 "Invalid place"},
                {"\x08\x07\x12\x04\x12\x02\x08\x09\x28\x08", 10, "expected size is at least 13"},
                {"\x08", 1, "Entry for key w not parseable."},
                {"\x08\x01\x12\x04\x12\x02\x08\x02\x3a\x02\x0a\x00", 12, "w: slice 0"},
                {"\x08\x01\x12\x04\x12\x02\x08\x02\x3a\x00", 10, "w: slice 0"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_(diag_done) struct diag d = {0};
                int r = parse_index(cases[i].bytes, cases[i].n, &d);

                assert_int_equal(r, cases[i].why ? -EBADMSG : 0);
                if (cases[i].why && !strstr(d.text, cases[i].why))
                        fail_msg("%s", d.text);
        }
}

static void refuses_parts_that_overlap_or_repeat(void **state)
{
        const char *texts[] = {"[" TENSOR("w", "int8", "[4]") "]",
                               "[" TENSOR("w", "int8", "[4]") "]"};
        _cleanup_(manifest_freep) struct manifest *a = NULL, *b = NULL;
        _cleanup_(buffer_done) struct buffer out = {0};
        _cleanup_(diag_done) struct diag d = {0};
        uint32_t sum = 0;
        struct format_shard shards[2];
        const struct format_checkpoint c = {"m", 1, 2, shards};

        (void)state;
        assert_int_equal(manifest_parse(texts[0], strlen(texts[0]), &a, NULL), 0);
        assert_int_equal(manifest_parse(texts[1], strlen(texts[1]), &b, NULL), 0);
        shards[0] = (struct format_shard){a, &sum};
        shards[1] = (struct format_shard){b, &sum};
        assert_int_equal(format_tensorbundle.index(&c, &out, &d), -EINVAL);
        assert_string_equal(d.text, "Adding duplicate key: w");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(slice_keys_have_the_known_bytes),
                cmocka_unit_test(slice_keys_escape_names),
                cmocka_unit_test(writes_the_known_index),
                cmocka_unit_test(lays_tensors_out_aligned),
                cmocka_unit_test(refuses_names_that_tensorflow_takes_for_patterns),
                cmocka_unit_test(reads_back_one_shard),
                cmocka_unit_test(fetches_parts_out_of_other_parts),
                cmocka_unit_test(finds_every_flipped_bit_of_the_index),
                cmocka_unit_test(finds_every_flipped_byte_of_the_data),
                cmocka_unit_test(refuses_entries_that_lie),
                cmocka_unit_test(refuses_parts_that_overlap_or_repeat),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
