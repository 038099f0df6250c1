#include "fs-call.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/* Direct I/O's alignment came with Linux 6.1; older headers lack it, the kernel's layout is
 * fixed. */
#define STATX_DIOALIGN_ 0x2000U
#define STATX_MEMORY_ALIGN_AT 0x98
#define STATX_OFFSET_ALIGN_AT 0x9c
#define UNKNOWN_ALIGN_BYTES 4096U /* suits every disk of today */
#define LARGEST_ALIGN_BYTES (1024U * 1024U)

int call_open(const struct io *io, struct place at, int flags, mode_t mode)
{
        int fd;

        do
                fd = io->open(at.dir, at.name, flags, mode);
        while (fd < 0 && errno == EINTR);
        return fd < 0 ? -errno : fd;
}

void call_close(const struct io *io, int fd)
{
        if (fd >= 0)
                io->close(fd);
}

int call_fallocate(const struct io *io, int fd, uint64_t bytes)
{
        int r;

        if (bytes == 0)
                return 0;
        do
                r = io->fallocate(fd, 0, 0, (off_t)bytes);
        while (r < 0 && errno == EINTR);
        if (r < 0 && (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL))
                return 0;
        return r < 0 ? -errno : 0;
}

int call_truncate(const struct io *io, int fd, uint64_t bytes)
{
        int r;

        do
                r = io->ftruncate(fd, (off_t)bytes);
        while (r < 0 && errno == EINTR);
        return r < 0 ? -errno : 0;
}

int call_fsync(const struct io *io, int fd)
{
        int r;

        do
                r = io->fsync(fd);
        while (r < 0 && errno == EINTR);
        return r < 0 ? -errno : 0;
}

int call_fdatasync(const struct io *io, int fd)
{
        int r;

        do
                r = io->fdatasync(fd);
        while (r < 0 && errno == EINTR);
        return r < 0 ? -errno : 0;
}

int call_mkdir(const struct io *io, struct place at, mode_t mode)
{
        int r;

        do
                r = io->mkdir(at.dir, at.name, mode);
        while (r < 0 && errno == EINTR);
        if (r < 0)
                return errno == EEXIST ? 1 : -errno;
        return 0;
}

int call_unlink(const struct io *io, struct place at)
{
        int r;

        do
                r = io->unlink(at.dir, at.name, 0);
        while (r < 0 && errno == EINTR);
        if (r < 0)
                return errno == ENOENT ? 1 : -errno;
        return 0;
}

static int call_statx(const struct io *io, struct place at, unsigned mask, struct statx *ret)
{
        int flags = AT_SYMLINK_NOFOLLOW | (*at.name ? 0 : AT_EMPTY_PATH);
        int r;

        do
                r = io->statx(at.dir, at.name, flags, mask, ret);
        while (r < 0 && errno == EINTR);
        return r < 0 ? -errno : 0;
}

int call_facts(const struct io *io, struct place at, struct file_facts *ret)
{
        struct statx st = {0};
        int r = call_statx(io, at, STATX_BASIC_STATS, &st);

        if (r < 0)
                return r;
        *ret = (struct file_facts){
                .bytes = st.stx_size,
                .inode = st.stx_ino,
                .device = (uint64_t)st.stx_dev_major << 32 | st.stx_dev_minor,
                .modified_ms = st.stx_mtime.tv_sec * 1000 + st.stx_mtime.tv_nsec / 1000000,
                .links = st.stx_nlink,
                .is_regular = S_ISREG(st.stx_mode),
                .is_directory = S_ISDIR(st.stx_mode),
        };
        return 0;
}

int call_facts_of(const struct io *io, int fd, struct file_facts *ret)
{
        return call_facts(io, (struct place){fd, ""}, ret);
}

static int rename_with(const struct io *io, struct place from, struct place to, unsigned flags)
{
        int r;

        do
                r = io->rename(from.dir, from.name, to.dir, to.name, flags);
        while (r < 0 && errno == EINTR);
        return r < 0 ? -errno : 0;
}

int call_rename(const struct io *io, struct place from, struct place to)
{
        return rename_with(io, from, to, 0);
}

/* A crash between the two left the file under both names. */
static bool is_same_file(const struct io *io, struct place a, struct place b)
{
        struct file_facts x, y;

        return call_facts(io, a, &x) == 0 && call_facts(io, b, &y) == 0 && x.inode == y.inode &&
               x.device == y.device;
}

static int link_and_unlink(const struct io *io, struct place from, struct place to)
{
        int r;

        do
                r = io->link(from.dir, from.name, to.dir, to.name);
        while (r < 0 && errno == EINTR);
        r = r < 0 ? -errno : 0;
        if (r == -EEXIST && is_same_file(io, from, to))
                r = 0;
        if (r < 0)
                return r;
        r = call_unlink(io, from);
        if (r < 0)
                call_unlink(io, to);
        return r < 0 ? r : 0;
}

int call_move(const struct io *io, struct place from, struct place to)
{
        int r = rename_with(io, from, to, RENAME_NOREPLACE);

        if (r == -EINVAL || r == -ENOSYS)
                r = link_and_unlink(io, from, to);
        return r;
}

static bool is_alignment(uint32_t n)
{
        return n > 0 && n <= LARGEST_ALIGN_BYTES && (n & (n - 1)) == 0;
}

void call_alignment(const struct io *io, int fd, uint32_t *ret_memory, uint32_t *ret_offset)
{
        struct statx st = {0};
        uint32_t memory, offset;

        *ret_memory = *ret_offset = UNKNOWN_ALIGN_BYTES;
        if (call_statx(io, (struct place){fd, ""}, STATX_DIOALIGN_, &st) < 0)
                return;
        if (!(st.stx_mask & STATX_DIOALIGN_))
                return;
        memcpy(&memory, (const uint8_t *)&st + STATX_MEMORY_ALIGN_AT, sizeof(memory));
        memcpy(&offset, (const uint8_t *)&st + STATX_OFFSET_ALIGN_AT, sizeof(offset));
        if (offset == 0)
                *ret_memory = *ret_offset = 0;
        else if (is_alignment(memory) && is_alignment(offset)) {
                *ret_memory = memory;
                *ret_offset = offset;
        }
}
