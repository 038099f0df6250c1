#include "conn.h"

#include "buffer.h"
#include "limit.h"
#include "outbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define READ_MIN_BYTES (16 * 1024)
#define READ_MAX_BYTES (256 * 1024)

struct wire_conn {
        int fd;
        int error; /* sticky: what wire_conn_next answers from now on */
        size_t limit, limit_hit;
        struct buffer in;
        size_t in_start;   /* of the next message */
        size_t in_scanned; /* no zero byte lies between in_start and here */
        struct fd_run in_run;
        size_t in_run_at; /* offset of the message that in_run came with */
        struct outbox out;
};

void wire_message_done(struct wire_message *m)
{
        struct fd_run run = {m->fds, m->n_fds};

        json_decref(m->json);
        fd_run_done(&run);
        *m = (struct wire_message){0};
}

int wire_message_take_fd(struct wire_message *m, json_int_t index)
{
        if (index < 0 || (uint64_t)index >= m->n_fds || m->fds[index] < 0)
                return -EBADF;
        return take_fd(&m->fds[index]);
}

int wire_conn_new(struct wire_conn **ret, int fd)
{
        _cleanup_(wire_conn_freep) struct wire_conn *c = NULL;
        int flags;

        c = calloc(1, sizeof *c);
        if (!c) {
                close(fd);
                return -ENOMEM;
        }
        c->fd = fd;
        c->limit = LIMIT_MESSAGE_BYTES;
        flags = fcntl(fd, F_GETFL);
        if (flags < 0)
                return -errno;
        if (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
                return -errno;
        *ret = take_ptr(c);
        return 0;
}

void wire_conn_free(struct wire_conn *c)
{
        if (!c)
                return;
        fd_run_done(&c->in_run);
        buffer_done(&c->in);
        outbox_done(&c->out);
        closep(&c->fd);
        free(c);
}

int wire_conn_fd(const struct wire_conn *c)
{
        return c->fd;
}

size_t wire_conn_limit_hit(const struct wire_conn *c)
{
        return c->limit_hit;
}

void wire_conn_set_limit(struct wire_conn *c, size_t bytes)
{
        c->limit = bytes;
}

static size_t unread(const struct wire_conn *c)
{
        return c->in.len - c->in_start;
}

bool wire_conn_has_input(const struct wire_conn *c)
{
        return unread(c) > 0;
}

/* Only the part of a message is ever moved, once a read, and then lies at the start. */
static int make_room(struct wire_conn *c)
{
        size_t want;

        if (c->in_start == c->in.len && c->in.cap > OUTBOX_KEEP_BYTES)
                buffer_done(&c->in);
        else
                buffer_consume(&c->in, c->in_start);
        c->in_scanned -= c->in_start;
        c->in_run_at -= c->in_run.n > 0 ? c->in_start : 0;
        c->in_start = 0;
        if (c->in.len > c->limit) {
                c->limit_hit = c->limit;
                return -EMSGSIZE;
        }
        want = c->in.len < READ_MIN_BYTES ? READ_MIN_BYTES : c->in.len;
        return buffer_reserve(&c->in, want > READ_MAX_BYTES ? READ_MAX_BYTES : want);
}

/* Collects what SCM_RIGHTS brought.  Every descriptor is in ret also when the result is
 * negative. */
static int collect_fds(struct msghdr *h, struct fd_run *ret)
{
        struct cmsghdr *m;
        int r = h->msg_flags & MSG_CTRUNC ? -EPROTO : 0;

        for (m = CMSG_FIRSTHDR(h); m; m = CMSG_NXTHDR(h, m)) {
                const int *fds = (const int *)CMSG_DATA(m);
                size_t n = (m->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                int *all;

                if (m->cmsg_level != SOL_SOCKET || m->cmsg_type != SCM_RIGHTS || n == 0)
                        continue;
                all = reallocarray(ret->fds, ret->n + n, sizeof(int));
                if (!all) {
                        for (size_t i = 0; i < n; i++)
                                close(fds[i]);
                        r = -ENOMEM;
                        continue;
                }
                memcpy(all + ret->n, fds, n * sizeof(int));
                ret->fds = all;
                ret->n += n;
        }
        return r;
}

/* The chunk from `from` on brought descriptors: it must begin a message and hold nothing of
 * another one. */
static int place_fds(struct wire_conn *c, struct fd_run *run, size_t from)
{
        const uint8_t *chunk = c->in.data + from;
        size_t n = c->in.len - from;
        const uint8_t *zero = memchr(chunk, 0, n);

        if (c->in_run.n > 0 || (from > 0 && chunk[-1] != 0) || (zero && zero != chunk + n - 1))
                return -EPROTO;
        c->in_run = *run;
        c->in_run_at = from;
        *run = (struct fd_run){0};
        return 0;
}

static ssize_t receive_chunk(struct wire_conn *c, struct fd_run *run)
{
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(LIMIT_MESSAGE_FDS * sizeof(int))];
        } control;
        struct iovec v = {c->in.data + c->in.len, c->in.cap - c->in.len - 1};
        struct msghdr h = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control.bytes};
        ssize_t n;
        int r;

        do {
                h.msg_controllen = sizeof control.bytes;
                n = recvmsg(c->fd, &h, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        } while (n < 0 && errno == EINTR);
        if (n < 0)
                return errno == ECONNRESET ? -EPIPE : -errno;
        r = h.msg_controllen > 0 || h.msg_flags & MSG_CTRUNC ? collect_fds(&h, run) : 0;
        if (r < 0)
                return r;
        return n > 0 ? n : -EPIPE;
}

