#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "limit.h"
#include "wire-test.h"

#include <sys/resource.h>
#include <sys/stat.h>

struct ends {
        struct wire_conn *a, *b;
};

static int set_up(void **state)
{
        struct ends *e = calloc(1, sizeof *e);
        int fds[2];

        make_pair(fds);
        assert_int_equal(wire_conn_new(&e->a, fds[0]), 0);
        assert_int_equal(wire_conn_new(&e->b, fds[1]), 0);
        *state = e;
        return 0;
}

static int tear_down(void **state)
{
        struct ends *e = *state;

        wire_conn_free(e->a);
        wire_conn_free(e->b);
        free(e);
        return 0;
}

static void write_raw(const struct ends *e, const void *p, size_t n)
{
        assert_int_equal(send(wire_conn_fd(e->a), p, n, MSG_NOSIGNAL), (ssize_t)n);
}

static void assert_next(struct wire_conn *c, const char *text)
{
        struct wire_message m;

        assert_int_equal(wire_conn_next(c, &m), 1);
        assert_json(m.json, text);
        assert_int_equal(m.n_fds, 0);
        wire_message_done(&m);
}

/* A pipe's write end: whether it is open anywhere can be seen at the read end. */
static void make_pipe(int *ret_read, int *ret_write)
{
        int fds[2];

        assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
        *ret_read = fds[0];
        *ret_write = fds[1];
}

static void assert_closed(int read_end)
{
        char byte;

        assert_int_equal(read(read_end, &byte, 1), 0); /* else -1, EAGAIN */
        close(read_end);
}

static void send_raw_with_fd(const struct ends *e, const char *p, size_t n, int fd)
{
        char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8))) = {0};
        struct iovec v = {(void *)(uintptr_t)p, n};
        struct msghdr h = {.msg_iov = &v,
                           .msg_iovlen = 1,
                           .msg_control = control,
                           .msg_controllen = sizeof control};
        struct cmsghdr *m = CMSG_FIRSTHDR(&h);

        m->cmsg_level = SOL_SOCKET;
        m->cmsg_type = SCM_RIGHTS;
        m->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(m), &fd, sizeof fd);
        assert_int_equal(sendmsg(wire_conn_fd(e->a), &h, MSG_NOSIGNAL), (ssize_t)n);
        close(fd);
}

static void round_trip(void **state)
{
        struct ends *e = *state;
        struct wire_message m;

        assert_int_equal(wire_conn_receive(e->b), 0);
        assert_false(wire_conn_has_input(e->b));
        send_text(e->a, "{\"method\":\"a.B\",\"text\":\"zweihundert \u00fcber\"}", NULL, 0);
        assert_true(wire_conn_pending(e->a) > 0);
        assert_int_equal(wire_conn_flush(e->a), 1);
        assert_int_equal(wire_conn_pending(e->a), 0);
        assert_int_equal(wire_conn_is_read(e->a), 0);
        assert_int_equal(wire_conn_receive(e->b), 1);
        assert_int_equal(wire_conn_is_read(e->a), 1);
        assert_next(e->b, "{\"method\":\"a.B\",\"text\":\"zweihundert \u00fcber\"}");
        assert_int_equal(wire_conn_next(e->b, &m), 0);
        assert_false(wire_conn_has_input(e->b));
}

static void split_at_every_byte(void **state)
{
        static const char text[] = "{\"a\":\"\\\"}\"}\0{\"b\":[1,{}]}";
        struct ends *e = *state;
        struct wire_message m;

        for (size_t cut = 1; cut < sizeof text; cut++) {
                write_raw(e, text, cut);
                assert_int_equal(wire_conn_receive(e->b), 1);
                if (cut >= 12)
                        assert_next(e->b, "{\"a\":\"\\\"}\"}");
                assert_int_equal(wire_conn_next(e->b, &m), 0);
                assert_int_equal(wire_conn_next(e->b, &m), 0);
                write_raw(e, text + cut, sizeof text - cut);
                assert_int_equal(wire_conn_receive(e->b), 1);
                if (cut < 12)
                        assert_next(e->b, "{\"a\":\"\\\"}\"}");
                assert_next(e->b, "{\"b\":[1,{}]}");
                assert_int_equal(wire_conn_next(e->b, &m), 0);
        }
}

static void byte_by_byte(void **state)
{
        static const char text[] = "{\"a\":1}";
        struct ends *e = *state;
        struct wire_message m;

        for (int round = 0; round < 2; round++) {
                for (size_t i = 0; i < sizeof text; i++) {
                        assert_int_equal(wire_conn_next(e->b, &m), 0);
                        write_raw(e, text + i, 1);
                        assert_int_equal(wire_conn_receive(e->b), 1);
                        assert_true(wire_conn_has_input(e->b));
                }
                assert_next(e->b, "{\"a\":1}");
        }
}

