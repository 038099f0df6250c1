/* The blocking client side: finding the daemon's socket, one call and its reply.  Used by
 * libckpt and ckptctl; no thread of its own, no signals, every wait is a poll with a deadline. */
#pragma once

#include "conn.h"
#include "diag.h"
#include "envelope.h"

#include <stdint.h>

struct wire_result { /* one reply, owning its message */
        struct wire_message message;
        struct wire_reply reply; /* borrowed from message */
};

void wire_result_done(struct wire_result *r);

/* `socket` (or CKPTD_SOCKET when NULL): that one only; else the known places in their order, the
 * first that answers and accepts this uid.  -EHOSTDOWN: nobody answers: the diag names every
 * place tried, what it is (user instance, ckptd@USER.service, system instance) and why it
 * failed, one a line: "    /run/ckptd/ckptd.sock   system instance   connection refused".
 * ret_path (may be NULL): malloc'ed. */
int wire_dial(const char *socket, struct wire_conn **ret, char **ret_path, struct diag *d);

struct wire_request {
        const char *method;
        json_t *parameters; /* stolen; may be NULL */
        const char *flag;   /* "more", "oneway" or NULL */
        const int *fds;     /* owned by the call from here on */
        size_t n_fds;
        int64_t timeout_ms; /* negative: none */
};

/* Sends; does not wait for a reply.  timeout_ms bounds the sending.  Descriptors are held back
 * until the daemon has read what was sent before (oneway calls), so that they land with their
 * own message. */
int wire_send_request(struct wire_conn *c, const struct wire_request *r);
/* Receives one reply.  0 (also when the reply is a varlink error: look at ret->reply.error);
 * -ETIMEDOUT; -EPIPE. */
int wire_receive_reply(struct wire_conn *c, int64_t timeout_ms, struct wire_result *ret);
/* Both; for a oneway call only the first, and ret is empty. */
int wire_do_call(struct wire_conn *c, const struct wire_request *r, struct wire_result *ret);
