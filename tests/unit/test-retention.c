#include "retention.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define HOUR_MS INT64_C(3600000)
#define HISTORIES 3000
#define MOST 24 /* checkpoints of a random history */

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

static struct checkpoint *add(struct history *h, int64_t step)
{
        struct checkpoint *c = calloc(1, sizeof(*c));

        assert_non_null(c);
        assert_true(asprintf(&c->name, "m-%d-%zu", (int)step, h->n) > 0);
        c->step = step;
        c->sequence = (int64_t)h->n + 1;
        c->run = 1;
        c->state = CHECKPOINT_WHOLE;
        c->published_ms = (int64_t)h->n * HOUR_MS;
        assert_int_equal(history_add(h, c), 0);
        return c;
}

static const struct retention_row *row_of(const struct retention_row *rows, size_t n,
                                          const struct checkpoint *c)
{
        for (size_t i = 0; i < n; i++)
                if (rows[i].checkpoint == c)
                        return &rows[i];
        return NULL;
}

static void assert_row(const struct history *h, const struct policy *p, size_t at, bool keep,
                       const char *reason)
{
        _cleanup_(freep) struct retention_row *rows = NULL;
        const struct retention_row *row;
        size_t n;

        assert_int_equal(retention_plan(h, p, &rows, &n), 0);
        row = row_of(rows, n, h->items[at]);
        assert_non_null(row);
        assert_string_equal(row->reason, reason);
        assert_int_equal(row->keep, keep);
}

static void test_newest(void **state)
{
        struct policy p = {.keep_checkpoint_max = 3};
        struct history h = {0};

        (void)state;
        for (int i = 1; i <= 5; i++)
                add(&h, i * 100);
        assert_row(&h, &p, 4, true, "newest 1/3");
        assert_row(&h, &p, 2, true, "newest 3/3");
        assert_row(&h, &p, 1, false, "older than the newest 3");
        p.keep_checkpoint_max = 0;
        assert_row(&h, &p, 0, true, "all are kept");
        history_done(&h);
}

/* ---- room for the next save ---- */

static int make_room(const struct history *h, int64_t max, const char *except,
                     struct retention_row *ret)
{
        const struct policy p = {.keep_checkpoint_max = max};
        uint64_t bytes;

        return retention_make_room(h, &p, except, ret, &bytes);
}

static void test_room(void **state)
{
        struct retention_row row;
        struct history h = {0};

        (void)state;
        for (int i = 1; i <= 4; i++)
                add(&h, i * 100);
        assert_int_equal(make_room(&h, 5, NULL, &row), 0); /* the fifth has its place */
        assert_int_equal(make_room(&h, 0, NULL, &row), 0);
        assert_int_equal(make_room(&h, 4, NULL, &row), 1);
        assert_ptr_equal(row.checkpoint, h.items[0]);
        assert_string_equal(row.reason, "making room");
        assert_int_equal(make_room(&h, 3, h.items[0]->name, &row), 1);
        assert_ptr_equal(row.checkpoint, h.items[1]);
        h.items[0]->pin_by = strdup("alice");
        assert_int_equal(make_room(&h, 3, NULL, &row), 1);
        assert_ptr_equal(row.checkpoint, h.items[1]);
        history_done(&h);
}

static void test_room_leaves_two_whole(void **state)
{
        struct retention_row row;
        struct history h = {0};

        (void)state;
        add(&h, 100)->state = CHECKPOINT_SUPERSEDED;
        add(&h, 200);
        assert_int_equal(make_room(&h, 1, NULL, &row), 0);
        add(&h, 300);
        assert_int_equal(make_room(&h, 1, NULL, &row), 1);
        assert_ptr_equal(row.checkpoint, h.items[0]);
        history_remove(&h, h.items[0]->name);
        assert_int_equal(make_room(&h, 1, NULL, &row), 0);
        h.items[0]->state = CHECKPOINT_DAMAGED;
        add(&h, 400);
        assert_int_equal(make_room(&h, 1, NULL, &row), 0);
        history_done(&h);
}

