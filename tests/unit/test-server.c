#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "limit.h"
#include "server-test.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>

static void the_service_itself(void **state)
{
        struct fixture *f = *state;
        struct wire_conn *c = dial(f);
        struct wire_message m;
        json_t *p;

        say(c, "{\"method\":\"" SERVICE "GetInfo\",\"parameters\":{}}");
        assert_int_equal(hear(f, c, &m), 1);
        p = json_object_get(m.json, "parameters");
        assert_string_equal(json_string_value(json_object_get(p, "product")), "ckptd");
        assert_string_equal(json_string_value(json_object_get(p, "version")), CKPTD_VERSION);
        assert_json(json_object_get(p, "interfaces"),
                    "[\"org.varlink.service\",\"io.ckptd.Jobs\",\"io.ckptd.Admin\"]");
        wire_message_done(&m);
        say(c, "{\"method\":\"" SERVICE
               "GetInterfaceDescription\",\"parameters\":{\"interface\":\"io.ckptd.Jobs\"}}");
        assert_int_equal(hear(f, c, &m), 1);
        p = json_object_get(json_object_get(m.json, "parameters"), "description");
        assert_non_null(strstr(json_string_value(p), "\ninterface io.ckptd.Jobs\n"));
        wire_message_done(&m);
        say(c, "{\"method\":\"" SERVICE
               "GetInterfaceDescription\",\"parameters\":{\"interface\":\"a.b\"}}");
        expect(f, c,
               "{\"error\":\"" SERVICE
               "InterfaceNotFound\",\"parameters\":{\"interface\":\"a.b\"}}");
        wire_conn_free(c);
}

static void refused_calls(void **state)
{
        static const struct {
                const char *call, *error, *key, *value;
        } cases[] = {
                {"{\"method\":\"io.ckptd.Jobs.Nothing\"}", "MethodNotFound", "method",
                 "io.ckptd.Jobs.Nothing"},
                {"{\"method\":\"io.ckptd.Jobs.\"}", "MethodNotFound", "method", "io.ckptd.Jobs."},
                {"{\"method\":\"io.ckptd.Other.Attach\"}", "InterfaceNotFound", "interface",
                 "io.ckptd.Other"},
                {"{\"method\":\"Attach\"}", "InterfaceNotFound", "interface", ""},
                {"{\"method\":\"\"}", "InterfaceNotFound", "interface", ""},
                {"{\"method\":\"io.ckptd.Admin.Latest\"}", "InvalidParameter", "parameter",
                 "model_dir"},
                {"{\"method\":\"io.ckptd.Admin.Latest\",\"parameters\":{\"model_dir\":1}}",
                 "InvalidParameter", "parameter", "model_dir"},
                {"{\"method\":\"io.ckptd.Admin.Latest\",\"parameters\":{\"model_dir\":\"/"
                 "m\",\"x\":1}}",
                 "InvalidParameter", "parameter", "x"},
                {"{\"method\":\"io.ckptd.Admin.Status\",\"parameters\":{\"x\":1}}",
                 "InvalidParameter", "parameter", "x"},
                {"{\"method\":\"io.ckptd.Admin.Latest\",\"upgrade\":true}", "MethodNotImplemented",
                 "method", "io.ckptd.Admin.Latest"},
        };
        struct fixture *f = *state;
        struct wire_conn *c = dial(f);

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                char text[256];

                say(c, cases[i].call);
                snprintf(text, sizeof text,
                         "{\"error\":\"" SERVICE "%s\",\"parameters\":{\"%s\":\"%s\"}}",
                         cases[i].error, cases[i].key, cases[i].value);
                expect(f, c, text);
        }
        say(c, LATEST);
        expect(f, c, LATEST_REPLY);
        wire_conn_free(c);
}

static void violations_close(void **state)
{
        static const char *const bad[] = {
                "{\"method\":\"io.ckptd.Admin.Status\",\"flags\":1}",
                "{\"method\":\"io.ckptd.Admin.Status\",\"more\":1}",
                "{\"method\":\"io.ckptd.Admin.Status\",\"more\":true,\"oneway\":true}",
                "{\"parameters\":{}}",
                "[]",
                "",
                "hello",
        };
        struct fixture *f = *state;

        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                struct wire_conn *c = dial(f);

                say(c, LATEST);
                assert_true(write(wire_conn_fd(c), bad[i], strlen(bad[i]) + 1) > 0);
                expect(f, c, LATEST_REPLY); /* what came before is answered */
                expect_end(f, c);
        }
        assert_int_equal(rpc_server_n_sessions(f->server), 0);
}

