/* How the two readers of a manifest, of text and of a JSON tree, put it together.  Nothing outside
 * lib/format includes this. */
#pragma once

#include "manifest.h"

struct manifest_raw {                     /* one tensor as it was said; borrowed */
        const char *name, *dtype, *slice; /* NULL: not said */
        bool has_shape;
        const int64_t *dims;
        size_t n_dims;
};

/* Checks and copies; t: zeroed. */
int manifest_set_tensor(struct tensor *t, size_t index, const struct manifest_raw *raw,
                        struct diag *d);
/* What can be checked when all are there; makes by_name. */
int manifest_finish(struct manifest *m, struct diag *d);
