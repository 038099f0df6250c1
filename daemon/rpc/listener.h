/* A listening socket in the file system: made, taken over from a dead daemon, removed again.
 * Owned by the server (embedded).  Holds PATH.lock while it lives, so that two daemons that
 * start at once cannot both find the socket stale.  Never touches a socket that somebody listens
 * on, nor another file. */
#pragma once

#include "diag.h"

#include <sys/types.h>

struct rpc_listener {
        int fd;      /* non-blocking; -1: none */
        int lock_fd; /* -1: the socket was passed to us */
        char *path;
        dev_t dev;
        ino_t ino;
};

/* Folders are made (0755), the socket has mode 0660.  -EADDRINUSE: a live one, d has its pid;
 * -EEXIST: the file is no socket. */
int rpc_listener_open(struct rpc_listener *l, const char *path, struct diag *d);
/* Takes a listening socket from elsewhere; owns fd from here on. */
int rpc_listener_adopt(struct rpc_listener *l, int fd, struct diag *d);
/* Unlinks the file if it is still this socket. */
void rpc_listener_close(struct rpc_listener *l);
