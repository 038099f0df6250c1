/* Slots: shared memory laid out like a data file (slots.c), and how much of it this daemon may
 * still allocate (memory-limit.c).  The caller owns a slot; the store never writes into one. */
#pragma once

#include "diag.h"
#include "page.h"

#include <stdbool.h>

struct store;

struct store_slot {
        int fd;         /* memfd */
        void *memory;   /* mapped, shared */
        uint64_t bytes; /* a whole number of pages */
};
struct store_slots {
        size_t n;       /* wanted */
        uint64_t bytes; /* of each */
        void (*done)(struct store_slots *t);
        void *user;
        int r;
        struct diag diag;
        struct store_slot slots[PAGE_SLOTS];
};
/* Allocates and touches them on a worker, so that the daemon's cgroup is charged and the loop never
 * waits. */
void store_slots_new(struct store *s, struct store_slots *t);
int store_slot_map(struct store_slot *slot, int fd, uint64_t bytes,
                   struct diag *d); /* one that a job brings back; takes fd */
void store_slot_done(struct store_slot *slot);
/* Bytes that may still be allocated: the least room under every memory.max up the own cgroup tree,
 * and in memory. */
uint64_t store_memory_room(void);
uint64_t store_memory_total(void); /* this node's memory or the tightest memory.max */
