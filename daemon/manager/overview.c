/* What operators are shown: Status and History; List and Latest are in listing.c.  Built from the
 * manager's state; changes nothing. */
#include "own.h"
#include "job.h"
#include "retention.h"
#include "units.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HISTORY_LIMIT 1000

static void put_job(json_t *o, const struct job *j, int64_t now)
{
        const struct attempt *a = &j->attempt;
        struct schedule_due due;
        unsigned here = 0;

        for (unsigned i = 0; i < j->world_size; i++)
                here += j->ranks[i].state == RANK_HERE;
        json_object_set_new(o, "job", json_string(j->id));
        json_object_set_new(o, "pid", json_integer(job_pid(j)));
        json_object_set_new(o, "ranks", json_integer(j->world_size));
        json_object_set_new(o, "attached", json_integer(here));
        if (job_step(j) >= 0)
                json_object_set_new(o, "step", json_integer(job_step(j)));
        if (j->steps_per_s > 0)
                json_object_set_new(o, "steps_per_second", json_real(j->steps_per_s));
        if (job_step(j) > j->schedule.saved_step)
                json_object_set_new(o, "unsaved_ms", json_integer(now - j->schedule.saved_ms));
        schedule_next(&j->schedule, j->directory->policy, job_step(j), now, &due);
        if (a->save) {
                json_object_set_new(o, "saving", json_string(a->reason));
                if (a->save->total)
                        json_object_set_new(o, "progress",
                                            json_real((double)atomic_load(&a->save->written) /
                                                      (double)a->save->total));
        } else if (j->schedule.failures && due.ms != SCHEDULE_NEVER) {
                json_object_set_new(o, "retry_ms", json_integer(due.ms > now ? due.ms - now : 0));
        } else if (a->open && a->settle.asked != PAGE_NEVER) {
                json_object_set_new(o, "next_save_step", json_integer(a->settle.asked));
        }
        if (!a->save && due.ms != SCHEDULE_NEVER)
                json_object_set_new(o, "next_save_ms",
                                    json_integer(due.ms > now ? due.ms - now : 0));
}

/* There are checkpoints, and none that would be restored. */
static bool is_lost(const struct directory *d)
{
        bool damaged = false;

        for (size_t i = 0; i < d->history.n; i++)
                damaged |= d->history.items[i]->state == CHECKPOINT_DAMAGED;
        return damaged && !history_newest_whole(&d->history, NULL);
}

static const char *state_of(const struct directory *d)
{
        return d->opening                            ? "opening"
               : d->missing                          ? "missing"
               : d->row.held                         ? "held"
               : d->failing                          ? "failing"
               : d->job && d->job->broken            ? "broken"
               : d->job && d->job->state < JOB_READY ? "attaching"
               : is_lost(d)                          ? "damaged"
                                                     : "ok";
}

static size_t count_there(const struct directory *d, uint64_t *ret_bytes)
{
        size_t n = 0;

        for (size_t i = 0; i < d->history.n; i++) {
                if (!checkpoint_is_there(d->history.items[i]))
                        continue;
                n++;
                *ret_bytes += d->history.items[i]->bytes;
        }
        return n;
}

json_t *directory_json(const struct directory *d, int64_t now)
{
        uint64_t bytes = 0;
        const struct checkpoint *newest = history_newest_whole(&d->history, NULL);
        json_t *o =
                json_pack("{s:s, s:s, s:s}", "path", d->row.path, "policy",
                          d->policy ? d->policy->name : POLICY_NAME_DEFAULT, "state", state_of(d));

        size_t n = count_there(d, &bytes);

        json_object_set_new(o, "checkpoints", json_integer((json_int_t)n));
        json_object_set_new(o, "bytes", json_integer((json_int_t)bytes));
        if (newest) {
                json_object_set_new(o, "newest_step", json_integer(newest->step));
                json_object_set_new(o, "newest_published_ms", json_integer(newest->published_ms));
        }
        if (d->job && d->policy)
                put_job(o, d->job, now);
        return o;
}

/* ---- problems ---- */

static void problem(json_t *list, const char *subject, const char *advice, const char *format, ...)
        _printf_(4, 5);
static void problem(json_t *list, const char *subject, const char *advice, const char *format, ...)
{
        _cleanup_(freep) char *text = NULL;
        json_t *o;
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&text, format, ap) < 0)
                text = NULL;
        va_end(ap);
        o = json_pack("{s:s, s:s}", "subject", subject, "text", text ? text : "");
        if (advice)
                json_object_set_new(o, "advice", json_string(advice));
        json_array_append_new(list, o);
}

/* Of day, with the date where that is another. */
static const char *format_time(char out[static 32], int64_t unix_ms)
{
        time_t then = (time_t)(unix_ms / 1000), now = time(NULL);
        struct tm a, b;

        localtime_r(&then, &a);
        localtime_r(&now, &b);
        strftime(out, 32, a.tm_yday == b.tm_yday && a.tm_year == b.tm_year ? "%T" : "%F %T", &a);
        return out;
}

