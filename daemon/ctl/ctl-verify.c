#include "ctl.h"

#include "ctl-call.h"
#include "ctl-place.h"
#include "ctl-targets.h"
#include "ctl-progress.h"
#include "ctl-table.h"
#include "ctl-text.h"
#include "units.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#define REPORT_MS (10 * 60 * 1000) /* the daemon reads the checkpoint again */

struct verify_options {
        bool quiet;
};

static const struct ctl_option verify_options[] = {
        {"quiet", CTL_OPTION_FLAG, NULL, "print damaged ones only",
         offsetof(struct verify_options, quiet)},
        {0},
};

static const struct ctl_column columns[] = {
        {.key = "path", .type = CTL_TEXT},
        {.key = "whole", .type = CTL_BOOL},
        {.key = "damage", .type = CTL_LIST},
        {0},
};

static int read_target(const struct ctl *c, struct ctl_target *t)
{
        const struct verify_options *o = c->options;
        _cleanup_(stored_freep) struct stored *s = NULL;
        struct ctl_progress progress;
        struct stored_check how = {
                .io = &io_real, .dirfd = t->fd, .progress = ctl_progress_show, .user = &progress};
        int r = stored_open(&io_real, t->fd, t->file, &s, &t->damage);

        if (r < 0)
                return r;
        ctl_progress_init(&progress, t->label, o->quiet || c->json);
        r = stored_verify(s, &how, &t->damage);
        ctl_progress_done(&progress);
        t->read_bytes = s->bytes;
        return r;
}

/* What was there when the directory was listed, and has been evicted since, is not damaged.  While
 * the daemon evicts one, its record stands longer than its files: then the daemon knows. */
static bool has_gone(const struct ctl_target *t)
{
        _cleanup_(stored_freep) struct stored *s = NULL;

        return t->may_go && (!t->is_recorded || t->told == CTL_TOLD_DENIED) &&
               stored_open(&io_real, t->fd, t->file, &s, NULL) == -ENOENT;
}

/* A running daemon looks again and marks it.  Without one, or where it is not its directory:
 * nothing. */
static void report(const struct ctl *c, struct ctl_target *t)
{
        _cleanup_(wire_conn_freep) struct wire_conn *conn = NULL;
        _cleanup_(wire_result_done) struct wire_result result = {0};
        struct wire_request q = {.method = "io.ckptd.Admin.ReportDamage", .timeout_ms = REPORT_MS};

        if (wire_dial(c->socket, &conn, NULL, NULL) < 0)
                return;
        q.parameters = json_pack("{s:s, s:s}", "model_dir", t->parent, "path", t->path);
        if (!q.parameters || wire_do_call(conn, &q, &result) < 0 || result.reply.error)
                return;
        t->told = json_is_true(json_object_get(result.reply.parameters, "damaged"))
                          ? CTL_TOLD_CONFIRMED
                          : CTL_TOLD_DENIED;
}

