/* Little-endian numbers and base-128 varints, as LevelDB tables and protobuf write them.
 * Readers move *at and never pass end.  Pure. */
#pragma once

#include <errno.h>
#include <stdint.h>
#include <string.h>

#define VARINT64_MAX_BYTES 10

/* Writes the shortest form; returns its length. */
static inline unsigned varint_put(uint8_t out[static VARINT64_MAX_BYTES], uint64_t v)
{
        unsigned n = 0;

        for (; v >= 0x80; v >>= 7)
                out[n++] = (uint8_t)(v | 0x80);
        out[n++] = (uint8_t)v;
        return n;
}

/* -EBADMSG: cut off, longer than 10 bytes, or beyond 64 bits. */
static inline int varint_get(const uint8_t **at, const uint8_t *end, uint64_t *ret)
{
        const uint8_t *p = *at;
        uint64_t v = 0;

        for (unsigned shift = 0; shift < 70 && p < end; shift += 7) {
                uint8_t byte = *p++;

                if (shift == 63 && byte > 1)
                        return -EBADMSG;
                v |= (uint64_t)(byte & 0x7f) << shift;
                if (byte & 0x80)
                        continue;
                *at = p;
                *ret = v;
                return 0;
        }
        return -EBADMSG;
}

static inline uint32_t fixed32_get(const void *p)
{
        const uint8_t *b = p;

        return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static inline uint64_t fixed64_get(const void *p)
{
        return fixed32_get(p) | (uint64_t)fixed32_get((const uint8_t *)p + 4) << 32;
}

static inline void fixed32_put(uint8_t out[static 4], uint32_t v)
{
        for (int i = 0; i < 4; i++)
                out[i] = (uint8_t)(v >> (8 * i));
}

static inline void fixed64_put(uint8_t out[static 8], uint64_t v)
{
        for (int i = 0; i < 8; i++)
                out[i] = (uint8_t)(v >> (8 * i));
}
