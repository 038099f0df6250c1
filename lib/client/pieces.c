#include "pieces.h"

#include <errno.h>

static size_t count(const struct tensors *t, size_t i, const int64_t *places, uint64_t min_bytes)
{
        if (places[i] < 0 || t->bytes[i] < min_bytes)
                return 0;
        return t->t[i].data ? (size_t)((t->bytes[i] + PIECE_BYTES - 1) / PIECE_BYTES) : 1;
}

static size_t cut(struct piece *p, const struct tensors *t, size_t i, size_t n)
{
        uint64_t length = n > 1 ? PIECE_BYTES : t->bytes[i];

        for (size_t k = 0; k < n; k++) {
                uint64_t at = k * length, left = t->bytes[i] - at;

                p[k] = (struct piece){i, at, left < length ? left : length};
        }
        return n;
}

int pieces_cut(struct pieces *ret, const struct tensors *t, const int64_t *places,
               uint64_t min_bytes)
{
        struct pieces all = {0};
        size_t n = 0;

        for (size_t i = 0; i < t->n; i++)
                n += count(t, i, places, min_bytes);
        all.p = calloc(n + 1, sizeof(*all.p));
        if (!all.p)
                return -ENOMEM;
        for (size_t i = 0; i < t->n; i++)
                all.n += cut(all.p + all.n, t, i, count(t, i, places, min_bytes));
        *ret = all;
        return 0;
}

void pieces_done(struct pieces *p)
{
        free(p->p);
        *p = (struct pieces){0};
}
