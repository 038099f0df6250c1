/* Scope-bound cleanup.  `_cleanup_(x_freep) struct x *x = NULL;` frees on every way out;
 * `*ret = take_ptr(x);` hands the value on.  Free functions accept NULL. */
#pragma once

#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _printf_(a, b) __attribute__((format(printf, a, b)))

/* Defines TYPE's `FNp`, for _cleanup_, from its free function FN. */
#define DEFINE_FREEP(type, fn)                                                                     \
        static inline void fn##p(type **p)                                                         \
        {                                                                                          \
                fn(*p);                                                                            \
        }

#define take_ptr(p)                                                                                \
        __extension__({                                                                            \
                __typeof__(p) take_ptr_ = (p);                                                     \
                (p) = NULL;                                                                        \
                take_ptr_;                                                                         \
        })

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static inline void freep(void *p)
{
        free(*(void **)p);
}

static inline void closep(int *fd)
{
        if (*fd >= 0)
                close(*fd);
}

static inline int take_fd(int *fd)
{
        int r = *fd;

        *fd = -1;
        return r;
}
