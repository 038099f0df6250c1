/* Which step is saved: from the schedule to a step that every rank has answered.  The rules are in
 * daemon/model/schedule.h and settle.h; here they meet pages, timers and the clock. */
#include "job.h"

#include <stdio.h>
#include <string.h>

#define LOOK_SOON_MS 20   /* several ranks, a step announced: look at the pages */
#define LOOK_AHEAD_MS 250 /* told ahead by a step schedule */
#define LOOK_FINISH_MS 2  /* a rank that waits in Finish cannot say that it has handed off */
#define RATE_MS 1000      /* steps/s are measured over at least this */

static void timer_fired(uv_timer_t *t)
{
        struct job *j = t->data;

        if (j->attempt.open && !j->attempt.save)
                job_look(j);
        job_consider(j);
}

static bool any_finishing(const struct job *j)
{
        for (unsigned i = 0; i < j->world_size; i++)
                if (j->ranks[i].finish)
                        return true;
        return false;
}

/* A step schedule has told a step ahead, and nobody is there yet. */
static bool is_ahead(const struct job *j)
{
        const struct settle *s = &j->attempt.settle;

        return j->attempt.open && s->wanted >= 0 && !s->forced && s->asked > job_step(j);
}

/* How long until the pages are looked at unasked; one rank says itself when it has handed off. */
static int64_t look_ms(const struct job *j)
{
        if (any_finishing(j))
                return LOOK_FINISH_MS;
        if (j->world_size == 1)
                return SCHEDULE_NEVER;
        return is_ahead(j) ? LOOK_AHEAD_MS : LOOK_SOON_MS;
}

static void arm(struct job *j, int64_t at_ms)
{
        int64_t now = clock_boot_ms(), in, look = look_ms(j);

        if (j->attempt.open && !j->attempt.save && look != SCHEDULE_NEVER && now + look < at_ms)
                at_ms = now + look;
        if (at_ms == SCHEDULE_NEVER) {
                uv_timer_stop(j->timer);
                return;
        }
        in = at_ms > now ? at_ms - now : 0;
        uv_update_time(j->manager->loop);
        uv_timer_start(j->timer, timer_fired, (uint64_t)in + 1, 0);
}

static void measure_rate(struct job *j, int64_t now)
{
        int64_t step = job_step(j);

        if (j->rate_step < 0 || step < j->rate_step) {
                j->rate_step = step;
                j->rate_ms = now;
        } else if (now - j->rate_ms >= RATE_MS) {
                j->steps_per_s = (double)(step - j->rate_step) * 1e3 / (double)(now - j->rate_ms);
                j->rate_step = step;
                j->rate_ms = now;
        }
}

static struct settle_rank *read_pages(struct job *j)
{
        struct settle_rank *ranks = j->settle_ranks;

        if (!ranks)
                ranks = j->settle_ranks = calloc(j->world_size, sizeof(*ranks));
        if (!j->agreed)
                j->agreed = calloc(j->world_size, sizeof(*j->agreed));
        if (!ranks || !j->agreed)
                return NULL;
        for (unsigned i = 0; i < j->world_size; i++) {
                settle_read(j->ranks[i].page, &ranks[i]);
                if (ranks[i].n_slots > j->ranks[i].n_slots) /* the job can write its page */
                        ranks[i].n_slots = (uint32_t)j->ranks[i].n_slots;
                ranks[i].dead = j->ranks[i].state == RANK_DEAD;
        }
        return ranks;
}

static struct settle_input input_of(struct job *j, struct settle_rank *ranks)
{
        return (struct settle_input){.ranks = ranks,
                                     .n = j->world_size,
                                     .steps_per_s = j->steps_per_s,
                                     .published = j->published};
}

static void already_saved(struct job *j)
{
        note_add(j->manager, NULL,
                 &(struct note){.directory = j->directory,
                                .event = "skipped",
                                .step = j->published,
                                .level = LOG_LEVEL_INFO},
                 "%s: already saved", j->attempt.reason);
        attempt_cancel(j);
        j->schedule.asked = false;
        j->n_saves++; /* for those who asked it is as good as another one */
        job_answer_waiters(j, j->published, j->published_name, NULL);
}

