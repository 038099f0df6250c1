#include "settle.h"

#include "cleanup.h"

#define STEP_MAX (PAGE_NEVER - (INT64_C(1) << 32)) /* no margin overflows beyond it */
#define SLOW_STEPS 0.01      /* fewer steps than this in the window: no margin is needed */
#define MARGIN_MAX (1 << 30) /* steps; a rate that claims more is not believed */
#define NO_SLOT UINT32_MAX

static const char why_gone[] = "a rank is gone";
static const char why_ended_apart[] = "the ranks finished at different steps";
static const char why_beyond[] = "a rank is beyond the step at which another one finished";
static const char why_range[] = "the step is out of range";
static const char why_saved[] = "already saved";
/* Of one rank, after its number. */
static const char why_it_is_gone[] = "it is gone";
static const char why_it_ended[] = "it finished at another step";
static const char why_its_step[] = "it calls ckpt_step with other steps than rank 0";
static const char why_its_base[] = "it was restored from another step than rank 0";
static const char why_passed[] =
        "it went on without saving at the step at which another rank saved";

/* `owner` is read after the other words and before its slot's header, and once; so all loads
 * acquire. */
void settle_read(const struct page *p, struct settle_rank *r)
{
        uint32_t n;

        r->life = atomic_load_explicit(&p->rank.life, memory_order_acquire);
        r->missed = atomic_load_explicit(&p->rank.missed, memory_order_acquire);
        r->base = atomic_load_explicit(&p->rank.base, memory_order_acquire);
        r->end = atomic_load_explicit(&p->rank.end, memory_order_acquire);
        r->step = atomic_load_explicit(&p->now.step, memory_order_acquire);
        n = *(const volatile uint32_t *)&p->head.n_slots; /* once: a job can write its page */
        r->n_slots = n < PAGE_SLOTS ? n : PAGE_SLOTS;
        for (uint32_t i = 0; i < r->n_slots; i++) {
                const struct page_slot *from = &p->slot[i];

                r->slot[i].owner = atomic_load_explicit(&from->owner, memory_order_acquire);
                if (r->slot[i].owner != PAGE_HELD)
                        continue;
                r->slot[i].sound = from->sum == page_slot_sum(from);
                r->slot[i].step = from->step;
                r->slot[i].asked = from->asked;
                r->slot[i].base = from->base;
                r->slot[i].life = from->life;
        }
}

static void note(const struct settle_input *in)
{
        for (size_t i = 0; i < in->n; i++) {
                in->ranks[i].life_noted = in->ranks[i].life;
                in->ranks[i].step_noted = in->ranks[i].step;
        }
}

/* A held slot that answers S.  A job that saves at a step of its own may have rolled back since the
 * lives were noted, so there its present life counts.  One rank needs no agreement: every held slot
 * is an answer. */
static bool is_answer(const struct settle *s, const struct settle_input *in, size_t rank,
                      uint32_t slot)
{
        const struct settle_rank *r = &in->ranks[rank];

        if (r->slot[slot].owner != PAGE_HELD || !r->slot[slot].sound || r->slot[slot].step < 0)
                return false;
        if (s->forced)
                return (r->slot[slot].asked == PAGE_NEVER || r->slot[slot].asked == s->wanted) &&
                       r->slot[slot].step == s->wanted && r->slot[slot].life == r->life;
        if (r->slot[slot].life != r->life_noted)
                return false;
        if (in->n == 1)
                return r->slot[slot].asked == s->asked || r->slot[slot].step > in->published;
        return r->slot[slot].asked == s->asked && r->slot[slot].step >= s->asked;
}

/* The slot that answers; of several the one that was asked for, then the newest. */
static uint32_t find_answer(const struct settle *s, const struct settle_input *in, size_t rank)
{
        const struct settle_rank *r = &in->ranks[rank];
        uint32_t best = NO_SLOT;

        for (uint32_t i = 0; i < r->n_slots; i++) {
                if (!is_answer(s, in, rank, i))
                        continue;
                if (best == NO_SLOT || r->slot[i].asked == s->asked ||
                    (r->slot[best].asked != s->asked && r->slot[i].step > r->slot[best].step))
                        best = i;
        }
        return best;
}

static bool is_filling(const struct settle_rank *r)
{
        for (uint32_t i = 0; i < r->n_slots; i++)
                if (r->slot[i].owner == PAGE_FILLING)
                        return true;
        return false;
}

