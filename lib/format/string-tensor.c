#include "string-tensor.h"

#include "crc32c.h"
#include "part-read.h"
#include "region.h"
#include "varint.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

/* A length enters the sum in 4 bytes, or in 8 where it needs them. */
static uint32_t sum_length(uint32_t crc, uint64_t length)
{
        uint8_t bytes[8];

        fixed64_put(bytes, length);
        return crc32c_extend(crc, bytes, length <= UINT32_MAX ? 4 : 8);
}

static int parse_lengths(const uint8_t **at, const uint8_t *end, uint64_t n, struct strings_view *v,
                         struct diag *d)
{
        uint64_t room = (uint64_t)(end - *at);

        for (uint64_t i = 0; i < n; i++) {
                if (varint_get(at, end, &v->lengths[i]) < 0)
                        return diag_set(d, -EBADMSG,
                                        "String lengths longer than expected offset %" PRIu64,
                                        room);
                if (v->lengths[i] > room - v->total)
                        return diag_set(d, -EBADMSG, "string %" PRIu64 " is longer than the tensor",
                                        i);
                v->total += v->lengths[i];
                v->crc32c = sum_length(v->crc32c, v->lengths[i]);
        }
        return 0;
}

int strings_parse(const void *p, uint64_t bytes, uint64_t n, struct strings_view *ret,
                  struct diag *d)
{
        _cleanup_(freep) uint64_t *lengths = NULL;
        const uint8_t *at = p, *end = at + bytes;
        struct strings_view v = {0};
        int r;

        if (n > bytes)
                return diag_set(d, -EBADMSG, "%" PRIu64 " strings in %" PRIu64 " bytes", n, bytes);
        lengths = calloc(n + 1, sizeof(*lengths));
        if (!lengths)
                return -ENOMEM;
        v.lengths = lengths;
        r = parse_lengths(&at, end, n, &v, d);
        if (r < 0)
                return r;
        if (end - at < 4 || (uint64_t)(end - at) - 4 != v.total)
                return diag_set(d, -EBADMSG,
                                "the strings have %" PRIu64 " bytes, the tensor is %" PRIu64,
                                v.total, bytes);
        if (fixed32_get(at) != crc32c_mask(v.crc32c))
                return diag_set(
                        d, -EBADMSG,
                        "The length checksum does not match: expected %08u but actual is %08u",
                        crc32c_unmask(fixed32_get(at)), v.crc32c);
        v.crc32c = crc32c_extend(v.crc32c, at, 4 + v.total);
        v.bytes = at + 4;
        *ret = v;
        lengths = NULL;
        return 0;
}

int strings_sum_variants(const void *p, uint64_t bytes, uint64_t n, uint32_t *ret, struct diag *d)
{
        const uint8_t *at = p, *end = at + bytes;
        uint32_t crc = 0;

        for (uint64_t i = 0; i < n; i++) {
                uint8_t hashed[8];
                uint64_t length;

                if (varint_get(&at, end, &length) < 0 || length > (uint64_t)(end - at) ||
                    (uint64_t)(end - at) - length < 4)
                        return diag_set(d, -EBADMSG,
                                        "variant %" PRIu64 " is longer than the tensor", i);
                fixed64_put(hashed, length);
                crc = crc32c_extend(crc, hashed, 8);
                crc = crc32c_extend(crc, at, length);
                at += length;
                if (fixed32_get(at) != crc32c_mask(crc))
                        return diag_set(d, -EBADMSG,
                                        "variant %" PRIu64 ": its checksum does not match", i);
                crc = crc32c_extend(crc, at, 4);
                at += 4;
        }
        if (at != end)
                return diag_set(d, -EBADMSG, "the variants leave %zu bytes", (size_t)(end - at));
        *ret = crc;
        return 0;
}

uint64_t strings_count(const struct stored_tensor *t, const struct stored_part *part)
{
        uint64_t n = 0;

        region_count(t->n_dims, part->length ? part->length : t->dims, &n);
        return n;
}

int strings_load(const struct stored *s, const struct stored_check *how,
                 const struct stored_part *part, struct buffer *ret, struct diag *d)
{
        const char *name = s->files[part->file].name;
        int fd, r;

        if (part->bytes > STRINGS_MAX_BYTES)
                return diag_set(d, -EFBIG, "%s: a tensor of %" PRIu64 " bytes of strings", name,
                                part->bytes);
        if (!part_read_is_there(s, part))
                return diag_set(d, -EBADMSG, "%s: missing or too short", name);
        r = buffer_reserve(ret, part->bytes);
        if (r < 0)
                return r;
        fd = io_open(how->io, how->dirfd, name, O_RDONLY);
        if (fd < 0)
                return diag_set(d, -errno, "%s: %s", name, strerror(errno));
        r = io_read_all(how->io, fd, ret->data, part->bytes, (off_t)part->offset);
        how->io->close(fd);
        if (r < 0)
                return diag_set(d, r == -ENODATA ? -EBADMSG : r, "%s: %s", name,
                                r == -ENODATA ? "became shorter" : strerror(-r));
        ret->len = part->bytes;
        return 0;
}

static int take_elements(const struct strings_view *v, uint64_t n, struct stored_elements *ret)
{
        int r = buffer_append(&ret->bytes, v->bytes, v->total);

        if (r < 0) {
                free(v->lengths);
                return r;
        }
        ret->lengths = v->lengths;
        ret->n = n;
        return 0;
}

int stored_strings(const struct stored *s, const struct stored_check *how,
                   const struct stored_tensor *t, struct stored_elements *ret, struct diag *d)
{
        _cleanup_(buffer_done) struct buffer raw = {0};
        _cleanup_(diag_done) struct diag why = {0};
        struct strings_view v;
        uint64_t n;
        int r;

        if (t->dtype->number != DTYPE_STRING || t->n_parts != 1 || t->parts[0].start)
                return diag_set(d, -EINVAL, "%s: not a string tensor in one part", t->name);
        r = strings_load(s, how, &t->parts[0], &raw, d);
        if (r < 0)
                return r;
        n = strings_count(t, &t->parts[0]);
        r = strings_parse(raw.data, raw.len, n, &v, &why);
        if (r == -EBADMSG)
                return diag_set(d, r, "%s: %s: %s", s->files[t->parts[0].file].name, t->name,
                                diag_text(&why, r));
        if (r < 0)
                return r;
        if (v.crc32c != t->parts[0].crc32c) {
                free(v.lengths);
                return diag_set(
                        d, -EBADMSG, "%s: %s: crc32c is %08" PRIx32 ", the index says %08" PRIx32,
                        s->files[t->parts[0].file].name, t->name, v.crc32c, t->parts[0].crc32c);
        }
        return take_elements(&v, n, ret);
}
