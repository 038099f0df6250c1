/* A checkpoint on disk, opened for reading: what it holds, where, and whether it is whole.
 * Reads every format of the table and TensorFlow's own bundles (several shards, slices, strings,
 * snappy blocks). Everything in the files is untrusted: lengths are checked, paths confined to
 * the directory. */
#pragma once

#include "format.h"
#include "io.h"

struct stored_part { /* a tensor's bytes, or one slice of it */
        size_t file; /* index in stored.files */
        uint64_t offset, bytes;
        uint32_t crc32c; /* unmasked */
        bool has_crc;
        int64_t *start, *length; /* n_dims each; NULL: the whole tensor */
};

struct stored_tensor {
        char *name;
        const struct dtype *dtype;
        int n_dims;
        int64_t *dims;  /* of the full tensor */
        uint64_t bytes; /* of the full tensor; strings: as stored */
        size_t n_parts;
        struct stored_part *parts;
};

struct stored_file {
        char *name;      /* within the directory */
        uint64_t bytes;  /* on disk; 0 when missing */
        uint64_t needed; /* at least, by the index */
        bool missing;
};

struct stored {
        const struct format *format;
        char *name;   /* the prefix, without suffix */
        int64_t step; /* from the name or the content; -1: unknown */
        size_t n_tensors;
        struct stored_tensor *tensors; /* by name, bytewise */
        size_t n_files;
        struct stored_file *files; /* the index first, where there is one */
        uint64_t bytes;            /* of all files */
};

/* Opens NAME (a prefix, an index or data file's name) in dirfd; format by content.  -ENOENT:
 * nothing there; -EOPNOTSUPP: another format, or a dtype packed below the byte; -EBADMSG: damaged
 * (structure, index sums, a missing or short file): the diag has every damage, one a line; *ret is
 * set also then where the index could be read, else NULL. */
int stored_open(const struct io *io, int dirfd, const char *name, struct stored **ret,
                struct diag *d);
void stored_free(struct stored *s);
DEFINE_FREEP(struct stored, stored_free)
const struct stored_tensor *stored_find(const struct stored *s, const char *name);

struct stored_check { /* how to read */
        const struct io *io;
        int dirfd;
        unsigned n_threads; /* 0: a good number for this machine */
        void (*progress)(uint64_t bytes, uint64_t of, void *user); /* any thread; may be NULL */
        void *user;
};

/* Does this error say that the disk does not give a checkpoint back as it was written?  What else
 * keeps one from being read (no right, no memory) says nothing about it. */
bool stored_is_damage(int r);
/* Reads every byte with O_DIRECT where possible and compares all sums.  -EBADMSG: every damage
 * one line: "FILE: TENSOR (float32 [4096,1024], bytes A to B): crc32c is X, the index says Y". */
int stored_verify(const struct stored *s, const struct stored_check *how, struct diag *d);

struct stored_target {
        const struct tensor *tensor; /* name and part that is wanted; it must fit (see compat.h) */
        void *to;                    /* its bytes, row-major */
};

/* Reads the wanted tensors, sums verified.  Where the targets lie in memory as the tensors lie
 * in the file (a slot), the file is read in large direct pieces.  -EBADMSG: damaged, names what. */
int stored_fetch(const struct stored *s, const struct stored_check *how,
                 const struct stored_target *targets, size_t n, struct diag *d);
struct stored_sink {
        int (*fn)(const void *p, size_t n, void *user); /* negative: stop, and answer that */
        void *user;
};

/* Gives the tensor's bytes in order (row-major, slices joined); for --sha256 and --tensor.  The sum
 * is known only at the end: -EBADMSG means that what was given is damaged.  -EINVAL: strings. */
int stored_stream(const struct stored *s, const struct stored_check *how,
                  const struct stored_tensor *t, const struct stored_sink *sink, struct diag *d);

struct stored_elements {
        struct buffer bytes; /* of all elements, one behind the other; its owner: the caller */
        uint64_t *lengths;   /* n, malloc'ed */
        size_t n;
};

/* The elements of a string tensor, its sums verified.  ret: zeroed. */
int stored_strings(const struct stored *s, const struct stored_check *how,
                   const struct stored_tensor *t, struct stored_elements *ret, struct diag *d);
