#include "settle.h"

#include <stdint.h>
#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define RANKS_MAX 4

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

/* The whole protocol: ranks and daemon as machines over pages, interleaved at random.  A rank's
 * store of its step and its load of save_at are apart and may change places; the store may be seen
 * late.  `truth` is what the bytes in a slot really are; what is agreed must be true. */

enum at { AT_COMPUTE, AT_STORE, AT_LOAD, AT_SLOW, AT_COPY, AT_FINISH, AT_FINISH_COPY, AT_GONE };

struct truth {
        int64_t step;
        uint64_t life;
        int64_t base;
};

struct machine { /* a rank */
        struct page page;
        enum at at;
        int64_t step, last, served, announced, stride;
        int64_t unseen; /* a step stored but not visible yet, or -1 */
        bool load_first, dead;
        uint32_t slot;
        struct truth truth[PAGE_SLOTS];
};

struct world {
        uint64_t random;
        size_t n;
        struct machine m[RANKS_MAX];
        int64_t last_step;
        bool may_turn, may_die;
        /* the daemon */
        struct settle settle;
        struct settle_rank ranks[RANKS_MAX];
        bool open;
        unsigned next_announce; /* save_at is stored into one page at a time */
        int64_t published;
        unsigned n_published, n_failed, n_requests;
};

static void flush(struct machine *m)
{
        if (m->unseen >= 0)
                atomic_store(&m->page.now.step, m->unseen);
        m->unseen = -1;
}

static bool fill(struct machine *m)
{
        for (uint32_t i = 0; i < m->page.head.n_slots; i++)
                if (atomic_load(&m->page.slot[i].owner) == PAGE_VACANT) {
                        atomic_store(&m->page.slot[i].owner, PAGE_FILLING);
                        m->truth[i] = (struct truth){-1, 0, -1};
                        m->slot = i;
                        return true;
                }
        return false;
}

/* The bytes are in; everything stored before becomes visible with this release. */
static void hand_off(struct machine *m)
{
        struct page_slot *s = &m->page.slot[m->slot];

        assert_int_equal(atomic_load(&s->owner), PAGE_FILLING);
        flush(m);
        s->step = m->step;
        s->asked = m->announced;
        s->base = atomic_load(&m->page.rank.base);
        s->life = atomic_load(&m->page.rank.life);
        s->sum = page_slot_sum(s);
        m->truth[m->slot] = (struct truth){s->step, s->life, s->base};
        atomic_store(&s->owner, PAGE_HELD);
}

static void turn_back(struct machine *m)
{
        flush(m);
        m->served = -1;
        m->last = -1;
        m->step = 0;
        atomic_store(&m->page.rank.missed, PAGE_NEVER);
        atomic_store(&m->page.rank.life, atomic_load(&m->page.rank.life) + 1);
        m->unseen = 0;
}

static void compute(struct world *w, struct machine *m)
{
        if (w->may_die && random_below(&w->random, 3000) == 0) {
                m->dead = true;
                m->at = AT_GONE;
        } else if (m->step >= w->last_step) {
                flush(m);
                atomic_store(&m->page.rank.end, m->step);
                m->served = -1;
                m->at = AT_FINISH;
        } else if (w->may_turn && random_below(&w->random, 200) == 0) {
                turn_back(m);
        } else {
                m->step += m->stride;
                m->load_first = random_below(&w->random, 4) == 0;
                m->at = m->load_first ? AT_LOAD : AT_STORE;
        }
}

static void slow_path(struct world *w, struct machine *m)
{
        int64_t s = m->announced;

        m->at = AT_COMPUTE;
        if (m->step < s || s == m->served) {
                m->last = m->step;
                return;
        }
        m->served = s;
        if ((w->n > 1 && m->last >= s) || !fill(m)) {
                flush(m);
                atomic_store(&m->page.rank.missed, s);
        } else {
                m->at = AT_COPY;
        }
        m->last = m->step;
}

static bool has_answered(const struct machine *m, int64_t s)
{
        for (uint32_t i = 0; i < m->page.head.n_slots; i++)
                if (atomic_load(&m->page.slot[i].owner) == PAGE_HELD && m->page.slot[i].asked == s)
                        return true;
        return false;
}

static void finish_step(struct machine *m)
{
        m->announced = atomic_load(&m->page.daemon.save_at);
        if (m->announced == m->step && !has_answered(m, m->announced) && fill(m))
                m->at = AT_FINISH_COPY;
}

