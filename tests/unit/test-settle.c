#include "cleanup.h"
#include "settle.h"

#include <stdint.h>
#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define RANKS_MAX 4

/* Single looks: ranks as values. */

struct look {
        struct settle_rank ranks[RANKS_MAX];
        struct settle_input in;
        struct settle settle;
        uint32_t slots[RANKS_MAX];
        struct settle_answer answer;
};

static void look_init(struct look *l, size_t n)
{
        *l = (struct look){.in = {.n = n, .published = -1},
                           .settle = {.asked = PAGE_NEVER, .wanted = -1}};
        l->in.ranks = l->ranks;
        l->answer.slots = l->slots;
        for (size_t i = 0; i < n; i++)
                l->ranks[i] = (struct settle_rank){.step = 10,
                                                   .missed = PAGE_NEVER,
                                                   .base = -1,
                                                   .end = PAGE_NEVER,
                                                   .n_slots = 2};
}

static void hold(struct look *l, size_t rank, size_t slot, int64_t step)
{
        struct settle_rank *r = &l->ranks[rank];

        r->slot[slot].owner = PAGE_HELD;
        r->slot[slot].sound = true;
        r->slot[slot].step = step;
        r->slot[slot].asked = l->settle.asked;
        r->slot[slot].base = r->base;
        r->slot[slot].life = r->life;
        if (r->step < step)
                r->step = step;
}

static void assert_pick(struct look *l, enum settle_outcome expected, int64_t asked)
{
        const char *why = NULL;

        assert_int_equal(settle_pick(&l->settle, &l->in, &why), expected);
        if (expected == SETTLE_WAIT)
                assert_int_equal(l->settle.asked, asked);
        else
                assert_non_null(why);
}

static enum settle_outcome collect(struct look *l)
{
        return settle_collect(&l->settle, &l->in, &l->answer);
}

static void test_one_rank_is_next_step(void **state)
{
        struct look l;

        (void)state;
        look_init(&l, 1);
        assert_pick(&l, SETTLE_WAIT, 11);
        l.ranks[0].step = -1;
        assert_pick(&l, SETTLE_WAIT, 0);
        l.ranks[0].base = 40;
        assert_pick(&l, SETTLE_WAIT, 41);
        l.in.published = 41;
        assert_pick(&l, SETTLE_WAIT, 42);
        l.in.steps_per_s = 1e7;
        assert_pick(&l, SETTLE_WAIT, 42);
}

static void test_margin(void **state)
{
        static const struct {
                double steps_per_s;
                unsigned tries;
                int64_t asked;
        } cases[] = {
                {0.001, 0, 11},       /* steps take minutes */
                {0.001, 1, 14},       /* and yet it was missed */
                {1e5, 0, 15},         /* two steps begin in 20 us */
                {1e5, 3, 32},         /* sixteen in 160 us */
                {0, 0, 13},           /* unknown */
                {0, 7, 11 + 1 + 128}, /* doubles */
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct look l;

                look_init(&l, 2);
                l.in.steps_per_s = cases[i].steps_per_s;
                l.settle.tries = cases[i].tries;
                assert_pick(&l, SETTLE_WAIT, cases[i].asked);
        }
}

static void test_wanted(void **state)
{
        struct look l;

        (void)state;
        look_init(&l, 2);
        l.in.steps_per_s = 0.001;
        l.settle.wanted = 11;
        assert_pick(&l, SETTLE_WAIT, 11);
        l.ranks[1].missed = 11;
        assert_pick(&l, SETTLE_WAIT, 11);
        l.settle.wanted = 10;
        assert_pick(&l, SETTLE_WAIT, 11);
        l.settle.wanted = 1000;
        assert_pick(&l, SETTLE_WAIT, 1000);
        look_init(&l, 1);
        l.settle.wanted = 10;
        assert_pick(&l, SETTLE_WAIT, 10);
        l.settle.wanted = 9;
        assert_pick(&l, SETTLE_WAIT, 11);
        l.ranks[0].step = -1;
        l.settle.wanted = 0;
        assert_pick(&l, SETTLE_WAIT, 0);
}

