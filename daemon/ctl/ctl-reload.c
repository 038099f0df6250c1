#include "ctl.h"

#include "ctl-call.h"
#include "ctl-text.h"

static int reload_run(struct ctl *c)
{
        _cleanup_(wire_result_done) struct wire_result result = {0};
        json_t *changes, *line;
        size_t i;
        int code = ctl_ask(c, "io.ckptd.Admin.Reload", NULL, &result);

        if (code != CTL_DONE)
                return code;
        if (c->json)
                return ctl_print_json(json_incref(result.reply.parameters));
        changes = json_object_get(result.reply.parameters, "changes");
        json_array_foreach (changes, i, line) {
                ctl_put(stdout, json_is_string(line) ? json_string_value(line) : "?");
                putchar('\n');
        }
        if (json_array_size(changes) == 0)
                printf("Read anew; nothing has changed.\n");
        return CTL_DONE;
}

const struct ctl_command ctl_reload = {
        .name = "reload",
        .summary = "Makes the daemon read its settings anew",
        .text = "Says what changed. A wrong file changes nothing: every mistake is named, exit 1.",
        .run = reload_run,
};
