#include "io.h"

#include "cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define FAKE_FILE_BYTES 64

/* A file in memory whose calls follow a script: > 0 at most that many bytes, 0 nothing, < 0 fails
 * with that errno.  Behind the script's end every call is served in full. */
struct fake {
        uint8_t bytes[FAKE_FILE_BYTES];
        int script[16];
        unsigned at, calls;
};

static struct fake fake;

static ssize_t fake_count(size_t n, off_t offset)
{
        int step = fake.at < ARRAY_SIZE(fake.script) ? fake.script[fake.at] : FAKE_FILE_BYTES;

        assert_true(offset >= 0 && offset <= FAKE_FILE_BYTES);
        fake.at++;
        fake.calls++;
        if (step < 0) {
                errno = -step;
                return -1;
        }
        if (n > (size_t)step)
                n = (size_t)step;
        return (ssize_t)(n > FAKE_FILE_BYTES - (size_t)offset ? FAKE_FILE_BYTES - (size_t)offset
                                                              : n);
}

static ssize_t fake_pread(int fd, void *p, size_t n, off_t offset)
{
        ssize_t done = fake_count(n, offset);

        assert_int_equal(fd, 7);
        if (done > 0)
                memcpy(p, fake.bytes + offset, (size_t)done);
        return done;
}

static ssize_t fake_pwrite(int fd, const void *p, size_t n, off_t offset)
{
        ssize_t done = fake_count(n, offset);

        assert_int_equal(fd, 7);
        if (done > 0)
                memcpy(fake.bytes + offset, p, (size_t)done);
        return done;
}

static const struct io fake_io = {.pread = fake_pread, .pwrite = fake_pwrite};

static int fake_start(void **state)
{
        (void)state;
        fake = (struct fake){0};
        for (size_t i = 0; i < ARRAY_SIZE(fake.script); i++)
                fake.script[i] = FAKE_FILE_BYTES;
        return 0;
}

static void test_write_short_and_interrupted(void **state)
{
        (void)state;
        memcpy(fake.script, (int[]){1, -EINTR, 3, -EINTR, -EINTR, 2}, 6 * sizeof(int));
        assert_int_equal(io_write_all(&fake_io, 7, "0123456789", 10, 5), 0);
        assert_memory_equal(fake.bytes,
                            "\0\0\0\0\0"
                            "0123456789\0",
                            16);
        assert_int_equal(fake.calls, 7);
}

static void test_write_failures(void **state)
{
        (void)state;
        memcpy(fake.script, (int[]){4, -ENOSPC}, 2 * sizeof(int));
        assert_int_equal(io_write_all(&fake_io, 7, "0123456789", 10, 0), -ENOSPC);
        assert_memory_equal(fake.bytes, "0123\0", 5);
        memcpy(fake.script, (int[]){4, 0}, 2 * sizeof(int));
        fake.at = 0;
        assert_int_equal(io_write_all(&fake_io, 7, "0123456789", 10, 0), -EIO);
        assert_int_equal(fake.calls, 4);
}

static void test_read_short_and_interrupted(void **state)
{
        char text[11] = "";

        (void)state;
        memcpy(fake.bytes + 20, "0123456789", 10);
        memcpy(fake.script, (int[]){-EINTR, 1, 4, -EINTR, 1}, 5 * sizeof(int));
        assert_int_equal(io_read_all(&fake_io, 7, text, 10, 20), 0);
        assert_string_equal(text, "0123456789");
        assert_int_equal(fake.calls, 6);
}

static void test_read_failures(void **state)
{
        char text[16];

        (void)state;
        assert_int_equal(io_read_all(&fake_io, 7, text, 10, FAKE_FILE_BYTES - 9), -ENODATA);
        assert_int_equal(io_read_all(&fake_io, 7, text, 9, FAKE_FILE_BYTES - 9), 0);
        memcpy(fake.script, (int[]){4, -EIO}, 2 * sizeof(int));
        fake.at = 0;
        assert_int_equal(io_read_all(&fake_io, 7, text, 10, 0), -EIO);
}