static void test_ends(void **state)
{
        struct look l;

        (void)state;
        look_init(&l, 2);
        l.ranks[0].end = 12;
        assert_pick(&l, SETTLE_WAIT, 12);
        l.ranks[1].end = 13;
        assert_pick(&l, SETTLE_FAIL, 0);
        l.ranks[1].end = PAGE_NEVER;
        l.ranks[1].step = 13;
        assert_pick(&l, SETTLE_FAIL, 0);
        l.ranks[1].step = 12;
        l.in.published = 12;
        assert_pick(&l, SETTLE_DONE, 0);
}

/* Steps come from pages that the job can write. */
static void test_absurd_steps(void **state)
{
        struct look l;

        (void)state;
        look_init(&l, 2);
        l.ranks[1].step = INT64_MAX;
        assert_pick(&l, SETTLE_FAIL, 0);
        l.ranks[1].step = INT64_MIN;
        l.ranks[0].step = -1;
        l.in.steps_per_s = 1e300;
        assert_pick(&l, SETTLE_WAIT, 2 + (1 << 30));
        l.ranks[0].end = l.ranks[1].end = -7;
        l.ranks[0].step = l.ranks[1].step = l.ranks[0].base = l.ranks[1].base = INT64_MIN;
        assert_pick(&l, SETTLE_FAIL, 0);
}

static void test_collect(void **state)
{
        struct look l;

        (void)state;
        look_init(&l, 2);
        assert_pick(&l, SETTLE_WAIT, 13);
        assert_int_equal(collect(&l), SETTLE_WAIT);
        hold(&l, 0, 1, 13);
        assert_int_equal(collect(&l), SETTLE_WAIT);
        l.ranks[1].step = 14;
        l.ranks[1].slot[0].owner = PAGE_FILLING;
        assert_int_equal(collect(&l), SETTLE_WAIT);
        hold(&l, 1, 0, 13);
        assert_int_equal(collect(&l), SETTLE_AGREED);
        assert_int_equal(l.answer.step, 13);
        assert_int_equal(l.slots[0], 1);
        assert_int_equal(l.slots[1], 0);
}

static void test_collect_moves(void **state)
{
        struct look l;

        (void)state;
        look_init(&l, 2);
        assert_pick(&l, SETTLE_WAIT, 13);
        hold(&l, 0, 0, 13);
        l.ranks[1].missed = 13;
        assert_int_equal(collect(&l), SETTLE_MOVE);
        l.ranks[1].missed = PAGE_NEVER;
        l.ranks[1].step = 14;
        assert_int_equal(collect(&l), SETTLE_MOVE);
        l.ranks[1].step = 13;
        assert_int_equal(collect(&l), SETTLE_WAIT);
        l.ranks[1].end = 14;
        assert_int_equal(collect(&l), SETTLE_MOVE);
        l.ranks[1].end = PAGE_NEVER;
        l.ranks[1].life++;
        assert_int_equal(collect(&l), SETTLE_MOVE);
        l.ranks[1].life--;
        l.ranks[0].life++;
        assert_int_equal(collect(&l), SETTLE_MOVE);
        l.ranks[0].life--;
        hold(&l, 1, 0, 13);
        l.in.published = 13;
        assert_int_equal(collect(&l), SETTLE_MOVE);
}

static void test_collect_fails(void **state)
{
        struct look l;

        (void)state;
        look_init(&l, 2);
        assert_pick(&l, SETTLE_WAIT, 13);
        hold(&l, 0, 0, 13);
        l.ranks[0].dead = true;
        assert_int_equal(collect(&l), SETTLE_WAIT);
        l.ranks[1].dead = true;
        assert_int_equal(collect(&l), SETTLE_FAIL);
        assert_int_equal(l.answer.rank, 1);
        assert_string_equal(l.answer.why, "it is gone");
        hold(&l, 1, 0, 14);
        assert_int_equal(collect(&l), SETTLE_FAIL);
        assert_string_equal(l.answer.why, "it calls ckpt_step with other steps than rank 0");
        hold(&l, 1, 0, 13);
        l.ranks[1].slot[0].base = 5;
        assert_int_equal(collect(&l), SETTLE_FAIL);
        assert_string_equal(l.answer.why, "it was restored from another step than rank 0");
        look_init(&l, 2);
        l.ranks[1].dead = true;
        assert_pick(&l, SETTLE_FAIL, 0);
}

