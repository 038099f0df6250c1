/* TensorFlow's V2 checkpoint ("TensorBundle"): PREFIX.index, a sorted table of names, and
 * PREFIX.data-SSSSS-of-NNNNN, the tensors' bytes.  The writing side is format_tensorbundle in
 * format.h; this is the reading side, beneath stored_open. */
#pragma once

#include "stored.h"

#define BUNDLE_INDEX_SUFFIX ".index"
#define BUNDLE_VERSION 1          /* what we write and read */
#define BUNDLE_SHARDS_MAX 1048576 /* of a bundle that we read */
#define BUNDLE_ALIGNMENT 64       /* of every tensor that we write */

struct bundle_source {
        const char *name;  /* the prefix */
        const void *index; /* bytes of PREFIX.index */
        size_t n;
};

/* What the bytes of an index say.  Files are named, not looked at: the index first, then the
 * data files that an entry names, of n_shards in all.  -EBADMSG with every damage; *ret is set
 * also then where the table and header could be read. */
int bundle_parse(const struct bundle_source *source, struct stored **ret, size_t *ret_n_shards,
                 struct diag *d);

/* "PREFIX.data-00000-of-00001", malloc'ed. */
char *bundle_data_name(const char *prefix, size_t shard, size_t n_shards);
