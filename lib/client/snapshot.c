#include "snapshot.h"

#include "client.h"

#include <errno.h>
#include <string.h>

static int tell_failed(const struct ckpt *c, size_t tensor, int r, struct diag *d)
{
        return diag_set(d, r, "tensor_name = %s: its copy function failed: %s; nothing was saved",
                        c->tensors->t[tensor].name, strerror(-r));
}

int snapshot_fetch(struct ckpt *c, size_t tensor, void *dst, struct diag *d)
{
        const struct ckpt_tensor *t = &c->tensors->t[tensor];
        int r;

        if (t->data) {
                copier_copy(&c->copier, dst, t->data, c->tensors->bytes[tensor]);
                return 0;
        }
        r = t->copy(dst, t, t->user);
        return r < 0 ? tell_failed(c, tensor, r, d) : 0;
}

int snapshot_hand_over(struct ckpt *c, int64_t step, bool forced)
{
        return link_hand_off(&c->link, step, forced);
}

/* The slot goes back, and the daemon is told that nothing comes. */
static void give_up(struct ckpt *c, int slot, const struct rank_filled *f)
{
        rank_drop(c->rank, slot);
        rank_miss(c->rank, f->asked);
        link_hand_off(&c->link, f->step, false);
}

/* Copies the tensors that have at least one and fewer than `max` bytes. */
static int copy_tensors(struct ckpt *c, int slot, uint64_t max, struct diag *d)
{
        uint8_t *memory = c->image->slots[slot].memory;
        int r = 0;

        for (size_t i = 0; r >= 0 && i < c->tensors->n; i++) {
                uint64_t bytes = c->tensors->bytes[i];

                if (c->image->offsets[i] >= 0 && bytes > 0 && bytes < max)
                        r = snapshot_fetch(c, i, memory + c->image->offsets[i], d);
        }
        copy_fence();
        return r;
}

static void hold(struct ckpt *c, int slot, const struct rank_filled *f, int64_t since_ns)
{
        struct rank_filled filled = *f;

        filled.bytes = c->image->data_bytes;
        filled.copy_ns += (uint64_t)(copy_now_ns() - since_ns);
        rank_hold(c->rank, slot, &filled);
}

int snapshot_fill(struct ckpt *c, int slot, const struct rank_filled *f)
{
        _cleanup_(diag_done) struct diag d = {0};
        int64_t since = copy_now_ns();
        int r;

        rank_fill(c->rank, slot);
        r = copy_tensors(c, slot, UINT64_MAX, &d);
        if (r < 0) {
                give_up(c, slot, f);
                return client_fail(c, r, &d);
        }
        hold(c, slot, f, since);
        return 0;
}

int snapshot_save(struct ckpt *c, int slot, const struct rank_filled *f, bool forced)
{
        int r;

        if (c->image->mode == IMAGE_WINDOW)
                return window_save(c, slot, f);
        r = snapshot_fill(c, slot, f);
        return r < 0 ? r : snapshot_hand_over(c, f->step, forced);
}

static int copy_piece(void *user, size_t i)
{
        struct ckpt *c = user;
        const struct piece *p = &c->snapshot.pieces.p[i];
        const struct ckpt_tensor *t = &c->tensors->t[p->tensor];
        uint8_t *to =
                c->image->slots[c->snapshot.slot].memory + c->image->offsets[p->tensor] + p->at;
        int r = 0;

        if (t->data)
                copier_copy(&c->copier, to, (const uint8_t *)t->data + p->at, p->bytes);
        else
                r = t->copy(to, t, t->user);
        copy_fence();
        if (r < 0)
                atomic_store(&c->snapshot.failed, p->tensor);
        return r < 0 ? r : 0;
}

static int begin(struct ckpt *c, struct diag *d)
{
        struct snapshot *s = &c->snapshot;
        int r = pieces_cut(&s->pieces, c->tensors, c->image->offsets, PIECE_SMALL_BYTES);

        if (r >= 0)
                r = copy_tensors(c, s->slot, PIECE_SMALL_BYTES, d);
        if (r < 0)
                return r;
        s->work = (struct crew_work){.piece = copy_piece, .user = c, .n = s->pieces.n};
        helper_keep_off(c);
        crew_begin(&c->crew, &s->work);
        return 0;
}

int snapshot_begin(struct ckpt *c, int slot, const struct rank_filled *f, bool forced)
{
        _cleanup_(diag_done) struct diag d = {0};
        struct snapshot *s = &c->snapshot;
        int64_t since = copy_now_ns();
        int r;

        s->slot = slot;
        s->filled = *f;
        s->forced = forced;
        rank_fill(c->rank, slot);
        r = begin(c, &d);
        if (r < 0) {
                pieces_done(&s->pieces);
                give_up(c, slot, f);
                return client_fail(c, r, &d);
        }
        s->filled.copy_ns = (uint64_t)(copy_now_ns() - since);
        s->open = true;
        return 0;
}

int snapshot_end(struct ckpt *c)
{
        _cleanup_(diag_done) struct diag d = {0};
        struct snapshot *s = &c->snapshot;
        int64_t since = copy_now_ns();
        int r = crew_join(&c->crew, &s->work);

        s->open = false;
        pieces_done(&s->pieces);
        if (r < 0) {
                tell_failed(c, atomic_load(&s->failed), r, &d);
                give_up(c, s->slot, &s->filled);
                return client_fail(c, r, &d);
        }
        hold(c, s->slot, &s->filled, since);
        return snapshot_hand_over(c, s->filled.step, s->forced);
}

void snapshot_abandon(struct ckpt *c)
{
        struct snapshot *s = &c->snapshot;

        if (!s->open)
                return;
        crew_cancel(&c->crew, &s->work);
        s->open = false;
        pieces_done(&s->pieces);
        give_up(c, s->slot, &s->filled);
}