static void many_in_one_read(void **state)
{
        struct ends *e = *state;
        struct wire_message m;
        int n = 0, r;

        for (int i = 0; i < 3000; i++) {
                json_t *json = json_pack("{s:i}", "n", i);

                assert_int_equal(wire_conn_send(e->a, json, NULL, 0), 0);
                json_decref(json);
        }
        assert_int_equal(wire_conn_flush(e->a), 1);
        while (n < 3000) {
                while ((r = wire_conn_next(e->b, &m)) > 0) {
                        assert_int_equal(json_integer_value(json_object_get(m.json, "n")), n++);
                        wire_message_done(&m);
                }
                assert_int_equal(r, 0);
                if (n < 3000)
                        assert_int_equal(wire_conn_receive(e->b), 1);
        }
        assert_false(wire_conn_has_input(e->b));
}

static void integers_of_64_bits(void **state)
{
        struct ends *e = *state;
        struct wire_message m;

        send_text(e->a, "{\"min\":-9223372036854775808,\"max\":9223372036854775807}", NULL, 0);
        assert_int_equal(wire_conn_flush(e->a), 1);
        assert_int_equal(wire_conn_receive(e->b), 1);
        assert_int_equal(wire_conn_next(e->b, &m), 1);
        assert_true(json_integer_value(json_object_get(m.json, "min")) == INT64_MIN);
        assert_true(json_integer_value(json_object_get(m.json, "max")) == INT64_MAX);
        wire_message_done(&m);
}

static void bad_messages(void **state)
{
        static const struct {
                const char *bytes;
                size_t n;
        } bad[] = {
                {"", 1},
                {"[]", 3},
                {"17", 3},
                {"{\"a\":1", 7},
                {"{\"a\":1}x", 9},
                {"{\"a\":1,\"a\":2}", 14},
                {"{\"a\":\"\\u0000\"}", 15},
                {"{\"a\\u0000\":1}", 14},
                {"{\"a\":\"\xff\"}", 10},
                {"{\"a\":\"\xed\xa0\x80\"}", 12},
                {"{\"a\":9223372036854775808}", 26},
                {"{\"a\":1e999}", 12},
                {"{\"a\":NaN}", 10},
                {"{'a':1}", 8},
        };
        struct wire_message m;

        (void)state;
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                void *fresh;

                set_up(&fresh);
                write_raw(fresh, "{}", 3);
                write_raw(fresh, bad[i].bytes, bad[i].n);
                write_raw(fresh, "{}", 3);
                assert_int_equal(wire_conn_receive(((struct ends *)fresh)->b), 1);
                assert_next(((struct ends *)fresh)->b, "{}");
                for (int again = 0; again < 2; again++)
                        assert_int_equal(wire_conn_next(((struct ends *)fresh)->b, &m), -EBADMSG);
                tear_down(&fresh);
        }
}

/* Writes a message of n bytes (without its zero byte) while the other end reads; what next says
 * at last. */
static int pass_large(const struct ends *e, size_t n, struct wire_message *ret)
{
        char *text = malloc(n + 1);
        size_t sent = 0;
        int r = 0;

        memset(text, 'x', n);
        memcpy(text, "{\"a\":\"", 6);
        memcpy(text + n - 2, "\"}", 3);
        while (r == 0) {
                if (sent < n + 1) {
                        ssize_t k =
                                send(wire_conn_fd(e->a), text + sent, n + 1 - sent, MSG_NOSIGNAL);

                        sent += k > 0 ? (size_t)k : 0;
                }
                assert_int_equal(wire_conn_receive(e->b), 1);
                r = wire_conn_next(e->b, ret);
        }
        free(text);
        return r;
}

static void size_limit(void **state)
{
        struct ends *e = *state;
        struct wire_message m;

        assert_int_equal(pass_large(e, LIMIT_MESSAGE_BYTES, &m), 1);
        assert_int_equal(json_string_length(json_object_get(m.json, "a")), LIMIT_MESSAGE_BYTES - 8);
        wire_message_done(&m);
        assert_int_equal(pass_large(e, LIMIT_MESSAGE_BYTES + 1, &m), -EMSGSIZE);
        assert_int_equal(wire_conn_limit_hit(e->b), LIMIT_MESSAGE_BYTES);
        assert_int_equal(wire_conn_next(e->b, &m), -EMSGSIZE);
}

