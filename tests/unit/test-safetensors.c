#include "format-opened.h"
#include "safetensors.h"
#include "stored-build.h"
#include "varint.h"

#include <errno.h>

static const char *const one_rank[] = {
        "[{\"name\":\"z\",\"dtype\":\"int8\",\"shape\":[3]},{\"name\":\"w\",\"dtype\":\"float32\","
        "\"shape\":[5,3]},"
        "{\"name\":\"s\",\"dtype\":\"int64\",\"shape\":[]},{\"name\":\"e\",\"dtype\":\"float32\","
        "\"shape\":[0]},"
        "{\"name\":\"q\\\"\\\\\\n\\u00e9\",\"dtype\":\"bfloat16\",\"shape\":[2]}]",
};
static const char *const two_ranks[] = {
        "[{\"name\":\"a\",\"dtype\":\"float32\",\"shape\":[7]},{\"name\":\"b\",\"dtype\":\"uint8\","
        "\"shape\":[7]}]",
        "[{\"name\":\"a\",\"dtype\":\"float32\",\"shape\":[7]},{\"name\":\"c\",\"dtype\":\"bool\","
        "\"shape\":[9]}]",
};

static void lays_wide_types_first_without_holes(void **state)
{
        struct fixture f;
        const struct tensor *t;

        (void)state;
        fixture_init(&f, &format_safetensors, "m-1", one_rank, 1);
        t = f.ranks[0]->tensors;
        assert_int_equal(f.ranks[0]->head_bytes, 4096);
        assert_int_equal(t[2].offset, 4096);
        assert_int_equal(t[3].offset, 4104);
        assert_int_equal(t[1].offset, 4104);
        assert_int_equal(t[4].offset, 4164);
        assert_int_equal(t[0].offset, 4168);
        assert_int_equal(f.ranks[0]->bytes, 4171);
        fixture_done(&f);
}

static void layout_fails(const char *text, const char *why)
{
        _cleanup_(manifest_freep) struct manifest *m = NULL;
        _cleanup_(diag_done) struct diag d = {0};

        assert_int_equal(manifest_parse(text, strlen(text), &m, NULL), 0);
        assert_int_equal(format_safetensors.layout(m, 1, &d), -EINVAL);
        assert_non_null(strstr(d.text, why));
}

static void refuses_what_it_cannot_hold(void **state)
{
        (void)state;
        layout_fails("[{\"name\":\"w\",\"dtype\":\"complex128\",\"shape\":[]}]",
                     "w: safetensors cannot hold");
        layout_fails("[{\"name\":\"w\",\"dtype\":\"int8\",\"shape\":[1],\"slice\":\"2 0,1\"}]",
                     "w: a part of a larger tensor");
        layout_fails("[{\"name\":\"__metadata__\",\"dtype\":\"int8\",\"shape\":[]}]",
                     "__metadata__");
}

static void names_files_as_hugging_face_does(void **state)
{
        char out[FORMAT_NAME_MAX];

        (void)state;
        assert_int_equal(format_safetensors.data_name(out, "m-7", 0, 1), 0);
        assert_string_equal(out, "m-7.safetensors");
        assert_int_equal(format_safetensors.index_name(out, "m-7", 1), 0);
        assert_string_equal(out, "");
        assert_int_equal(format_safetensors.data_name(out, "m-7", 0, 3), 0);
        assert_string_equal(out, "m-7-00001-of-00003.safetensors");
        assert_int_equal(format_safetensors.index_name(out, "m-7", 3), 0);
        assert_string_equal(out, "m-7.safetensors.index.json");
}

static void head_has_its_size_for_any_step_and_sums(void **state)
{
        struct fixture f;

        (void)state;
        fixture_init(&f, &format_safetensors, "m", one_rank, 1);
        for (int64_t step = 0; step >= 0 && step < INT64_MAX / 11; step = step * 11 + 1) {
                struct format_shard shard = {f.ranks[0], f.sums[0]};
                struct format_checkpoint c = {"m", step, 1, &shard};
                _cleanup_(buffer_done) struct buffer b = {0};

                assert_int_equal(format_safetensors.head(&c, 0, &b, NULL), 0);
                assert_int_equal(b.len, 4096);
                assert_int_equal(fixed64_get(b.data), 4088);
                assert_int_equal(b.data[8], '{');
        }
        fixture_done(&f);
}

static void reads_back_one_file(void **state)
{
        _cleanup_(stored_freep) struct stored *s = NULL;
        const struct stored_tensor *t;
        struct fixture f;

        (void)state;
        fixture_init(&f, &format_safetensors, "best", one_rank, 1);
        fixture_write(&f, 77);
        s = fixture_open(&f, "best.safetensors");
        assert_string_equal(s->name, "best");
        assert_int_equal(s->step, 77); /* not in the name: from the header */
        assert_int_equal(s->n_tensors, 5);
        assert_string_equal(s->tensors[0].name, "e");
        t = stored_find(s, "q\"\\\n\xc3\xa9");
        assert_non_null(t);
        assert_true(t->parts[0].has_crc);
        assert_int_equal(t->parts[0].crc32c, f.sums[0][4]);
        assert_int_equal(fixture_verify(&f, "best", NULL), 0);
        fixture_done(&f);
}

