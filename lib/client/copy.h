/* Copies large memory past the caches: a saved state is not read again by the job, and must not
 * throw its working set out.  Which way is the fastest differs from processor to processor by half,
 * so the first large copies try each in turn.  Any thread may copy. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COPY_STREAM_BYTES 4096             /* what is smaller is copied as usual */
#define COPY_TRIAL_BYTES ((size_t)1 << 20) /* one turn of a way */
#define COPY_TRIALS 8                      /* turns of each way */
#define COPY_WAYS_MAX 8

typedef void (*copy_fn)(void *dst, const void *src, size_t n);

struct copy_way {
        const char *name;
        copy_fn copy;
        bool (*is_supported)(void);
};

extern const struct copy_way copy_ways[]; /* ends with name NULL; one at least is supported */

struct copier { /* all zero at first */
        _Atomic(copy_fn) chosen;
        atomic_uint n_trials;
        _Atomic uint64_t least_ns[COPY_WAYS_MAX];
};

void copier_copy(struct copier *c, void *dst, const void *src, size_t n);
/* The clock by which a copy is timed: monotonic. */
int64_t copy_now_ns(void);
/* Orders this thread's streaming stores before its next store. */
void copy_fence(void);
