/* The limits that the disk sets, as bare loops: O_DIRECT writes and reads of one file with so many
 * pieces in flight, each piece by a thread of its own. A file system without O_DIRECT is used
 * through its cache. */
#pragma once

#include "bench.h"

#define DISK_DEPTHS 4 /* 1, 2, 4, 8 */

struct disk_way {
        unsigned depth;
        uint64_t piece_bytes;
};

struct disk_series { /* of each depth */
        uint64_t piece_bytes;
        struct bench_series seconds[DISK_DEPTHS], cpu[DISK_DEPTHS];
};

/* Writes a new file, fdatasync; the seconds until then.  The file is left. */
double disk_write(const char *path, const void *p, uint64_t bytes, const struct disk_way *way);
double disk_read(const char *path, void *p, uint64_t bytes, const struct disk_way *way);
/* Finds the length of a piece with which the best depth is fastest. */
void disk_try_write(struct disk_series *s, const char *path, const void *p, uint64_t bytes);
void disk_try_read(struct disk_series *s, const char *path, void *p, uint64_t bytes);
/* One round of all depths.  Written files are removed. */
void disk_round_write(struct disk_series *s, const char *path, const void *p, uint64_t bytes);
void disk_round_read(struct disk_series *s, const char *path, void *p, uint64_t bytes);
/* The median of the best depth. */
double disk_best(const struct bench_series *of_depths);
