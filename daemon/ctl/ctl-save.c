#include "ctl.h"

#include "ctl-call.h"
#include "ctl-table.h"
#include "ctl-text.h"

#include <errno.h>
#include <inttypes.h>

struct save_options {
        bool all, wait;
        int64_t timeout_ms;
};

static const struct ctl_option save_options[] = {
        {"all", CTL_OPTION_FLAG, NULL, "every attached job", offsetof(struct save_options, all)},
        {"wait", CTL_OPTION_FLAG, NULL, "until it is published",
         offsetof(struct save_options, wait)},
        {"timeout", CTL_OPTION_DURATION, "T", "wait at most so long (with --wait), then exit 5",
         offsetof(struct save_options, timeout_ms)},
        {0},
};

static const struct ctl_column columns[] = {
        {.key = "model_dir", .type = CTL_TEXT},
        {.key = "n_asked", .type = CTL_COUNT},
        {.key = "step", .type = CTL_COUNT},
        {.key = "path", .type = CTL_TEXT},
        {0},
};

/* One call under way: all are sent before the first is waited for. */
struct asked {
        char *dir; /* NULL: all */
        struct wire_conn *conn;
};

static void asked_done(struct asked *a)
{
        free(a->dir);
        wire_conn_free(a->conn);
        *a = (struct asked){0};
}

static int send_ask(const struct ctl *c, const char *dir, struct asked *ret)
{
        const struct save_options *o = c->options;
        struct wire_request q = {.method = "io.ckptd.Admin.Save", .timeout_ms = CTL_CALL_MS};
        int code = ctl_connect(c, &ret->conn);

        if (code != CTL_DONE)
                return code;
        if (dir && !(ret->dir = ctl_absolute(dir)))
                return ctl_fail(CTL_FAILED, "out of memory");
        q.parameters = json_pack("{s:s*}", "model_dir", ret->dir);
        if (!dir)
                json_object_set_new(q.parameters, "all", json_true());
        if (o->wait) {
                json_object_set_new(q.parameters, "wait", json_true());
                q.flag = "more";
        }
        return ctl_tell_failure(wire_send_request(ret->conn, &q), &(struct wire_result){0});
}

static void show_progress(const struct wire_reply *reply)
{
        if (isatty(STDERR_FILENO))
                fprintf(stderr, "\r%3.0f%% written ",
                        json_number_value(json_object_get(reply->parameters, "progress")) * 100);
}

static void end_progress(void)
{
        if (isatty(STDERR_FILENO))
                fprintf(stderr, "\r%*s\r", 16, "");
}

/* The last reply of one call.  deadline_ms 0: none. */
static int await(const struct asked *a, const struct save_options *o, int64_t deadline_ms,
                 struct wire_result *ret)
{
        for (;;) {
                int64_t left_ms = deadline_ms - ctl_monotonic_ms();
                int64_t timeout_ms = deadline_ms ? (left_ms > 0 ? left_ms : 0)
                                     : o->wait   ? -1
                                                 : CTL_CALL_MS;
                int r = wire_receive_reply(a->conn, timeout_ms, ret);

                if (r < 0 || !ret->reply.continues) {
                        end_progress();
                        return r;
                }
                show_progress(&ret->reply);
                wire_result_done(ret);
        }
}

static void print_saved(const struct asked *a, const struct save_options *o, const json_t *reply)
{
        const char *path = json_string_value(json_object_get(reply, "path"));
        int64_t n = json_integer_value(json_object_get(reply, "n_asked"));

        if (o->wait && path) {
                printf("saved step %" PRId64 ": ",
                       (int64_t)json_integer_value(json_object_get(reply, "step")));
                ctl_put(stdout, path);
        } else if (a->dir) {
                printf("asked for a save: ");
                ctl_put(stdout, a->dir);
        } else {
                printf("%s %" PRId64 " job%s", o->wait ? "saved" : "asked", n, n == 1 ? "" : "s");
        }
        putchar('\n');
}

static int finish(const struct ctl *c, const struct asked *a, int64_t deadline_ms, json_t *rows)
{
        const struct save_options *o = c->options;
        _cleanup_(wire_result_done) struct wire_result result = {0};
        int r = await(a, o, deadline_ms, &result);
        int code;

        if (r == -ETIMEDOUT && o->wait)
                return ctl_fail(CTL_TIMED_OUT, "%s: not published in time; the save goes on",
                                a->dir ? a->dir : "save");
        code = ctl_tell_failure(r, &result);
        if (code != CTL_DONE)
                return code;
        if (!c->json)
                print_saved(a, o, result.reply.parameters);
        if (a->dir)
                json_object_set_new(result.reply.parameters, "model_dir", json_string(a->dir));
        json_array_append(rows, result.reply.parameters);
        return CTL_DONE;
}

static int save_each(const struct ctl *c, struct asked *asked, size_t n)
{
        const struct save_options *o = c->options;
        json_auto_t *rows = json_array();
        struct ctl_table t = {.columns = columns, .rows = rows};
        int64_t deadline_ms = o->timeout_ms ? ctl_monotonic_ms() + o->timeout_ms : 0;
        int worst = CTL_DONE;

        for (size_t i = 0; i < n; i++) {
                int code = send_ask(c, o->all ? NULL : c->args[i], &asked[i]);

                if (code == CTL_NO_DAEMON)
                        return code;
                if (code != CTL_DONE) {
                        asked_done(&asked[i]);
                        worst = code;
                }
        }
        for (size_t i = 0; i < n; i++) {
                int code = asked[i].conn ? finish(c, &asked[i], deadline_ms, rows) : worst;

                if (code != CTL_DONE)
                        worst = code;
        }
        if (c->json)
                ctl_print_json(ctl_table_json(&t));
        return worst;
}

static int save_run(struct ctl *c)
{
        const struct save_options *o = c->options;
        size_t n = o->all ? 1 : c->n_args;
        _cleanup_(freep) struct asked *asked = calloc(n + 1, sizeof(*asked));
        int code;

        if (o->timeout_ms && !o->wait)
                return ctl_fail(CTL_USAGE, "save: --timeout bounds the wait of --wait, which is "
                                           "not given\nMore: ckptctl save --help");
        if (o->all == (c->n_args > 0))
                return ctl_fail(CTL_USAGE, "save: expected either directories or --all\n"
                                           "More: ckptctl save --help");
        if (!asked)
                return ctl_fail(CTL_FAILED, "out of memory");
        code = save_each(c, asked, n);
        for (size_t i = 0; i < n; i++)
                asked_done(&asked[i]);
        return code;
}

const struct ctl_command ctl_save = {
        .name = "save",
        .arguments = "[DIR...]",
        .summary = "Asks the jobs of directories for a save now",
        .text = "With --wait it ends when the save is published, or says why it is not.",
        .options = save_options,
        .options_bytes = sizeof(struct save_options),
        .max_args = SIZE_MAX,
        .run = save_run,
};
