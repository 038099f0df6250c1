#include "ctl.h"

#include "ctl-call.h"
#include "ctl-table.h"
#include "ctl-text.h"
#include "units.h"

#include <inttypes.h>
#include <pwd.h>
#include <string.h>

static int64_t whole(const json_t *o, const char *member)
{
        return json_integer_value(json_object_get(o, member));
}

static bool has(const json_t *o, const char *member)
{
        const json_t *v = json_object_get(o, member);

        return v && !json_is_null(v);
}

static const char *text(const json_t *o, const char *member)
{
        const char *s = json_string_value(json_object_get(o, member));

        return s ? s : "?";
}

static char *text_saving(const json_t *row)
{
        double progress = json_number_value(json_object_get(row, "progress"));
        char *out = NULL;

        if (!has(row, "progress"))
                return strdup("now");
        return asprintf(&out, "now, %d%% written", (int)(progress * 100)) < 0 ? NULL : out;
}

/* "in 6m 45s", "at step 4000", "in 6m 45s or at step 4000", "now, 63% written", "retry in 4m 2s" */
static char *text_next_save(const json_t *row)
{
        char span[UNITS_TEXT_MAX], at[48] = "", *out = NULL;
        bool in = has(row, "next_save_ms");

        if (has(row, "saving"))
                return text_saving(row);
        if (has(row, "retry_ms"))
                return asprintf(&out, "retry in %s",
                                units_format_duration(span, whole(row, "retry_ms"))) < 0
                               ? NULL
                               : out;
        if (has(row, "next_save_step"))
                snprintf(at, sizeof(at), "%sat step %" PRId64, in ? " or " : "",
                         whole(row, "next_save_step"));
        if (in)
                units_format_duration(span, whole(row, "next_save_ms"));
        if (!in && !*at)
                return NULL;
        return asprintf(&out, "%s%s%s", in ? "in " : "", in ? span : "", at) < 0 ? NULL : out;
}

static char *text_room(const json_t *row)
{
        int64_t biggest = whole(row, "biggest_save"), n;
        char *out = NULL;

        if (biggest <= 0)
                return NULL;
        n = whole(row, "usable") / biggest;
        if (n <= 0)
                return strdup("none");
        if (n > 1000000)
                return strdup("> 1 M saves");
        if (n >= 1000)
                return asprintf(&out, "%" PRId64 ",%03" PRId64 " saves", n / 1000, n % 1000) < 0
                               ? NULL
                               : out;
        return asprintf(&out, "%" PRId64 " save%s", n, n == 1 ? "" : "s") < 0 ? NULL : out;
}

static char *text_biggest(const json_t *row)
{
        char size[UNITS_TEXT_MAX];
        int64_t biggest = whole(row, "biggest_save");

        return biggest > 0 ? strdup(units_format_size(size, (uint64_t)biggest)) : NULL;
}

static const struct ctl_column directory_columns[] = {
        {.title = "DIRECTORY", .key = "path", .type = CTL_TEXT},
        {.title = "POLICY", .key = "policy", .type = CTL_TEXT},
        {.title = "JOB", .key = "job", .type = CTL_TEXT},
        {.title = "RANKS", .key = "ranks", .type = CTL_COUNT},
        {.title = "STEP", .key = "step", .type = CTL_COUNT},
        {.title = "STEPS/S", .key = "steps_per_second", .type = CTL_RATE},
        {.title = "UNSAVED", .key = "unsaved_ms", .type = CTL_DURATION},
        {.title = "NEXT SAVE", .from = "next_save_ms", .type = CTL_TEXT, .text = text_next_save},
        {.key = "next_save_ms", .type = CTL_DURATION},
        {.key = "next_save_step", .type = CTL_COUNT},
        {.key = "saving", .type = CTL_TEXT},
        {.key = "progress", .type = CTL_RATE},
        {.key = "retry_ms", .type = CTL_DURATION},
        {.key = "state", .type = CTL_STATE},
        {.key = "pid", .type = CTL_COUNT},
        {.key = "attached", .type = CTL_COUNT},
        {.key = "checkpoints", .type = CTL_COUNT},
        {.key = "bytes", .type = CTL_SIZE},
        {.key = "newest_step", .type = CTL_COUNT},
        {.key = "newest_published", .from = "newest_published_ms", .type = CTL_TIME},
        {0},
};

static const struct ctl_column disk_columns[] = {
        {.title = "FILE SYSTEM", .key = "path", .type = CTL_TEXT},
        {.title = "TYPE", .key = "type", .type = CTL_TEXT},
        {.title = "FREE", .key = "free", .type = CTL_SIZE},
        {.title = "USABLE", .key = "usable", .type = CTL_SIZE},
        {.title = "BIGGEST SAVE", .key = "biggest_save", .type = CTL_SIZE, .text = text_biggest},
        {.title = "ROOM FOR", .from = "usable", .type = CTL_TEXT, .text = text_room},
        {0},
};

static const struct ctl_column problem_columns[] = {
        {.key = "subject", .type = CTL_TEXT},
        {.key = "text", .type = CTL_TEXT},
        {.key = "advice", .type = CTL_TEXT},
        {0},
};

static const struct ctl_column status_columns[] = {
        {.key = "version", .type = CTL_TEXT},
        {.key = "host", .type = CTL_TEXT},
        {.key = "instance", .type = CTL_TEXT},
        {.key = "pid", .type = CTL_COUNT},
        {.key = "uid", .type = CTL_COUNT},
        {.key = "up_ms", .type = CTL_DURATION},
        {.key = "settings", .type = CTL_TEXT},
        {.key = "settings_loaded", .from = "settings_loaded_ms", .type = CTL_TIME},
        {.key = "catalog", .type = CTL_TEXT},
        {.key = "catalog_bytes", .type = CTL_SIZE},
        {.key = "n_directories", .type = CTL_COUNT},
        {.key = "n_checkpoints", .type = CTL_COUNT},
        {.key = "memory_used", .type = CTL_SIZE},
        {.key = "memory_max", .type = CTL_SIZE},
        {.key = "memory_setting", .type = CTL_TEXT},
        {.key = "slots", .type = CTL_COUNT},
        {.key = "writing", .type = CTL_COUNT},
        {0},
};