static void test_room_in_bytes(void **state)
{
        const struct policy p = {.keep_checkpoint_max = 2};
        struct retention_row row;
        struct history h = {0};
        uint64_t bytes;

        (void)state;
        for (int i = 1; i <= 4; i++) {
                struct checkpoint *c = add(&h, i);

                c->files = calloc(1, sizeof(*c->files));
                assert_non_null(c->files);
                c->files[0] = (struct checkpoint_file){strdup("data"), 4097};
                c->n_files = 1;
        }
        assert_int_equal(retention_make_room(&h, &p, NULL, &row, &bytes), 1);
        /* Two of them may go; each takes two blocks, and one for its record. */
        assert_int_equal(bytes, 2 * 3 * 4096);
        history_done(&h);
}

static void test_reasons(void **state)
{
        struct policy p = {.keep_checkpoint_max = 1, .keep_checkpoint_every_n_hours = 6};
        struct history h = {0};

        (void)state;
        for (int i = 0; i < 8; i++)
                add(&h, i);
        h.items[0]->preserved = true;
        h.items[1]->pin_by = strdup("alice");
        h.items[1]->pin_reason = strdup("demo for the board");
        h.items[2]->state = CHECKPOINT_DAMAGED;
        h.items[3]->leases = 1;
        h.items[4]->origin = CHECKPOINT_ADOPTED;
        h.items[5]->state = CHECKPOINT_SUPERSEDED;
        h.items[6]->pin_by = strdup("bob");
        h.items[6]->preserved = true;
        h.items[7]->run = 4;
        assert_row(&h, &p, 0, true, "every 6h");
        assert_row(&h, &p, 1, true, "pinned by alice: demo for the board");
        assert_row(&h, &p, 2, true, "damaged: kept until its files are deleted");
        assert_row(&h, &p, 3, true, "leased by a reader");
        assert_row(&h, &p, 4, true, "adopted, not counted");
        assert_row(&h, &p, 5, false, "superseded by run 4");
        assert_row(&h, &p, 6, true, "every 6h, pinned by bob");
        assert_row(&h, &p, 7, true, "newest 1/1");
        h.items[3]->leases = 2;
        assert_row(&h, &p, 3, true, "leased by 2 readers");
        p.keep_checkpoint_every_n_hours = 0;
        assert_row(&h, &p, 0, true, "preserved by an earlier policy");
        history_done(&h);
}

/* What is not there has no row; what is being published does not count. */
static void test_states(void **state)
{
        struct policy p = {.keep_checkpoint_max = 1};
        _cleanup_(freep) struct retention_row *rows = NULL;
        struct history h = {0};
        size_t n;

        (void)state;
        for (int i = 0; i <= CHECKPOINT_GONE; i++)
                add(&h, i)->state = (enum checkpoint_state)i;
        assert_int_equal(retention_plan(&h, &p, &rows, &n), 0);
        assert_int_equal(n, 3);
        assert_int_equal(rows[0].checkpoint->state, CHECKPOINT_WHOLE);
        assert_true(rows[0].keep);
        assert_int_equal(rows[1].checkpoint->state, CHECKPOINT_DAMAGED);
        assert_int_equal(rows[2].checkpoint->state, CHECKPOINT_SUPERSEDED);
        history_done(&h);
}

/* Restored from elsewhere, all that stands is superseded: the newest of it stays until another is
 * whole. */
static void test_only_superseded(void **state)
{
        struct policy p = {.keep_checkpoint_max = 1};
        struct history h = {0};

        (void)state;
        add(&h, 1)->state = CHECKPOINT_SUPERSEDED;
        add(&h, 2)->state = CHECKPOINT_SUPERSEDED;
        assert_row(&h, &p, 0, false, "superseded by a later run");
        assert_row(&h, &p, 1, true, "superseded, but no other is whole");
        history_done(&h);
}

static void test_long_reason(void **state)
{
        struct policy p = {.keep_checkpoint_max = 1};
        _cleanup_(freep) struct retention_row *rows = NULL;
        struct history h = {0};
        struct checkpoint *c = add(&h, 1);
        size_t n, length;

        (void)state;
        c->pin_by = strdup("alice\n");
        c->pin_reason = malloc(401);
        for (int i = 0; i < 400; i += 2)
                memcpy(c->pin_reason + i, "\xc3\xa4", 2);
        c->pin_reason[400] = '\0';
        c->leases = 3;
        assert_int_equal(retention_plan(&h, &p, &rows, &n), 0);
        length = strlen(rows[0].reason);
        assert_true(length > 90 && length < RETENTION_REASON_MAX);
        assert_memory_equal(rows[0].reason + length - 2, "\xc3\xa4", 2);
        assert_null(strchr(rows[0].reason, '\n'));
        history_done(&h);
}

