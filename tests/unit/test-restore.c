/* Reading back what was saved: into a slot, into new memory, in part, from elsewhere; and what is
 * damaged. */
#include "store-kept.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

static const uint64_t elements[] = {10, 1, 0, 300};

static void restored(struct store_restore *t)
{
        *(bool *)t->user = true;
}

static int restore(struct kept *k, struct store_restore *t)
{
        bool done = false;

        t->dir = k->dir;
        t->done = restored;
        t->user = &done;
        store_restore_start(k->store, t);
        kept_wait(k, &done);
        return t->r;
}

static void check_memory(const struct kept_state *s, const uint8_t *memory, const int64_t *map)
{
        for (size_t i = 0; i < s->manifest->n; i++) {
                const struct tensor *t = &s->manifest->tensors[i];

                assert_int_equal(map[i], t->offset);
                if (t->bytes > 0)
                        assert_memory_equal(memory + t->offset, s->memory + t->offset, t->bytes);
        }
}

static void make(struct kept *k, struct kept_state *s)
{
        assert_int_equal(kept_open(k), 0);
        assert_int_equal(kept_save_step(k, &format_tensorbundle, 7), 0);
        kept_state_make(s, &format_tensorbundle, elements, ARRAY_SIZE(elements));
}

static void test_new_memory(void **state)
{
        struct kept *k = *state;
        struct store_restore t = {.name = "model.ckpt-7"};
        struct kept_state s;
        uint8_t *memory;

        make(k, &s);
        t.manifest = s.manifest;
        assert_int_equal(restore(k, &t), 0);
        assert_int_equal(t.step, 7);
        memory = mmap(NULL, s.manifest->bytes, PROT_READ, MAP_SHARED, t.data_fd, 0);
        assert_ptr_not_equal(memory, MAP_FAILED);
        check_memory(&s, memory, t.map);
        munmap(memory, s.manifest->bytes);
        assert_non_null(
                strstr(t.stored_json, "{\"name\":\"t3\",\"dtype\":\"float32\",\"shape\":[300]}"));
        store_restore_done(&t);
        kept_state_done(&s);
}

static void test_into_slot(void **state)
{
        struct kept *k = *state;
        struct store_restore t = {.name = "model.ckpt-7"};
        struct kept_state s, empty;

        make(k, &s);
        kept_state_make(&empty, &format_tensorbundle, elements, ARRAY_SIZE(elements));
        memset(empty.memory, 0, s.manifest->bytes);
        t.manifest = s.manifest;
        t.to = empty.memory;
        assert_int_equal(restore(k, &t), 0);
        assert_int_equal(t.data_fd, -1);
        check_memory(&s, empty.memory, t.map);
        store_restore_done(&t);
        kept_state_done(&s);
        kept_state_done(&empty);
}

static void test_elsewhere(void **state)
{
        struct kept *k = *state;
        char path[2 * KEPT_PATH_BYTES];
        struct store_restore t = {.path = path};
        struct kept_state s;

        make(k, &s);
        t.manifest = s.manifest;
        snprintf(path, sizeof(path), "%s/model.ckpt-7", k->path);
        assert_int_equal(restore(k, &t), 0);
        store_restore_done(&t);
        /* The files themselves may be no links. */
        assert_int_equal(mkdirat(k->dir->fd, "sub", 0755), 0);
        assert_int_equal(symlinkat("../model.ckpt-7.index", k->dir->fd, "sub/model.ckpt-7.index"),
                         0);
        t = (struct store_restore){.path = "sub/model.ckpt-7", .manifest = s.manifest};
        assert_true(restore(k, &t) < 0);
        store_restore_done(&t);
        t = (struct store_restore){.path = "../etc/model.ckpt-7", .manifest = s.manifest};
        assert_true(restore(k, &t) < 0);
        store_restore_done(&t);
        kept_state_done(&s);
}

