#include "ctl-options.h"

#include "ctl-text.h"
#include "ctl.h"
#include "units.h"

#include <errno.h>
#include <string.h>

static const struct ctl_option global_options[] = {
        {"json", CTL_OPTION_FLAG, NULL, "print JSON: sizes in bytes, times in RFC 3339 UTC",
         offsetof(struct ctl, json)},
        {"socket", CTL_OPTION_TEXT, "PATH", "ask the daemon at this socket (or CKPTD_SOCKET)",
         offsetof(struct ctl, socket)},
        {"help", CTL_OPTION_FLAG, NULL, "print this help", offsetof(struct ctl, help)},
        {"version", CTL_OPTION_FLAG, NULL, "print the versions of ckptctl and of the daemon",
         offsetof(struct ctl, version)},
        {0},
};

static int set_flag(void *to, const char *text)
{
        (void)text;
        *(bool *)to = true;
        return 0;
}

static int set_text(void *to, const char *text)
{
        *(const char **)to = text;
        return 0;
}

static int set_count(void *to, const char *text)
{
        char *end;
        long long n;

        errno = 0;
        n = strtoll(text, &end, 10);
        if (errno || end == text || *end || n < 1)
                return -EINVAL;
        *(int64_t *)to = n;
        return 0;
}

static int set_duration(void *to, const char *text)
{
        return units_parse_duration(text, 1000, to);
}

static int set_since(void *to, const char *text)
{
        return ctl_parse_since(text, ctl_now_ms(), to);
}

static const struct {
        int (*set)(void *to, const char *text);
        const char *expected;
} types[] = {
        [CTL_OPTION_FLAG] = {set_flag, NULL},
        [CTL_OPTION_TEXT] = {set_text, NULL},
        [CTL_OPTION_COUNT] = {set_count, "a number from 1"},
        [CTL_OPTION_DURATION] = {set_duration, "a duration like 90s or 10m"},
        [CTL_OPTION_SINCE] = {set_since, "13:40, 2h, 2026-11-21 or '2026-11-21 13:40'"},
};

static const struct ctl_option *find(const struct ctl_option *o, const char *name, size_t length)
{
        for (; o && o->name; o++)
                if (strlen(o->name) == length && strncmp(o->name, name, length) == 0)
                        return o;
        return NULL;
}

static int set(const struct ctl_option *o, void *base, const char *text, struct diag *d)
{
        if (types[o->type].set((char *)base + o->offset, text) < 0)
                return diag_set(d, -EINVAL, "--%s: expected %s, found %s", o->name,
                                types[o->type].expected, text);
        return 0;
}

/* One option at argv[*i]; its value may be the next word. */
static int parse_option(struct ctl *c, char **argv, int *i, struct diag *d)
{
        const char *name = argv[*i] + 2, *value = strchr(name, '=');
        size_t length = value ? (size_t)(value - name) : strlen(name);
        const struct ctl_option *o = NULL;
        void *base = c->options;

        if (c->command)
                o = find(c->command->options, name, length);
        if (!o) {
                o = find(global_options, name, length);
                base = c;
        }
        if (!o)
                return diag_set(d, -EINVAL, "unknown option %s", argv[*i]);
        if (o->type == CTL_OPTION_FLAG && value)
                return diag_set(d, -EINVAL, "--%s takes no value", o->name);
        if (o->type == CTL_OPTION_FLAG)
                return set(o, base, NULL, d);
        if (!value && !argv[*i + 1])
                return diag_set(d, -EINVAL, "--%s wants %s", o->name, o->argument);
        return set(o, base, value ? value + 1 : argv[++*i], d);
}

static int take_command(struct ctl *c, const char *name, struct diag *d)
{
        if (strcmp(name, "help") == 0) { /* perhaps of the command that follows */
                c->help = true;
                return 0;
        }
        c->command = ctl_command_find(name);
        if (!c->command)
                return ctl_command_unknown(name, d);
        if (c->command->options_bytes) {
                c->options = calloc(1, c->command->options_bytes);
                if (!c->options)
                        return -ENOMEM;
        }
        return 0;
}