/* Nothing to open: are there data files, for which the index is missing? */
static bool has_data(const struct ctl_target *t)
{
        int fd = openat(t->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *listing = fd < 0 ? NULL : fdopendir(fd);
        size_t n = strlen(t->file);
        const struct dirent *e;
        bool found = false;

        if (!listing)
                closep(&fd);
        while (listing && !found && (e = readdir(listing)))
                found = strncmp(e->d_name, t->file, n) == 0 &&
                        strncmp(e->d_name + n, ".data-", 6) == 0;
        if (listing)
                closedir(listing);
        return found;
}

/* Nothing there is damage only where there was a checkpoint. */
static bool is_damage(const struct ctl_target *t, int r)
{
        return r == -ENOENT ? t->is_recorded || has_data(t) : stored_is_damage(r);
}

static void verify_target(const struct ctl *c, struct ctl_target *t)
{
        int r = read_target(c, t);

        if (r == 0)
                t->outcome = CTL_TARGET_WHOLE;
        else if (has_gone(t))
                t->outcome = CTL_TARGET_GONE;
        else if (!is_damage(t, r))
                t->outcome = CTL_TARGET_UNREAD;
        else {
                report(c, t);
                t->outcome = has_gone(t) ? CTL_TARGET_GONE : CTL_TARGET_DAMAGED;
        }
        if (r == -ENOENT && t->is_recorded)
                diag_set(&t->damage, r, "%s: missing", t->file);
        else if (r == -ENOENT && has_data(t))
                diag_set(&t->damage, r, "%s.index: missing", t->file);
        else if (r == -ENOENT)
                diag_set(&t->damage, r, "%s: no checkpoint there", t->file);
        else if (r < 0 && !t->damage.text)
                diag_set(&t->damage, r, "%s: %s", t->file, strerror(-r));
}

static void print_target(const struct ctl *c, const struct ctl_targets *all,
                         const struct ctl_target *t)
{
        static const char *const words[] = {"whole", "DAMAGED", "gone", "unread"};
        bool bad = t->outcome == CTL_TARGET_DAMAGED || t->outcome == CTL_TARGET_UNREAD;
        const struct verify_options *o = c->options;
        bool red = c->color && bad;
        char size[UNITS_TEXT_MAX];

        if (c->json || (o->quiet && !bad))
                return;
        ctl_put(stdout, t->label);
        printf("%*s  %s%-7s%s  %*s\n", all->label_width - (int)strlen(t->label), "",
               red ? "\033[1;31m" : "", words[t->outcome], red ? "\033[0m" : "", all->size_width,
               t->bytes ? units_format_size(size, t->bytes) : "-");
        if (bad)
                ctl_put_folded(stdout, 4, t->damage.text);
        if (t->outcome == CTL_TARGET_DAMAGED && t->told && !o->quiet)
                printf("    told ckptd: %s\n", t->told == CTL_TOLD_CONFIRMED
                                                       ? "it found it damaged too"
                                                       : "it does not know it as damaged");
        fflush(stdout);
}

static int add_row(json_t *rows, const struct ctl_target *t)
{
        json_t *damage = json_array();
        bool whole = t->outcome == CTL_TARGET_WHOLE;

        for (const char *line = t->damage.text; line && *line && !whole;) {
                size_t n = strcspn(line, "\n");

                json_array_append_new(damage, ctl_json_text(line, n));
                line += n + (line[n] == '\n');
        }
        return json_array_append_new(rows, json_pack("{s:o, s:b, s:o}", "path",
                                                     ctl_json_text(t->path, strlen(t->path)),
                                                     "whole", whole, "damage", damage));
}

static void print_summary(const struct ctl_targets *all, int64_t span_ms)
{
        char size[UNITS_TEXT_MAX], span[UNITS_TEXT_MAX];
        const struct ctl_target *restore = ctl_targets_restore(all);
        size_t n_whole = ctl_targets_count(all, CTL_TARGET_WHOLE);
        size_t n_damaged = ctl_targets_count(all, CTL_TARGET_DAMAGED);
        size_t n_unread = ctl_targets_count(all, CTL_TARGET_UNREAD);

        printf("%zu checkpoint%s, %s read in %s: %zu whole", all->n, all->n == 1 ? "" : "s",
               units_format_size(size, ctl_targets_bytes(all)),
               units_format_duration(span, span_ms), n_whole);
        if (n_damaged)
                printf(", %zu damaged", n_damaged);
        if (n_unread)
                printf(", %zu could not be read", n_unread);
        putchar('.');
        if (restore && restore->step >= 0)
                printf(" A restore would take step %" PRId64 ".", restore->step);
        else if (restore)
                printf(" A restore would take %s.", restore->name);
        printf("\n%s", n_damaged ? "Damaged ones are neither restored nor evicted.\n" : "");
}

static int verify_all(const struct ctl *c, struct ctl_targets *all)
{
        const struct verify_options *o = c->options;
        int64_t start_ms = ctl_monotonic_ms();
        json_auto_t *rows = json_array();
        struct ctl_table t = {.columns = columns, .rows = rows};

        for (size_t i = 0; i < all->n; i++) {
                verify_target(c, &all->items[i]);
                print_target(c, all, &all->items[i]);
                if (all->items[i].outcome != CTL_TARGET_GONE && add_row(rows, &all->items[i]) < 0)
                        return ctl_fail(CTL_FAILED, "out of memory");
        }
        if (c->json)
                ctl_print_json(ctl_table_json(&t));
        else if (!o->quiet)
                print_summary(all, ctl_monotonic_ms() - start_ms);
        return ctl_targets_count(all, CTL_TARGET_DAMAGED) ||
                               ctl_targets_count(all, CTL_TARGET_UNREAD)
                       ? CTL_FAILED
                       : CTL_DONE;
}

static int verify_run(struct ctl *c)
{
        _cleanup_(ctl_targets_done) struct ctl_targets all = {0};
        int worst = CTL_DONE, code;

        for (size_t i = 0; i < c->n_args; i++) {
                _cleanup_(diag_done) struct diag d = {0};
                int r = ctl_targets_add(&all, c->args[i], &d);

                if (r < 0)
                        worst = ctl_fail(CTL_FAILED, "%s", diag_text(&d, r));
        }
        code = all.n || c->json || worst == CTL_DONE ? verify_all(c, &all) : CTL_DONE;
        return code ? code : worst;
}

const struct ctl_command ctl_verify = {
        .name = "verify",
        .arguments = "PATH...",
        .summary = "Reads checkpoints whole and names what is damaged",
        .text = "PATH is a checkpoint as its framework names it, DIR@STEP, or a model directory: "
                "every\n"
                "checkpoint of it. Needs no daemon; a running one is told of damage. Exit 1: some "
                "are damaged or cannot be read.",
        .options = verify_options,
        .options_bytes = sizeof(struct verify_options),
        .min_args = 1,
        .max_args = SIZE_MAX,
        .run = verify_run,
};