static void directory_problems(json_t *list, const struct directory *d)
{
        char since[32], unsaved[UNITS_TEXT_MAX] = "0s";

        if (d->job && job_step(d->job) > d->job->schedule.saved_step)
                units_format_duration(unsaved, clock_boot_ms() - d->job->schedule.saved_ms);
        if (d->failing)
                problem(list, d->row.path, NULL,
                        "saves fail since %s (%u in a row), %s of training unsaved\n%s",
                        format_time(since, d->failing_since_ms), d->failures, unsaved, d->failing);
        if (d->stuck)
                problem(list, d->row.path, "It is tried again after the next save.",
                        "an eviction fails\n%s", d->stuck);
        if (d->row.held)
                problem(list, d->row.path, NULL, "retention held: %s", d->row.held);
        if (d->missing && d->row.uuid)
                problem(list, d->row.path, NULL, "%s", d->missing);
        if (d->job && d->job->broken)
                problem(list, d->row.path, "No save happens until all ranks have attached again.",
                        "%s", d->job->why_broken ? d->job->why_broken : "a rank is gone");
        if (d->dir && !store_dir_is_locked(d->dir))
                problem(list, d->row.path, NULL,
                        "its file system has no locks: ownership rests on renewal alone");
        for (size_t i = 0; i < d->history.n; i++)
                if (d->history.items[i]->state == CHECKPOINT_DAMAGED)
                        problem(list, d->row.path,
                                "It stays until somebody deletes it. What is wrong with it: "
                                "ckptctl verify",
                                "%s is damaged; it is neither restored nor evicted",
                                d->history.items[i]->name);
}

static json_t *problems_json(struct manager *m)
{
        json_t *list = json_array();
        const char *catalog = catalog_problem(m->catalog);
        _cleanup_(freep) char *advice = NULL;
        struct directory *d;

        /* The default place is the one that `check` looks at by itself. */
        if (asprintf(&advice, "Mend it, then: ckptctl check%s%s && ckptctl reload",
                     m->config_may_be_absent ? "" : " ",
                     m->config_may_be_absent ? "" : m->config) < 0)
                advice = NULL;

        if (m->settings_problem)
                problem(list, m->config, advice,
                        "the settings file is wrong; the last good settings are in force, and "
                        "nothing is evicted\n%s",
                        m->settings_problem);
        if (m->reload_problem)
                problem(list, m->config, advice,
                        "the settings file is wrong; what was loaded before is in force\n%s",
                        m->reload_problem);
        if (catalog)
                problem(list, m->catalog_path, "Saves go on and are recorded later.",
                        "cannot be written: %s", catalog);
        TAILQ_FOREACH (d, &m->directories, link)
                directory_problems(list, d);
        return list;
}

/* ---- disks ---- */

static void put_disk(json_t *list, const struct directory *d, uint64_t reserve)
{
        struct store_space s;
        uint64_t usable, biggest = 0;
        size_t i;
        json_t *old;

        if (!d->dir || store_dir_space(d->dir, &s) < 0)
                return;
        if (reserve == UINT64_MAX) {
                reserve = s.total_bytes / 20;
                if (reserve > UINT64_C(10) << 30)
                        reserve = UINT64_C(10) << 30;
        }
        usable = s.free_bytes > reserve ? s.free_bytes - reserve : 0;
        for (size_t k = 0; k < d->history.n; k++)
                if (d->history.items[k]->bytes > biggest)
                        biggest = d->history.items[k]->bytes;
        json_array_foreach (list, i, old) {
                if (json_integer_value(json_object_get(old, "free")) == (json_int_t)s.free_bytes &&
                    !strcmp(json_string_value(json_object_get(old, "type")), s.type)) {
                        if (json_integer_value(json_object_get(old, "biggest_save")) <
                            (json_int_t)biggest)
                                json_object_set_new(old, "biggest_save",
                                                    json_integer((json_int_t)biggest));
                        return;
                }
        }
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:I, s:I, s:I}", "path", d->row.path, "type",
                                        s.type, "free", (json_int_t)s.free_bytes, "usable",
                                        (json_int_t)usable, "biggest_save", (json_int_t)biggest));
}

json_t *directories_json(struct manager *m, json_t *disks, size_t *ret_n, size_t *ret_checkpoints)
{
        json_t *list = json_array();
        int64_t now = clock_boot_ms();
        uint64_t bytes = 0;
        struct directory *d;

        TAILQ_FOREACH (d, &m->directories, link) {
                if (!d->row.id)
                        continue;
                (*ret_n)++;
                *ret_checkpoints += count_there(d, &bytes);
                json_array_append_new(list, directory_json(d, now));
                if (disks)
                        put_disk(disks, d, m->settings->disk_reserve);
        }
        return list;
}

