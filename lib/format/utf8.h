/* UTF-8, strictly: shortest forms only, no surrogates, nothing beyond U+10FFFF.  Pure. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define UTF8_MAX_BYTES 4

/* Length of the character at p < end; 0: none. */
static inline size_t utf8_length(const uint8_t *p, const uint8_t *end)
{
        size_t n = *p < 0x80 ? 1 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;

        if (n == 1)
                return 1;
        if (*p < 0xc2 || *p > 0xf4 || (size_t)(end - p) < n)
                return 0;
        for (size_t i = 1; i < n; i++)
                if ((p[i] & 0xc0) != 0x80)
                        return 0;
        if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) ||
            (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f))
                return 0;
        return n;
}

/* Writes the character; returns its length. */
static inline size_t utf8_put(uint8_t out[static UTF8_MAX_BYTES], uint32_t c)
{
        size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

        for (size_t i = n - 1; i > 0; i--, c >>= 6)
                out[i] = (uint8_t)(0x80 | (c & 0x3f));
        out[0] = (uint8_t)(n == 1 ? c : (0xf00 >> n) | c);
        return n;
}