static void size_limit_without_end(void **state)
{
        struct ends *e = *state;
        char bytes[4096];
        struct wire_message m;
        size_t n = 0;
        int r = 0;

        memset(bytes, ' ', sizeof bytes);
        for (; r == 0 && n < 2 * LIMIT_MESSAGE_BYTES; n += sizeof bytes) {
                write_raw(e, bytes, sizeof bytes);
                assert_int_equal(wire_conn_receive(e->b), 1);
                r = wire_conn_next(e->b, &m);
        }
        assert_int_equal(r, -EMSGSIZE);
        assert_in_range(n, LIMIT_MESSAGE_BYTES, LIMIT_MESSAGE_BYTES + 2 * sizeof bytes);
}

static void limit_of_choice(void **state)
{
        struct ends *e = *state;
        struct wire_message m;

        wire_conn_set_limit(e->b, 3 * LIMIT_MESSAGE_BYTES);
        assert_int_equal(pass_large(e, 3 * LIMIT_MESSAGE_BYTES, &m), 1);
        wire_message_done(&m);
}

static void send_nested(const struct ends *e, int levels)
{
        write_raw(e, "{\"a\":", 5);
        for (int i = 1; i < levels; i++)
                write_raw(e, "[", 1);
        write_raw(e, "\"]{\\\"[[[\"", 9);
        for (int i = 1; i < levels; i++)
                write_raw(e, "]", 1);
        write_raw(e, "}", 2);
        assert_int_equal(wire_conn_receive(e->b), 1);
}

static void depth_limit(void **state)
{
        struct ends *e = *state;
        struct wire_message m;

        send_nested(e, LIMIT_MESSAGE_DEPTH);
        assert_int_equal(wire_conn_next(e->b, &m), 1);
        wire_message_done(&m);
        write_raw(e, "{\"a\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"}", 49);
        assert_int_equal(wire_conn_receive(e->b), 1);
        assert_int_equal(wire_conn_next(e->b, &m), 1);
        wire_message_done(&m);
        send_nested(e, LIMIT_MESSAGE_DEPTH + 1);
        assert_int_equal(wire_conn_next(e->b, &m), -EMSGSIZE);
        assert_int_equal(wire_conn_limit_hit(e->b), LIMIT_MESSAGE_DEPTH);
}

static void descriptors(void **state)
{
        struct ends *e = *state;
        struct wire_message m;
        int ends[3], fds[3], taken;

        for (int i = 0; i < 3; i++)
                make_pipe(&ends[i], &fds[i]);
        send_text(e->a, "{\"first\":true}", fds, 3);
        send_text(e->a, "{\"second\":true}", NULL, 0);
        assert_int_equal(wire_conn_flush(e->a), 1);
        assert_int_equal(wire_conn_receive(e->b), 1);
        assert_int_equal(wire_conn_next(e->b, &m), 1);
        assert_json(m.json, "{\"first\":true}");
        assert_int_equal(m.n_fds, 3);
        taken = wire_message_take_fd(&m, 1);
        assert_true(taken >= 0);
        assert_int_equal(fcntl(taken, F_GETFD), FD_CLOEXEC);
        assert_int_equal(wire_message_take_fd(&m, 1), -EBADF);
        assert_int_equal(wire_message_take_fd(&m, 3), -EBADF);
        assert_int_equal(wire_message_take_fd(&m, -1), -EBADF);
        wire_message_done(&m);
        assert_closed(ends[0]);
        assert_closed(ends[2]);
        assert_int_equal(write(taken, "x", 1), 1);
        close(taken);
        close(ends[1]);
        assert_int_equal(wire_conn_receive(e->b), 1);
        assert_next(e->b, "{\"second\":true}");
}

static void all_descriptors_and_one_more(void **state)
{
        struct ends *e = *state;
        struct wire_message m;
        int fds[LIMIT_MESSAGE_FDS + 1], read_end, write_end;
        json_t *json = json_object();

        make_pipe(&read_end, &write_end);
        for (size_t i = 0; i < LIMIT_MESSAGE_FDS; i++)
                fds[i] = dup(write_end);
        assert_int_equal(wire_conn_send(e->a, json, fds, LIMIT_MESSAGE_FDS), 0);
        assert_int_equal(wire_conn_flush(e->a), 1);
        assert_int_equal(wire_conn_receive(e->b), 1);
        assert_int_equal(wire_conn_next(e->b, &m), 1);
        assert_int_equal(m.n_fds, LIMIT_MESSAGE_FDS);
        wire_message_done(&m);
        for (size_t i = 0; i < LIMIT_MESSAGE_FDS + 1; i++)
                fds[i] = dup(write_end);
        assert_int_equal(wire_conn_send(e->a, json, fds, LIMIT_MESSAGE_FDS + 1), -EMSGSIZE);
        assert_int_equal(wire_conn_pending(e->a), 0);
        close(write_end);
        assert_closed(read_end);
        json_decref(json);
}

