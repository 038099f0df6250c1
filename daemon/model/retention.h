/* What is kept and what goes.  Pure; `ckptctl plan` prints the same answer that the daemon acts on.
 * Kept = the union of the newest keep_checkpoint_max whole ones by sequence, the preserved, the
 * pinned, the leased, the newest whole one always; damaged ones are kept and never counted; adopted
 * ones are kept and not counted.  Superseded ones are not counted: they go. */
#pragma once

#include "checkpoint.h"
#include "policy.h"

#define RETENTION_REASON_MAX 96

struct retention_row {
        const struct checkpoint *checkpoint; /* borrowed */
        bool keep;
        char reason[RETENTION_REASON_MAX]; /* "newest 1/3, every 6h", "older than the newest 3" */
};

/* One row for each checkpoint that is there (whole, damaged, superseded), in the history's order.
 * *ret is malloc'ed; -ENOMEM. */
int retention_plan(const struct history *h, const struct policy *p, struct retention_row **ret,
                   size_t *ret_n);

/* Short of space for one more save: the first that would go after it, while two whole ones stay
 * without it, and the bytes of all such.  except: the name of one that must not, or NULL.  1: *ret;
 * 0: none; -ENOMEM. */
int retention_make_room(const struct history *h, const struct policy *p, const char *except,
                        struct retention_row *ret, uint64_t *ret_bytes);

/* Is the checkpoint being recorded now preserved for good (keep_checkpoint_every_n_hours)?  Decided
 * once, when recorded: n hours or more since the last preserved one, or since the directory's first
 * checkpoint; the first one is not.  h must still hold the directory's first and the last preserved
 * one, in whatever state they are now.  Wall clock; a last mark in the future counts as now. */
bool retention_preserves(const struct history *h, const struct policy *p, int64_t published_ms);
