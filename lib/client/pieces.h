/* Tensors cut into pieces that two threads can share.  A tensor that is fetched by a copy
 * function stays whole.  Owned by whoever works on them; pure. */
#pragma once

#include "tensors.h"

#define PIECE_BYTES ((uint64_t)8 << 20)
#define PIECE_SMALL_BYTES ((uint64_t)64 << 10) /* save_begin copies what is smaller at once */

struct piece {
        size_t tensor;
        uint64_t at, bytes; /* within the tensor */
};

struct pieces {
        struct piece *p;
        size_t n;
};

/* Of every tensor whose place is not -1 and that has at least min_bytes (1: no empty one).
 * -ENOMEM. */
int pieces_cut(struct pieces *ret, const struct tensors *t, const int64_t *places,
               uint64_t min_bytes);
void pieces_done(struct pieces *p);