static void announce(struct job *j)
{
        struct attempt *a = &j->attempt;
        struct settle_rank *ranks = read_pages(j);
        struct settle_input in = input_of(j, ranks);
        const char *why = "out of memory";
        enum settle_outcome o = ranks ? settle_pick(&a->settle, &in, &why) : SETTLE_FAIL;

        if (o == SETTLE_FAIL) {
                attempt_fail(j, -1, "%s", j->why_broken ? j->why_broken : why);
                return;
        }
        if (o == SETTLE_DONE) {
                already_saved(j);
                return;
        }
        job_vacate_useless(j, a->settle.asked);
        /* Where the job saves by itself every rank comes to it unasked; but for one that waits in
         * Finish. */
        if (!a->settle.forced || any_finishing(j))
                job_publish_words(j, a->settle.asked);
        job_look(j);
}

/* A window answers by its pieces; what the pages tell is only that a rank could not. */
static void look_for_missed(struct job *j)
{
        for (unsigned i = 0; i < j->world_size; i++)
                if (atomic_load(&j->ranks[i].page->rank.missed) == j->attempt.settle.asked) {
                        attempt_fail(j, -1, "rank %u of %u could not serve step %lld", i,
                                     j->world_size, (long long)j->attempt.settle.asked);
                        return;
                }
}

static void move(struct job *j, bool turned)
{
        struct settle *s = &j->attempt.settle;

        if (turned ? s->turns++ < SETTLE_TURNS : s->tries++ < SETTLE_TRIES)
                announce(j);
        else if (turned)
                attempt_fail(j, -1,
                             "the ranks do not turn back together: one has rolled back or restored "
                             "more often than another");
        else
                attempt_fail(j, -1,
                             "the ranks pass every announced step; do all call ckpt_step with the "
                             "same steps?");
}

void job_look(struct job *j)
{
        struct attempt *a = &j->attempt;
        struct settle_answer answer = {.step = -1};
        struct settle_rank *ranks;
        struct settle_input in;

        if (a->open && !a->save && j->ranks[0].mode == MODE_WINDOW)
                look_for_missed(j);
        if (!a->open || a->save || j->directory->n_marks || j->ranks[0].mode != MODE_SLOTS ||
            directory_reopens(j->directory))
                return;
        measure_rate(j, clock_boot_ms());
        ranks = read_pages(j);
        if (!ranks)
                return;
        in = input_of(j, ranks);
        answer.slots = j->agreed;
        switch (settle_collect(&a->settle, &in, &answer)) {
        case SETTLE_WAIT:
                job_vacate_useless(j, a->settle.asked);
                break;
        case SETTLE_AGREED:
                attempt_hand_over(j, answer.slots, answer.step);
                break;
        case SETTLE_MOVE:
                move(j, answer.turned);
                break;
        case SETTLE_FAIL:
                if (j->broken)
                        break; /* whoever broke it knows better why */
                attempt_fail(j, -1, "rank %zu of %u: %s", answer.rank, j->world_size,
                             answer.why ? answer.why : "");
                break;
        case SETTLE_DONE:
                already_saved(j);
                break;
        }
}

static void attempt_begin(struct job *j, const struct schedule_due *due)
{
        struct attempt *a = &j->attempt;
        char text[64];

        a->open = true;
        a->why = due->why;
        a->settle = (struct settle){.asked = PAGE_NEVER, .wanted = due->step};
        a->due_ms = clock_boot_ms();
        a->due_unix_ms = clock_unix_ms();
        a->lost_us = 0;
        if (due->why == SCHEDULE_ASKED && j->asked_by)
                snprintf(a->reason, sizeof(a->reason), "asked by %s", j->asked_by);
        else
                snprintf(a->reason, sizeof(a->reason), "due: %s",
                         schedule_reason(due->why, j->directory->policy, text));
        announce(j);
}

/* The step that the run was restored from, where that checkpoint is still there: saving it again
 * gives nothing new. */
static int64_t restored_step(const struct job *j)
{
        return !j->warm && j->base >= 0 && history_at_step(&j->directory->history, j->base)
                       ? j->base
                       : -1;
}

/* The last save: wanted once every rank has called Finish. */
static bool end_is_due(const struct job *j, struct schedule_due *due)
{
        int64_t end = j->ranks[0].page ? atomic_load(&j->ranks[0].page->rank.end) : PAGE_NEVER;

        if (!job_finishing(j) || j->end_tried || j->ranks[0].mode == MODE_WINDOW ||
            !j->directory->policy->save_on_end || end == j->published || end == restored_step(j))
                return false;
        *due = (struct schedule_due){.why = SCHEDULE_END, .step = -1, .ms = SCHEDULE_NEVER};
        return true;
}

