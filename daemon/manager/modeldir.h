/* A model directory as the manager knows it: identity, history, policy, the job in it.  Lives from
 * the first attach (or from the catalog, at start) until the daemon ends.  Locked (dir != NULL)
 * only while a job is attached or files are changed. */
#pragma once

#include "own.h"

struct waiting {                   /* a caller that waits until the directory is open or free */
        TAILQ_ENTRY(waiting) link; /* directory::waiting */
        void (*go)(struct waiting *w, int r, const struct diag *d);
        int64_t until_ms; /* boot clock; waiting for a dying job ends then */
        bool for_job;     /* until the present job is gone, not only until it is open */
};

TAILQ_HEAD(waitings, waiting);

struct lease {
        TAILQ_ENTRY(lease) link; /* directory::leases */
        char *name;
        int64_t until_ms; /* boot clock */
};

struct directory {
        TAILQ_ENTRY(directory) link; /* manager::directories */
        struct manager *manager;
        struct catalog_directory row; /* id, uuid, path, policy, held */
        dev_t device;                 /* of the open directory, to find it again */
        ino_t inode;
        struct store_dir *dir;  /* NULL: not locked now */
        int64_t renewed_ms;     /* boot clock; the owner's mark on a network file system */
        bool opening, known;    /* known: history is loaded */
        bool read_only;         /* another daemon owns it */
        char *missing;          /* why it cannot be reached, or NULL */
        struct history history; /* checkpoints that are there */
        int64_t last_run, last_sequence;
        bool has_recorded;             /* a checkpoint was published in it at some time */
        size_t n_strays, n_unreadable; /* files nobody claims; records nobody can read */
        struct job *job;
        unsigned n_readers; /* and looks: it stays open */
        LIST_HEAD(, job) readers;
        struct waitings waiting;
        TAILQ_HEAD(, lease) leases;
        bool tidying, tidy_again;
        bool surplus;     /* a checkpoint was recorded since the last pass: only then does one go */
        bool naming;      /* something was saved, and the state file does not name it yet */
        unsigned waking;  /* who waited is being told: not closed before all have been */
        unsigned n_marks; /* records being written: nothing is saved, evicted or closed before */
        int64_t tidy_max; /* keep_checkpoint_max in force, for the state file */
        struct policy *policy; /* in force: the job's, else by the settings */
        char *policy_by;
        char *failing;            /* the last save's error, or NULL */
        int64_t failing_since_ms; /* Unix time */
        unsigned failures;
        char *stuck;               /* why the last eviction failed, or NULL */
        struct leftover *leftover; /* slots of the last job, for the next one */
};

struct directory_ask {
        const char *path;
        int fd; /* taken; -1: none */
        bool create, read_only;
};
/* Finds the directory or makes it known, opens and locks it; w->go is called when that is done
 * (perhaps at once).  *ret stays valid for the manager's life; NULL when it failed before (go was
 * called with the error). */
void directory_open(struct manager *m, const struct directory_ask *a, struct waiting *w,
                    struct directory **ret);
/* Tells those who wait until the directory is open, or (for_job) until its job is gone. */
void directory_wake(struct directory *d, bool for_job, int r, const struct diag *diag);
struct directory *directory_find(struct manager *m,
                                 const char *path); /* by path as given or real path */
/* Was a checkpoint ever recorded in it? */
bool directory_held_one(const struct directory *d);
/* Unlocks it when nothing needs it; then tells those who wait. */
void directory_rest(struct directory *d);
struct directory *directory_new(struct manager *m,
                                const char *path); /* not opened yet; NULL: no memory */
void directory_free(struct directory *d);
bool directory_may_evict(const struct directory *d); /* not held, settings in order */
void directory_tick(struct directory *d, int64_t now_ms);
/* Loads the effective policy for this wish (job's or none). */
int directory_choose_policy(struct directory *d, const struct settings_wish *wish,
                            struct diag *messages);
void directory_lease(struct directory *d, const char *name, int64_t for_ms);
/* overview.c */
json_t *directory_json(const struct directory *d, int64_t now_ms);
json_t *directories_json(struct manager *m, json_t *disks, size_t *ret_n, size_t *ret_checkpoints);
/* Writes its record anew. */
void directory_mark(struct directory *d, const struct checkpoint *c);
void directory_put_checkpoint(struct directory *d, struct catalog_batch *b,
                              const struct checkpoint *c);
/* Marks one damaged (record, catalog, log, history). */
void directory_damaged(struct directory *d, struct checkpoint *c, const char *text);
/* State file, then retention: one pass at a time. */
void directory_tidy(struct directory *d);
/* Short of so many bytes (0: unknown) for the save under way: what the plan would let go after it
 * may go before it.  true: one goes, or a pass is under way; job_room_made is called when that has
 * ended. */
bool directory_make_room(struct directory *d, uint64_t short_of);
/* After a save that failed: a directory that went away is opened anew when there is one at its path
 * again.  true: that is under way, nothing can be saved yet; the job is looked at when it has
 * ended. */
bool directory_reopens(struct directory *d);
const char *directory_why_closed(const struct directory *d); /* while dir is NULL */
/* The checkpoint's path as its framework names it; malloc'ed. */
char *directory_path_of(const struct directory *d, const char *name);
