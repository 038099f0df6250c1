/* How the readers of the formats put a struct stored together, and the few file operations that
 * they share.  Nothing outside lib/format includes this. */
#pragma once

#include "damage.h"
#include "stored.h"

struct stored_dir {
        const struct io *io;
        int dirfd;
};

/* name: the prefix; step is taken from it. */
int stored_new(const struct format *format, const char *name, struct stored **ret);
int stored_add_file(struct stored *s, const char *name, size_t *ret_index);
/* Takes name and dims, also when it fails.  *ret is valid until the next tensor is added. */
int stored_add_tensor(struct stored *s, char *name, int64_t *dims, struct stored_tensor **ret);
/* By name, bytewise. */
void stored_sort(struct stored *s);
/* Raises files[].needed to what the parts want; tells of parts that lie on one another. */
int stored_check_parts(struct stored *s, struct damage *g);
/* Looks at every file: size, missing, short. */
int stored_look(struct stored *s, const struct io *io, int dirfd, struct damage *g, struct diag *d);

/* The step in a checkpoint's name: "model.ckpt-4000", "model.ckpt-4000-r3"; -1: none. */
int64_t stored_name_step(const char *name);
/* Reads a whole file of at most max bytes.  -EFBIG; diag set but for -ENOENT. */
int stored_read_file(const struct stored_dir *dir, const char *name, size_t max, struct buffer *ret,
                     struct diag *d);
/* A regular file's size; 0 or -errno (-ENOENT; -EINVAL: another kind of file). */
int stored_file_size(const struct io *io, int dirfd, const char *name, uint64_t *ret);

/* Readers of the formats, as stored_open.  `name` is the prefix, or the file of a single
 * safetensors. */
int bundle_open(const struct io *io, int dirfd, const char *prefix, struct stored **ret,
                struct diag *d);
int safetensors_open(const struct io *io, int dirfd, const char *file, struct stored **ret,
                     struct diag *d);
int safetensors_open_sharded(const struct io *io, int dirfd, const char *prefix,
                             struct stored **ret, struct diag *d);