static void reads_back_shards(void **state)
{
        _cleanup_(stored_freep) struct stored *s = NULL;
        struct fixture f;

        (void)state;
        fixture_init(&f, &format_safetensors, "m-9", two_ranks, 2);
        fixture_write(&f, 9);
        s = fixture_open(&f, "m-9");
        assert_int_equal(s->n_files, 3);
        assert_string_equal(s->files[0].name, "m-9.safetensors.index.json");
        assert_int_equal(s->n_tensors, 3);
        assert_int_equal(s->step, 9);
        assert_int_equal(stored_find(s, "c")->parts[0].file, 2);
        assert_int_equal(fixture_verify(&f, "m-9", NULL), 0);
        fixture_done(&f);
}

/* Of our files every byte counts: the length, the header, its padding, the data, the index. */
static void finds_every_flipped_byte(struct fixture *f, const char *file)
{
        _cleanup_(buffer_done) struct buffer b = {0};

        directory_get(&f->dir, file, &b);
        for (size_t i = 0; i < b.len; i++)
                for (int bit = 1; bit < 256; bit <<= 2) {
                        _cleanup_(diag_done) struct diag d = {0};

                        if (i > 1400 && i < 4090 && i % 61) /* padding: a sample */
                                continue;
                        b.data[i] ^= (uint8_t)bit;
                        directory_put(&f->dir, file, b.data, b.len);
                        if (fixture_verify(f, f->name, &d) != -EBADMSG)
                                fail_msg("%s: byte %zu, bit %d", file, i, bit);
                        b.data[i] ^= (uint8_t)bit;
                }
        directory_put(&f->dir, file, b.data, b.len);
}

static void finds_every_flip(void **state)
{
        struct fixture f;

        (void)state;
        fixture_init(&f, &format_safetensors, "m-9", two_ranks, 2);
        fixture_write(&f, 9);
        finds_every_flipped_byte(&f, "m-9.safetensors.index.json");
        finds_every_flipped_byte(&f, "m-9-00002-of-00002.safetensors");
        assert_int_equal(fixture_verify(&f, "m-9", NULL), 0);
        fixture_done(&f);
}

/* One header of another writer's, with so many bytes of data. */
static int parse(const char *json, uint64_t data, struct diag *d)
{
        _cleanup_(stored_freep) struct stored *s = NULL;
        _cleanup_(damage_done) struct damage damage = {0};
        _cleanup_(freep) uint8_t *head = malloc(strlen(json) + 8);
        struct safetensors_source source = {head, strlen(json) + 8, strlen(json) + 8 + data};
        size_t file;
        int r;

        fixed64_put(head, strlen(json));
        memcpy(head + 8, json, strlen(json));
        assert_int_equal(stored_new(&format_safetensors, "m", &s), 0);
        assert_int_equal(stored_add_file(s, "m.safetensors", &file), 0);
        r = safetensors_parse(&source, s, file, &damage, d);
        return r < 0 ? r : damage_tell(&damage, d);
}

static void checks_the_structure_of_foreign_files(void **state)
{
        static const struct {
                const char *json;
                uint64_t data;
                int result;
        } cases[] = {
                {"{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}  ", 8, 0},
                {"{}", 0, 0},
                {"{\"__metadata__\":{\"crc32c\":\"anything\"}}", 0, 0},
                {"{}", 1, -EBADMSG},
                {" {}", 0, -EBADMSG},
                {"[]", 0, -EBADMSG},
                {"{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 9, -EBADMSG},
                {"{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[1,9]}}", 9, -EBADMSG},
                {"{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,7]}}", 7, -EBADMSG},
                {"{\"x\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}", 8, -EBADMSG},
                {"{\"x\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, -EBADMSG},
                {"{\"x\":{\"dtype\":\"F33\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, -EBADMSG},
                {"{\"x\":{\"dtype\":\"F4\",\"shape\":[2],\"data_offsets\":[0,1]}}", 1, -EOPNOTSUPP},
                {"{\"x\":{\"dtype\":\"U8\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]"
                 "}}",
                 0, -EBADMSG},
                {"{\"x\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                 "\"x\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
                 1, -EBADMSG},
                {"{\"x\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
                 "\"y\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}",
                 3, -EBADMSG},
                {"{\"__metadata__\":{\"a\":1}}", 0, -EBADMSG},
                {"{\"x\":[]}", 0, -EBADMSG},
                {"{\"x\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}", 1, -EBADMSG},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_(diag_done) struct diag d = {0};
                int r = parse(cases[i].json, cases[i].data, &d);

                if (r != cases[i].result)
                        fail_msg("%s: %d %s", cases[i].json, r, diag_text(&d, r));
        }
}

/* Another tool writes a file of ours anew and keeps __metadata__: the sums mean nothing now. */
static void takes_rewritten_files_for_foreign(void **state)
{
        (void)state;
        assert_int_equal(
                parse("{\"__metadata__\":{\"crc32c\":\"00000000\",\"head_crc32c\":\"12345678\"},"
                      "\"x\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
                      1, NULL),
                0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(lays_wide_types_first_without_holes),
                cmocka_unit_test(refuses_what_it_cannot_hold),
                cmocka_unit_test(names_files_as_hugging_face_does),
                cmocka_unit_test(head_has_its_size_for_any_step_and_sums),
                cmocka_unit_test(reads_back_one_file),
                cmocka_unit_test(reads_back_shards),
                cmocka_unit_test(finds_every_flip),
                cmocka_unit_test(checks_the_structure_of_foreign_files),
                cmocka_unit_test(takes_rewritten_files_for_foreign),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