static void pipelined_calls(void **state)
{
        struct fixture *f = *state;
        struct wire_conn *c = dial(f);
        struct wire_message m;

        for (int i = 0; i < 1000; i++) {
                json_t *call = json_pack("{s:s, s:{s:s+}}", "method", "io.ckptd.Admin.Latest",
                                         "parameters", "model_dir", "/", "m");

                json_object_set_new(json_object_get(call, "parameters"), "model_dir",
                                    json_sprintf("/%d", i));
                assert_int_equal(wire_conn_send(c, call, NULL, 0), 0);
                json_decref(call);
        }
        assert_int_equal(wire_conn_flush(c), 1);
        for (int i = 0; i < 1000; i++) {
                char path[16];

                assert_int_equal(hear(f, c, &m), 1);
                snprintf(path, sizeof path, "/%d", i);
                assert_string_equal(json_string_value(json_object_get(
                                            json_object_get(m.json, "parameters"), "path")),
                                    path);
                wire_message_done(&m);
        }
        expect_silence(f, c);
        wire_conn_free(c);
}

static void oneway_calls(void **state)
{
        struct fixture *f = *state;
        struct wire_conn *c = dial(f);

        say_often(c, "{\"method\":\"io.ckptd.Jobs.HandOff\",\"oneway\":true}", 300);
        say(c, "{\"method\":\"io.ckptd.Jobs.Nothing\",\"oneway\":true}");
        say(c, "{\"method\":\"io.ckptd.Admin.Latest\",\"oneway\":true}");
        say(c, LATEST);
        expect(f, c, LATEST_REPLY);
        expect_silence(f, c);
        assert_int_equal(f->n_handoffs, 300);
        wire_conn_free(c);
}

/* A job that hands off as its last word has been heard. */
static void oneway_and_gone(void **state)
{
        struct fixture *f = *state;
        struct wire_conn *c = dial(f);

        say_often(c, "{\"method\":\"io.ckptd.Jobs.HandOff\",\"oneway\":true}", 300);
        wire_conn_free(c);
        turn(f);
        assert_int_equal(f->n_handoffs, 300);
        assert_int_equal(rpc_server_n_sessions(f->server), 0);
}

static void streams(void **state)
{
        struct fixture *f = *state;
        struct wire_conn *c = dial(f);

        say(c, "{\"method\":\"io.ckptd.Admin.Save\",\"more\":true}");
        expect(f, c, "{\"parameters\":{\"n_asked\":0},\"continues\":true}");
        expect(f, c, "{\"parameters\":{\"n_asked\":1},\"continues\":true}");
        expect(f, c, "{\"parameters\":{\"n_asked\":2},\"continues\":true}");
        expect(f, c, "{\"parameters\":{\"n_asked\":3}}");
        say(c, "{\"method\":\"io.ckptd.Admin.Save\"}");
        expect(f, c, "{\"parameters\":{\"n_asked\":3}}");
        say(c, "{\"method\":\"io.ckptd.Admin.Latest\",\"more\":true,\"parameters\":{\"model_dir\":"
               "\"/m\"}}");
        expect(f, c, LATEST_REPLY);
        wire_conn_free(c);
}

static void later_replies_keep_the_order(void **state)
{
        struct fixture *f = *state;
        struct wire_conn *c = dial(f);

        for (int i = 0; i < 3; i++) {
                say(c, WAIT);
                say(c, LATEST);
                say(c, WAIT);
                expect_silence(f, c);
                rpc_reply(take_ptr(f->waiting), json_pack("{s:i}", "step", i));
                assert_null(f->waiting);                   /* no handler runs within a reply */
                assert_int_equal(wire_conn_receive(c), 1); /* and the reply is out at once */
                expect(f, c,
                       i == 0   ? "{\"parameters\":{\"step\":0}}"
                       : i == 1 ? "{\"parameters\":{\"step\":1}}"
                                : "{\"parameters\":{\"step\":2}}");
                expect(f, c, LATEST_REPLY);
                turn(f);
                rpc_fail(take_ptr(f->waiting), "io.ckptd.Jobs.SaveFailed",
                         json_pack("{s:i}", "step", i + 10));
                expect(f, c,
                       i == 0 ? "{\"error\":\"io.ckptd.Jobs.SaveFailed\",\"parameters\":{\"step\":"
                                "10}}"
                       : i == 1 ? "{\"error\":\"io.ckptd.Jobs.SaveFailed\",\"parameters\":{"
                                  "\"step\":11}}"
                                : "{\"error\":\"io.ckptd.Jobs.SaveFailed\",\"parameters\":{"
                                  "\"step\":12}}");
        }
        wire_conn_free(c);
}

