#include "store-slots.h"

#include "fds.h"
#include "memory-limit.h"
#include "op.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#define TOUCH_BYTES ((uint64_t)64 * 1024 * 1024) /* touched at a time */

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

static uint64_t whole_pages(uint64_t bytes)
{
        uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

        return bytes == 0 ? page : (bytes + page - 1) / page * page;
}

void store_slot_done(struct store_slot *slot)
{
        if (slot->memory)
                munmap(slot->memory, slot->bytes);
        if (slot->fd >= 0)
                close(slot->fd);
        *slot = (struct store_slot){.fd = -1};
}

static int map_slot(struct store_slot *slot)
{
        return fds_map_shared(slot->fd, slot->bytes, &slot->memory);
}

int store_slot_map(struct store_slot *slot, int fd, uint64_t bytes, struct diag *d)
{
        int r;

        *slot = (struct store_slot){.fd = fd, .bytes = whole_pages(bytes)};
        r = bytes > INT64_MAX ? -EFBIG : fds_memfd_check(fd, slot->bytes);
        if (r == 0)
                r = map_slot(slot);
        if (r < 0) {
                store_slot_done(slot);
                return diag_set(d, r,
                                "a slot that the job brought is no sealed memory of %llu bytes",
                                (unsigned long long)bytes);
        }
        return 0;
}

/* ---- new ones ---- */

struct touching {
        struct store_slots *task;
        uint64_t per_slot; /* pieces */
};

/* Huge pages, where the kernel has them to give: they are filled and mapped in a fraction of the
 * time, and a disk takes them in longer runs.  Needs one page there and no setting of the
 * administrator's. */
static void make_huge(uint8_t *p, uint64_t n)
{
        for (; n >= FDS_HUGE_BYTES; p += FDS_HUGE_BYTES, n -= FDS_HUGE_BYTES) {
                *(volatile uint8_t *)p = 0;
                if (madvise(p, FDS_HUGE_BYTES, MADV_COLLAPSE) < 0)
                        return;
        }
}

/* Populating maps the pages too, which spares the first pass of sums its page faults; older kernels
 * only allocate. */
static int touch(void *user, size_t i, struct diag *d)
{
        const struct touching *v = user;
        const struct store_slot *slot = &v->task->slots[i / v->per_slot];
        uint64_t offset = i % v->per_slot * TOUCH_BYTES;
        uint64_t rest = slot->bytes - offset, n = rest < TOUCH_BYTES ? rest : TOUCH_BYTES;

        make_huge((uint8_t *)slot->memory + offset, n);
        if (madvise((uint8_t *)slot->memory + offset, n, MADV_POPULATE_WRITE) == 0)
                return 0;
        if (errno == EINVAL && fallocate(slot->fd, 0, (off_t)offset, (off_t)n) == 0)
                return 0;
        return diag_set(d, -ENOMEM, "no memory for slots of %llu bytes: %s",
                        (unsigned long long)slot->bytes, strerror(errno));
}

static int make_slot(struct store_slots *t, size_t i)
{
        struct store_slot *slot = &t->slots[i];
        int r;

        slot->bytes = whole_pages(t->bytes);
        slot->fd = fds_memfd_new("ckptd-slot", slot->bytes);
        r = slot->fd < 0 ? slot->fd : map_slot(slot);
        if (r < 0)
                return diag_set(&t->diag, r, "no memory for a slot of %llu bytes: %s",
                                (unsigned long long)slot->bytes, strerror(-r));
        return 0;
}

static void slots_run(struct store *s, void *task)
{
        struct store_slots *t = task;
        struct touching v = {t, (whole_pages(t->bytes) + TOUCH_BYTES - 1) / TOUCH_BYTES};

        for (size_t i = 0; i < PAGE_SLOTS; i++)
                t->slots[i] = (struct store_slot){.fd = -1};
        t->r = t->n > PAGE_SLOTS || t->bytes > INT64_MAX / 2 ? -EINVAL : 0;
        for (size_t i = 0; t->r == 0 && i < t->n; i++)
                t->r = make_slot(t, i);
        if (t->r == 0)
                t->r = batch_run(s, t->n * v.per_slot, touch, &v, &t->diag);
        for (size_t i = 0; t->r < 0 && i < PAGE_SLOTS; i++)
                store_slot_done(&t->slots[i]);
}

static void slots_fail(void *task, int r)
{
        struct store_slots *t = task;

        t->r = r;
        for (size_t i = 0; i < PAGE_SLOTS; i++)
                t->slots[i] = (struct store_slot){.fd = -1};
}

static void slots_done(void *task)
{
        struct store_slots *t = task;

        t->done(t);
}

void store_slots_new(struct store *s, struct store_slots *t)
{
        static const struct op_kind kind = {OP_NORMAL, slots_run, slots_fail, slots_done};

        op_start(s, &kind, t);
}

uint64_t store_memory_room(void)
{
        struct memory_limit limit;

        memory_limit_read("", &limit);
        return limit.room;
}

uint64_t store_memory_total(void)
{
        struct memory_limit limit;

        memory_limit_read("", &limit);
        return limit.total;
}