static int take_word(struct ctl *c, char *word, struct diag *d)
{
        if (!c->command)
                return take_command(c, word, d);
        if (c->n_args >= c->command->max_args)
                return diag_set(d, -EINVAL, "too many arguments, from %s on", word);
        c->args[c->n_args++] = word;
        return 0;
}

static int check_call(const struct ctl *c, struct diag *d)
{
        if (!c->command || c->help || c->version)
                return 0;
        if (c->n_args < c->command->min_args)
                return diag_set(d, -EINVAL, "expected %s", c->command->arguments);
        if (c->json && c->command->no_json)
                return diag_set(d, -EINVAL, "there is no --json of it");
        return 0;
}

int ctl_parse(struct ctl *c, int argc, char **argv, struct diag *d)
{
        bool options = true;
        int r;

        c->args = calloc((size_t)argc + 1, sizeof(*c->args));
        if (!c->args)
                return -ENOMEM;
        for (int i = 1; i < argc; i++) {
                if (options && strcmp(argv[i], "--") == 0) {
                        options = false;
                        continue;
                }
                if (options && strcmp(argv[i], "-h") == 0)
                        c->help = true;
                else if (options && strncmp(argv[i], "--", 2) == 0) {
                        r = parse_option(c, argv, &i, d);
                        if (r < 0)
                                return r;
                } else if (options && argv[i][0] == '-' && argv[i][1]) {
                        return diag_set(d, -EINVAL, "unknown option %s", argv[i]);
                } else {
                        r = take_word(c, argv[i], d);
                        if (r < 0)
                                return r;
                }
        }
        return check_call(c, d);
}

void ctl_done(struct ctl *c)
{
        free(c->options);
        free(c->args);
        *c = (struct ctl){0};
}

static void help_options(FILE *f, const struct ctl_option *o)
{
        for (; o && o->name; o++) {
                int n = fprintf(f, "  --%s%s%s", o->name, o->argument ? " " : "",
                                o->argument ? o->argument : "");

                fprintf(f, "%*s%s\n", n < 20 ? 20 - n : 1, "", o->help);
        }
}

static void help_command(FILE *f, const struct ctl_command *command)
{
        fprintf(f, "Usage: ckptctl %s", command->name);
        for (const struct ctl_option *o = command->options; o && o->name; o++)
                fprintf(f, " [--%s%s%s]", o->name, o->argument ? " " : "",
                        o->argument ? o->argument : "");
        fprintf(f, "%s%s\n%s.\n", command->arguments ? " " : "",
                command->arguments ? command->arguments : "", command->summary);
        if (command->text)
                fprintf(f, "\n%s\n", command->text);
        fprintf(f, "\nOptions:\n");
        help_options(f, command->options);
        help_options(f, global_options + command->no_json); /* --json is the first */
}

void ctl_help(FILE *f, const struct ctl_command *command)
{
        if (command) {
                help_command(f, command);
                return;
        }
        fprintf(f, "Usage: ckptctl [OPTIONS] COMMAND [ARGUMENTS]\n"
                   "Looks after the checkpoints that ckptd keeps.\n\nCommands:\n");
        for (const struct ctl_command *const *p = ctl_commands; *p; p++) {
                int n = fprintf(f, "  %s%s%s", (*p)->name, (*p)->arguments ? " " : "",
                                (*p)->arguments ? (*p)->arguments : "");

                fprintf(f, "%*s%s\n", n < 20 ? 20 - n : 1, "", (*p)->summary);
        }
        fprintf(f, "\nOptions:\n");
        help_options(f, global_options);
        fprintf(f,
                "\nDIR is a model directory, DIR@STEP one checkpoint of it; PATH is a checkpoint "
                "as its\n"
                "framework names it (prefix or file), or a model directory.\n"
                "Exit codes: 0 done; 1 failed, or the answer is no; 2 usage; 3 no daemon answers;\n"
                "4 checkpoints exist, none whole or reachable; 5 time-out.\n"
                "More on one: ckptctl COMMAND --help\n");
}
