/* Settings: the file at start, or what loaded last; read anew, and put in force for every directory
 * and attached job at once. */
#include "job.h"
#include "own.h"
#include "retention.h"
#include "units.h"

#include <stdio.h>
#include <string.h>

int manager_load_settings(struct manager *m, const char *last_good, struct diag *d)
{
        struct diag ignored = {0};
        int r = settings_load(m->config, m->config_may_be_absent, &m->settings, NULL, d);

        m->settings_loaded_ms = clock_unix_ms();
        if (r >= 0 || !last_good)
                return r;
        if (settings_parse_kept(last_good, &m->settings, &ignored) >= 0) {
                m->settings_problem = strdup(diag_text(d, r));
                if (asprintf(&m->settings->path, "%s as it last loaded", m->config) < 0)
                        m->settings->path = NULL;
                log_error("%s\nStarted with the last settings that loaded; nothing is evicted "
                          "until the file is mended "
                          "and read anew (ckptctl reload).",
                          m->settings_problem ? m->settings_problem : "");
                r = 0;
        }
        diag_done(&ignored);
        return r;
}

/* Remembers the files as they loaded, for a start with a broken file. */
static void keep(struct manager *m)
{
        struct catalog_batch *b = catalog_batch_new(m->catalog);

        catalog_put_setting(b, "settings", m->settings->kept ? m->settings->kept : "");
        catalog_submit(m->catalog, b, NULL, NULL);
}

void manager_use_settings(struct manager *m)
{
        log_set_level(m->settings->log_level);
        for (char **w = m->settings->warnings; w && *w; w++)
                log_warning("%s", *w);
        if (!m->settings_problem)
                keep(m);
}

/* "keep_checkpoint_max 5 -> 3; 2 checkpoints, …", and each for itself behind the directory's
 * name. */
static void say_change(json_t *changes, const struct directory *d, struct buffer *all,
                       const char *text)
{
        _cleanup_(freep) char *line = NULL;

        buffer_printf(all, "%s%s", all->len ? "; " : "", text);
        if (asprintf(&line, "%s: %s", d->row.path, text) >= 0)
                json_array_append_new(changes, json_string(line));
}

static void say_what_goes(json_t *changes, const struct directory *d, struct buffer *all)
{
        struct retention_row *rows = NULL;
        char size[UNITS_TEXT_MAX];
        _cleanup_(freep) char *text = NULL;
        size_t n = 0, goes = 0;
        uint64_t bytes = 0;

        if (d->row.held || retention_plan(&d->history, d->policy, &rows, &n) < 0)
                return;
        for (size_t i = 0; i < n; i++)
                if (!rows[i].keep) {
                        goes++;
                        bytes += rows[i].checkpoint->bytes;
                }
        free(rows);
        if (goes && asprintf(&text, "%zu checkpoint%s, %s, go%s after the next save", goes,
                             goes == 1 ? "" : "s", units_format_size(size, bytes),
                             goes == 1 ? "es" : "") >= 0)
                say_change(changes, d, all, text);
}

static void compare_policies(json_t *changes, const struct directory *d, const struct policy *old,
                             struct buffer *all)
{
        for (const struct policy_key *k = policy_keys; k->name; k++) {
                _cleanup_(freep) char *a = policy_get(old, k), *b = policy_get(d->policy, k),
                                      *text = NULL;

                if (!policy_key_equal(old, d->policy, k) &&
                    asprintf(&text, "%s %s -> %s", k->name, a ? a : "null", b ? b : "null") >= 0)
                        say_change(changes, d, all, text);
        }
        if (all->len)
                say_what_goes(changes, d, all);
}

static void apply(struct directory *d, json_t *changes, const char *by)
{
        _cleanup_(policy_freep) struct policy *old = take_ptr(d->policy);
        _cleanup_(buffer_done) struct buffer all = {0};
        struct diag messages = {0};
        struct settings_wish w = {.real_path = d->row.path, .registered = d->row.policy};

        if (d->job)
                job_wish(d->job, &w);
        if (directory_choose_policy(d, &w, &messages) < 0 || !d->policy)
                d->policy = take_ptr(old);
        else if (old)
                compare_policies(changes, d, old, &all);
        diag_done(&messages);
        if (all.len)
                note_add(d->manager, NULL,
                         &(struct note){.directory = d,
                                        .event = "reloaded",
                                        .step = -1,
                                        .level = LOG_LEVEL_INFO},
                         "by %s: %s", by, (const char *)all.data);
        if (d->job)
                job_policy_changed(d->job);
}

