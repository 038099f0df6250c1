/* The rank's half of the control page's protocol; the test is the daemon. */
#include "rank.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

struct job {
        struct page page;
        struct rank rank;
        int64_t asked; /* of the last look that found something due */
};

static void begin(struct job *j, uint32_t world_size, uint32_t n_slots)
{
        memset(j, 0, sizeof(*j));
        page_init(&j->page, 7, 0, world_size, n_slots);
        j->rank.alive = true;
        rank_begin(&j->rank, &j->page, n_slots);
}

static void announce(struct job *j, int64_t step)
{
        atomic_store(&j->page.daemon.save_at, step);
}

/* One call of ckpt_step, up to the copy. */
static enum rank_look step(struct job *j, int64_t at)
{
        int64_t last;

        if (rank_pass(&j->rank, at, &last))
                return RANK_QUIET;
        return rank_look(&j->rank, at, last, &j->asked);
}

/* The same with the copy: the slot, or -1. */
static int save(struct job *j, int64_t at)
{
        struct rank_filled f = {.step = at, .bytes = 100, .copy_ns = 5};
        int slot;

        if (step(j, at) != RANK_DUE)
                return -1;
        slot = rank_vacant(&j->rank);
        assert_true(slot >= 0);
        rank_fill(&j->rank, slot);
        assert_int_equal(atomic_load(&j->rank.page)->slot[slot].owner, PAGE_FILLING);
        f.asked = j->asked;
        rank_hold(&j->rank, slot, &f);
        return slot;
}

static void vacate(struct job *j, int slot)
{
        atomic_store(&j->page.slot[slot].owner, PAGE_VACANT);
}

static void test_nothing_due(void **state)
{
        struct job j;

        (void)state;
        begin(&j, 1, 2);
        for (int64_t i = 0; i < 1000; i++)
                assert_int_equal(step(&j, i), RANK_QUIET);
        assert_int_equal(j.page.now.step, 999);
        assert_int_equal(j.page.rank.life, 0);
        assert_int_equal(j.page.rank.missed, PAGE_NEVER);
}

static void test_due_once(void **state)
{
        struct job j;
        int slot;

        (void)state;
        begin(&j, 1, 2);
        announce(&j, 5);
        assert_int_equal(step(&j, 4), RANK_QUIET);
        slot = save(&j, 5);
        assert_int_equal(slot, 0);
        assert_int_equal(j.page.slot[0].owner, PAGE_HELD);
        assert_int_equal(j.page.slot[0].step, 5);
        assert_int_equal(j.page.slot[0].asked, 5);
        assert_int_equal(j.page.slot[0].base, -1);
        assert_int_equal(j.page.slot[0].life, 0);
        assert_int_equal(j.page.slot[0].bytes, 100);
        assert_int_equal(j.page.slot[0].copy_ns, 5);
        assert_int_equal(j.page.slot[0].sum, page_slot_sum(&j.page.slot[0]));
        assert_true(rank_has_answered(&j.rank, 5));
        assert_int_equal(step(&j, 6), RANK_QUIET);
        assert_int_equal(step(&j, 7), RANK_QUIET);
}

static void test_step_zero(void **state)
{
        struct job j;

        (void)state;
        begin(&j, 1, 2);
        announce(&j, 0);
        assert_int_equal(save(&j, 0), 0);
        assert_int_equal(j.page.slot[0].step, 0);
}

/* A job that tells every tenth step serves the first one at or beyond. */
static void test_strides(void **state)
{
        struct job j;

        (void)state;
        begin(&j, 4, 2);
        assert_int_equal(step(&j, 10), RANK_QUIET);
        announce(&j, 13);
        assert_int_equal(save(&j, 20), 0);
        assert_int_equal(j.page.slot[0].step, 20);
        assert_int_equal(j.page.slot[0].asked, 13);
        assert_int_equal(j.page.rank.missed, PAGE_NEVER);
}

/* Announced when the step had gone by: with others beside, another step must be found. */
static void test_too_late(void **state)
{
        struct job j;

        (void)state;
        begin(&j, 2, 2);
        step(&j, 9);
        announce(&j, 9);
        assert_int_equal(step(&j, 10), RANK_MISSED);
        assert_int_equal(j.page.rank.missed, 9);
        announce(&j, 12);
        assert_int_equal(step(&j, 11), RANK_QUIET);
        assert_int_equal(save(&j, 12), 0);
}

/* Alone, the next call serves it. */
static void test_too_late_alone(void **state)
{
        struct job j;

        (void)state;
        begin(&j, 1, 2);
        step(&j, 9);
        announce(&j, 9);
        assert_int_equal(save(&j, 10), 0);
        assert_int_equal(j.page.slot[0].step, 10);
        assert_int_equal(j.page.slot[0].asked, 9);
}

static void test_no_vacant_slot(void **state)
{
        struct job j;

        (void)state;
        begin(&j, 1, 2);
        announce(&j, 1);
        assert_int_equal(save(&j, 1), 0);
        announce(&j, 2);
        assert_int_equal(save(&j, 2), 1);
        announce(&j, 3);
        assert_int_equal(step(&j, 3), RANK_MISSED);
        assert_int_equal(j.page.rank.missed, 3);
        vacate(&j, 0);
        assert_int_equal(step(&j, 4), RANK_QUIET); /* 3 has its answer */
        announce(&j, 5);
        assert_int_equal(save(&j, 5), 0);
}

/* The last complete state survives the next copy, also where the daemon was quick. */
static void test_oldest_slot_first(void **state)
{
        struct job j;

        (void)state;
        begin(&j, 1, 2);
        for (int64_t i = 1; i < 7; i++) {
                int slot;

                announce(&j, i);
                slot = save(&j, i);
                assert_int_equal(slot, (i - 1) % 2);
                vacate(&j, slot);
        }
}

