#include "schedule.h"

#include <stdint.h>
#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define HISTORIES 400
#define TICKS 400

static uint64_t random_next(uint64_t *x)
{
        *x ^= *x << 13;
        *x ^= *x >> 7;
        *x ^= *x << 17;
        return *x;
}

static int64_t random_below(uint64_t *x, int64_t n)
{
        return (int64_t)(random_next(x) % (uint64_t)n);
}

static struct schedule_due next(const struct schedule *s, const struct policy *p, int64_t step,
                                int64_t now)
{
        struct schedule_due due;

        schedule_next(s, p, step, now, &due);
        return due;
}

#define assert_due(due_, why_, step_, ms_)                                                         \
        do {                                                                                       \
                struct schedule_due d_ = (due_);                                                   \
                assert_int_equal(d_.why, why_);                                                    \
                assert_int_equal(d_.step, step_);                                                  \
                assert_int_equal(d_.ms, ms_);                                                      \
        } while (0)

static void test_secs(void **state)
{
        struct policy p = {.save_checkpoints_secs = 600000};
        struct schedule s = {.saved_ms = 1000, .saved_step = 5};

        (void)state;
        assert_due(next(&s, &p, 9, 1000), SCHEDULE_NOTHING, -1, 601000);
        assert_due(next(&s, &p, 9, 600999), SCHEDULE_NOTHING, -1, 601000);
        assert_due(next(&s, &p, 9, 601000), SCHEDULE_SECS, -1, SCHEDULE_NEVER);
        assert_due(next(&s, &p, 9, INT64_MAX), SCHEDULE_SECS, -1, SCHEDULE_NEVER);
}

static void test_steps_are_told_ahead(void **state)
{
        struct policy p = {.save_checkpoints_steps = 100};
        struct schedule s = {.saved_step = -1};

        (void)state;
        assert_due(next(&s, &p, -1, 0), SCHEDULE_STEPS, 100, SCHEDULE_NEVER);
        assert_due(next(&s, &p, 99, 0), SCHEDULE_STEPS, 100, SCHEDULE_NEVER);
        assert_due(next(&s, &p, 100, 0), SCHEDULE_STEPS, -1, SCHEDULE_NEVER);
        s.saved_step = 130;
        assert_due(next(&s, &p, 140, 0), SCHEDULE_STEPS, 230, SCHEDULE_NEVER);
        s.saved_step = INT64_MAX - 5;
        assert_due(next(&s, &p, INT64_MAX - 5, 0), SCHEDULE_STEPS, INT64_MAX, SCHEDULE_NEVER);
}

static void test_whichever_comes_first(void **state)
{
        struct policy p = {.save_checkpoints_secs = 1000, .save_checkpoints_steps = 100};
        struct schedule s = {.saved_ms = 0, .saved_step = 0};

        (void)state;
        assert_due(next(&s, &p, 50, 999), SCHEDULE_STEPS, 100, 1000);
        assert_due(next(&s, &p, 50, 1000), SCHEDULE_SECS, -1, SCHEDULE_NEVER);
        assert_due(next(&s, &p, 100, 10), SCHEDULE_STEPS, -1, SCHEDULE_NEVER);
}

static void test_nothing(void **state)
{
        struct policy p = {.save_on_start = true};
        struct schedule s = {.saved_step = -1};

        (void)state;
        assert_due(next(&s, &p, 1000, INT64_MAX), SCHEDULE_NOTHING, -1, SCHEDULE_NEVER);
}

static void test_start(void **state)
{
        struct policy p = {.save_on_start = true, .save_checkpoints_secs = 1000};
        struct schedule s = {.saved_step = -1, .start_wanted = true};

        (void)state;
        assert_due(next(&s, &p, -1, 0), SCHEDULE_START, 0, SCHEDULE_NEVER);
        assert_due(next(&s, &p, 0, 0), SCHEDULE_START, 0, SCHEDULE_NEVER);
        assert_due(next(&s, &p, 3, 0), SCHEDULE_START, -1, SCHEDULE_NEVER);
        p.save_on_start = false;
        assert_due(next(&s, &p, -1, 0), SCHEDULE_NOTHING, -1, 1000);
}

