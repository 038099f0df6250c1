#include "manifest-order.h"

#include <errno.h>
#include <string.h>

/* One tensor of one rank, in the list of all that the ranks name. */
struct mention {
        struct tensor *tensor;
        size_t rank, index;
};

static int compare_mentions(const void *a, const void *b)
{
        const struct mention *x = a, *y = b;
        int r = manifest_compare(x->tensor, y->tensor);

        return r ? r : (x->rank > y->rank) - (x->rank < y->rank);
}

static bool same_part(const struct tensor *a, const struct tensor *b)
{
        return a->dtype == b->dtype && manifest_compare(a, b) == 0;
}

static int disagree(const struct mention *a, const struct mention *b, struct diag *d)
{
        _cleanup_(freep) char *x =
                region_text(a->tensor->dtype, a->tensor->n_dims, a->tensor->dims);
        _cleanup_(freep) char *y =
                region_text(b->tensor->dtype, b->tensor->n_dims, b->tensor->dims);
        const struct mention *swap = a->rank > b->rank ? a : NULL;

        if (swap)
                return disagree(b, a, d);
        return diag_set(d, -EINVAL, "%s: rank %zu has %s%s, rank %zu has %s%s", a->tensor->name,
                        a->rank, x ? x : "", a->tensor->start ? " (a part)" : "", b->rank,
                        y ? y : "", b->tensor->start ? " (a part)" : "");
}

static int check_overlap(const struct mention *owners, size_t n, struct diag *d)
{
        _cleanup_(freep) const struct tensor **parts = calloc(n + 1, sizeof(*parts));
        size_t pair[2], low, high;
        int r;

        if (!parts)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                parts[i] = owners[i].tensor;
        r = manifest_parts_overlap(parts, n, pair);
        if (r == -E2BIG)
                return diag_set(d, r, "%s: too many parts in no regular arrangement",
                                parts[0]->name);
        if (r <= 0)
                return r;
        low = owners[pair[0]].rank < owners[pair[1]].rank ? pair[0] : pair[1];
        high = low == pair[0] ? pair[1] : pair[0];
        return diag_set(d, -EINVAL, "%s: the parts of rank %zu and rank %zu overlap",
                        parts[0]->name, owners[low].rank, owners[high].rank);
}

/* All mentions of one name, sorted.  Equal parts are stored by the lowest rank; what is left are
 * parts of one tensor, moved to the front of the group. */
static int share_name(struct mention *group, size_t n, struct diag *d)
{
        size_t n_owners = 0;

        for (size_t i = 0; i < n; i++) {
                struct mention *owner = n_owners > 0 ? &group[n_owners - 1] : NULL;
                struct tensor *t = group[i].tensor;
                bool shared = owner && same_part(owner->tensor, t);

                if (!manifest_same_full(group[0].tensor, t) || !group[0].tensor->start != !t->start)
                        return disagree(&group[0], &group[i], d);
                if (!shared)
                        owner = &group[n_owners++];
                if (!shared)
                        *owner = group[i];
                t->offset = shared ? -1 : 0;
                t->owner_rank = (int)owner->rank;
                t->owner_index = owner->index;
        }
        return n_owners > 1 ? check_overlap(group, n_owners, d) : 0;
}

static int collect(struct manifest *const *ranks, size_t n_ranks, struct mention **ret,
                   size_t *ret_n)
{
        struct mention *all;
        size_t n = 0, k = 0;

        for (size_t rank = 0; rank < n_ranks; rank++)
                n += ranks[rank]->n;
        all = calloc(n + 1, sizeof(*all));
        if (!all)
                return -ENOMEM;
        for (size_t rank = 0; rank < n_ranks; rank++)
                for (size_t i = 0; i < ranks[rank]->n; i++) {
                        size_t index = ranks[rank]->by_name[i];

                        all[k++] = (struct mention){&ranks[rank]->tensors[index], rank, index};
                }
        *ret = all;
        *ret_n = n;
        return 0;
}

int manifest_share(struct manifest *const *ranks, size_t n_ranks, struct diag *d)
{
        _cleanup_(freep) struct mention *all = NULL;
        size_t n;
        int r = collect(ranks, n_ranks, &all, &n);

        if (r < 0)
                return r;
        qsort(all, n, sizeof(*all), compare_mentions);
        for (size_t first = 0, k; first < n; first += k) {
                for (k = 1; first + k < n; k++)
                        if (strcmp(all[first].tensor->name, all[first + k].tensor->name) != 0)
                                break;
                r = share_name(all + first, k, d);
                if (r < 0)
                        return r;
        }
        return 0;
}