/* The furthest that any rank is known to be: where it was restored counts, too. */
static int64_t furthest(const struct settle_input *in)
{
        int64_t max = -1;

        for (size_t i = 0; i < in->n; i++) {
                if (in->ranks[i].step > max)
                        max = in->ranks[i].step;
                if (in->ranks[i].base > max)
                        max = in->ranks[i].base;
        }
        return max;
}

/* The step of finish that ranks have told; PAGE_NEVER: none has. */
static enum settle_outcome common_end(const struct settle_input *in, int64_t *ret_end,
                                      const char **ret_why)
{
        int64_t end = PAGE_NEVER;

        for (size_t i = 0; i < in->n; i++) {
                int64_t e = in->ranks[i].end;

                if (e == PAGE_NEVER)
                        continue;
                if (end != PAGE_NEVER && e != end) {
                        *ret_why = why_ended_apart;
                        return SETTLE_FAIL;
                }
                end = e;
        }
        *ret_end = end;
        return SETTLE_WAIT;
}

static bool is_end(const struct settle_input *in, int64_t step)
{
        for (size_t i = 0; i < in->n; i++)
                if (in->ranks[i].end == step)
                        return true;
        return false;
}

/* Rolled back since its life was noted: what it answered belongs to a life that nobody leads any
 * more. */
static bool has_turned(const struct settle *s, const struct settle_rank *r)
{
        return !s->forced && r->life != r->life_noted;
}

/* Steps beyond the next one.  With one step begun during the announcement 1 fails and 2 holds. */
static int64_t margin(const struct settle *s, const struct settle_input *in)
{
        unsigned tries = s->tries < SETTLE_TRIES ? s->tries : SETTLE_TRIES;
        double window_s = SETTLE_WINDOW_US * 1e-6 * (double)(1u << tries);
        double steps = in->steps_per_s * window_s;

        if (in->n == 1)
                return 0;
        if (in->steps_per_s <= 0)
                return 1 + (INT64_C(1) << tries);
        if (steps < SLOW_STEPS && tries == 0)
                return 0;
        return 2 + tries + (steps < MARGIN_MAX ? (int64_t)(steps + 0.999) : MARGIN_MAX);
}

/* A step told ahead holds as long as no rank has passed it. */
static bool is_ahead(const struct settle_input *in, int64_t wanted)
{
        for (size_t i = 0; i < in->n; i++) {
                const struct settle_rank *r = &in->ranks[i];

                if (in->n == 1 ? r->step > wanted : r->step >= wanted || r->base >= wanted)
                        return false;
                if (r->missed == wanted)
                        return false;
        }
        return true;
}

/* S while nobody has called finish. */
static enum settle_outcome pick_running(struct settle *s, const struct settle_input *in,
                                        const char **ret_why)
{
        int64_t max = furthest(in);

        if (max >= STEP_MAX || s->wanted >= STEP_MAX) {
                *ret_why = why_range;
                return SETTLE_FAIL;
        }
        if (s->wanted >= 0 && is_ahead(in, s->wanted))
                s->asked = s->wanted;
        else
                s->asked = 1 + max + margin(s, in);
        if (s->asked == in->published)
                s->asked++;
        return SETTLE_WAIT;
}

/* S where there is no choice: the step of finish, or the one at which the job itself saved. */
static enum settle_outcome pick_only(struct settle *s, const struct settle_input *in, int64_t step,
                                     const char **ret_why)
{
        if (step < 0 || step >= STEP_MAX) {
                *ret_why = why_range;
                return SETTLE_FAIL;
        }
        if (step == in->published) {
                *ret_why = why_saved;
                return SETTLE_DONE;
        }
        s->asked = step;
        return SETTLE_WAIT;
}

static enum settle_outcome pick_step(struct settle *s, const struct settle_input *in,
                                     const char **ret_why)
{
        enum settle_outcome o;
        int64_t end;

        if (s->forced)
                return pick_only(s, in, s->wanted, ret_why);
        o = common_end(in, &end, ret_why);
        if (o != SETTLE_WAIT)
                return o;
        if (end == PAGE_NEVER)
                return pick_running(s, in, ret_why);
        if (furthest(in) > end) {
                *ret_why = why_beyond;
                return SETTLE_FAIL;
        }
        return pick_only(s, in, end, ret_why);
}