static void test_missing(void **state)
{
        struct kept *k = *state;
        struct store_restore t = {.name = "model.ckpt-8"};
        struct kept_state s;

        make(k, &s);
        t.manifest = s.manifest;
        assert_int_equal(restore(k, &t), -ENOENT);
        assert_non_null(t.diag.text);
        store_restore_done(&t);
        kept_state_done(&s);
}

/* Another shape: refused before anything is read, or left out when parts will do. */
static void test_misfit(void **state)
{
        static const uint64_t others[] = {11, 1, 0, 300};
        struct kept *k = *state;
        struct store_restore t = {.name = "model.ckpt-7"};
        struct kept_state s, other;

        make(k, &s);
        kept_state_make(&other, &format_tensorbundle, others, ARRAY_SIZE(others));
        t.manifest = other.manifest;
        assert_int_equal(restore(k, &t), -EINVAL);
        assert_non_null(
                strstr(t.diag.text, "tensor_name = t0; shape in shape_and_slice spec [11]"));
        assert_int_equal(t.data_fd, -1);
        store_restore_done(&t);
        t = (struct store_restore){
                .name = "model.ckpt-7", .manifest = other.manifest, .partial = true};
        assert_int_equal(restore(k, &t), 0);
        assert_int_equal(t.map[0], -1);
        assert_int_equal(t.map[3], other.manifest->tensors[3].offset);
        store_restore_done(&t);
        kept_state_done(&s);
        kept_state_done(&other);
}

static void flip(struct kept *k, const char *name, off_t offset)
{
        int fd = openat(k->dir->fd, name, O_RDWR | O_CLOEXEC);
        uint8_t byte;

        assert_int_equal(pread(fd, &byte, 1, offset), 1);
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
        close(fd);
}

static void test_damaged(void **state)
{
        struct kept *k = *state;
        struct store_restore t = {.name = "model.ckpt-7"};
        struct kept_state s;

        make(k, &s);
        flip(k, "model.ckpt-7.data-00000-of-00001", 5);
        t.manifest = s.manifest;
        assert_int_equal(restore(k, &t), -EBADMSG);
        assert_non_null(strstr(t.diag.text, "t0"));
        assert_int_equal(t.data_fd, -1);
        store_restore_done(&t);
        assert_int_equal(kept_verify(k, "model.ckpt-7"), -EBADMSG);
        kept_state_done(&s);
}

/* ---- sums of memory ---- */

static void checked(struct store_check *t)
{
        *(bool *)t->user = true;
}

static void test_check_memory(void **state)
{
        static const uint64_t large[] = {3000000, 5, 2500000};
        struct kept *k = *state;
        struct kept_state s;
        struct checkpoint *c = kept_checkpoint("model.ckpt-9", 9, 10);
        bool done = false;

        assert_int_equal(kept_open(k), 0);
        kept_state_make(&s, &format_tensorbundle, large, ARRAY_SIZE(large));
        struct store_shard shard = {.manifest = s.manifest, .memory = s.memory, .crc32c = s.crc32c};
        struct store_save save = {
                .format = &format_tensorbundle, .checkpoint = c, .n_shards = 1, .shards = &shard};
        struct store_check t = {.manifest = s.manifest,
                                .memory = s.memory,
                                .crc32c = s.crc32c,
                                .done = checked,
                                .user = &done};
        assert_int_equal(kept_save(k, &save), 0);
        store_check_start(k->store, &t);
        kept_wait(k, &done);
        assert_int_equal(t.r, 0);
        s.memory[15000000] ^= 1;
        done = false;
        store_check_start(k->store, &t);
        kept_wait(k, &done);
        assert_int_equal(t.r, -EBADMSG);
        assert_non_null(strstr(t.diag.text, "t2: crc32c is "));
        store_check_done(&t);
        kept_state_done(&s);
        checkpoint_free(c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, kept_setup, kept_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_new_memory),   TEST(test_into_slot), TEST(test_elsewhere),
                TEST(test_missing),      TEST(test_misfit),    TEST(test_damaged),
                TEST(test_check_memory),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