static void test_failed_copy_gives_back(void **state)
{
        struct job j;
        int slot;

        (void)state;
        begin(&j, 1, 1);
        announce(&j, 1);
        assert_int_equal(step(&j, 1), RANK_DUE);
        slot = rank_vacant(&j.rank);
        rank_fill(&j.rank, slot);
        assert_int_equal(rank_vacant(&j.rank), -EBUSY);
        rank_drop(&j.rank, slot);
        rank_miss(&j.rank, j.asked);
        assert_int_equal(rank_vacant(&j.rank), slot);
        assert_false(rank_has_answered(&j.rank, 1));
}

static void test_rollback_is_a_new_life(void **state)
{
        struct job j;

        (void)state;
        begin(&j, 2, 2);
        announce(&j, 5);
        assert_int_equal(save(&j, 5), 0);
        assert_int_equal(step(&j, 3), RANK_QUIET);
        assert_int_equal(j.page.rank.life, 1);
        assert_int_equal(j.page.now.step, 3);
        assert_false(rank_has_answered(&j.rank, 5)); /* of the life before */
        assert_int_equal(save(&j, 5), 1);            /* the same save_at again, in the new life */
        assert_int_equal(j.page.slot[1].life, 1);
}

static void test_rollback_onto_a_due_step(void **state)
{
        struct job j;

        (void)state;
        begin(&j, 2, 2);
        step(&j, 9);
        announce(&j, 4);
        assert_int_equal(save(&j, 4), 0);
        assert_int_equal(j.page.slot[0].life, 1);
        assert_int_equal(j.page.rank.missed, PAGE_NEVER);
}

static void test_rollback_clears_missed(void **state)
{
        struct job j;

        (void)state;
        begin(&j, 2, 2);
        step(&j, 9);
        announce(&j, 9);
        assert_int_equal(step(&j, 10), RANK_MISSED);
        announce(&j, PAGE_NEVER);
        assert_int_equal(step(&j, 2), RANK_QUIET);
        assert_int_equal(j.page.rank.missed, PAGE_NEVER);
}

static void test_restored(void **state)
{
        struct job j;

        (void)state;
        begin(&j, 2, 2);
        rank_restored(&j.rank, 100);
        assert_int_equal(j.page.rank.base, 100);
        assert_int_equal(j.page.rank.life, 1);
        assert_int_equal(j.page.now.step, 100);
        announce(&j, 100); /* chosen before the restore */
        assert_int_equal(step(&j, 101), RANK_MISSED);
        announce(&j, 103);
        assert_int_equal(step(&j, 102), RANK_QUIET);
        assert_int_equal(save(&j, 103), 0);
        assert_int_equal(j.page.slot[0].base, 100);
        assert_int_equal(j.page.slot[0].life, 1);
}

static void test_end(void **state)
{
        struct job j;

        (void)state;
        begin(&j, 1, 2);
        announce(&j, 8);
        assert_int_equal(save(&j, 8), 0);
        rank_end(&j.rank, 8);
        assert_int_equal(j.page.rank.end, 8);
        assert_true(rank_has_answered(&j.rank, 8));
        vacate(&j, 0);
        assert_false(rank_has_answered(&j.rank, 8));
        rank_go_on(&j.rank);
        assert_int_equal(j.page.rank.end, PAGE_NEVER);
}

/* A daemon that came back gave another page: the rank says there what it was. */
static void test_move(void **state)
{
        struct job j;
        struct page other;

        (void)state;
        begin(&j, 1, 2);
        rank_restored(&j.rank, 50);
        announce(&j, 60);
        assert_int_equal(save(&j, 60), 0);
        memset(&other, 0, sizeof(other));
        page_init(&other, 8, 0, 1, 1);
        rank_move(&j.rank, &other, 1);
        assert_int_equal(other.rank.base, 50);
        assert_int_equal(other.rank.life, 2);
        assert_int_equal(other.now.step, 60);
        atomic_store(&other.daemon.save_at, 60);
        assert_int_equal(save(&j, 61), 0);
        assert_int_equal(other.slot[0].step, 61);
        assert_int_equal(j.page.now.step, 60);
}

/* The helper's sign that another page waits is no save. */
static void test_sign_is_not_due(void **state)
{
        struct job j;

        (void)state;
        begin(&j, 1, 2);
        announce(&j, INT64_MIN);
        assert_int_equal(step(&j, 0), RANK_QUIET);
        assert_int_equal(j.page.slot[0].owner, PAGE_VACANT);
}

/* A forked child finds the struct zeroed. */
static void test_child(void **state)
{
        struct rank child = {.last = 0};
        int64_t last;

        (void)state;
        assert_false(rank_pass(&child, 5, &last));
        assert_false(child.alive);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_nothing_due),
                cmocka_unit_test(test_due_once),
                cmocka_unit_test(test_step_zero),
                cmocka_unit_test(test_strides),
                cmocka_unit_test(test_too_late),
                cmocka_unit_test(test_too_late_alone),
                cmocka_unit_test(test_no_vacant_slot),
                cmocka_unit_test(test_oldest_slot_first),
                cmocka_unit_test(test_failed_copy_gives_back),
                cmocka_unit_test(test_rollback_is_a_new_life),
                cmocka_unit_test(test_rollback_onto_a_due_step),
                cmocka_unit_test(test_rollback_clears_missed),
                cmocka_unit_test(test_restored),
                cmocka_unit_test(test_end),
                cmocka_unit_test(test_move),
                cmocka_unit_test(test_sign_is_not_due),
                cmocka_unit_test(test_child),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
