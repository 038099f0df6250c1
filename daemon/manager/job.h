/* A job: the ranks attached to one model directory, from the first attach to the end of the run.
 * Owned by its directory (a reader by its connection); freed by job_release or job_maybe_end when
 * all ranks are gone and nothing runs for it.  Never touched by a worker. */
#pragma once

#include "attempt.h"
#include "job-rank.h"

#define WISH_VALUES_MAX 64 /* policy values of a job */

enum job_state { JOB_GATHERING, JOB_LAYING, JOB_READY, JOB_ENDING };
/* GATHERING: ranks come and their manifests are parsed.  LAYING: offsets and slots are made.
 * READY: saves happen.  ENDING: the last complete snapshot is being persisted.  LAYING -> READY
 * also after Describe. */

struct job {
        struct manager *manager;
        struct directory *directory;
        enum job_state state;
        char *id; /* "pid:20117", "slurm:88231" */
        char *command;
        char *wish_policy; /* what the job asked for */
        size_t n_values;
        char *value_keys[WISH_VALUES_MAX], *value_texts[WISH_VALUES_MAX];
        int64_t attach_id, run, base;
        int64_t started_ms; /* Unix time */
        uid_t uid;
        bool fresh, reattached, broken, detached, end_tried;
        bool veteran; /* of ranks that were attached to a daemon before; no new ones join them */
        bool warm;    /* the last restore was from another place: the run does not go on from it */
        bool reader;  /* only restores, beside the directory's job */
        LIST_ENTRY(job) link; /* directory::readers */
        char *why_broken;
        bool slots_failed;
        unsigned n_slots_pending;
        unsigned world_size, n_busy; /* operations in flight that hold pointers to the job */
        struct rank *ranks;
        const struct format *format;
        struct diag messages; /* for the attach replies */
        struct schedule schedule;
        struct attempt attempt;
        char *asked_by;
        int64_t published;       /* the last step that this run published; -1 */
        uint64_t published_life; /* of the ranks then; PAGE_NO_LIFE: unknown */
        char *published_name;
        uint64_t n_saves; /* published by this job */
        char *last_error;
        uint32_t *failed_slots; /* of the last save that failed, one a rank */
        int64_t failed_step;
        uv_timer_t *timer; /* the schedule's, or the next look at the pages */
        TAILQ_HEAD(, waiter) waiters;
        bool window_busy;      /* a piece is being written */
        struct window *window; /* pieces of a save, see windowed.c */
        struct restoring *restoring;
        int64_t restore_below; /* candidates from this sequence on have failed; 0: none */
        char *snapshot_name;   /* the checkpoint whose data is still in snapshot_slots */
        uint32_t *snapshot_slots;
        uint32_t **snapshot_crc32c;
        uint32_t *agreed;                 /* slots that settle_collect found, one a rank */
        struct settle_rank *settle_ranks; /* read from the pages, one a rank */
        int64_t rate_step, rate_ms;       /* for steps/s */
        double steps_per_s;
};

/* world_size 0: a reader. */
int job_new(struct job **ret, struct directory *d, unsigned world_size);
void job_maybe_end(struct job *j); /* all ranks gone: persist what is complete, then free */
void job_break(struct job *j, const char *format, ...) _printf_(2, 3);
int64_t job_step(const struct job *j);   /* the furthest rank's; -1 */
bool job_finishing(const struct job *j); /* all ranks have called Finish */
bool job_complete(const struct job *j);  /* every rank is here */
pid_t job_pid(const struct job *j);
void job_hold(struct job *j);    /* an operation begins */
void job_release(struct job *j); /* it has ended; may free the job */
void job_publish_words(struct job *j, int64_t save_at);

/* admit.c, layout.c */
void job_wish(const struct job *j, struct settings_wish *ret);
void job_lay_out(struct job *j); /* when all manifests are here */
void job_next_waiting(struct directory *d);

/* restoring.c */
void restoring_go(struct job *j); /* when every rank has asked and no save is being written */
