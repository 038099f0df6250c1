/* The checkpoints that one `verify` is about, in the order in which they are read: what they are
 * called, how large they are, and what came out.  Owned by the command. */
#pragma once

#include "ctl-place.h"

enum ctl_outcome { CTL_TARGET_WHOLE, CTL_TARGET_DAMAGED, CTL_TARGET_GONE, CTL_TARGET_UNREAD };
enum ctl_told { CTL_TOLD_NOBODY, CTL_TOLD_CONFIRMED, CTL_TOLD_DENIED }; /* a running daemon */

struct ctl_target {
        int fd;             /* the directory; borrowed from its place */
        const char *parent; /* the directory's path; borrowed */
        char *file;         /* what stored_open opens */
        char *name;         /* its prefix */
        char *path;         /* parent/name */
        char *label;        /* DIR@STEP, or as it was given */
        int64_t step;       /* -1: unknown */
        uint64_t bytes, read_bytes;
        bool is_recorded;  /* by ckptd */
        bool is_candidate; /* a restore may take it, as far as its record says */
        bool may_go;       /* found by listing a directory */
        enum ctl_outcome outcome;
        enum ctl_told told;
        struct diag damage;
};

struct ctl_targets {
        size_t n, n_places;
        struct ctl_target *items;
        struct ctl_place **places;
        int label_width, size_width;
};

void ctl_targets_done(struct ctl_targets *all);
/* The checkpoint that PATH means, or all of a model directory, oldest first. */
int ctl_targets_add(struct ctl_targets *all, const char *path, struct diag *d);
size_t ctl_targets_count(const struct ctl_targets *all, enum ctl_outcome outcome);
uint64_t ctl_targets_bytes(const struct ctl_targets *all); /* that were read */
/* Of one model directory: the whole one that a restore would take; else NULL. */
const struct ctl_target *ctl_targets_restore(const struct ctl_targets *all);
