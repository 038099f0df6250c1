/* The key under which a bundle's index holds one part of a tensor: order-preserving codes of the
 * name and the part's place (tensorflow/core/lib/strings/ordered_code.cc).  Only written: a
 * reader makes the key of each part that an entry names and looks it up.  Pure. */
#pragma once

#include "buffer.h"

#include <stdbool.h>

struct slice_extent {
        bool full;             /* the whole dimension */
        int64_t start, length; /* when it is not */
};

/* Appends the key.  -ENOMEM. */
int slice_key_encode(struct buffer *b, const char *name, const struct slice_extent *extents, int n);
