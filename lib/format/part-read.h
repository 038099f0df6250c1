/* Reads stored parts, many at once: direct reads of aligned pieces by a few threads, summed on
 * the way. The work of verifying and of fetching.  Owner: the call; nothing outlives it. */
#pragma once

#include "stored.h"

#include <stdatomic.h>

#define PART_READ_PIECE_BYTES (2u * 1024 * 1024) /* a huge page */
#define PART_READ_THREADS 4                      /* where the caller does not say */
#define PART_READ_ALIGNMENT 4096                 /* of direct reads: offset, length and memory */

struct part_read { /* one part, of some bytes, that lies in its file */
        const struct stored_tensor *tensor;
        const struct stored_part *part;
        uint32_t crc32c;            /* set: of the bytes that were read */
        size_t first_want, n_wants; /* the caller's */
        size_t first_run, n_runs;   /* of the reading */
};

struct part_reading {
        const struct stored *stored;
        const struct stored_check *how;
        size_t n;
        struct part_read *parts; /* sorted by file and offset by the call */
        /* Memory, aligned, where the bytes from `from` of the part may be put at once; NULL: none.
         * May be NULL. */
        void *(*place)(const struct part_read *p, uint64_t from, void *user);
        /* n bytes of the part from its byte `from`; any thread, each byte once.  May be NULL. */
        void (*take)(const struct part_read *p, uint64_t from, const void *bytes, size_t n,
                     void *user);
        void *user;
};

/* 0; -EBADMSG: a file became shorter; another errno: a read failed; the diag names the file. */
int part_read_run(struct part_reading *r, struct diag *d);
/* Does the file, as it was found, hold the part? */
bool part_read_is_there(const struct stored *s, const struct stored_part *part);
