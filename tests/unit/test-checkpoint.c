#include "checkpoint.h"

#include <stdio.h>
#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct checkpoint *make(int64_t sequence, int64_t run, int64_t step)
{
        struct checkpoint *c = calloc(1, sizeof(*c));

        assert_non_null(c);
        assert_true(asprintf(&c->name, "model.ckpt-%d", (int)step) > 0);
        c->format = strdup("tensorbundle");
        c->sequence = sequence;
        c->run = run;
        c->step = step;
        c->state = CHECKPOINT_WHOLE;
        return c;
}

static void test_copy(void **state)
{
        _cleanup_(checkpoint_freep) struct checkpoint *a = make(7, 2, 4000), *b = NULL;

        (void)state;
        a->pin_by = strdup("alice");
        a->pin_reason = strdup("demo");
        a->replaces = strdup("model.ckpt-1");
        a->n_files = 2;
        a->files = calloc(2, sizeof(*a->files));
        a->files[0] = (struct checkpoint_file){strdup("data"), 10};
        a->files[1] = (struct checkpoint_file){strdup("index"), 20};
        a->preserved = true;
        assert_int_equal(checkpoint_copy(&b, a), 0);
        assert_string_equal(b->name, "model.ckpt-4000");
        assert_ptr_not_equal(b->name, a->name);
        assert_string_equal(b->pin_by, "alice");
        assert_string_equal(b->pin_reason, "demo");
        assert_string_equal(b->replaces, "model.ckpt-1");
        assert_string_equal(b->files[1].name, "index");
        assert_ptr_not_equal(b->files[1].name, a->files[1].name);
        assert_int_equal(b->files[1].bytes, 20);
        assert_int_equal(b->sequence, 7);
        assert_true(b->preserved);
}

static void test_names(void **state)
{
        (void)state;
        assert_string_equal(checkpoint_state_names[CHECKPOINT_PUBLISHING], "publishing");
        assert_string_equal(checkpoint_state_names[CHECKPOINT_GONE], "gone");
        assert_null(checkpoint_state_names[CHECKPOINT_GONE + 1]);
        assert_string_equal(checkpoint_origin_names[CHECKPOINT_ADOPTED], "adopted");
        assert_null(checkpoint_origin_names[CHECKPOINT_ADOPTED + 1]);
}

/* Whatever the order of adding, the order is that of the sequence, and every one is found. */
static void test_order(void **state)
{
        struct history h = {0};
        unsigned at = 17;

        (void)state;
        for (int i = 0; i < 101; i++, at = (at + 37) % 101)
                assert_int_equal(history_add(&h, make(at, 1, at * 10)), 0);
        assert_int_equal(h.n, 101);
        for (size_t i = 0; i < h.n; i++)
                assert_int_equal(h.items[i]->sequence, i);
        assert_int_equal(history_find(&h, "model.ckpt-730")->sequence, 73);
        assert_null(history_find(&h, "model.ckpt-731"));
        history_remove(&h, "model.ckpt-730");
        history_remove(&h, "model.ckpt-730");
        assert_int_equal(h.n, 100);
        assert_null(history_find(&h, "model.ckpt-730"));
        history_done(&h);
        assert_int_equal(h.n, 0);
}

static void test_replace(void **state)
{
        struct history h = {0};

        (void)state;
        history_add(&h, make(1, 1, 10));
        history_add(&h, make(2, 1, 20));
        history_add(&h, make(3, 2, 10));
        assert_int_equal(h.n, 2);
        assert_int_equal(history_find(&h, "model.ckpt-10")->run, 2);
        assert_int_equal(h.items[1]->sequence, 3);
        history_done(&h);
}

static void test_newest_whole(void **state)
{
        struct history h = {0};

        (void)state;
        assert_null(history_newest_whole(&h, NULL));
        for (int i = 1; i <= 4; i++)
                history_add(&h, make(i, 1, i * 10));
        h.items[3]->state = CHECKPOINT_DAMAGED;
        assert_int_equal(history_newest_whole(&h, NULL)->step, 30);
        assert_int_equal(history_newest_whole(&h, h.items[2])->step, 20);
        h.items[0]->state = h.items[1]->state = CHECKPOINT_EVICTING;
        assert_null(history_newest_whole(&h, h.items[2]));
        history_done(&h);
}

/* By sequence, not by step: after a roll-back the newest has the smaller step. */
static void test_newest_is_by_sequence(void **state)
{
        struct history h = {0};

        (void)state;
        history_add(&h, make(1, 1, 5000));
        history_add(&h, make(2, 2, 4000));
        assert_int_equal(history_newest_whole(&h, NULL)->step, 4000);
        history_done(&h);
}

static void test_at_step(void **state)
{
        struct history h = {0};
        struct checkpoint *other = make(9, 3, 20);

        (void)state;
        for (int i = 1; i <= 3; i++)
                history_add(&h, make(i, 1, i * 10));
        free(other->name);
        other->name = strdup("model.ckpt-20-r3");
        other->state = CHECKPOINT_DAMAGED;
        history_add(&h, other);
        assert_int_equal(history_at_step(&h, 20)->sequence, 2);
        h.items[1]->state = CHECKPOINT_EVICTED;
        assert_int_equal(history_at_step(&h, 20)->sequence, 9);
        assert_null(history_at_step(&h, 25));
        history_done(&h);
}

static void test_supersede(void **state)
{
        struct history h = {0};

        (void)state;
        history_add(&h, make(1, 1, 1000));
        history_add(&h, make(2, 1, 3000));
        history_add(&h, make(3, 2, 4000));
        history_add(&h, make(4, 2, 5000));
        history_add(&h, make(5, 3, 3500));
        h.items[3]->state = CHECKPOINT_DAMAGED;
        assert_int_equal(history_supersede(&h, 3, -1), 0);
        assert_int_equal(history_supersede(&h, 3, 3000), 1);
        assert_int_equal(h.items[1]->state, CHECKPOINT_WHOLE);
        assert_int_equal(h.items[2]->state, CHECKPOINT_SUPERSEDED);
        assert_int_equal(h.items[3]->state, CHECKPOINT_DAMAGED);
        assert_int_equal(h.items[4]->state, CHECKPOINT_WHOLE);
        assert_int_equal(history_supersede(&h, 3, 3000), 0);
        history_done(&h);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_copy),         cmocka_unit_test(test_names),
                cmocka_unit_test(test_order),        cmocka_unit_test(test_replace),
                cmocka_unit_test(test_newest_whole), cmocka_unit_test(test_newest_is_by_sequence),
                cmocka_unit_test(test_at_step),      cmocka_unit_test(test_supersede),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
