#include "job.h"

static bool is_held(const struct page_slot *s)
{
        return atomic_load_explicit(&s->owner, memory_order_acquire) == PAGE_HELD;
}

static bool is_sound(const struct page_slot *s)
{
        return s->sum == page_slot_sum(s) && s->step >= 0;
}

static bool slot_holds(const struct rank *r, size_t k, int64_t step)
{
        const struct page_slot *s = &r->page->slot[k];

        return is_held(s) && is_sound(s) && (step < 0 || s->step == step) &&
               !job_has_published(r->job, s);
}

/* It, or something that came after it in the same life. */
bool job_has_published(const struct job *j, const struct page_slot *s)
{
        return s->step == j->published || (s->life == j->published_life && s->step < j->published);
}

/* Of a life that the rank has left: `life` was stored before the slot was held, and is read
 * after. */
static bool is_stale(const struct rank *r, const struct page_slot *s)
{
        return s->life != atomic_load_explicit(&r->page->rank.life, memory_order_acquire);
}

static bool is_own(const struct rank *r, const struct page_slot *s)
{
        return is_held(s) && is_sound(s) && s->asked == PAGE_NEVER && !is_stale(r, s) &&
               !job_has_published(r->job, s);
}

int64_t job_find_own(const struct job *j)
{
        int64_t first = PAGE_NEVER;

        for (unsigned i = 0; i < j->world_size; i++)
                for (size_t k = 0; j->ranks[i].page && k < j->ranks[i].n_slots; k++) {
                        const struct page_slot *s = &j->ranks[i].page->slot[k];

                        if (is_own(&j->ranks[i], s) && s->step < first)
                                first = s->step;
                }
        return first == PAGE_NEVER ? -1 : first;
}

static void slot_vacate(struct page_slot *s)
{
        atomic_store_explicit(&s->owner, PAGE_VACANT, memory_order_release);
}

/* One rank needs nobody's agreement: whatever it holds may be published. */
static bool is_useless(const struct rank *r, const struct page_slot *s, int64_t asked)
{
        if (!is_sound(s) || is_stale(r, s) || job_has_published(r->job, s))
                return true;
        return r->job->world_size > 1 && s->asked != PAGE_NEVER && s->asked != asked;
}

void job_vacate_useless(struct job *j, int64_t asked)
{
        for (unsigned i = 0; i < j->world_size; i++)
                for (size_t k = 0; j->ranks[i].page && k < j->ranks[i].n_slots; k++) {
                        struct page_slot *s = &j->ranks[i].page->slot[k];

                        if (is_held(s) && is_useless(&j->ranks[i], s, asked))
                                slot_vacate(s);
                }
}

void job_vacate_own(struct job *j, int64_t step)
{
        for (unsigned i = 0; i < j->world_size; i++)
                for (size_t k = 0; j->ranks[i].page && k < j->ranks[i].n_slots; k++) {
                        struct page_slot *s = &j->ranks[i].page->slot[k];

                        if (is_own(&j->ranks[i], s) && s->step == step)
                                slot_vacate(s);
                }
}

static bool rank_holds(const struct rank *r, int64_t step, uint32_t *ret_slot)
{
        for (size_t k = 0; r->page && k < r->n_slots; k++)
                if (slot_holds(r, k, step)) {
                        *ret_slot = (uint32_t)k;
                        return true;
                }
        return false;
}

/* One base and one life count for all: a rank that has rolled back since does not fit the
 * others. */
static bool all_hold(const struct job *j, int64_t step, uint32_t *slots)
{
        for (unsigned i = 0; i < j->world_size; i++) {
                const struct rank *r = &j->ranks[i];

                if (!rank_holds(r, step, &slots[i]) ||
                    r->page->slot[slots[i]].base != j->ranks[0].page->slot[slots[0]].base ||
                    r->page->slot[slots[i]].life != j->ranks[0].page->slot[slots[0]].life ||
                    r->page->slot[slots[i]].life != atomic_load(&r->page->rank.life))
                        return false;
        }
        return true;
}

bool job_find_offered(const struct job *j, uint32_t *slots, int64_t *ret_step)
{
        const struct rank *first = &j->ranks[0];
        int64_t best = -1;

        for (size_t k = 0; first->page && k < first->n_slots; k++)
                if (slot_holds(first, k, -1) && first->page->slot[k].step > best &&
                    all_hold(j, first->page->slot[k].step, slots))
                        best = first->page->slot[k].step;
        *ret_step = best;
        return best >= 0 && all_hold(j, best, slots);
}

/* The slots of a save that failed, as long as no rank has copied over them. */
bool job_find_failed(const struct job *j, uint32_t *slots, int64_t *ret_step)
{
        for (unsigned i = 0; i < j->world_size; i++) {
                struct page_slot *s;

                if (!j->failed_slots || !j->ranks[i].page ||
                    j->failed_slots[i] >= j->ranks[i].n_slots)
                        return false;
                s = &j->ranks[i].page->slot[j->failed_slots[i]];
                if (atomic_load_explicit(&s->owner, memory_order_acquire) != PAGE_VACANT ||
                    s->sum != page_slot_sum(s) || s->step != j->failed_step)
                        return false;
                slots[i] = j->failed_slots[i];
        }
        *ret_step = j->failed_step;
        return true;
}
