/* A directory becomes known: opened and locked by the store, told apart by its id, its history
 * taken from its own records and the catalog. */
#include "job.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct opening { /* one store_open_dir under way */
        struct store_open open;
        struct directory *directory; /* NULL: not known before */
        struct manager *manager;
        char *path;
        struct store_evicting *evicting;
        char *said;    /* moved here from …, a copy of … */
        bool replaced; /* another directory than was recorded */
};

static struct directory *find_by_uuid(struct manager *m, const char *uuid)
{
        struct directory *d;

        TAILQ_FOREACH (d, &m->directories, link)
                if (d->row.uuid && !strcmp(d->row.uuid, uuid))
                        return d;
        return NULL;
}

static struct directory *find_by_fd(struct manager *m, int fd, const char *path)
{
        struct directory *d;
        struct stat st;

        if (fd >= 0 ? fstat(fd, &st) < 0 : stat(path, &st) < 0)
                return NULL;
        TAILQ_FOREACH (d, &m->directories, link)
                if (d->dir && d->device == st.st_dev && d->inode == st.st_ino)
                        return d;
        return NULL;
}

/* Whether the place where the id was recorded still holds a directory with that id. */
static bool still_there(const char *path, const struct directory *other)
{
        struct stat st;

        return path && stat(path, &st) == 0 && S_ISDIR(st.st_mode) &&
               !(st.st_dev == other->device && st.st_ino == other->inode);
}

static bool is_idle(const struct directory *d)
{
        return !d->dir && !d->opening && !d->job && !d->tidying && !d->n_readers &&
               TAILQ_EMPTY(&d->waiting);
}

/* Another id at a known path.  Nothing of the old one counts here; what is in it may be somebody's,
 * so nothing goes before a person has looked.  A folder made anew holds nothing. */
static void replaced_by_another(struct directory *d, const struct store_open *o)
{
        d->row.id = d->row.registered_ms = 0;
        d->last_run = d->last_sequence = 0;
        d->has_recorded = false;
        free(take_ptr(d->row.held));
        if (o->is_new && !o->history.n)
                return;
        d->row.held = strdup("another directory is at this path than was recorded");
}

static void say(struct opening *o, const char *format, const char *path)
{
        free(o->said);
        if (asprintf(&o->said, format, path) < 0)
                o->said = NULL;
}

/* Moved, copied, replaced: whose directory is this?  The id decides, not the path. */
static int judge_identity(struct opening *o, struct directory *d, struct diag *diag)
{
        struct manager *m = o->manager;
        struct directory *other = find_by_uuid(m, o->open.uuid);
        int r;

        if (d->row.uuid && strcmp(d->row.uuid, o->open.uuid)) {
                o->replaced = true;
                replaced_by_another(d, &o->open);
        }
        if (other && other != d && still_there(other->row.path, d)) {
                r = store_dir_new_identity(o->open.dir, o->open.uuid, diag);
                if (r < 0)
                        return r;
                say(o, "a copy of %s: it gets an id of its own", other->row.path);
        } else if (other && other != d) {
                say(o, "moved here from %s", other->row.path);
                d->row.id = other->row.id;
                if (is_idle(other))
                        directory_free(other);
                else
                        free(take_ptr(other->row.uuid));
                r = store_dir_note_path(o->open.dir, diag);
                if (r < 0)
                        return r;
        }
        free(d->row.uuid);
        d->row.uuid = strdup(o->open.uuid);
        return d->row.uuid ? 0 : -ENOMEM;
}

static void note_actions(struct directory *d, const struct store_open *o, struct catalog_batch *b)
{
        static const struct {
                const char *event;
                enum log_level level;
        } say[] = {
                [STORE_FINISHED] = {"saved", LOG_LEVEL_INFO},
                [STORE_REMOVED] = {NULL, LOG_LEVEL_DEBUG},
                [STORE_ADOPTED] = {"adopted", LOG_LEVEL_INFO},
                [STORE_GONE] = {"gone", LOG_LEVEL_WARNING},
                [STORE_DAMAGED] = {"damaged", LOG_LEVEL_WARNING},
                [STORE_RESTORED_OLD] = {"restored", LOG_LEVEL_INFO},
        };

        for (size_t i = 0; i < o->n_actions; i++) {
                const struct store_action *a = &o->actions[i];

                if (!say[a->act].event)
                        log_debug("%s: %s: %s", d->row.path, a->name ? a->name : "",
                                  a->text ? a->text : "");
                else
                        note_add(d->manager, b,
                                 &(struct note){.directory = d,
                                                .event = say[a->act].event,
                                                .step = a->step,
                                                .level = say[a->act].level},
                                 "%s: %s", a->name ? a->name : "", a->text ? a->text : "");
        }
}

