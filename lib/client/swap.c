#include "swap.h"

#include "client.h"

/* No rank is below it: the fast path ends, and the rank comes here. */
#define SWAP_NOW INT64_MIN

/* With the lock held. */
static void retire(struct ckpt *c, struct image *old)
{
        old->next = c->retired;
        c->retired = old;
}

void swap_offer(struct ckpt *c, struct image *next)
{
        pthread_mutex_lock(&c->link.lock);
        if (c->next)
                retire(c, c->next);
        c->next = next;
        /* The daemon let go of the page that the rank looks at, so its words are ours to write. */
        atomic_store_explicit(&c->image->page->daemon.save_at, SWAP_NOW, memory_order_relaxed);
        pthread_mutex_unlock(&c->link.lock);
}

static struct image *take_next(struct ckpt *c)
{
        struct image *next;

        pthread_mutex_lock(&c->link.lock);
        next = take_ptr(c->next);
        if (next) {
                retire(c, c->image);
                c->image = next;
        }
        pthread_mutex_unlock(&c->link.lock);
        return next;
}

void swap_pending(struct ckpt *c)
{
        struct image *next = c->snapshot.open ? NULL : take_next(c);

        if (!next)
                return;
        rank_move(c->rank, next->page, next->n_slots);
        link_wake(&c->link);
}

void swap_described(struct ckpt *c, struct image *next, struct tensors *t)
{
        pthread_mutex_lock(&c->link.lock);
        c->image->page = NULL; /* next has it */
        retire(c, c->image);
        c->image = next;
        pthread_mutex_unlock(&c->link.lock);
        rank_reslot(c->rank, next->n_slots);
        tensors_free(c->tensors);
        c->tensors = t;
        link_wake(&c->link);
}

const struct image *swap_newest(const struct ckpt *c)
{
        return c->next ? c->next : c->image;
}

void swap_bury(struct ckpt *c)
{
        struct image *old;

        pthread_mutex_lock(&c->link.lock);
        old = take_ptr(c->retired);
        pthread_mutex_unlock(&c->link.lock);
        while (old) {
                struct image *rest = old->next;

                image_drop_slots(old);
                old->next = c->buried;
                c->buried = old;
                old = rest;
        }
}

static void free_all(struct image *i)
{
        while (i) {
                struct image *rest = i->next;

                image_free(i);
                i = rest;
        }
}

void swap_done(struct ckpt *c)
{
        free_all(take_ptr(c->retired));
        free_all(take_ptr(c->buried));
        image_free(take_ptr(c->next));
        image_free(take_ptr(c->image));
}
