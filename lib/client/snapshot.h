/* Copying the state out of the job: into a slot at once, in two halves with the helper beside,
 * or through a window where memory allows no slot.  Runs on the job's thread; tells the daemon,
 * never waits for it (but through a window).  A copy that fails gives its slot back and reports
 * the save as missed. */
#pragma once

#include "crew.h"
#include "pieces.h"
#include "rank.h"

struct ckpt;

struct snapshot { /* between save_begin and save_end */
        bool open, forced;
        int slot;
        struct rank_filled filled;
        struct crew_work work;
        struct pieces pieces;
        _Atomic size_t failed; /* the tensor whose copy function failed */
};

/* Copies the state into the slot, or through the window, and hands it over.  0 handed over, 1
 * kept in memory. */
int snapshot_save(struct ckpt *c, int slot, const struct rank_filled *f, bool forced);
/* Copies without a word to the daemon. */
int snapshot_fill(struct ckpt *c, int slot, const struct rank_filled *f);
int snapshot_begin(struct ckpt *c, int slot, const struct rank_filled *f, bool forced);
int snapshot_end(struct ckpt *c);
void snapshot_abandon(struct ckpt *c);
/* Copies one tensor to dst.  Negative: its copy function failed; the text names it. */
int snapshot_fetch(struct ckpt *c, size_t tensor, void *dst, struct diag *d);
int snapshot_hand_over(struct ckpt *c, int64_t step, bool forced);
int window_save(struct ckpt *c, int slot, const struct rank_filled *f);