static void say(json_t *changes, const char *format, ...) _printf_(2, 3);
static void say(json_t *changes, const char *format, ...)
{
        _cleanup_(freep) char *text = NULL;
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&text, format, ap) < 0)
                text = NULL;
        va_end(ap);
        json_array_append_new(changes, json_string(text ? text : ""));
}

static void compare_named(json_t *changes, const struct policy *old, const struct policy *now)
{
        for (const struct policy_key *k = policy_keys; k->name; k++) {
                _cleanup_(freep) char *a = policy_get(old, k), *b = policy_get(now, k);

                if (!policy_key_equal(old, now, k))
                        say(changes, "policy %s: %s %s -> %s", now->name, k->name, a ? a : "null",
                            b ? b : "null");
        }
}

/* What changed whether or not a directory is touched by it now. */
static void compare_settings(json_t *changes, const struct settings *old,
                             const struct settings *now)
{
        for (size_t i = 0; i < now->n_policies; i++) {
                const struct policy *before = settings_policy(old, now->policies[i]->name);

                if (before)
                        compare_named(changes, before, now->policies[i]);
                else
                        say(changes, "policy %s: new", now->policies[i]->name);
        }
        for (size_t i = 0; i < old->n_policies; i++)
                if (!settings_policy(now, old->policies[i]->name))
                        say(changes, "policy %s: gone", old->policies[i]->name);
        if (old->memory_max != now->memory_max || old->memory_share != now->memory_share)
                say(changes, "memory_max: changed, for jobs that attach from now on");
        if (old->disk_reserve != now->disk_reserve)
                say(changes, "disk_reserve: changed");
        if (old->log_level != now->log_level)
                say(changes, "log_level: %s -> %s", log_level_names[old->log_level],
                    log_level_names[now->log_level]);
        if (old->n_dirs != now->n_dirs)
                say(changes, "model_dirs: %zu -> %zu entries", old->n_dirs, now->n_dirs);
}

static int refused(struct manager *m, const char *by, int r, struct diag *d)
{
        log_error("reload by %s: nothing changed:\n%s", by, diag_text(d, r));
        note_add(m, NULL, &(struct note){.event = "failed", .step = -1, .level = LOG_LEVEL_DEBUG},
                 "reload by %s: nothing changed: %s", by, diag_text(d, r));
        free(m->reload_problem);
        m->reload_problem = strdup(diag_text(d, r));
        return r;
}

int manager_reload(struct manager *m, const struct rpc_call *c, json_t **ret_changes,
                   struct diag *d)
{
        struct settings *fresh = NULL, *old = m->settings;
        _cleanup_(freep) char *asked = c ? asker(c) : NULL;
        const char *by = c ? asked ? asked : "?" : "SIGHUP";
        struct directory *dir;
        json_t *changes;
        int r = settings_load(m->config, m->config_may_be_absent, &fresh, NULL, d);

        if (r < 0)
                return refused(m, by, r, d);
        changes = json_array();
        m->settings = fresh;
        m->settings_loaded_ms = clock_unix_ms();
        free(take_ptr(m->settings_problem));
        free(take_ptr(m->reload_problem));
        manager_use_settings(m);
        compare_settings(changes, old, fresh);
        TAILQ_FOREACH (dir, &m->directories, link)
                if (dir->known)
                        apply(dir, changes, by);
        settings_free(old);
        note_add(m, NULL, &(struct note){.event = "reloaded", .step = -1, .level = LOG_LEVEL_INFO},
                 "by %s: %s, %zu change%s", by, m->config, json_array_size(changes),
                 json_array_size(changes) == 1 ? "" : "s");
        *ret_changes = changes;
        return 0;
}