/* The lists of the status, in JSON and, but for the problems, as tables. */
static const struct {
        const char *name;
        const struct ctl_column *columns;
        bool is_table;
} lists[] = {
        {"directories", directory_columns, true},
        {"disks", disk_columns, true},
        {"problems", problem_columns, false},
};

static int print_status_json(const json_t *status)
{
        json_t *out = ctl_table_row_json(status_columns, status);

        for (size_t i = 0; out && i < ARRAY_SIZE(lists); i++) {
                struct ctl_table t = {.columns = lists[i].columns,
                                      .rows = json_object_get(status, lists[i].name)};

                if (json_object_set_new(out, lists[i].name, ctl_table_json(&t)) < 0) {
                        json_decref(out);
                        out = NULL;
                }
        }
        return ctl_print_json(out);
}

static void print_daemon(const json_t *s)
{
        char span[UNITS_TEXT_MAX];
        uid_t uid = (uid_t)whole(s, "uid");
        const struct passwd *user = getpwuid(uid);

        printf("ckptd ");
        ctl_put(stdout, text(s, "version"));
        printf(" on ");
        ctl_put(stdout, text(s, "host"));
        printf(", ");
        ctl_put(stdout, text(s, "instance"));
        printf(", pid %" PRId64 " (", whole(s, "pid"));
        if (user)
                printf("user %s", user->pw_name);
        else
                printf("uid %u", uid);
        printf("), up %s\n", units_format_duration(span, whole(s, "up_ms")));
}

/* "162.6 of 256.0 GiB": the unit once where both have the same. */
static void print_share(uint64_t part, uint64_t all)
{
        char a[UNITS_TEXT_MAX], b[UNITS_TEXT_MAX];
        char *unit;

        units_format_size(a, part);
        units_format_size(b, all);
        unit = strrchr(a, ' ');
        if (unit && strrchr(b, ' ') && strcmp(unit, strrchr(b, ' ')) == 0)
                *unit = '\0';
        printf("%s of %s", a, b);
}

static const char *plural(int64_t n)
{
        return n == 1 ? "" : "s";
}

static void print_settings(const json_t *s)
{
        char time[CTL_TIME_MAX];

        printf("Settings  ");
        ctl_put(stdout, has(s, "settings") ? text(s, "settings") : "no file: the defaults");
        printf(", loaded %s\n", ctl_format_time(time, whole(s, "settings_loaded_ms")));
}

static void print_rooms(const json_t *s)
{
        char size[UNITS_TEXT_MAX];
        int64_t dirs = whole(s, "n_directories"), checkpoints = whole(s, "n_checkpoints");

        printf("Catalog   ");
        ctl_put(stdout, text(s, "catalog"));
        printf(", %s: %" PRId64 " director%s, %" PRId64 " checkpoint%s\n",
               units_format_size(size, (uint64_t)whole(s, "catalog_bytes")), dirs,
               dirs == 1 ? "y" : "ies", checkpoints, plural(checkpoints));
        printf("Memory    ");
        print_share((uint64_t)whole(s, "memory_used"), (uint64_t)whole(s, "memory_max"));
        printf(" in %" PRId64 " slot%s (memory_max: ", whole(s, "slots"),
               plural(whole(s, "slots")));
        ctl_put(stdout, text(s, "memory_setting"));
        printf(")\nWriting   %" PRId64 " save%s\n", whole(s, "writing"),
               plural(whole(s, "writing")));
}

static void print_problem(const json_t *p)
{
        const char *words = text(p, "text");
        size_t n = strcspn(words, "\n");
        _cleanup_(freep) char *first = strndup(words, n);

        ctl_put(stdout, text(p, "subject"));
        printf(": ");
        ctl_put(stdout, first ? first : words);
        putchar('\n');
        if (words[n])
                ctl_put_folded(stdout, 4, words + n + 1);
        if (has(p, "advice"))
                ctl_put_folded(stdout, 4, text(p, "advice"));
}

static int status_run(struct ctl *c)
{
        _cleanup_(wire_result_done) struct wire_result result = {0};
        const json_t *s, *problems;
        int code = ctl_ask(c, "io.ckptd.Admin.Status", NULL, &result);
        size_t i;
        json_t *p;

        if (code != CTL_DONE)
                return code;
        s = result.reply.parameters;
        if (c->json)
                return print_status_json(s);
        print_daemon(s);
        print_settings(s);
        print_rooms(s);
        for (i = 0; i < ARRAY_SIZE(lists); i++) {
                struct ctl_table t = {lists[i].columns, json_object_get(s, lists[i].name), NULL,
                                      c->color};

                if (!lists[i].is_table || json_array_size(t.rows) == 0)
                        continue;
                putchar('\n');
                if (ctl_table_print(stdout, &t) < 0)
                        return CTL_FAILED;
        }
        problems = json_object_get(s, "problems");
        printf("\nProblems: ");
        if (json_array_size(problems))
                printf("%zu\n", json_array_size(problems));
        else
                printf("none\n");
        json_array_foreach (problems, i, p)
                print_problem(p);
        return CTL_DONE;
}

const struct ctl_command ctl_status = {
        .name = "status",
        .summary = "The daemon, its jobs and disks, and problems, each with what to do",
        .run = status_run,
};
