#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CONFINED (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)

/* One name of the directory itself: without openat2 nothing longer can be confined. */
static bool is_plain_name(const char *path)
{
        return !strchr(path, '/') && strcmp(path, "..") != 0;
}

static bool creates(int flags)
{
        return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
}

static int real_open(int dirfd, const char *path, int flags, mode_t mode)
{
        struct open_how how = {
                .flags = (unsigned)(flags | O_CLOEXEC),
                .mode = creates(flags) ? mode : 0,
                .resolve = CONFINED,
        };
        long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));

        if (fd < 0 && errno == ENOSYS && is_plain_name(path))
                return openat(dirfd, path, flags | O_CLOEXEC | O_NOFOLLOW, mode);
        return (int)fd;
}

static int real_link(int olddir, const char *old, int newdir, const char *new)
{
        return linkat(olddir, old, newdir, new, 0);
}

static ssize_t real_getdents(int fd, void *p, size_t n)
{
        return syscall(SYS_getdents64, fd, p, n);
}

const struct io io_real = {
        .open = real_open,
        .close = close,
        .pread = pread,
        .pwrite = pwrite,
        .fallocate = fallocate,
        .ftruncate = ftruncate,
        .fdatasync = fdatasync,
        .fsync = fsync,
        .rename = renameat2,
        .link = real_link,
        .unlink = unlinkat,
        .mkdir = mkdirat,
        .statx = statx,
        .fstatvfs = fstatvfs,
        .getdents = real_getdents,
};

int io_open(const struct io *io, int dirfd, const char *path, int flags)
{
        int fd;

        do
                fd = io->open(dirfd, path, flags, 0);
        while (fd < 0 && errno == EINTR);
        return fd;
}

/* Does [offset, offset + n) lie in what an off_t can name? */
static bool is_range(size_t n, off_t offset)
{
        off_t end;

        return offset >= 0 && !__builtin_add_overflow(offset, n, &end);
}

int io_write_all(const struct io *io, int fd, const void *p, size_t n, off_t offset)
{
        const uint8_t *at = p;

        if (!is_range(n, offset))
                return -EFBIG;
        while (n > 0) {
                ssize_t done = io->pwrite(fd, at, n, offset);

                if (done < 0 && errno == EINTR)
                        continue;
                if (done < 0)
                        return -errno;
                if (done == 0)
                        return -EIO;
                at += done;
                offset += done;
                n -= (size_t)done;
        }
        return 0;
}

int io_read_all(const struct io *io, int fd, void *p, size_t n, off_t offset)
{
        uint8_t *at = p;

        if (!is_range(n, offset))
                return -EFBIG;
        while (n > 0) {
                ssize_t done = io->pread(fd, at, n, offset);

                if (done < 0 && errno == EINTR)
                        continue;
                if (done < 0)
                        return -errno;
                if (done == 0)
                        return -ENODATA;
                at += done;
                offset += done;
                n -= (size_t)done;
        }
        return 0;
}
