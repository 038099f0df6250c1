/* A rank of a job: its connection, process, control page, manifest and slots.  Owned by its job;
 * its members outlive its connection, so that a rank whose connection was lost can come back. */
#pragma once

#include "modeldir.h"
#include "page.h"

struct job;

enum rank_state {
        RANK_EMPTY,
        RANK_HERE,
        RANK_AWAY /* connection lost, process lives */,
        RANK_DEAD
};
enum rank_mode { MODE_SLOTS, MODE_WINDOW, MODE_COMMIT, MODE_READER };

struct rank {
        struct job *job;
        unsigned index;
        enum rank_state state;
        enum rank_mode mode;
        struct rpc_session *session;
        struct rpc_call *attach, *describe, *finish, *restore, *piece; /* calls that wait */
        struct restore_parameters *restore_what;                       /* of `restore`; owned */
        pid_t pid;
        int pidfd;
        uv_poll_t *life; /* on pidfd */
        struct page *page;
        int page_fd;
        bool offered;             /* page and slots were brought back by the job */
        bool new_slots;           /* to be sent with the reply */
        struct store_slots *made; /* until every rank has its own */
        enum rank_mode next_mode; /* with them */
        unsigned parse;  /* counts manifests parsed: an older one is not taken for a newer */
        bool piece_busy; /* a worker reads the window */
        bool parsed;     /* the manifest for the present layout is here */
        struct manifest *manifest, *next; /* next: being laid out */
        struct store_slot slots[PAGE_SLOTS];
        size_t n_slots;
        uint64_t slot_bytes;
        int64_t *layout; /* offsets in the slots that the job brought back, or NULL */
        size_t n_layout;
        bool window_last; /* all pieces of the present save are here */
        char *leased;     /* checkpoint being copied out */
};

struct rank *rank_of(struct rpc_call *c); /* NULL: not attached */
/* As rank_of, but answers WrongState when there is none, or when its job is not ready. */
struct rank *rank_ready(struct rpc_call *c);
int rank_watch_life(struct rank *r);                /* takes note when the process ends */
void rank_bind(struct rank *r, struct rpc_call *c); /* the connection is this rank from now on */
void rank_slots_done(struct rank *r);
int rank_renew(struct rank *r);  /* lets go of what it offered: a page of its own again */
void rank_close(struct rank *r); /* lets go of everything of the rank */

/* restoring.c */
void restoring_rank_gone(struct rank *r);
void rank_lease_end(struct rank *r);
