/* What ckptd and TensorFlow wrote down about a directory's checkpoints:
 * .ckptd/checkpoints/NAME.json and the state file `checkpoint`.  Part of ctl-directory;
 * untrusted like every file. */
#pragma once

#include "ctl-directory.h"

/* A new item at the end, named; NULL: no memory. */
struct ctl_checkpoint *ctl_directory_add(struct ctl_directory *dir, const char *name,
                                         size_t length);
struct ctl_checkpoint *ctl_directory_find(const struct ctl_directory *dir, const char *name);
/* Marks the items that have a record, and adds those whose files are missing though a record
 * says whole. Records that cannot be read are passed over. */
int ctl_records_read(struct ctl_directory *dir);
/* Sets `listed`.  A missing or broken state file lists nothing. */
int ctl_state_file_read(struct ctl_directory *dir);
