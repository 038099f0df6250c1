/* One varlink connection over a stream socket: framing (JSON, then one zero byte), descriptors,
 * nothing else.  No loop, no dispatch: the daemon, the blocking client and the fuzzers share
 * this file. Owns its descriptor and every descriptor that it received and nobody took. Source
 * of the rules: varlink (UAPI.20). */
#pragma once

#include "cleanup.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct wire_conn;

struct wire_message {
        json_t *json; /* an object */
        int *fds;     /* what came with it, in order of pushing; -1 where taken */
        size_t n_fds;
};

void wire_message_done(struct wire_message *m); /* closes what was not taken */
/* Takes descriptor number `index`; -EBADF when there is none. */
int wire_message_take_fd(struct wire_message *m, json_int_t index);

/* The connection owns fd from here on, also on failure.  The fd is made non-blocking. */
int wire_conn_new(struct wire_conn **ret, int fd);
void wire_conn_free(struct wire_conn *c);
DEFINE_FREEP(struct wire_conn, wire_conn_free)
int wire_conn_fd(const struct wire_conn *c);

/* Receives once; to be called when wire_conn_next has nothing left.  1: some bytes came; 0:
 * would block; -EPIPE: the peer closed; -EPROTO: descriptors truncated; -EMSGSIZE: too much is
 * waiting unread. */
int wire_conn_receive(struct wire_conn *c);
/* Takes the next complete message.  1: one; 0: none complete; negative: close the connection:
 * -EMSGSIZE (over LIMIT_MESSAGE_BYTES or LIMIT_MESSAGE_DEPTH), -EBADMSG (not JSON, not an
 * object, not UTF-8), -EPROTO (descriptors with more than one message in their chunk). */
int wire_conn_next(struct wire_conn *c, struct wire_message *ret);
/* After -EMSGSIZE: the limit that was passed, in bytes or levels. */
size_t wire_conn_limit_hit(const struct wire_conn *c);
/* Another limit than LIMIT_MESSAGE_BYTES, for a side that trusts its peer with more. */
void wire_conn_set_limit(struct wire_conn *c, size_t bytes);
bool wire_conn_has_input(const struct wire_conn *c); /* bytes of an incomplete or unread message */

/* Queues a message; takes ownership of the fds, also on failure.  -ENOBUFS: over
 * LIMIT_OUTPUT_BYTES. */
int wire_conn_send(struct wire_conn *c, const json_t *message, const int *fds, size_t n_fds);
/* Writes what it can.  1: nothing is left; 0: would block; negative: the connection is gone. */
int wire_conn_flush(struct wire_conn *c);
size_t wire_conn_pending(const struct wire_conn *c); /* bytes not yet written */
/* Has the peer read all that was written?  1, 0 or -errno.  The kernel joins what waits unread,
 * so a message with descriptors must not be written behind one that the peer has yet to read. */
int wire_conn_is_read(const struct wire_conn *c);
