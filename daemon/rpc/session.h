/* The server's inside: what server.c, session.c and call.c know of each other. A session is one
 * connection.  It is read only while no call of it runs and its output is small; a turn takes
 * the calls that are buffered, one after the other.  Whatever a reply outside of a turn leads to
 * (the next pipelined call, the end of the session) happens in a later turn, from the loop: no
 * handler is entered from within another room's call to rpc_reply. */
#pragma once

#include "conn.h"
#include "listener.h"
#include "server.h"

#include <sys/queue.h>

#define RPC_CALLS_PER_TURN 16 /* then they are answered, and the other sessions have theirs */
#define RPC_OUTPUT_BUSY_BYTES (64 * 1024) /* waiting for the peer: no further call of it is taken */

TAILQ_HEAD(rpc_sessions, rpc_session);

struct rpc_server {
        uv_loop_t *loop;
        struct rpc_listener listener;
        uv_poll_t accept;
        uv_timer_t sweep; /* runs while a session holds half a message, or accepting is paused */
        uv_idle_t turns;  /* runs while `ready` holds somebody */
        const struct rpc_method *const *tables;
        void *user;
        uint64_t idle_ms;
        struct rpc_sessions sessions, ready;
        unsigned n_sessions;
        unsigned n_handles; /* not yet closed, the sessions' ones included */
        bool paused;        /* not accepting: no descriptors left */
        bool full_told;     /* the log knows that connections are refused */
        bool closing;
        void (*done)(void *user);
        void *done_user;
};

struct rpc_session {
        struct rpc_server *server;
        TAILQ_ENTRY(rpc_session) link;       /* rpc_server::sessions */
        TAILQ_ENTRY(rpc_session) ready_link; /* rpc_server::ready, where is_ready */
        uv_poll_t poll;
        int events; /* that poll waits for */
        struct wire_conn *conn;
        struct rpc_peer peer;
        struct rpc_call *call; /* the one that runs, or NULL */
        json_t *progress;      /* of it: the newest, held back while the peer does not read */
        uint64_t half_since;   /* the loop's ms; 0: no half message, and no last reply, waits */
        int error;             /* the connection is lost: to be closed in the next turn */
        bool is_ready, in_turn, drained, half_closed, dropping, closing;
        void *data;
        void (*on_close)(void *data);
};

extern const struct rpc_method rpc_service_methods[];

const struct rpc_method *rpc_server_find(const struct rpc_server *s, const char *name);
void rpc_server_handle_closed(struct rpc_server *s); /* one fewer; the last one frees */
void rpc_server_start_sweep(struct rpc_server *s);

/* The connection owns fd, also on failure. */
int rpc_session_new(struct rpc_server *server, int fd, const struct rpc_peer *peer);
void rpc_session_close(struct rpc_session *s);
void rpc_session_turn(struct rpc_session *s);
/* Writes what it can: replies, then the progress held back.  A failure is kept in s->error. */
void rpc_session_flush(struct rpc_session *s);
/* Flushes and has the loop give this session a turn. */
void rpc_session_wake(struct rpc_session *s);
/* Queues a reply; steals parameters; owns fds.  A failure is kept in s->error. */
void rpc_session_send(struct rpc_session *s, json_t *reply, const int *fds, size_t n_fds);

/* Takes over the message.  Negative: it is no call; the connection must be closed. */
int rpc_call_start(struct rpc_session *s, struct wire_message *m);
void rpc_call_cancel(struct rpc_call *c); /* the session is about to go */