static void rank_moves(struct world *w, struct machine *m)
{
        if (m->unseen >= 0 && random_below(&w->random, 3) == 0)
                flush(m);
        switch (m->at) {
        case AT_COMPUTE:
                compute(w, m);
                break;
        case AT_STORE:
                m->unseen = m->step;
                m->at = m->load_first ? AT_SLOW : AT_LOAD;
                break;
        case AT_LOAD:
                m->announced = atomic_load(&m->page.daemon.save_at);
                m->at = m->load_first ? AT_STORE : AT_SLOW;
                break;
        case AT_SLOW:
                slow_path(w, m);
                break;
        case AT_COPY:
                hand_off(m);
                m->at = AT_COMPUTE;
                break;
        case AT_FINISH:
                finish_step(m);
                break;
        case AT_FINISH_COPY:
                hand_off(m);
                m->at = AT_FINISH;
                break;
        case AT_GONE:
                break;
        }
}

/* Reads the pages one after another; ranks go on between two of them. */
static struct settle_input read_pages(struct world *w)
{
        for (size_t i = 0; i < w->n; i++) {
                settle_read(&w->m[i].page, &w->ranks[i]);
                w->ranks[i].dead = w->m[i].dead;
                if (random_below(&w->random, 2))
                        rank_moves(w, &w->m[random_below(&w->random, (int64_t)w->n)]);
        }
        return (struct settle_input){.ranks = w->ranks,
                                     .n = w->n,
                                     .steps_per_s = 1e5 * (double)random_below(&w->random, 2),
                                     .published = w->published};
}

static void vacate(struct world *w, bool all)
{
        for (size_t i = 0; i < w->n; i++)
                for (uint32_t k = 0; k < w->m[i].page.head.n_slots; k++) {
                        struct page_slot *s = &w->m[i].page.slot[k];

                        if (atomic_load(&s->owner) == PAGE_HELD &&
                            (all || (w->n > 1 && s->asked != w->settle.asked)))
                                atomic_store(&s->owner, PAGE_VACANT);
                }
}

static void close_attempt(struct world *w)
{
        for (size_t i = 0; i < w->n; i++)
                atomic_store(&w->m[i].page.daemon.save_at, PAGE_NEVER);
        vacate(w, true);
        w->open = false;
        w->settle.asked = PAGE_NEVER;
}

static void pick(struct world *w)
{
        struct settle_input in = read_pages(w);
        const char *why = NULL;

        switch (settle_pick(&w->settle, &in, &why)) {
        case SETTLE_WAIT:
                vacate(w, false);
                w->next_announce = 0;
                break;
        case SETTLE_FAIL:
                w->n_failed++;
                /* fall through */
        default:
                assert_non_null(why);
                close_attempt(w);
        }
}

/* What the daemon would publish now must be the truth: of every rank, one step, one life each, one
 * base. */
static void publish(struct world *w, const struct settle_answer *a)
{
        int64_t base = w->m[0].truth[a->slots[0]].base;

        assert_int_not_equal(a->step, w->published);
        for (size_t i = 0; i < w->n; i++) {
                const struct machine *m = &w->m[i];
                const struct truth *t = &m->truth[a->slots[i]];

                assert_int_equal(atomic_load(&m->page.slot[a->slots[i]].owner), PAGE_HELD);
                assert_int_equal(t->step, a->step);
                assert_int_equal(t->base, base);
                assert_int_equal(t->life, w->ranks[i].life);
                assert_int_equal(t->life, w->ranks[i].life_noted);
        }
        w->published = a->step;
        w->n_published++;
        close_attempt(w);
}

static void look(struct world *w)
{
        uint32_t slots[RANKS_MAX];
        struct settle_answer a = {.slots = slots};
        struct settle_input in = read_pages(w);

        switch (settle_collect(&w->settle, &in, &a)) {
        case SETTLE_AGREED:
                publish(w, &a);
                break;
        case SETTLE_MOVE:
                if (w->settle.tries++ >= SETTLE_TRIES) {
                        w->n_failed++;
                        close_attempt(w);
                } else {
                        pick(w);
                }
                break;
        case SETTLE_FAIL:
                assert_non_null(a.why);
                w->n_failed++;
                close_attempt(w);
                break;
        default:
                break;
        }
}

