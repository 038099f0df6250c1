/* What a connection has yet to write: bytes of whole messages, and which of them take
 * descriptors along. Embedded in the connection: zero-initialise, outbox_done.  Each message
 * with descriptors goes out in a sendmsg of its own, the descriptors with its first byte.  Never
 * waits, never raises SIGPIPE. */
#pragma once

#include "buffer.h"

#include <jansson.h>
#include <stdbool.h>

#define OUTBOX_KEEP_BYTES (64 * 1024) /* an empty buffer larger than this is given back */

struct fd_run {
        int *fds; /* malloc'ed; -1 where taken */
        size_t n;
};

void fd_run_done(struct fd_run *run); /* closes what was not taken */

struct outbox_mark;

struct outbox {
        struct buffer bytes;
        size_t start; /* of what is not yet written */
        struct outbox_mark *marks;
        size_t n_marks;
};

void outbox_done(struct outbox *o);
size_t outbox_pending(const struct outbox *o); /* bytes */
/* Takes ownership of the fds, also on failure.  -ENOBUFS: over LIMIT_OUTPUT_BYTES; -EMSGSIZE:
 * too many. */
int outbox_add(struct outbox *o, const json_t *message, const int *fds, size_t n_fds);
/* Writes what it can.  1: nothing is left; 0: would block; negative: the connection is gone. */
int outbox_flush(struct outbox *o, int fd);
