/* How tensors of one name stand to each other: shared by parsing a manifest and by sharing
 * tensors among ranks.  Pure; owns nothing. */
#pragma once

#include "manifest.h"

/* By name, then start (whole tensors first), then dims. */
int manifest_compare(const struct tensor *a, const struct tensor *b);
/* Same dtype and same shape of the full tensor? */
bool manifest_same_full(const struct tensor *a, const struct tensor *b);
/* 1: two overlap, their indices are in ret; 0; -E2BIG, -ENOMEM. */
int manifest_parts_overlap(const struct tensor *const *parts, size_t n, size_t ret[2]);
