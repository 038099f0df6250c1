/* A save where memory allows no slot: the data file goes through a window, piece by piece, while
 * the job waits.  The daemon has it all when the last piece is answered: nothing is handed off. */
#include "client.h"

#include <errno.h>
#include <string.h>

struct window {
        struct ckpt *c;
        uint8_t *memory;
        uint64_t bytes;  /* of the window */
        uint64_t at;     /* of the data file: where the window begins now */
        size_t *order;   /* tensors by their offset */
        size_t n, first; /* the first one that does not end before `at` */
        uint8_t *whole;  /* a tensor that a copy function fetched and that spans two windows */
        size_t whole_tensor;
};

static int by_offset(const void *a, const void *b, void *user)
{
        const int64_t *offsets = user;
        int64_t x = offsets[*(const size_t *)a], y = offsets[*(const size_t *)b];

        return (x > y) - (x < y);
}

static int sort_tensors(struct window *w)
{
        const struct image *i = w->c->image;

        w->order = calloc(i->n + 1, sizeof(*w->order));
        if (!w->order)
                return -ENOMEM;
        for (size_t k = 0; k < i->n; k++)
                if (i->offsets[k] >= 0 && w->c->tensors->bytes[k] > 0)
                        w->order[w->n++] = k;
        qsort_r(w->order, w->n, sizeof(*w->order), by_offset, i->offsets);
        return 0;
}

/* The bytes of a tensor in host memory: its own, or fetched whole. */
static int reach(struct window *w, size_t tensor, const uint8_t **ret, struct diag *d)
{
        const struct tensors *t = w->c->tensors;
        int r;

        if (t->t[tensor].data) {
                *ret = t->t[tensor].data;
                return 0;
        }
        if (!w->whole || w->whole_tensor != tensor) {
                free(w->whole);
                w->whole_tensor = tensor;
                w->whole = malloc(t->bytes[tensor]);
                if (!w->whole)
                        return diag_set(d, -ENOMEM, "tensor_name = %s: no memory to fetch it",
                                        t->t[tensor].name);
                r = snapshot_fetch(w->c, tensor, w->whole, d);
                if (r < 0)
                        return r;
        }
        *ret = w->whole;
        return 0;
}

/* Copies what of the tensor lies in the window that ends at `end`. */
static int copy_part(struct window *w, size_t tensor, uint64_t end, struct diag *d)
{
        uint64_t start = (uint64_t)w->c->image->offsets[tensor];
        uint64_t stop = start + w->c->tensors->bytes[tensor];
        uint64_t from = start > w->at ? start : w->at, to = stop < end ? stop : end;
        const uint8_t *data = NULL;
        int r = reach(w, tensor, &data, d);

        if (r >= 0)
                copier_copy(&w->c->copier, w->memory + (from - w->at), data + (from - start),
                            to - from);
        return r;
}

static int fill(struct window *w, uint64_t end, struct diag *d)
{
        const struct image *i = w->c->image;
        uint64_t done = w->at; /* gaps between tensors are zero in the file */
        int r = 0;

        for (size_t k = w->first; r >= 0 && k < w->n; k++) {
                uint64_t start = (uint64_t)i->offsets[w->order[k]];
                uint64_t stop = start + w->c->tensors->bytes[w->order[k]];

                if (start >= end)
                        break;
                if (start > done)
                        memset(w->memory + (done - w->at), 0, start - done);
                r = copy_part(w, w->order[k], end, d);
                done = stop < end ? stop : end;
                w->first = stop <= end ? k + 1 : k;
        }
        memset(w->memory + (done - w->at), 0, end - done);
        copy_fence();
        return r;
}

static int tell_piece(struct window *w, const struct rank_filled *f, uint64_t end, struct diag *d)
{
        json_t *p = json_pack("{s:I, s:I, s:I, s:I, s:b}", "step", (json_int_t)f->step, "asked",
                              (json_int_t)(f->asked == PAGE_NEVER ? f->step : f->asked), "offset",
                              (json_int_t)w->at, "bytes", (json_int_t)(end - w->at), "last",
                              end == w->c->image->data_bytes);
        struct link_ask ask = {.method = "io.ckptd.Jobs.Piece", .parameters = p, .fd = -1};
        struct wire_result result;
        int r = p ? link_call(&w->c->link, &ask, 0, &result, d) : -ENOMEM;

        json_decref(p);
        if (r >= 0)
                wire_result_done(&result);
        return r;
}

static int run(struct window *w, const struct rank_filled *f, struct diag *d)
{
        uint64_t total = w->c->image->data_bytes;
        int r;

        do {
                uint64_t end = total - w->at < w->bytes ? total : w->at + w->bytes;

                r = fill(w, end, d);
                if (r >= 0)
                        r = tell_piece(w, f, end, d);
                w->at = end;
        } while (r >= 0 && w->at < total);
        return r;
}

int window_save(struct ckpt *c, int slot, const struct rank_filled *f)
{
        _cleanup_(diag_done) struct diag d = {0};
        struct window w = {.c = c,
                           .memory = c->image->slots[slot].memory,
                           .bytes = c->image->slots[slot].bytes};
        int r = sort_tensors(&w);

        rank_fill(c->rank, slot);
        if (r >= 0)
                r = run(&w, f, &d);
        rank_drop(c->rank, slot);
        free(w.order);
        free(w.whole);
        if (r < 0) {
                rank_miss(c->rank, f->asked == PAGE_NEVER ? f->step : f->asked);
                /* the daemon looks, and gives the save up */
                link_hand_off(&c->link, f->step, false);
                return client_fail(c, r, &d);
        }
        c->window_step = f->step;
        return 0;
}
