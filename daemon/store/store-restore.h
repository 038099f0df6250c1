/* Reading back: a checkpoint into memory that is laid out for a rank (restore.c), and sums
 * compared, of memory or of a checkpoint on disk (check.c).  The caller owns task and result.  What
 * is on disk is not trusted. */
#pragma once

#include "checkpoint.h"
#include "diag.h"
#include "manifest.h"

struct store;
struct store_dir;

struct store_restore {
        struct store_dir *dir;
        const char *name; /* a checkpoint of dir; or with path: */
        const char *path; /* a checkpoint elsewhere (prefix or file), absolute or within dir */
        const struct manifest *manifest; /* laid out; what the rank wants */
        bool partial;                    /* tensors that do not fit are left out: map -1 */
        void *to; /* a slot's memory of manifest->bytes, or NULL: a new memfd */
        void (*done)(struct store_restore *t);
        void *user;
        int r; /* -EBADMSG damaged; -EINVAL misfit (compat.h's text); -ENOENT */
        struct diag diag;
        int64_t step;
        int data_fd;         /* the new memfd, or -1 */
        uint64_t data_bytes; /* of the data: the layout's, and what lower ranks store behind it */
        int64_t *map;        /* malloc'ed, manifest->n: offset in the data, or -1 */
        char *stored_json;   /* []Tensor: all that the checkpoint holds */
};
void store_restore_start(struct store *s, struct store_restore *t);
void store_restore_done(struct store_restore *t);

struct store_check { /* sums of a slot's memory, or of a checkpoint on disk */
        struct store_dir *dir;
        const char *name; /* on disk; or: */
        const struct manifest *manifest;
        const void *memory;
        const uint32_t *crc32c;
        void (*done)(struct store_check *t);
        void *user;
        int r; /* -EBADMSG */
        struct diag diag;
        const char *format; /* of a checkpoint on disk: its format's name, */
        uint64_t bytes;     /* of all its files, */
        size_t n_files;
        struct checkpoint_file *files; /* and these, the index last; the caller may take them */
};
void store_check_start(struct store *s, struct store_check *t);
void store_check_done(struct store_check *t); /* frees the result */
