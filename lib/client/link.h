/* The job's connection to the daemon, shared by two threads: the training thread calls over it
 * and sends hand-offs, the helper thread watches it and makes it anew when the daemon was away.
 * Whoever uses the connection takes it out and gives it back; the lock is held only for moments,
 * never while waiting.
 *
 *   none -> up -> away -> up …      any -> over (detached) */
#pragma once

#include "dial.h"

#include <pthread.h>

#define LINK_AWAY_MS (60 * 1000) /* how long calls wait for a daemon that is away */
#define LINK_TRIES 3             /* of a call at which the daemon dies each time */
#define LINK_NOBODY INT64_MIN    /* no hand-off is owed */

enum link_state { LINK_NONE, LINK_UP, LINK_AWAY, LINK_OVER };

struct link {
        pthread_mutex_t lock;
        pthread_cond_t changed; /* state, conn, and what else the owner guards with the lock */
        int wake_fd;            /* wakes the helper; -1: there is none */
        _Atomic enum link_state state; /* changed under the lock */
        struct wire_conn *conn;        /* NULL: taken, or not up */
        bool wanted;                   /* the helper wants to know when it is given back */
        bool restart;                  /* what is being offered to a new daemon has changed since */
        unsigned generation;           /* counts connections */
        int64_t attach;                /* the daemon's number for us */
        char *why;                     /* why the daemon could not be reached again */
        _Atomic int64_t owed, owed_forced; /* hand-offs that the helper has to send; LINK_NOBODY */
};

struct link_ask { /* a call; all borrowed */
        const char *method;
        json_t *parameters;
        int fd; /* goes along as descriptor 0; -1: none */
};

int link_init(struct link *l);
void link_done(struct link *l);
void link_wake(struct link *l); /* the helper looks around */
/* Up with this connection, which the link owns then. */
void link_set_up(struct link *l, struct wire_conn *conn, int64_t attach);
void link_set_over(struct link *l);
/* Unless the connection is still the one of that generation: offer everything anew. */
void link_restart(struct link *l, unsigned generation);
bool link_must_restart(struct link *l);
void link_set_why(struct link *l, const char *why);

/* Takes the connection; while the daemon is away, waits for it for at most wait_ms.
 * -EHOSTDOWN: it did not come back; -ENOTCONN: not attached. */
int link_take(struct link *l, int64_t wait_ms, struct wire_conn **ret, struct diag *d);
/* The same at once; NULL: away, or used by the other thread. */
struct wire_conn *link_try_take(struct link *l);
/* r negative: it is broken; the helper makes another. */
void link_give(struct link *l, struct wire_conn *conn, int r);
/* The helper saw a hang-up of the connection with this descriptor. */
void link_hung_up(struct link *l, int fd);

/* Calls; when the daemon dies at it, again once it is back (wait_ms).  0: ret is the reply; an
 * error that the daemon answered comes as a negative errno with its text, and ret is empty. */
int link_call(struct link *l, const struct link_ask *a, int64_t wait_ms, struct wire_result *ret,
              struct diag *d);
/* Tells the daemon to look at the page; never waits.  0: told, or about to be; 1: the daemon is
 * away. */
int link_hand_off(struct link *l, int64_t step, bool forced);
/* The helper sends what is owed. */
void link_pay(struct link *l);

/* An error reply as errno and text. */
int link_error(const struct wire_reply *reply, struct diag *d);
int64_t link_now_ms(void); /* monotonic */
