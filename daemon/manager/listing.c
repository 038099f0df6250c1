/* List and Latest: what is in a directory.  Both wait for one that is being opened, and Latest
 * opens it: what it names must be there. */
#include "job.h"
#include "retention.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LATEST_LEASE_MS (10 * 60 * 1000)

/* ---- checkpoints ---- */

static json_t *kept_by(const struct directory *d, const struct retention_row *row)
{
        if (!row)
                return json_array();
        if (row->checkpoint->state == CHECKPOINT_DAMAGED)
                return json_pack("[s]", "damaged: remove it by hand");
        if (row->keep)
                return json_pack("[s]", row->reason);
        return json_pack("[s]", d->row.held || d->manager->settings_problem
                                        ? "nothing: held"
                                        : "nothing: goes after the next save");
}

static json_t *checkpoint_json(const struct directory *d, const struct checkpoint *c,
                               const struct retention_row *row)
{
        _cleanup_(freep) char *path = directory_path_of(d, c->name);

        return json_pack("{s:I, s:s, s:s, s:I, s:I, s:I, s:I, s:s, s:o}", "step",
                         (json_int_t)c->step, "path", path ? path : c->name, "state",
                         checkpoint_state_names[c->state], "bytes", (json_int_t)c->bytes,
                         "published_ms", (json_int_t)c->published_ms, "sequence",
                         (json_int_t)c->sequence, "run", (json_int_t)c->run, "origin",
                         checkpoint_origin_names[c->origin], "kept_by", kept_by(d, row));
}

static const struct retention_row *find_row(const struct retention_row *rows, size_t n,
                                            const struct checkpoint *c)
{
        for (size_t i = 0; i < n; i++)
                if (rows[i].checkpoint == c)
                        return &rows[i];
        return NULL;
}

/* Newest first; recorded: also those that are gone, or NULL. */
static json_t *checkpoints_json(const struct directory *d, const struct history *recorded)
{
        json_t *list = json_array();
        struct retention_row *rows = NULL;
        const struct history *h = recorded ? recorded : &d->history;
        size_t n = 0;

        if (!d->policy || retention_plan(&d->history, d->policy, &rows, &n) < 0)
                n = 0;
        for (size_t i = h->n; i-- > 0;) {
                const struct checkpoint *c = history_find(&d->history, h->items[i]->name);

                if (c && checkpoint_is_there(c))
                        json_array_append_new(list, checkpoint_json(d, c, find_row(rows, n, c)));
                else if (recorded)
                        json_array_append_new(list, checkpoint_json(d, h->items[i], NULL));
        }
        free(rows);
        return list;
}

/* ---- waiting for a directory ---- */

struct showing {
        struct waiting waiting;
        struct directory *directory;
        struct rpc_call *call; /* NULL: the caller is gone */
        bool all;
        void (*show)(struct showing *s); /* frees it, in the end */
};

static void showing_cancelled(void *user)
{
        ((struct showing *)user)->call = NULL;
}

static void showing_go(struct waiting *w, int r, const struct diag *d)
{
        struct showing *s = (struct showing *)w;

        (void)r; /* one that cannot be opened says so itself */
        (void)d;
        if (s->call)
                s->show(s);
        else
                free(s);
}

static struct showing *showing_new(struct rpc_call *c, struct directory *d,
                                   void (*show)(struct showing *s))
{
        struct showing *s = calloc(1, sizeof(*s));

        if (!s) {
                rpc_fail(c, "io.ckptd.Admin.Failed",
                         json_pack("{s:i, s:s}", "errno", ENOMEM, "message", "out of memory"));
                return NULL;
        }
        *s = (struct showing){.directory = d, .call = c, .show = show, .waiting.go = showing_go};
        rpc_call_on_cancel(c, showing_cancelled, s);
        return s;
}

/* ---- List ---- */

static void show_list(struct showing *s, const struct history *recorded)
{
        const struct directory *d = s->directory;
        const struct store_save *save = d->job ? d->job->attempt.save : NULL;
        json_t *o = json_pack("{s:[o], s:o}", "directories", directory_json(d, clock_boot_ms()),
                              "checkpoints", checkpoints_json(d, recorded));
        char note[96];

        if (save) {
                snprintf(note, sizeof(note), "step %lld is being written (%.0f%%)",
                         (long long)d->job->attempt.step,
                         save->total
                                 ? 100.0 * (double)atomic_load(&save->written) / (double)save->total
                                 : 0);
                json_object_set_new(o, "note", json_string(note));
        }
        rpc_reply(s->call, o);
        free(s);
}

static void list_rows(void *user, int r, struct catalog_rows *rows)
{
        struct showing *s = user;

        if (s->call)
                show_list(s, r < 0 ? NULL : &rows->checkpoints);
        else
                free(s);
}

static void list(struct showing *s)
{
        if (s->all)
                catalog_query_directory(s->directory->manager->catalog, s->directory->row.id,
                                        list_rows, s);
        else
                show_list(s, NULL);
}

void manager_list(struct manager *m, struct rpc_call *c, const struct list_parameters *p)
{
        struct directory *d = p->model_dir ? directory_find(m, p->model_dir) : NULL;
        size_t n = 0, k = 0;
        struct showing *s;

        if (!p->model_dir) {
                rpc_reply(c, json_pack("{s:o}", "directories", directories_json(m, NULL, &n, &k)));
                return;
        }
        if (!d) {
                answer_no_directory(c, p->model_dir);
                return;
        }
        s = showing_new(c, d, list);
        if (!s)
                return;
        s->all = p->all;
        if (d->opening)
                TAILQ_INSERT_TAIL(&d->waiting, &s->waiting, link);
        else
                list(s);
}

/* ---- Latest ---- */

/* Somebody may have removed files since the directory was looked at. */
static bool is_present(const struct directory *d, const struct checkpoint *c)
{
        for (size_t i = 0; d->dir && i < c->n_files; i++)
                if (faccessat(store_dir_fd(d->dir), c->files[i].name, F_OK, 0) < 0)
                        return false;
        return true;
}

static const struct checkpoint *newest_present(const struct directory *d)
{
        const struct checkpoint *c = NULL;

        do
                c = history_newest_whole(&d->history, c);
        while (c && !is_present(d, c));
        return c;
}

static void latest(struct showing *s)
{
        struct directory *d = s->directory;
        const struct checkpoint *k = newest_present(d);
        _cleanup_(freep) char *path = k ? directory_path_of(d, k->name) : NULL;

        if (d->missing || (!k && directory_held_one(d))) {
                rpc_fail(s->call, "io.ckptd.Admin.NoneWhole",
                         json_pack("{s:s}", "message",
                                   d->missing ? d->missing
                                              : "checkpoints are recorded, none is whole"));
        } else if (!k) {
                rpc_reply(s->call, json_pack("{s:b}", "found", 0));
        } else {
                directory_lease(d, k->name, LATEST_LEASE_MS);
                rpc_reply(s->call, json_pack("{s:b, s:I, s:s}", "found", 1, "step",
                                             (json_int_t)k->step, "path", path ? path : k->name));
        }
        free(s);
}

void manager_latest(struct manager *m, struct rpc_call *c, const struct list_parameters *p)
{
        struct directory *d = directory_find(m, p->model_dir);
        struct directory_ask ask = {.path = d ? d->row.path : "", .fd = -1};
        struct showing *s;

        if (!d) {
                answer_no_directory(c, p->model_dir);
                return;
        }
        s = showing_new(c, d, latest);
        if (s)
                directory_open(m, &ask, &s->waiting, &s->directory);
}
