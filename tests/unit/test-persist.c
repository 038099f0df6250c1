/* Data files: every size and alignment comes out byte for byte, on tmpfs and on the disk, with
 * direct writes and without. */
#include "store-kept.h"

#include "persist.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define MAX_BYTES ((size_t)300 * 1024)

static uint8_t *pattern(void)
{
        uint8_t *p = aligned_alloc(4096, MAX_BYTES + 4096);

        assert_non_null(p);
        for (size_t i = 0; i < MAX_BYTES + 4096; i++)
                p[i] = (uint8_t)(i * 31 + i / 251);
        return p;
}

static void check_file(struct kept *k, const uint8_t *memory, size_t bytes)
{
        uint8_t *back = malloc(bytes + 1);
        int fd = openat(k->dir->fd, "file", O_RDONLY | O_CLOEXEC);

        assert_true(fd >= 0 && back);
        assert_int_equal(pread(fd, back, bytes + 1, 0), bytes);
        assert_memory_equal(back, memory, bytes);
        close(fd);
        free(back);
}

/* Written in pieces of `step` bytes from `memory`. */
static void write_file(struct kept *k, const struct io *io, const uint8_t *memory, size_t bytes,
                       size_t step)
{
        struct store_dir d = {.io = io, .fd = k->dir->fd};
        struct persist p;

        assert_int_equal(persist_open(&p, &d, "file", bytes), 0);
        for (size_t at = 0; at < bytes; at += step)
                assert_int_equal(
                        persist_write(&p, memory + at, at, bytes - at < step ? bytes - at : step),
                        0);
        assert_int_equal(persist_sync(&p), 0);
        persist_close(&p);
        check_file(k, memory, bytes);
}

static const size_t sizes[] = {0,        1,     511,    512,    4095,   4096,   4097,
                               64 << 10, 70000, 131072, 131073, 262143, 262144, MAX_BYTES};

static void write_all_sizes(struct kept *k, const struct io *io)
{
        static const size_t steps[] = {MAX_BYTES, 128 << 10, 65536 + 512, 60001};
        uint8_t *memory = pattern();

        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
                for (size_t s = 0; s < ARRAY_SIZE(steps); s++) {
                        write_file(k, io, memory, sizes[i], steps[s]);
                        write_file(k, io, memory + 8, sizes[i], steps[s]);
                }
        free(memory);
}

static void test_disk(void **state)
{
        assert_int_equal(kept_open(*state), 0);
        write_all_sizes(*state, &io_real);
}

static void test_tmpfs(void **state)
{
        struct kept k;

        (void)state;
        if (access("/dev/shm", W_OK) < 0)
                skip();
        kept_make(&k, "/dev/shm");
        kept_start(&k, &io_real);
        assert_int_equal(kept_open(&k), 0);
        write_all_sizes(&k, &io_real);
        kept_stop(&k);
        kept_remove(&k);
}

/* ---- file systems that refuse ---- */

static int open_refusing(int dirfd, const char *path, int flags, mode_t mode)
{
        if (flags & O_DIRECT) {
                errno = EINVAL;
                return -1;
        }
        return io_real.open(dirfd, path, flags, mode);
}

/* Takes O_DIRECT at open, and refuses some of the writes. */
static ssize_t write_refusing(int fd, const void *p, size_t n, off_t offset)
{
        if ((fcntl(fd, F_GETFL) & O_DIRECT) && offset > 0) {
                errno = EINVAL;
                return -1;
        }
        return io_real.pwrite(fd, p, n, offset);
}

/* A short count leaves a rest that is not aligned. */
static ssize_t write_short(int fd, const void *p, size_t n, off_t offset)
{
        return io_real.pwrite(fd, p, n > 1000 ? n - 1000 : n, offset);
}

static int statx_unknown(int dirfd, const char *path, int flags, unsigned mask, struct statx *ret)
{
        int r = io_real.statx(dirfd, path, flags, mask, ret);

        ret->stx_mask &= STATX_BASIC_STATS;
        return r;
}

static void test_refused(void **state)
{
        struct io io = io_real;

        assert_int_equal(kept_open(*state), 0);
        io.open = open_refusing;
        write_all_sizes(*state, &io);
        io = io_real;
        io.pwrite = write_refusing;
        write_all_sizes(*state, &io);
        io.pwrite = write_short;
        write_all_sizes(*state, &io);
        io = io_real;
        io.statx = statx_unknown;
        write_all_sizes(*state, &io);
}

/* ---- sizes of whole saves ---- */

static void test_saves_of_every_size(void **state)
{
        static const uint64_t elements[] = {0, 1, 1023, 1024, 1025, 16383, 16384, 16385, 5000000};
        struct kept *k = *state;

        assert_int_equal(kept_open(k), 0);
        for (size_t i = 0; i < ARRAY_SIZE(elements); i++) {
                char name[32];
                struct kept_state s;
                struct checkpoint *c;

                snprintf(name, sizeof(name), "model.ckpt-%zu", i);
                c = kept_checkpoint(name, (int64_t)i, (int64_t)i + 1);
                kept_state_make(&s, &format_tensorbundle, &elements[i], 1);
                struct store_shard shard = {
                        .manifest = s.manifest, .memory = s.memory, .crc32c = s.crc32c};
                struct store_save t = {.format = &format_tensorbundle,
                                       .checkpoint = c,
                                       .n_shards = 1,
                                       .shards = &shard};
                assert_int_equal(kept_save(k, &t), 0);
                assert_int_equal(kept_verify(k, name), 0);
                kept_state_done(&s);
                checkpoint_free(c);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_disk, kept_setup, kept_teardown),
                cmocka_unit_test(test_tmpfs),
                cmocka_unit_test_setup_teardown(test_refused, kept_setup, kept_teardown),
                cmocka_unit_test_setup_teardown(test_saves_of_every_size, kept_setup,
                                                kept_teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
