/* What operators ask for: a save now, a second look at a checkpoint that they found damaged. */
#include "job.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

char *asker(const struct rpc_call *c)
{
        uid_t uid = rpc_call_peer(c)->uid;
        struct passwd *pw = getpwuid(uid);
        char *text;

        return asprintf(&text, "%s (uid %u)", pw ? pw->pw_name : "?", uid) < 0 ? NULL : text;
}

static void ask_job(struct job *j, struct rpc_call *c)
{
        const struct attempt *a = &j->attempt;
        bool joins = a->save || (a->open && a->settle.wanted < 0);

        free(j->asked_by);
        j->asked_by = asker(c);
        note_add(j->manager, NULL,
                 &(struct note){.directory = j->directory,
                                .event = "asked",
                                .step = job_step(j),
                                .level = LOG_LEVEL_INFO},
                 "by %s%s", j->asked_by ? j->asked_by : "?",
                 a->save ? "; joined the save being written"
                 : joins ? "; joined the save that is due"
                         : "");
        if (!a->save) /* also where it joins: what it joins may be cancelled */
                j->schedule.asked = true;
}

struct asking { /* one Save that waits */
        struct manager *manager;
        struct rpc_call *call;
        bool one; /* directory, named by the caller */
        int64_t n_asked, step;
        unsigned n_waiting;
        char *path;
        struct diag failures; /* a line each */
};

static void asking_free(struct asking *k)
{
        free(k->path);
        diag_done(&k->failures);
        free(k);
}

static void asking_cancelled(void *user)
{
        struct asking *k = user;
        struct directory *d;

        TAILQ_FOREACH (d, &k->manager->directories, link) {
                struct waiter *w, *next;

                for (w = d->job ? TAILQ_FIRST(&d->job->waiters) : NULL; w; w = next) {
                        next = TAILQ_NEXT(w, link);
                        if (w->asking != k)
                                continue;
                        TAILQ_REMOVE(&d->job->waiters, w, link);
                        free(w);
                }
        }
        asking_free(k);
}

static void asking_done(struct asking *k)
{
        if (k->failures.text)
                rpc_fail(k->call, "io.ckptd.Admin.SaveFailed",
                         json_pack("{s:s}", "message", k->failures.text));
        else if (k->one)
                rpc_reply(k->call, json_pack("{s:I, s:I, s:s}", "n_asked", (json_int_t)k->n_asked,
                                             "step", (json_int_t)k->step, "path", k->path));
        else
                rpc_reply(k->call, json_pack("{s:I}", "n_asked", (json_int_t)k->n_asked));
        asking_free(k);
}

void asking_answer(struct asking *k, const struct waiter *w, int64_t step, const char *path,
                   const char *error)
{
        k->step = step;
        if (path) {
                free(k->path);
                k->path = strdup(path);
        }
        if (!path && k->one)
                diag_add(&k->failures, 0, "%s", error ? error : "");
        else if (!path)
                diag_add(&k->failures, 0, "%s: %s", w->job->directory->row.path,
                         error ? error : "");
        if (--k->n_waiting == 0)
                asking_done(k);
}

void job_tell_progress(struct job *j)
{
        const struct store_save *s = j->attempt.save;
        struct waiter *w;

        if (!s)
                return;
        TAILQ_FOREACH (w, &j->waiters, link)
                if (w->asking)
                        rpc_reply_more(w->call,
                                       json_pack("{s:I, s:f}", "n_asked",
                                                 (json_int_t)w->asking->n_asked, "progress",
                                                 s->total ? (double)atomic_load(&s->written) /
                                                                    (double)s->total
                                                          : 0.0));
}

static bool can_save(const struct job *j)
{
        return j && (j->state == JOB_READY || (j->state == JOB_LAYING && j->run)) && !j->broken;
}

static void no_memory(struct rpc_call *c)
{
        rpc_fail(c, "io.ckptd.Admin.Failed",
                 json_pack("{s:i, s:s}", "errno", ENOMEM, "message", "out of memory"));
}

/* Asks every job of d, or of all; each is considered only when all that will wait do. */
static void ask_all(struct manager *m, struct directory *d, struct rpc_call *c, struct asking *k)
{
        struct directory *e, *next;

        TAILQ_FOREACH (e, &m->directories, link)
                if ((!d || e == d) && can_save(e->job) && job_add_waiter(e->job, c, -1, k)) {
                        ask_job(e->job, c);
                        k->n_asked++;
                }
        k->n_waiting = (unsigned)k->n_asked + 1;
        for (e = TAILQ_FIRST(&m->directories); e; e = next) {
                next = TAILQ_NEXT(e, link);
                if ((!d || e == d) && can_save(e->job))
                        job_consider(e->job);
        }
        if (--k->n_waiting == 0)
                asking_done(k);
}

static void ask_and_wait(struct manager *m, struct directory *d, struct rpc_call *c)
{
        struct asking *k = calloc(1, sizeof(*k));

        if (!k) {
                no_memory(c);
                return;
        }
        *k = (struct asking){.manager = m, .call = c, .one = d, .step = -1};
        rpc_call_on_cancel(c, asking_cancelled, k);
        ask_all(m, d, c, k);
}

