#include "session.h"

#include "envelope.h"
#include "limit.h"
#include "log.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

static void on_closed(uv_handle_t *h)
{
        struct rpc_session *s = h->data;
        struct rpc_server *server = s->server;

        wire_conn_free(s->conn);
        free(s);
        rpc_server_handle_closed(server);
}

void rpc_session_close(struct rpc_session *s)
{
        struct rpc_call *call = take_ptr(s->call);

        if (s->closing)
                return;
        s->closing = true;
        TAILQ_REMOVE(&s->server->sessions, s, link);
        s->server->n_sessions--;
        s->server->full_told = false;
        if (s->is_ready)
                TAILQ_REMOVE(&s->server->ready, s, ready_link);
        s->is_ready = false;
        json_decref(take_ptr(s->progress));
        if (call)
                rpc_call_cancel(call);
        if (s->on_close)
                s->on_close(s->data);
        uv_close((uv_handle_t *)&s->poll, on_closed);
}

static void wait_for_turn(struct rpc_session *s);

static json_t *too_large(size_t limit)
{
        return wire_reply_format("io.ckptd.TooLarge",
                                 json_pack("{s:I}", "limit", (json_int_t)limit), false);
}

void rpc_session_send(struct rpc_session *s, json_t *reply, const int *fds, size_t n_fds)
{
        int r;

        r = wire_conn_send(s->conn, reply, fds, n_fds);
        if (r == -ENOBUFS && wire_conn_pending(s->conn) == 0) { /* one reply beyond everything */
                json_decref(reply);
                reply = too_large(LIMIT_OUTPUT_BYTES);
                r = wire_conn_send(s->conn, reply, NULL, 0);
        }
        json_decref(reply);
        if (r < 0 && s->error == 0)
                s->error = r;
}

/* Writes; progress held back follows when everything before it is out. */
void rpc_session_flush(struct rpc_session *s)
{
        int r = wire_conn_flush(s->conn);

        if (r > 0 && s->progress && s->error == 0) {
                rpc_session_send(s, wire_reply_format(NULL, take_ptr(s->progress), true), NULL, 0);
                r = wire_conn_flush(s->conn);
        }
        if (r < 0 && s->error == 0)
                s->error = r;
}

void rpc_session_wake(struct rpc_session *s)
{
        if (s->closing || s->in_turn)
                return;
        rpc_session_flush(s);
        wait_for_turn(s);
}

/* May another call be taken now? */
static bool is_ready_for_more(const struct rpc_session *s)
{
        return !s->closing && !s->dropping && !s->call && s->error == 0 &&
               wire_conn_pending(s->conn) < RPC_OUTPUT_BUSY_BYTES;
}

/* Tells the peer why, where it can, and lets the session end. */
static void refuse(struct rpc_session *s, int error)
{
        log_debug("connection of uid %u, pid %d: %s: closed", s->peer.uid, s->peer.pid,
                  strerror(-error));
        if (error == -EMSGSIZE)
                rpc_session_send(s, too_large(wire_conn_limit_hit(s->conn)), NULL, 0);
        s->dropping = true;
}

static void take_calls(struct rpc_session *s)
{
        struct wire_message m;
        int r = 1;

        for (unsigned n = 0; r > 0 && n < RPC_CALLS_PER_TURN && is_ready_for_more(s); n++) {
                r = wire_conn_next(s->conn, &m);
                if (r > 0)
                        r = rpc_call_start(s, &m);
        }
        if (r < 0)
                refuse(s, r);
        s->drained = r == 0;
}

/* Nobody may keep a connection open for long with half a message, or with a last reply unread. */
static void watch_half_message(struct rpc_session *s)
{
        bool half = s->drained && !s->call && wire_conn_has_input(s->conn);

        if (!half && !s->dropping) {
                s->half_since = 0;
        } else if (s->half_since == 0) {
                s->half_since = uv_now(s->server->loop) | 1; /* never 0 */
                rpc_server_start_sweep(s->server);
        }
}

static void on_poll(uv_poll_t *p, int status, int events);

/* What to wait for: input only when all that came is taken, the peer's end only while a call
 * runs. */
