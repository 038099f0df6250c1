/* The save under way, from due to published or failed: at most one a job.  Which step is settled in
 * settling.c, what happens to it is told in saving.c; here is what the two share with the rest of
 * the room. */
#pragma once

#include "modeldir.h"
#include "schedule.h"
#include "settle.h"

struct job;

struct waiter {                   /* somebody waits for a save */
        TAILQ_ENTRY(waiter) link; /* job::waiters */
        struct job *job;
        struct rpc_call *call;
        int64_t step;     /* -1: the next one that is published */
        uint64_t n_saves; /* of the job when it was asked: an operator wants another one */
        struct asking
                *asking; /* of an operator, who may wait for several jobs; NULL: the job's own */
};

struct attempt { /* the save under way: at most one a job */
        bool open;
        enum schedule_why why;
        char reason[128]; /* "due: 10m", "asked by root (uid 0)" */
        struct settle settle;
        int64_t due_ms, due_unix_ms, handed_ms, handed_unix_ms, lost_us;
        int64_t step;
        uint64_t life;           /* of the ranks, as their slots have it */
        struct store_save *save; /* being written */
        bool waits_for_room; /* its save has failed, and is tried again when something has gone */
        bool no_room;        /* nothing more goes for it: an eviction has failed */
        bool is_apart;       /* the usual name is taken: it was given another */
        struct checkpoint *checkpoint;
        uint32_t *slots; /* one a rank */
};

void job_consider(struct job *j);
void job_look(struct job *j);
void job_policy_changed(struct job *j);
void job_resume(struct job *j); /* after a restart of the daemon: goes on with an S announced */
void attempt_hand_over(struct job *j, const uint32_t *slots, int64_t step);
void attempt_fail(struct job *j, int64_t step, const char *format, ...) _printf_(3, 4);
void attempt_cancel(struct job *j);
void job_room_made(struct job *j); /* or not: the save that waits for it is tried again */
void finish_answer(struct job *j); /* all have called Finish and nothing is left to save */
/* Hands over complete, unpublished slots of all ranks; the reason is used where no attempt has one
 * already. */
bool job_persist_offered(struct job *j, const char *reason);
bool job_has_published(const struct job *j, const struct page_slot *s);
/* The first step at which the job has saved by itself on some rank, and which waits; -1: none. */
int64_t job_find_own(const struct job *j);
/* Held slots that are no answer to `asked`, nor anything else that may still be published, are
 * vacant again.  PAGE_NEVER: nothing is asked for. */
void job_vacate_useless(struct job *j, int64_t asked);
void job_vacate_own(struct job *j, int64_t step); /* what it saved by itself at this step */
/* The newest step of which every rank holds a complete slot, and which slots. */
bool job_find_offered(const struct job *j, uint32_t *slots, int64_t *ret_step);
/* Something that a rank has copied or is copying, and that may still be published. */
bool job_has_handed(const struct job *j);
bool job_find_failed(const struct job *j, uint32_t *slots,
                     int64_t *ret_step); /* of a save that failed, still there */
struct store_save *job_new_save(struct job *j, const uint32_t *slots,
                                int64_t step); /* NULL: no memory */
/* attempt.checkpoint is published: record and say it.  doubt: why it may be gone after a power cut
 * (a sync has failed), or NULL; then nothing older goes for it, and nobody is told that it is
 * safe. */
void job_saved(struct job *j, const char *doubt);
bool job_described(const struct job *j); /* every rank has called Describe, manifests parsed */
void job_forget_snapshot(struct job *j);
bool job_snapshot_is_there(const struct job *j); /* nothing was copied over it */
void window_end(struct job *j); /* windowed.c: drops the pieces of a save that ended */
bool job_add_waiter(struct job *j, struct rpc_call *c, int64_t step,
                    struct asking *asking); /* false: no memory */
/* asked.c: an operator's call that waits. */
void asking_answer(struct asking *k, const struct waiter *w, int64_t step, const char *name,
                   const char *error);
void job_tell_progress(struct job *j);
void job_answer_waiters(struct job *j, int64_t step, const char *name, const char *error);