/* No answer: another S, another life, a torn header, a step before S. */
static void test_wrong_answers(void **state)
{
        struct look l;

        (void)state;
        look_init(&l, 2);
        assert_pick(&l, SETTLE_WAIT, 13);
        hold(&l, 0, 0, 13);
        hold(&l, 1, 0, 13);
        assert_int_equal(collect(&l), SETTLE_AGREED);
        l.ranks[1].slot[0].asked = 12;
        assert_int_equal(collect(&l), SETTLE_WAIT);
        l.ranks[1].slot[0].asked = 13;
        l.ranks[1].slot[0].life = 7;
        assert_int_equal(collect(&l), SETTLE_WAIT);
        l.ranks[1].slot[0].life = 0;
        l.ranks[1].slot[0].sound = false;
        assert_int_equal(collect(&l), SETTLE_WAIT);
        l.ranks[1].slot[0].sound = true;
        l.ranks[1].slot[0].step = 12;
        assert_int_equal(collect(&l), SETTLE_WAIT);
}

/* One rank has finished at S: the other one has no other S, whatever it missed on the way. */
static void test_waits_at_the_end(void **state)
{
        struct look l;

        (void)state;
        look_init(&l, 2);
        l.ranks[0].end = 12;
        assert_pick(&l, SETTLE_WAIT, 12);
        hold(&l, 0, 0, 12);
        l.ranks[1].missed = 12;
        l.ranks[1].step = 12;
        assert_int_equal(collect(&l), SETTLE_WAIT);
        l.ranks[1].step = 13;
        assert_int_equal(collect(&l), SETTLE_MOVE);
        assert_pick(&l, SETTLE_FAIL, 0);
}

static void test_one_rank_answers_anything(void **state)
{
        struct look l;

        (void)state;
        look_init(&l, 1);
        assert_pick(&l, SETTLE_WAIT, 11);
        hold(&l, 0, 1, 9);
        l.ranks[0].slot[1].asked = 5;
        assert_int_equal(collect(&l), SETTLE_AGREED);
        assert_int_equal(l.answer.step, 9);
        hold(&l, 0, 0, 10);
        l.ranks[0].slot[0].asked = 6;
        assert_int_equal(collect(&l), SETTLE_AGREED);
        assert_int_equal(l.answer.step, 10);
        l.in.published = 10; /* both are older than what is on disk */
        assert_int_equal(collect(&l), SETTLE_WAIT);
        l.ranks[0].dead = true;
        assert_int_equal(collect(&l), SETTLE_FAIL);
        l.in.published = -1;
        assert_int_equal(collect(&l), SETTLE_AGREED);
        assert_pick(&l, SETTLE_WAIT, 11);
}

/* One rank that runs far ahead is not behind S: it serves S at its next call. */
static void test_one_rank_does_not_move(void **state)
{
        struct look l;

        (void)state;
        look_init(&l, 1);
        assert_pick(&l, SETTLE_WAIT, 11);
        l.ranks[0].step = 5000;
        assert_int_equal(collect(&l), SETTLE_WAIT);
        l.ranks[0].missed = 11;
        assert_int_equal(collect(&l), SETTLE_MOVE);
        assert_pick(&l, SETTLE_WAIT, 5001);
}

