#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dial.h"
#include "limit.h"
#include "wire-test.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>

/* A folder as XDG_RUNTIME_DIR, empty at first. */
struct place {
        char runtime[64], folder[80], path[96];
        int listening;
};

static int set_up(void **state)
{
        struct place *p = calloc(1, sizeof *p);

        strcpy(p->runtime, "/tmp/test-dial-XXXXXX");
        assert_non_null(mkdtemp(p->runtime));
        snprintf(p->folder, sizeof p->folder, "%s/ckptd", p->runtime);
        snprintf(p->path, sizeof p->path, "%s/ckptd.sock", p->folder);
        assert_int_equal(mkdir(p->folder, 0700), 0);
        setenv("XDG_RUNTIME_DIR", p->runtime, 1);
        unsetenv("CKPTD_SOCKET");
        p->listening = -1;
        *state = p;
        return 0;
}

static int tear_down(void **state)
{
        struct place *p = *state;

        closep(&p->listening);
        unlink(p->path);
        rmdir(p->folder);
        rmdir(p->runtime);
        free(p);
        return 0;
}

static void start_listening(struct place *p)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};

        strcpy(address.sun_path, p->path);
        p->listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(p->listening, (struct sockaddr *)&address, sizeof address), 0);
        assert_int_equal(listen(p->listening, 8), 0);
}

static void first_place_that_answers(void **state)
{
        struct place *p = *state;
        struct diag d = {0};
        struct wire_conn *c = NULL;
        char *path = NULL;

        start_listening(p);
        assert_int_equal(wire_dial(NULL, &c, &path, &d), 0);
        assert_string_equal(path, p->path);
        assert_null(d.text);
        wire_conn_free(c);
        free(path);
        assert_int_equal(wire_dial(NULL, &c, NULL, NULL), 0);
        wire_conn_free(c);
}

static void assert_tells(const struct diag *d, const char *path, const char *what, const char *why)
{
        char line[256];

        snprintf(line, sizeof line, "    %-35s %-22s %s", path, what, why);
        if (!d->text || !strstr(d->text, line))
                fail_msg("no line \"%s\" in:\n%s", line, d->text ? d->text : "");
}

static void only_the_given_one(void **state)
{
        struct place *p = *state;
        struct diag d = {0};
        struct wire_conn *c = NULL;
        char *path = NULL;

        start_listening(p);
        assert_int_equal(wire_dial("/nowhere/ckptd.sock", &c, &path, &d), -EHOSTDOWN);
        assert_tells(&d, "/nowhere/ckptd.sock", "as given", "no such file");
        assert_null(strchr(d.text, '\n'));
        assert_null(path);
        setenv("CKPTD_SOCKET", "/nowhere/else.sock", 1);
        assert_int_equal(wire_dial(NULL, &c, &path, &d), -EHOSTDOWN);
        assert_tells(&d, "/nowhere/else.sock", "CKPTD_SOCKET", "no such file");
        setenv("CKPTD_SOCKET", p->path, 1);
        assert_int_equal(wire_dial(NULL, &c, &path, &d), 0);
        assert_string_equal(path, p->path);
        wire_conn_free(c);
        free(path);
        diag_done(&d);
}

static void every_place_is_named(void **state)
{
        struct place *p = *state;
        struct diag d = {0};
        struct wire_conn *c = NULL;
        int n = 1;

        if (access("/run/ckptd/ckptd.sock", F_OK) == 0)
                skip();
        start_listening(p);
        close(take_fd(&p->listening)); /* the file stays: a daemon that died */
        assert_int_equal(wire_dial(NULL, &c, NULL, &d), -EHOSTDOWN);
        assert_tells(&d, p->path, "user instance", "connection refused");
        assert_tells(&d, "/run/ckptd/ckptd.sock", "system instance", "no such file");
        assert_non_null(strstr(d.text, "/run/user/"));
        assert_non_null(strstr(d.text, "/run/ckptd/users/"));
        for (const char *t = d.text; (t = strchr(t, '\n')); t++)
                n++;
        assert_int_equal(n, 4);
        diag_done(&d);
}

static void the_same_place_once(void **state)
{
        struct diag d = {0};
        struct wire_conn *c = NULL;
        char runtime[64];
        int n = 1;

        (void)state;
        snprintf(runtime, sizeof runtime, "/run/user/%u", geteuid());
        setenv("XDG_RUNTIME_DIR", runtime, 1);
        if (wire_dial(NULL, &c, NULL, &d) == 0) {
                wire_conn_free(c);
                skip();
        }
        for (const char *t = d.text; (t = strchr(t, '\n')); t++)
                n++;
        assert_int_equal(n, 3);
        diag_done(&d);
}

