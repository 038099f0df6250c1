/* A box of elements within an n-dimensional tensor: a part's place in the full tensor.  Sizes,
 * overlap, and copying what one part has into another.  Pure; borrows its arrays. */
#pragma once

#include "dtype.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct region {
        int n_dims;
        const int64_t *start; /* NULL: at the origin */
        const int64_t *dims;
        size_t id; /* the caller's */
};

/* Elements of these dims, as TensorFlow counts them: dimension by dimension, no step may
 * overflow int64. -EOVERFLOW; -EINVAL: a negative dimension. */
int region_count(int n_dims, const int64_t *dims, uint64_t *ret);
/* The same in bytes. */
int region_bytes(const struct dtype *dtype, int n_dims, const int64_t *dims, uint64_t *ret);

/* Elements that both have.  Zero for regions of different ranks. */
uint64_t region_common(const struct region *a, const struct region *b);
/* 1: two of them overlap, their ids are in ret; 0: none; -E2BIG: more parts than can be
 * compared, in no regular arrangement; -ENOMEM.  Reorders the regions. */
int region_find_overlap(struct region *regions, size_t n, size_t ret[2]);

struct region_copy {
        const struct region *from, *to; /* where source and target lie in the full tensor */
        uint32_t element_bytes;
        void *target; /* all of `to`, row-major */
};

/* p: n bytes of `from`, row-major, beginning at its byte `offset`.  Copies those that `to` has
 * too. */
void region_copy_bytes(const struct region_copy *c, const void *p, uint64_t offset, uint64_t n);

/* "float32 [4096,1024]", malloc'ed; NULL without memory. */
char *region_text(const struct dtype *dtype, int n_dims, const int64_t *dims);
/* TensorFlow's slice spec without the shape: "0,2:-".  NULL without memory. */
char *region_spec(const struct region *r, const int64_t *full_dims);
