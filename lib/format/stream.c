#include "verify.h"

#include "crc32c.h"
#include "part-read.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

static int drain(const struct stored_sink *sink, const uint8_t *p, uint64_t n)
{
        while (n > 0) {
                size_t piece = n < PART_READ_PIECE_BYTES ? (size_t)n : PART_READ_PIECE_BYTES;
                int r = sink->fn(p, piece, sink->user);

                if (r < 0)
                        return r;
                p += piece;
                n -= piece;
        }
        return 0;
}

/* Slices are joined in memory. */
static int stream_joined(const struct stored *s, const struct stored_check *how,
                         const struct stored_tensor *t, const struct stored_sink *sink,
                         struct diag *d)
{
        _cleanup_(freep) uint8_t *memory = malloc(t->bytes + 1);
        struct tensor all = {.name = t->name,
                             .dtype = t->dtype,
                             .n_dims = t->n_dims,
                             .dims = t->dims,
                             .bytes = t->bytes};
        const struct stored_target target = {&all, memory};
        int r;

        if (!memory)
                return diag_set(d, -ENOMEM, "%s: not enough memory to join its slices", t->name);
        r = stored_fetch(s, how, &target, 1, d);
        return r < 0 ? r : drain(sink, memory, t->bytes);
}

static int stream_fd(const struct io *io, int fd, const struct stored_part *part,
                     const struct stored_sink *sink, uint32_t *ret_crc)
{
        _cleanup_(freep) uint8_t *memory = malloc(PART_READ_PIECE_BYTES);
        uint64_t left = part->bytes, at = part->offset;
        uint32_t crc = 0;

        if (!memory)
                return -ENOMEM;
        while (left > 0) {
                size_t piece = left < PART_READ_PIECE_BYTES ? (size_t)left : PART_READ_PIECE_BYTES;
                int r = io_read_all(io, fd, memory, piece, (off_t)at);

                if (r < 0)
                        return r;
                crc = crc32c_extend(crc, memory, piece);
                r = sink->fn(memory, piece, sink->user);
                if (r < 0)
                        return r;
                at += piece;
                left -= piece;
        }
        *ret_crc = crc;
        return 0;
}

/* One part: in order, through the page cache, which reads ahead. */
static int stream_part(const struct stored *s, const struct stored_check *how,
                       const struct stored_tensor *t, const struct stored_sink *sink,
                       struct diag *d)
{
        _cleanup_(damage_done) struct damage damage = {0};
        const struct stored_part *part = &t->parts[0];
        const char *name = s->files[part->file].name;
        uint32_t crc = 0;
        int fd, r;

        if (!part_read_is_there(s, part))
                return diag_set(d, -EBADMSG, "%s: %s: the file is missing or too short", name,
                                t->name);
        fd = io_open(how->io, how->dirfd, name, O_RDONLY);
        if (fd < 0)
                return diag_set(d, -errno, "%s: %s", name, strerror(errno));
        r = stream_fd(how->io, fd, part, sink, &crc);
        how->io->close(fd);
        if (r < 0)
                return diag_set(d, r == -ENODATA ? -EBADMSG : r, "%s: %s: %s", name, t->name,
                                strerror(-r));
        if (part->has_crc && crc != part->crc32c)
                verify_tell_sum(&damage, s, t, part, crc);
        return damage_tell(&damage, d);
}

int stored_stream(const struct stored *s, const struct stored_check *how,
                  const struct stored_tensor *t, const struct stored_sink *sink, struct diag *d)
{
        if (t->dtype->bytes == 0)
                return diag_set(d, -EINVAL, "%s: %s has no bytes of a fixed size", t->name,
                                t->dtype->name);
        if (t->n_parts == 1 && !t->parts[0].start)
                return stream_part(s, how, t, sink, d);
        return stream_joined(s, how, t, sink, d);
}
