/* The calls of the I/O table as the store makes them: -errno instead of -1, and again after EINTR.
 * A failed fsync is never repeated but for EINTR: the kernel may have dropped the pages, so that a
 * second one would lie. */
#pragma once

#include "cleanup.h"
#include "io.h"

#include <stdbool.h>
#include <stdint.h>

struct place { /* a name in an open directory */
        int dir;
        const char *name;
};

struct file_facts {
        uint64_t bytes, inode, device;
        int64_t modified_ms; /* Unix time, of the file server's clock */
        uint32_t links;
        bool is_regular, is_directory;
};

int call_open(const struct io *io, struct place at, int flags, mode_t mode);
void call_close(const struct io *io, int fd); /* -1 is fine */
int call_fallocate(const struct io *io, int fd,
                   uint64_t bytes); /* 0 also where it is not supported */
int call_truncate(const struct io *io, int fd, uint64_t bytes);
int call_fsync(const struct io *io, int fd);
int call_fdatasync(const struct io *io, int fd);
int call_mkdir(const struct io *io, struct place at, mode_t mode); /* 1: it was there */
int call_unlink(const struct io *io, struct place at);             /* 1: it was not there */
int call_facts(const struct io *io, struct place at, struct file_facts *ret);
int call_facts_of(const struct io *io, int fd, struct file_facts *ret);
/* Replaces what is at `to`. */
int call_rename(const struct io *io, struct place from, struct place to);
/* -EEXIST when something is at `to`.  Where the file system has no such rename (NFS), link and
 * unlink. */
int call_move(const struct io *io, struct place from, struct place to);
/* What a direct write must be aligned to, in bytes; 0: no direct writes here. */
void call_alignment(const struct io *io, int fd, uint32_t *ret_memory, uint32_t *ret_offset);
