/* Publishing: the few renames by which a checkpoint becomes visible, and taking them back.  In one
 * place, for the save that does them and for the next start that finishes or undoes what a crash
 * cut off. */
#pragma once

#include "directory.h"

struct publish {
        struct store_dir *dir;
        const struct checkpoint
                *checkpoint;               /* save_id, name, files: data in order, the index last */
        const struct checkpoint *replaces; /* or NULL */
        bool again;                        /* after a crash: some of it may be done already */
        bool claimed;                      /* the record is on disk */
        bool visible;                      /* the index has its name */
        struct diag *diag;
};

/* All temporaries, and unless something is replaced the claim, are written and synced: gives the
 * temporaries their names.  After a failure `visible` tells whether the checkpoint can be seen. */
int publish_run(struct publish *p);
/* The renames alone, after the claim. */
int publish_show(struct publish *p);
/* Removes what the save left: temporaries always; after the claim also what was renamed, and the
 * record.  Brings a replaced checkpoint back: *ret_old (may be NULL).  Not for a visible one of a
 * running save. */
int publish_undo(struct publish *p, struct checkpoint **ret_old);
/* Are all files there, under their temporary names or their own, of the recorded sizes?  1, 0. */
int publish_is_complete(const struct publish *p);
