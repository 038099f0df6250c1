/* The daemon's varlink server: a listening socket, sessions over uv_poll, dispatch by table.
 * Owned by the composition; close with a callback.  Knows no method but org.varlink.service's. */
#pragma once

#include "diag.h"
#include "field.h"

#include <sys/types.h>
#include <uv.h>

struct rpc_server;
struct rpc_session;
struct rpc_call;

enum rpc_flags {
        RPC_MUTATES = 1 << 0, /* only the daemon's own uid and root; others get PermissionDenied */
};

struct rpc_method {
        const char *name;       /* "io.ckptd.Jobs.Attach" */
        const struct field *in; /* NULL: no parameters */
        size_t in_bytes;        /* of the parameter struct, at most RPC_PARAMETERS_MAX */
        unsigned flags;
        /* Must lead to exactly one rpc_reply or rpc_fail, now or later, also for oneway calls. */
        void (*handle)(struct rpc_call *call, const void *parameters, void *user);
};

#define RPC_PARAMETERS_MAX 512 /* bytes */

struct rpc_options {
        uv_loop_t *loop;
        const char *path; /* of the socket; NULL with fd */
        int fd; /* a listening socket, or -1; the server's from here on, also on failure */
        const struct rpc_method *const
                *tables;  /* tables ended by name NULL; the list ended by NULL */
        void *user;       /* for the handlers */
        uint64_t idle_ms; /* 0: LIMIT_IDLE_MS */
};

/* Checks the tables against the interface texts (every declared method has its handler, and the
 * other way round).  A stale socket file is taken over, a live one refused: -EADDRINUSE; mode
 * 0660; folder made. */
int rpc_server_new(struct rpc_server **ret, const struct rpc_options *o, struct diag *d);
/* Stops listening and closes all sessions; then done(user). Unlinks its own socket file only. */
void rpc_server_close(struct rpc_server *s, void (*done)(void *user), void *user);
unsigned rpc_server_n_sessions(const struct rpc_server *s);

struct rpc_peer {
        uid_t uid;
        gid_t gid;
        pid_t pid; /* 0: in another pid namespace */
};

/* The call.  json parameters stay valid until the reply, the parameter struct only while handle
 * runs. */
struct rpc_session *rpc_call_session(const struct rpc_call *c); /* NULL: the peer is gone */
const struct rpc_peer *rpc_call_peer(const struct rpc_call *c);
bool rpc_call_wants_more(const struct rpc_call *c);
int rpc_call_take_fd(struct rpc_call *c, int64_t index); /* -EBADF: none */
/* Called when the peer hangs up before the reply. The call must not be used afterwards.  Without
 * it the call lives on until its reply, which goes nowhere. */
void rpc_call_on_cancel(struct rpc_call *c, void (*fn)(void *user), void *user);
/* Descriptors to travel with the reply; returns the index, or -EMFILE; the call owns fd from
 * here on. */
int64_t rpc_call_push_fd(struct rpc_call *c, int fd);
void rpc_reply(struct rpc_call *c, json_t *parameters); /* steals; ends the call */
/* Progress; steals; nothing happens unless wants_more.  While the peer does not read, only the
 * newest is kept. */
void rpc_reply_more(struct rpc_call *c, json_t *parameters);
void rpc_fail(struct rpc_call *c, const char *error,
              json_t *parameters); /* steals; ends the call */
void rpc_fail_invalid(struct rpc_call *c, const char *parameter);
void rpc_drop(struct rpc_call *c); /* ends the call and the connection, without an answer */

/* The session: what the handlers hang on it.  on_close is called once, when the peer is gone or
 * the server closes; pending calls of the session have been cancelled before. */
void rpc_session_set(struct rpc_session *s, void *data, void (*on_close)(void *data));
void *rpc_session_get(const struct rpc_session *s); /* s may be NULL */
void rpc_session_drop(struct rpc_session *s);       /* closes it when its output is flushed */
