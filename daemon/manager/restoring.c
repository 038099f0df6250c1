/* Restore: one decision for all ranks of a job.  The newest whole checkpoint, from memory when it
 * is still in the slots, else from disk; sums verified.  One that turns out damaged is marked, and
 * the next older is taken. */
#include "job.h"
#include "fds.h"
#include "stored.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct restoring {
        struct job *job;
        char *name;         /* the candidate */
        int64_t sequence;   /* its own: a later one of that name is another; 0: none known */
        bool leased;        /* the candidate, in our name */
        bool memory, exact; /* exact: a step or path was asked for; no older one is taken */
        unsigned n_pending;
        int r; /* the first failure */
        struct diag diag;
        struct store_restore *reads; /* one a rank */
        struct store_check *checks;
};

static void decide(struct job *j);

/* NULL: it is of no record, or has been replaced meanwhile. */
static struct checkpoint *chosen(const struct restoring *s)
{
        struct checkpoint *c = history_find(&s->job->directory->history, s->name ? s->name : "");

        return c && c->sequence == s->sequence ? c : NULL;
}

static void restoring_free(struct restoring *s)
{
        struct job *j = s->job;
        struct checkpoint *c = chosen(s);

        if (s->leased && c && c->leases)
                c->leases--;
        for (unsigned i = 0; s->reads && i < j->world_size; i++)
                store_restore_done(&s->reads[i]);
        for (unsigned i = 0; s->checks && i < j->world_size; i++)
                diag_done(&s->checks[i].diag);
        free(s->reads);
        free(s->checks);
        free(s->name);
        diag_done(&s->diag);
        free(s);
        j->restoring = NULL;
}

static struct rpc_call *take_call(struct rank *r)
{
        if (r->restore_what)
                free((char *)r->restore_what->path);
        free(take_ptr(r->restore_what));
        return take_ptr(r->restore);
}

static void answer_all(struct job *j, const char *error, const char *text)
{
        /* What was due before: a save at the start is announced before the first step. */
        if (!j->reader)
                job_consider(j);
        for (unsigned i = 0; i < j->world_size; i++) {
                struct rpc_call *c = take_call(&j->ranks[i]);

                if (c && error)
                        answer_text(c, error, text);
                else if (c)
                        rpc_reply(c, json_pack("{s:b}", "found", 0));
        }
}

void rank_lease_end(struct rank *r)
{
        struct checkpoint *c =
                r->leased ? history_find(&r->job->directory->history, r->leased) : NULL;

        if (c && c->leases)
                c->leases--;
        free(take_ptr(r->leased));
}

/* ---- replies ---- */

static void push_memory(struct rpc_call *c, json_t *reply, const char *key, const void *p, size_t n)
{
        int fd = fds_memfd_of("ckptd-restore", p, n);

        if (fd >= 0)
                json_object_set_new(reply, key, json_integer(rpc_call_push_fd(c, fd)));
}

static int64_t *offsets_of(const struct manifest *m)
{
        int64_t *map = calloc(m->n ? m->n : 1, sizeof(*map));

        for (size_t i = 0; map && i < m->n; i++)
                map[i] = m->tensors[i].offset;
        return map;
}

static void answer_found(struct restoring *s, struct rank *r, int64_t step)
{
        struct rpc_call *c = take_call(r);
        struct store_restore *read = s->reads ? &s->reads[r->index] : NULL;
        const struct manifest *m = r->manifest;
        uint64_t bytes;
        struct checkpoint *k = chosen(s);
        json_t *reply;
        _cleanup_(freep) int64_t *map = read ? take_ptr(read->map) : offsets_of(m);

        if (!c)
                return;
        reply = json_pack("{s:b, s:I, s:s, s:s}", "found", 1, "step", (json_int_t)step,
                          "checkpoint", s->name, "source", s->memory ? "memory" : "disk");
        if (read && read->data_fd >= 0)
                json_object_set_new(reply, "data_fd",
                                    json_integer(rpc_call_push_fd(c, take_fd(&read->data_fd))));
        else
                json_object_set_new(reply, "slot",
                                    json_integer(s->memory ? s->job->snapshot_slots[r->index] : 0));
        bytes = read ? read->data_bytes : m ? m->bytes : 0;
        json_object_set_new(reply, "data_bytes", json_integer((json_int_t)bytes));
        if (m && map)
                push_memory(c, reply, "map_fd", map, m->n * sizeof(*map));
        if (read && read->stored_json)
                push_memory(c, reply, "stored_fd", read->stored_json, strlen(read->stored_json));
        if (k) {
                k->leases++; /* until it is copied out */
                r->leased = strdup(s->name);
        }
        rpc_reply(c, reply);
}

