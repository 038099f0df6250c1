#include "persist.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/* Below, one write through the page cache is faster, and it finds a full disk as soon as fallocate
 * would. */
#define SMALL_BYTES ((uint64_t)64 * 1024)

static void open_direct(struct persist *p)
{
        call_alignment(p->io, p->plain, &p->memory_align, &p->align);
        if (p->align == 0) { /* none is done here */
                p->align = p->memory_align = 1;
                return;
        }
        /* A second open: some file systems create the file and refuse O_DIRECT only then. */
        p->direct = call_open(p->io, (struct place){p->dirfd, p->name}, O_WRONLY | O_DIRECT, 0);
        p->is_direct = p->direct >= 0;
}

int persist_open(struct persist *p, const struct store_dir *d, const char *name, uint64_t bytes)
{
        struct place at = {d->fd, p->name};
        int r;

        *p = (struct persist){
                .io = d->io,
                .dirfd = d->fd,
                .plain = -1,
                .direct = -1,
                .memory_align = 1,
                .align = 1,
                .bytes = bytes,
        };
        snprintf(p->name, sizeof(p->name), "%s", name);
        p->plain = call_open(p->io, at, O_WRONLY | O_CREAT | O_EXCL, 0666);
        if (p->plain == -EEXIST) {
                call_unlink(p->io, at);
                p->plain = call_open(p->io, at, O_WRONLY | O_CREAT | O_EXCL, 0666);
        }
        if (p->plain < 0)
                return p->plain;
        if (bytes < SMALL_BYTES)
                return 0;
        r = call_fallocate(p->io, p->plain, bytes);
        if (r == 0)
                open_direct(p);
        return r;
}

/* The rest of the file behind the last whole block, with zeros up to the next. */
static int write_padded(struct persist *p, const void *memory, uint64_t offset, uint64_t n)
{
        size_t align = p->align > p->memory_align ? p->align : p->memory_align;
        _cleanup_(freep) uint8_t *block = aligned_alloc(align, align);

        if (!block)
                return -ENOMEM;
        memcpy(block, memory, n);
        memset(block + n, 0, align - n);
        return io_write_all(p->io, p->direct, block, p->align, (off_t)offset);
}

static int write_direct(struct persist *p, const void *memory, uint64_t offset, uint64_t n)
{
        uint64_t rest = n % p->align, whole = n - rest;
        const uint8_t *tail = (const uint8_t *)memory + whole;
        int r = 0;

        if (whole > 0)
                r = io_write_all(p->io, p->direct, memory, whole, (off_t)offset);
        if (r < 0 || rest == 0)
                return r;
        if (offset + n == p->bytes)
                return write_padded(p, tail, offset + whole, rest);
        return io_write_all(p->io, p->plain, tail, rest, (off_t)(offset + whole));
}

/* A file system may take O_DIRECT at open and refuse the write (or its rest after a short one). */
int persist_write(struct persist *p, const void *memory, uint64_t offset, uint64_t n)
{
        bool fits = offset % p->align == 0 && (uintptr_t)memory % p->memory_align == 0;

        if (fits && atomic_load(&p->is_direct)) {
                int r = write_direct(p, memory, offset, n);

                if (r != -EINVAL)
                        return r;
                atomic_store(&p->is_direct, false);
        }
        return io_write_all(p->io, p->plain, memory, n, (off_t)offset);
}

int persist_sync(struct persist *p)
{
        int r = 0;

        if (p->direct >= 0 && p->bytes % p->align != 0)
                r = call_truncate(p->io, p->plain, p->bytes);
        return r < 0 ? r : call_fdatasync(p->io, p->plain);
}

void persist_close(struct persist *p)
{
        call_close(p->io, p->direct);
        call_close(p->io, p->plain);
        p->plain = p->direct = -1;
}
