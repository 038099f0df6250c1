/* What happens to a checkpoint after it is published: its record is written anew, the state file
 * names it (note.c), it is evicted (evict.c).  The manager owns the tasks and decides; files that
 * the checkpoint does not claim are never touched. */
#pragma once

#include "checkpoint.h"
#include "diag.h"

struct store;
struct store_dir;

struct store_evict { /* index first, then data, then the record, then sync */
        struct store_dir *dir;
        const struct checkpoint *checkpoint;
        void (*done)(struct store_evict *t);
        void *user;
        int r;
        struct diag diag;
};
void store_evict_start(struct store *s, struct store_evict *t);

/* Writes one checkpoint's record anew, and the state file where names are given. */
struct store_note {
        struct store_dir *dir;
        const struct checkpoint *checkpoint; /* NULL: no record */
        bool state_file;
        size_t n_names; /* oldest first; 0 with state_file: the file is removed */
        char **names;
        double *timestamps; /* seconds */
        double last_preserved;
        void (*done)(struct store_note *t);
        void *user;
        int r;
        struct diag diag;
};
void store_note_start(struct store *s, struct store_note *t);
