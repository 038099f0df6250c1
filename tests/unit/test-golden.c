/* Checkpoints that TensorFlow and the safetensors library wrote, read by us: every tensor's
 * dtype, shape and content as they said when they wrote it (NAME.expect.json). */
#include "cleanup.h"
#include "stored.h"
#include "table.h"

#include <fcntl.h>
#include <nettle/sha2.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char *const bundles[] = {
        "tensorflow/dtypes/all-7",        "tensorflow/estimator/model.ckpt-100",
        "tensorflow/keras/cp-0001.ckpt",  "tensorflow/keras/saved_model/variables/variables",
        "tensorflow/saver/model.ckpt-10", "tensorflow/saver/model.ckpt-20",
        "tensorflow/shards/model.ckpt-5",
};

static int open_golden(void)
{
        int fd = open(SOURCE_ROOT "/tests/data/golden", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        assert_true(fd >= 0);
        return fd;
}

static struct stored *open_whole(int dirfd, const char *name)
{
        const struct stored_check how = {.io = &io_real, .dirfd = dirfd};
        _cleanup_(diag_done) struct diag d = {0};
        struct stored *s = NULL;
        int r = stored_open(&io_real, dirfd, name, &s, &d);

        if (r >= 0)
                r = stored_verify(s, &how, &d);
        if (r < 0)
                fail_msg("%s: %s", name, diag_text(&d, r));
        return s;
}

static int add_bytes(const void *p, size_t n, void *user)
{
        sha256_update(user, n, p);
        return 0;
}

/* Strings are summed joined by zero bytes. */
static void add_strings(struct sha256_ctx *sum, const struct stored *s,
                        const struct stored_check *how, const struct stored_tensor *t)
{
        struct stored_elements e = {0};
        uint64_t at = 0;

        assert_int_equal(stored_strings(s, how, t, &e, NULL), 0);
        for (size_t i = 0; i < e.n; i++) {
                if (i > 0)
                        sha256_update(sum, 1, (const uint8_t *)"");
                sha256_update(sum, e.lengths[i], e.bytes.data + at);
                at += e.lengths[i];
        }
        assert_int_equal(at, e.bytes.len);
        buffer_done(&e.bytes);
        free(e.lengths);
}

static void check_content(const struct stored *s, const struct stored_check *how,
                          const struct stored_tensor *t, const json_t *expect)
{
        const bool strings = t->dtype->bytes == 0;
        const char *want =
                json_string_value(json_object_get(expect, strings ? "strings_sha256" : "sha256"));
        struct sha256_ctx sum;
        uint8_t digest[SHA256_DIGEST_SIZE];
        char hex[2 * SHA256_DIGEST_SIZE + 1] = "";

        sha256_init(&sum);
        if (strings)
                add_strings(&sum, s, how, t);
        else
                assert_int_equal(
                        stored_stream(s, how, t, &(struct stored_sink){add_bytes, &sum}, NULL), 0);
        sha256_digest(&sum, sizeof(digest), digest);
        for (size_t i = 0; i < sizeof(digest); i++)
                sprintf(hex + 2 * i, "%02x", digest[i]);
        assert_non_null(want);
        if (strcmp(hex, want) != 0)
                fail_msg("%s: sha256 is %s, not %s", t->name, hex, want);
}

static void check_tensor(const struct stored *s, const struct stored_check *how, const char *name,
                         const json_t *expect)
{
        const struct stored_tensor *t = stored_find(s, name);
        const json_t *shape = json_object_get(expect, "shape");

        if (!t)
                fail_msg("%s: %s is not there", s->name, name);
        assert_string_equal(t->dtype->name, json_string_value(json_object_get(expect, "dtype")));
        assert_int_equal(t->n_dims, json_array_size(shape));
        for (int i = 0; i < t->n_dims; i++)
                assert_int_equal(t->dims[i], json_integer_value(json_array_get(shape, (size_t)i)));
        check_content(s, how, t, expect);
}

static void check_golden(int dirfd, const char *name)
{
        const struct stored_check how = {.io = &io_real, .dirfd = dirfd};
        _cleanup_(stored_freep) struct stored *s = open_whole(dirfd, name);
        char path[256];
        const char *tensor;
        json_t *expect, *value;
        int fd;

        snprintf(path, sizeof(path), "%s.expect.json", name);
        fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        expect = json_loadfd(fd, 0, NULL);
        close(fd);
        assert_non_null(expect);
        assert_int_equal(s->n_tensors, json_object_size(expect));
        json_object_foreach (expect, tensor, value)
                check_tensor(s, &how, tensor, value);
        json_decref(expect);
}

static void reads_what_tensorflow_wrote(void **state)
{
        int dirfd = open_golden();

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(bundles); i++)
                check_golden(dirfd, bundles[i]);
        close(dirfd);
}

static void reads_what_safetensors_wrote(void **state)
{
        _cleanup_(stored_freep) struct stored *s = NULL;
        int dirfd = open_golden();

        (void)state;
        check_golden(dirfd, "torch/m.safetensors");
        s = open_whole(dirfd, "torch/hf_sharded/model");
        assert_int_equal(s->n_tensors, 25);
        assert_int_equal(s->n_files, 4);
        assert_false(s->tensors[0].parts[0].has_crc);
        close(dirfd);
}

static void finds_the_step(void **state)
{
        static const struct {
                const char *name;
                int64_t step;
        } cases[] = {
                {"tensorflow/estimator/model.ckpt-60", 60},
                {"tensorflow/shards/model.ckpt-5.index", 5},
                {"torch/m.safetensors", 9},
                {"torch/hf_sharded/model", -1},
        };
        int dirfd = open_golden();

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_(stored_freep) struct stored *s = open_whole(dirfd, cases[i].name);

                assert_int_equal(s->step, cases[i].step);
        }
        close(dirfd);
}

static int copy_entry(const struct table_entry *e, void *user)
{
        return table_writer_add(user, e->key, e->key_len, e->value, e->value_len);
}

/* Our writer, given the same entries, writes TensorFlow's own bytes. */
static void writes_tables_as_tensorflow_does(void **state)
{
        int dirfd = open_golden();

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(bundles); i++) {
                _cleanup_(buffer_done) struct buffer theirs = {0}, ours = {0};
                _cleanup_(table_writer_done) struct table_writer w;
                struct stat st;
                char path[256];
                int fd;

                snprintf(path, sizeof(path), "%s.index", bundles[i]);
                fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
                assert_int_equal(fstat(fd, &st), 0);
                assert_int_equal(buffer_reserve(&theirs, (size_t)st.st_size), 0);
                assert_int_equal(io_read_all(&io_real, fd, theirs.data, (size_t)st.st_size, 0), 0);
                close(fd);
                table_writer_init(&w);
                assert_int_equal(table_read(theirs.data, (size_t)st.st_size, copy_entry, &w, NULL),
                                 0);
                assert_int_equal(table_writer_finish(&w, &ours), 0);
                assert_int_equal(ours.len, st.st_size);
                assert_memory_equal(ours.data, theirs.data, ours.len);
        }
        close(dirfd);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(reads_what_tensorflow_wrote),
                cmocka_unit_test(reads_what_safetensors_wrote),
                cmocka_unit_test(finds_the_step),
                cmocka_unit_test(writes_tables_as_tensorflow_does),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
