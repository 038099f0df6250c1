#include "manifest-build.h"

#include "limit.h"

#include <errno.h>
#include <string.h>

static int check_members(const json_t *json, size_t index, struct diag *d)
{
        static const char *const known[] = {"name", "dtype", "shape", "slice"};
        size_t n_known = 0;

        if (!json_is_object(json))
                return diag_set(d, -EINVAL, "tensor %zu: not an object", index);
        for (size_t k = 0; k < ARRAY_SIZE(known); k++)
                n_known += json_object_get(json, known[k]) != NULL;
        if (n_known != json_object_size(json))
                return diag_set(d, -EINVAL,
                                "tensor %zu: has a member besides name, dtype, shape, slice",
                                index);
        return 0;
}

/* A member that must be a string where it is there; null counts as absent only for the slice. */
static int take_string(const json_t *json, const char *key, const char **ret)
{
        const json_t *value = json_object_get(json, key);

        *ret = json_string_value(value);
        if (!value || (json_is_null(value) && strcmp(key, "slice") == 0))
                return 0;
        return *ret && strlen(*ret) == json_string_length(value) ? 0 : -EINVAL;
}

static int take_dims(const json_t *shape, int64_t dims[static LIMIT_RANK + 1], size_t *ret_n)
{
        size_t n = json_array_size(shape);

        if (n > LIMIT_RANK)
                n = LIMIT_RANK + 1; /* too many either way */
        for (size_t i = 0; i < n; i++) {
                const json_t *dim = json_array_get(shape, i);

                if (!json_is_integer(dim))
                        return -EINVAL;
                dims[i] = json_integer_value(dim);
        }
        *ret_n = n;
        return shape && !json_is_array(shape) ? -EINVAL : 0;
}

static int parse_tensor(const json_t *json, size_t index, struct tensor *t, struct diag *d)
{
        const json_t *shape = json_object_get(json, "shape");
        int64_t dims[LIMIT_RANK + 1];
        struct manifest_raw raw = {.has_shape = shape != NULL, .dims = dims};
        int r = check_members(json, index, d);

        if (r < 0)
                return r;
        if (take_string(json, "name", &raw.name) < 0)
                return diag_set(d, -EINVAL, "tensor %zu: name is not a string without zero bytes",
                                index);
        if (take_string(json, "dtype", &raw.dtype) < 0 ||
            take_string(json, "slice", &raw.slice) < 0)
                return diag_set(d, -EINVAL, "%s: dtype or slice is not a string", raw.name);
        if (take_dims(shape, dims, &raw.n_dims) < 0)
                return diag_set(d, -EINVAL, "%s: shape is not an array of integers", raw.name);
        return manifest_set_tensor(t, index, &raw, d);
}

static int parse_tensors(const json_t *array, struct manifest *m, struct diag *d)
{
        m->tensors = calloc(json_array_size(array) + 1, sizeof(*m->tensors));
        if (!m->tensors)
                return -ENOMEM;
        m->n = json_array_size(array);
        for (size_t i = 0; i < m->n; i++) {
                int r = parse_tensor(json_array_get(array, i), i, &m->tensors[i], d);

                if (r < 0)
                        return r;
        }
        return 0;
}

int manifest_from_json(const json_t *array, struct manifest **ret, struct diag *d)
{
        _cleanup_(manifest_freep) struct manifest *m = NULL;
        int r;

        if (!json_is_array(array))
                return diag_set(d, -EINVAL, "the manifest is not an array");
        if (json_array_size(array) > LIMIT_TENSORS)
                return diag_set(d, -E2BIG, "the manifest has more than %d tensors", LIMIT_TENSORS);
        m = calloc(1, sizeof(*m));
        if (!m)
                return -ENOMEM;
        r = parse_tensors(array, m, d);
        if (r >= 0)
                r = manifest_finish(m, d);
        if (r < 0)
                return r;
        *ret = take_ptr(m);
        return 0;
}