static void test_asked(void **state)
{
        struct policy p = {.save_checkpoints_secs = 1000};
        struct schedule s = {.asked = true, .failures = 3, .failed_ms = 100};

        (void)state;
        assert_due(next(&s, &p, 7, 100), SCHEDULE_ASKED, -1, SCHEDULE_NEVER);
}

static void test_retry(void **state)
{
        static const int64_t delays[] = {10000, 20000, 40000, 80000, 160000, 300000, 300000};
        struct policy p = {.save_checkpoints_secs = 600000};
        struct schedule s = {.failed_ms = 5000};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(delays); i++) {
                s.failures = (unsigned)i + 1;
                assert_int_equal(schedule_retry_ms(&s, &p), delays[i]);
                assert_due(next(&s, &p, 7, 4999 + delays[i]), SCHEDULE_NOTHING, -1,
                           5000 + delays[i]);
                assert_due(next(&s, &p, 7, 5000 + delays[i]), SCHEDULE_RETRY, -1, SCHEDULE_NEVER);
        }
        s.failures = UINT32_MAX;
        assert_int_equal(schedule_retry_ms(&s, &p), SCHEDULE_RETRY_MAX_MS);
        p.save_checkpoints_secs = 2000;
        assert_int_equal(schedule_retry_ms(&s, &p), 2000);
}

/* when_busy: skip.  The grid stays where it was. */
static void test_pass(void **state)
{
        struct policy p = {.save_checkpoints_steps = 10};
        struct schedule s = {.saved_ms = 1000, .saved_step = 10};
        enum schedule_why why = SCHEDULE_NOTHING;

        (void)state;
        assert_false(schedule_pass(&s, &p, 19, 2000, &why));
        assert_due(next(&s, &p, 19, 2000), SCHEDULE_STEPS, 20, SCHEDULE_NEVER);
        assert_true(schedule_pass(&s, &p, 35, 2000, &why));
        assert_int_equal(why, SCHEDULE_STEPS);
        assert_due(next(&s, &p, 35, 2000), SCHEDULE_STEPS, 40, SCHEDULE_NEVER);
        assert_false(schedule_pass(&s, &p, 35, 2000, &why));
        p = (struct policy){.save_checkpoints_secs = 1000};
        s = (struct schedule){.saved_ms = 1000, .saved_step = 10};
        assert_true(schedule_pass(&s, &p, 35, 3500, &why));
        assert_int_equal(why, SCHEDULE_SECS);
        assert_due(next(&s, &p, 35, 3500), SCHEDULE_NOTHING, -1, 4000);
        /* What somebody asked for, a retry and the first save are never passed over. */
        s = (struct schedule){.saved_ms = 1000, .asked = true};
        assert_false(schedule_pass(&s, &p, 35, 9000, &why));
        s = (struct schedule){.saved_ms = 1000, .failures = 1};
        assert_false(schedule_pass(&s, &p, 35, 9000, &why));
        s = (struct schedule){.saved_ms = 1000, .start_wanted = true};
        assert_false(schedule_pass(&s, &p, 35, 9000, &why));
}

static void test_reasons(void **state)
{
        struct policy p = {.save_checkpoints_secs = 600000, .save_checkpoints_steps = 200};
        char out[64];

        (void)state;
        assert_string_equal(schedule_reason(SCHEDULE_SECS, &p, out), "10m");
        assert_string_equal(schedule_reason(SCHEDULE_STEPS, &p, out), "200 steps");
        assert_string_equal(schedule_reason(SCHEDULE_START, &p, out), "start");
        assert_string_equal(schedule_reason(SCHEDULE_END, &p, out), "end");
        assert_string_equal(schedule_reason(SCHEDULE_ASKED, &p, out), "asked");
        assert_string_equal(schedule_reason(SCHEDULE_RETRY, &p, out), "retry");
        assert_string_equal(schedule_reason(SCHEDULE_JOB, &p, out), "the job");
}

/* A job, its daemon, and TensorFlow's timer beside them. */
struct world {
        uint64_t random;
        struct policy policy;
        struct schedule schedule;
        int64_t now, step;
        int64_t tf_ms, tf_step; /* TensorFlow's: time and step of the last trigger */
        int64_t last_start_ms;  /* of the last good save; -1: none */
        unsigned saves;
};