static void refuse_save(struct rpc_call *c, const struct directory *d)
{
        if (d->job && d->job->broken)
                rpc_fail(c, "io.ckptd.Admin.SaveFailed",
                         json_pack("{s:s}", "message",
                                   d->job->why_broken ? d->job->why_broken : "a rank is gone"));
        else
                rpc_fail(c, "io.ckptd.Admin.NoJob", json_pack("{s:s}", "model_dir", d->row.path));
}

void manager_save(struct manager *m, struct rpc_call *c, const struct save_parameters *p)
{
        struct directory *d = p->model_dir ? directory_find(m, p->model_dir) : NULL, *next;
        int64_t n = 0;

        if (p->model_dir && !d) {
                rpc_fail(c, "io.ckptd.Admin.NoSuchDirectory",
                         json_pack("{s:s}", "model_dir", p->model_dir));
                return;
        }
        if (d && !can_save(d->job)) {
                refuse_save(c, d);
                return;
        }
        if (p->wait) {
                ask_and_wait(m, d, c);
                return;
        }
        for (struct directory *e = TAILQ_FIRST(&m->directories); e; e = next) {
                next = TAILQ_NEXT(e, link);
                if ((d && e != d) || !can_save(e->job))
                        continue;
                ask_job(e->job, c);
                job_consider(e->job);
                n++;
        }
        rpc_reply(c, json_pack("{s:I}", "n_asked", (json_int_t)n));
}

struct looking { /* a second look */
        struct waiting waiting;
        struct directory *directory;
        struct rpc_call *call;
        char *name;
        int64_t sequence; /* a later one of that name is another checkpoint */
        struct store_check check;
};

/* r: 0, else why nothing is known. */
static void look_end(struct looking *l, bool damaged, int r)
{
        struct directory *d = l->directory;

        if (l->call && r < 0)
                rpc_fail(l->call, "io.ckptd.Admin.Failed",
                         json_pack("{s:i, s:s}", "errno", -r, "message", strerror(-r)));
        else if (l->call)
                rpc_reply(l->call, json_pack("{s:b}", "damaged", damaged));
        store_check_done(&l->check);
        free(l->name);
        free(l);
        if (d) {
                d->n_readers--;
                directory_rest(d);
        }
}

static void looked(struct store_check *t)
{
        struct looking *l = t->user;
        struct checkpoint *c = history_find(&l->directory->history, l->name);
        /* It may have been evicted or replaced meanwhile. */
        bool there = c && c->sequence == l->sequence && checkpoint_is_there(c);
        bool damaged = there && (t->r == -EBADMSG || t->r == -ENOENT);

        if (damaged && c->state != CHECKPOINT_DAMAGED)
                directory_damaged(l->directory, c, diag_text(&t->diag, t->r));
        look_end(l, damaged, damaged || !there ? 0 : t->r);
}

static void look_go(struct waiting *w, int r, const struct diag *d)
{
        struct looking *l = (struct looking *)w;

        (void)d;
        l->directory->n_readers++;
        if (r < 0 || !l->directory->dir) {
                look_end(l, false, r < 0 ? r : -EIO);
                return;
        }
        l->check = (struct store_check){
                .dir = l->directory->dir, .name = l->name, .done = looked, .user = l};
        store_check_start(l->directory->manager->store, &l->check);
}

static void look_cancelled(void *user)
{
        ((struct looking *)user)->call = NULL;
}

void manager_report_damage(struct manager *m, struct rpc_call *c, const struct damage_parameters *p)
{
        struct directory *d = directory_find(m, p->model_dir);
        const char *slash = strrchr(p->path, '/');
        const char *name = slash ? slash + 1 : p->path;
        struct directory_ask ask = {.path = d ? d->row.path : "", .fd = -1};
        const struct checkpoint *known = d ? history_find(&d->history, name) : NULL;
        struct looking *l;

        if (!d) {
                rpc_fail(c, "io.ckptd.Admin.NoSuchDirectory",
                         json_pack("{s:s}", "model_dir", p->model_dir));
                return;
        }
        if (!known || !checkpoint_is_there(known) || known->state == CHECKPOINT_DAMAGED) {
                rpc_reply(c, json_pack("{s:b}", "damaged",
                                       known && known->state == CHECKPOINT_DAMAGED));
                return;
        }
        l = calloc(1, sizeof(*l));
        if (!l || !(l->name = strdup(name))) {
                free(l);
                rpc_fail(c, "io.ckptd.Admin.Failed",
                         json_pack("{s:i, s:s}", "errno", ENOMEM, "message", "out of memory"));
                return;
        }
        l->sequence = known->sequence;
        l->call = c;
        l->waiting.go = look_go;
        rpc_call_on_cancel(c, look_cancelled, l);
        directory_open(m, &ask, &l->waiting, &l->directory);
}
