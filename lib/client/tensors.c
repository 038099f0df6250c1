#include "tensors.h"

#include "buffer.h"
#include "dtype.h"
#include "fds.h"
#include "limit.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

void tensors_free(struct tensors *t)
{
        if (!t)
                return;
        for (size_t i = 0; i < t->n; i++) {
                free((char *)t->t[i].name);
                free((int64_t *)t->t[i].dims);
                free((char *)t->t[i].slice);
        }
        free(t->t);
        free(t->bytes);
        free(t);
}

/* -EINVAL: a size is negative; -EOVERFLOW: no data file can be so long. */
static int count_bytes(const struct ckpt_tensor *t, uint64_t element, uint64_t *ret)
{
        uint64_t n = element;
        bool empty = false;

        for (int i = 0; i < t->n_dims; i++) {
                if (t->dims[i] < 0)
                        return -EINVAL;
                empty = empty || t->dims[i] == 0;
                if (t->dims[i] > 0 && __builtin_mul_overflow(n, (uint64_t)t->dims[i], &n))
                        return -EOVERFLOW;
        }
        *ret = empty ? 0 : n;
        return n > (uint64_t)LIMIT_STATE_BYTES ? -EOVERFLOW : 0;
}

/* What is wrong with it; NULL: nothing. */
static const char *find_mistake(const struct ckpt_tensor *t, uint64_t *ret_bytes)
{
        const struct dtype *type = dtype_by_number((int)t->dtype);
        int r;

        if (!type)
                return "unknown dtype";
        if (type->bytes == 0)
                return "a dtype of varying size cannot be saved";
        if (t->n_dims < 0 || t->n_dims > LIMIT_RANK || (t->n_dims > 0 && !t->dims))
                return "n_dims or dims are wrong";
        r = count_bytes(t, type->bytes, ret_bytes);
        if (r < 0)
                return r == -EINVAL ? "a negative size in dims" : "too large";
        if (!t->data && !t->copy && *ret_bytes > 0)
                return "neither data nor copy is given";
        return NULL;
}

static int copy_dims(const struct ckpt_tensor *from, struct ckpt_tensor *to)
{
        int64_t *dims = calloc((size_t)from->n_dims + 1, sizeof(*dims));

        if (!dims)
                return -ENOMEM;
        for (int i = 0; i < from->n_dims; i++)
                dims[i] = from->dims[i];
        to->dims = dims;
        return 0;
}

static int take_tensor(const struct ckpt_tensor *from, size_t i, struct tensors *to, struct diag *d)
{
        struct ckpt_tensor *t = &to->t[i];
        const char *mistake;

        if (!from->name || !*from->name || strlen(from->name) > LIMIT_NAME_BYTES)
                return diag_set(d, -EINVAL, "tensor %zu: no name, or one of more than %d bytes", i,
                                LIMIT_NAME_BYTES);
        mistake = find_mistake(from, &to->bytes[i]);
        if (mistake)
                return diag_set(d, -EINVAL, "tensor_name = %s: %s", from->name, mistake);
        *t = *from;
        t->size = sizeof(*t);
        t->dims = NULL;
        t->name = strdup(from->name);
        t->slice = from->slice ? strdup(from->slice) : NULL;
        to->n = i + 1;
        if (!t->name || (from->slice && !t->slice))
                return -ENOMEM;
        return copy_dims(from, t);
}

int tensors_new(struct tensors **ret, const struct ckpt_tensor *t, size_t n, struct diag *d)
{
        _cleanup_(tensors_freep) struct tensors *all = calloc(1, sizeof(*all));
        size_t stride = n > 0 && t ? t->size : 0;
        int r;

        if (n > LIMIT_TENSORS)
                return diag_set(d, -EINVAL, "%zu tensors: at most %d are allowed", n,
                                LIMIT_TENSORS);
        if (n > 0 && stride < sizeof(*t))
                return diag_set(d, -EINVAL, "ckpt_tensor.size must be sizeof(struct ckpt_tensor)");
        if (!all)
                return -ENOMEM;
        all->t = calloc(n + 1, sizeof(*all->t));
        all->bytes = calloc(n + 1, sizeof(*all->bytes));
        if (!all->t || !all->bytes)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                const struct ckpt_tensor *from = (const void *)((const char *)t + i * stride);

                if (from->size != stride)
                        return diag_set(d, -EINVAL, "tensor %zu: another size than the first one's",
                                        i);
                r = take_tensor(from, i, all, d);
                if (r < 0)
                        return r;
        }
        *ret = take_ptr(all);
        return 0;
}

static bool is_same(const struct ckpt_tensor *a, const struct ckpt_tensor *b)
{
        return a->dtype == b->dtype && a->n_dims == b->n_dims && !strcmp(a->name, b->name) &&
               !memcmp(a->dims, b->dims, (size_t)a->n_dims * sizeof(*a->dims)) &&
               !strcmp(a->slice ? a->slice : "", b->slice ? b->slice : "");
}

bool tensors_same(const struct tensors *a, const struct tensors *b)
{
        if (a->n != b->n)
                return false;
        for (size_t i = 0; i < a->n; i++)
                if (!is_same(&a->t[i], &b->t[i]))
                        return false;
        return true;
}

static int add_string(struct buffer *b, const char *text)
{
        json_t *json = json_string(text);
        char *quoted = json ? json_dumps(json, JSON_ENCODE_ANY) : NULL;
        int r = quoted ? buffer_append(b, quoted, strlen(quoted)) : -EILSEQ;

        free(quoted);
        json_decref(json);
        return r;
}

static int add_tensor(struct buffer *b, const struct ckpt_tensor *t)
{
        int r = buffer_printf(b, "%s{\"name\":", b->len > 1 ? "," : "");

        if (r >= 0)
                r = add_string(b, t->name);
        if (r >= 0)
                r = buffer_printf(b, ",\"dtype\":\"%s\",\"shape\":[",
                                  dtype_by_number((int)t->dtype)->name);
        for (int i = 0; r >= 0 && i < t->n_dims; i++)
                r = buffer_printf(b, i > 0 ? ",%lld" : "%lld", (long long)t->dims[i]);
        if (r >= 0)
                r = buffer_append(b, "]", 1);
        if (r >= 0 && t->slice)
                r = buffer_append(b, ",\"slice\":", strlen(",\"slice\":"));
        if (r >= 0 && t->slice)
                r = add_string(b, t->slice);
        return r < 0 ? r : buffer_append(b, "}", 1);
}

int tensors_manifest(const struct tensors *t, struct diag *d)
{
        _cleanup_(buffer_done) struct buffer b = {.max = LIMIT_MANIFEST_BYTES};
        int r = buffer_append(&b, "[", 1);

        for (size_t i = 0; r >= 0 && i < t->n; i++) {
                r = add_tensor(&b, &t->t[i]);
                if (r == -EILSEQ)
                        return diag_set(d, -EINVAL, "tensor %zu: its name or slice is not UTF-8",
                                        i);
        }
        if (r >= 0)
                r = buffer_append(&b, "]", 1);
        if (r == -EOVERFLOW)
                return diag_set(d, -E2BIG, "the tensors' names and shapes need more than %d bytes",
                                LIMIT_MANIFEST_BYTES);
        return r < 0 ? r : fds_memfd_of("ckpt-manifest", b.data, b.len);
}