enum settle_outcome settle_pick(struct settle *s, const struct settle_input *in,
                                const char **ret_why)
{
        note(in);
        for (size_t i = 0; i < in->n; i++) {
                /* What a dead rank has handed over already is as good as ever. */
                bool may_have_answered = s->forced || in->n == 1;

                if (in->ranks[i].dead && !(may_have_answered && find_answer(s, in, i) != NO_SLOT)) {
                        *ret_why = why_gone;
                        return SETTLE_FAIL;
                }
        }
        return pick_step(s, in, ret_why);
}

/* The job saves at a step of its own, and this rank is beyond it, in the life of one that did. */
static bool has_passed(const struct settle *s, const struct settle_input *in, size_t rank)
{
        const struct settle_rank *r = &in->ranks[rank];

        if (r->step <= s->wanted || is_filling(r))
                return false;
        for (size_t i = 0; i < in->n; i++)
                if (in->ranks[i].life == r->life && find_answer(s, in, i) != NO_SLOT)
                        return true;
        return false;
}

/* A rank that has not answered: wait, move S, or give up?  at_end: another rank has finished at S.
 */
static enum settle_outcome judge(const struct settle *s, const struct settle_input *in, size_t rank,
                                 bool at_end, const char **ret_why)
{
        const struct settle_rank *r = &in->ranks[rank];
        bool ended_elsewhere = r->end != PAGE_NEVER && r->end != s->asked;

        if (r->dead || (s->forced && ended_elsewhere)) {
                *ret_why = r->dead ? why_it_is_gone : why_it_ended;
                return SETTLE_FAIL;
        }
        if (s->forced) {
                *ret_why = why_passed;
                return has_passed(s, in, rank) ? SETTLE_FAIL : SETTLE_WAIT;
        }
        if (ended_elsewhere || has_turned(s, r))
                return SETTLE_MOVE;
        /* There is no other S then: a rank serves it in ckpt_finish, whatever it missed on the way.
         */
        if (at_end)
                return r->step > s->asked ? SETTLE_MOVE : SETTLE_WAIT;
        if (r->missed == s->asked)
                return SETTLE_MOVE;
        return in->n > 1 && r->step > s->asked && !is_filling(r) ? SETTLE_MOVE : SETTLE_WAIT;
}

/* Lives count attach, restore and roll-back, which all ranks do together: one that has done it more
 * often is ahead of the others. */
static bool of_one_life(const struct settle_input *in)
{
        for (size_t i = 1; i < in->n; i++)
                if (in->ranks[i].life != in->ranks[0].life)
                        return false;
        return true;
}

/* All have answered, each in its present life: is it one life, one step on one base, and not on
 * disk yet? */
static enum settle_outcome agree(const struct settle *s, const struct settle_input *in,
                                 struct settle_answer *a)
{
        const struct settle_rank *first = &in->ranks[0];
        int64_t step = first->slot[a->slots[0]].step, base = first->slot[a->slots[0]].base;

        if (!of_one_life(in)) {
                a->turned = true;
                return s->forced ? SETTLE_WAIT : SETTLE_MOVE;
        }
        for (size_t i = 0; i < in->n; i++) {
                if (in->ranks[i].slot[a->slots[i]].step != in->published)
                        continue;
                a->rank = i;
                a->why = why_saved;
                return s->forced ? SETTLE_FAIL : SETTLE_MOVE;
        }
        for (size_t i = 1; i < in->n; i++) {
                bool same_step = in->ranks[i].slot[a->slots[i]].step == step;

                if (same_step && in->ranks[i].slot[a->slots[i]].base == base)
                        continue;
                a->rank = i;
                a->why = same_step ? why_its_base : why_its_step;
                return SETTLE_FAIL;
        }
        a->step = step;
        return SETTLE_AGREED;
}

enum settle_outcome settle_collect(const struct settle *s, const struct settle_input *in,
                                   struct settle_answer *ret)
{
        enum settle_outcome outcome = SETTLE_AGREED, o;
        bool at_end = is_end(in, s->asked);

        ret->turned = false;
        for (size_t i = 0; i < in->n; i++) {
                ret->turned = ret->turned || has_turned(s, &in->ranks[i]);
                ret->slots[i] = find_answer(s, in, i);
                if (ret->slots[i] == NO_SLOT)
                        o = judge(s, in, i, at_end, &ret->why);
                else
                        o = has_turned(s, &in->ranks[i]) ? SETTLE_MOVE : SETTLE_AGREED;
                ret->rank = i;
                if (o == SETTLE_FAIL)
                        return o;
                if (o != SETTLE_AGREED && outcome != SETTLE_MOVE)
                        outcome = o;
        }
        return outcome == SETTLE_AGREED ? agree(s, in, ret) : outcome;
}