static void all_found(struct restoring *s)
{
        struct job *j = s->job;
        int64_t step = s->reads ? s->reads[0].step : -1;
        const struct checkpoint *c = chosen(s);

        if (c)
                step = c->step;
        note_add(j->manager, NULL,
                 &(struct note){.directory = j->directory,
                                .event = "restored",
                                .step = step,
                                .level = LOG_LEVEL_INFO},
                 "%s from %s by %s", s->name, s->memory ? "memory" : "disk",
                 j->reader ? "a reader" : j->id);
        for (unsigned i = 0; i < j->world_size; i++)
                answer_found(s, &j->ranks[i], step);
        restoring_free(s);
}

/* ---- reading ---- */

static void refuse_misfit(struct restoring *s)
{
        struct job *j = s->job;
        _cleanup_(freep) char *text = NULL;

        diag_add(&s->diag, s->r,
                 "Use another model_dir, or start with the settings that wrote the checkpoint.");
        text = strdup(diag_text(&s->diag, s->r));
        restoring_free(s);
        answer_all(j, "io.ckptd.Jobs.Mismatch", text);
}

/* Which command wrote what does not fit. */
static void misfit_rows(void *user, int r, struct catalog_rows *rows)
{
        struct restoring *s = user;
        struct job *j = s->job;
        const struct checkpoint *c = chosen(s);

        for (size_t i = 0; r >= 0 && c && i < rows->n_runs; i++)
                if (rows->runs[i].run == c->run && rows->runs[i].command)
                        diag_add(&s->diag, s->r, "%s was written by %s: %s (run %lld)", s->name,
                                 rows->runs[i].job ? rows->runs[i].job : "?", rows->runs[i].command,
                                 (long long)c->run);
        refuse_misfit(s);
        job_release(j);
}

static void candidate_failed(struct restoring *s)
{
        struct job *j = s->job;
        struct directory *d = j->directory;
        struct checkpoint *c = chosen(s);
        _cleanup_(freep) char *text = strdup(diag_text(&s->diag, s->r));
        int r = s->r;
        /* What else keeps the newest from being read (no memory, no descriptors) may pass: to go on
         * from an older one would lose training for it. */
        bool memory = s->memory, last = !memory && (s->exact || !stored_is_damage(r));

        if (memory)
                job_forget_snapshot(j); /* the disk has it too */
        if (!memory && c && stored_is_damage(r))
                directory_damaged(d, c, text ? text : "");
        else if (memory)
                log_warning("restore of %s/%s from memory: %s", d->row.path, s->name,
                            text ? text : "");
        else
                note_add(j->manager, NULL,
                         &(struct note){.directory = d,
                                        .event = "failed",
                                        .in_log = "restore failed",
                                        .step = c ? c->step : -1,
                                        .level = LOG_LEVEL_WARNING},
                         "restore of %s by %s: %s", s->name, j->reader ? "a reader" : j->id,
                         text ? text : "");
        if (r == -EINVAL && c) {
                job_hold(j);
                catalog_query_directory(j->manager->catalog, d->row.id, misfit_rows, s);
                return;
        }
        if (r == -EINVAL) {
                refuse_misfit(s);
                return;
        }
        if (c && !memory)
                j->restore_below = c->sequence;
        restoring_free(s);
        if (last)
                answer_all(j,
                           r == -EBADMSG || (c && stored_is_damage(r)) ? "io.ckptd.Jobs.NoneWhole"
                                                                       : "io.ckptd.Jobs.Failed",
                           text);
        else
                decide(j);
}

static void one_done(struct restoring *s, int r, struct diag *d)
{
        struct job *j = s->job;

        if (r < 0 && s->r >= 0) {
                s->r = r;
                diag_move(&s->diag, d);
        }
        if (--s->n_pending == 0) {
                if (s->r < 0)
                        candidate_failed(s);
                else
                        all_found(s);
                if (!j->restoring && j->state == JOB_READY && job_described(j))
                        job_lay_out(j);
        }
        job_release(j);
}

static void read_done(struct store_restore *t)
{
        one_done(t->user, t->r, &t->diag);
}

static void check_done(struct store_check *t)
{
        one_done(t->user, t->r, &t->diag);
}

static bool has_shared_out(const struct manifest *m)
{
        for (size_t i = 0; i < m->n; i++)
                if (m->tensors[i].offset < 0)
                        return true;
        return false;
}

/* Where a rank's bytes may go: its first slot, unless that holds something or is no image of the
 * data. */
