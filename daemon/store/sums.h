/* crc32c of every tensor of a data file, taken while the file is written in pieces: a tensor that
 * lies inside a piece is summed there; one that crosses pieces is summed in parts, joined when all
 * pieces are done.  Pure. */
#pragma once

#include "manifest.h"

struct sums {
        const struct manifest *manifest;
        size_t n;        /* tensors with bytes in this file */
        uint32_t *order; /* their indices by offset */
};

struct sums_part { /* one piece of the file */
        uint64_t offset, bytes;
        uint32_t head; /* of the tensor that began before this piece */
        uint32_t tail; /* of the tensor that begins here and goes on behind it */
};

#define SUMS_PIECE_BYTES ((uint64_t)4 * 1024 * 1024) /* in which files are written and summed */

/* The pieces of a file of that length. */
uint64_t sums_count(uint64_t bytes);
void sums_cut(struct sums_part *parts, uint64_t bytes);

int sums_init(struct sums *s, const struct manifest *m);
void sums_done(struct sums *s);
/* memory: the piece's own bytes.  Writes crc32c[i] of the tensors that lie inside, and the part's
 * ends. */
void sums_piece(const struct sums *s, struct sums_part *part, const void *memory, uint32_t *crc32c);
/* The parts, in order of their offsets and without a gap, are done: the tensors that cross them. */
void sums_join(const struct sums *s, const struct sums_part *parts, size_t n, uint32_t *crc32c);
/* The same for pieces that come in order: continues the sums, which begin at 0. */
void sums_extend(const struct sums *s, const struct sums_part *part, const void *memory,
                 uint32_t *crc32c);