static void test_preserves(void **state)
{
        struct policy p = {.keep_checkpoint_every_n_hours = 6};
        struct history h = {0};

        (void)state;
        assert_false(retention_preserves(&h, &p, 100 * HOUR_MS));
        add(&h, 1)->published_ms = 100 * HOUR_MS;
        assert_false(retention_preserves(&h, &p, 106 * HOUR_MS - 1));
        assert_true(retention_preserves(&h, &p, 106 * HOUR_MS));
        add(&h, 2)->published_ms = 106 * HOUR_MS;
        h.items[1]->preserved = true;
        h.items[1]->state = CHECKPOINT_GONE;
        assert_false(retention_preserves(&h, &p, 111 * HOUR_MS));
        assert_true(retention_preserves(&h, &p, 112 * HOUR_MS));
        p.keep_checkpoint_every_n_hours = 0.5;
        assert_true(retention_preserves(&h, &p, 106 * HOUR_MS + HOUR_MS / 2));
        p.keep_checkpoint_every_n_hours = 0;
        assert_false(retention_preserves(&h, &p, 1000 * HOUR_MS));
        history_done(&h);
}

/* The clock jumps: a mark in the future is now, and from then on hours count again. */
static void test_preserves_after_a_jump(void **state)
{
        struct policy p = {.keep_checkpoint_every_n_hours = 6};
        struct history h = {0};

        (void)state;
        add(&h, 1)->published_ms = 100 * HOUR_MS;
        add(&h, 2)->published_ms = 9000 * HOUR_MS;
        h.items[1]->preserved = true;
        assert_false(retention_preserves(&h, &p, 107 * HOUR_MS));
        add(&h, 3)->published_ms = 107 * HOUR_MS;
        assert_false(retention_preserves(&h, &p, 112 * HOUR_MS));
        assert_true(retention_preserves(&h, &p, 113 * HOUR_MS));
        /* An adopted one brings the time of its files, not that of its record. */
        add(&h, 4)->published_ms = 2 * HOUR_MS;
        h.items[3]->origin = CHECKPOINT_ADOPTED;
        assert_false(retention_preserves(&h, &p, 112 * HOUR_MS));
        assert_false(retention_preserves(&h, &p, INT64_MIN));
        history_done(&h);
}

/* As a run of saves has it: with one an hour and 6, every sixth is preserved. */
static void test_preserves_in_a_row(void **state)
{
        struct policy p = {.keep_checkpoint_every_n_hours = 6};
        struct history h = {0};

        (void)state;
        for (int i = 0; i < 25; i++) {
                bool preserved = retention_preserves(&h, &p, i * HOUR_MS);

                assert_int_equal(preserved, i > 0 && i % 6 == 0);
                add(&h, i)->preserved = preserved;
        }
        history_done(&h);
}

static void make_random(struct history *h, uint64_t *random)
{
        static const enum checkpoint_state states[] = {
                CHECKPOINT_WHOLE,      CHECKPOINT_WHOLE,    CHECKPOINT_WHOLE,
                CHECKPOINT_WHOLE,      CHECKPOINT_DAMAGED,  CHECKPOINT_SUPERSEDED,
                CHECKPOINT_PUBLISHING, CHECKPOINT_EVICTING, CHECKPOINT_EVICTED,
        };
        int64_t n = random_below(random, MOST);

        for (int64_t i = 0; i < n; i++) {
                struct checkpoint *c = add(h, random_below(random, 1000));

                c->state = states[random_below(random, (int64_t)ARRAY_SIZE(states))];
                c->run = 1 + random_below(random, 4);
                c->preserved = random_below(random, 6) == 0;
                c->origin = random_below(random, 6) ? CHECKPOINT_SAVED : CHECKPOINT_ADOPTED;
                c->leases = random_below(random, 8) == 0;
                c->pin_by = random_below(random, 8) ? NULL : strdup("alice");
                c->published_ms = random_below(random, 1000) * HOUR_MS;
        }
}

struct planned {
        struct retention_row *rows;
        size_t n;
};

