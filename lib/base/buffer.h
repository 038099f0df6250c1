/* A growable run of bytes with a ceiling.  Embedded: zero-initialise (max 0 = no ceiling),
 * buffer_done.  Always NUL-terminated behind its length, so text in it can be read as a string. */
#pragma once

#include "cleanup.h"

#include <stddef.h>
#include <stdint.h>

struct buffer {
        uint8_t *data;
        size_t len, cap, max; /* bytes */
};

void buffer_done(struct buffer *b);
int buffer_reserve(struct buffer *b, size_t more); /* -ENOMEM, -EOVERFLOW (over max) */
int buffer_append(struct buffer *b, const void *p, size_t n);
int buffer_printf(struct buffer *b, const char *format, ...) _printf_(2, 3);
void buffer_consume(struct buffer *b, size_t n); /* drops the first n bytes */
/* The bytes as a malloc'ed string; b is empty then.  NULL: no memory. */
char *buffer_take(struct buffer *b);
