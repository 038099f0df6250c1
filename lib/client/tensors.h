/* The tensors that a job gave: a checked copy of its ckpt_tensor array, with the length of each
 * in bytes, and the manifest that is told to the daemon.  The data stays the job's.  Immutable
 * once made. */
#pragma once

#include "ckpt.h"
#include "cleanup.h"
#include "diag.h"

struct tensors {
        size_t n;
        struct ckpt_tensor *t;
        uint64_t *bytes; /* of each */
};

/* -EINVAL names the first tensor that is wrong and why; -ENOMEM. */
int tensors_new(struct tensors **ret, const struct ckpt_tensor *t, size_t n, struct diag *d);
void tensors_free(struct tensors *t);
DEFINE_FREEP(struct tensors, tensors_free)
/* Same names, dtypes, shapes and slices in the same order? */
bool tensors_same(const struct tensors *a, const struct tensors *b);
/* A sealed memory file with the JSON text of []Tensor. */
int tensors_manifest(const struct tensors *t, struct diag *d);
