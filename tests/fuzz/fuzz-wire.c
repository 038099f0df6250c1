/* Bytes of a peer: framing, descriptors, JSON, envelope, fields. Input: chunks ended by 0xFE,
 * each written in one sendmsg; one that begins with 0xFD takes a descriptor along. */
#include "conn.h"
#include "envelope.h"
#include "field.h"
#include "outbox.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#define CHUNK_END 0xfe
#define WITH_FD 0xfd

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fields {
        const char *method, *text;
        int64_t number, fd, step;
        double real;
        bool flag, has_step;
        json_t *object, *array;
};

static const struct field fields[] = {
        FIELD(FIELD_STRING, struct fields, text, FIELD_NOT_EMPTY),
        FIELD(FIELD_INT, struct fields, number, FIELD_NOT_NEGATIVE),
        FIELD(FIELD_FD, struct fields, fd, 0),
        {"step", FIELD_INT, FIELD_REQUIRED, offsetof(struct fields, step),
         offsetof(struct fields, has_step)},
        FIELD(FIELD_FLOAT, struct fields, real, 0),
        FIELD(FIELD_BOOL, struct fields, flag, 0),
        FIELD(FIELD_OBJECT, struct fields, object, FIELD_NOT_EMPTY),
        FIELD(FIELD_ARRAY, struct fields, array, 0),
        FIELD_END,
};

static void require(bool condition)
{
        if (!condition)
                __builtin_trap();
}

static void write_chunk(int fd, const uint8_t *p, size_t n)
{
        char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8))) = {0};
        bool with_fd = n > 1 && p[0] == WITH_FD;
        struct iovec v = {(void *)(uintptr_t)(p + with_fd), n - with_fd};
        struct msghdr h = {.msg_iov = &v, .msg_iovlen = 1};
        int sent = -1;

        if (with_fd) {
                struct cmsghdr *m = (struct cmsghdr *)control;

                sent = open("/dev/null", O_RDONLY | O_CLOEXEC);
                m->cmsg_level = SOL_SOCKET;
                m->cmsg_type = SCM_RIGHTS;
                m->cmsg_len = CMSG_LEN(sizeof(int));
                memcpy(CMSG_DATA(m), &sent, sizeof sent);
                h.msg_control = control;
                h.msg_controllen = sizeof control;
        }
        sendmsg(fd, &h, MSG_NOSIGNAL | MSG_DONTWAIT);
        closep(&sent);
}

/* What was decoded encodes to something that decodes again, and to the same. */
static void check_fields(json_t *parameters)
{
        struct fields first = {0}, second = {0};
        const char *bad = NULL;
        json_t *once, *twice;

        if (field_decode(fields, parameters, &first, &bad) < 0) {
                require(bad);
                return;
        }
        once = field_encode(fields, &first);
        require(once && field_decode(fields, once, &second, &bad) == 0);
        twice = field_encode(fields, &second);
        require(json_equal(once, twice));
        json_decref(once);
        json_decref(twice);
}

static void check_message(struct wire_message *m)
{
        struct wire_call call;
        struct wire_reply reply;
        struct outbox out = {0};

        if (wire_call_parse(m->json, &call) == 0) {
                require(call.method && call.oneway + call.more + call.upgrade <= 1);
                check_fields(call.parameters);
        }
        if (wire_reply_parse(m->json, &reply) == 0)
                check_fields(reply.parameters);
        require(outbox_add(&out, m->json, NULL, 0) == 0);
        require(out.bytes.data[out.bytes.len - 1] == 0 &&
                strlen((char *)out.bytes.data) + 1 == out.bytes.len);
        outbox_done(&out);
        closep(&(int){wire_message_take_fd(m, 0)});
}

/* Takes what is there.  Negative: the connection would be closed. */
static int drain(struct wire_conn *c)
{
        struct wire_message m;
        int r;

        do {
                while ((r = wire_conn_next(c, &m)) > 0) {
                        check_message(&m);
                        wire_message_done(&m);
                }
                if (r == 0)
                        r = wire_conn_receive(c);
        } while (r > 0);
        return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(wire_conn_freep) struct wire_conn *c = NULL;
        const uint8_t *end = data + size;
        int fds[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
                return 0;
        require(wire_conn_new(&c, fds[0]) == 0);
        for (const uint8_t *p = data; p < end;) {
                const uint8_t *stop = memchr(p, CHUNK_END, (size_t)(end - p));
                size_t n = (size_t)((stop ? stop : end) - p);

                if (n > 0)
                        write_chunk(fds[1], p, n);
                if (drain(c) < 0)
                        break;
                p += n + (stop != NULL);
        }
        close(fds[1]);
        drain(c);
        return 0;
}
