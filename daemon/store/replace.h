/* An older checkpoint of ours that a new one of the same name replaces: its files and record wait
 * in .ckptd/replaced/ until the new one is whole, and come back when it is not.  Every step may be
 * done twice. */
#pragma once

#include "directory.h"

/* Puts the old one's record there; nothing is moved yet. */
int replace_prepare(struct store_dir *d, const struct checkpoint *old);
/* Moves the old one's files there, the index first.  next: the new one, whose files may stand there
 * already. */
int replace_aside(struct store_dir *d, const struct checkpoint *old, const struct checkpoint *next);
/* Is that name in the model directory free of the old one?  1: it is not one of its names, or its
 * file is aside; 0: what has the name is the old one's file, not moved yet or moved back. */
int replace_has_left(struct store_dir *d, const struct checkpoint *old, const char *file);
/* What waits there under that name: 1: nothing. */
int replace_load(struct store_dir *d, const char *name, struct checkpoint **ret);
/* Moves the files back, then the record over the new one's; *ret: the old one.  1: nothing waits
 * there. */
int replace_back(struct store_dir *d, const char *name, struct checkpoint **ret);
/* Removes what waits there under that name; 0 also when nothing does. */
int replace_drop(struct store_dir *d, const char *name);
