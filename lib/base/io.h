/* The table of I/O system calls that everything which writes to or reads from a model directory
 * goes through.  io_real is the kernel; fault tests give another table to fail, shorten or kill at
 * the n-th call.  Each function behaves like the system call: -1 and errno. */
#pragma once

#include <dirent.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>

struct statx;

struct io {
        /* openat2 with RESOLVE_BENEATH|RESOLVE_NO_SYMLINKS|RESOLVE_NO_MAGICLINKS, O_CLOEXEC added.
         * Where the kernel has no openat2: plain names only, ENOSYS for longer paths. */
        int (*open)(int dirfd, const char *path, int flags, mode_t mode);
        int (*close)(int fd);
        ssize_t (*pread)(int fd, void *p, size_t n, off_t offset);
        ssize_t (*pwrite)(int fd, const void *p, size_t n, off_t offset);
        int (*fallocate)(int fd, int mode, off_t offset, off_t length);
        int (*ftruncate)(int fd, off_t length);
        int (*fdatasync)(int fd);
        int (*fsync)(int fd);
        int (*rename)(int olddir, const char *old, int newdir, const char *new, unsigned flags);
        int (*link)(int olddir, const char *old, int newdir, const char *new);
        int (*unlink)(int dirfd, const char *path, int flags);
        int (*mkdir)(int dirfd, const char *path, mode_t mode);
        int (*statx)(int dirfd, const char *path, int flags, unsigned mask, struct statx *ret);
        int (*fstatvfs)(int fd, struct statvfs *ret);
        ssize_t (*getdents)(int fd, void *p, size_t n); /* struct linux_dirent64 records */
};

extern const struct io io_real;

/* For reading what is there; again after EINTR; -1 and errno, as the call. */
int io_open(const struct io *io, int dirfd, const char *path, int flags);
/* Loops over short counts and EINTR; -errno; 0 bytes written is -EIO. */
int io_write_all(const struct io *io, int fd, const void *p, size_t n, off_t offset);
/* Reads exactly n bytes; -ENODATA when the file ends before. */
int io_read_all(const struct io *io, int fd, void *p, size_t n, off_t offset);
