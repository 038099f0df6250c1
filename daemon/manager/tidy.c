/* After a save is recorded: the state file, then retention, in that order and one pass at a time.
 * Evicting one checkpoint: the catalog says `evicting`, then its files go, index first, then the
 * catalog says so. */
#include "job.h"
#include "retention.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct tidy {
        struct directory *directory;
        struct store_note note; /* the state file */
        struct store_evict evict;
        struct checkpoint *goes;   /* a copy of the one being evicted */
        enum checkpoint_state was; /* its state before */
        bool for_room; /* one goes before a save, which waits for it; else all that may, after it */
        char reason[RETENTION_REASON_MAX];
};

static void tidy_next(struct tidy *t);

/* The state file names what was saved, or never will: who waits for that is answered now. */
static void named(struct directory *d)
{
        struct job *j = d->job;

        if (!d->naming || d->tidy_again)
                return;
        d->naming = false;
        if (!j)
                return;
        job_answer_waiters(j, j->published, j->published_name, NULL);
        job_consider(j);
}

static void tidy_end(struct tidy *t)
{
        struct directory *d = t->directory;

        checkpoint_free(t->goes);
        for (size_t i = 0; i < t->note.n_names; i++)
                free(t->note.names[i]);
        free(t->note.names);
        free(t->note.timestamps);
        diag_done(&t->note.diag);
        diag_done(&t->evict.diag);
        free(t);
        d->tidying = false;
        d->surplus &= d->tidy_again;
        if (d->tidy_again && !d->n_marks) {
                d->tidy_again = false;
                directory_tidy(d);
        }
        named(d);
        if (!d->tidying && d->job)
                job_room_made(d->job);
        directory_rest(d);
}

void directory_put_checkpoint(struct directory *d, struct catalog_batch *b,
                              const struct checkpoint *c)
{
        catalog_put_checkpoint(b, d->row.id, c);
}

/* The directory's first checkpoint stays in the history, as evicted: keep_checkpoint_every_n_hours
 * counts from it. */
static void forget(struct directory *d, const char *name)
{
        struct checkpoint *c = history_find(&d->history, name);

        if (c && c == d->history.items[0])
                c->state = CHECKPOINT_EVICTED;
        else
                history_remove(&d->history, name);
}

/* Tried again after the next save; the state file at once. */
static void eviction_failed(struct tidy *t)
{
        struct directory *d = t->directory;

        free(d->stuck);
        if (asprintf(&d->stuck, "%s: %s", t->goes->name, diag_text(&t->evict.diag, t->evict.r)) < 0)
                d->stuck = NULL;
        note_add(d->manager, NULL,
                 &(struct note){.directory = d,
                                .event = "failed",
                                .in_log = "eviction failed",
                                .step = t->goes->step,
                                .level = LOG_LEVEL_WARNING},
                 "eviction of %s", d->stuck ? d->stuck : t->goes->name);
        d->tidy_again = d->naming;
        if (t->for_room && d->job)
                d->job->attempt.no_room = true; /* else one after the other would be hidden */
        tidy_end(t);
}

static void evicted(struct store_evict *e)
{
        struct tidy *t = e->user;
        struct directory *d = t->directory;
        struct catalog_batch *b;

        if (e->r < 0) {
                eviction_failed(t);
                return;
        }
        free(take_ptr(d->stuck));
        b = catalog_batch_new(d->manager->catalog);
        t->goes->state = CHECKPOINT_EVICTED;
        directory_put_checkpoint(d, b, t->goes);
        note_add(d->manager, b,
                 &(struct note){.directory = d,
                                .event = "evicted",
                                .step = t->goes->step,
                                .level = LOG_LEVEL_INFO},
                 "%s", t->reason);
        catalog_submit(d->manager->catalog, b, NULL, NULL);
        forget(d, t->goes->name);
        if (t->for_room)
                tidy_end(t);
        else
                tidy_next(t);
}

/* Readers find it again: nothing has been done to it. */
static void stays(struct tidy *t)
{
        struct checkpoint *kept = history_find(&t->directory->history, t->goes->name);

        if (kept)
                kept->state = t->was;
}

static void evicting_recorded(void *user, int r)
{
        struct tidy *t = user;

        if (r < 0) {
                log_warning("%s/%s stays: the catalog did not take its eviction: %s",
                            t->directory->row.path, t->goes->name, strerror(-r));
                stays(t);
                tidy_end(t);
                return;
        }
        t->evict = (struct store_evict){
                .dir = t->directory->dir, .checkpoint = t->goes, .done = evicted, .user = t};
        store_evict_start(t->directory->manager->store, &t->evict);
}

