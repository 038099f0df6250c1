#include "session.h"

#include "idl.h"
#include "limit.h"
#include "log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define ACCEPTS_PER_EVENT 64
#define SWEEPS_PER_IDLE_TIME 4

static const struct rpc_method *find_in(const struct rpc_method *table, const char *name)
{
        for (; table->name; table++)
                if (strcmp(table->name, name) == 0)
                        return table;
        return NULL;
}

static const struct rpc_method *find_method(const struct rpc_method *const *tables,
                                            const char *name)
{
        const struct rpc_method *m = NULL;

        for (; !m && *tables; tables++)
                m = find_in(*tables, name);
        return m ? m : find_in(rpc_service_methods, name);
}

const struct rpc_method *rpc_server_find(const struct rpc_server *s, const char *name)
{
        return find_method(s->tables, name);
}

struct check {
        const struct rpc_method *const *tables;
        const struct wire_interface *interface;
        struct diag *d;
};

static int check_declared(const char *name, size_t length, void *user)
{
        const struct check *check = user;
        char full[256];

        snprintf(full, sizeof full, "%s.%.*s", check->interface->name, (int)length, name);
        if (!find_method(check->tables, full))
                return diag_set(check->d, -EINVAL, "%s: declared, without a handler", full);
        return 0;
}

static int check_handled(const struct rpc_method *m, struct diag *d)
{
        const char *dot = strrchr(m->name, '.');
        const struct wire_interface *i =
                wire_interface_find(m->name, dot ? (size_t)(dot - m->name) : 0);

        if (!i || !wire_interface_declares(i, "method", dot + 1))
                return diag_set(d, -EINVAL, "%s: handled, but not declared", m->name);
        if (m->in_bytes > RPC_PARAMETERS_MAX)
                return diag_set(d, -EINVAL, "%s: its parameters need %zu bytes", m->name,
                                m->in_bytes);
        return 0;
}

/* Documentation and code cannot part: each declared method has its handler, each handler its
 * method. */
static int check_tables(const struct rpc_method *const *tables, struct diag *d)
{
        int r = 0;

        for (const struct wire_interface *i = wire_interfaces; r == 0 && i->name; i++) {
                struct check check = {tables, i, d};

                r = wire_interface_each_method(i, check_declared, &check);
        }
        for (; r == 0 && *tables; tables++)
                for (const struct rpc_method *m = *tables; r == 0 && m->name; m++)
                        r = check_handled(m, d);
        return r;
}

static void on_accept(uv_poll_t *p, int status, int events);

static void resume_accepting(struct rpc_server *s)
{
        if (s->paused && !s->closing && uv_poll_start(&s->accept, UV_READABLE, on_accept) == 0)
                s->paused = false;
}

void rpc_server_handle_closed(struct rpc_server *s)
{
        void (*done)(void *user) = s->done;
        void *user = s->done_user;

        if (--s->n_handles > 0) {
                resume_accepting(s); /* a descriptor is free again */
                return;
        }
        free(s);
        if (done)
                done(user);
}

static void on_handle_closed(uv_handle_t *h)
{
        rpc_server_handle_closed(h->data);
}

void rpc_server_close(struct rpc_server *s, void (*done)(void *user), void *user)
{
        struct rpc_session *session;

        if (s->closing)
                return;
        s->closing = true;
        s->done = done;
        s->done_user = user;
        while ((session = TAILQ_FIRST(&s->sessions)))
                rpc_session_close(session);
        uv_close((uv_handle_t *)&s->accept, on_handle_closed);
        uv_close((uv_handle_t *)&s->sweep, on_handle_closed);
        uv_close((uv_handle_t *)&s->turns, on_handle_closed);
        rpc_listener_close(&s->listener);
}

unsigned rpc_server_n_sessions(const struct rpc_server *s)
{
        return s->n_sessions;
}

