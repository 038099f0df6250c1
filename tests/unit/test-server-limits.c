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

#include <grp.h>
#include <sys/resource.h>
#include <sys/wait.h>

static void raise_limit(void)
{
        struct rlimit limit;

        assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
        if (limit.rlim_max < 2 * LIMIT_SESSIONS_PER_UID + 100)
                skip();
        limit.rlim_cur = limit.rlim_max;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void many_connections(void **state)
{
        static struct wire_conn *all[LIMIT_SESSIONS_PER_UID];
        struct fixture *f = *state;

        raise_limit();
        for (int i = 0; i < LIMIT_SESSIONS_PER_UID; i++) {
                all[i] = dial(f);
                if (i < 1000)
                        say(all[i], LATEST);
                if (i % 50 == 0)
                        turn(f);
        }
        for (int i = 0; i < 1000; i++)
                expect(f, all[i], LATEST_REPLY);
        turn(f);
        assert_int_equal(rpc_server_n_sessions(f->server), LIMIT_SESSIONS_PER_UID);
        expect_end(f, dial(f)); /* one too many */
        wire_conn_free(all[17]);
        turn(f);
        all[17] = dial(f);
        say(all[17], LATEST);
        expect(f, all[17], LATEST_REPLY);
        for (int i = 0; i < LIMIT_SESSIONS_PER_UID; i++)
                wire_conn_free(all[i]);
        turn(f);
        uv_run(&f->loop, UV_RUN_NOWAIT);
        assert_int_equal(rpc_server_n_sessions(f->server), 0);
}

/* Accepting fails for lack of descriptors: it goes on when one is free again. */
static void out_of_descriptors(void **state)
{
        struct fixture *f = *state;
        struct rlimit old, low;
        struct wire_conn *first = dial(f), *second;

        say(first, LATEST);
        expect(f, first, LATEST_REPLY);
        second = dial(f);
        say(second, LATEST);
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
        low = old;
        low.rlim_cur = (rlim_t)wire_conn_fd(second) + 1;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
        expect_silence(f, second);
        assert_int_equal(rpc_server_n_sessions(f->server), 1);
        wire_conn_free(first);
        expect(f, second, LATEST_REPLY);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
        wire_conn_free(second);
}

static void dropped(void **state)
{
        struct fixture *f = *state;
        struct wire_conn *c = dial(f);

        say(c, "{\"method\":\"io.ckptd.Jobs.Detach\"}");
        say(c, LATEST); /* too late */
        expect(f, c, "{\"parameters\":{\"last\":true}}");
        expect_end(f, c);
        c = dial(f);
        say(c, WAIT);
        turn(f);
        rpc_session_drop(rpc_call_session(f->waiting));
        expect_end(f, c);
        assert_int_equal(f->n_cancelled, 1);
        assert_int_equal(f->n_closed, 1);
}

/* What a child of another uid is told: 0 a reply, 1 an error, 2 no connection, 3 something else. */
static int ask_as_nobody(const struct fixture *f, const char *call)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        char reply[1024];
        ssize_t n;

        strcpy(address.sun_path, f->path);
        if (setgroups(0, NULL) < 0 || setgid(65534) < 0 || setuid(65534) < 0)
                return 3;
        if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
                return 2;
        if (write(fd, call, strlen(call) + 1) < 0)
                return 3;
        n = read(fd, reply, sizeof reply);
        if (n <= 0 || reply[n - 1] != 0)
                return 3;
        return strstr(reply, SERVICE "PermissionDenied") ? 1 : 0;
}

