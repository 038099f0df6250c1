#include "slice-key.h"

#include <errno.h>
#include <string.h>

#define SIGNED_MAX_BYTES 10

/* A count of bytes, then the number's significant ones, big-endian. */
static int append_count(struct buffer *b, uint64_t v)
{
        uint8_t bytes[9];
        uint8_t n = 0;

        for (uint64_t rest = v; rest; rest >>= 8)
                n++;
        bytes[0] = n;
        for (unsigned i = 0; i < n; i++)
                bytes[1 + i] = (uint8_t)(v >> (8 * (n - 1 - i)));
        return buffer_append(b, bytes, 1u + n);
}

static int append_name(struct buffer *b, const char *name)
{
        int r = 0;

        for (const char *at = name; *at && r >= 0; at++) {
                r = buffer_append(b, at, 1);
                if (r >= 0 && (uint8_t)*at == 0xff)
                        r = buffer_append(b, "\0", 1);
        }
        return r < 0 ? r : buffer_append(b, "\0\1", 2);
}

/* n bytes hold -2^(7n-1) up to 2^(7n-1)-1; ten hold the rest. */
static unsigned signed_length(int64_t v)
{
        uint64_t magnitude = v < 0 ? ~(uint64_t)v : (uint64_t)v;

        for (unsigned n = 1; n < SIGNED_MAX_BYTES; n++)
                if (magnitude < (uint64_t)1 << (7 * n - 1))
                        return n;
        return SIGNED_MAX_BYTES;
}

static int append_signed(struct buffer *b, int64_t v)
{
        static const uint8_t header[SIGNED_MAX_BYTES + 1][2] = {
                {0},       {0x80, 0}, {0xc0, 0}, {0xe0, 0},    {0xf0, 0},    {0xf8, 0},
                {0xfc, 0}, {0xfe, 0}, {0xff, 0}, {0xff, 0x80}, {0xff, 0xc0},
        };
        uint8_t bytes[SIGNED_MAX_BYTES];
        unsigned n = signed_length(v);

        for (unsigned i = 0; i < n; i++) {
                unsigned shift = 8 * (n - 1 - i);

                bytes[i] = shift >= 64 ? (v < 0 ? 0xff : 0) : (uint8_t)((uint64_t)v >> shift);
        }
        bytes[0] ^= header[n][0];
        if (n > 1)
                bytes[1] ^= header[n][1];
        return buffer_append(b, bytes, n);
}

int slice_key_encode(struct buffer *b, const char *name, const struct slice_extent *extents, int n)
{
        int r = append_count(b, 0);

        if (r >= 0)
                r = append_name(b, name);
        if (r >= 0)
                r = append_count(b, (uint64_t)n);
        for (int i = 0; i < n && r >= 0; i++) {
                r = append_signed(b, extents[i].full ? 0 : extents[i].start);
                if (r >= 0)
                        r = append_signed(b, extents[i].full ? -1 : extents[i].length);
        }
        return r;
}