static void hang_up_cancels(void **state)
{
        struct fixture *f = *state;
        struct wire_conn *c = dial(f);

        say(c, WAIT);
        say(c, LATEST); /* unread when the end comes */
        turn(f);
        assert_non_null(f->waiting);
        assert_int_equal(rpc_call_peer(f->waiting)->uid, geteuid());
        assert_int_equal(rpc_call_peer(f->waiting)->pid, getpid());
        assert_ptr_equal(rpc_session_get(rpc_call_session(f->waiting)), f);
        wire_conn_free(c);
        turn(f);
        assert_null(f->waiting);
        assert_int_equal(f->n_cancelled, 1);
        assert_int_equal(f->n_closed, 1);
        assert_int_equal(rpc_server_n_sessions(f->server), 0);
}

static void reply_to_nobody(void **state)
{
        struct fixture *f = *state;
        struct wire_conn *c = dial(f);

        say(c, "{\"method\":\"io.ckptd.Jobs.Piece\",\"more\":true}");
        turn(f);
        wire_conn_free(c);
        turn(f);
        assert_int_equal(rpc_server_n_sessions(f->server), 0);
        assert_null(rpc_call_session(f->held[0]));
        assert_null(rpc_session_get(rpc_call_session(f->held[0])));
        rpc_reply_more(f->held[0], json_object());
        rpc_reply(f->held[0], json_object());
}

/* Half a close is no hang-up. */
static void half_closed(void **state)
{
        struct fixture *f = *state;
        struct wire_conn *c = dial(f);

        say(c, LATEST);
        say(c, WAIT);
        say(c, LATEST);
        assert_int_equal(shutdown(wire_conn_fd(c), SHUT_WR), 0);
        expect(f, c, LATEST_REPLY);
        expect_silence(f, c);
        assert_int_equal(f->n_cancelled, 0);
        rpc_reply(take_ptr(f->waiting), NULL);
        expect(f, c, "{}");
        expect(f, c, LATEST_REPLY);
        expect_end(f, c);
        turn(f);
        assert_int_equal(rpc_server_n_sessions(f->server), 0);
}

/* It asks for 20 MB and reads nothing: the server stops listening to it, and goes on when it
 * reads. */
static void slow_reader(void **state)
{
        struct fixture *f = *state;
        struct wire_conn *c = dial(f), *other = dial(f);
        struct wire_message m;

        say_often(c, "{\"method\":\"io.ckptd.Admin.List\"}", 400);
        turn(f);
        say(other, LATEST);
        expect(f, other, LATEST_REPLY);
        for (int i = 0; i < 400; i++) {
                assert_int_equal(hear(f, c, &m), 1);
                wire_message_done(&m);
        }
        expect_silence(f, c);
        wire_conn_free(c);
        wire_conn_free(other);
}

static void slow_reader_of_a_stream(void **state)
{
        struct fixture *f = *state;
        struct wire_conn *c = dial(f);
        struct wire_message m;
        int n = 0, last = -1;

        say(c, "{\"method\":\"io.ckptd.Jobs.Wait\",\"more\":true}");
        turn(f);
        assert_true(rpc_call_wants_more(f->waiting));
        for (int i = 0; i < 100000; i++)
                rpc_reply_more(f->waiting, json_pack("{s:i}", "n", i));
        while (last < 99999) {
                assert_int_equal(hear(f, c, &m), 1);
                assert_true(json_is_true(json_object_get(m.json, "continues")));
                assert_true(json_integer_value(json_object_get(
                                    json_object_get(m.json, "parameters"), "n")) > last);
                last = (int)json_integer_value(
                        json_object_get(json_object_get(m.json, "parameters"), "n"));
                wire_message_done(&m);
                n++;
        }
        assert_in_range(n, 2, 99999); /* some were left out, never the newest */
        rpc_reply(take_ptr(f->waiting), NULL);
        expect(f, c, "{}");
        wire_conn_free(c);
}

static void reply_beyond_everything(void **state)
{
        struct fixture *f = *state;
        struct wire_conn *c = dial(f);

        say(c, "{\"method\":\"io.ckptd.Admin.History\"}");
        expect(f, c, "{\"error\":\"io.ckptd.TooLarge\",\"parameters\":{\"limit\":8388608}}");
        say(c, LATEST);
        expect(f, c, LATEST_REPLY);
        wire_conn_free(c);
}

