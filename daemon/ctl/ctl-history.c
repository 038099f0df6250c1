#include "ctl.h"

#include "ctl-call.h"
#include "ctl-table.h"

#include <string.h>

struct history_options {
        int64_t since_ms, limit;
        const char *event;
};

static const struct ctl_option history_options[] = {
        {"since", CTL_OPTION_SINCE, "T", "from then on: 2h, 13:40, 2026-11-21, '2026-11-21 13:40'",
         offsetof(struct history_options, since_ms)},
        {"event", CTL_OPTION_TEXT, "KIND", "only these: saved, failed, evicted, damaged …",
         offsetof(struct history_options, event)},
        {"limit", CTL_OPTION_COUNT, "N", "the newest N (1000)",
         offsetof(struct history_options, limit)},
        {0},
};

static const struct ctl_column columns[] = {
        {.key = "id", .type = CTL_COUNT},
        {.title = "TIME", .key = "time", .from = "time_ms", .type = CTL_TIME},
        {.title = "DIRECTORY", .key = "directory", .type = CTL_TEXT},
        {.title = "EVENT", .key = "event", .type = CTL_TEXT},
        {.title = "STEP", .key = "step", .type = CTL_COUNT},
        {.title = "DETAIL", .key = "detail", .type = CTL_TEXT},
        {0},
};

#define EVENTS                                                                                     \
        "asked, saved, skipped, failed, restored, evicted, gone, adopted, damaged, held,\n"        \
        "released, registered, unregistered, reloaded, stopped, taken-over"

static bool is_event(const char *name)
{
        size_t n = strlen(name), length;

        for (const char *p = EVENTS; *p; p += length + strspn(p + length, ", \n")) {
                length = strcspn(p, ",\n");
                if (length == n && strncmp(p, name, n) == 0)
                        return true;
        }
        return false;
}

static json_t *make_parameters(const struct history_options *o, const char *dir)
{
        json_t *p = json_pack("{s:s*, s:s*}", "model_dir", dir, "event", o->event);

        if (o->since_ms)
                json_object_set_new(p, "since_ms", json_integer(o->since_ms));
        if (o->limit)
                json_object_set_new(p, "limit", json_integer(o->limit));
        return p;
}

static int history_run(struct ctl *c)
{
        _cleanup_(wire_result_done) struct wire_result result = {0};
        _cleanup_(freep) char *dir = NULL;
        const struct history_options *o = c->options;
        struct ctl_table t = {.columns = columns, .color = c->color};
        int code;

        if (o->event && !is_event(o->event))
                return ctl_fail(CTL_USAGE, "history: unknown event %s; known: " EVENTS, o->event);
        if (c->n_args > 0 && !(dir = ctl_absolute(c->args[0])))
                return ctl_fail(CTL_FAILED, "out of memory");
        code = ctl_ask(c, "io.ckptd.Admin.History", make_parameters(o, dir), &result);
        if (code != CTL_DONE)
                return code;
        t.rows = json_object_get(result.reply.parameters, "events");
        t.without = dir ? "DIRECTORY" : NULL;
        if (c->json)
                return ctl_print_json(ctl_table_json(&t));
        if (json_array_size(t.rows) == 0) {
                printf("No events.\n");
                return CTL_DONE;
        }
        return ctl_table_print(stdout, &t) < 0 ? CTL_FAILED : CTL_DONE;
}

const struct ctl_command ctl_history = {
        .name = "history",
        .arguments = "[DIR]",
        .summary = "Every save, skip, failure and eviction, with its reason",
        .text = "Events: " EVENTS ".",
        .options = history_options,
        .options_bytes = sizeof(struct history_options),
        .max_args = 1,
        .run = history_run,
};