static json_t *memory_text(const struct manager *m)
{
        char text[64];

        if (m->settings->memory_max)
                units_format_size(text, m->settings->memory_max);
        else
                snprintf(text, sizeof(text), "%g%%", m->settings->memory_share * 100);
        return json_string(text);
}

static unsigned count_writing(struct manager *m, unsigned *ret_slots)
{
        unsigned n = 0;
        struct directory *d;

        TAILQ_FOREACH (d, &m->directories, link) {
                if (!d->job)
                        continue;
                n += d->job->attempt.save != NULL;
                for (unsigned i = 0; i < d->job->world_size; i++)
                        *ret_slots += (unsigned)d->job->ranks[i].n_slots;
        }
        return n;
}

static json_t *settings_text(const struct settings *s)
{
        _cleanup_(freep) char *text = NULL;

        if (!s->n_extra)
                return json_string(s->path);
        if (asprintf(&text, "%s + %zu in policies.d", s->path, s->n_extra) < 0)
                text = NULL;
        return json_string(text ? text : s->path);
}

void manager_status(struct manager *m, struct rpc_call *c)
{
        json_t *disks = json_array(), *o = json_object();
        size_t n_directories = 0, n_checkpoints = 0;
        unsigned slots = 0, writing = count_writing(m, &slots);
        json_t *directories = directories_json(m, disks, &n_directories, &n_checkpoints);
        char host[256] = "localhost";

        gethostname(host, sizeof(host) - 1);
        json_object_set_new(o, "version", json_string(CKPTD_VERSION));
        json_object_set_new(o, "host", json_string(host));
        json_object_set_new(o, "instance", json_string(m->socket ? m->socket : ""));
        json_object_set_new(o, "pid", json_integer(getpid()));
        json_object_set_new(o, "uid", json_integer(geteuid()));
        json_object_set_new(o, "up_ms", json_integer(clock_boot_ms() - m->started_ms));
        if (m->settings->path)
                json_object_set_new(o, "settings", settings_text(m->settings));
        json_object_set_new(o, "settings_loaded_ms", json_integer(m->settings_loaded_ms));
        json_object_set_new(o, "catalog", json_string(m->catalog_path));
        json_object_set_new(o, "catalog_bytes",
                            json_integer((json_int_t)catalog_bytes(m->catalog)));
        json_object_set_new(o, "n_directories", json_integer((json_int_t)n_directories));
        json_object_set_new(o, "n_checkpoints", json_integer((json_int_t)n_checkpoints));
        json_object_set_new(o, "memory_used", json_integer((json_int_t)m->memory_used));
        json_object_set_new(o, "memory_max", json_integer((json_int_t)manager_memory_max(m)));
        json_object_set_new(o, "memory_setting", memory_text(m));
        json_object_set_new(o, "slots", json_integer(slots));
        json_object_set_new(o, "writing", json_integer(writing));
        json_object_set_new(o, "directories", directories);
        json_object_set_new(o, "disks", disks);
        json_object_set_new(o, "problems", problems_json(m));
        rpc_reply(c, o);
}

/* ---- History ---- */

static void history_rows(void *user, int r, struct catalog_rows *rows)
{
        struct rpc_call *c = user;
        json_t *list;

        if (r < 0) {
                rpc_fail(c, "io.ckptd.Admin.Failed",
                         json_pack("{s:i, s:s}", "errno", -r, "message", strerror(-r)));
                return;
        }
        list = json_array();
        for (size_t i = 0; i < rows->n_events; i++) {
                const struct catalog_event *e = &rows->events[i];
                json_t *o = json_pack("{s:I, s:I, s:s, s:s}", "id", (json_int_t)e->id, "time_ms",
                                      (json_int_t)e->time_ms, "event", e->event, "detail",
                                      e->detail ? e->detail : "");

                if (e->path)
                        json_object_set_new(o, "directory", json_string(e->path));
                if (e->step >= 0)
                        json_object_set_new(o, "step", json_integer(e->step));
                json_array_append_new(list, o);
        }
        rpc_reply(c, json_pack("{s:o}", "events", list));
}

void manager_history(struct manager *m, struct rpc_call *c, const struct history_parameters *p)
{
        struct directory *d = p->model_dir ? directory_find(m, p->model_dir) : NULL;
        struct catalog_event_query q = {.directory = d ? d->row.id : 0,
                                        .since_ms = p->since_ms,
                                        .event = p->event,
                                        .limit = p->limit > 0 ? p->limit : HISTORY_LIMIT};

        if (p->model_dir && !d) {
                answer_no_directory(c, p->model_dir);
                return;
        }
        catalog_query_events(m->catalog, &q, history_rows, c);
}
