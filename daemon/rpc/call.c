#include "session.h"

#include "envelope.h"
#include "idl.h"
#include "limit.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

struct rpc_call {
        struct rpc_session *session; /* NULL: gone before the reply */
        struct rpc_peer peer;
        struct wire_message message;
        struct wire_call wire; /* borrowed from message */
        bool cancelling;
        void (*on_cancel)(void *user);
        void *cancel_user;
        int *fds; /* to go with the reply; room for LIMIT_MESSAGE_FDS once there is one */
        size_t n_fds;
};

static void call_free(struct rpc_call *c)
{
        for (size_t i = 0; i < c->n_fds; i++)
                close(c->fds[i]);
        free(c->fds);
        wire_message_done(&c->message);
        free(c);
}

void rpc_call_cancel(struct rpc_call *c)
{
        c->session = NULL;
        if (!c->on_cancel)
                return; /* the handler still holds it, and will reply */
        c->cancelling = true;
        c->on_cancel(c->cancel_user);
        call_free(c);
}

static void end(struct rpc_call *c, const char *error, json_t *parameters)
{
        struct rpc_session *s = c->session;

        if (!s || c->wire.oneway) {
                json_decref(parameters);
        } else {
                json_decref(take_ptr(s->progress));
                rpc_session_send(s, wire_reply_format(error, parameters, false), c->fds, c->n_fds);
                c->n_fds = 0;
        }
        if (c->cancelling)
                return;
        call_free(c);
        if (s) {
                s->call = NULL;
                rpc_session_wake(s);
        }
}

void rpc_reply(struct rpc_call *c, json_t *parameters)
{
        end(c, NULL, parameters);
}

void rpc_fail(struct rpc_call *c, const char *error, json_t *parameters)
{
        end(c, error, parameters);
}

void rpc_drop(struct rpc_call *c)
{
        struct rpc_session *s = c->session;

        if (c->cancelling)
                return;
        call_free(c);
        if (s) {
                s->call = NULL;
                rpc_session_drop(s);
        }
}

static void fail_with(struct rpc_call *c, const char *error, const char *key, const char *value)
{
        end(c, error, json_pack("{s:s}", key, value));
}

void rpc_fail_invalid(struct rpc_call *c, const char *parameter)
{
        fail_with(c, "org.varlink.service.InvalidParameter", "parameter", parameter);
}

void rpc_reply_more(struct rpc_call *c, json_t *parameters)
{
        struct rpc_session *s = c->session;

        if (!s || !c->wire.more) {
                json_decref(parameters);
                return;
        }
        json_decref(s->progress);
        s->progress = parameters ? parameters : json_object();
        rpc_session_flush(s);
        rpc_session_wake(s);
}

static bool is_allowed(const struct rpc_call *c, const struct rpc_method *m)
{
        return !(m->flags & RPC_MUTATES) || c->peer.uid == 0 || c->peer.uid == geteuid();
}

static void fail_unknown(struct rpc_call *c)
{
        const char *dot = strrchr(c->wire.method, '.');
        size_t n = dot ? (size_t)(dot - c->wire.method) : 0;

        if (wire_interface_find(c->wire.method, n))
                fail_with(c, "org.varlink.service.MethodNotFound", "method", c->wire.method);
        else
                end(c, "org.varlink.service.InterfaceNotFound",
                    json_pack("{s:s%}", "interface", c->wire.method, n));
}

static void dispatch(struct rpc_call *c, const struct rpc_server *server)
{
        static const struct field none[] = {FIELD_END};
        _Alignas(max_align_t) unsigned char parameters[RPC_PARAMETERS_MAX];
        const struct rpc_method *m = rpc_server_find(server, c->wire.method);
        const char *bad;

        if (!m) {
                fail_unknown(c);
                return;
        }
        if (c->wire.upgrade) {
                fail_with(c, "org.varlink.service.MethodNotImplemented", "method", c->wire.method);
                return;
        }
        if (!is_allowed(c, m)) {
                end(c, "org.varlink.service.PermissionDenied", NULL);
                return;
        }
        memset(parameters, 0, m->in_bytes);
        if (field_decode(m->in ? m->in : none, c->wire.parameters, parameters, &bad) < 0)
                rpc_fail_invalid(c, bad);
        else
                m->handle(c, parameters, server->user);
}

int rpc_call_start(struct rpc_session *s, struct wire_message *m)
{
        struct rpc_call *c = calloc(1, sizeof *c);
        int r;

        r = c ? wire_call_parse(m->json, &c->wire) : -ENOMEM;
        if (r < 0) {
                wire_message_done(m);
                free(c);
                return r;
        }
        c->session = s;
        c->peer = s->peer;
        c->message = *m;
        s->call = c;
        dispatch(c, s->server);
        return 1;
}

struct rpc_session *rpc_call_session(const struct rpc_call *c)
{
        return c->session;
}

const struct rpc_peer *rpc_call_peer(const struct rpc_call *c)
{
        return &c->peer;
}

bool rpc_call_wants_more(const struct rpc_call *c)
{
        return c->wire.more;
}

int rpc_call_take_fd(struct rpc_call *c, int64_t index)
{
        return wire_message_take_fd(&c->message, index);
}

void rpc_call_on_cancel(struct rpc_call *c, void (*fn)(void *user), void *user)
{
        c->on_cancel = fn;
        c->cancel_user = user;
}

int64_t rpc_call_push_fd(struct rpc_call *c, int fd)
{
        if (!c->fds)
                c->fds = calloc(LIMIT_MESSAGE_FDS, sizeof *c->fds);
        if (!c->fds || c->n_fds == LIMIT_MESSAGE_FDS) {
                close(fd);
                return -EMFILE;
        }
        c->fds[c->n_fds] = fd;
        return (int64_t)c->n_fds++;
}
