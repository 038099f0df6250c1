#include "compat.h"

#include "buffer.h"
#include "limit.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* The full tensor's shape: of this part, or of what it is a part of. */
static const int64_t *wanted_dims(const struct tensor *t)
{
        return t->full_dims ? t->full_dims : t->dims;
}

static bool same_shape(const struct tensor *t, const struct stored_tensor *s)
{
        return t->n_dims == s->n_dims &&
               (t->n_dims == 0 ||
                memcmp(wanted_dims(t), s->dims, (size_t)t->n_dims * sizeof(int64_t)) == 0);
}

static bool same_dtype(const struct tensor *t, const struct stored_tensor *s)
{
        return t->dtype->number == s->dtype->number;
}

/* "[20,10]", "[]" for a scalar, as TensorShape prints it. */
static char *shape_text(const int64_t *dims, int n)
{
        _cleanup_(buffer_done) struct buffer b = {0};
        int r = buffer_printf(&b, "[");

        for (int i = 0; i < n && r == 0; i++)
                r = buffer_printf(&b, "%s%" PRId64, i ? "," : "", dims[i]);
        if (r == 0)
                r = buffer_printf(&b, "]");
        return r < 0 ? NULL : buffer_take(&b);
}

struct misfits {
        struct diag *diag;
        size_t lines, tensors;
};

static struct diag *next_line(struct misfits *m)
{
        return m->lines++ < LIMIT_MISFITS ? m->diag : NULL;
}

static int add_shape(struct misfits *m, const struct tensor *t, const struct stored_tensor *s)
{
        _cleanup_(freep) char *wanted = shape_text(wanted_dims(t), t->n_dims);
        _cleanup_(freep) char *stored = shape_text(s->dims, s->n_dims);

        if (!wanted || !stored)
                return -ENOMEM;
        return diag_add(
                next_line(m), 0,
                "tensor_name = %s; shape in shape_and_slice spec %s does not match the shape "
                "stored in checkpoint: %s",
                t->name, wanted, stored);
}

static int add_misfit(struct misfits *m, const struct tensor *t, const struct stored_tensor *s)
{
        m->tensors++;
        if (!s)
                return diag_add(next_line(m), 0, "Key %s not found in checkpoint", t->name);
        if (!same_dtype(t, s))
                diag_add(next_line(m), 0,
                         "tensor_name = %s; expected dtype %s does not equal original dtype %s",
                         t->name, t->dtype->tensorflow, s->dtype->tensorflow);
        return same_shape(t, s) ? 0 : add_shape(m, t, s);
}

/* Parts of one tensor in one manifest make one misfit, told for the first of them. */
static bool is_told(const struct manifest *m, const struct tensor *t, const struct stored *s)
{
        const struct tensor *first = manifest_find(m, t->name);

        return first && first != t && !compat_fits(first, s);
}

static int finish(const struct misfits *m, size_t n, const struct stored *s)
{
        if (m->tensors == 0)
                return 0;
        if (m->lines > LIMIT_MISFITS)
                diag_add(m->diag, 0, "and %zu more", m->lines - LIMIT_MISFITS);
        return diag_add(m->diag, -EINVAL,
                        "checkpoint %s: %zu of %zu tensors that the job wants %s not fit.",
                        s->name ? s->name : "without a name", m->tensors, n,
                        m->tensors == 1 ? "does" : "do");
}

int compat_check(const struct manifest *m, const struct stored *s, struct diag *d)
{
        struct misfits misfits = {.diag = d};

        for (size_t i = 0; i < m->n; i++) {
                const struct tensor *t = &m->tensors[i];
                int r;

                if (compat_fits(t, s) || is_told(m, t, s))
                        continue;
                r = add_misfit(&misfits, t, stored_find(s, t->name));
                if (r < 0)
                        return r;
        }
        return finish(&misfits, m->n, s);
}

bool compat_fits(const struct tensor *t, const struct stored *s)
{
        const struct stored_tensor *stored = stored_find(s, t->name);

        return stored && same_dtype(t, stored) && same_shape(t, stored);
}