/* SecondOrStepTimer.should_trigger_for_step, from the attach on. */
static bool timer_triggers(const struct world *w)
{
        bool secs = w->policy.save_checkpoints_secs > 0 &&
                    w->now >= w->tf_ms + w->policy.save_checkpoints_secs;
        bool steps = w->policy.save_checkpoints_steps > 0 &&
                     w->step >= w->tf_step + w->policy.save_checkpoints_steps;

        return secs || steps;
}

/* Saves now; a failure leaves the timer as it was, unlike TensorFlow's, which cannot fail softly.
 */
static void save(struct world *w, enum schedule_why why)
{
        int64_t secs = w->policy.save_checkpoints_secs;

        if (random_below(&w->random, 8) == 0) {
                w->schedule.failures++;
                w->schedule.failed_ms = w->now;
                w->schedule.asked = false;
                return;
        }
        if (why == SCHEDULE_SECS && w->last_start_ms >= 0)
                assert_true(w->now - w->last_start_ms >= secs);
        w->last_start_ms = w->schedule.saved_ms = w->tf_ms = w->now;
        w->schedule.saved_step = w->tf_step = w->step;
        w->schedule.failures = 0;
        w->schedule.asked = w->schedule.start_wanted = false;
        w->saves++;
}

static void tick(struct world *w)
{
        struct schedule_due due = next(&w->schedule, &w->policy, w->step, w->now);
        bool now = due.why != SCHEDULE_NOTHING && (due.why != SCHEDULE_STEPS || due.step < 0);
        bool undisturbed = !w->schedule.asked && w->schedule.failures == 0 &&
                           !(w->schedule.start_wanted && w->policy.save_on_start);

        if (undisturbed)
                assert_int_equal(now, timer_triggers(w));
        if (w->schedule.asked)
                assert_true(now);
        if (due.why == SCHEDULE_STEPS && !now) {
                assert_true(due.step > w->step);
                assert_int_equal(due.step, w->tf_step + w->policy.save_checkpoints_steps);
        }
        /* Whoever sleeps until due.ms misses nothing. */
        if (!now && due.ms != SCHEDULE_NEVER) {
                assert_true(due.ms > w->now);
                assert_int_equal(next(&w->schedule, &w->policy, w->step, due.ms - 1).why, due.why);
                assert_int_not_equal(next(&w->schedule, &w->policy, w->step, due.ms).why,
                                     SCHEDULE_NOTHING);
        }
        if (now)
                save(w, due.why);
}

static void run_history(uint64_t seed)
{
        struct world w = {.random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1, .last_start_ms = -1};
        unsigned kind = (unsigned)random_below(&w.random, 3);

        w.policy.save_checkpoints_secs = kind != 1 ? 1 + random_below(&w.random, 60000) : 0;
        w.policy.save_checkpoints_steps = kind != 0 ? 1 + random_below(&w.random, 50) : 0;
        w.policy.save_on_start = random_below(&w.random, 2);
        w.schedule.start_wanted = random_below(&w.random, 2);
        w.now = w.schedule.saved_ms = w.tf_ms = random_below(&w.random, 1000000);
        w.schedule.saved_step = w.schedule.start_wanted ? -1 : random_below(&w.random, 1000);
        w.tf_step = w.step = w.schedule.saved_step < 0 ? 0 : w.schedule.saved_step;
        for (int i = 0; i < TICKS; i++) {
                w.now += random_below(&w.random, 5000);
                w.step += random_below(&w.random, 4);
                if (random_below(&w.random, 50) == 0)
                        w.schedule.asked = true;
                tick(&w);
        }
        assert_true(w.saves > 0);
}

static void test_like_tensorflow(void **state)
{
        (void)state;
        for (uint64_t seed = 1; seed <= HISTORIES; seed++)
                run_history(seed);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_secs),
                cmocka_unit_test(test_steps_are_told_ahead),
                cmocka_unit_test(test_whichever_comes_first),
                cmocka_unit_test(test_nothing),
                cmocka_unit_test(test_start),
                cmocka_unit_test(test_asked),
                cmocka_unit_test(test_retry),
                cmocka_unit_test(test_pass),
                cmocka_unit_test(test_reasons),
                cmocka_unit_test(test_like_tensorflow),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
