#include "schedule.h"

#include "units.h"

#include <inttypes.h>
#include <stdio.h>

static int64_t add_saturated(int64_t a, int64_t b)
{
        int64_t sum;

        return __builtin_add_overflow(a, b, &sum) ? SCHEDULE_NEVER : sum;
}

int64_t schedule_retry_ms(const struct schedule *s, const struct policy *p)
{
        int64_t ms = SCHEDULE_RETRY_FIRST_MS;

        for (unsigned i = 1; i < s->failures && ms < SCHEDULE_RETRY_MAX_MS; i++)
                ms *= 2;
        if (ms > SCHEDULE_RETRY_MAX_MS)
                ms = SCHEDULE_RETRY_MAX_MS;
        if (p->save_checkpoints_secs > 0 && ms > p->save_checkpoints_secs)
                ms = p->save_checkpoints_secs;
        return ms;
}

static struct schedule_due due_now(enum schedule_why why)
{
        return (struct schedule_due){.why = why, .step = -1, .ms = SCHEDULE_NEVER};
}

/* While saves fail, nothing else counts: a step schedule would try again at every step. */
static struct schedule_due next_retry(const struct schedule *s, const struct policy *p,
                                      int64_t now_ms)
{
        int64_t at = add_saturated(s->failed_ms, schedule_retry_ms(s, p));

        if (now_ms >= at)
                return due_now(SCHEDULE_RETRY);
        return (struct schedule_due){.why = SCHEDULE_NOTHING, .step = -1, .ms = at};
}

static struct schedule_due next_start(int64_t step)
{
        struct schedule_due due = due_now(SCHEDULE_START);

        if (step <= 0)
                due.step = 0;
        return due;
}

static int64_t from_ms(const struct schedule *s)
{
        return s->passed_ms > s->saved_ms ? s->passed_ms : s->saved_ms;
}

static int64_t from_step(const struct schedule *s)
{
        int64_t saved = s->saved_step < 0 ? 0 : s->saved_step;

        return s->passed_step > saved ? s->passed_step : saved;
}

/* Secs and steps: whichever comes first. */
static struct schedule_due next_regular(const struct schedule *s, const struct policy *p,
                                        int64_t step, int64_t now_ms)
{
        struct schedule_due due = {.why = SCHEDULE_NOTHING, .step = -1, .ms = SCHEDULE_NEVER};
        int64_t at_step;

        if (p->save_checkpoints_secs > 0) {
                due.ms = add_saturated(from_ms(s), p->save_checkpoints_secs);
                if (now_ms >= due.ms)
                        return due_now(SCHEDULE_SECS);
        }
        if (p->save_checkpoints_steps <= 0)
                return due;
        at_step = add_saturated(from_step(s), p->save_checkpoints_steps);
        if (at_step <= step)
                return due_now(SCHEDULE_STEPS);
        due.why = SCHEDULE_STEPS;
        due.step = at_step;
        return due;
}

void schedule_next(const struct schedule *s, const struct policy *p, int64_t step, int64_t now_ms,
                   struct schedule_due *ret)
{
        if (s->asked)
                *ret = due_now(SCHEDULE_ASKED);
        else if (s->failures > 0)
                *ret = next_retry(s, p, now_ms);
        else if (s->start_wanted && p->save_on_start)
                *ret = next_start(step);
        else
                *ret = next_regular(s, p, step, now_ms);
}

bool schedule_pass(struct schedule *s, const struct policy *p, int64_t step, int64_t now_ms,
                   enum schedule_why *ret_why)
{
        int64_t secs = p->save_checkpoints_secs, steps = p->save_checkpoints_steps;
        struct schedule_due due = next_regular(s, p, step, now_ms);

        if (s->asked || s->failures > 0 || s->start_wanted || due.why == SCHEDULE_NOTHING ||
            due.step >= 0)
                return false;
        if (secs > 0 && now_ms > from_ms(s))
                s->passed_ms = from_ms(s) + (now_ms - from_ms(s)) / secs * secs;
        if (steps > 0 && step > from_step(s))
                s->passed_step = from_step(s) + (step - from_step(s)) / steps * steps;
        *ret_why = due.why;
        return true;
}

const char *schedule_reason(enum schedule_why why, const struct policy *p, char out[static 64])
{
        static const char *const words[] = {
                [SCHEDULE_NOTHING] = "nothing", [SCHEDULE_SECS] = "time",
                [SCHEDULE_STEPS] = "steps",     [SCHEDULE_START] = "start",
                [SCHEDULE_END] = "end",         [SCHEDULE_ASKED] = "asked",
                [SCHEDULE_RETRY] = "retry",     [SCHEDULE_JOB] = "the job",
        };
        char interval[UNITS_TEXT_MAX];

        if (why == SCHEDULE_SECS && p->save_checkpoints_secs > 0)
                snprintf(out, 64, "%s", units_format_interval(interval, p->save_checkpoints_secs));
        else if (why == SCHEDULE_STEPS && p->save_checkpoints_steps > 0)
                snprintf(out, 64, "%" PRId64 " step%s", p->save_checkpoints_steps,
                         p->save_checkpoints_steps == 1 ? "" : "s");
        else
                snprintf(out, 64, "%s", words[why]);
        return out;
}
