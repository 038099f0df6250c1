#include "region.h"

#include "buffer.h"
#include "limit.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define PAIRWISE_MAX 512 /* parts in no regular arrangement are compared one by one */
#define CUT_DEPTH_MAX 64

int region_count(int n_dims, const int64_t *dims, uint64_t *ret)
{
        int64_t count = 1;

        for (int i = 0; i < n_dims; i++) {
                if (dims[i] < 0)
                        return -EINVAL;
                if (__builtin_mul_overflow(count, dims[i], &count))
                        return -EOVERFLOW;
        }
        *ret = (uint64_t)count;
        return 0;
}

int region_bytes(const struct dtype *dtype, int n_dims, const int64_t *dims, uint64_t *ret)
{
        uint64_t count, bytes;
        int r = region_count(n_dims, dims, &count);

        if (r < 0)
                return r;
        if (__builtin_mul_overflow(count, (uint64_t)dtype->bytes, &bytes) || bytes > INT64_MAX)
                return -EOVERFLOW;
        *ret = bytes;
        return 0;
}

static int64_t start_of(const struct region *r, int dim)
{
        return r->start ? r->start[dim] : 0;
}

static int64_t end_of(const struct region *r, int dim)
{
        int64_t end;

        return __builtin_add_overflow(start_of(r, dim), r->dims[dim], &end) ? INT64_MAX : end;
}

static int64_t common_along(const struct region *a, const struct region *b, int dim)
{
        int64_t start = start_of(a, dim), end = end_of(a, dim);

        if (start_of(b, dim) > start)
                start = start_of(b, dim);
        if (end_of(b, dim) < end)
                end = end_of(b, dim);
        return end > start ? end - start : 0;
}

uint64_t region_common(const struct region *a, const struct region *b)
{
        uint64_t count = 1;

        if (a->n_dims != b->n_dims)
                return 0;
        for (int i = 0; i < a->n_dims && count > 0; i++)
                count *= (uint64_t)common_along(a, b, i);
        return count;
}

static int compare_start(const void *a, const void *b, void *dim)
{
        int64_t x = start_of(a, *(int *)dim), y = start_of(b, *(int *)dim);

        return x < y ? -1 : x > y;
}

static int find_pairwise(const struct region *regions, size_t n, size_t ret[2])
{
        if (n > PAIRWISE_MAX)
                return -E2BIG;
        for (size_t i = 0; i < n; i++)
                for (size_t j = i + 1; j < n; j++)
                        if (region_common(&regions[i], &regions[j]) > 0) {
                                ret[0] = regions[i].id;
                                ret[1] = regions[j].id;
                                return 1;
                        }
        return 0;
}

/* How many of the regions, sorted along dim, lie before the first gap that no region spans. */
static size_t group_length(const struct region *regions, size_t n, int dim)
{
        int64_t end = end_of(&regions[0], dim);
        size_t i = 1;

        for (; i < n && start_of(&regions[i], dim) < end; i++)
                if (end_of(&regions[i], dim) > end)
                        end = end_of(&regions[i], dim);
        return i;
}

/* Cuts the set along every dimension in which a plane parts it, and looks at each group on its own.
 * Partitions that people use fall apart this way down to single parts. */
static int find_in_groups(struct region *regions, size_t n, int depth, size_t ret[2])
{
        int r;

        if (n < 2)
                return 0;
        for (int dim = 0; dim < regions[0].n_dims && depth < CUT_DEPTH_MAX; dim++) {
                qsort_r(regions, n, sizeof(*regions), compare_start, &dim);
                if (group_length(regions, n, dim) == n)
                        continue;
                for (size_t i = 0, length; i < n; i += length) {
                        length = group_length(regions + i, n - i, dim);
                        r = find_in_groups(regions + i, length, depth + 1, ret);
                        if (r != 0)
                                return r;
                }
                return 0;
        }
        return find_pairwise(regions, n, ret);
}

static bool is_empty(const struct region *r)
{
        for (int i = 0; i < r->n_dims; i++)
                if (r->dims[i] <= 0)
                        return true;
        return false;
}

int region_find_overlap(struct region *regions, size_t n, size_t ret[2])
{
        size_t kept = 0;

        for (size_t i = 0; i < n; i++)
                if (!is_empty(&regions[i]))
                        regions[kept++] = regions[i];
        return find_in_groups(regions, kept, 0, ret);
}

char *region_text(const struct dtype *dtype, int n_dims, const int64_t *dims)
{
        _cleanup_(buffer_done) struct buffer b = {0};
        int r = buffer_printf(&b, "%s [", dtype->name);

        for (int i = 0; i < n_dims && r >= 0; i++)
                r = buffer_printf(&b, "%s%" PRId64, i > 0 ? "," : "", dims[i]);
        if (r >= 0)
                r = buffer_printf(&b, "]");
        return r < 0 ? NULL : buffer_take(&b);
}

char *region_spec(const struct region *region, const int64_t *full_dims)
{
        _cleanup_(buffer_done) struct buffer b = {0};
        int r = 0;

        for (int i = 0; i < region->n_dims && r >= 0; i++) {
                const char *colon = i > 0 ? ":" : "";

                if (start_of(region, i) == 0 && region->dims[i] == full_dims[i])
                        r = buffer_printf(&b, "%s-", colon);
                else
                        r = buffer_printf(&b, "%s%" PRId64 ",%" PRId64, colon, start_of(region, i),
                                          region->dims[i]);
        }
        return r < 0 ? NULL : buffer_take(&b);
}
