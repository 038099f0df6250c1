#include "outbox.h"

#include "json-write.h"
#include "limit.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

struct outbox_mark {
        struct fd_run run;
        size_t at, end; /* offsets in outbox.bytes */
};

static void close_fds(const int *fds, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (fds[i] >= 0)
                        close(fds[i]);
}

void fd_run_done(struct fd_run *run)
{
        close_fds(run->fds, run->n);
        free(run->fds);
        *run = (struct fd_run){0};
}

void outbox_done(struct outbox *o)
{
        for (size_t i = 0; i < o->n_marks; i++)
                fd_run_done(&o->marks[i].run);
        free(o->marks);
        buffer_done(&o->bytes);
        *o = (struct outbox){0};
}

size_t outbox_pending(const struct outbox *o)
{
        return o->bytes.len - o->start;
}

/* Moves at most as much as was written since the last time. */
static void drop_written(struct outbox *o)
{
        if (o->start <= outbox_pending(o))
                return;
        buffer_consume(&o->bytes, o->start);
        for (size_t i = 0; i < o->n_marks; i++) {
                o->marks[i].at -= o->start;
                o->marks[i].end -= o->start;
        }
        o->start = 0;
}

static int append_json(struct outbox *o, const json_t *message)
{
        int r;

        if (!message)
                return -EINVAL;
        o->bytes.max = o->start + LIMIT_OUTPUT_BYTES;
        r = json_write(&o->bytes, message);
        if (r == 0)
                r = buffer_append(&o->bytes, "", 1);
        return r == -EOVERFLOW ? -ENOBUFS : r;
}

static int add_mark(struct outbox *o, const int *fds, size_t n, size_t at)
{
        _cleanup_(freep) int *copy = calloc(n, sizeof(int));
        struct outbox_mark *marks;

        marks = reallocarray(o->marks, o->n_marks + 1, sizeof *marks);
        if (marks)
                o->marks = marks;
        if (!marks || !copy)
                return -ENOMEM;
        memcpy(copy, fds, n * sizeof(int));
        marks[o->n_marks++] = (struct outbox_mark){{take_ptr(copy), n}, at, o->bytes.len};
        return 0;
}

int outbox_add(struct outbox *o, const json_t *message, const int *fds, size_t n_fds)
{
        size_t at;
        int r;

        drop_written(o);
        at = o->bytes.len;
        r = n_fds > LIMIT_MESSAGE_FDS ? -EMSGSIZE : append_json(o, message);
        if (r == 0 && n_fds > 0)
                r = add_mark(o, fds, n_fds, at);
        if (r < 0) {
                o->bytes.len = at;
                close_fds(fds, n_fds);
        }
        return r;
}

static ssize_t send_chunk(struct outbox *o, int fd, size_t n, const struct fd_run *run)
{
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(LIMIT_MESSAGE_FDS * sizeof(int))];
        } control;
        struct iovec v = {o->bytes.data + o->start, n};
        struct msghdr h = {.msg_iov = &v, .msg_iovlen = 1};
        ssize_t sent;

        if (run) {
                memset(&control, 0, CMSG_SPACE(run->n * sizeof(int)));
                control.align.cmsg_level = SOL_SOCKET;
                control.align.cmsg_type = SCM_RIGHTS;
                control.align.cmsg_len = CMSG_LEN(run->n * sizeof(int));
                memcpy(CMSG_DATA(&control.align), run->fds, run->n * sizeof(int));
                h.msg_control = control.bytes;
                h.msg_controllen = CMSG_SPACE(run->n * sizeof(int));
        }
        do
                sent = sendmsg(fd, &h, MSG_NOSIGNAL | MSG_DONTWAIT);
        while (sent < 0 && errno == EINTR);
        if (sent < 0)
                return errno == ECONNRESET ? -EPIPE : -errno;
        return sent;
}

static void drop_first_mark(struct outbox *o)
{
        fd_run_done(&o->marks[0].run);
        memmove(o->marks, o->marks + 1, --o->n_marks * sizeof *o->marks);
}

static void reset_out(struct outbox *o)
{
        o->start = o->bytes.len = 0;
        if (o->bytes.cap > OUTBOX_KEEP_BYTES)
                buffer_done(&o->bytes);
}

int outbox_flush(struct outbox *o, int fd)
{
        while (outbox_pending(o) > 0) {
                const struct outbox_mark *mark = o->n_marks > 0 ? o->marks : NULL;
                bool now = mark && mark->at == o->start;
                size_t end = now ? mark->end : mark ? mark->at : o->bytes.len;
                ssize_t n = send_chunk(o, fd, end - o->start, now ? &mark->run : NULL);

                if (n == -EAGAIN)
                        return 0;
                if (n < 0)
                        return (int)n;
                if (now)
                        drop_first_mark(o);
                o->start += (size_t)n;
        }
        reset_out(o);
        return 1;
}
