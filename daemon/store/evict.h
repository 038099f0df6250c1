/* Removing a checkpoint: the index first, so that nobody opens half of it, then the data, then its
 * record. */
#pragma once

#include "directory.h"

/* 0 also when it is gone already.  Needs no space. */
int evict_checkpoint(struct store_dir *d, const struct checkpoint *c, struct diag *diag);
