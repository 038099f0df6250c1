#include "buffer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FIRST_CAPACITY_BYTES 64

void buffer_done(struct buffer *b)
{
        free(b->data);
        b->data = NULL;
        b->len = b->cap = 0;
}

/* Doubles, but never past the ceiling; `need` counts the NUL and lies below it already. */
static size_t next_capacity(const struct buffer *b, size_t need)
{
        size_t cap = b->cap > 0 ? b->cap : FIRST_CAPACITY_BYTES;

        while (cap < need)
                cap = cap > SIZE_MAX / 2 ? need : cap * 2;
        if (b->max > 0 && cap > b->max && b->max < SIZE_MAX)
                cap = b->max + 1;
        return cap;
}

int buffer_reserve(struct buffer *b, size_t more)
{
        size_t need, cap;
        uint8_t *data;

        if (__builtin_add_overflow(b->len, more, &need) || (b->max > 0 && need > b->max))
                return -EOVERFLOW;
        if (__builtin_add_overflow(need, 1, &need))
                return -EOVERFLOW;
        if (need <= b->cap)
                return 0;
        cap = next_capacity(b, need);
        data = realloc(b->data, cap);
        if (!data)
                return -ENOMEM;
        data[b->len] = '\0';
        b->data = data;
        b->cap = cap;
        return 0;
}

int buffer_append(struct buffer *b, const void *p, size_t n)
{
        int r = buffer_reserve(b, n);

        if (r < 0)
                return r;
        if (n > 0)
                memcpy(b->data + b->len, p, n);
        b->len += n;
        b->data[b->len] = '\0';
        return 0;
}

int buffer_printf(struct buffer *b, const char *format, ...)
{
        va_list args;
        int n, r;

        va_start(args, format);
        n = vsnprintf(NULL, 0, format, args);
        va_end(args);
        if (n < 0)
                return -EINVAL;
        r = buffer_reserve(b, (size_t)n);
        if (r < 0)
                return r;
        va_start(args, format);
        vsnprintf((char *)b->data + b->len, (size_t)n + 1, format, args);
        va_end(args);
        b->len += (size_t)n;
        return 0;
}

void buffer_consume(struct buffer *b, size_t n)
{
        if (n > b->len)
                n = b->len;
        if (n == 0)
                return;
        memmove(b->data, b->data + n, b->len - n + 1);
        b->len -= n;
}

char *buffer_take(struct buffer *b)
{
        char *text = b->data ? (char *)take_ptr(b->data) : calloc(1, 1);

        b->len = b->cap = 0;
        return text;
}