/* Its name is taken by the save under way, which moves it aside itself. */
static bool is_being_saved(const struct directory *d, const char *name)
{
        const struct checkpoint *c = d->job ? d->job->attempt.checkpoint : NULL;

        return c && strcmp(c->name, name) == 0;
}

/* One whose eviction failed before, as a copy: tried again when nothing else is left to go. */
static struct checkpoint *cut_off(struct tidy *t)
{
        const struct history *h = &t->directory->history;
        struct checkpoint *c = NULL;

        for (size_t i = 0; i < h->n && !c; i++)
                if (h->items[i]->state == CHECKPOINT_EVICTING &&
                    checkpoint_copy(&c, h->items[i]) >= 0)
                        snprintf(t->reason, sizeof(t->reason), "its eviction was cut off");
        return c;
}

bool directory_may_evict(const struct directory *d)
{
        return !d->row.held && !d->manager->settings_problem && !d->read_only && d->policy;
}

/* The first checkpoint that retention lets go, as a copy; NULL: none. */
static struct checkpoint *plan_first(struct tidy *t)
{
        struct directory *d = t->directory;
        struct retention_row *rows = NULL;
        struct checkpoint *c = NULL;
        size_t n = 0;

        if (!directory_may_evict(d) ||
            (d->surplus && retention_plan(&d->history, d->policy, &rows, &n) < 0))
                return NULL;
        for (size_t i = 0; i < n && !c; i++)
                if (!rows[i].keep && !is_being_saved(d, rows[i].checkpoint->name) &&
                    checkpoint_copy(&c, rows[i].checkpoint) >= 0)
                        snprintf(t->reason, sizeof(t->reason), "%s", rows[i].reason);
        free(rows);
        return c ? c : cut_off(t);
}

/* From now on nobody restores it, and the state file does not name it. */
static void hide(struct tidy *t)
{
        struct checkpoint *kept = history_find(&t->directory->history, t->goes->name);

        t->was = t->goes->state;
        if (kept)
                kept->state = CHECKPOINT_EVICTING;
        t->goes->state = CHECKPOINT_EVICTING;
}

static void let_go(struct tidy *t)
{
        struct directory *d = t->directory;
        struct catalog_batch *b = catalog_batch_new(d->manager->catalog);

        directory_put_checkpoint(d, b, t->goes);
        catalog_submit(d->manager->catalog, b, evicting_recorded, t);
}

static void tidy_next(struct tidy *t)
{
        struct directory *d = t->directory;

        checkpoint_free(t->goes);
        t->goes = plan_first(t);
        d->tidy_again |= t->goes && d->n_marks; /* its record may be the one being written */
        if (!t->goes || !d->dir || d->n_marks) {
                tidy_end(t);
                return;
        }
        hide(t);
        let_go(t);
}

static void state_file_written(struct store_note *n)
{
        struct tidy *t = n->user;

        if (n->r < 0) {
                log_warning("%s/checkpoint: %s", t->directory->row.path, diag_text(&n->diag, n->r));
                if (t->for_room)
                        stays(t);
                tidy_end(t); /* the file may still name what would go: nothing goes */
                return;
        }
        named(t->directory);
        if (t->for_room)
                let_go(t);
        else
                tidy_next(t);
}

static bool may_be_listed(const struct checkpoint *c)
{
        const struct format *f = format_by_name(c->format ? c->format : "");

        return c->origin != CHECKPOINT_ADOPTED && f && f->state_file;
}

static bool listed(const struct checkpoint *c)
{
        return c->state == CHECKPOINT_WHOLE && may_be_listed(c);
}

/* Did we write the state file?  Where every bundle is adopted it is the framework's own. */
static bool is_ours(const struct directory *d)
{
        for (size_t i = 0; i < d->history.n; i++)
                if (may_be_listed(d->history.items[i]))
                        return true;
        return false;
}

/* Only what keep_checkpoint_max alone keeps: an Estimator deletes what it finds above its own
 * maximum. */
static int state_file_names(struct tidy *t)
{
        const struct directory *d = t->directory;
        int64_t max = d->policy->keep_checkpoint_max;
        size_t n = 0, skip;

        for (size_t i = 0; i < d->history.n; i++)
                n += listed(d->history.items[i]);
        skip = max > 0 && n > (size_t)max ? n - (size_t)max : 0;
        t->note.names = calloc(n - skip + 1, sizeof(char *));
        t->note.timestamps = calloc(n - skip + 1, sizeof(double));
        if (!t->note.names || !t->note.timestamps)
                return -ENOMEM;
        for (size_t i = 0; i < d->history.n; i++) {
                const struct checkpoint *c = d->history.items[i];

                if (c->preserved)
                        t->note.last_preserved = (double)c->published_ms / 1e3;
                if (!listed(c))
                        continue;
                if (skip) {
                        skip--;
                        continue;
                }
                t->note.timestamps[t->note.n_names] = (double)c->published_ms / 1e3;
                t->note.names[t->note.n_names] = strdup(c->name);
                if (!t->note.names[t->note.n_names++])
                        return -ENOMEM;
        }
        return (int)t->note.n_names;
}

