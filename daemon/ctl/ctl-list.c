#include "ctl.h"

#include "ctl-call.h"
#include "ctl-table.h"
#include "ctl-text.h"
#include "units.h"

#include <inttypes.h>
#include <string.h>

struct list_options {
        bool all;
};

static const struct ctl_option list_options[] = {
        {"all", CTL_OPTION_FLAG, NULL, "also checkpoints that are gone",
         offsetof(struct list_options, all)},
        {0},
};

static const struct ctl_column directory_columns[] = {
        {.title = "DIRECTORY", .key = "path", .type = CTL_TEXT},
        {.title = "CHECKPOINTS", .key = "checkpoints", .type = CTL_COUNT},
        {.title = "SIZE", .key = "bytes", .type = CTL_SIZE},
        {.title = "NEWEST", .key = "newest_step", .type = CTL_COUNT},
        {.title = "PUBLISHED",
         .key = "newest_published",
         .from = "newest_published_ms",
         .type = CTL_TIME},
        {.title = "POLICY", .key = "policy", .type = CTL_TEXT},
        {.title = "STATE", .key = "state", .type = CTL_STATE},
        {.key = "job", .type = CTL_TEXT},
        {0},
};

static const struct ctl_column checkpoint_columns[] = {
        {.title = "STEP", .key = "step", .type = CTL_COUNT},
        {.key = "path", .type = CTL_TEXT},
        {.title = "PUBLISHED", .key = "published", .from = "published_ms", .type = CTL_TIME},
        {.title = "SIZE", .key = "bytes", .type = CTL_SIZE},
        {.title = "STATE", .key = "state", .type = CTL_STATE},
        {.title = "KEPT BY", .key = "kept_by", .type = CTL_LIST},
        {.key = "sequence", .type = CTL_COUNT},
        {.key = "run", .type = CTL_COUNT},
        {.key = "origin", .type = CTL_TEXT},
        {0},
};

static int64_t sum(const json_t *rows, const char *member)
{
        size_t i;
        json_t *row;
        int64_t n = 0;

        json_array_foreach (rows, i, row)
                n += json_integer_value(json_object_get(row, member));
        return n;
}

static int list_directories(const struct ctl *c, const json_t *reply)
{
        struct ctl_table t = {directory_columns, json_object_get(reply, "directories"), NULL,
                              c->color};
        size_t n = json_array_size(t.rows);
        int64_t checkpoints = sum(t.rows, "checkpoints");
        char size[UNITS_TEXT_MAX];

        if (c->json)
                return ctl_print_json(ctl_table_json(&t));
        if (n > 0 && ctl_table_print(stdout, &t) < 0)
                return CTL_FAILED;
        printf("%zu director%s, %" PRId64 " checkpoint%s, %s\n", n, n == 1 ? "y" : "ies",
               checkpoints, checkpoints == 1 ? "" : "s",
               units_format_size(size, (uint64_t)sum(t.rows, "bytes")));
        return CTL_DONE;
}

/* "/srv/models/llm-7b: policy long, job slurm:88231 attached, 8 ranks" */
static void print_head(const json_t *directory)
{
        const char *path = json_string_value(json_object_get(directory, "path"));
        const char *policy = json_string_value(json_object_get(directory, "policy"));
        const char *job = json_string_value(json_object_get(directory, "job"));
        int64_t ranks = json_integer_value(json_object_get(directory, "ranks"));

        ctl_put(stdout, path ? path : "?");
        printf(": policy ");
        ctl_put(stdout, policy ? policy : "?");
        if (job) {
                printf(", job ");
                ctl_put(stdout, job);
                printf(" attached, %" PRId64 " rank%s", ranks, ranks == 1 ? "" : "s");
        } else {
                printf(", no job attached");
        }
        printf("\n\n");
}

static int list_checkpoints(const struct ctl *c, const json_t *reply)
{
        struct ctl_table t = {checkpoint_columns, json_object_get(reply, "checkpoints"), NULL,
                              c->color};
        const char *note = json_string_value(json_object_get(reply, "note"));
        size_t n = json_array_size(t.rows);
        char size[UNITS_TEXT_MAX];

        if (c->json)
                return ctl_print_json(ctl_table_json(&t));
        print_head(json_array_get(json_object_get(reply, "directories"), 0));
        if (n > 0 && ctl_table_print(stdout, &t) < 0)
                return CTL_FAILED;
        printf("%zu checkpoint%s, %s", n, n == 1 ? "" : "s",
               units_format_size(size, (uint64_t)sum(t.rows, "bytes")));
        if (note) {
                printf("; ");
                ctl_put(stdout, note);
        }
        putchar('\n');
        return CTL_DONE;
}

static int list_run(struct ctl *c)
{
        const struct list_options *o = c->options;
        _cleanup_(wire_result_done) struct wire_result result = {0};
        _cleanup_(freep) char *dir = NULL;
        json_t *parameters;
        int code;

        if (c->n_args > 0 && !(dir = ctl_absolute(c->args[0])))
                return ctl_fail(CTL_FAILED, "out of memory");
        parameters = json_pack("{s:s*}", "model_dir", dir);
        if (o->all)
                json_object_set_new(parameters, "all", json_true());
        code = ctl_ask(c, "io.ckptd.Admin.List", parameters, &result);
        if (code != CTL_DONE)
                return code;
        return dir ? list_checkpoints(c, result.reply.parameters)
                   : list_directories(c, result.reply.parameters);
}

const struct ctl_command ctl_list = {
        .name = "list",
        .arguments = "[DIR]",
        .summary = "Lists the model directories, or the checkpoints of one",
        .text = "KEPT BY says what keeps a checkpoint, or when it goes.",
        .options = list_options,
        .options_bytes = sizeof(struct list_options),
        .max_args = 1,
        .run = list_run,
};