/* A daemon that comes back knows only the pages. */
static void restart(struct world *w)
{
        int64_t announced = atomic_load(&w->m[0].page.daemon.save_at);

        for (size_t i = 1; i < w->n; i++)
                if (atomic_load(&w->m[i].page.daemon.save_at) != announced)
                        announced = PAGE_NEVER;
        (void)read_pages(w);
        if (announced == PAGE_NEVER) {
                w->n_failed += w->open;
                close_attempt(w);
                return;
        }
        for (size_t i = 0; i < w->n; i++)
                w->ranks[i].life_noted = w->ranks[i].life;
        w->settle = (struct settle){.asked = announced, .wanted = announced};
}

static void daemon_moves(struct world *w)
{
        if (!w->open) {
                if (w->n_requests == 0 || random_below(&w->random, 10))
                        return;
                w->n_requests--;
                w->open = true;
                w->settle = (struct settle){.asked = PAGE_NEVER, .wanted = -1};
                if (random_below(&w->random, 3) == 0)
                        w->settle.wanted = random_below(&w->random, w->last_step);
                pick(w);
        } else if (random_below(&w->random, 100) == 0) {
                restart(w);
        } else if (w->next_announce < w->n) {
                atomic_store(&w->m[w->next_announce++].page.daemon.save_at, w->settle.asked);
        } else {
                look(w);
        }
}

static void world_init(struct world *w, uint64_t seed)
{
        memset(w, 0, sizeof(*w));
        w->random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
        w->n = 1 + (size_t)random_below(&w->random, RANKS_MAX);
        w->last_step = 20 + random_below(&w->random, 200);
        w->may_turn = random_below(&w->random, 3) == 0;
        w->may_die = random_below(&w->random, 3) == 0;
        w->n_requests = 12;
        w->published = -1;
        w->settle.asked = PAGE_NEVER;
        for (size_t i = 0; i < w->n; i++) {
                struct machine *m = &w->m[i];

                page_init(&m->page, 1, (uint32_t)i, (uint32_t)w->n, 2);
                m->step = m->last = m->served = m->unseen = -1;
                m->stride = seed % 5 == 0 ? 1 + random_below(&w->random, 3) : 1;
                m->truth[0].step = m->truth[1].step = -1;
        }
}

static bool all_wait(const struct world *w)
{
        for (size_t i = 0; i < w->n; i++)
                if (w->m[i].at != AT_FINISH && w->m[i].at != AT_GONE)
                        return false;
        return true;
}

/* Runs until every rank is in finish and no request is open.  Then asks for the last save. */
static void run_world(struct world *w)
{
        unsigned long moves = 0;

        for (; !all_wait(w) || w->open; moves++) {
                int64_t who = random_below(&w->random, (int64_t)w->n + 1);

                assert_true(moves < 1000000);
                if (all_wait(w))
                        w->n_requests = 0;
                if ((size_t)who == w->n)
                        daemon_moves(w);
                else
                        rank_moves(w, &w->m[who]);
        }
}

/* All are in finish: a last request ends, published where the ends are one and all live. */
static void run_end(struct world *w)
{
        int64_t end = w->m[0].step;
        bool one_end = true;
        unsigned before = w->n_failed;

        for (size_t i = 0; i < w->n; i++)
                one_end = one_end && w->m[i].step == end && !w->m[i].dead;
        w->n_requests = 1;
        while (w->n_requests > 0)
                daemon_moves(w);
        run_world(w);
        if (one_end && w->n_failed == before)
                assert_int_equal(w->published, end);
}

static void test_interleavings(void **state)
{
        unsigned published = 0, failed = 0, calm_published = 0, calm_failed = 0;

        (void)state;
        for (uint64_t seed = 1; seed <= 6000; seed++) {
                static struct world w;

                world_init(&w, seed);
                run_world(&w);
                run_end(&w);
                published += w.n_published;
                failed += w.n_failed;
                if (!w.may_turn && !w.may_die && seed % 5) {
                        calm_published += w.n_published;
                        calm_failed += w.n_failed;
                }
        }
        print_message("%u published, %u failed; undisturbed: %u and %u\n", published, failed,
                      calm_published, calm_failed);
        assert_true(published > 10000);
        assert_true(calm_published > 20 * calm_failed);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_interleavings),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
