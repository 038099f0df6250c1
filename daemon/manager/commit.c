/* Commit: the job wrote a checkpoint itself; it is looked at, recorded and retained like any
 * other. */
#include "job.h"
#include "retention.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

struct committing {
        struct job *job;
        struct rpc_call *call; /* NULL: the caller is gone */
        struct store_check check;
        struct store_note note;
        struct checkpoint *checkpoint;
};

static void committing_end(struct committing *t, int r, const char *text)
{
        struct job *j = t->job;

        if (t->call && r < 0)
                answer_failed(t->call, r, text);
        else if (t->call)
                rpc_reply(t->call, NULL);
        if (r < 0)
                log_warning("commit of %s: %s", t->checkpoint->name, text);
        checkpoint_free(t->checkpoint);
        store_check_done(&t->check);
        diag_done(&t->note.diag);
        free(t);
        job_consider(j);
        job_release(j);
}

static void recorded(struct store_note *n)
{
        struct committing *t = n->user;
        struct job *j = t->job;

        if (n->r < 0) {
                committing_end(t, n->r, diag_text(&n->diag, n->r));
                return;
        }
        if (!j->attempt.open)
                j->attempt = (struct attempt){.open = true,
                                              .due_ms = clock_boot_ms(),
                                              .due_unix_ms = clock_unix_ms(),
                                              .reason = "written by the job"};
        j->attempt.step = t->checkpoint->step;
        j->attempt.handed_ms = clock_boot_ms();
        j->attempt.handed_unix_ms = clock_unix_ms();
        if (checkpoint_copy(&j->attempt.checkpoint, t->checkpoint) >= 0)
                job_saved(j, NULL);
        checkpoint_free(j->attempt.checkpoint);
        j->attempt = (struct attempt){.settle.asked = PAGE_NEVER};
        job_publish_words(j, PAGE_NEVER);
        committing_end(t, 0, NULL);
}

static void checked(struct store_check *c)
{
        struct committing *t = c->user;

        if (c->r < 0) {
                committing_end(t, c->r, diag_text(&c->diag, c->r));
                return;
        }
        t->checkpoint->bytes = c->bytes;
        t->checkpoint->n_files = c->n_files;
        t->checkpoint->files = take_ptr(c->files);
        t->checkpoint->format = strdup(c->format);
        t->note = (struct store_note){.dir = t->job->directory->dir,
                                      .checkpoint = t->checkpoint,
                                      .done = recorded,
                                      .user = t};
        store_note_start(t->job->manager->store, &t->note);
}

static void cancelled(void *user)
{
        ((struct committing *)user)->call = NULL;
}

/* Is the folder of this absolute path the directory itself, however it is written? */
static bool is_in(const struct directory *d, const char *path, const char *name)
{
        _cleanup_(freep) char *folder = strndup(path, (size_t)(name - path));
        struct stat st;

        return folder && stat(folder, &st) == 0 && st.st_dev == d->device && st.st_ino == d->inode;
}

/* The name within the directory; NULL when the path points elsewhere. */
static const char *name_within(const struct directory *d, const char *path)
{
        const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;

        if (slash && (*path != '/' || !is_in(d, path, name)))
                return NULL;
        return !*name || *name == '.' ? NULL : name;
}

static struct checkpoint *committed(struct job *j, const char *name, int64_t step)
{
        struct checkpoint *c = calloc(1, sizeof(*c));

        if (!c)
                return NULL;
        *c = (struct checkpoint){.name = strdup(name),
                                 .step = step,
                                 .run = j->run,
                                 .sequence = ++j->directory->last_sequence,
                                 .save_id = j->manager->next_save_id++,
                                 .state = CHECKPOINT_WHOLE,
                                 .origin = CHECKPOINT_COMMITTED,
                                 .published_ms = clock_unix_ms()};
        c->preserved =
                retention_preserves(&j->directory->history, j->directory->policy, c->published_ms);
        return c;
}

/* What we have written ourselves, or a person holds, is not the job's to write again. */
static bool may_commit(const struct checkpoint *there)
{
        return !there || (there->origin != CHECKPOINT_SAVED && !there->pin_by && !there->leases);
}

void manager_commit(struct manager *m, struct rpc_call *c, const struct commit_parameters *p)
{
        struct rank *r = rank_ready(c);
        const char *name = r ? name_within(r->job->directory, p->path) : NULL;
        struct committing *t;

        if (!r)
                return;
        if (!name || !may_commit(history_find(&r->job->directory->history, name))) {
                rpc_fail_invalid(c, "path");
                return;
        }
        if (r->mode != MODE_COMMIT || r->job->attempt.save) {
                answer_text(c, "io.ckptd.Jobs.WrongState",
                            "only for a job that attached without a manifest");
                return;
        }
        if (directory_reopens(r->job->directory) || !r->job->directory->dir) {
                answer_failed(c, -ENOENT, directory_why_closed(r->job->directory));
                return;
        }
        t = calloc(1, sizeof(*t));
        if (!t || !(t->checkpoint = committed(r->job, name, p->step))) {
                free(t);
                answer_failed(c, -ENOMEM, NULL);
                return;
        }
        t->job = r->job;
        t->call = c;
        rpc_call_on_cancel(c, cancelled, t);
        t->check = (struct store_check){.dir = r->job->directory->dir,
                                        .name = t->checkpoint->name,
                                        .done = checked,
                                        .user = t};
        job_hold(r->job);
        store_check_start(m->store, &t->check);
}
