#include "ctl-call.h"
#include "ctl-text.h"
#include "ctl.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <string.h>

/* Letters as the terminal has them; numbers stay as programs write them.  Names in checkpoints
 * are UTF-8. */
static void set_locale(void)
{
        setlocale(LC_CTYPE, "");
        if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
                setlocale(LC_CTYPE, "C.UTF-8");
}

static bool may_color(void)
{
        const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

        return isatty(STDOUT_FILENO) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

static void print_daemon_version(const struct ctl *c)
{
        _cleanup_(wire_conn_freep) struct wire_conn *conn = NULL;
        _cleanup_(wire_result_done) struct wire_result result = {0};
        struct wire_request q = {.method = "org.varlink.service.GetInfo",
                                 .timeout_ms = CTL_CALL_MS};
        const char *version = NULL;

        if (wire_dial(c->socket, &conn, NULL, NULL) == 0 && wire_do_call(conn, &q, &result) == 0)
                version = json_string_value(json_object_get(result.reply.parameters, "version"));
        if (version)
                printf("ckptd %s\n", version);
        else
                printf("ckptd: none answers\n");
}

static int run(struct ctl *c)
{
        if (c->help) {
                ctl_help(stdout, c->command);
                return CTL_DONE;
        }
        if (c->version) {
                printf("ckptctl " CKPTD_VERSION "\n");
                print_daemon_version(c);
                return CTL_DONE;
        }
        if (!c->command) {
                ctl_help(stderr, NULL);
                return CTL_USAGE;
        }
        return c->command->run(c);
}

static int tell_usage(const struct ctl *c, int r, const struct diag *d)
{
        if (r != -EINVAL)
                return ctl_fail(CTL_FAILED, "%s", diag_text(d, r));
        if (!c->command)
                return ctl_fail(CTL_USAGE, "%s\nMore: ckptctl --help", diag_text(d, r));
        return ctl_fail(CTL_USAGE, "%s: %s\nMore: ckptctl %s --help", c->command->name,
                        diag_text(d, r), c->command->name);
}

int main(int argc, char **argv)
{
        _cleanup_(ctl_done) struct ctl c = {0};
        _cleanup_(diag_done) struct diag d = {0};
        int r;

        set_locale();
        c.color = may_color();
        r = ctl_parse(&c, argc, argv, &d);
        if (r < 0)
                return tell_usage(&c, r, &d);
        r = run(&c);
        if (fflush(stdout) != 0 || ferror(stdout))
                return ctl_fail(r ? r : CTL_FAILED, "standard output: %s", strerror(errno));
        return r;
}
