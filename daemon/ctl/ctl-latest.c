#include "ctl.h"

#include "ctl-call.h"
#include "ctl-place.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define NOT_ANSWERED (-1) /* look into the directory */

/* The path goes to scripts: bytes as they are. */
static int print_latest(const struct ctl *c, int64_t step, const char *path)
{
        if (c->json)
                return ctl_print_json(
                        step < 0 ? json_pack("{s:n, s:s}", "step", "path", path)
                                 : json_pack("{s:I, s:s}", "step", (json_int_t)step, "path", path));
        printf("%s\n", path);
        return CTL_DONE;
}

static int never_any(const char *dir)
{
        return ctl_fail(CTL_FAILED, "%s: no checkpoint was ever published here", dir);
}

static int take_answer(const struct ctl *c, const char *dir, const struct wire_result *result)
{
        const json_t *p = result->reply.parameters;
        const char *path = json_string_value(json_object_get(p, "path"));

        if (ctl_is_error(&result->reply, "NoneWhole"))
                return ctl_tell_failure(0, result);
        if (result->reply.error)
                return NOT_ANSWERED;
        if (!json_is_true(json_object_get(p, "found")) || !path)
                return never_any(dir);
        return print_latest(c, json_integer_value(json_object_get(p, "step")), path);
}

/* The daemon leases what it names.  An exit code or NOT_ANSWERED. */
static int ask_daemon(const struct ctl *c, const char *dir, bool *ret_is_unknown)
{
        _cleanup_(wire_conn_freep) struct wire_conn *conn = NULL;
        _cleanup_(wire_result_done) struct wire_result result = {0};
        struct wire_request q = {.method = "io.ckptd.Admin.Latest", .timeout_ms = CTL_CALL_MS};

        if (wire_dial(c->socket, &conn, NULL, NULL) < 0)
                return NOT_ANSWERED;
        q.parameters = json_pack("{s:s}", "model_dir", dir);
        if (wire_do_call(conn, &q, &result) < 0)
                return NOT_ANSWERED;
        *ret_is_unknown = ctl_is_error(&result.reply, "NoSuchDirectory");
        return take_answer(c, dir, &result);
}

static int look_into(const struct ctl *c, const char *dir, bool is_unknown)
{
        _cleanup_(diag_done) struct diag d = {0};
        _cleanup_(ctl_directory_freep) struct ctl_directory *directory = NULL;
        _cleanup_(stored_freep) struct stored *s = NULL;
        _cleanup_(freep) char *path = NULL;
        const struct ctl_checkpoint *newest;
        int r = ctl_directory_open(dir, &directory, &d);

        /* A directory that the daemon never knew and that is not there yet is a fresh start;
         * without a daemon it may be one that is not mounted. */
        if (r == -ENOENT && is_unknown)
                return never_any(dir);
        if (r < 0)
                return ctl_fail(CTL_NO_DAEMON, "no ckptd answers for it, and %s", diag_text(&d, r));
        r = ctl_directory_newest(directory, &newest, &s, &d);
        if (r == -ENOENT)
                return never_any(dir);
        if (r == -ENODATA)
                return ctl_fail(CTL_NONE_WHOLE, "%s: there are checkpoints, but none is whole\n%s",
                                dir, diag_text(&d, r));
        /* As its framework names it: a prefix, or the file that makes it visible. */
        if (r >= 0)
                path = ctl_join(directory->path,
                                s->format->state_file ? s->name : s->files[0].name);
        if (!path)
                return ctl_fail(CTL_FAILED, "%s: %s", dir, diag_text(&d, r));
        return print_latest(c, newest->step >= 0 ? newest->step : s->step, path);
}

static int latest_run(struct ctl *c)
{
        _cleanup_(freep) char *dir = ctl_absolute(c->args[0]);
        bool is_unknown = false;
        int code;

        if (!dir)
                return ctl_fail(CTL_FAILED, "out of memory");
        code = ask_daemon(c, dir, &is_unknown);
        return code == NOT_ANSWERED ? look_into(c, dir, is_unknown) : code;
}

const struct ctl_command ctl_latest = {
        .name = "latest",
        .arguments = "DIR",
        .summary = "The path to restore, one line, for scripts",
        .text = "Works without a daemon. With one, what it prints is leased for 10 minutes.\n"
                "Exit 1: never any checkpoint (start anew on 1 only); 3: no daemon, and the "
                "directory cannot\n"
                "be read; 4: there are some, none whole or reachable.",
        .min_args = 1,
        .max_args = 1,
        .run = latest_run,
};
