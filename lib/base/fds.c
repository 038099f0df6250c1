#include "fds.h"

#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define READ_STEP_BYTES (64 * 1024)
#define FDINFO_MAX_BYTES (64 * 1024)

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

/* Kernels with vm.memfd_noexec=2 insist on the flag, those before 6.3 refuse it. */
static int memfd_create_sealable(const char *name)
{
        int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

        if (fd < 0 && errno == EINVAL)
                fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
        return fd < 0 ? -errno : fd;
}

int fds_memfd_new(const char *name, uint64_t bytes)
{
        _cleanup_(closep) int fd = -1;

        if (bytes > INT64_MAX)
                return -EFBIG;
        fd = memfd_create_sealable(name);
        if (fd < 0)
                return fd;
        if (ftruncate(fd, (off_t)bytes) < 0 ||
            fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
                return -errno;
        return take_fd(&fd);
}

int fds_memfd_of(const char *name, const void *p, size_t n)
{
        _cleanup_(closep) int fd = fds_memfd_new(name, n);
        int r;

        if (fd < 0)
                return fd;
        r = io_write_all(&io_real, fd, p, n, 0);
        if (r < 0)
                return r;
        if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL) < 0)
                return -errno;
        return take_fd(&fd);
}

int fds_memfd_check(int fd, uint64_t bytes)
{
        struct stat st;
        int seals = fcntl(fd, F_GET_SEALS);

        if (seals < 0 || !(seals & F_SEAL_SHRINK))
                return -EPERM;
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size < bytes)
                return -EPERM;
        return 0;
}

/* Appends what lies behind the buffer's end in the file: the count, 0 at the end of the file. */
static ssize_t read_step(int fd, size_t max, struct buffer *b)
{
        size_t want = max - b->len < READ_STEP_BYTES ? max - b->len + 1 : READ_STEP_BYTES;
        ssize_t n;
        int r = buffer_reserve(b, want);

        if (r < 0)
                return r;
        do
                n = pread(fd, b->data + b->len, want, (off_t)b->len);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        b->len += (size_t)n;
        b->data[b->len] = '\0';
        return n;
}

/* Address and offset must lie alike within a huge page: the kernel does not see to that for files
 * whose huge pages come later. */
int fds_map_shared(int fd, uint64_t bytes, void **ret)
{
        uint64_t spare = bytes >= FDS_HUGE_BYTES ? FDS_HUGE_BYTES : 0;
        uint8_t *room = mmap(NULL, bytes + spare, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        uint8_t *at = room;
        int r;

        if (room == MAP_FAILED)
                return -errno;
        if (spare > 0)
                at += -(uintptr_t)room % spare;
        if (mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
                r = -errno;
                munmap(room, bytes + spare);
                return r;
        }
        if (at > room)
                munmap(room, (size_t)(at - room));
        if (at < room + spare)
                munmap(at + bytes, (size_t)(room + spare - at));
        *ret = at;
        return 0;
}

int fds_read_all(int fd, size_t max, struct buffer *ret)
{
        _cleanup_(buffer_done) struct buffer b = {0};
        ssize_t n;

        do {
                n = read_step(fd, max, &b);
                if (n < 0)
                        return (int)n;
                if (b.len > max)
                        return -EFBIG;
        } while (n > 0);
        b.max = ret->max;
        buffer_done(ret);
        *ret = b;
        b = (struct buffer){0};
        return 0;
}

int fds_read_file(const char *path, size_t max, struct buffer *ret)
{
        /* O_NONBLOCK: a FIFO must not hold the caller; pread refuses it. */
        _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

        return fd < 0 ? -errno : fds_read_all(fd, max, ret);
}

int fds_pidfd_open(pid_t pid)
{
        long fd = syscall(SYS_pidfd_open, pid, 0U);

        return fd < 0 ? -errno : (int)fd;
}

int fds_pidfd_is_dead(int pidfd)
{
        struct pollfd p = {.fd = pidfd, .events = POLLIN};
        int n;

        do
                n = poll(&p, 1, 0);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        if (pidfd < 0 || p.revents & POLLNVAL)
                return -EBADF;
        return n > 0;
}

pid_t fds_pidfd_pid(int pidfd)
{
        _cleanup_(buffer_done) struct buffer text = {0};
        char path[64];
        const char *at;
        long pid;
        int r;

        snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
        r = fds_read_file(path, FDINFO_MAX_BYTES, &text);
        if (r < 0)
                return r == -ENOENT ? -EBADF : r;
        at = strstr((const char *)text.data, "\nPid:");
        if (!at)
                return -EBADF;
        pid = strtol(at + strlen("\nPid:"), NULL, 10);
        return pid > 0 ? (pid_t)pid : 0;
}
