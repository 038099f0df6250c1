/* Copies large memory past the caches: a saved state is not read again by the job, and must not
 * throw its working set out.  The fastest way that this processor has is picked at run time.
 * Stateless. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define COPY_STREAM_BYTES 4096 /* what is smaller is copied as usual */

typedef void (*copy_fn)(void *dst, const void *src, size_t n);

struct copy_way {
        const char *name;
        copy_fn copy;
        bool (*is_supported)(void);
};

extern const struct copy_way copy_ways[]; /* best first; the last is memcpy; ends with name NULL */

copy_fn copy_pick(void);
/* Orders this thread's streaming stores before its next store. */
void copy_fence(void);