int wire_conn_receive(struct wire_conn *c)
{
        _cleanup_(fd_run_done) struct fd_run run = {0};
        size_t from;
        ssize_t n;
        int r;

        r = make_room(c);
        if (r < 0)
                return r;
        from = c->in.len;
        n = receive_chunk(c, &run);
        if (n == -EAGAIN)
                return 0;
        if (n < 0)
                return (int)n;
        c->in.len += (size_t)n;
        c->in.data[c->in.len] = 0;
        if (run.n > 0 && c->error == 0)
                c->error = place_fds(c, &run, from);
        return 1;
}

/* The JSON library allows 2048 levels, each of them a level of its recursion: counted here
 * before. */
static bool is_too_deep(const uint8_t *p, size_t n)
{
        unsigned depth = 0;
        bool quoted = false;

        for (size_t i = 0; i < n; i++) {
                uint8_t b = p[i];

                if (b == '"')
                        quoted = !quoted;
                else if (quoted)
                        i += b == '\\';
                else if (b == '{' || b == '[') {
                        if (++depth > LIMIT_MESSAGE_DEPTH)
                                return true;
                } else if ((b == '}' || b == ']') && depth > 0)
                        depth--;
        }
        return false;
}

static int parse(struct wire_conn *c, size_t n, json_t **ret)
{
        const uint8_t *p = c->in.data + c->in_start;
        json_t *json;

        if (is_too_deep(p, n)) {
                c->limit_hit = LIMIT_MESSAGE_DEPTH;
                return -EMSGSIZE;
        }
        json = json_loadb((const char *)p, n, JSON_REJECT_DUPLICATES, NULL);
        if (!json_is_object(json)) {
                json_decref(json);
                return -EBADMSG;
        }
        *ret = json;
        return 0;
}

static int take_message(struct wire_conn *c, size_t n, struct wire_message *ret)
{
        struct wire_message m = {0};
        int r;

        r = parse(c, n, &m.json);
        if (r < 0)
                return r;
        if (c->in_run.n > 0 && c->in_run_at == c->in_start) {
                m.fds = c->in_run.fds;
                m.n_fds = c->in_run.n;
                c->in_run = (struct fd_run){0};
        }
        c->in_start += n + 1;
        c->in_scanned = c->in_start;
        *ret = m;
        return 1;
}

int wire_conn_next(struct wire_conn *c, struct wire_message *ret)
{
        const uint8_t *zero;
        size_t n;
        int r;

        if (c->error < 0)
                return c->error;
        if (c->in_scanned == c->in.len)
                return 0;
        zero = memchr(c->in.data + c->in_scanned, 0, c->in.len - c->in_scanned);
        n = zero ? (size_t)(zero - c->in.data) - c->in_start : unread(c);
        if (n > c->limit) {
                c->limit_hit = c->limit;
                return c->error = -EMSGSIZE;
        }
        if (!zero) {
                c->in_scanned = c->in.len;
                return 0;
        }
        r = take_message(c, n, ret);
        if (r < 0)
                c->error = r;
        return r;
}

size_t wire_conn_pending(const struct wire_conn *c)
{
        return outbox_pending(&c->out);
}

int wire_conn_is_read(const struct wire_conn *c)
{
        int bytes;

        if (ioctl(c->fd, SIOCOUTQ, &bytes) < 0)
                return -errno;
        return bytes == 0;
}

int wire_conn_send(struct wire_conn *c, const json_t *message, const int *fds, size_t n_fds)
{
        return outbox_add(&c->out, message, fds, n_fds);
}

int wire_conn_flush(struct wire_conn *c)
{
        return outbox_flush(&c->out, c->fd);
}