static void too_large_calls(void **state)
{
        struct fixture *f = *state;
        struct wire_conn *c = dial(f);
        char *text = malloc(LIMIT_MESSAGE_BYTES + 2);
        json_t *call = json_object();

        memset(text, 'x', LIMIT_MESSAGE_BYTES + 1);
        json_object_set_new(call, "method", json_stringn(text, LIMIT_MESSAGE_BYTES + 1));
        assert_int_equal(wire_conn_send(c, call, NULL, 0), 0);
        while (wire_conn_flush(c) == 0)
                uv_run(&f->loop, UV_RUN_NOWAIT);
        expect(f, c, "{\"error\":\"io.ckptd.TooLarge\",\"parameters\":{\"limit\":1048576}}");
        expect_end(f, c);
        json_decref(call);
        c = dial(f);
        memset(text, '[', 40);
        assert_int_equal(write(wire_conn_fd(c), "{\"x\":[", 6), 6);
        assert_int_equal(write(wire_conn_fd(c), text, 40), 40);
        assert_int_equal(write(wire_conn_fd(c), "", 1), 1);
        expect(f, c, "{\"error\":\"io.ckptd.TooLarge\",\"parameters\":{\"limit\":32}}");
        expect_end(f, c);
        free(text);
}

static void descriptors(void **state)
{
        struct fixture *f = *state;
        struct wire_conn *c = dial(f);
        struct wire_message m;
        int pipe_fds[2], fd;

        assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
        send_text(c, "{\"method\":\"io.ckptd.Jobs.Attach\"}", &pipe_fds[1], 1);
        assert_int_equal(wire_conn_flush(c), 1);
        assert_int_equal(hear(f, c, &m), 1);
        assert_json(m.json, "{\"parameters\":{\"page_fd\":0}}");
        fd = wire_message_take_fd(&m, 0);
        assert_int_equal(write(fd, "x", 1), 1);
        close(fd);
        close(pipe_fds[0]);
        wire_message_done(&m);
        say(c, "{\"method\":\"io.ckptd.Jobs.Attach\"}");
        expect(f, c,
               "{\"error\":\"" SERVICE
               "InvalidParameter\",\"parameters\":{\"parameter\":\"pid_fd\"}}");
        wire_conn_free(c);
}

static void descriptors_behind_another_call(void **state)
{
        struct fixture *f = *state;
        struct wire_conn *c = dial(f);
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

        send_text(c, LATEST, NULL, 0);
        send_text(c, "{\"method\":\"io.ckptd.Jobs.Attach\"}", &fd, 1);
        assert_int_equal(wire_conn_flush(c), 1);
        expect_end(f, c);
}

static void half_messages(void **state)
{
        struct fixture *f = *state;
        struct wire_conn *c = dial(f), *idle = dial(f), *waiting = dial(f);

        assert_int_equal(write(wire_conn_fd(c), "{\"meth", 6), 6);
        turn(f);
        assert_int_equal(rpc_server_n_sessions(f->server), 3);
        wire_conn_free(c);
        turn(f);
        assert_int_equal(rpc_server_n_sessions(f->server), 2);
        say(waiting, WAIT);
        assert_int_equal(write(wire_conn_fd(waiting), "{\"meth", 6), 6);
        c = dial(f);
        assert_int_equal(write(wire_conn_fd(c), "{\"meth", 6), 6);
        expect_end(f, c); /* idle for too long */
        assert_int_equal(rpc_server_n_sessions(f->server), 2);
        rpc_reply(take_ptr(f->waiting), NULL);
        expect(f, waiting, "{}");
        expect_end(f, waiting);
        say(idle, LATEST); /* without a message begun nobody is hurried */
        expect(f, idle, LATEST_REPLY);
        wire_conn_free(idle);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(the_service_itself),
                TEST(refused_calls),
                TEST(violations_close),
                TEST(pipelined_calls),
                TEST(oneway_calls),
                TEST(oneway_and_gone),
                TEST(streams),
                TEST(later_replies_keep_the_order),
                TEST(hang_up_cancels),
                TEST(reply_to_nobody),
                TEST(half_closed),
                TEST(slow_reader),
                TEST(slow_reader_of_a_stream),
                TEST(reply_beyond_everything),
                TEST(too_large_calls),
                TEST(descriptors),
                TEST(descriptors_behind_another_call),
                TEST(half_messages),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