static void too_long_a_path(void **state)
{
        struct diag d = {0};
        struct wire_conn *c = NULL;
        char path[300];

        (void)state;
        memset(path, 'x', sizeof path - 1);
        path[0] = '/';
        path[sizeof path - 1] = '\0';
        assert_int_equal(wire_dial(path, &c, NULL, &d), -EHOSTDOWN);
        assert_non_null(strstr(d.text, "path too long"));
        diag_done(&d);
}

/* The other end in a thread: answers every call by `answer`, and counts. */
struct peer {
        pthread_t thread;
        struct wire_conn *conn;
        void (*answer)(struct peer *p, struct wire_message *m);
        int n_calls;
        size_t n_fds;
};

static void wait_for(struct wire_conn *c, short events)
{
        struct pollfd p = {.fd = wire_conn_fd(c), .events = events};

        poll(&p, 1, -1);
}

static void *run_peer(void *user)
{
        struct peer *p = user;
        struct wire_message m;
        int r;

        for (;;) {
                while ((r = wire_conn_next(p->conn, &m)) > 0) {
                        p->n_calls++;
                        p->n_fds += m.n_fds;
                        p->answer(p, &m);
                        wire_message_done(&m);
                        while (wire_conn_flush(p->conn) == 0)
                                wait_for(p->conn, POLLOUT);
                }
                if (r < 0)
                        break;
                wait_for(p->conn, POLLIN);
                if (wire_conn_receive(p->conn) < 0)
                        break;
        }
        wire_conn_free(take_ptr(p->conn));
        return r < 0 ? (void *)(intptr_t)r : NULL;
}

static struct wire_conn *start_peer(struct peer *p)
{
        struct wire_conn *c;
        int fds[2];

        make_pair(fds);
        assert_int_equal(wire_conn_new(&c, fds[0]), 0);
        assert_int_equal(wire_conn_new(&p->conn, fds[1]), 0);
        assert_int_equal(pthread_create(&p->thread, NULL, run_peer, p), 0);
        return c;
}

static void stop_peer(struct peer *p, struct wire_conn *c)
{
        void *result;

        wire_conn_free(c);
        pthread_join(p->thread, &result);
        assert_null(result);
}

static void send_json(struct peer *p, json_t *json)
{
        wire_conn_send(p->conn, json, NULL, 0);
        json_decref(json);
}

static void echo(struct peer *p, struct wire_message *m)
{
        struct wire_call call;

        if (wire_call_parse(m->json, &call) < 0 || call.oneway)
                return;
        if (call.more)
                send_json(p, wire_reply_format(NULL, json_pack("{s:b}", "part", 1), true));
        if (strcmp(call.method, "a.Fail") == 0)
                send_json(p, wire_reply_format("a.Failed", json_incref(call.parameters), false));
        else
                send_json(p, wire_reply_format(NULL, json_incref(call.parameters), false));
}

static void calls(void **state)
{
        struct peer peer = {.answer = echo};
        struct wire_conn *c = start_peer(&peer);
        struct wire_result result;

        (void)state;
        for (int i = 0; i < 100; i++) {
                struct wire_request q = {"a.Echo", json_pack("{s:i}", "i", i), NULL, NULL, 0,
                                         10000};

                assert_int_equal(wire_do_call(c, &q, &result), 0);
                assert_null(result.reply.error);
                assert_int_equal(json_integer_value(json_object_get(result.reply.parameters, "i")),
                                 i);
                wire_result_done(&result);
        }
        assert_int_equal(wire_do_call(c,
                                      &(struct wire_request){.method = "a.Fail", .timeout_ms = -1},
                                      &result),
                         0);
        assert_string_equal(result.reply.error, "a.Failed");
        wire_result_done(&result);
        stop_peer(&peer, c);
        assert_int_equal(peer.n_calls, 101);
}

static void streams(void **state)
{
        struct peer peer = {.answer = echo};
        struct wire_conn *c = start_peer(&peer);
        struct wire_request q = {.method = "a.Echo", .flag = "more", .timeout_ms = 10000};
        struct wire_result result;

        (void)state;
        assert_int_equal(wire_do_call(c, &q, &result), 0);
        assert_true(result.reply.continues);
        wire_result_done(&result);
        assert_int_equal(wire_receive_reply(c, 10000, &result), 0);
        assert_false(result.reply.continues);
        wire_result_done(&result);
        stop_peer(&peer, c);
}

/* A oneway call has no answer to wait for; the descriptors behind it still land with their own
 * message. */
