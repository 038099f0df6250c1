/* Changing from one set of page and slots to another.  The helper makes the new one; only the
 * job's thread takes it up, between saves, so mappings never move under a copy; the helper
 * unmaps the old slots.  Pages stay mapped until the end, since other threads may be looking at
 * stop_at. */
#pragma once

struct ckpt;
struct image;
struct tensors;

/* The helper: a daemon that came back gave other page and slots. */
void swap_offer(struct ckpt *c, struct image *next);
/* The job's thread takes them over; between saves only. */
void swap_pending(struct ckpt *c);
/* The same page, new slots and tensors; both are owned from here on. */
void swap_described(struct ckpt *c, struct image *next, struct tensors *t);
const struct image *swap_newest(const struct ckpt *c); /* lock: what the daemon gave last */
void swap_bury(struct ckpt *c);                        /* the helper unmaps retired slots */
void swap_done(struct ckpt *c);
