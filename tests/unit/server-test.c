#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "server-test.h"

#include "limit.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>

static void on_cancel(void *user)
{
        struct fixture *f = user;

        f->n_cancelled++;
        f->waiting = NULL;
}

static void on_session_close(void *data)
{
        ((struct fixture *)data)->n_closed++;
}

/* Admin.Latest stands for every call that is answered at once. */
struct latest_in {
        const char *model_dir;
};

static const struct field latest_fields[] = {
        FIELD(FIELD_STRING, struct latest_in, model_dir, FIELD_REQUIRED),
        FIELD_END,
};

static void handle_latest(struct rpc_call *c, const void *parameters, void *user)
{
        const struct latest_in *in = parameters;

        (void)user;
        rpc_reply(c, json_pack("{s:b, s:s}", "found", 1, "path", in->model_dir));
}

static void handle_handoff(struct rpc_call *c, const void *parameters, void *user)
{
        (void)parameters;
        ((struct fixture *)user)->n_handoffs++;
        rpc_reply(c, NULL);
}

static void handle_wait(struct rpc_call *c, const void *parameters, void *user)
{
        struct fixture *f = user;

        (void)parameters;
        f->waiting = c;
        rpc_call_on_cancel(c, on_cancel, f);
        rpc_session_set(rpc_call_session(c), f, on_session_close);
}

static void handle_piece(struct rpc_call *c, const void *parameters, void *user)
{
        struct fixture *f = user;

        (void)parameters;
        f->held[f->n_held++] = c;
}

static void handle_attach(struct rpc_call *c, const void *parameters, void *user)
{
        int fd = rpc_call_take_fd(c, 0);

        (void)parameters;
        (void)user;
        if (fd < 0)
                rpc_fail_invalid(c, "pid_fd");
        else
                rpc_reply(c, json_pack("{s:I}", "page_fd", (json_int_t)rpc_call_push_fd(c, fd)));
}

static void handle_save(struct rpc_call *c, const void *parameters, void *user)
{
        (void)parameters;
        (void)user;
        for (int i = 0; i < 3; i++)
                rpc_reply_more(c, json_pack("{s:i}", "n_asked", i));
        rpc_reply(c, json_pack("{s:i}", "n_asked", 3));
}

/* More than a connection may have waiting. */
static void handle_history(struct rpc_call *c, const void *parameters, void *user)
{
        char *text = calloc(1, LIMIT_OUTPUT_BYTES + 1);

        (void)parameters;
        (void)user;
        memset(text, 'x', LIMIT_OUTPUT_BYTES);
        rpc_reply(c, json_pack("{s:s}", "text", text));
        free(text);
}

static void handle_list(struct rpc_call *c, const void *parameters, void *user)
{
        static char text[50 * 1024];

        (void)parameters;
        (void)user;
        memset(text, 'x', sizeof text - 1);
        rpc_reply(c, json_pack("{s:s}", "text", text));
}

static void handle_drop(struct rpc_call *c, const void *parameters, void *user)
{
        struct rpc_session *s = rpc_call_session(c);

        (void)parameters;
        (void)user;
        rpc_session_drop(s);
        rpc_reply(c, json_pack("{s:b}", "last", 1));
}

void handle_nothing(struct rpc_call *c, const void *parameters, void *user)
{
        (void)parameters;
        (void)user;
        rpc_reply(c, NULL);
}

const struct rpc_method jobs[] = {
        {"io.ckptd.Jobs.Attach", NULL, 0, 0, handle_attach},
        {"io.ckptd.Jobs.Describe", NULL, 0, 0, handle_nothing},
        {"io.ckptd.Jobs.HandOff", NULL, 0, 0, handle_handoff},
        {"io.ckptd.Jobs.Piece", NULL, 0, 0, handle_piece},
        {"io.ckptd.Jobs.Step", NULL, 0, 0, handle_nothing},
        {"io.ckptd.Jobs.Commit", NULL, 0, 0, handle_nothing},
        {"io.ckptd.Jobs.Restore", NULL, 0, 0, handle_nothing},
        {"io.ckptd.Jobs.Restored", NULL, 0, 0, handle_nothing},
        {"io.ckptd.Jobs.Wait", NULL, 0, 0, handle_wait},
        {"io.ckptd.Jobs.Finish", NULL, 0, 0, handle_nothing},
        {"io.ckptd.Jobs.Detach", NULL, 0, 0, handle_drop},
        {0},
};