static void descriptors_behind_oneway_calls(void **state)
{
        struct peer peer = {.answer = echo};
        struct wire_conn *c = start_peer(&peer);
        struct wire_result result;

        (void)state;
        for (int i = 0; i < 50; i++) {
                struct wire_request oneway = {
                        .method = "a.Echo", .flag = "oneway", .timeout_ms = 10000};
                int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
                struct wire_request q = {
                        .method = "a.Echo", .fds = &fd, .n_fds = 1, .timeout_ms = 10000};

                assert_int_equal(wire_do_call(c, &oneway, &result), 0);
                assert_null(result.message.json);
                assert_int_equal(wire_do_call(c, &q, &result), 0);
                wire_result_done(&result);
        }
        stop_peer(&peer, c);
        assert_int_equal(peer.n_calls, 100);
        assert_int_equal(peer.n_fds, 50);
}

static void silent(struct peer *p, struct wire_message *m)
{
        (void)p;
        (void)m;
}

static void deadlines(void **state)
{
        struct peer peer = {.answer = silent};
        struct wire_conn *c = start_peer(&peer);
        struct wire_result result;

        (void)state;
        assert_int_equal(wire_receive_reply(c, 0, &result), -ETIMEDOUT);
        assert_int_equal(
                wire_do_call(c, &(struct wire_request){.method = "a.B", .timeout_ms = 20}, &result),
                -ETIMEDOUT);
        stop_peer(&peer, c);
}

/* Nobody reads: sending ends at the deadline, and descriptors held back are closed. */
static void deadline_of_sending(void **state)
{
        struct wire_conn *c;
        int fds[2], pipe_fds[2];
        char byte;
        struct wire_request q = {.method = "a.B", .timeout_ms = 20};

        (void)state;
        make_pair(fds);
        assert_int_equal(wire_conn_new(&c, fds[0]), 0);
        assert_int_equal(wire_send_request(c, &q), 0);
        assert_int_equal(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
        q.fds = &pipe_fds[1];
        q.n_fds = 1;
        assert_int_equal(wire_send_request(c, &q), -ETIMEDOUT);
        assert_int_equal(read(pipe_fds[0], &byte, 1), 0);
        close(pipe_fds[0]);
        q = (struct wire_request){.method = "a.B", .timeout_ms = 20};
        q.parameters = json_pack("{s:o}", "x", json_string(""));
        for (int i = 0; i < 14; i++) { /* 1 MiB */
                json_t *x = json_object_get(q.parameters, "x");
                char *twice = malloc(2 * json_string_length(x) + 65);
                int n = sprintf(
                        twice, "%s%s%s", json_string_value(x), json_string_value(x),
                        i ? ""
                          : "................................................................");

                json_object_set_new(q.parameters, "x", json_stringn(twice, (size_t)n));
                free(twice);
        }
        assert_int_equal(wire_send_request(c, &q), -ETIMEDOUT);
        wire_conn_free(c);
        close(fds[1]);
}

/* The daemon hangs up in the middle of a call that is too large, and says why before. */
static void last_words(void **state)
{
        struct wire_conn *c, *daemon;
        struct wire_result result;
        int fds[2];

        (void)state;
        make_pair(fds);
        assert_int_equal(wire_conn_new(&c, fds[0]), 0);
        assert_int_equal(wire_conn_new(&daemon, fds[1]), 0);
        assert_int_equal(write(fds[0], "{\"half\"", 7), 7); /* left unread by the daemon */
        send_text(daemon, "{\"error\":\"io.ckptd.TooLarge\",\"parameters\":{\"limit\":5}}", NULL,
                  0);
        assert_int_equal(wire_conn_flush(daemon), 1);
        wire_conn_free(daemon);
        assert_int_equal(wire_do_call(c,
                                      &(struct wire_request){.method = "a.B", .timeout_ms = 10000},
                                      &result),
                         0);
        assert_string_equal(result.reply.error, "io.ckptd.TooLarge");
        wire_result_done(&result);
        assert_int_equal(wire_do_call(c,
                                      &(struct wire_request){.method = "a.B", .timeout_ms = 10000},
                                      &result),
                         -EPIPE);
        wire_conn_free(c);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(first_place_that_answers), TEST(only_the_given_one),
                TEST(every_place_is_named),     TEST(the_same_place_once),
                TEST(too_long_a_path),          cmocka_unit_test(calls),
                cmocka_unit_test(streams),      cmocka_unit_test(descriptors_behind_oneway_calls),
                cmocka_unit_test(deadlines),    cmocka_unit_test(deadline_of_sending),
                cmocka_unit_test(last_words),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