static void take_history(struct directory *d, struct store_open *o)
{
        for (size_t i = 0; i < o->history.n; i++) {
                const struct checkpoint *old = history_find(&d->history, o->history.items[i]->name);

                o->history.items[i]->leases = old ? old->leases : 0;
        }
        history_done(&d->history);
        d->history = o->history;
        o->history = (struct history){0};
        for (size_t i = 0; i < d->history.n; i++) {
                const struct checkpoint *c = d->history.items[i];

                if (c->sequence > d->last_sequence)
                        d->last_sequence = c->sequence;
                if (c->run > d->last_run)
                        d->last_run = c->run;
        }
}

static void note_opened(struct directory *d, struct catalog_batch *b, const char *event,
                        const char *text)
{
        note_add(
                d->manager, b,
                &(struct note){.directory = d, .event = event, .step = -1, .level = LOG_LEVEL_INFO},
                "%s", text);
}

static void record_directory(struct directory *d, const struct opening *o)
{
        struct catalog_batch *b = catalog_batch_new(d->manager->catalog);
        bool is_new = !d->row.id;

        d->row.registered = true;
        if (!d->row.registered_ms)
                d->row.registered_ms = clock_unix_ms();
        d->row.device = o->open.device;
        catalog_put_directory(b, &d->row);
        if (is_new || o->said)
                note_opened(d, b, "registered", o->said ? o->said : d->row.uuid);
        if ((is_new || o->replaced) && d->row.held)
                note_opened(d, b, "held", d->row.held);
        note_actions(d, &o->open, b);
        for (size_t i = 0; i < d->history.n; i++)
                catalog_put_checkpoint(b, d->row.id, d->history.items[i]);
        catalog_submit(d->manager->catalog, b, NULL, NULL);
}

/* The first checkpoint that the directory ever had, where that is gone by now. */
static void remember_first(struct directory *d, const struct history *recorded)
{
        const struct checkpoint *first = recorded->n ? recorded->items[0] : NULL;
        struct checkpoint *copy = NULL;

        if (!first || checkpoint_is_there(first) || history_find(&d->history, first->name))
                return;
        if (d->history.n && d->history.items[0]->sequence <= first->sequence)
                return;
        if (checkpoint_copy(&copy, first) < 0)
                return;
        copy->state = CHECKPOINT_EVICTED;
        history_add(&d->history, copy);
}

/* What the catalog remembers and the directory does not: the last run and sequence, those that are
 * gone. */
static void opened_rows(void *user, int r, struct catalog_rows *rows)
{
        struct directory *d = user;
        struct diag none = {0};

        if (r >= 0) {
                if (rows->last_run > d->last_run)
                        d->last_run = rows->last_run;
                d->has_recorded |= rows->last_sequence > 0;
                if (rows->last_sequence > d->last_sequence)
                        d->last_sequence = rows->last_sequence;
                remember_first(d, &rows->checkpoints);
        }
        d->known = true;
        d->opening = false;
        if (!d->policy)
                directory_choose_policy(d,
                                        &(struct settings_wish){.real_path = d->row.path,
                                                                .registered = d->row.policy},
                                        &none);
        diag_done(&none);
        directory_wake(d, false, 0, NULL);
        directory_tidy(d);
        directory_rest(d);
}

static void opening_failed(struct directory *d, int r, struct diag *diag)
{
        d->opening = false;
        free(d->missing);
        d->missing = strdup(diag_text(diag, r));
        log_warning("%s: %s", d->row.path, diag_text(diag, r));
        directory_wake(d, false, r, diag);
        if (!d->job)
                directory_wake(d, true, r, diag);
        if (!d->row.id && !d->job && !d->n_readers)
                directory_free(d); /* never became known */
}

static void opening_free(struct opening *o)
{
        for (size_t i = 0; i < o->open.n_evicting; i++)
                free((char *)o->evicting[i].name);
        free(o->evicting);
        free(o->said);
        free(o->path);
        free(o);
}

static void opening_done(struct store_open *open)
{
        struct opening *o = open->user;
        struct directory *d = o->directory;
        struct stat st;
        int r = open->r;

        if (o->manager->n_opening)
                o->manager->n_opening--;
        if (r >= 0 && fstat(store_dir_fd(open->dir), &st) == 0) {
                d->device = st.st_dev;
                d->inode = st.st_ino;
        }
        if (r >= 0)
                r = judge_identity(o, d, &open->diag);
        if (r < 0) {
                if (open->dir)
                        store_dir_close(open->dir);
                opening_failed(d, r, &open->diag);
        } else {
                d->dir = take_ptr(open->dir);
                free(d->missing);
                d->missing = NULL;
                if (open->real_path) {
                        free(d->row.path);
                        d->row.path = take_ptr(open->real_path);
                }
                d->n_strays = open->n_strays;
                d->n_unreadable = open->n_unreadable;
                take_history(d, open);
                record_directory(d, o);
                catalog_query_directory(d->manager->catalog, d->row.id, opened_rows, d);
        }
        store_open_done(open);
        opening_free(o);
}