static bool is_full(struct rpc_server *s, uid_t uid)
{
        const struct rpc_session *session;
        unsigned n = 0;

        TAILQ_FOREACH (session, &s->sessions, link)
                n += session->peer.uid == uid;
        if (n < LIMIT_SESSIONS_PER_UID && s->n_sessions < LIMIT_SESSIONS)
                return false;
        if (!s->full_told)
                log_warning("connections are refused: %u are open, %u of them by uid %u",
                            s->n_sessions, n, uid);
        s->full_told = true;
        return true;
}

static int admit(struct rpc_server *s, int fd)
{
        struct ucred peer;
        socklen_t n = sizeof peer;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0 || is_full(s, peer.uid)) {
                close(fd);
                return -EUSERS;
        }
        return rpc_session_new(s, fd, &(struct rpc_peer){peer.uid, peer.gid, peer.pid});
}

static void on_accept(uv_poll_t *p, int status, int events)
{
        struct rpc_server *s = p->data;

        (void)status;
        (void)events;
        for (int i = 0; i < ACCEPTS_PER_EVENT; i++) {
                int fd = accept4(s->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

                if (fd >= 0)
                        admit(s, fd);
                else if (errno == EAGAIN)
                        return;
                else if (errno != EINTR && errno != ECONNABORTED) {
                        log_warning("cannot accept connections for a while: %s", strerror(errno));
                        uv_poll_stop(p);
                        s->paused = true;
                        rpc_server_start_sweep(s);
                        return;
                }
        }
}

static void on_sweep(uv_timer_t *t)
{
        struct rpc_server *s = t->data;
        struct rpc_session *session, *next;
        uint64_t now = uv_now(s->loop);
        unsigned n = 0;

        for (session = TAILQ_FIRST(&s->sessions); session; session = next) {
                next = TAILQ_NEXT(session, link);
                if (session->half_since == 0)
                        continue;
                n++;
                if (now >= session->half_since + s->idle_ms)
                        rpc_session_close(session);
        }
        resume_accepting(s);
        if (n == 0 && !s->paused)
                uv_timer_stop(t);
}

void rpc_server_start_sweep(struct rpc_server *s)
{
        uint64_t period = s->idle_ms / SWEEPS_PER_IDLE_TIME + 1;

        if (!uv_is_active((uv_handle_t *)&s->sweep))
                uv_timer_start(&s->sweep, on_sweep, period, period);
}

static int start(struct rpc_server *s, struct diag *d)
{
        int r;

        r = uv_poll_init(s->loop, &s->accept, s->listener.fd);
        if (r < 0)
                return diag_set(d, r, "the varlink socket cannot be watched: %s", uv_strerror(r));
        uv_timer_init(s->loop, &s->sweep);
        uv_idle_init(s->loop, &s->turns);
        s->accept.data = s->sweep.data = s->turns.data = s;
        s->n_handles = 3;
        uv_poll_start(&s->accept, UV_READABLE, on_accept);
        return 0;
}

int rpc_server_new(struct rpc_server **ret, const struct rpc_options *o, struct diag *d)
{
        _cleanup_(freep) struct rpc_server *s = calloc(1, sizeof *s);
        int r;

        if (!s) {
                if (!o->path)
                        close(o->fd);
                return -ENOMEM;
        }
        s->loop = o->loop;
        s->tables = o->tables;
        s->user = o->user;
        s->idle_ms = o->idle_ms > 0 ? o->idle_ms : LIMIT_IDLE_MS;
        TAILQ_INIT(&s->sessions);
        TAILQ_INIT(&s->ready);
        r = o->path ? rpc_listener_open(&s->listener, o->path, d)
                    : rpc_listener_adopt(&s->listener, o->fd, d);
        if (r == 0)
                r = check_tables(o->tables, d);
        if (r == 0)
                r = start(s, d);
        if (r < 0) {
                rpc_listener_close(&s->listener);
                return r;
        }
        *ret = take_ptr(s);
        return 0;
}
