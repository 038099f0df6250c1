/* Saves: from complete slots (or pieces of data) to a published checkpoint (save.c, persist.c,
 * publish.c). The manager owns the task; it stays constant but for its results until `done`.
 * Nothing that was ever published is overwritten, and what a failed save wrote is removed by
 * itself. */
#pragma once

#include "checkpoint.h"
#include "format.h"
#include "page.h"

#include <stdatomic.h>

struct store;
struct store_dir;

struct store_shard {
        const struct manifest *manifest;
        const void *memory; /* laid out as the data file; NULL: given in pieces */
        const struct page_slot
                *slot; /* looked at before the first byte and after the last; NULL: none */
        struct page_slot before; /* store's */
        uint32_t *crc32c;        /* result: one a tensor, unmasked; allocated by the caller */
};

struct store_save {
        /* task */
        struct store_dir *dir;
        const struct format *format;
        /* name, step, sequence, run, save_id, origin; gets files, bytes, published_ms */
        struct checkpoint *checkpoint;
        size_t n_shards;
        struct store_shard *shards;
        uint64_t disk_reserve;             /* bytes; UINT64_MAX: the smaller of 10 GiB and 5% */
        const struct checkpoint *replaces; /* an older one of ours with the same name, or NULL */
        bool read_back; /* keep_checkpoint_max 1: read the new one back before the old may go */
        void (*done)(struct store_save *t);
        void *user;
        /* result */
        _Atomic uint64_t written; /* bytes so far; readable at any time */
        uint64_t total;
        /* 0: published; -ENOSPC, -EDQUOT, -ENOENT, -EROFS, -EACCES, -EIO, -EEXIST, -EBUSY (another
         * daemon took over), -ESTALE (a slot changed), -EBADMSG (published, and read back wrong) */
        int r;
        uint64_t short_of; /* -ENOSPC before anything was written: bytes that are missing; else 0 */
        bool published;    /* r < 0 after the rename: it is visible, but a later sync failed */
        struct diag diag;
        struct store_pieces *pieces; /* store's */
};
/* All moments from claimed to the record that says `whole`.  A failure removes its own files. */
void store_save_start(struct store *s, struct store_save *t);

/* The same with the data in pieces (no memory for a slot): begin, any number of pieces in order of
 * their offsets for each shard, then store_save_start publishes.  done is called after each. */
struct store_piece {
        struct store_save *save;
        size_t shard;
        uint64_t offset, bytes; /* of the data file */
        const void *memory;
        void (*done)(struct store_piece *p);
        void *user;
        uint64_t turn; /* store's */
        int r;
        struct diag diag;
};
void store_save_piece(struct store *s, struct store_piece *p);
void store_save_abandon(
        struct store *s,
        struct store_save *t); /* removes what the pieces wrote; calls done, r -ECANCELED */
