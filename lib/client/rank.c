#include "rank.h"

#include <errno.h>
#include <string.h>

static struct page *page_of(const struct rank *k)
{
        return atomic_load_explicit(&k->page, memory_order_relaxed);
}

void rank_reslot(struct rank *k, size_t n_slots)
{
        k->n_slots = (uint32_t)n_slots;
        k->turn = 0;
        memset(k->used, 0, sizeof(k->used));
}

void rank_begin(struct rank *k, struct page *p, size_t n_slots)
{
        k->last = atomic_load_explicit(&p->now.step, memory_order_relaxed);
        k->served = k->told = PAGE_NEVER;
        rank_reslot(k, n_slots);
        atomic_store_explicit(&k->page, p, memory_order_relaxed);
}

void rank_move(struct rank *k, struct page *p, size_t n_slots)
{
        struct page *old = page_of(k);
        int64_t base = atomic_load_explicit(&old->rank.base, memory_order_relaxed);
        int64_t end = atomic_load_explicit(&old->rank.end, memory_order_relaxed);
        uint64_t life = atomic_load_explicit(&old->rank.life, memory_order_relaxed);
        int64_t last = k->last;

        atomic_store_explicit(&p->rank.base, base, memory_order_relaxed);
        atomic_store_explicit(&p->rank.end, end, memory_order_relaxed);
        atomic_store_explicit(&p->rank.life, life + 1, memory_order_release);
        atomic_store_explicit(&p->now.step, last, memory_order_relaxed);
        rank_begin(k, p, n_slots);
        k->last = last;
}

static void new_life(struct rank *k)
{
        struct page *p = page_of(k);
        uint64_t life = atomic_load_explicit(&p->rank.life, memory_order_relaxed);

        k->served = k->told = PAGE_NEVER;
        atomic_store_explicit(&p->rank.missed, PAGE_NEVER, memory_order_relaxed);
        atomic_store_explicit(&p->rank.life, life + 1, memory_order_release);
}

void rank_miss(struct rank *k, int64_t asked)
{
        atomic_store_explicit(&page_of(k)->rank.missed, asked, memory_order_release);
}

enum rank_look rank_look(struct rank *k, int64_t step, int64_t last, int64_t *ret_asked)
{
        struct page *p = page_of(k);
        int64_t asked = atomic_load_explicit(&p->daemon.save_at, memory_order_acquire);

        if (step < last) {
                new_life(k);
                last = -1;
        }
        if (step < asked || asked < 0 || asked == k->served)
                return RANK_QUIET;
        k->served = asked;
        k->told = PAGE_NEVER;
        /* With others beside us: asked was behind us when we saw it first, it is too late for
         * this one. */
        if ((p->head.world_size > 1 && last >= asked) || rank_vacant(k) < 0) {
                rank_miss(k, asked);
                return RANK_MISSED;
        }
        *ret_asked = asked;
        return RANK_DUE;
}

int rank_vacant(const struct rank *k)
{
        const struct page *p = page_of(k);
        int best = -EBUSY;

        for (uint32_t i = 0; i < k->n_slots; i++)
                if (atomic_load_explicit(&p->slot[i].owner, memory_order_acquire) == PAGE_VACANT &&
                    (best < 0 || k->used[i] < k->used[best]))
                        best = (int)i;
        return best;
}

void rank_fill(struct rank *k, int slot)
{
        k->used[slot] = ++k->turn;
        atomic_store_explicit(&page_of(k)->slot[slot].owner, PAGE_FILLING, memory_order_relaxed);
        /* Streaming stores are not ordered behind it by themselves. */
        atomic_thread_fence(memory_order_seq_cst);
        /* What was in it is gone, also where the copy fails and the slot is given back. */
        page_of(k)->slot[slot].sum = ~page_slot_sum(&page_of(k)->slot[slot]);
}

void rank_hold(struct rank *k, int slot, const struct rank_filled *f)
{
        struct page *p = page_of(k);
        struct page_slot *s = &p->slot[slot];

        s->step = f->step;
        s->asked = f->asked;
        s->base = atomic_load_explicit(&p->rank.base, memory_order_relaxed);
        s->life = atomic_load_explicit(&p->rank.life, memory_order_relaxed);
        s->bytes = f->bytes;
        s->copy_ns = f->copy_ns;
        s->sum = page_slot_sum(s);
        atomic_store_explicit(&s->owner, PAGE_HELD, memory_order_release);
}

void rank_drop(struct rank *k, int slot)
{
        atomic_store_explicit(&page_of(k)->slot[slot].owner, PAGE_VACANT, memory_order_release);
}

bool rank_has_answered(const struct rank *k, int64_t asked)
{
        const struct page *p = page_of(k);
        uint64_t life = atomic_load_explicit(&p->rank.life, memory_order_relaxed);

        for (uint32_t i = 0; i < k->n_slots; i++)
                if (atomic_load_explicit(&p->slot[i].owner, memory_order_acquire) == PAGE_HELD &&
                    p->slot[i].asked == asked && p->slot[i].life == life)
                        return true;
        return false;
}

bool rank_holds_any(const struct rank *k)
{
        const struct page *p = page_of(k);

        for (uint32_t i = 0; i < k->n_slots; i++)
                if (atomic_load_explicit(&p->slot[i].owner, memory_order_relaxed) == PAGE_HELD)
                        return true;
        return false;
}

void rank_restored(struct rank *k, int64_t step)
{
        struct page *p = page_of(k);

        atomic_store_explicit(&p->rank.base, step, memory_order_relaxed);
        new_life(k);
        atomic_store_explicit(&p->now.step, step, memory_order_relaxed);
        k->last = step;
}

void rank_end(struct rank *k, int64_t step)
{
        struct page *p = page_of(k);

        if (step < k->last)
                new_life(k);
        k->served = k->told = PAGE_NEVER;
        atomic_store_explicit(&p->now.step, step, memory_order_relaxed);
        k->last = step;
        atomic_store_explicit(&p->rank.end, step, memory_order_release);
}

void rank_go_on(struct rank *k)
{
        atomic_store_explicit(&page_of(k)->rank.end, PAGE_NEVER, memory_order_release);
}
