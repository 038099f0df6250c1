#include "page.h"

#include <errno.h>

void page_init(struct page *p, uint64_t attach_id, uint32_t rank, uint32_t world_size,
               uint32_t n_slots)
{
        p->head.magic = PAGE_MAGIC;
        p->head.major = PAGE_MAJOR;
        p->head.minor = PAGE_MINOR;
        p->head.size = PAGE_BYTES;
        p->head.attach_id = attach_id;
        p->head.rank = rank;
        p->head.world_size = world_size;
        p->head.n_slots = n_slots;
        atomic_store_explicit(&p->daemon.save_at, PAGE_NEVER, memory_order_relaxed);
        atomic_store_explicit(&p->daemon.stop_at, PAGE_NEVER, memory_order_relaxed);
        atomic_store_explicit(&p->now.step, -1, memory_order_relaxed);
        atomic_store_explicit(&p->rank.missed, PAGE_NEVER, memory_order_relaxed);
        atomic_store_explicit(&p->rank.base, -1, memory_order_relaxed);
        atomic_store_explicit(&p->rank.end, PAGE_NEVER, memory_order_release);
}

int page_check(const struct page *p)
{
        if (p->head.magic != PAGE_MAGIC)
                return -EPROTO;
        if (p->head.major != PAGE_MAJOR)
                return -EPROTONOSUPPORT;
        if (p->head.size != PAGE_BYTES || p->head.n_slots > PAGE_SLOTS ||
            p->head.rank >= p->head.world_size)
                return -EPROTO;
        return 0;
}

static uint64_t mix(uint64_t h, uint64_t v)
{
        h = (h ^ v) * UINT64_C(0x9e3779b97f4a7c15);
        return h ^ (h >> 32);
}

uint32_t page_slot_sum(const struct page_slot *s)
{
        uint64_t h = PAGE_MAGIC; /* not zero: a header of zeroes has no valid sum */

        h = mix(h, (uint64_t)s->step);
        h = mix(h, (uint64_t)s->asked);
        h = mix(h, (uint64_t)s->base);
        h = mix(h, s->life);
        h = mix(h, s->bytes);
        return (uint32_t)h;
}
