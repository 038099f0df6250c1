#include "manifest-order.h"

#include <errno.h>
#include <string.h>

struct region manifest_region(const struct tensor *t, size_t id)
{
        return (struct region){.n_dims = t->n_dims, .start = t->start, .dims = t->dims, .id = id};
}

/* Decimal digits only.  -EINVAL, also beyond int64. */
static int take_number(const char **at, int64_t *ret)
{
        int64_t n = 0;

        if (**at < '0' || **at > '9')
                return -EINVAL;
        for (; **at >= '0' && **at <= '9'; (*at)++)
                if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, **at - '0', &n))
                        return -EINVAL;
        *ret = n;
        return 0;
}

static int take_char(const char **at, char c)
{
        if (**at != c)
                return -EINVAL;
        (*at)++;
        return 0;
}

/* "0,2" or "-"; the part's size must be the tensor's. */
static int take_extent(const char **at, int64_t full, int64_t dim, int64_t *ret_start)
{
        int64_t length = full, end;

        *ret_start = 0;
        if (**at == '-')
                (*at)++;
        else if (take_number(at, ret_start) < 0 || take_char(at, ',') < 0 ||
                 take_number(at, &length) < 0)
                return -EINVAL;
        if (length != dim || __builtin_add_overflow(*ret_start, length, &end) || end > full)
                return -EINVAL;
        return 0;
}

static int parse_spec(const char *spec, const struct tensor *t, int64_t *full_dims, int64_t *start)
{
        const char *at = spec;
        uint64_t bytes;
        int r = 0;

        for (int i = 0; i < t->n_dims && r >= 0; i++) {
                r = take_number(&at, &full_dims[i]);
                if (r >= 0)
                        r = take_char(&at, ' ');
        }
        for (int i = 0; i < t->n_dims && r >= 0; i++) {
                r = i > 0 ? take_char(&at, ':') : 0;
                if (r >= 0)
                        r = take_extent(&at, full_dims[i], t->dims[i], &start[i]);
        }
        if (r < 0 || *at)
                return -EINVAL;
        return region_bytes(t->dtype, t->n_dims, full_dims, &bytes);
}

int manifest_parse_slice(const char *spec, struct tensor *t, struct diag *d)
{
        _cleanup_(freep) int64_t *full_dims = calloc((size_t)t->n_dims + 1, sizeof(int64_t));
        _cleanup_(freep) int64_t *start = calloc((size_t)t->n_dims + 1, sizeof(int64_t));

        if (!full_dims || !start)
                return -ENOMEM;
        if (parse_spec(spec, t, full_dims, start) < 0) {
                _cleanup_(freep) char *text = region_text(t->dtype, t->n_dims, t->dims);

                return diag_set(d, -EINVAL, "%s: slice \"%s\" does not fit its shape, %s", t->name,
                                spec, text ? text : "");
        }
        if (memcmp(full_dims, t->dims, (size_t)t->n_dims * sizeof(int64_t)) == 0)
                return 0;
        t->full_dims = take_ptr(full_dims);
        t->start = take_ptr(start);
        return 0;
}

static int compare_dims(const int64_t *a, const int64_t *b, int n)
{
        for (int i = 0; i < n; i++)
                if (a[i] != b[i])
                        return a[i] < b[i] ? -1 : 1;
        return 0;
}

int manifest_compare(const struct tensor *a, const struct tensor *b)
{
        int r = strcmp(a->name, b->name);

        if (r == 0)
                r = (a->start ? 1 : 0) - (b->start ? 1 : 0);
        if (r == 0)
                r = a->n_dims - b->n_dims;
        if (r == 0 && a->start)
                r = compare_dims(a->start, b->start, a->n_dims);
        return r ? r : compare_dims(a->dims, b->dims, a->n_dims);
}

bool manifest_same_full(const struct tensor *a, const struct tensor *b)
{
        const int64_t *x = a->full_dims ? a->full_dims : a->dims;
        const int64_t *y = b->full_dims ? b->full_dims : b->dims;

        return a->dtype == b->dtype && a->n_dims == b->n_dims && compare_dims(x, y, a->n_dims) == 0;
}

int manifest_parts_overlap(const struct tensor *const *parts, size_t n, size_t ret[2])
{
        _cleanup_(freep) struct region *regions = calloc(n + 1, sizeof(*regions));

        if (!regions)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                regions[i] = manifest_region(parts[i], i);
        return region_find_overlap(regions, n, ret);
}