static void unsent_descriptors_are_closed(void **state)
{
        int fds[2], read_end, write_end;
        struct wire_conn *c;

        (void)state;
        make_pipe(&read_end, &write_end);
        make_pair(fds);
        assert_int_equal(wire_conn_new(&c, fds[0]), 0);
        send_text(c, "{}", &write_end, 1);
        wire_conn_free(c);
        close(fds[1]);
        assert_closed(read_end);
}

static void unread_descriptors_are_closed(void **state)
{
        struct ends *e = *state;
        int read_end, write_end;

        make_pipe(&read_end, &write_end);
        send_raw_with_fd(e, "{\"half", 6, write_end);
        assert_int_equal(wire_conn_receive(e->b), 1);
        wire_conn_free(take_ptr(e->b));
        assert_closed(read_end);
}

/* Large enough for several writes: the descriptors go with the first of them only. */
static void descriptors_of_a_large_message(void **state)
{
        struct ends *e = *state;
        struct wire_message m;
        json_t *json = json_object(), *text;
        char *x = malloc(900 * 1024);
        int read_end, write_end, n = 0, r;

        memset(x, 'x', 900 * 1024);
        text = json_stringn(x, 900 * 1024);
        free(x);
        json_object_set_new(json, "text", text);
        make_pipe(&read_end, &write_end);
        assert_int_equal(wire_conn_send(e->a, json, &write_end, 1), 0);
        send_text(e->a, "{\"small\":1}", NULL, 0);
        assert_int_equal(wire_conn_flush(e->a), 0);
        while (n < 2) {
                r = wire_conn_next(e->b, &m);
                assert_true(r >= 0);
                if (r > 0) {
                        assert_int_equal(m.n_fds, n == 0);
                        wire_message_done(&m);
                        n++;
                        continue;
                }
                assert_true(wire_conn_flush(e->a) >= 0);
                assert_int_equal(wire_conn_receive(e->b), 1);
        }
        assert_int_equal(wire_conn_flush(e->a), 1);
        assert_closed(read_end);
        json_decref(json);
}

/* The kernel joins what waits unread: nobody can tell whose descriptors these are. */
static void merged_by_the_kernel(void **state)
{
        struct ends *e = *state;
        struct wire_message m;
        int read_end, write_end;

        make_pipe(&read_end, &write_end);
        send_text(e->a, "{\"a\":1}", NULL, 0);
        send_text(e->a, "{\"b\":1}", &write_end, 1);
        assert_int_equal(wire_conn_flush(e->a), 1);
        assert_int_equal(wire_conn_receive(e->b), 1);
        assert_int_equal(wire_conn_next(e->b, &m), -EPROTO);
        assert_int_equal(wire_conn_next(e->b, &m), -EPROTO);
        assert_closed(read_end);
}

static void not_merged_when_read_between(void **state)
{
        struct ends *e = *state;
        struct wire_message m;
        int read_end, write_end;

        make_pipe(&read_end, &write_end);
        for (int round = 0; round < 3; round++) {
                int copy = dup(write_end);

                send_text(e->a, "{\"a\":1}", NULL, 0);
                assert_int_equal(wire_conn_flush(e->a), 1);
                assert_int_equal(wire_conn_receive(e->b), 1);
                send_text(e->a, "{\"b\":1}", &copy, 1);
                assert_int_equal(wire_conn_flush(e->a), 1);
                assert_next(e->b, "{\"a\":1}");
                assert_int_equal(wire_conn_receive(e->b), 1);
                assert_int_equal(wire_conn_next(e->b, &m), 1);
                assert_int_equal(m.n_fds, 1);
                wire_message_done(&m);
        }
        close(write_end);
        assert_closed(read_end);
}

static void descriptors_in_wrong_places(void **state)
{
        static const struct {
                const char *before, *with;
                size_t n_before, n_with;
        } cases[] = {
                {"", "{}\0{}", 0, 6},        /* two messages in one write */
                {"", "{}\0{", 0, 4},         /* one and the head of another */
                {"{\"a\":", "1}", 5, 3},     /* not with the first byte */
                {"{\"a\":", "1}\0{}", 5, 6}, /* tail of one, and another */
        };
        struct wire_message m;

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct ends *e;
                int read_end, write_end;

                set_up((void **)&e);
                make_pipe(&read_end, &write_end);
                if (cases[i].n_before > 0) {
                        write_raw(e, cases[i].before, cases[i].n_before);
                        assert_int_equal(wire_conn_receive(e->b), 1);
                        assert_int_equal(wire_conn_next(e->b, &m), 0);
                }
                send_raw_with_fd(e, cases[i].with, cases[i].n_with, write_end);
                assert_int_equal(wire_conn_receive(e->b), 1);
                assert_int_equal(wire_conn_next(e->b, &m), -EPROTO);
                assert_closed(read_end);
                tear_down((void **)&e);
        }
}