static struct tidy *tidy_new(struct directory *d)
{
        struct tidy *t;

        if (!d->dir || d->read_only || !d->policy || !(t = calloc(1, sizeof(*t))))
                return NULL;
        t->directory = d;
        t->note.dir = d->dir;
        t->note.state_file = true;
        t->note.done = state_file_written;
        t->note.user = t;
        return t;
}

static void tidy_start(struct tidy *t)
{
        int n = state_file_names(t);

        t->directory->tidying = true;
        if (n < 0) {
                log_warning("%s: no memory for the state file", t->directory->row.path);
                if (t->for_room)
                        stays(t);
                tidy_end(t);
        } else if (n > 0 || is_ours(t->directory)) /* without names it is removed */
                store_note_start(t->directory->manager->store, &t->note);
        else if (t->for_room)
                let_go(t);
        else
                tidy_next(t);
}

void directory_tidy(struct directory *d)
{
        struct tidy *t;

        if (d->tidying || d->n_marks)
                d->tidy_again = true;
        else if ((t = tidy_new(d)))
                tidy_start(t);
        else
                named(d);
}

/* What goes before the save, as a copy; NULL: none may, or it would not do. */
static struct checkpoint *plan_room(struct tidy *t, uint64_t short_of)
{
        struct directory *d = t->directory;
        const struct checkpoint *next = d->job ? d->job->attempt.checkpoint : NULL;
        const char *except = next ? next->name : NULL;
        struct retention_row row;
        struct checkpoint *c;
        uint64_t bytes = 0;

        if (!directory_may_evict(d))
                return NULL;
        c = cut_off(t);
        if (c || retention_make_room(&d->history, d->policy, except, &row, &bytes) != 1 ||
            bytes < short_of)
                return c;
        if (checkpoint_copy(&c, row.checkpoint) >= 0)
                memcpy(t->reason, row.reason, sizeof(t->reason));
        return c;
}

bool directory_make_room(struct directory *d, uint64_t short_of)
{
        struct tidy *t;

        /* Nothing goes before the catalog says so, and a save does not wait for that. */
        if (catalog_problem(d->manager->catalog))
                return false;
        if (d->tidying)
                return true;
        t = d->n_marks ? NULL : tidy_new(d);
        if (!t)
                return false;
        t->for_room = true;
        t->goes = plan_room(t, short_of);
        if (!t->goes) {
                free(t);
                return false;
        }
        hide(t);
        tidy_start(t);
        return true;
}

struct marking { /* a record written anew */
        struct directory *directory;
        struct store_note note;
        struct checkpoint *copy;
};

static void marked(struct store_note *n)
{
        struct marking *k = n->user;
        struct directory *d = k->directory;

        if (n->r < 0)
                log_warning("record of %s: %s", k->copy->name, diag_text(&n->diag, n->r));
        diag_done(&n->diag);
        checkpoint_free(k->copy);
        free(k);
        if (--d->n_marks)
                return;
        if (d->tidy_again && !d->tidying) {
                d->tidy_again = false;
                directory_tidy(d);
        }
        if (d->job) {
                job_look(d->job);
                job_consider(d->job);
        }
        directory_rest(d);
}

void directory_mark(struct directory *d, const struct checkpoint *c)
{
        struct marking *k = calloc(1, sizeof(*k));

        if (!k || !d->dir || checkpoint_copy(&k->copy, c) < 0) {
                free(k);
                return;
        }
        k->directory = d;
        d->n_marks++;
        k->note = (struct store_note){
                .dir = d->dir, .checkpoint = k->copy, .done = marked, .user = k};
        store_note_start(d->manager->store, &k->note);
}

void directory_damaged(struct directory *d, struct checkpoint *c, const char *text)
{
        struct catalog_batch *b = catalog_batch_new(d->manager->catalog);

        c->state = CHECKPOINT_DAMAGED;
        directory_mark(d, c);
        directory_put_checkpoint(d, b, c);
        note_add(d->manager, b,
                 &(struct note){.directory = d,
                                .event = "damaged",
                                .step = c->step,
                                .level = LOG_LEVEL_WARNING},
                 "%s", text);
        catalog_submit(d->manager->catalog, b, NULL, NULL);
        directory_tidy(d); /* the state file names it no more */
}
