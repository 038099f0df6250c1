#include "small-file.h"

#include <errno.h>
#include <fcntl.h>

#define READ_STEP_BYTES ((size_t)64 * 1024)

static int read_text(const struct io *io, int fd, size_t max, struct buffer *ret)
{
        for (;;) {
                size_t want =
                        max - ret->len < READ_STEP_BYTES ? max - ret->len + 1 : READ_STEP_BYTES;
                int r = buffer_reserve(ret, want);
                ssize_t n;

                if (r < 0)
                        return r;
                n = io->pread(fd, ret->data + ret->len, want, (off_t)ret->len);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                ret->len += (size_t)n;
                ret->data[ret->len] = '\0';
                if (ret->len > max)
                        return -EFBIG;
                if (n == 0)
                        return 0;
        }
}

int small_file_read(const struct io *io, struct place at, size_t max, struct buffer *ret)
{
        struct file_facts facts;
        int fd, r;

        /* O_NONBLOCK: a FIFO must not hold the worker. */
        fd = call_open(io, at, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
        if (fd < 0)
                return fd == -ELOOP ? -EBADMSG : fd;
        r = call_facts_of(io, fd, &facts);
        if (r == 0 && !facts.is_regular)
                r = -EBADMSG;
        if (r == 0)
                r = read_text(io, fd, max, ret);
        call_close(io, fd);
        return r;
}

int small_file_create(const struct io *io, struct place at, const struct buffer *text, int *ret_fd)
{
        int fd = call_open(io, at, O_WRONLY | O_CREAT | O_EXCL, 0644);
        int r;

        if (fd < 0)
                return fd;
        r = io_write_all(io, fd, text->data, text->len, 0);
        if (r < 0) {
                call_close(io, fd);
                call_unlink(io, at);
                return r;
        }
        *ret_fd = fd;
        return 0;
}

int small_file_replace(const struct io *io, struct place temporary, const char *name,
                       const struct buffer *text)
{
        int fd, r;

        r = small_file_create(io, temporary, text, &fd);
        if (r == -EEXIST && call_unlink(io, temporary) == 0)
                r = small_file_create(io, temporary, text, &fd);
        if (r < 0)
                return r;
        r = call_fsync(io, fd);
        call_close(io, fd);
        if (r == 0)
                r = call_rename(io, temporary, (struct place){temporary.dir, name});
        if (r < 0) {
                call_unlink(io, temporary);
                return r;
        }
        return call_fsync(io, temporary.dir);
}
