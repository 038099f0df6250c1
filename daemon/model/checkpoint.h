/* A checkpoint as ckptd remembers it, and the list of one directory's.  Plain values: the store
 * reads and writes them as records, the catalog as rows, retention decides on them, the manager
 * owns them. */
#pragma once

#include "cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum checkpoint_state {
        CHECKPOINT_PUBLISHING, /* claimed on disk, not yet visible */
        CHECKPOINT_WHOLE,
        CHECKPOINT_DAMAGED,
        CHECKPOINT_SUPERSEDED, /* of an earlier run, above the step from which a later run was
                                  restored */
        CHECKPOINT_EVICTING,
        CHECKPOINT_EVICTED,
        CHECKPOINT_GONE, /* somebody else removed it */
};
extern const char *const checkpoint_state_names[]; /* "publishing", "whole" …, NULL */

enum checkpoint_origin { CHECKPOINT_SAVED, CHECKPOINT_COMMITTED, CHECKPOINT_ADOPTED };
extern const char *const checkpoint_origin_names[]; /* "saved", "committed", "adopted", NULL */

struct checkpoint_file {
        char *name; /* within the model directory */
        uint64_t bytes;
};

struct checkpoint {
        char *name; /* "model.ckpt-4000": the prefix; unique in its directory */
        int64_t step;
        int64_t sequence; /* order of publishing in the directory, from 1 */
        int64_t run;      /* which published it */
        int64_t save_id;
        enum checkpoint_state state;
        enum checkpoint_origin origin;
        char *format;         /* "tensorbundle" */
        int64_t published_ms; /* Unix time */
        uint64_t bytes;       /* of all files */
        size_t n_files;
        struct checkpoint_file *files; /* the index last */
        bool preserved;                /* by keep_checkpoint_every_n_hours, for good */
        char *pin_by, *pin_reason;     /* pin_by NULL: not pinned */
        char *replaces;                /* its files moved to .ckptd/replaced/ before, or NULL */
        unsigned leases;               /* readers now; not recorded */
};

/* its files are: whole, damaged or superseded */
bool checkpoint_is_there(const struct checkpoint *c);
void checkpoint_done(struct checkpoint *c);
void checkpoint_free(struct checkpoint *c);
DEFINE_FREEP(struct checkpoint, checkpoint_free)
int checkpoint_copy(struct checkpoint **ret, const struct checkpoint *c);

struct history { /* by sequence, oldest first */
        size_t n;
        struct checkpoint **items; /* owned */
};

void history_done(struct history *h);
/* Takes c, also on failure (-ENOMEM); keeps the order; same name: replaces. */
int history_add(struct history *h, struct checkpoint *c);
void history_remove(struct history *h, const char *name); /* frees it */
struct checkpoint *history_find(const struct history *h, const char *name);
struct checkpoint *history_at_step(const struct history *h,
                                   int64_t step); /* whole ones first, then the newest */
/* The newest whole one, or the newest whole one before `before` (may be NULL): what a restore
 * takes. */
struct checkpoint *history_newest_whole(const struct history *h, const struct checkpoint *before);
/* A later run was restored from base: its predecessors' whole checkpoints above base become
 * superseded. A fresh run (base < 0) was restored from nothing and supersedes nothing.  Returns how
 * many. */
size_t history_supersede(struct history *h, int64_t run, int64_t base);
