#include "region.h"

#include "limit.h"

#include <string.h>

/* One copy under way.  Trailing dimensions that source and target have alike are folded into the
 * element, so that a row here is the longest run that is contiguous in both. */
struct walk {
        int n_dims;
        uint64_t element_bytes;
        uint64_t row_bytes;   /* of the source */
        int64_t skip;         /* elements of a source row before the first wanted one */
        int64_t wanted;       /* elements of a source row that the target has */
        int64_t target_first; /* where in the target's row they go */
};

static int64_t start_of(const struct region *r, int dim)
{
        return r->start ? r->start[dim] : 0;
}

static int64_t min64(int64_t a, int64_t b)
{
        return a < b ? a : b;
}

static int64_t max64(int64_t a, int64_t b)
{
        return a > b ? a : b;
}

static struct walk walk_of(const struct region_copy *c)
{
        struct walk w = {.n_dims = c->from->n_dims, .element_bytes = c->element_bytes};
        int last;
        int64_t first, end;

        while (w.n_dims > 0) {
                last = w.n_dims - 1;
                if (start_of(c->from, last) != start_of(c->to, last) ||
                    c->from->dims[last] != c->to->dims[last])
                        break;
                w.element_bytes *= (uint64_t)c->from->dims[last];
                w.n_dims--;
        }
        if (w.n_dims == 0)
                return w;
        last = w.n_dims - 1;
        first = max64(start_of(c->from, last), start_of(c->to, last));
        end = min64(start_of(c->from, last) + c->from->dims[last],
                    start_of(c->to, last) + c->to->dims[last]);
        w.row_bytes = w.element_bytes * (uint64_t)c->from->dims[last];
        w.skip = first - start_of(c->from, last);
        w.wanted = end - first;
        w.target_first = first - start_of(c->to, last);
        return w;
}

/* Sets coord to the place of source row `row` in the source. */
static void locate_row(const struct region *from, int n_outer, uint64_t row, int64_t *coord)
{
        for (int i = n_outer - 1; i >= 0; i--) {
                coord[i] = (int64_t)(row % (uint64_t)from->dims[i]);
                row /= (uint64_t)from->dims[i];
        }
}

static void next_row(const struct region *from, int n_outer, int64_t *coord)
{
        for (int i = n_outer - 1; i >= 0 && ++coord[i] == from->dims[i]; i--)
                coord[i] = 0;
}

/* The target's row that holds this source row; false: it has none. */
static bool target_row(const struct region_copy *c, int n_outer, const int64_t *coord,
                       uint64_t *ret)
{
        uint64_t row = 0;

        for (int i = 0; i < n_outer; i++) {
                int64_t at = start_of(c->from, i) + coord[i] - start_of(c->to, i);

                if (at < 0 || at >= c->to->dims[i])
                        return false;
                row = row * (uint64_t)c->to->dims[i] + (uint64_t)at;
        }
        *ret = row;
        return true;
}

struct span { /* bytes of the source that are at hand */
        const uint8_t *p;
        uint64_t offset, end;
};

static void copy_row(const struct region_copy *c, const struct walk *w, const struct span *s,
                     uint64_t source_row, uint64_t to_row)
{
        uint64_t first = source_row * w->row_bytes + (uint64_t)w->skip * w->element_bytes;
        uint64_t from = first, end = first + (uint64_t)w->wanted * w->element_bytes, to;

        if (from < s->offset)
                from = s->offset;
        if (end > s->end)
                end = s->end;
        if (from >= end)
                return;
        to = to_row * (uint64_t)c->to->dims[w->n_dims - 1] + (uint64_t)w->target_first;
        to = to * w->element_bytes + (from - first);
        memcpy((uint8_t *)c->target + to, s->p + (from - s->offset), end - from);
}

void region_copy_bytes(const struct region_copy *c, const void *p, uint64_t offset, uint64_t n)
{
        struct span s = {.p = p, .offset = offset, .end = offset + n};
        struct walk w = walk_of(c);
        int64_t coord[LIMIT_RANK];
        uint64_t to_row;

        if (n == 0)
                return;
        if (w.n_dims == 0) {
                memcpy((uint8_t *)c->target + offset, p, n);
                return;
        }
        if (w.wanted <= 0 || w.row_bytes == 0)
                return;
        locate_row(c->from, w.n_dims - 1, offset / w.row_bytes, coord);
        for (uint64_t row = offset / w.row_bytes; row * w.row_bytes < s.end; row++) {
                if (target_row(c, w.n_dims - 1, coord, &to_row))
                        copy_row(c, &w, &s, row, to_row);
                next_row(c->from, w.n_dims - 1, coord);
        }
}
