/* What a PATH on the command line means: a model directory (DIR), one checkpoint of it
 * (DIR@STEP), or a checkpoint as its framework names it (prefix or file).  Owned by the command. */
#pragma once

#include "ctl-directory.h"

struct ctl_place {
        char *path;                /* as given, without @STEP */
        struct ctl_directory *dir; /* the model directory; NULL: `path` names a checkpoint */
        const struct ctl_checkpoint *only; /* the one of DIR@STEP, in dir */
        int fd;       /* the directory of the files; dir's own where there is one */
        char *parent; /* its path, absolute */
        char *file;   /* without dir: what stored_open opens */
};

void ctl_place_done(struct ctl_place *p);
/* -ENOENT, -EACCES, …; the diag names the path. */
int ctl_place_resolve(const char *text, struct ctl_place *ret, struct diag *d);
/* One checkpoint: the one that is meant, or a directory's newest whole one.  As stored_open:
 * *ret may be set with -EBADMSG too.  ret_path: malloc'ed, the directory with the prefix. */
int ctl_place_open(const struct ctl_place *p, struct stored **ret, char **ret_path, struct diag *d);
char *ctl_join(const char *dir, const char *name); /* malloc'ed; NULL: no memory */
