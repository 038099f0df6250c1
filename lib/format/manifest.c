#include "manifest.h"

#include "limit.h"
#include "manifest-build.h"
#include "manifest-order.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static void tensor_done(struct tensor *t)
{
        free(t->name);
        free(t->dims);
        free(t->full_dims);
        free(t->start);
}

void manifest_free(struct manifest *m)
{
        if (!m)
                return;
        for (size_t i = 0; i < m->n && m->tensors; i++)
                tensor_done(&m->tensors[i]);
        free(m->tensors);
        free(m->by_name);
        free(m);
}

static int check_dims(struct tensor *t, struct diag *d)
{
        for (int i = 0; i < t->n_dims; i++)
                if (t->dims[i] < 0)
                        return diag_set(d, -EINVAL, "%s: dimension %d is below 0", t->name, i);
        if (region_bytes(t->dtype, t->n_dims, t->dims, &t->bytes) < 0 ||
            t->bytes > LIMIT_STATE_BYTES)
                return diag_set(d, -E2BIG, "%s: shape has more than %lld bytes", t->name,
                                LIMIT_STATE_BYTES);
        return 0;
}

static int set_name(struct tensor *t, size_t index, const char *name, struct diag *d)
{
        size_t length = name ? strlen(name) : 0;

        if (length == 0)
                return diag_set(d, -EINVAL, "tensor %zu: name is %s", index,
                                name ? "empty" : "missing");
        if (length > LIMIT_NAME_BYTES)
                return diag_set(d, -EINVAL,
                                "tensor %zu: name has %zu bytes, at most %d are possible", index,
                                length, LIMIT_NAME_BYTES);
        t->name = strdup(name);
        return t->name ? 0 : -ENOMEM;
}

int manifest_set_tensor(struct tensor *t, size_t index, const struct manifest_raw *raw,
                        struct diag *d)
{
        int r = set_name(t, index, raw->name, d);

        if (r < 0)
                return r;
        if (!raw->dtype || !raw->has_shape)
                return diag_set(d, -EINVAL, "%s: %s is missing", t->name,
                                raw->dtype ? "shape" : "dtype");
        t->dtype = dtype_by_name(raw->dtype);
        if (!t->dtype)
                return diag_set(d, -EINVAL, "%s: unknown dtype %s", t->name, raw->dtype);
        if (t->dtype->bytes == 0)
                return diag_set(d, -EINVAL, "%s: dtype %s has no fixed size and no image in memory",
                                t->name, raw->dtype);
        if (raw->n_dims > LIMIT_RANK)
                return diag_set(d, -EINVAL, "%s: shape has %zu dimensions, at most %d are possible",
                                t->name, raw->n_dims, LIMIT_RANK);
        t->dims = calloc(raw->n_dims + 1, sizeof(*t->dims));
        if (!t->dims)
                return -ENOMEM;
        memcpy(t->dims, raw->dims, raw->n_dims * sizeof(*t->dims));
        t->n_dims = (int)raw->n_dims;
        t->owner_index = index;
        r = check_dims(t, d);
        return r >= 0 && raw->slice ? manifest_parse_slice(raw->slice, t, d) : r;
}

/* The tensors of one name, first to last of by_name: one whole tensor, or parts that do not
 * overlap. */
static int check_group(const struct manifest *m, const size_t *group, size_t n, struct diag *d)
{
        _cleanup_(freep) const struct tensor **parts = NULL;
        size_t pair[2];
        int r;

        if (n < 2)
                return 0;
        parts = calloc(n, sizeof(*parts));
        if (!parts)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                parts[i] = &m->tensors[group[i]];
                if (!parts[i]->full_dims)
                        return diag_set(d, -EINVAL, "%s: named twice", parts[i]->name);
                if (!manifest_same_full(parts[0], parts[i]))
                        return diag_set(d, -EINVAL, "%s: its parts differ in dtype or full shape",
                                        parts[i]->name);
        }
        r = manifest_parts_overlap(parts, n, pair);
        if (r == -E2BIG)
                return diag_set(d, r, "%s: too many parts in no regular arrangement",
                                parts[0]->name);
        if (r > 0)
                return diag_set(d, -EINVAL, "%s: named twice: two of its parts overlap",
                                parts[0]->name);
        return r;
}

static int check_names(const struct manifest *m, struct diag *d)
{
        for (size_t first = 0, n; first < m->n; first += n) {
                const char *name = m->tensors[m->by_name[first]].name;
                int r;

                for (n = 1; first + n < m->n; n++)
                        if (strcmp(name, m->tensors[m->by_name[first + n]].name) != 0)
                                break;
                r = check_group(m, m->by_name + first, n, d);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int compare_index(const void *a, const void *b, void *tensors)
{
        const struct tensor *t = tensors;

        return manifest_compare(&t[*(const size_t *)a], &t[*(const size_t *)b]);
}

static int sort_names(struct manifest *m)
{
        m->by_name = calloc(m->n + 1, sizeof(*m->by_name));
        if (!m->by_name)
                return -ENOMEM;
        for (size_t i = 0; i < m->n; i++)
                m->by_name[i] = i;
        qsort_r(m->by_name, m->n, sizeof(*m->by_name), compare_index, m->tensors);
        return 0;
}

static int check_total(const struct manifest *m, struct diag *d)
{
        uint64_t total = 0;

        for (size_t i = 0; i < m->n; i++)
                if (__builtin_add_overflow(total, m->tensors[i].bytes, &total) ||
                    total > LIMIT_STATE_BYTES)
                        return diag_set(d, -E2BIG, "the manifest has more than %lld bytes",
                                        LIMIT_STATE_BYTES);
        return 0;
}

int manifest_finish(struct manifest *m, struct diag *d)
{
        int r = check_total(m, d);

        if (r >= 0)
                r = sort_names(m);
        return r < 0 ? r : check_names(m, d);
}

const struct tensor *manifest_find(const struct manifest *m, const char *name)
{
        size_t low = 0, high = m->n;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (strcmp(m->tensors[m->by_name[middle]].name, name) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        if (low == m->n || strcmp(m->tensors[m->by_name[low]].name, name) != 0)
                return NULL;
        return &m->tensors[m->by_name[low]];
}

static bool same_dims(const int64_t *a, const int64_t *b, int n)
{
        return !a == !b && (!a || n == 0 || memcmp(a, b, (size_t)n * sizeof(*a)) == 0);
}

bool manifest_equal(const struct manifest *a, const struct manifest *b)
{
        if (a->n != b->n)
                return false;
        for (size_t i = 0; i < a->n; i++) {
                const struct tensor *x = &a->tensors[i], *y = &b->tensors[i];

                if (x->dtype != y->dtype || x->n_dims != y->n_dims ||
                    strcmp(x->name, y->name) != 0 || !same_dims(x->dims, y->dims, x->n_dims) ||
                    !same_dims(x->full_dims, y->full_dims, x->n_dims) ||
                    !same_dims(x->start, y->start, x->n_dims))
                        return false;
        }
        return true;
}
