/* Small files that are read and written whole: records, the identity, the state file, an index.
 * Nothing here is ever written in place: a temporary beside it, synced, renamed, the directory
 * synced. */
#pragma once

#include "buffer.h"
#include "fs-call.h"

#include <stdint.h>

/* -ENOENT; -EFBIG over max; -EBADMSG: not a regular file. */
int small_file_read(const struct io *io, struct place at, size_t max, struct buffer *ret);
/* A new file with these bytes, open for its sync.  -EEXIST; after another failure there is none. */
int small_file_create(const struct io *io, struct place at, const struct buffer *text, int *ret_fd);
/* Temporary, fsync, rename, fsync of the directory. */
int small_file_replace(const struct io *io, struct place temporary, const char *name,
                       const struct buffer *text);