const struct rpc_method admin[] = {
        {"io.ckptd.Admin.Status", NULL, 0, 0, handle_nothing},
        {"io.ckptd.Admin.List", NULL, 0, 0, handle_list},
        {"io.ckptd.Admin.History", NULL, 0, 0, handle_history},
        {"io.ckptd.Admin.Save", NULL, 0, RPC_MUTATES, handle_save},
        {"io.ckptd.Admin.Latest", latest_fields, sizeof(struct latest_in), 0, handle_latest},
        {"io.ckptd.Admin.ReportDamage", NULL, 0, RPC_MUTATES, handle_nothing},
        {"io.ckptd.Admin.Reload", NULL, 0, RPC_MUTATES, handle_nothing},
        {0},
};

const struct rpc_method *const tables[] = {jobs, admin, NULL};

int start(struct fixture *f, struct diag *d)
{
        struct rpc_options o = {.loop = &f->loop,
                                .path = f->path,
                                .fd = -1,
                                .tables = tables,
                                .user = f,
                                .idle_ms = 40};

        return rpc_server_new(&f->server, &o, d);
}

int set_up(void **state)
{
        struct fixture *f = calloc(1, sizeof *f);

        strcpy(f->folder, "/tmp/test-server-XXXXXX");
        assert_non_null(mkdtemp(f->folder));
        snprintf(f->path, sizeof f->path, "%s/run/ckptd.sock", f->folder);
        snprintf(f->lock, sizeof f->lock, "%s.lock", f->path);
        assert_int_equal(uv_loop_init(&f->loop), 0);
        assert_int_equal(start(f, NULL), 0);
        *state = f;
        return 0;
}

static void on_server_closed(void *user)
{
        struct fixture *f = user;

        assert_false(f->closed);
        f->closed = true;
        f->server = NULL;
}

void stop(struct fixture *f)
{
        f->closed = false;
        rpc_server_close(f->server, on_server_closed, f);
        uv_run(&f->loop, UV_RUN_DEFAULT);
        assert_true(f->closed);
}

int tear_down(void **state)
{
        struct fixture *f = *state;

        if (f->server)
                stop(f);
        assert_int_equal(uv_loop_close(&f->loop), 0);
        assert_int_equal(access(f->path, F_OK), -1);
        unlink(f->lock);
        *strrchr(f->path, '/') = '\0';
        rmdir(f->path);
        assert_int_equal(rmdir(f->folder), 0);
        free(f);
        return 0;
}

struct wire_conn *dial(const struct fixture *f)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        struct wire_conn *c;
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        strcpy(address.sun_path, f->path);
        assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
        assert_int_equal(wire_conn_new(&c, fd), 0);
        wire_conn_set_limit(c, LIMIT_OUTPUT_BYTES);
        return c;
}

void say(struct wire_conn *c, const char *text)
{
        send_text(c, text, NULL, 0);
        assert_int_equal(wire_conn_flush(c), 1);
}

int hear(struct fixture *f, struct wire_conn *c, struct wire_message *ret)
{
        int r;

        while ((r = wire_conn_next(c, ret)) == 0) {
                r = wire_conn_receive(c);
                if (r < 0)
                        return r;
                if (r == 0)
                        uv_run(&f->loop, UV_RUN_ONCE);
        }
        return r;
}

void expect(struct fixture *f, struct wire_conn *c, const char *text)
{
        struct wire_message m;

        assert_int_equal(hear(f, c, &m), 1);
        assert_json(m.json, text);
        wire_message_done(&m);
}

void expect_end(struct fixture *f, struct wire_conn *c)
{
        struct wire_message m;

        assert_int_equal(hear(f, c, &m), -EPIPE);
        wire_conn_free(c);
}

void turn(struct fixture *f)
{
        for (int i = 0; i < 20; i++)
                uv_run(&f->loop, UV_RUN_NOWAIT);
}

void expect_silence(struct fixture *f, struct wire_conn *c)
{
        struct wire_message m;

        turn(f);
        assert_true(wire_conn_receive(c) >= 0);
        assert_int_equal(wire_conn_next(c, &m), 0);
}

void say_often(struct wire_conn *c, const char *text, int times)
{
        for (int i = 0; i < times; i++)
                send_text(c, text, NULL, 0);
        assert_int_equal(wire_conn_flush(c), 1);
}
