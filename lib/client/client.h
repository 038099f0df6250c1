/* The struct ckpt and what the library's files share.  Two threads: the job's (whoever calls
 * ckpt_step) and the helper.  What both touch is guarded by link.lock and marked so; the rest is
 * the job's thread's. */
#pragma once

#include "copy.h"
#include "crew.h"
#include "image.h"
#include "link.h"
#include "rank.h"
#include "snapshot.h"
#include "tensors.h"

#define CLIENT_ERRORS                                                                              \
        16 /* texts kept, so that one from ckpt_wait leaves another thread's readable */

struct identity { /* who attaches to what; constant after attach */
        char *model_dir, *socket, *job, *policy, *policy_values, *command;
        int64_t rank, world_size;
        bool fresh, read_only;
};

struct stored {       /* what the checkpoint held that was restored last */
        json_t *json; /* owns the names */
        size_t n;
        struct ckpt_tensor *t;
        int64_t *dims; /* of all of them */
};

struct ckpt {
        struct rank *rank; /* on a memory page of its own, which a forked child finds zeroed */
        struct copier copier;
        struct identity who;
        int dir_fd, pid_fd;
        struct tensors *tensors;
        int64_t window_step; /* the last that went through a window; -1: none */
        bool stale;          /* describe failed: the tensors' addresses are not to be used */
        struct snapshot snapshot;
        struct stored stored;
        struct image *image; /* changed by the job's thread under the lock */
        struct crew crew;
        struct link link;
        struct image
                *next; /* lock: a daemon that came back gave new slots; taken at the next step */
        struct image *retired;             /* lock: the helper unmaps their slots */
        struct image *buried;              /* the helper's: their pages stay mapped until the end */
        struct diag errors[CLIENT_ERRORS]; /* lock */
        unsigned n_errors;                 /* lock */
        bool quit;                         /* lock: the helper ends */
        bool has_helper;
        pthread_t helper;
};

/* Keeps the text for ckpt_error; takes it from d (NULL: strerror's).  Returns r. */
int client_fail(struct ckpt *c, int r, struct diag *d);
int client_refuse(struct ckpt *c, int r, const char *text); /* the same with a plain text */
int client_check(struct ckpt *c); /* -ENOTCONN: not attached; -EROFS: a reader */
int client_attach(struct ckpt *c, const struct ckpt_options *o, const struct ckpt_tensor *t,
                  size_t n, struct diag *d);
static inline bool client_is_attached(const struct ckpt *c)
{
        return c->link.state == LINK_UP || c->link.state == LINK_AWAY;
}

/* ---- ckpt-attach.c ---- */

struct attach_call { /* one Attach: its descriptors are owned by the call that sends it */
        json_t *parameters;
        int fds[5 + PAGE_SLOTS];
        size_t n_fds;
};
/* image: what to offer again, or NULL; manifest_fd -1: none. */
int attach_call_new(struct attach_call *ret, const struct ckpt *c, const struct image *image,
                    int manifest_fd);
int attach_send(struct wire_conn *conn, struct attach_call *a, int64_t timeout_ms);
/* The reply: a new image, or NULL where the one that was offered goes on.  -ESTALE: half of it
 * goes on. */
int attach_take_reply(struct ckpt *c, const struct image *offered, struct wire_result *result,
                      struct image **ret, struct diag *d);

void identity_done(struct identity *who);

/* ---- helper.c ---- */

/* One thread a job, all signals blocked, asleep in poll: sees hang-ups, brings the connection
 * back, populates slots, does its part of background copies, unmaps what is no longer used. */
int helper_start(struct ckpt *c);
void helper_stop(struct ckpt *c);
/* Populates the slots with the helper's help. */
void helper_populate(struct ckpt *c, struct image *i);
/* Keeps the helper off the processor that the caller runs on. */
void helper_keep_off(struct ckpt *c);

/* ---- ckpt-restore.c ---- */

void stored_done(struct stored *s);