static void descriptors_twice_for_one_message(void **state)
{
        struct ends *e = *state;
        struct wire_message m;
        int read_end, write_end, copy;

        make_pipe(&read_end, &write_end);
        copy = dup(write_end);
        send_raw_with_fd(e, "{\"a\"", 4, write_end);
        assert_int_equal(wire_conn_receive(e->b), 1);
        assert_int_equal(wire_conn_next(e->b, &m), 0);
        send_raw_with_fd(e, ":1}", 4, copy);
        assert_int_equal(wire_conn_receive(e->b), 1);
        assert_int_equal(wire_conn_next(e->b, &m), -EPROTO);
        wire_conn_free(take_ptr(e->b));
        assert_closed(read_end);
}

static void truncated_descriptors(void **state)
{
        struct ends *e = *state;
        struct rlimit old, low;
        int fds[8], read_end, write_end;

        make_pipe(&read_end, &write_end);
        for (int i = 0; i < 8; i++)
                fds[i] = dup(write_end);
        low.rlim_cur = (rlim_t)fds[3] + 1;
        close(write_end);
        send_text(e->a, "{}", fds, 8);
        assert_int_equal(wire_conn_flush(e->a), 1);
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
        low.rlim_max = old.rlim_max;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
        assert_int_equal(wire_conn_receive(e->b), -EPROTO);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
        assert_closed(read_end);
}

static void peer_gone(void **state)
{
        struct ends *e = *state;
        struct wire_message m;

        write_raw(e, "{\"last\":1}\0{", 12);
        wire_conn_free(take_ptr(e->a));
        assert_int_equal(wire_conn_receive(e->b), 1);
        assert_next(e->b, "{\"last\":1}");
        assert_int_equal(wire_conn_next(e->b, &m), 0);
        assert_true(wire_conn_has_input(e->b));
        assert_int_equal(wire_conn_receive(e->b), -EPIPE);
        send_text(e->b, "{}", NULL, 0);
        assert_int_equal(wire_conn_flush(e->b), -EPIPE); /* and no signal */
}

static void output_limit(void **state)
{
        struct ends *e = *state;
        json_t *json = json_object();
        struct wire_message m;
        int sent = 0, got = 0, r;
        char *x = malloc(100 * 1024);

        memset(x, 'x', 100 * 1024);
        json_object_set_new(json, "text", json_stringn(x, 100 * 1024));
        free(x);
        while ((r = wire_conn_send(e->a, json, NULL, 0)) == 0) {
                sent++;
                assert_true(wire_conn_flush(e->a) >= 0);
        }
        assert_int_equal(r, -ENOBUFS);
        assert_in_range(wire_conn_pending(e->a), LIMIT_OUTPUT_BYTES - 101 * 1024,
                        LIMIT_OUTPUT_BYTES);
        while (wire_conn_receive(e->b) > 0) { /* what was queued before still arrives whole */
                while ((r = wire_conn_next(e->b, &m)) > 0) {
                        assert_true(json_equal(m.json, json));
                        wire_message_done(&m);
                        got++;
                }
                assert_int_equal(r, 0);
                assert_true(wire_conn_flush(e->a) >= 0);
        }
        assert_int_equal(got, sent);
        json_decref(json);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(round_trip),
                TEST(split_at_every_byte),
                TEST(byte_by_byte),
                TEST(many_in_one_read),
                TEST(integers_of_64_bits),
                TEST(bad_messages),
                TEST(size_limit),
                TEST(size_limit_without_end),
                TEST(limit_of_choice),
                TEST(depth_limit),
                TEST(descriptors),
                TEST(all_descriptors_and_one_more),
                TEST(unsent_descriptors_are_closed),
                TEST(unread_descriptors_are_closed),
                TEST(descriptors_of_a_large_message),
                TEST(merged_by_the_kernel),
                TEST(not_merged_when_read_between),
                TEST(descriptors_in_wrong_places),
                TEST(descriptors_twice_for_one_message),
                TEST(truncated_descriptors),
                TEST(peer_gone),
                TEST(output_limit),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