static void watch(struct rpc_session *s)
{
        int events = wire_conn_pending(s->conn) > 0 ? UV_WRITABLE : 0;

        if (s->drained && is_ready_for_more(s) && !s->half_closed)
                events |= UV_READABLE;
        else if (s->call && !s->half_closed)
                events |= UV_DISCONNECT;
        if (events == s->events)
                return;
        s->events = events;
        if (events == 0)
                uv_poll_stop(&s->poll);
        else
                uv_poll_start(&s->poll, events, on_poll);
}

static bool is_over(const struct rpc_session *s)
{
        bool idle = s->drained && !s->call;

        if (s->error < 0)
                return true;
        return (s->dropping || (s->half_closed && idle)) && wire_conn_pending(s->conn) == 0;
}

void rpc_session_turn(struct rpc_session *s)
{
        if (s->closing)
                return;
        s->in_turn = true;
        take_calls(s);
        if (!s->closing)
                rpc_session_flush(s);
        s->in_turn = false;
        if (s->closing)
                return;
        if (is_over(s)) {
                rpc_session_close(s);
                return;
        }
        watch_half_message(s);
        watch(s);
        if (!s->drained && is_ready_for_more(s))
                wait_for_turn(s);
}

static void on_turns(uv_idle_t *idle)
{
        struct rpc_server *server = idle->data;
        struct rpc_session *s;

        uv_idle_stop(idle);
        for (unsigned n = server->n_sessions; n > 0 && (s = TAILQ_FIRST(&server->ready)); n--) {
                TAILQ_REMOVE(&server->ready, s, ready_link);
                s->is_ready = false;
                rpc_session_turn(s);
        }
}

static void wait_for_turn(struct rpc_session *s)
{
        if (s->is_ready)
                return;
        s->is_ready = true;
        TAILQ_INSERT_TAIL(&s->server->ready, s, ready_link);
        uv_idle_start(&s->server->turns, on_turns);
}

/* Half a close is no hang-up: the peer has nothing more to say and still listens. */
static bool is_gone(const struct rpc_session *s)
{
        struct pollfd p = {.fd = wire_conn_fd(s->conn)};

        return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR));
}

static void on_poll(uv_poll_t *p, int status, int events)
{
        struct rpc_session *s = p->data;
        bool reading = s->events & UV_READABLE;
        int r = 1;

        if (status < 0)
                s->events = 0; /* libuv has stopped the handle */
        if (reading && (status < 0 || (events & UV_READABLE)))
                r = wire_conn_receive(s->conn);
        if (r < 0 && r != -EPIPE)
                refuse(s, r);
        else if (r < 0 || (!reading && (status < 0 || (events & UV_DISCONNECT)))) {
                s->half_closed = true;
                if (is_gone(s))
                        s->error = -EPIPE;
        }
        rpc_session_turn(s);
}

int rpc_session_new(struct rpc_server *server, int fd, const struct rpc_peer *peer)
{
        _cleanup_(wire_conn_freep) struct wire_conn *conn = NULL;
        _cleanup_(freep) struct rpc_session *s = NULL;
        int r;

        r = wire_conn_new(&conn, fd);
        if (r < 0)
                return r;
        s = calloc(1, sizeof *s);
        if (!s)
                return -ENOMEM;
        r = uv_poll_init(server->loop, &s->poll, fd);
        if (r < 0)
                return r;
        s->server = server;
        s->conn = take_ptr(conn);
        s->peer = *peer;
        s->poll.data = s;
        s->drained = true;
        TAILQ_INSERT_TAIL(&server->sessions, s, link);
        server->n_sessions++;
        server->n_handles++;
        watch(take_ptr(s));
        return 0;
}

void rpc_session_set(struct rpc_session *s, void *data, void (*on_close)(void *data))
{
        s->data = data;
        s->on_close = on_close;
}

void *rpc_session_get(const struct rpc_session *s)
{
        return s ? s->data : NULL;
}

void rpc_session_drop(struct rpc_session *s)
{
        s->dropping = true;
        rpc_session_wake(s);
}
