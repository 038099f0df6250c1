/* How much memory this process may still take, and how much there is: the node's, and every limit
 * up its own cgroup tree (version 1 or 2).  Pure but for reading below `root`, which tests set. */
#pragma once

#include <stdint.h>

struct memory_limit {
        uint64_t room;  /* bytes that may still be allocated */
        uint64_t total; /* the node's memory, or the tightest limit */
};

/* root: "" for this machine; what cannot be read limits nothing. */
void memory_limit_read(const char *root, struct memory_limit *ret);
