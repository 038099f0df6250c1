#include "snappy.h"

#include "varint.h"

#include <errno.h>
#include <string.h>

#define GROWTH_MAX 24 /* three bytes give 64 at most: more than 22 times is a lie */

struct element {
        size_t length;
        size_t offset; /* back from the end of what is there; 0: a literal */
};

static int take_le(const uint8_t **at, const uint8_t *end, unsigned n, size_t *ret)
{
        size_t v = 0;

        if ((size_t)(end - *at) < n)
                return -EBADMSG;
        for (unsigned i = 0; i < n; i++)
                v |= (size_t)(*at)[i] << (8 * i);
        *at += n;
        *ret = v;
        return 0;
}

static int take_element(const uint8_t **at, const uint8_t *end, struct element *ret)
{
        uint8_t tag = *(*at)++;
        int r = 0;

        *ret = (struct element){.length = (size_t)(tag >> 2) + 1};
        switch (tag & 3) {
        case 0:
                if (ret->length > 60) {
                        r = take_le(at, end, (unsigned)ret->length - 60, &ret->length);
                        ret->length++;
                }
                return r;
        case 1:
                ret->length = ((tag >> 2) & 7) + 4;
                r = take_le(at, end, 1, &ret->offset);
                ret->offset |= (size_t)(tag >> 5) << 8;
                break;
        case 2:
                r = take_le(at, end, 2, &ret->offset);
                break;
        default:
                r = take_le(at, end, 4, &ret->offset);
        }
        return r < 0 || ret->offset == 0 ? -EBADMSG : 0;
}

static int apply(struct buffer *b, const struct element *e, const uint8_t **at, const uint8_t *end,
                 size_t want)
{
        if (e->length > want - b->len)
                return -EBADMSG;
        if (e->offset == 0) {
                if ((size_t)(end - *at) < e->length)
                        return -EBADMSG;
                memcpy(b->data + b->len, *at, e->length);
                *at += e->length;
        } else {
                if (e->offset > b->len)
                        return -EBADMSG;
                for (size_t i = 0; i < e->length; i++) /* source and target may overlap */
                        b->data[b->len + i] = b->data[b->len + i - e->offset];
        }
        b->len += e->length;
        return 0;
}

int snappy_decompress(const void *p, size_t n, size_t max, struct buffer *ret)
{
        const uint8_t *at = p, *end = at + n;
        struct element e;
        uint64_t want;
        int r;

        if (varint_get(&at, end, &want) < 0 || want > max || want / GROWTH_MAX > n)
                return -EBADMSG;
        ret->len = 0;
        r = buffer_reserve(ret, want);
        while (r >= 0 && at < end) {
                r = take_element(&at, end, &e);
                if (r >= 0)
                        r = apply(ret, &e, &at, end, want);
        }
        if (r < 0)
                return r;
        return ret->len == want ? 0 : -EBADMSG;
}
