/* A model directory as it lies on disk, read without a daemon: which checkpoints it holds, what
 * its records and TensorFlow's state file say of them, and in which order a restore would take
 * them.  Owned by the command; never writes, never locks.  Whether a checkpoint is whole says
 * only stored_open. */
#pragma once

#include "cleanup.h"
#include "diag.h"
#include "stored.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ctl_checkpoint {
        char *name;       /* its prefix */
        char *file;       /* the index, or its only file: what stored_open opens */
        int64_t step;     /* by its record, else by its name; -1: unknown */
        int64_t sequence; /* by its record; 0: none */
        char *state;      /* by its record; NULL: none */
        size_t listed;    /* place in the state file, 1 the newest; SIZE_MAX: not there */
        int64_t changed;  /* of the file, Unix seconds; 0: it is missing */
};

struct ctl_directory {
        int fd;
        char *path; /* absolute */
        size_t n;
        struct ctl_checkpoint *items; /* as a restore takes them: the best first */
};

/* -ENOENT, -ENOTDIR, -EACCES, …: the directory cannot be read. */
int ctl_directory_open(const char *path, struct ctl_directory **ret, struct diag *d);
void ctl_directory_free(struct ctl_directory *dir);
DEFINE_FREEP(struct ctl_directory, ctl_directory_free)

/* May a restore take it, as far as its record says? */
bool ctl_checkpoint_is_candidate(const struct ctl_checkpoint *c);
/* The first that stored_open finds whole.  -ENOENT: never any; -ENODATA: there are some, none
 * whole: the diag has the damage of each. */
int ctl_directory_newest(const struct ctl_directory *dir, const struct ctl_checkpoint **ret,
                         struct stored **ret_stored, struct diag *d);
/* The one of that step (candidates first), or NULL. */
const struct ctl_checkpoint *ctl_directory_at(const struct ctl_directory *dir, int64_t step);