/* What the job has saved by itself comes before everything that is due. */
static void save_own(struct job *j)
{
        bool under_way = j->attempt.open && j->attempt.settle.forced;
        int64_t step = j->ranks[0].mode == MODE_SLOTS && !under_way ? job_find_own(j) : -1;

        if (step < 0)
                return;
        if (j->attempt.open)
                attempt_cancel(j);
        j->attempt =
                (struct attempt){.open = true,
                                 .why = SCHEDULE_JOB,
                                 .due_ms = clock_boot_ms(),
                                 .due_unix_ms = clock_unix_ms(),
                                 .reason = "asked by the job",
                                 .settle = {.asked = PAGE_NEVER, .wanted = step, .forced = true}};
        announce(j);
}

void job_consider(struct job *j)
{
        struct schedule_due due;
        int64_t now = clock_boot_ms();
        bool ahead;

        if (j->state != JOB_READY || j->broken || j->attempt.save || !job_complete(j))
                return;
        measure_rate(j, now);
        save_own(j);
        if (j->attempt.save)
                return;
        ahead = is_ahead(j);
        if (j->attempt.open && !ahead) {
                arm(j, SCHEDULE_NEVER);
                return;
        }
        if (!end_is_due(j, &due)) {
                if (job_finishing(j)) {
                        if (!j->directory->naming)
                                finish_answer(j);
                        return;
                }
                schedule_next(&j->schedule, j->directory->policy, job_step(j), now, &due);
        }
        if (due.why != SCHEDULE_NOTHING && !(ahead && due.step == j->attempt.settle.wanted)) {
                attempt_begin(j, &due);
                if (j->attempt.save)
                        return;
                schedule_next(&j->schedule, j->directory->policy, job_step(j), now, &due);
        }
        arm(j, due.ms);
}

void attempt_cancel(struct job *j)
{
        j->attempt.open = false;
        j->attempt.settle.asked = PAGE_NEVER;
        job_publish_words(j, PAGE_NEVER);
        window_end(j);
}

/* A daemon that comes back finds an S announced: it goes on with the same S. */
void job_resume(struct job *j)
{
        struct attempt *a = &j->attempt;
        int64_t asked = atomic_load(&j->ranks[0].page->daemon.save_at);
        struct settle_rank *ranks;

        for (unsigned i = 1; i < j->world_size; i++)
                if (atomic_load(&j->ranks[i].page->daemon.save_at) != asked)
                        asked = PAGE_NEVER;
        ranks = read_pages(j);
        if (asked == PAGE_NEVER || asked == j->published || !ranks) {
                job_publish_words(j, PAGE_NEVER);
                job_vacate_useless(j, PAGE_NEVER);
                return;
        }
        *a = (struct attempt){.open = true,
                              .why = SCHEDULE_RETRY,
                              .due_ms = clock_boot_ms(),
                              .due_unix_ms = clock_unix_ms()};
        a->settle = (struct settle){.asked = asked, .wanted = asked};
        for (unsigned i = 0; i < j->world_size; i++) {
                ranks[i].life_noted = ranks[i].life;
                ranks[i].step_noted = ranks[i].step;
        }
        snprintf(a->reason, sizeof(a->reason), "announced before ckptd was restarted");
        job_look(j);
}

void manager_hand_off(struct manager *m, struct rpc_call *c, const struct hand_off_parameters *p)
{
        struct rank *r = rank_of(c);
        struct job *j = r ? r->job : NULL;

        (void)m;
        if (!j || j->state != JOB_READY || j->broken || !r->page) {
                rpc_reply(c, NULL);
                return;
        }
        if (p->forced && p->step == j->published && !r->index)
                note_add(j->manager, NULL,
                         &(struct note){.directory = j->directory,
                                        .event = "skipped",
                                        .step = p->step,
                                        .level = LOG_LEVEL_INFO},
                         "asked by the job: already saved");
        if (j->attempt.open)
                job_look(j);
        else if (job_find_own(j) < 0 && !job_persist_offered(j, "handed over by the job"))
                job_vacate_useless(j, PAGE_NEVER);
        job_consider(j);
        rpc_reply(c, NULL);
}