static struct planned plan(const struct history *h, int64_t max)
{
        struct policy p = {.keep_checkpoint_max = max};
        struct planned planned;

        assert_int_equal(retention_plan(h, &p, &planned.rows, &planned.n), 0);
        return planned;
}

/* The union, said once more in the plainest way. */
static bool must_stay(const struct history *h, const struct checkpoint *c, int64_t max)
{
        int64_t newer = 0;

        if (c->pin_by || c->leases || c->preserved || c->state == CHECKPOINT_DAMAGED ||
            c->origin == CHECKPOINT_ADOPTED || history_newest_whole(h, NULL) == c)
                return true;
        for (size_t i = 0; i < h->n; i++)
                newer += h->items[i]->sequence > c->sequence &&
                         h->items[i]->state == CHECKPOINT_WHOLE &&
                         h->items[i]->origin != CHECKPOINT_ADOPTED;
        return c->state == CHECKPOINT_WHOLE && (max == 0 || newer < max);
}

static void check_rows(const struct history *h, const struct planned *planned, int64_t max)
{
        bool any_whole = history_newest_whole(h, NULL), any_kept = false;

        for (size_t i = 0; i < planned->n; i++) {
                const struct retention_row *row = &planned->rows[i];

                any_kept |= row->keep;
                assert_true(row->reason[0]);
                if (any_whole)
                        assert_int_equal(row->keep, must_stay(h, row->checkpoint, max));
                else
                        assert_true(row->keep || !must_stay(h, row->checkpoint, max));
        }
        assert_true(any_kept || planned->n == 0);
}

/* Evicts what the plan says; the plan of the rest evicts nothing more. */
static void check_idempotent(struct history *h, int64_t max)
{
        struct planned first = plan(h, max), second;

        for (size_t i = 0; i < first.n; i++)
                if (!first.rows[i].keep)
                        history_remove(h, first.rows[i].checkpoint->name);
        free(first.rows);
        second = plan(h, max);
        for (size_t i = 0; i < second.n; i++)
                assert_true(second.rows[i].keep);
        free(second.rows);
}

/* More to keep never lets go of what less keeps. */
static void check_monotone(const struct history *h, int64_t max)
{
        struct planned less = plan(h, max), more = plan(h, max + 1), all = plan(h, 0);

        for (size_t i = 0; i < less.n; i++) {
                assert_true(!less.rows[i].keep || more.rows[i].keep);
                assert_true(!more.rows[i].keep || all.rows[i].keep);
        }
        free(less.rows);
        free(more.rows);
        free(all.rows);
}

/* Times of day change nothing. */
static void check_time_free(struct history *h, int64_t max, uint64_t *random)
{
        struct planned before = plan(h, max), after;

        for (size_t i = 0; i < h->n; i++)
                h->items[i]->published_ms = (int64_t)random_next(random);
        after = plan(h, max);
        assert_int_equal(before.n, after.n);
        for (size_t i = 0; i < before.n; i++) {
                assert_int_equal(before.rows[i].keep, after.rows[i].keep);
                assert_string_equal(before.rows[i].reason, after.rows[i].reason);
        }
        free(before.rows);
        free(after.rows);
}

static void test_properties(void **state)
{
        (void)state;
        for (uint64_t seed = 1; seed <= HISTORIES; seed++) {
                uint64_t random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
                int64_t max = random_below(&random, 8);
                struct history h = {0};
                struct planned planned;

                make_random(&h, &random);
                planned = plan(&h, max);
                check_rows(&h, &planned, max);
                free(planned.rows);
                if (max > 0)
                        check_monotone(&h, max);
                check_time_free(&h, max, &random);
                check_idempotent(&h, max);
                history_done(&h);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_newest),
                cmocka_unit_test(test_room),
                cmocka_unit_test(test_room_leaves_two_whole),
                cmocka_unit_test(test_room_in_bytes),
                cmocka_unit_test(test_reasons),
                cmocka_unit_test(test_states),
                cmocka_unit_test(test_only_superseded),
                cmocka_unit_test(test_long_reason),
                cmocka_unit_test(test_preserves),
                cmocka_unit_test(test_preserves_after_a_jump),
                cmocka_unit_test(test_preserves_in_a_row),
                cmocka_unit_test(test_properties),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