static void test_nothing_is_no_call(void **state)
{
        (void)state;
        assert_int_equal(io_write_all(&fake_io, 7, NULL, 0, 0), 0);
        assert_int_equal(io_read_all(&fake_io, 7, NULL, 0, 0), 0);
        assert_int_equal(fake.calls, 0);
}

static void test_ranges(void **state)
{
        char c = 0;

        (void)state;
        assert_int_equal(io_write_all(&fake_io, 7, &c, 1, -1), -EFBIG);
        assert_int_equal(io_read_all(&fake_io, 7, &c, 1, -1), -EFBIG);
        assert_int_equal(io_write_all(&fake_io, 7, &c, 1, INT64_MAX), -EFBIG);
        assert_int_equal(io_read_all(&fake_io, 7, &c, SIZE_MAX, 1), -EFBIG);
        assert_int_equal(fake.calls, 0);
}

/* A directory: "file", "sub/file", "link" -> file, "sub/out" -> "..". */
struct dir {
        char path[32];
        int fd;
};

static int dir_start(void **state)
{
        struct dir *d = calloc(1, sizeof(*d));

        assert_non_null(d);
        snprintf(d->path, sizeof(d->path), "/tmp/test-io.XXXXXX");
        assert_non_null(mkdtemp(d->path));
        d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(d->fd >= 0);
        assert_int_equal(mkdirat(d->fd, "sub", 0700), 0);
        close(openat(d->fd, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        close(openat(d->fd, "sub/file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        assert_int_equal(symlinkat("file", d->fd, "link"), 0);
        assert_int_equal(symlinkat("..", d->fd, "sub/out"), 0);
        *state = d;
        return 0;
}

static int dir_stop(void **state)
{
        static const char *const files[] = {"file", "sub/file", "link", "sub/out", "new", "other"};
        struct dir *d = *state;

        for (size_t i = 0; i < ARRAY_SIZE(files); i++)
                unlinkat(d->fd, files[i], 0);
        unlinkat(d->fd, "sub", AT_REMOVEDIR);
        close(d->fd);
        assert_int_equal(rmdir(d->path), 0);
        free(d);
        return 0;
}

static void assert_opens(const struct dir *d, const char *path, int flags)
{
        _cleanup_(closep) int fd = io_real.open(d->fd, path, flags, 0640);

        assert_true(fd >= 0);
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static void assert_refused(const struct dir *d, const char *path, int flags, int error)
{
        errno = 0;
        assert_int_equal(io_real.open(d->fd, path, flags, 0640), -1);
        assert_int_equal(errno, error);
}

static void test_open_is_confined(void **state)
{
        const struct dir *d = *state;

        assert_opens(d, "file", O_RDONLY);
        assert_opens(d, "sub/file", O_RDWR);
        assert_opens(d, ".", O_RDONLY | O_DIRECTORY);
        assert_opens(d, "sub/../file", O_RDONLY);
        assert_refused(d, "link", O_RDONLY, ELOOP);
        assert_refused(d, "link", O_WRONLY | O_CREAT, ELOOP);
        assert_refused(d, "sub/out", O_RDONLY, ELOOP);
        assert_refused(d, "sub/out/file", O_RDONLY, ELOOP);
        assert_refused(d, "..", O_RDONLY, EXDEV);
        assert_refused(d, "sub/../../etc/passwd", O_RDONLY, EXDEV);
        assert_refused(d, "/etc/passwd", O_RDONLY, EXDEV);
        assert_refused(d, "none", O_RDONLY, ENOENT);
        assert_refused(d, "", O_RDONLY, ENOENT);
        assert_refused(d, "file", O_WRONLY | O_CREAT | O_EXCL, EEXIST);
}

static void test_open_creates(void **state)
{
        const struct dir *d = *state;
        struct stat st;

        assert_opens(d, "new", O_WRONLY | O_CREAT | O_EXCL);
        assert_int_equal(fstatat(d->fd, "new", &st, 0), 0);
        assert_int_equal(st.st_mode & 0777 & ~0640, 0);
        assert_int_equal(st.st_mode & 0600, 0600);
}

static void test_names(void **state)
{
        const struct dir *d = *state;
        struct statx stx;

        assert_int_equal(io_real.link(d->fd, "file", d->fd, "other"), 0);
        assert_int_equal(io_real.statx(d->fd, "other", 0, STATX_NLINK, &stx), 0);
        assert_int_equal(stx.stx_nlink, 2);
        assert_int_equal(io_real.rename(d->fd, "other", d->fd, "sub/file", RENAME_NOREPLACE), -1);
        assert_int_equal(errno, EEXIST);
        assert_int_equal(io_real.rename(d->fd, "other", d->fd, "new", RENAME_NOREPLACE), 0);
        assert_int_equal(io_real.unlink(d->fd, "new", 0), 0);
        assert_int_equal(io_real.unlink(d->fd, "new", 0), -1);
        assert_int_equal(errno, ENOENT);
        assert_int_equal(io_real.mkdir(d->fd, "new", 0700), 0);
        assert_int_equal(io_real.unlink(d->fd, "new", AT_REMOVEDIR), 0);
}

static void test_real_file(void **state)
{
        const struct dir *d = *state;
        int fd = io_real.open(d->fd, "file", O_RDWR, 0);
        char text[8] = "";
        struct statvfs vfs;

        assert_true(fd >= 0);
        assert_int_equal(io_write_all(&io_real, fd, "hello", 5, 3), 0);
        assert_int_equal(io_real.fdatasync(fd), 0);
        assert_int_equal(io_real.fsync(fd), 0);
        assert_int_equal(io_read_all(&io_real, fd, text, 5, 3), 0);
        assert_string_equal(text, "hello");
        assert_int_equal(io_read_all(&io_real, fd, text, 6, 3), -ENODATA);
        assert_int_equal(io_real.ftruncate(fd, 6), 0);
        assert_int_equal(io_read_all(&io_real, fd, text, 4, 3), -ENODATA);
        assert_int_equal(io_real.fstatvfs(fd, &vfs), 0);
        assert_true(vfs.f_frsize > 0);
        assert_int_equal(io_real.close(fd), 0);
}

static void test_getdents(void **state)
{
        const struct dir *d = *state;
        _Alignas(struct dirent64) char records[4096];
        unsigned files = 0, links = 0;
        ssize_t n = io_real.getdents(d->fd, records, sizeof(records));

        assert_true(n > 0);
        for (ssize_t at = 0; at < n;) {
                const struct dirent64 *e = (const struct dirent64 *)(records + at);

                files += strcmp(e->d_name, "file") == 0;
                links += strcmp(e->d_name, "link") == 0;
                at += e->d_reclen;
        }
        assert_int_equal(files, 1);
        assert_int_equal(links, 1);
        assert_int_equal(io_real.getdents(d->fd, records, sizeof(records)), 0);
}

#define WITH_FAKE(f) cmocka_unit_test_setup(f, fake_start)
#define WITH_DIR(f) cmocka_unit_test_setup_teardown(f, dir_start, dir_stop)

int main(void)
{
        const struct CMUnitTest tests[] = {
                WITH_FAKE(test_write_short_and_interrupted),
                WITH_FAKE(test_write_failures),
                WITH_FAKE(test_read_short_and_interrupted),
                WITH_FAKE(test_read_failures),
                WITH_FAKE(test_nothing_is_no_call),
                WITH_FAKE(test_ranges),
                WITH_DIR(test_open_is_confined),
                WITH_DIR(test_open_creates),
                WITH_DIR(test_names),
                WITH_DIR(test_real_file),
                WITH_DIR(test_getdents),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