/* Without memory for it the eviction is begun again later. */
static void add_evicting(struct opening *o, const struct checkpoint *c)
{
        char *name = strdup(c->name);

        if (name)
                o->evicting[o->open.n_evicting++] = (struct store_evicting){name, c->sequence};
}

/* What the catalog says is being evicted is finished before anything else. */
static void opening_rows(void *user, int r, struct catalog_rows *rows)
{
        struct opening *o = user;
        size_t n = r < 0 ? 0 : rows->checkpoints.n;

        o->evicting = calloc(n ? n : 1, sizeof(*o->evicting));
        for (size_t i = 0; i < n && o->evicting; i++)
                if (rows->checkpoints.items[i]->state == CHECKPOINT_EVICTING)
                        add_evicting(o, rows->checkpoints.items[i]);
        o->open.evicting = o->evicting;
        store_open_dir(o->manager->store, &o->open);
}

static void opening_start(struct directory *d, const struct directory_ask *a)
{
        struct opening *o = calloc(1, sizeof(*o));
        struct diag diag = {0};

        if (!o || !(o->path = strdup(a->path))) {
                diag_set(&diag, -ENOMEM, "%s: out of memory", a->path);
                free(o);
                opening_failed(d, -ENOMEM, &diag);
                diag_done(&diag);
                return;
        }
        o->manager = d->manager;
        o->directory = d;
        o->open = (struct store_open){.path = o->path,
                                      .fd = a->fd,
                                      .create = a->create,
                                      .read_only = a->read_only,
                                      .socket = d->manager->socket,
                                      .known_device = d->row.id ? d->row.device : 0,
                                      .done = opening_done,
                                      .user = o};
        d->opening = true;
        d->read_only = a->read_only;
        if (d->row.id)
                catalog_query_directory(d->manager->catalog, d->row.id, opening_rows, o);
        else
                store_open_dir(d->manager->store, &o->open);
}

void directory_open(struct manager *m, const struct directory_ask *a, struct waiting *w,
                    struct directory **ret)
{
        struct directory *d = find_by_fd(m, a->fd, a->path);
        struct diag diag = {0};

        if (!d)
                d = directory_find(m, a->path);
        *ret = d;
        if (d && d->dir && d->known && !directory_reopens(d)) {
                if (a->fd >= 0)
                        close(a->fd);
                w->go(w, 0, NULL);
                return;
        }
        if (!d)
                d = directory_new(m, a->path);
        *ret = d;
        if (!d) {
                if (a->fd >= 0)
                        close(a->fd);
                w->go(w, diag_set(&diag, -ENOMEM, "out of memory"), &diag);
                diag_done(&diag);
                return;
        }
        TAILQ_INSERT_TAIL(&d->waiting, w, link);
        if (!d->opening)
                opening_start(d, a);
        else if (a->fd >= 0)
                close(a->fd);
}

/* ---- a directory that went away under its job ---- */

struct reopening {
        struct waiting waiting; /* first */
        struct directory *directory;
};

static bool has_work(const struct directory *d)
{
        const struct job *reader;
        unsigned n = 0;

        if (d->tidying || d->n_marks || (d->job && (d->job->n_busy || d->job->window)))
                return true;
        LIST_FOREACH (reader, &d->readers, link) {
                if (reader->n_busy)
                        return true;
                n++;
        }
        return d->n_readers > n;
}

static void reopened(struct waiting *w, int r, const struct diag *diag)
{
        struct directory *d = ((struct reopening *)w)->directory;
        struct job *j = d->job;

        free(w);
        if (!j)
                return;
        if (j->run > d->last_run)
                d->last_run = j->run;
        if (r >= 0 && j->published_name && !history_find(&d->history, j->published_name)) {
                free(take_ptr(j->published_name));
                j->published = -1;
        }
        if (r < 0 && j->attempt.open && !j->attempt.save)
                attempt_fail(j, -1, "%s", diag_text(diag, r));
        job_look(j);
        job_consider(j);
}

const char *directory_why_closed(const struct directory *d)
{
        return d->missing ? d->missing : "the model directory is not open";
}

/* The old one is closed before: a file system that was unmounted under us can go then. */
bool directory_reopens(struct directory *d)
{
        struct reopening *o;

        if (d->opening)
                return true;
        if (!d->failing || d->manager->stopping || has_work(d))
                return false;
        if (d->dir && store_dir_presence(d->dir) != STORE_ANOTHER)
                return false;
        o = calloc(1, sizeof(*o));
        if (!o)
                return false;
        o->waiting.go = reopened;
        o->directory = d;
        store_dir_close(take_ptr(d->dir));
        log_info("%s went away and is opened anew", d->row.path);
        TAILQ_INSERT_TAIL(&d->waiting, &o->waiting, link);
        opening_start(d, &(struct directory_ask){.path = d->row.path, .fd = -1});
        return true;
}
