/* An open model directory as the room's own files see it.  Owner: the manager, through store-dir.h.
 * The path is for texts only: every call goes through the descriptors, so that a directory that is
 * moved while it is open stays the same one. */
#pragma once

#include "buffer.h"
#include "fs-call.h"
#include "checkpoint.h"
#include "store-dir.h"

#include <stdatomic.h>

#define CKPTD_DIR ".ckptd"
#define RECORDS_DIR "checkpoints"
#define REPLACED_DIR "replaced"
#define TEMPORARY_PREFIX ".ckptd-tmp-"
#define TEMPORARY_MAX 64 /* bytes of a temporary's name, NUL included */

struct store_dir {
        const struct io *io;
        char *path;
        char *socket; /* this daemon's, for the owner's mark */
        int fd;       /* the directory */
        int ckptd;    /* .ckptd; -1: read only and never registered */
        int records;  /* .ckptd/checkpoints; -1 likewise */
        int owner;    /* .ckptd/owner */
        bool is_network, is_locked, is_owned, is_read_only;
        bool is_at_path; /* as it was opened; else only a job's descriptor leads to it */
        uint64_t device; /* the file system's id */
        char uuid[37];
        _Atomic unsigned n_temporaries;
};

/* The name of file number i of a save, until it is published. */
void directory_temporary(char out[static TEMPORARY_MAX], int64_t save_id, size_t i);
/* A temporary's name that this daemon has not used before in this directory. */
void directory_scratch(struct store_dir *d, char out[static TEMPORARY_MAX]);
/* A text for people about a call that failed in this directory; returns r.  doing: "write", "make
 * x". */
int directory_failed(const struct store_dir *d, struct diag *diag, int r, const char *doing);
/* -ENOENT: it was removed, or its path leads elsewhere now; what is written would be found by
 * nobody. */
int directory_check(const struct store_dir *d, struct diag *diag);
/* Opens a folder under .ckptd, making it when `make`; -ENOENT. */
int directory_open_folder(const struct store_dir *d, const char *name, bool make);

/* Free and total bytes only, which costs one call. */
int directory_space(const struct store_dir *d, struct store_space *ret);

/* identity.c: .ckptd/directory.json */
int identity_load(struct store_dir *d, struct store_open *o);
