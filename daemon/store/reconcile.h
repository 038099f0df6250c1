/* What a start finds in a model directory is brought to rest: what a crash cut off is finished or
 * undone, what a framework wrote is adopted, what nothing claims is listed.  Only what a record or
 * a temporary name of ours claims is ever changed.  "Not there" is ENOENT and nothing else: any
 * other error ends the opening. */
#pragma once

#include "directory.h"

struct reconcile {
        struct store_dir *dir;
        struct store_open *open; /* gets history, actions, strays */
        size_t n_unreadable;
        char **unreadable; /* checkpoints whose record cannot be read: left alone */
};

int reconcile_run(struct store_dir *d, struct store_open *o);

/* Takes note of what was done; name, step and text are copied. */
int reconcile_note(struct reconcile *rc, enum store_act act, const struct checkpoint *c,
                   const char *text);

/* Writes a record anew, unless one only looks or the disk is full. */
int reconcile_record(struct reconcile *rc, const struct checkpoint *c);

/* adopt.c: temporaries, checkpoints and files that no record claims. */
int adopt_rest(struct reconcile *rc);

/* 1: another program has put a whole checkpoint of its own at c's name; 0: not so. */
int adopt_is_rewritten(struct reconcile *rc, const struct checkpoint *c);