static void *slot_to_read_into(struct rank *r)
{
        struct page_slot *s;

        if (r->mode != MODE_SLOTS || !r->n_slots || has_shared_out(r->manifest))
                return NULL;
        s = &r->page->slot[0];
        if (atomic_load_explicit(&s->owner, memory_order_acquire) != PAGE_VACANT)
                return NULL;
        s->sum = ~page_slot_sum(s); /* what was in it is gone */
        if (r->job->snapshot_slots && r->job->snapshot_slots[r->index] == 0)
                job_forget_snapshot(r->job);
        return r->slots[0].memory;
}

static void start_reads(struct restoring *s)
{
        struct job *j = s->job;

        if (!j->directory->dir) {
                s->r = diag_set(&s->diag, -ESTALE, "%s", directory_why_closed(j->directory));
                candidate_failed(s);
                return;
        }
        s->reads = calloc(j->world_size, sizeof(*s->reads));
        if (!s->reads) {
                s->r = -ENOMEM;
                candidate_failed(s);
                return;
        }
        s->n_pending = j->world_size;
        for (unsigned i = 0; i < j->world_size; i++) {
                struct rank *r = &j->ranks[i];
                const struct restore_parameters *p = r->restore_what;

                s->reads[i] = (struct store_restore){.dir = j->directory->dir,
                                                     .manifest = r->manifest,
                                                     .name = p->path ? NULL : s->name,
                                                     .path = p->path ? s->name : NULL,
                                                     .partial = p->partial,
                                                     .to = r->page ? slot_to_read_into(r) : NULL,
                                                     .data_fd = -1,
                                                     .done = read_done,
                                                     .user = s};
                job_hold(j);
                store_restore_start(j->manager->store, &s->reads[i]);
        }
}

static void start_checks(struct restoring *s)
{
        struct job *j = s->job;

        s->checks = calloc(j->world_size, sizeof(*s->checks));
        if (!s->checks) {
                s->memory = false;
                start_reads(s);
                return;
        }
        s->n_pending = j->world_size;
        for (unsigned i = 0; i < j->world_size; i++) {
                struct rank *r = &j->ranks[i];

                s->checks[i] = (struct store_check){.dir = j->directory->dir,
                                                    .manifest = r->manifest,
                                                    .memory = r->slots[j->snapshot_slots[i]].memory,
                                                    .crc32c = j->snapshot_crc32c[i],
                                                    .done = check_done,
                                                    .user = s};
                job_hold(j);
                store_check_start(j->manager->store, &s->checks[i]);
        }
}

static bool memory_will_do(const struct job *j, const char *name)
{
        if (j->reader || !job_snapshot_is_there(j) || strcmp(j->snapshot_name, name))
                return false;
        for (unsigned i = 0; i < j->world_size; i++)
                if (j->ranks[i].restore_what->partial || has_shared_out(j->ranks[i].manifest))
                        return false;
        return true;
}

static struct checkpoint *below(const struct history *h, int64_t sequence)
{
        struct checkpoint *best = NULL;

        for (size_t i = 0; i < h->n; i++)
                if (h->items[i]->state == CHECKPOINT_WHOLE && h->items[i]->sequence < sequence)
                        best = h->items[i];
        return best;
}

static struct checkpoint *candidate(const struct job *j, const struct restore_parameters *p)
{
        const struct history *h = &j->directory->history;

        if (p->has_step) {
                struct checkpoint *c = history_at_step(h, p->step);

                return c && checkpoint_is_there(c) ? c : NULL;
        }
        return j->restore_below ? below(h, j->restore_below) : history_newest_whole(h, NULL);
}

static void none_found(struct job *j, const struct restore_parameters *p)
{
        struct directory *d = j->directory;
        _cleanup_(freep) char *text = NULL;

        if (p->has_step) {
                if (asprintf(&text, "%s has no whole checkpoint at step %lld", d->row.path,
                             (long long)p->step) < 0)
                        text = NULL;
        } else if (directory_held_one(d) || d->row.held) {
                if (asprintf(&text,
                             "%s: checkpoints were recorded, but none is whole or reachable; what "
                             "is wrong "
                             "with each: ckptctl verify; to start anew, use another model_dir",
                             d->row.path) < 0)
                        text = NULL;
        } else {
                answer_all(j, NULL, NULL);
                return;
        }
        answer_all(j, "io.ckptd.Jobs.NoneWhole", text ? text : "none is whole");
}

static bool all_ask(const struct job *j)
{
        for (unsigned i = 0; i < j->world_size; i++)
                if (!j->ranks[i].restore)
                        return false;
        return true;
}

