/* One data file being written: direct I/O in aligned pieces where the file system takes it, else
 * through the page cache; pieces may be written by several threads at once.  Owner: the save.  A
 * file whose sync failed is never synced again: it is discarded. */
#pragma once

#include "directory.h"

struct persist {
        const struct io *io;
        int dirfd;
        char name[TEMPORARY_MAX];
        int plain, direct;            /* two descriptors of the same file; direct -1: none */
        _Atomic bool is_direct;       /* until the file system refuses a direct write */
        uint32_t memory_align, align; /* bytes */
        uint64_t bytes;               /* of the file when it is done */
};

/* A file of `bytes` bytes under a temporary name, its space taken. */
int persist_open(struct persist *p, const struct store_dir *d, const char *name, uint64_t bytes);
int persist_write(struct persist *p, const void *memory, uint64_t offset, uint64_t n);
/* Cuts off the padding, then fdatasync. */
int persist_sync(struct persist *p);
void persist_close(struct persist *p); /* 0-initialised with plain, direct -1 is fine */
