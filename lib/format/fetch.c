#include "verify.h"

#include "part-read.h"
#include "region.h"

#include <errno.h>
#include <string.h>

/* A target and one stored part that has some of it. */
struct want {
        const struct stored_target *target;
        const struct stored_tensor *tensor;
        const struct stored_part *part;
        bool same; /* the part is just what is wanted */
};

struct wants {
        size_t n;
        struct want *at;
        size_t n_parts;
        struct part_read *parts;
};

static void wants_done(struct wants *w)
{
        free(w->at);
        free(w->parts);
}

static struct region part_region(const struct stored_tensor *t, const struct stored_part *p)
{
        return (struct region){
                .n_dims = t->n_dims, .start = p->start, .dims = p->length ? p->length : t->dims};
}

/* In TensorFlow's words. */
static int check_fit(const struct tensor *t, const struct stored_tensor *s, struct diag *d)
{
        const int64_t *dims = t->full_dims ? t->full_dims : t->dims;

        if (t->dtype != s->dtype)
                return diag_set(
                        d, -EINVAL,
                        "tensor_name = %s; expected dtype %s does not equal original dtype %s",
                        t->name, t->dtype->name, s->dtype->name);
        if (t->dtype->bytes == 0)
                return diag_set(d, -EINVAL, "tensor_name = %s; %s has no image in memory", t->name,
                                t->dtype->name);
        if (t->n_dims != s->n_dims ||
            memcmp(dims, s->dims, (size_t)t->n_dims * sizeof(*dims)) != 0) {
                _cleanup_(freep) char *wanted = region_text(t->dtype, t->n_dims, dims);
                _cleanup_(freep) char *stored = region_text(s->dtype, s->n_dims, s->dims);

                return diag_set(
                        d, -EINVAL,
                        "tensor_name = %s; shape in shape_and_slice spec %s does not match the "
                        "shape stored in checkpoint: %s",
                        t->name, wanted ? strchr(wanted, '[') : "",
                        stored ? strchr(stored, '[') : "");
        }
        return 0;
}

static bool same_region(const struct region *a, const struct region *b)
{
        for (int i = 0; i < a->n_dims; i++)
                if ((a->start ? a->start[i] : 0) != (b->start ? b->start[i] : 0) ||
                    a->dims[i] != b->dims[i])
                        return false;
        return true;
}

static int insufficient(const struct tensor *t, const struct stored_tensor *s, struct diag *d)
{
        const struct region r = manifest_region(t, 0);
        _cleanup_(freep) char *spec = region_spec(&r, s->dims);

        return diag_set(d, -EBADMSG,
                        "Does not have sufficient slices for partitioned tensor %s to restore in "
                        "slice_spec: %s",
                        t->name, spec ? spec : "");
}

/* Lists the parts that have some of the target: together all of it, since they do not overlap. */
static int add_wants(const struct stored *s, const struct stored_target *target, struct wants *w,
                     struct diag *d)
{
        const struct stored_tensor *t = stored_find(s, target->tensor->name);
        const struct region wanted = manifest_region(target->tensor, 0);
        uint64_t found = 0, count;
        int r;

        if (!t)
                return diag_set(d, -EINVAL, "Key %s not found in checkpoint", target->tensor->name);
        r = check_fit(target->tensor, t, d);
        if (r < 0)
                return r;
        for (size_t i = 0; i < t->n_parts; i++) {
                const struct stored_part *p = &t->parts[i];
                const struct region have = part_region(t, p);
                uint64_t common = region_common(&wanted, &have);

                if (common == 0 || p->bytes == 0)
                        continue;
                if (!part_read_is_there(s, p))
                        return diag_set(d, -EBADMSG, "%s: %s: the file is missing or too short",
                                        s->files[p->file].name, t->name);
                found += common;
                w->at[w->n++] = (struct want){target, t, p, same_region(&wanted, &have)};
        }
        r = region_count(wanted.n_dims, wanted.dims, &count);
        return r < 0 || found != count ? insufficient(target->tensor, t, d) : 0;
}

static size_t count_parts(const struct stored *s, const struct stored_target *targets, size_t n)
{
        size_t total = 0;

        for (size_t i = 0; i < n; i++) {
                const struct stored_tensor *t = stored_find(s, targets[i].tensor->name);

                total += t ? t->n_parts : 0;
        }
        return total;
}

static int compare_wants(const void *a, const void *b)
{
        const struct stored_part *x = ((const struct want *)a)->part;
        const struct stored_part *y = ((const struct want *)b)->part;

        return (x > y) - (x < y);
}

/* Several targets may want one part; it is read once. */
static int group_wants(struct wants *w)
{
        w->parts = calloc(w->n + 1, sizeof(*w->parts));
        if (!w->parts)
                return -ENOMEM;
        if (w->n > 1)
                qsort(w->at, w->n, sizeof(*w->at), compare_wants);
        for (size_t i = 0; i < w->n; i++) {
                if (i == 0 || w->at[i].part != w->at[i - 1].part)
                        w->parts[w->n_parts++] = (struct part_read){
                                .tensor = w->at[i].tensor, .part = w->at[i].part, .first_want = i};
                w->parts[w->n_parts - 1].n_wants++;
        }
        return 0;
}

static int list_wants(const struct stored *s, const struct stored_target *targets, size_t n,
                      struct wants *w, struct diag *d)
{
        w->at = calloc(count_parts(s, targets, n) + 1, sizeof(*w->at));
        if (!w->at)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                int r = add_wants(s, &targets[i], w, d);

                if (r < 0)
                        return r;
        }
        return group_wants(w);
}

static void *place(const struct part_read *p, uint64_t from, void *user)
{
        const struct wants *w = user;
        const struct want *only = &w->at[p->first_want];

        return p->n_wants == 1 && only->same ? (uint8_t *)only->target->to + from : NULL;
}

static void take(const struct part_read *p, uint64_t from, const void *bytes, size_t n, void *user)
{
        const struct wants *w = user;

        for (size_t i = 0; i < p->n_wants; i++) {
                const struct want *want = &w->at[p->first_want + i];
                const struct region have = part_region(want->tensor, want->part);
                const struct region wanted = manifest_region(want->target->tensor, 0);
                const struct region_copy copy = {.from = &have,
                                                 .to = &wanted,
                                                 .element_bytes = want->tensor->dtype->bytes,
                                                 .target = want->target->to};

                if (!want->same)
                        region_copy_bytes(&copy, bytes, from, n);
                else if ((uint8_t *)want->target->to + from != bytes)
                        memcpy((uint8_t *)want->target->to + from, bytes, n);
        }
}

int stored_fetch(const struct stored *s, const struct stored_check *how,
                 const struct stored_target *targets, size_t n, struct diag *d)
{
        _cleanup_(wants_done) struct wants w = {0};
        _cleanup_(damage_done) struct damage damage = {0};
        struct part_reading reading = {
                .stored = s, .how = how, .place = place, .take = take, .user = &w};
        int r = list_wants(s, targets, n, &w, d);

        if (r < 0)
                return r;
        reading.n = w.n_parts;
        reading.parts = w.parts;
        r = part_read_run(&reading, d);
        if (r < 0)
                return r;
        for (size_t i = 0; i < w.n_parts; i++) {
                const struct part_read *p = &w.parts[i];

                if (p->part->has_crc && p->crc32c != p->part->crc32c)
                        verify_tell_sum(&damage, s, p->tensor, p->part, p->crc32c);
        }
        return damage_tell(&damage, d);
}
