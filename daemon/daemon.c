#include "daemon.h"
#include "manager.h"
#include "methods.h"
#include "places.h"
#include "settings.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define EXIT_SETTINGS 78 /* EX_CONFIG: systemd does not start it again */

struct options {
        struct places places;
        bool config_given, check;
};

struct composition {
        uv_loop_t loop;
        uv_signal_t signals[3];
        struct manager *manager;
        struct rpc_server *server;
        struct places *places;
        bool stopping;
};

static const char usage[] =
        "ckptd: saves the state of training jobs crash-safely and gives it back\n"
        "Usage: ckptd [--config FILE] [--state DIR] [--socket PATH] [--check] [--version] "
        "[--help]\n"
        "  --config FILE   settings (policies.d is beside it); default: %s\n"
        "  --state DIR     holds catalog.sqlite; default: %s\n"
        "  --socket PATH   where jobs and ckptctl connect; default: %s\n"
        "  --check         read the settings, name every mistake, and exit\n"
        "Runs in the foreground and logs to standard error. SIGHUP reads the settings anew.\n";

/* Negative: go on; else the exit code. */
static int parse_options(int argc, char **argv, struct options *o)
{
        static const struct option longs[] = {
                {"config", required_argument, NULL, 'c'},
                {"state", required_argument, NULL, 's'},
                {"socket", required_argument, NULL, 'S'},
                {"check", no_argument, NULL, 'C'},
                {"version", no_argument, NULL, 'V'},
                {"help", no_argument, NULL, 'h'},
                {0},
        };
        int c;

        while ((c = getopt_long(argc, argv, "", longs, NULL)) >= 0) {
                if (c == 'V')
                        return printf("ckptd %s\n", CKPTD_VERSION) < 0;
                if (c == 'h')
                        return printf(usage, o->places.config, o->places.state, o->places.socket) <
                               0;
                if (c == 'C')
                        o->check = true;
                else if (c == '?')
                        return fprintf(stderr, "ckptd: see ckptd --help\n") < 0 ? 1 : 2;
                else if (!places_set(&o->places, c, optarg))
                        return 2;
                o->config_given |= c == 'c';
        }
        if (optind < argc) {
                fprintf(stderr, "ckptd: unexpected argument %s; see ckptd --help\n", argv[optind]);
                return 2;
        }
        return -1;
}

static int check_settings(const struct options *o)
{
        struct settings *s = NULL;
        struct diag d = {0};
        size_t n = 0;
        int r = settings_load(o->places.config, !o->config_given, &s, &n, &d);

        if (r < 0 && access(o->places.config, R_OK) < 0) {
                printf("%s\n", diag_text(&d, r));
        } else if (r < 0) {
                printf("%s\n%zu mistake%s. Nothing was loaded; a running ckptd keeps what it "
                       "has.\n",
                       diag_text(&d, r), n, n == 1 ? "" : "s");
        } else {
                for (char **w = s->warnings; w && *w; w++)
                        printf("warning: %s\n", *w);
                printf("%s: %zu policies, %zu model_dirs; no mistakes\n",
                       s->path ? s->path : "no settings file: the defaults", s->n_policies,
                       s->n_dirs);
        }
        settings_free(s);
        diag_done(&d);
        return r < 0;
}

static void stopped(void *user)
{
        (void)user; /* the loop has nothing left and ends */
}

static void server_closed(void *user)
{
        struct composition *c = user;

        (void)c;
}

/* The manager first: what was handed off is written while the jobs are still connected; then the
 * socket. */
static void manager_stopped(void *user)
{
        struct composition *c = user;

        c->manager = NULL;
        for (size_t i = 0; i < ARRAY_SIZE(c->signals); i++)
                uv_close((uv_handle_t *)&c->signals[i], NULL);
        if (c->server)
                rpc_server_close(take_ptr(c->server), server_closed, c);
        stopped(c);
}

static void composition_stop(struct composition *c)
{
        if (c->stopping)
                return;
        c->stopping = true;
        manager_stop(c->manager, manager_stopped, c);
}

static void signalled(uv_signal_t *s, int number)
{
        struct composition *c = s->data;
        struct diag d = {0};
        json_t *changes = NULL;

        if (number != SIGHUP) {
                log_info("%s: stopping", number == SIGTERM ? "SIGTERM" : "SIGINT");
                composition_stop(c);
                return;
        }
        if (manager_reload(c->manager, NULL, &changes, &d) >= 0)
                json_decref(changes);
        diag_done(&d);
}

static void watch_signals(struct composition *c)
{
        static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};

        for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
                uv_signal_init(&c->loop, &c->signals[i]);
                c->signals[i].data = c;
                uv_signal_start(&c->signals[i], signalled, numbers[i]);
        }
}

static int start(struct composition *c, const struct options *o, const struct io *io,
                 struct diag *d)
{
        static const struct rpc_method *const tables[] = {methods_jobs, methods_admin, NULL};
        struct manager_options m = {.loop = &c->loop,
                                    .io = io,
                                    .config = o->places.config,
                                    .config_may_be_absent = !o->config_given,
                                    .state_dir = o->places.state,
                                    .socket = o->places.socket};
        struct rpc_options s = {
                .loop = &c->loop, .path = o->places.socket, .fd = -1, .tables = tables};
        int r = manager_new(&c->manager, &m, d);

        if (r < 0)
                return r;
        s.user = c->manager;
        r = rpc_server_new(&c->server, &s, d);
        if (r < 0)
                return r == -EINVAL ? -EIO : r;
        manager_start(c->manager);
        log_info("ckptd %s, pid %d, serves %s", CKPTD_VERSION, (int)getpid(), o->places.socket);
        return 0;
}

/* Slots, pages and sessions each hold descriptors. */
static void raise_descriptor_limit(void)
{
        struct rlimit l;

        if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < l.rlim_max) {
                l.rlim_cur = l.rlim_max;
                setrlimit(RLIMIT_NOFILE, &l);
        }
}

int daemon_main(int argc, char **argv, const struct io *io)
{
        struct composition c = {0};
        struct options o = {0};
        struct diag d = {0};
        int r;

        log_open();
        places_default(&o.places);
        r = parse_options(argc, argv, &o);
        if (r < 0 && o.check)
                r = check_settings(&o);
        if (r >= 0) {
                places_done(&o.places);
                return r;
        }
        raise_descriptor_limit();
        uv_loop_init(&c.loop);
        watch_signals(&c);
        r = start(&c, &o, io, &d);
        if (r < 0) {
                log_error("%s", diag_text(&d, r));
                if (c.manager)
                        composition_stop(&c);
                else
                        manager_stopped(&c);
        }
        uv_run(&c.loop, UV_RUN_DEFAULT);
        uv_loop_close(&c.loop);
        diag_done(&d);
        places_done(&o.places);
        return r == -EINVAL ? EXIT_SETTINGS : r < 0;
}