static void test_forced(void **state)
{
        struct look l;

        (void)state;
        look_init(&l, 2);
        l.settle = (struct settle){.asked = PAGE_NEVER, .wanted = 10, .forced = true};
        assert_pick(&l, SETTLE_WAIT, 10);
        hold(&l, 0, 0, 10);
        l.ranks[0].slot[0].asked = PAGE_NEVER; /* the job's own, not an answer */
        assert_int_equal(collect(&l), SETTLE_WAIT);
        l.ranks[1].missed = 10;
        assert_int_equal(collect(&l), SETTLE_WAIT);
        l.ranks[1].step = 20;
        l.ranks[0].life = 9; /* rolled back since: the other one will, too */
        l.ranks[0].slot[0].life = 9;
        assert_int_equal(collect(&l), SETTLE_WAIT);
        hold(&l, 1, 1, 10);
        assert_int_equal(collect(&l), SETTLE_WAIT);
        l.ranks[1].life = 9;
        hold(&l, 1, 1, 10);
        assert_int_equal(collect(&l), SETTLE_AGREED);
        assert_int_equal(l.answer.step, 10);
        l.ranks[1].slot[1].owner = PAGE_VACANT;
        assert_int_equal(collect(&l), SETTLE_FAIL); /* it passed by */
        l.ranks[1].slot[0].owner = PAGE_FILLING;
        assert_int_equal(collect(&l), SETTLE_WAIT);
        l.ranks[1].end = 20;
        assert_int_equal(collect(&l), SETTLE_FAIL);
        l.ranks[1].end = PAGE_NEVER;
        l.ranks[1].dead = true;
        assert_int_equal(collect(&l), SETTLE_FAIL);
        l.in.published = 10;
        l.ranks[1].dead = false;
        assert_pick(&l, SETTLE_DONE, 0);
}

/* All have answered as they were asked, but one of them had turned back before. */
static void test_lives_are_the_same(void **state)
{
        struct look l;

        (void)state;
        look_init(&l, 2);
        l.ranks[0].life = 1;
        assert_pick(&l, SETTLE_WAIT, 13);
        hold(&l, 0, 0, 13);
        hold(&l, 1, 0, 13);
        assert_int_equal(collect(&l), SETTLE_MOVE);
        l.ranks[1].life = 1;
        assert_pick(&l, SETTLE_WAIT, 16);
        hold(&l, 0, 0, 16);
        hold(&l, 1, 0, 16);
        assert_int_equal(collect(&l), SETTLE_AGREED);
}

static void test_read(void **state)
{
        struct page *p = aligned_alloc(PAGE_BYTES, PAGE_BYTES);
        struct settle_rank r = {.life_noted = 77};

        (void)state;
        memset(p, 0, sizeof(*p));
        page_init(p, 1, 0, 1, 2);
        atomic_store(&p->now.step, 41);
        atomic_store(&p->rank.life, 3);
        p->slot[1].step = 40;
        p->slot[1].asked = 39;
        p->slot[1].life = 3;
        p->slot[1].base = -1;
        p->slot[1].sum = page_slot_sum(&p->slot[1]);
        atomic_store(&p->slot[1].owner, PAGE_HELD);
        settle_read(p, &r);
        assert_int_equal(r.step, 41);
        assert_int_equal(r.life, 3);
        assert_int_equal(r.life_noted, 77);
        assert_int_equal(r.n_slots, 2);
        assert_int_equal(r.slot[0].owner, PAGE_VACANT);
        assert_true(r.slot[1].sound);
        assert_int_equal(r.slot[1].asked, 39);
        p->slot[1].step = 42;
        settle_read(p, &r);
        assert_false(r.slot[1].sound);
        p->head.n_slots = UINT32_MAX;
        settle_read(p, &r);
        assert_int_equal(r.n_slots, PAGE_SLOTS);
        free(p);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_one_rank_is_next_step),
                cmocka_unit_test(test_margin),
                cmocka_unit_test(test_wanted),
                cmocka_unit_test(test_ends),
                cmocka_unit_test(test_absurd_steps),
                cmocka_unit_test(test_collect),
                cmocka_unit_test(test_collect_moves),
                cmocka_unit_test(test_collect_fails),
                cmocka_unit_test(test_wrong_answers),
                cmocka_unit_test(test_waits_at_the_end),
                cmocka_unit_test(test_one_rank_answers_anything),
                cmocka_unit_test(test_one_rank_does_not_move),
                cmocka_unit_test(test_forced),
                cmocka_unit_test(test_lives_are_the_same),
                cmocka_unit_test(test_read),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
