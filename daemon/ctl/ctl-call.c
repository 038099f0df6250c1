#include "ctl-call.h"

#include <errno.h>
#include <string.h>

#define ADMIN "io.ckptd.Admin."
#define SERVICE "org.varlink.service."

static int tell_no_daemon(const struct ctl *c, const struct diag *d)
{
        const char *given = c->socket ? c->socket : getenv("CKPTD_SOCKET");
        bool there = given && *given;

        return ctl_fail(CTL_NO_DAEMON,
                        "no ckptd answers. Tried:\n%s\n"
                        "Start one%s%s &\n"
                        "Elsewhere: --socket PATH or CKPTD_SOCKET. Work without one: check, "
                        "latest, inspect, verify.",
                        d->text ? d->text : "    no place",
                        there ? " there: ckptd --socket " : ": ckptd", there ? given : "");
}

int ctl_connect(const struct ctl *c, struct wire_conn **ret)
{
        _cleanup_(diag_done) struct diag d = {0};
        int r = wire_dial(c->socket, ret, NULL, &d);

        if (r == -EHOSTDOWN)
                return tell_no_daemon(c, &d);
        return r < 0 ? ctl_fail(CTL_FAILED, "%s", diag_text(&d, r)) : CTL_DONE;
}

/* What an error is called, which of its parameters people should see, and the text around it. */
static const struct failure {
        const char *error;
        const char *member;
        const char *format; /* one %s where member is given */
        int exit_code;
} failures[] = {
        {ADMIN "NoSuchDirectory", "model_dir",
         "%s: not a registered directory: no job has attached here yet; known ones: ckptctl list",
         CTL_FAILED},
        {ADMIN "NoJob", "model_dir", "%s: no job is attached", CTL_FAILED},
        {ADMIN "NoneWhole", "message", "%s", CTL_NONE_WHOLE},
        {ADMIN "SaveFailed", "message", "the save failed: %s", CTL_FAILED},
        {ADMIN "Failed", "message", "%s", CTL_FAILED},
        {ADMIN "InvalidSettings", "mistakes", "the settings are wrong; nothing was changed\n%s",
         CTL_FAILED},
        {SERVICE "PermissionDenied", NULL,
         "permission denied: only the daemon's user and root may do this", CTL_FAILED},
        {SERVICE "MethodNotFound", "method", "the daemon has no %s: its version is another",
         CTL_FAILED},
        {SERVICE "MethodNotImplemented", "method", "the daemon has no %s: its version is another",
         CTL_FAILED},
        {SERVICE "InvalidParameter", "parameter", "the daemon refuses %s", CTL_FAILED},
};

/* The table's format with its one %s replaced. */
static int tell(const struct failure *f, const char *text)
{
        const char *hole = strstr(f->format, "%s");

        if (!hole)
                return ctl_fail(f->exit_code, "%s", f->format);
        return ctl_fail(f->exit_code, "%.*s%s%s", (int)(hole - f->format), f->format, text,
                        hole + 2);
}

static int tell_error(const struct wire_reply *reply)
{
        for (size_t i = 0; i < ARRAY_SIZE(failures); i++) {
                const char *text = "?";

                if (strcmp(failures[i].error, reply->error) != 0)
                        continue;
                if (failures[i].member)
                        text = json_string_value(
                                json_object_get(reply->parameters, failures[i].member));
                return tell(&failures[i], text ? text : "?");
        }
        return ctl_fail(CTL_FAILED, "the daemon answers %s", reply->error);
}

int ctl_tell_failure(int r, const struct wire_result *result)
{
        if (r == -ETIMEDOUT)
                return ctl_fail(CTL_TIMED_OUT, "the daemon has not answered in time");
        if (r == -EPIPE || r == -ECONNRESET)
                return ctl_fail(CTL_FAILED, "the daemon closed the connection");
        if (r < 0)
                return ctl_fail(CTL_FAILED, "no answer from the daemon: %s", strerror(-r));
        return result->reply.error ? tell_error(&result->reply) : CTL_DONE;
}

bool ctl_is_error(const struct wire_reply *reply, const char *name)
{
        return reply->error && strncmp(reply->error, ADMIN, strlen(ADMIN)) == 0 &&
               strcmp(reply->error + strlen(ADMIN), name) == 0;
}

int ctl_ask(const struct ctl *c, const char *method, json_t *parameters, struct wire_result *ret)
{
        _cleanup_(wire_conn_freep) struct wire_conn *conn = NULL;
        struct wire_request q = {
                .method = method, .parameters = parameters, .timeout_ms = CTL_CALL_MS};
        int code = ctl_connect(c, &conn);

        if (code != CTL_DONE) {
                json_decref(parameters);
                return code;
        }
        code = ctl_tell_failure(wire_do_call(conn, &q, ret), ret);
        if (code != CTL_DONE)
                wire_result_done(ret);
        return code;
}
