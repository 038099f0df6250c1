/* When the next save is due.  Pure: time is passed in (monotonic milliseconds, suspend included),
 * nothing is remembered but what stands in struct schedule.  The timer counts from the start of the
 * last successful save; a failure retries sooner, with back-off; a step schedule counts from the
 * last published step, as TensorFlow's SecondOrStepTimer does. */
#pragma once

#include "policy.h"

#define SCHEDULE_NEVER INT64_MAX
#define SCHEDULE_RETRY_FIRST_MS 10000 /* after the first failure; doubles */
#define SCHEDULE_RETRY_MAX_MS 300000  /* never later than this, nor than the interval */

enum schedule_why {
        SCHEDULE_NOTHING,
        SCHEDULE_SECS,
        SCHEDULE_STEPS,
        SCHEDULE_START,
        SCHEDULE_END,
        SCHEDULE_ASKED,
        SCHEDULE_RETRY,
        SCHEDULE_JOB, /* ckpt_save: the job itself */
};

struct schedule {
        int64_t saved_ms;   /* start of the last successful save; at attach: now */
        int64_t saved_step; /* its step, or the step restored from; -1: none */
        bool start_wanted;  /* fresh run, nothing saved yet */
        unsigned failures;  /* in a row */
        int64_t failed_ms;  /* when the last one failed */
        bool asked;         /* by an operator, not yet served */
        int64_t passed_ms,
                passed_step; /* up to there all that was due was passed over; 0: nothing */
};

struct schedule_due {
        enum schedule_why why; /* SCHEDULE_NOTHING: nothing is due now */
        int64_t step;          /* announce this step; -1: the very next one */
        int64_t ms;            /* look again at this time, or SCHEDULE_NEVER */
};

/* step: the job's latest.  A step schedule is told ahead (why SCHEDULE_STEPS, step > the latest),
 * so that the save happens at exactly that step. */
void schedule_next(const struct schedule *s, const struct policy *p, int64_t step, int64_t now_ms,
                   struct schedule_due *ret);
/* when_busy: skip.  A save has just ended: what fell due by time or steps while it was written is
 * passed over, and the next one is due where it would have been.  false: nothing did. */
bool schedule_pass(struct schedule *s, const struct policy *p, int64_t step, int64_t now_ms,
                   enum schedule_why *ret_why);
/* "10m", "200 steps", "start", "asked" …: after "due: " in the history. */
const char *schedule_reason(enum schedule_why why, const struct policy *p, char out[static 64]);
int64_t schedule_retry_ms(const struct schedule *s,
                          const struct policy *p); /* delay after the failures so far */
