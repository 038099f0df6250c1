/* Work in pieces that two threads share: the helper begins, the training thread joins in when it
 * needs the result.  A piece is done by one of them.  Embedded in the struct ckpt; guarded by
 * the link's lock. */
#pragma once

#include "link.h"

struct crew_work {
        int (*piece)(void *user, size_t i); /* 0 or negative errno: the rest is dropped */
        void *user;
        size_t n;
        size_t next, active; /* the crew's */
        int r;               /* of the first piece that failed */
};

struct crew {
        struct link *link;
        struct crew_work *work; /* NULL: nothing to do */
};

/* Begins: the helper takes pieces from now on.  One work at a time. */
void crew_begin(struct crew *c, struct crew_work *w);
/* The caller does pieces too, waits for the last one, and gets the result. */
int crew_join(struct crew *c, struct crew_work *w);
/* Pieces that nobody began are dropped; waits for those begun. */
void crew_cancel(struct crew *c, struct crew_work *w);
/* The helper's side: does pieces until there are none. */
void crew_help(struct crew *c);
