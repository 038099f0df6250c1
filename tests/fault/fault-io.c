#include "fault-io.h"

#include <errno.h>
#include <stdatomic.h>
#include <unistd.h>

const char *const fault_names[] = {"none",  "EIO",    "ENOSPC", "a short count",
                                   "EINTR", "a kill", NULL};

static struct { /* the table of calls has no room for a context */
        atomic_uint calls, at;
        enum fault fault;
        atomic_bool fired;
} armed;

void fault_arm(enum fault fault, unsigned n)
{
        armed.fault = fault;
        atomic_store(&armed.fired, false);
        atomic_store(&armed.calls, 0);
        atomic_store(&armed.at, n);
}

bool fault_disarm(void)
{
        atomic_store(&armed.at, 0);
        return atomic_load(&armed.fired);
}

static bool is_due(void)
{
        unsigned at = atomic_load(&armed.at);

        if (at == 0 || atomic_fetch_add(&armed.calls, 1) + 1 != at)
                return false;
        atomic_store(&armed.fired, true);
        if (armed.fault == FAULT_KILL)
                _exit(FAULT_KILLED);
        return true;
}

/* Does this call fail?  errno is set then. */
static bool fails(void)
{
        static const int errors[] = {[FAULT_EIO] = EIO,
                                     [FAULT_ENOSPC] = ENOSPC,
                                     [FAULT_EINTR] = EINTR,
                                     [FAULT_KILL] = 0};

        if (armed.fault == FAULT_SHORT || !is_due())
                return false;
        errno = errors[armed.fault];
        return true;
}

/* Bytes to be read or written, or -1. */
static ssize_t shortened(size_t n)
{
        if (!is_due())
                return (ssize_t)n;
        if (armed.fault == FAULT_SHORT)
                return (ssize_t)(n > 1 ? n / 2 : n);
        errno = armed.fault == FAULT_EIO ? EIO : armed.fault == FAULT_EINTR ? EINTR : ENOSPC;
        return -1;
}

static int fault_open(int dirfd, const char *path, int flags, mode_t mode)
{
        return fails() ? -1 : io_real.open(dirfd, path, flags, mode);
}

/* Linux closes the descriptor whatever it answers. */
static int fault_close(int fd)
{
        bool failed = fails();
        int r = io_real.close(fd);

        return failed ? -1 : r;
}

static ssize_t fault_pread(int fd, void *p, size_t n, off_t offset)
{
        ssize_t m = shortened(n);

        return m < 0 ? m : io_real.pread(fd, p, (size_t)m, offset);
}

static ssize_t fault_pwrite(int fd, const void *p, size_t n, off_t offset)
{
        ssize_t m = shortened(n);

        return m < 0 ? m : io_real.pwrite(fd, p, (size_t)m, offset);
}

static int fault_fallocate(int fd, int mode, off_t offset, off_t length)
{
        return fails() ? -1 : io_real.fallocate(fd, mode, offset, length);
}

static int fault_ftruncate(int fd, off_t length)
{
        return fails() ? -1 : io_real.ftruncate(fd, length);
}

static int fault_sync(int fd)
{
        (void)fd;
        return fails() ? -1 : 0;
}

static int fault_rename(int olddir, const char *old, int newdir, const char *new, unsigned flags)
{
        return fails() ? -1 : io_real.rename(olddir, old, newdir, new, flags);
}

static int fault_link(int olddir, const char *old, int newdir, const char *new)
{
        return fails() ? -1 : io_real.link(olddir, old, newdir, new);
}

static int fault_unlink(int dirfd, const char *path, int flags)
{
        return fails() ? -1 : io_real.unlink(dirfd, path, flags);
}

static int fault_mkdir(int dirfd, const char *path, mode_t mode)
{
        return fails() ? -1 : io_real.mkdir(dirfd, path, mode);
}

static int fault_statx(int dirfd, const char *path, int flags, unsigned mask, struct statx *ret)
{
        return fails() ? -1 : io_real.statx(dirfd, path, flags, mask, ret);
}

static int fault_fstatvfs(int fd, struct statvfs *ret)
{
        return fails() ? -1 : io_real.fstatvfs(fd, ret);
}

static ssize_t fault_getdents(int fd, void *p, size_t n)
{
        return fails() ? -1 : io_real.getdents(fd, p, n);
}

const struct io fault_io = {
        .open = fault_open,
        .close = fault_close,
        .pread = fault_pread,
        .pwrite = fault_pwrite,
        .fallocate = fault_fallocate,
        .ftruncate = fault_ftruncate,
        .fdatasync = fault_sync,
        .fsync = fault_sync,
        .rename = fault_rename,
        .link = fault_link,
        .unlink = fault_unlink,
        .mkdir = fault_mkdir,
        .statx = fault_statx,
        .fstatvfs = fault_fstatvfs,
        .getdents = fault_getdents,
};
