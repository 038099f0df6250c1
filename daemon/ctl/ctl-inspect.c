#include "ctl.h"

#include "ctl-place.h"
#include "ctl-table.h"
#include "ctl-text.h"
#include "ctl-values.h"
#include "units.h"

#include <errno.h>
#include <inttypes.h>
#include <nettle/sha2.h>
#include <string.h>

struct inspect_options {
        bool sha256;
        const char *tensor;
};

static const struct ctl_option inspect_options[] = {
        {"sha256", CTL_OPTION_FLAG, NULL,
         "the sum of each tensor: row-major, little-endian, slices joined",
         offsetof(struct inspect_options, sha256)},
        {"tensor", CTL_OPTION_TEXT, "NAME", "the values of one tensor",
         offsetof(struct inspect_options, tensor)},
        {0},
};

static const struct ctl_column columns[] = {
        {.title = "TENSOR", .key = "name", .type = CTL_TEXT},
        {.title = "DTYPE", .key = "dtype", .type = CTL_TEXT},
        {.title = "SHAPE", .key = "shape", .type = CTL_SHAPE},
        {.title = "SIZE", .key = "bytes", .type = CTL_SIZE},
        {.title = "SHA256", .key = "sha256", .type = CTL_TEXT, .if_any = true},
        {.key = "values", .type = CTL_LIST},
        {0},
};

#define SUM_TEXT_MAX (2 * SHA256_DIGEST_SIZE + 1)

struct inspected {
        const struct ctl *c;
        const struct inspect_options *o;
        const struct stored *stored;
        struct stored_check how;
        const char *path; /* to be shown */
};

static int add_bytes(const void *p, size_t n, void *user)
{
        sha256_update(user, n, p);
        return 0;
}

static int sum_tensor(const struct inspected *x, const struct stored_tensor *t,
                      char ret[static SUM_TEXT_MAX], struct diag *d)
{
        struct sha256_ctx sum;
        uint8_t digest[SHA256_DIGEST_SIZE];
        int r;

        sha256_init(&sum);
        r = stored_stream(x->stored, &x->how, t, &(struct stored_sink){add_bytes, &sum}, d);
        sha256_digest(&sum, sizeof(digest), digest);
        for (size_t i = 0; i < sizeof(digest); i++)
                sprintf(ret + 2 * i, "%02x", digest[i]);
        return r;
}

static json_t *shape_json(const struct stored_tensor *t)
{
        json_t *shape = json_array();

        for (int i = 0; i < t->n_dims; i++)
                json_array_append_new(shape, json_integer(t->dims[i]));
        return shape;
}

static json_t *tensor_row(const struct stored_tensor *t)
{
        return json_pack("{s:o, s:s, s:o, s:I}", "name", ctl_json_text(t->name, strlen(t->name)),
                         "dtype", t->dtype->name, "shape", shape_json(t), "bytes",
                         (json_int_t)t->bytes);
}

/* Rows of all tensors.  The first tensor that cannot be read stops it; the rows so far stay. */
static int collect(const struct inspected *x, json_t *rows, struct diag *d)
{
        for (size_t i = 0; i < x->stored->n_tensors; i++) {
                const struct stored_tensor *t = &x->stored->tensors[i];
                char sum[SUM_TEXT_MAX];
                json_t *row = tensor_row(t);
                int r = 0;

                if (json_array_append_new(rows, row) < 0)
                        return -ENOMEM;
                if (x->o->sha256 && t->dtype->bytes > 0)
                        r = sum_tensor(x, t, sum, d);
                if (r < 0)
                        return r;
                if (x->o->sha256 && t->dtype->bytes > 0)
                        json_object_set_new(row, "sha256", json_string(sum));
        }
        return 0;
}

static void print_head(const struct inspected *x)
{
        const struct stored *s = x->stored;
        char size[UNITS_TEXT_MAX];

        ctl_put(stdout, x->path);
        printf(": %s", s->format->name);
        if (s->step >= 0)
                printf(", step %" PRId64, s->step);
        printf(", %zu tensor%s, %s in %zu file%s\n\n", s->n_tensors, s->n_tensors == 1 ? "" : "s",
               units_format_size(size, s->bytes), s->n_files, s->n_files == 1 ? "" : "s");
}

