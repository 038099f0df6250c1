#include "modeldir.h"
#include "job.h"
#include "leftover.h"
#include "retention.h"

#define RENEW_MS 30000 /* the owner's mark on network file systems */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* First aside, then told: who is told may begin to wait again, or end another's waiting. */
void directory_wake(struct directory *d, bool for_job, int r, const struct diag *diag)
{
        struct waitings told = TAILQ_HEAD_INITIALIZER(told);
        struct waiting *w, *next;

        for (w = TAILQ_FIRST(&d->waiting); w; w = next) {
                next = TAILQ_NEXT(w, link);
                if (w->for_job != for_job)
                        continue;
                TAILQ_REMOVE(&d->waiting, w, link);
                TAILQ_INSERT_TAIL(&told, w, link);
        }
        d->waking++;
        while ((w = TAILQ_FIRST(&told))) {
                TAILQ_REMOVE(&told, w, link);
                w->for_job = false;
                w->go(w, r, diag);
        }
        d->waking--;
}

struct directory *directory_new(struct manager *m, const char *path)
{
        struct directory *d = calloc(1, sizeof(*d));

        if (!d)
                return NULL;
        d->manager = m;
        d->row.path = realpath(path, NULL);
        if (!d->row.path)
                d->row.path = strdup(path); /* not there yet, or another place to the job */
        d->row.newest_step = -1;
        TAILQ_INIT(&d->waiting);
        TAILQ_INIT(&d->leases);
        if (!d->row.path) {
                free(d);
                return NULL;
        }
        TAILQ_INSERT_TAIL(&m->directories, d, link);
        return d;
}

void directory_free(struct directory *d)
{
        struct lease *l;

        if (!d)
                return;
        TAILQ_REMOVE(&d->manager->directories, d, link);
        while ((l = TAILQ_FIRST(&d->leases))) {
                TAILQ_REMOVE(&d->leases, l, link);
                free(l->name);
                free(l);
        }
        leftover_free(d->leftover);
        if (d->dir)
                store_dir_close(d->dir);
        catalog_directory_done(&d->row);
        history_done(&d->history);
        policy_free(d->policy);
        free(d->policy_by);
        free(d->failing);
        free(d->stuck);
        free(d->missing);
        free(d);
}

struct directory *directory_find(struct manager *m, const char *path)
{
        _cleanup_(freep) char *real = realpath(path, NULL);
        struct directory *d;

        TAILQ_FOREACH (d, &m->directories, link)
                if ((d->row.id || d->opening) &&
                    (!strcmp(d->row.path, path) || (real && !strcmp(d->row.path, real))))
                        return d;
        return NULL;
}

bool directory_held_one(const struct directory *d)
{
        return d->has_recorded || d->history.n > 0 || d->n_unreadable > 0;
}

void directory_rest(struct directory *d)
{
        if (d->job || d->tidying || d->opening || d->n_readers || d->n_marks || d->waking ||
            !TAILQ_EMPTY(&d->waiting))
                return;
        if (d->dir) {
                store_dir_close(d->dir);
                d->dir = NULL;
        }
        if (d->manager->stopping)
                uv_async_send(&d->manager->wake); /* not now: a room is giving its results */
}

/* Those who have waited long enough for a dying job; aside first, as in directory_wake. */
static void refuse_late(struct directory *d, int64_t now_ms)
{
        struct waitings late = TAILQ_HEAD_INITIALIZER(late);
        struct waiting *w, *next;
        struct diag diag = {0};

        for (w = TAILQ_FIRST(&d->waiting); w; w = next) {
                next = TAILQ_NEXT(w, link);
                if (!w->for_job || w->until_ms > now_ms)
                        continue;
                TAILQ_REMOVE(&d->waiting, w, link);
                TAILQ_INSERT_TAIL(&late, w, link);
        }
        if (!TAILQ_EMPTY(&late))
                diag_set(&diag, -EBUSY, "%s: another job saves into it", d->row.path);
        while ((w = TAILQ_FIRST(&late))) {
                TAILQ_REMOVE(&late, w, link);
                w->go(w, -EBUSY, &diag);
        }
        diag_done(&diag);
}

void directory_tick(struct directory *d, int64_t now_ms)
{
        struct lease *l, *next_lease;
        struct diag diag = {0};

        for (l = TAILQ_FIRST(&d->leases); l; l = next_lease) {
                struct checkpoint *c;

                next_lease = TAILQ_NEXT(l, link);
                if (l->until_ms > now_ms)
                        continue;
                TAILQ_REMOVE(&d->leases, l, link);
                c = history_find(&d->history, l->name);
                if (c && c->leases)
                        c->leases--;
                free(l->name);
                free(l);
        }
        refuse_late(d, now_ms);
        if (d->job)
                job_tell_progress(d->job);
        if (d->leftover && leftover_until_ms(d->leftover) <= now_ms && !d->job) {
                leftover_free(take_ptr(d->leftover));
        }
        if (!d->dir || (!store_dir_is_network(d->dir) && store_dir_is_locked(d->dir)) ||
            now_ms - d->renewed_ms < RENEW_MS)
                return;
        d->renewed_ms = now_ms;
        if (store_dir_renew(d->dir, &diag) < 0)
                log_warning("%s: %s", d->row.path, diag_text(&diag, -EIO));
        diag_done(&diag);
}

int directory_choose_policy(struct directory *d, const struct settings_wish *wish,
                            struct diag *messages)
{
        struct policy *p = NULL;
        char *by = NULL;
        int r = settings_effective(d->manager->settings, wish, &p, &by, messages);

        if (r < 0)
                return r;
        policy_free(d->policy);
        free(d->policy_by);
        d->policy = p;
        d->policy_by = by;
        return 0;
}

void directory_lease(struct directory *d, const char *name, int64_t for_ms)
{
        struct checkpoint *c = history_find(&d->history, name);
        struct lease *l = calloc(1, sizeof(*l));

        if (!c || !l || !(l->name = strdup(name))) {
                free(l);
                return;
        }
        c->leases++;
        l->until_ms = clock_boot_ms() + for_ms;
        TAILQ_INSERT_TAIL(&d->leases, l, link);
}

/* A prefix opens where TensorFlow's state file names it; else it is the file that makes the
 * checkpoint visible. */
char *directory_path_of(const struct directory *d, const char *name)
{
        const struct checkpoint *c = history_find(&d->history, name);
        const struct format *f = c && c->format ? format_by_name(c->format) : NULL;
        char *path;

        if (f && !f->state_file && c->n_files > 0)
                name = c->files[c->n_files - 1].name;

        return asprintf(&path, "%s/%s", d->row.path, name) < 0 ? NULL : path;
}
