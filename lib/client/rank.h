/* The rank's half of the control page's protocol (page.h): tells its step, learns whether a save
 * is due, and owns a slot while it fills it.  Pure over struct page: no system call, no clock,
 * no daemon needed.
 *
 *   slot: vacant -> filling (rank_fill) -> held (rank_hold): the daemon's until it is vacant again
 *                   filling -> vacant (rank_drop): the copy failed
 *
 * A rank serves the first call at or beyond save_at whose predecessor was below it, once.  It
 * never waits. */
#pragma once

#include "page.h"

#include <stdbool.h>

struct rank {                      /* lies on memory that a forked child finds zeroed */
        struct page *_Atomic page; /* NULL: not attached, or a forked child */
        int64_t last;              /* step of the last call */
        int64_t served;            /* the save_at that was answered last, PAGE_NEVER: none */
        int64_t told,
                told_step; /* a save_at that was told as due at told_step and has no answer yet */
        uint32_t n_slots;
        uint64_t turn, used[PAGE_SLOTS]; /* when each slot was filled last */
        bool alive;                      /* false: a forked child */
};

enum rank_look { RANK_QUIET, RANK_DUE, RANK_MISSED };

/* The fast path: one store, one load, two compares.  True: nothing to do at this step.  Else
 * rank_look, with the step of the call before. */
static inline bool rank_pass(struct rank *k, int64_t step, int64_t *ret_last)
{
        struct page *p = atomic_load_explicit(&k->page, memory_order_relaxed);
        int64_t last = k->last, asked;

        *ret_last = last;
        if (__builtin_expect(!p, 0))
                return false;
        atomic_store_explicit(&p->now.step, step, memory_order_relaxed);
        asked = atomic_load_explicit(&p->daemon.save_at, memory_order_relaxed);
        k->last = step;
        return step < asked && step >= last;
}

/* The rank begins or goes on with this page; steps, life and base of the page before are carried
 * over. */
void rank_begin(struct rank *k, struct page *p, size_t n_slots);
void rank_move(struct rank *k, struct page *p, size_t n_slots);
/* Other slots behind the same page. */
void rank_reslot(struct rank *k, size_t n_slots);

/* RANK_DUE: *ret_asked is to be answered by a vacant slot; it counts as served.  RANK_MISSED: it
 * is told so. */
enum rank_look rank_look(struct rank *k, int64_t step, int64_t last, int64_t *ret_asked);
void rank_miss(struct rank *k, int64_t asked);
/* The vacant slot that was filled longest ago, so that the last snapshot survives; -EBUSY: none. */
int rank_vacant(const struct rank *k);
void rank_fill(struct rank *k, int slot);
struct rank_filled {
        int64_t step, asked;
        uint64_t bytes, copy_ns;
};
/* The caller has ordered its streaming stores before (copy_fence). */
void rank_hold(struct rank *k, int slot, const struct rank_filled *f);
void rank_drop(struct rank *k, int slot);
/* Is there a slot held for this save_at, of the present life? */
bool rank_has_answered(const struct rank *k, int64_t asked);
bool rank_holds_any(const struct rank *k);

void rank_restored(struct rank *k, int64_t step); /* goes on from there: a new life */
void rank_end(struct rank *k, int64_t step);      /* this was the last step */
void rank_go_on(struct rank *k);                  /* it was not: finish failed */