static json_t *all_json(const struct stored *s, const struct ctl_table *t)
{
        return json_pack("{s:s, s:o, s:o}", "format", s->format->name, "step",
                         s->step >= 0 ? json_integer(s->step) : json_null(), "tensors",
                         ctl_table_json(t));
}

static int inspect_all(const struct inspected *x)
{
        _cleanup_(diag_done) struct diag d = {0};
        json_auto_t *rows = json_array();
        struct ctl_table t = {.columns = columns, .rows = rows, .color = x->c->color};
        int r = collect(x, rows, &d);

        if (x->c->json) {
                ctl_print_json(all_json(x->stored, &t));
        } else {
                print_head(x);
                if (json_array_size(rows) > 0 && ctl_table_print(stdout, &t) < 0)
                        return CTL_FAILED;
        }
        return r < 0 ? ctl_fail(CTL_FAILED, "%s: %s", x->path, diag_text(&d, r)) : CTL_DONE;
}

static int print_tensor(const struct inspected *x, const struct stored_tensor *t,
                        const struct ctl_values *v)
{
        json_auto_t *row = tensor_row(t);
        _cleanup_(freep) char *shape = ctl_shape_text(json_object_get(row, "shape"));
        char size[UNITS_TEXT_MAX];

        if (x->c->json) {
                json_t *values = ctl_values_json(v);

                if (values)
                        json_object_set_new(row, "values", values);
                return ctl_print_json(ctl_table_row_json(columns, row));
        }
        ctl_put(stdout, t->name);
        printf(": %s %s, %s\n", t->dtype->name, shape ? shape : "?",
               units_format_size(size, t->bytes));
        ctl_values_print(stdout, v);
        return CTL_DONE;
}

static int inspect_tensor(const struct inspected *x)
{
        _cleanup_(ctl_values_done) struct ctl_values v = {0};
        _cleanup_(diag_done) struct diag d = {0};
        const struct stored_tensor *t = stored_find(x->stored, x->o->tensor);
        int r;

        if (!t)
                return ctl_fail(CTL_FAILED, "%s holds no tensor %s", x->path, x->o->tensor);
        r = ctl_values_read(&v, x->stored, &x->how, t, &d);
        if (r < 0)
                return ctl_fail(CTL_FAILED, "%s: %s", x->path, diag_text(&d, r));
        return print_tensor(x, t, &v);
}

static int inspect_run(struct ctl *c)
{
        _cleanup_(ctl_place_done) struct ctl_place place = {.fd = -1};
        _cleanup_(stored_freep) struct stored *s = NULL;
        _cleanup_(freep) char *path = NULL;
        _cleanup_(diag_done) struct diag d = {0};
        struct inspected x = {.c = c, .o = c->options};
        int r = ctl_place_resolve(c->args[0], &place, &d), code;

        if (r == 0)
                r = ctl_place_open(&place, &s, &path, &d);
        if (!s)
                return ctl_fail(r == -ENODATA ? CTL_NONE_WHOLE : CTL_FAILED, "%s",
                                diag_text(&d, r));
        x.stored = s;
        x.path = path;
        x.how = (struct stored_check){.io = &io_real, .dirfd = place.fd};
        code = x.o->tensor ? inspect_tensor(&x) : inspect_all(&x);
        return r < 0 ? ctl_fail(CTL_FAILED, "%s: damaged\n%s", path, diag_text(&d, r)) : code;
}

const struct ctl_command ctl_inspect = {
        .name = "inspect",
        .arguments = "PATH",
        .summary = "What a checkpoint holds: format, step, tensors",
        .text = "PATH is a checkpoint as its framework names it, DIR@STEP, or a model directory "
                "(its newest\n"
                "whole one). Needs no daemon.",
        .options = inspect_options,
        .options_bytes = sizeof(struct inspect_options),
        .min_args = 1,
        .max_args = 1,
        .run = inspect_run,
};
