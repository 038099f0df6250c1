/* How the ranks of a job settle one step without talking to each other: the daemon's half of the
 * control page's protocol, as pure functions over values read from the pages.
 *
 *   idle -> pick -> announced -> collecting -> agreed -> handed over -> published -> idle
 *                                collecting -> pick (move); any of them -> failed -> idle
 *
 * The daemon announces a step S ahead of all ranks; a rank answers at its own call of that step, or
 * reports that it missed S; then a later S is announced with a larger margin.  Nothing is handed
 * over unless every rank's slot answers the same S, holds the same step and belongs to the same
 * life.  A rank that finished at S serves S again when announced and its slot was vacated. */
#pragma once

#include "page.h"

#include <stdbool.h>
#include <stddef.h>

#define SETTLE_TRIES 8      /* moves of S before the save fails */
#define SETTLE_TURNS 1000   /* moves of S for ranks that turned back */
#define SETTLE_WINDOW_US 20 /* an announcement reaches every page in it, at the first try */

struct settle_rank { /* one rank's page, read once for one look */
        int64_t step, missed, base, end;
        uint64_t life;
        bool dead;
        uint32_t n_slots;
        struct {
                uint32_t owner; /* read after the other words */
                bool sound;     /* its header's sum is right */
                int64_t step, asked, base;
                uint64_t life;
        } slot[PAGE_SLOTS];
        uint64_t life_noted; /* as settle_pick noted it */
        int64_t step_noted;
};

struct settle {        /* one attempt; embedded in the job */
        int64_t asked; /* S; PAGE_NEVER: idle */
        unsigned tries, turns;
        int64_t wanted; /* a step told ahead by the schedule, or -1: as soon as possible */
        bool forced;    /* the job itself saved at `wanted` */
        bool replied;   /* unused by the rules; for the owner */
};

enum settle_outcome {
        SETTLE_WAIT,
        SETTLE_AGREED,
        SETTLE_MOVE,
        SETTLE_FAIL,
        SETTLE_DONE /* at the end, saved already */
};

/* Reads a page into r; keeps the noted values. */
void settle_read(const struct page *p, struct settle_rank *r);

struct settle_input {
        struct settle_rank *ranks;
        size_t n;
        double steps_per_s; /* of the fastest rank, observed; 0: unknown */
        int64_t published;  /* a step that this run published already (not picked again), or -1 */
};

/* Chooses S and notes lives and steps.  SETTLE_WAIT: announce it; SETTLE_FAIL or SETTLE_DONE:
 * *ret_why is a static text.  Called again after SETTLE_MOVE; the owner counts the tries before
 * that, and vacates the held slots of several ranks that answer another S. */
enum settle_outcome settle_pick(struct settle *s, const struct settle_input *in,
                                const char **ret_why);

struct settle_answer {
        uint32_t *slots; /* n, given by the caller: each rank's slot that answers */
        int64_t step;    /* SETTLE_AGREED: what all of them hold */
        size_t rank;     /* SETTLE_FAIL: whose fault it is */
        const char *why; /* SETTLE_FAIL: what about that rank; a static text */
        bool turned;     /* SETTLE_MOVE: a rank has turned back: that spends no try */
};

/* One look.  SETTLE_AGREED, SETTLE_WAIT, SETTLE_MOVE: pick again; SETTLE_FAIL. */
enum settle_outcome settle_collect(const struct settle *s, const struct settle_input *in,
                                   struct settle_answer *ret);
