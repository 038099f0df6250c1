#include "leftover.h"

#include <string.h>

struct leftover_rank {
        struct manifest *manifest;
        struct store_slot slots[PAGE_SLOTS];
        size_t n_slots;
        uint64_t slot_bytes;
        struct page_slot header; /* of the snapshot's slot */
};

struct leftover {
        struct manager *manager;
        int64_t until_ms;
        unsigned n;
        char *name; /* the snapshot's checkpoint */
        uint32_t *slots;
        uint32_t **crc32c;
        struct leftover_rank ranks[];
};

int64_t leftover_until_ms(const struct leftover *l)
{
        return l->until_ms;
}

struct leftover *leftover_new(struct job *j)
{
        struct leftover *l;

        if (!j->snapshot_name)
                return NULL;
        l = calloc(1, sizeof(*l) + j->world_size * sizeof(l->ranks[0]));
        if (!l)
                return NULL;
        l->manager = j->manager;
        l->until_ms = clock_boot_ms() + LEFTOVER_KEEP_MS;
        l->n = j->world_size;
        l->name = take_ptr(j->snapshot_name);
        l->slots = take_ptr(j->snapshot_slots);
        l->crc32c = take_ptr(j->snapshot_crc32c);
        for (unsigned i = 0; i < l->n; i++) {
                struct rank *r = &j->ranks[i];

                l->ranks[i].manifest = take_ptr(r->manifest);
                memcpy(l->ranks[i].slots, r->slots, sizeof(r->slots));
                l->ranks[i].n_slots = r->n_slots;
                l->ranks[i].slot_bytes = r->slot_bytes;
                if (r->page)
                        memcpy(&l->ranks[i].header, &r->page->slot[l->slots[i]],
                               sizeof(struct page_slot));
                r->n_slots = 0;
        }
        return l;
}

void leftover_free(struct leftover *l)
{
        if (!l)
                return;
        for (unsigned i = 0; i < l->n; i++) {
                for (size_t k = 0; k < l->ranks[i].n_slots; k++)
                        store_slot_done(&l->ranks[i].slots[k]);
                l->manager->memory_used -= l->ranks[i].n_slots * l->ranks[i].slot_bytes;
                manifest_free(l->ranks[i].manifest);
                if (l->crc32c)
                        free(l->crc32c[i]);
        }
        free(l->crc32c);
        free(l->slots);
        free(l->name);
        free(l);
}

static bool fits(const struct leftover *l, const struct job *j)
{
        if (l->n != j->world_size)
                return false;
        for (unsigned i = 0; i < l->n; i++)
                if (!l->ranks[i].manifest ||
                    !manifest_equal(l->ranks[i].manifest, j->ranks[i].next) ||
                    l->ranks[i].manifest->bytes != j->ranks[i].next->bytes)
                        return false;
        return true;
}

bool leftover_take(struct leftover *l, struct job *j)
{
        if (!fits(l, j))
                return false;
        for (unsigned i = 0; i < l->n; i++) {
                struct rank *r = &j->ranks[i];

                memcpy(r->slots, l->ranks[i].slots, sizeof(r->slots));
                r->n_slots = l->ranks[i].n_slots;
                r->slot_bytes = l->ranks[i].slot_bytes;
                r->new_slots = true;
                l->ranks[i].n_slots = 0;
                memcpy(&r->page->slot[l->slots[i]], &l->ranks[i].header, sizeof(struct page_slot));
                atomic_store(&r->page->slot[l->slots[i]].owner, PAGE_VACANT);
        }
        j->snapshot_name = take_ptr(l->name);
        j->snapshot_slots = take_ptr(l->slots);
        j->snapshot_crc32c = take_ptr(l->crc32c);
        return true;
}
