/* Does a checkpoint fit what a job wants to restore?  Pure.  The first line of each misfit is a
 * promise, in TensorFlow's words (tensorflow/core/kernels/save_restore_tensor.cc): tensor_name =
 * NAME; shape in shape_and_slice spec [20] does not match the shape stored in checkpoint: [10]
 *   tensor_name = NAME; expected dtype float does not equal original dtype double
 *   Key NAME not found in checkpoint */
#pragma once

#include "stored.h"

/* 0: every tensor of the manifest is there with its dtype and shape.  -EINVAL: all misfits, at most
 * LIMIT_MISFITS lines, then "and N more", then which checkpoint it is and what to do. */
int compat_check(const struct manifest *m, const struct stored *s, struct diag *d);
/* Does this one tensor fit?  For partial restores. */
bool compat_fits(const struct tensor *t, const struct stored *s);