static void decide(struct job *j)
{
        const struct restore_parameters *p = j->ranks[0].restore_what;
        struct checkpoint *c, *known;
        struct restoring *s;

        if (!all_ask(j)) {
                answer_all(j, "io.ckptd.Jobs.WrongState", "a rank has gone");
                return;
        }
        c = p->path ? NULL : candidate(j, p);
        if (!c && !p->path) {
                none_found(j, p);
                return;
        }
        s = calloc(1, sizeof(*s));
        if (!s || !(s->name = strdup(c ? c->name : p->path))) {
                free(s);
                answer_all(j, "io.ckptd.Jobs.NoneWhole", "out of memory");
                return;
        }
        if (c)
                c->leases++;
        known = c ? c : history_find(&j->directory->history, p->path); /* a path may be a name */
        s->sequence = known ? known->sequence : 0;
        s->leased = c;
        s->job = j;
        s->exact = p->has_step || p->path;
        s->memory = c && memory_will_do(j, c->name);
        j->restoring = s;
        if (s->memory)
                start_checks(s);
        else
                start_reads(s);
}

void restoring_rank_gone(struct rank *r)
{
        if (r->restore_what)
                free((char *)r->restore_what->path);
        free(take_ptr(r->restore_what));
}

static bool same_question(const struct job *j)
{
        const struct restore_parameters *a = j->ranks[0].restore_what;

        for (unsigned i = 1; i < j->world_size; i++) {
                const struct restore_parameters *b = j->ranks[i].restore_what;

                if (a->has_step != b->has_step || a->step != b->step || !a->path != !b->path ||
                    (a->path && strcmp(a->path, b->path)))
                        return false;
        }
        return true;
}

void restoring_go(struct job *j)
{
        if (!all_ask(j) || j->restoring || j->attempt.save)
                return; /* a save that is being written comes first */
        j->restore_below = 0;
        if (!same_question(j)) {
                answer_all(j, "io.ckptd.Jobs.WrongState",
                           "the ranks asked for different checkpoints");
                return;
        }
        if (!j->reader && j->attempt.open)
                attempt_cancel(j);
        j->warm = j->ranks[0].restore_what->path;
        decide(j);
}

void manager_restore(struct manager *m, struct rpc_call *c, const struct restore_parameters *p)
{
        struct rank *r = rank_ready(c);
        struct job *j;

        (void)m;
        if (!r)
                return;
        j = r->job;
        if (!r->manifest || r->restore || j->restoring) {
                answer_text(c, "io.ckptd.Jobs.WrongState",
                            r->manifest ? "a restore is under way" : "attached without a manifest");
                return;
        }
        rank_lease_end(r);
        r->restore_what = calloc(1, sizeof(*r->restore_what));
        if (!r->restore_what) {
                answer_failed(c, -ENOMEM, NULL);
                return;
        }
        *r->restore_what = *p;
        r->restore_what->path = p->path ? strdup(p->path) : NULL;
        r->restore = c;
        restoring_go(j);
}

static void supersede(struct job *j)
{
        struct directory *d = j->directory;
        struct catalog_batch *b = catalog_batch_new(j->manager->catalog);
        size_t n;

        catalog_put_run(b, &(struct catalog_run){.directory = d->row.id,
                                                 .run = j->run,
                                                 .job = j->id,
                                                 .pid = job_pid(j),
                                                 .started_ms = j->started_ms,
                                                 .uid = j->uid,
                                                 .world_size = j->world_size,
                                                 .base = j->base,
                                                 .command = j->command});
        n = history_supersede(&d->history, j->run, j->base);
        d->surplus = false; /* they go after this run's first save */
        for (size_t i = 0; n && i < d->history.n; i++)
                if (d->history.items[i]->state == CHECKPOINT_SUPERSEDED) {
                        directory_mark(d, d->history.items[i]);
                        directory_put_checkpoint(d, b, d->history.items[i]);
                }
        catalog_submit(j->manager->catalog, b, NULL, NULL);
}

/* The run goes on from a step; what earlier runs published beyond it counts no more. */
static void goes_on_from(struct job *j, int64_t step)
{
        j->base = step;
        j->schedule.saved_step = step;
        j->schedule.saved_ms = clock_boot_ms();
        j->schedule.passed_ms = j->schedule.passed_step = 0;
        j->schedule.start_wanted = false;
        j->rate_step = -1;
        if (j->published > step) { /* behind its own saves: what follows is another run */
                j->published = -1;
                j->run = ++j->directory->last_run;
        }
        supersede(j);
}

void manager_restored(struct manager *m, struct rpc_call *c, const struct step_parameters *p)
{
        struct rank *r = rank_ready(c);
        struct job *j;

        (void)m;
        if (!r)
                return;
        j = r->job;
        rank_lease_end(r);
        rpc_reply(c, NULL);
        if (j->reader)
                return;
        if (!j->warm && (j->base != p->step || !r->index))
                goes_on_from(j, p->step);
        if (j->attempt.open && !j->attempt.save)
                attempt_cancel(j); /* it was announced to the rank's former life */
        job_consider(j);
}
