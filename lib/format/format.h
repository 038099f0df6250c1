/* The formats that ckptd lays out itself, one entry of a table each.  A slot of shared memory is
 * laid out exactly like the data file, so writing is copying memory to disk; the format only
 * says where tensors lie, how files are called, and makes the index or header around them.
 * Pure: no disk. */
#pragma once

#include "buffer.h"
#include "manifest.h"

#define FORMAT_NAME_MAX 256 /* bytes of a file name, NUL included */

struct format_shard { /* one rank's data file, written */
        const struct manifest *manifest;
        const uint32_t
                *crc32c; /* one a tensor of the manifest, unmasked; of those with an offset */
};

struct format_checkpoint {
        const char *name; /* "model.ckpt-4000": the prefix, without suffix */
        int64_t step;
        size_t n_shards;
        const struct format_shard *shards;
};

struct format {
        const char *name; /* "tensorbundle", "safetensors" */
        bool state_file;  /* TensorFlow's `checkpoint` file names these */
        /* Sets every tensor's offset (64-byte aligned where the format allows) and bytes,
         * head_bytes.  Tensors with offset -1 are skipped.  -EINVAL: a dtype or name that the
         * format cannot hold. */
        int (*layout)(struct manifest *m, size_t n_shards, struct diag *d);
        /* File name of shard `shard`; -ENAMETOOLONG, -EINVAL as format_check_name. */
        int (*data_name)(char out[static FORMAT_NAME_MAX], const char *name, size_t shard,
                         size_t n_shards);
        /* File name of the index, whose rename publishes; an empty name: the single data file's
         * rename does. */
        int (*index_name)(char out[static FORMAT_NAME_MAX], const char *name, size_t n_shards);
        /* Header bytes of one data file (exactly head_bytes); NULL: the format has none. */
        int (*head)(const struct format_checkpoint *c, size_t shard, struct buffer *ret,
                    struct diag *d);
        /* The index file's bytes; not called where index_name is empty. */
        int (*index)(const struct format_checkpoint *c, struct buffer *ret, struct diag *d);
};

extern const struct format format_tensorbundle, format_safetensors;
extern const struct format *const formats[]; /* NULL at the end */

const struct format *format_by_name(const char *name); /* NULL: unknown */

/* May a checkpoint, or the directory it lies in, be called so?  TensorFlow takes the path of a
 * bundle for a glob pattern, so that names with * ? [ ] \ are lost to it.  -EINVAL,
 * -ENAMETOOLONG. */
int format_check_name(const struct format *f, const char *path, struct diag *d);