static int status_of_nobody(struct fixture *f, const char *call)
{
        int status;
        pid_t pid = fork();

        if (pid == 0)
                _exit(ask_as_nobody(f, call));
        while (waitpid(pid, &status, WNOHANG) == 0)
                uv_run(&f->loop, UV_RUN_NOWAIT);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void permissions(void **state)
{
        struct fixture *f = *state;

        if (geteuid() != 0)
                skip();
        chmod(f->folder, 0755);
        assert_int_equal(status_of_nobody(f, LATEST), 2); /* the socket's mode is 0660 */
        chmod(f->path, 0666);
        assert_int_equal(status_of_nobody(f, LATEST), 0);
        assert_int_equal(status_of_nobody(f, "{\"method\":\"io.ckptd.Admin.Reload\"}"), 1);
}

static void socket_file(void **state)
{
        struct fixture *f = *state, second = *f;
        struct diag d = {0};
        struct stat st;
        char pid[32];

        assert_int_equal(stat(f->path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0660);
        snprintf(pid, sizeof pid, "process %d ", getpid());
        assert_int_equal(start(&second, &d), -EADDRINUSE); /* the lock is held */
        assert_non_null(strstr(d.text, pid));
        assert_int_equal(unlink(f->lock), 0);
        assert_int_equal(start(&second, &d), -EADDRINUSE); /* no lock, but somebody listens */
        assert_non_null(strstr(d.text, pid));
        assert_int_equal(access(f->path, F_OK), 0);
        diag_done(&d);
}

static void stale_socket(void **state)
{
        struct fixture *f = *state;
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        struct wire_conn *c;
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        stop(f);
        strcpy(address.sun_path, f->path);
        assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
        close(fd);
        assert_int_equal(start(f, NULL), 0);
        c = dial(f);
        say(c, LATEST);
        expect(f, c, LATEST_REPLY);
        wire_conn_free(c);
}

static void other_files_stay(void **state)
{
        struct fixture *f = *state;
        struct diag d = {0};
        int fd;

        assert_int_equal(unlink(f->path), 0);
        fd = open(f->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        assert_int_equal(write(fd, "mine", 4), 4);
        close(fd);
        stop(f);
        assert_int_equal(access(f->path, F_OK), 0);
        assert_int_equal(start(f, &d), -EEXIST);
        assert_non_null(strstr(d.text, "no socket"));
        assert_int_equal(unlink(f->path), 0);
        diag_done(&d);
}

static void passed_socket(void **state)
{
        struct fixture *f = *state;
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        struct rpc_options o = {.loop = &f->loop, .tables = tables, .user = f};
        struct diag d = {0};
        struct wire_conn *c;

        stop(f);
        o.fd = socket(AF_UNIX, SOCK_STREAM, 0);
        assert_int_equal(rpc_server_new(&f->server, &o, &d), -EINVAL);
        assert_non_null(strstr(d.text, "does not listen"));
        o.fd = socket(AF_UNIX, SOCK_STREAM, 0);
        strcpy(address.sun_path, f->path);
        assert_int_equal(bind(o.fd, (struct sockaddr *)&address, sizeof address), 0);
        assert_int_equal(listen(o.fd, 5), 0);
        assert_int_equal(rpc_server_new(&f->server, &o, &d), 0);
        c = dial(f);
        say(c, LATEST);
        expect(f, c, LATEST_REPLY);
        wire_conn_free(c);
        stop(f);
        assert_int_equal(unlink(f->path), 0); /* not ours to remove, so it is still there */
        diag_done(&d);
}

static int start_with(struct fixture *f, const struct rpc_method *const *list, struct diag *d)
{
        struct rpc_options o = {.loop = &f->loop, .path = f->path, .fd = -1, .tables = list};

        return rpc_server_new(&f->server, &o, d);
}

static void tables_and_texts_agree(void **state)
{
        static const struct rpc_method undeclared[] = {
                {"io.ckptd.Jobs.Juggle", NULL, 0, 0, handle_nothing}, {0}};
        static const struct rpc_method unknown[] = {{"Juggle", NULL, 0, 0, handle_nothing}, {0}};
        static const struct rpc_method *const lists[][4] = {
                {jobs}, {jobs, admin, undeclared}, {jobs, admin, unknown}};
        static const char *const texts[] = {
                "io.ckptd.Admin.Status: declared, without a handler",
                "io.ckptd.Jobs.Juggle: handled, but not declared",
                "Juggle: handled, but not declared",
        };
        struct fixture *f = *state;

        stop(f);
        for (size_t i = 0; i < 3; i++) {
                struct diag d = {0};

                assert_int_equal(start_with(f, lists[i], &d), -EINVAL);
                assert_string_equal(d.text, texts[i]);
                diag_done(&d);
                assert_int_equal(access(f->path, F_OK), -1);
        }
}

static void closing_cancels(void **state)
{
        struct fixture *f = *state;
        struct wire_conn *waiting = dial(f), *half = dial(f), *slow = dial(f);

        say(waiting, WAIT);
        assert_int_equal(write(wire_conn_fd(half), "{", 1), 1);
        say_often(slow, "{\"method\":\"io.ckptd.Admin.List\"}", 50);
        turn(f);
        assert_int_equal(rpc_server_n_sessions(f->server), 3);
        stop(f);
        assert_int_equal(f->n_cancelled, 1);
        assert_int_equal(f->n_closed, 1);
        wire_conn_free(waiting);
        wire_conn_free(half);
        wire_conn_free(slow);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(many_connections), TEST(out_of_descriptors), TEST(dropped),
                TEST(permissions),      TEST(socket_file),        TEST(stale_socket),
                TEST(other_files_stay), TEST(passed_socket),      TEST(tables_and_texts_agree),
                TEST(closing_cancels),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
