/* File descriptors: memory files, files read whole, process descriptors.
 * Every function returns -errno on failure and never leaks a descriptor. */
#pragma once

#include "buffer.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define FDS_HUGE_BYTES ((uint64_t)2 << 20) /* a huge page; more is no harm */

/* A memfd of that size, sealed against growing and shrinking; not yet backed by pages. */
int fds_memfd_new(const char *name, uint64_t bytes);
/* A memfd holding these bytes, sealed also against writing. */
int fds_memfd_of(const char *name, const void *p, size_t n);
/* A memfd from a peer: a regular memory file of at least `bytes`, sealed against shrinking: 0.
 * Else -EPERM. */
int fds_memfd_check(int fd, uint64_t bytes);
/* Maps a memory file whole, for reading and writing, where its huge pages can be mapped as such. */
int fds_map_shared(int fd, uint64_t bytes, void **ret);
/* Reads a file of at most max bytes (-EFBIG) into an empty buffer, with pread from the start. */
int fds_read_all(int fd, size_t max, struct buffer *ret);
/* Reads text file `path` (any path, not confined) the same way. */
int fds_read_file(const char *path, size_t max, struct buffer *ret);
int fds_pidfd_open(pid_t pid);
/* Is the process gone?  1, 0 or -errno. */
int fds_pidfd_is_dead(int pidfd);
/* The pid that a pidfd names, from /proc/self/fdinfo: > 0; 0: gone or not visible here. */
pid_t fds_pidfd_pid(int pidfd);
