/* The life of a checkpoint, from a step that all ranks have answered to its record:
 *
 *   attempt_hand_over   names it, gives the slots to the store
 *   save_done           published, or failed: slots are vacant again; everybody who waits is
 *   answered
 *   saved               log, history, catalog; then the state file and retention (tidy.c)
 *   attempt_fail        the same for what did not work, with its reason; schedule.h decides when to
 *   try again
 * / */
#include "job.h"
#include "retention.h"
#include "units.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- slots ---- */

static void vacate(struct job *j, const uint32_t *slots)
{
        for (unsigned i = 0; i < j->world_size; i++)
                if (j->ranks[i].page)
                        atomic_store_explicit(&j->ranks[i].page->slot[slots[i]].owner, PAGE_VACANT,
                                              memory_order_release);
}

void job_forget_snapshot(struct job *j)
{
        for (unsigned i = 0; j->snapshot_crc32c && i < j->world_size; i++)
                free(j->snapshot_crc32c[i]);
        free(take_ptr(j->snapshot_crc32c));
        free(take_ptr(j->snapshot_slots));
        free(take_ptr(j->snapshot_name));
}

bool job_snapshot_is_there(const struct job *j)
{
        const struct checkpoint *c;

        if (!j->snapshot_name || !(c = history_find(&j->directory->history, j->snapshot_name)))
                return false;
        for (unsigned i = 0; i < j->world_size; i++) {
                struct page_slot *s = &j->ranks[i].page->slot[j->snapshot_slots[i]];

                if (atomic_load_explicit(&s->owner, memory_order_acquire) != PAGE_VACANT ||
                    s->step != c->step || s->sum != page_slot_sum(s) ||
                    j->snapshot_slots[i] >= j->ranks[i].n_slots)
                        return false;
        }
        return true;
}

/* ---- answers ---- */

static void answer_waiter(struct waiter *w, int64_t step, const char *name, const char *error)
{
        _cleanup_(freep) char *path = name ? directory_path_of(w->job->directory, name) : NULL;

        if (w->asking)
                asking_answer(w->asking, w, step, path, error);
        else if (!name && w->job->manager->stopping)
                rpc_drop(w->call); /* the next daemon is asked again */
        else if (name)
                rpc_reply(w->call, json_pack("{s:I, s:s}", "step", (json_int_t)step, "path",
                                             path ? path : name));
        else
                answer_save_failed(w->call, step, error);
}

void job_answer_waiters(struct job *j, int64_t step, const char *name, const char *error)
{
        struct waiter *w, *next;

        for (w = TAILQ_FIRST(&j->waiters); w; w = next) {
                next = TAILQ_NEXT(w, link);
                if (name && (w->step > step ||
                             (w->asking && (j->directory->naming || w->n_saves == j->n_saves))))
                        continue;
                TAILQ_REMOVE(&j->waiters, w, link);
                answer_waiter(w, step, name, error);
                free(w);
        }
}

bool job_has_handed(const struct job *j)
{
        if (j->attempt.save || j->window)
                return true;
        if (j->ranks[0].mode == MODE_COMMIT)
                return j->attempt.open && j->attempt.settle.asked != PAGE_NEVER;
        for (unsigned i = 0; i < j->world_size && !j->broken; i++)
                for (size_t k = 0; j->ranks[i].page && k < j->ranks[i].n_slots; k++)
                        if (atomic_load(&j->ranks[i].page->slot[k].owner) != PAGE_VACANT)
                                return true;
        return false;
}

/* Who waits for a later save than any that is on its way would wait for ever. */
static void answer_idle(struct job *j)
{
        struct waiter *w, *next;

        for (w = job_has_handed(j) ? NULL : TAILQ_FIRST(&j->waiters); w; w = next) {
                next = TAILQ_NEXT(w, link);
                if (w->asking)
                        continue;
                TAILQ_REMOVE(&j->waiters, w, link);
                answer_waiter(w, w->step, NULL, "no save was handed off");
                free(w);
        }
}

static void finish_fail(struct job *j, int64_t step, const char *text)
{
        for (unsigned i = 0; i < j->world_size; i++) {
                struct rpc_call *c = take_ptr(j->ranks[i].finish);

                if (c)
                        answer_save_failed(c, step, text);
        }
}

void finish_answer(struct job *j)
{
        int64_t end = j->ranks[0].page ? atomic_load(&j->ranks[0].page->rank.end) : PAGE_NEVER;
        _cleanup_(freep) char *path =
                j->published_name ? directory_path_of(j->directory, j->published_name) : NULL;

        /* Through a window the job saves its last step before it calls Finish. */
        if (j->ranks[0].mode == MODE_WINDOW && end != j->published && j->directory->failing) {
                finish_fail(j, end, j->directory->failing);
                return;
        }
        for (unsigned i = 0; i < j->world_size; i++) {
                struct rpc_call *c = take_ptr(j->ranks[i].finish);

                if (!c)
                        continue;
                if (end == j->published && path)
                        rpc_reply(c, json_pack("{s:b, s:s}", "saved", 1, "path", path));
                else
                        rpc_reply(c, json_pack("{s:b}", "saved", 0));
        }
}

/* ---- failure ---- */

static void put_save(struct job *j, struct catalog_batch *b, const char *result, const char *error)
{
        const struct attempt *a = &j->attempt;
        const struct checkpoint *c = a->checkpoint;

        catalog_put_save(b, &(struct catalog_save){
                                    .id = c ? c->save_id : j->manager->next_save_id++,
                                    .directory = j->directory->row.id,
                                    .run = j->run,
                                    .step = a->step,
                                    .reason = a->reason,
                                    .result = result,
                                    .error = error,
                                    .due_ms = a->due_unix_ms,
                                    .handed_off_ms = a->handed_unix_ms,
                                    .published_ms = c ? c->published_ms : 0,
                                    .lost_us = a->lost_us,
                                    .durable_ms = a->handed_ms ? clock_boot_ms() - a->handed_ms : 0,
                                    .bytes = c ? c->bytes : 0});
}

static void attempt_close(struct job *j)
{
        struct attempt *a = &j->attempt;

        checkpoint_free(a->checkpoint);
        free(a->slots);
        *a = (struct attempt){.settle.asked = PAGE_NEVER};
}

void attempt_fail(struct job *j, int64_t step, const char *format, ...)
{
        struct directory *d = j->directory;
        _cleanup_(freep) char *text = NULL;
        struct catalog_batch *b = catalog_batch_new(j->manager->catalog);
        char wait[UNITS_TEXT_MAX];
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&text, format, ap) < 0)
                text = NULL;
        va_end(ap);
        attempt_cancel(j);
        if (j->attempt.settle.forced && !j->broken)
                job_vacate_own(j, j->attempt.settle.wanted);
        j->schedule.asked = false; /* who asked is told below; then back-off counts */
        j->schedule.failures++;
        j->schedule.failed_ms = clock_boot_ms();
        free(d->failing);
        d->failing = strdup(text ? text : "");
        if (!d->failures++)
                d->failing_since_ms = clock_unix_ms();
        free(j->last_error);
        j->last_error = strdup(text ? text : "");
        j->attempt.step = step;
        units_format_duration(wait, schedule_retry_ms(&j->schedule, d->policy));
        put_save(j, b, "failed", text);
        note_add(j->manager, b,
                 &(struct note){.directory = d,
                                .event = "failed",
                                .in_log = "save failed",
                                .step = step,
                                .level = LOG_LEVEL_ERROR},
                 "%s; retry in %s (%u in a row)", text ? text : "", wait, d->failures);
        catalog_submit(j->manager->catalog, b, NULL, NULL);
        attempt_close(j);
        job_answer_waiters(j, step, NULL, text);
        finish_fail(j, step, text);
}

/* ---- success ---- */

static void say_saved(struct job *j, struct catalog_batch *b)
{
        const struct attempt *a = &j->attempt;
        char size[UNITS_TEXT_MAX], lost[UNITS_TEXT_MAX], durable[UNITS_TEXT_MAX];

        units_format_size(size, a->checkpoint->bytes);
        units_format_us(lost, a->lost_us);
        units_format_duration(durable, clock_boot_ms() - a->handed_ms);
        note_add(j->manager, b,
                 &(struct note){.directory = j->directory,
                                .event = "saved",
                                .step = a->step,
                                .level = LOG_LEVEL_INFO},
                 "%s; job lost %s; durable in %s; %s", a->reason, lost, durable, size);
}

static void remember_snapshot(struct job *j, struct store_save *s)
{
        job_forget_snapshot(j);
        if (j->ranks[0].mode != MODE_SLOTS)
                return;
        j->snapshot_crc32c = calloc(j->world_size, sizeof(uint32_t *));
        j->snapshot_slots = take_ptr(j->attempt.slots);
        j->snapshot_name = strdup(j->attempt.checkpoint->name);
        for (unsigned i = 0; j->snapshot_crc32c && i < j->world_size; i++)
                j->snapshot_crc32c[i] = take_ptr(s->shards[i].crc32c);
        if (!j->snapshot_crc32c || !j->snapshot_name)
                job_forget_snapshot(j);
}

static void put_replaced(struct job *j, struct catalog_batch *b, const char *name)
{
        struct checkpoint *old = history_find(&j->directory->history, name);

        if (!old)
                return;
        note_add(j->manager, b,
                 &(struct note){.directory = j->directory,
                                .event = "evicted",
                                .step = old->step,
                                .level = LOG_LEVEL_INFO},
                 "replaced by run %lld", (long long)j->run);
        history_remove(&j->directory->history, name);
}

void job_saved(struct job *j, const char *doubt)
{
        struct directory *d = j->directory;
        struct attempt *a = &j->attempt;
        struct catalog_batch *b = catalog_batch_new(j->manager->catalog);
        struct checkpoint *copy = NULL;

        put_save(j, b, "saved", NULL);
        put_replaced(j, b, a->checkpoint->name);
        directory_put_checkpoint(d, b, a->checkpoint);
        say_saved(j, b);
        catalog_submit(j->manager->catalog, b, NULL, NULL);
        if (checkpoint_copy(&copy, a->checkpoint) >= 0)
                history_add(&d->history, copy);
        j->schedule.saved_ms = a->due_ms;
        j->schedule.passed_ms = j->schedule.passed_step = 0;
        j->schedule.saved_step = j->published = a->step;
        j->published_life = a->slots ? a->life : PAGE_NO_LIFE;
        j->schedule.failures = d->failures = 0;
        j->schedule.start_wanted = j->schedule.asked = false;
        free(take_ptr(d->failing));
        free(j->published_name);
        j->published_name = strdup(a->checkpoint->name);
        d->naming = d->has_recorded = true;
        j->n_saves++;
        free(take_ptr(j->failed_slots)); /* older than this one */
        job_answer_waiters(j, a->step, doubt ? NULL : a->checkpoint->name, doubt);
        if (doubt)
                finish_fail(j, a->step, doubt);
        d->surplus = !doubt;
        directory_tidy(d);
}

static void save_free(struct store_save *s)
{
        for (size_t i = 0; i < s->n_shards; i++)
                free(s->shards[i].crc32c);
        free(s->shards);
        diag_done(&s->diag);
        free(s);
}

/* when_busy: skip: what fell due meanwhile. */
static void pass_over(struct job *j, int64_t written)
{
        struct attempt *a = &j->attempt;
        struct catalog_batch *b;
        enum schedule_why why;
        char text[64];

        if (j->state != JOB_READY || j->directory->policy->when_busy != WHEN_BUSY_SKIP ||
            !schedule_pass(&j->schedule, j->directory->policy, job_step(j), clock_boot_ms(), &why))
                return;
        b = catalog_batch_new(j->manager->catalog);
        a->step = job_step(j);
        a->due_unix_ms = clock_unix_ms();
        snprintf(a->reason, sizeof(a->reason), "due: %s",
                 schedule_reason(why, j->directory->policy, text));
        put_save(j, b, "skipped", "the save before was still being written");
        note_add(j->manager, b,
                 &(struct note){.directory = j->directory,
                                .event = "skipped",
                                .step = a->step,
                                .level = LOG_LEVEL_INFO},
                 "%s; step %lld was still being written", a->reason, (long long)written);
        catalog_submit(j->manager->catalog, b, NULL, NULL);
        attempt_close(j);
}

/* What is being evicted still has files of that name. */
static bool is_free(const struct checkpoint *old)
{
        return !old || (!checkpoint_is_there(old) && old->state != CHECKPOINT_EVICTING);
}

/* model.ckpt-4000-r3; the next time -r3-2. */
static int name_apart(const struct job *j, const char *name, char **ret)
{
        for (unsigned n = 1;; n++) {
                const struct checkpoint *old;
                char more[16] = "";

                if (n > 1)
                        snprintf(more, sizeof(more), "-%u", n);
                if (asprintf(ret, "%s-r%lld%s", name, (long long)j->run, more) < 0) {
                        *ret = NULL;
                        return -ENOMEM;
                }
                old = history_find(&j->directory->history, *ret);
                if (is_free(old))
                        return 0;
                free(*ret);
        }
}

/* The same once more: a save that failed has left nothing on disk. */
static void save_again(struct job *j, struct store_save *s)
{
        diag_done(&s->diag);
        s->r = 0;
        s->total = s->short_of = 0;
        atomic_store(&s->written, 0);
        s->checkpoint->state = CHECKPOINT_WHOLE;
        store_save_start(j->manager->store, s);
}

void job_room_made(struct job *j)
{
        if (!j->attempt.waits_for_room)
                return;
        j->attempt.waits_for_room = false;
        save_again(j, j->attempt.save);
}

/* Files that nothing of ours claims have the name: they stay. */
static bool save_apart(struct job *j, struct store_save *s)
{
        char *name;

        if (name_apart(j, s->checkpoint->name, &name) < 0)
                return false;
        log_warning("%s; the checkpoint is named %s", diag_text(&s->diag, s->r), name);
        free(s->checkpoint->name);
        s->checkpoint->name = name;
        s->replaces = NULL;
        j->attempt.is_apart = true;
        save_again(j, s);
        return true;
}

/* Pieces that came through a window are gone; slots are still held. */
static bool is_tried_again(struct job *j, struct store_save *s)
{
        struct attempt *a = &j->attempt;

        if (s->published || !a->slots)
                return false;
        if (s->r == -EEXIST && !a->is_apart)
                return save_apart(j, s);
        if ((s->r != -ENOSPC && s->r != -EDQUOT) || a->no_room ||
            !directory_make_room(j->directory, s->short_of))
                return false;
        a->waits_for_room = true;
        return true;
}

static void save_done(struct store_save *s)
{
        struct job *j = s->user;
        struct attempt *a = &j->attempt;

        if (s->r < 0 && is_tried_again(j, s))
                return;
        a->save = NULL;
        if (a->slots)
                vacate(j, a->slots);
        if (s->r < 0 && !s->published) {
                free(j->failed_slots);
                j->failed_slots = take_ptr(a->slots);
                j->failed_step = a->step;
                attempt_fail(j, a->step, "%s", diag_text(&s->diag, s->r));
        } else {
                if (s->r < 0 || s->diag.text)
                        log_warning("%s: %s", j->directory->row.path, diag_text(&s->diag, s->r));
                job_saved(j, s->r < 0 ? diag_text(&s->diag, s->r) : NULL);
                remember_snapshot(j, s);
                attempt_close(j);
                pass_over(j, j->published);
        }
        if (j->state == JOB_READY && !j->broken)
                job_vacate_useless(j, PAGE_NEVER);
        window_end(j);
        save_free(s);
        if (j->state == JOB_READY && job_described(j))
                job_lay_out(j);
        else
                job_consider(j);
        restoring_go(j);
        answer_idle(j);
        job_release(j);
}

/* ---- hand-over ---- */

/* The name: model.ckpt-4000; where that stands already and must stay, model.ckpt-4000-r3. */
static int choose_name(struct job *j, struct checkpoint *c, const struct checkpoint **ret_replaces)
{
        struct directory *d = j->directory;
        const struct checkpoint *old;

        *ret_replaces = NULL;
        c->name = policy_checkpoint_name(d->policy, c->step);
        old = c->name ? history_find(&d->history, c->name) : NULL;
        if (is_free(old))
                return c->name ? 0 : -ENOMEM;
        if (directory_may_evict(d) && old->origin == CHECKPOINT_SAVED && old->run != j->run &&
            !old->pin_by && !old->leases && !old->preserved &&
            (old->state == CHECKPOINT_WHOLE || old->state == CHECKPOINT_SUPERSEDED)) {
                *ret_replaces = old;
                return 0;
        }
        free(take_ptr(c->name));
        return name_apart(j, old->name, &c->name);
}

static struct checkpoint *new_checkpoint(struct job *j, int64_t step,
                                         const struct checkpoint **ret_replaces)
{
        struct directory *d = j->directory;
        struct checkpoint *c = calloc(1, sizeof(*c));

        if (!c)
                return NULL;
        c->step = step;
        c->sequence = ++d->last_sequence;
        c->run = j->run;
        c->save_id = j->manager->next_save_id++;
        c->state = CHECKPOINT_WHOLE;
        c->origin = CHECKPOINT_SAVED;
        c->published_ms = clock_unix_ms();
        c->preserved = retention_preserves(&d->history, d->policy, c->published_ms);
        c->format = strdup(j->format->name);
        if (!c->format || choose_name(j, c, ret_replaces) < 0) {
                checkpoint_free(c);
                return NULL;
        }
        return c;
}

static int fill_shards(struct job *j, struct store_save *s, const uint32_t *slots)
{
        for (unsigned i = 0; i < j->world_size; i++) {
                struct rank *r = &j->ranks[i];
                struct store_shard *shard = &s->shards[i];

                shard->manifest = r->manifest;
                shard->crc32c = calloc(r->manifest->n ? r->manifest->n : 1, sizeof(uint32_t));
                if (!shard->crc32c)
                        return -ENOMEM;
                if (!slots)
                        continue;
                shard->memory = r->slots[slots[i]].memory;
                shard->slot = &r->page->slot[slots[i]];
                if ((int64_t)(shard->slot->copy_ns / 1000) > j->attempt.lost_us)
                        j->attempt.lost_us = (int64_t)(shard->slot->copy_ns / 1000);
        }
        return 0;
}

struct store_save *job_new_save(struct job *j, const uint32_t *slots, int64_t step)
{
        struct attempt *a = &j->attempt;
        struct store_save *s = calloc(1, sizeof(*s));
        const struct checkpoint *replaces = NULL;

        if (!s)
                return NULL;
        a->step = step;
        a->checkpoint = new_checkpoint(j, step, &replaces);
        *s = (struct store_save){.dir = j->directory->dir,
                                 .format = j->format,
                                 .checkpoint = a->checkpoint,
                                 .n_shards = j->world_size,
                                 .replaces = replaces,
                                 .disk_reserve = j->manager->settings->disk_reserve,
                                 .read_back = j->directory->policy->keep_checkpoint_max == 1,
                                 .done = save_done,
                                 .user = j};
        s->shards = calloc(j->world_size, sizeof(*s->shards));
        if (a->checkpoint && s->shards && fill_shards(j, s, slots) >= 0)
                return s;
        if (!s->shards)
                s->n_shards = 0;
        save_free(s);
        return NULL;
}

void attempt_hand_over(struct job *j, const uint32_t *slots, int64_t step)
{
        struct attempt *a = &j->attempt;

        if (!j->directory->dir) {
                vacate(j, slots);
                attempt_fail(j, step, "%s", directory_why_closed(j->directory));
                return;
        }
        job_publish_words(j, PAGE_NEVER);
        a->handed_ms = clock_boot_ms();
        a->handed_unix_ms = clock_unix_ms();
        a->slots = calloc(j->world_size, sizeof(*a->slots));
        a->life = j->ranks[0].page->slot[slots[0]].life;
        if (a->slots)
                memcpy(a->slots, slots, j->world_size * sizeof(*slots));
        a->save = a->slots ? job_new_save(j, slots, step) : NULL;
        if (!a->save) {
                vacate(j, slots);
                attempt_fail(j, step, "out of memory");
                return;
        }
        job_hold(j);
        store_save_start(j->manager->store, a->save);
        job_tell_progress(j);
}

/* Complete slots of every rank with one step, that nobody has published: after a job's death, or
 * brought back to a new daemon.  The newest such step. */
/* The slots of a save that failed were given back; where the job has ended, nobody fills them any
 * more, and they are written once again. */
static bool take_failed(struct job *j, uint32_t *slots, int64_t *ret_step)
{
        unsigned n = 0;

        if (j->state != JOB_ENDING || !job_find_failed(j, slots, ret_step))
                return false;
        for (; n < j->world_size; n++) {
                uint32_t vacant = PAGE_VACANT;

                if (!atomic_compare_exchange_strong(&j->ranks[n].page->slot[slots[n]].owner,
                                                    &vacant, PAGE_HELD))
                        break;
        }
        if (n == j->world_size)
                return true;
        while (n-- > 0)
                atomic_store(&j->ranks[n].page->slot[slots[n]].owner, PAGE_VACANT);
        return false;
}

bool job_persist_offered(struct job *j, const char *reason)
{
        uint32_t *slots;
        int64_t step = -1;

        if (j->attempt.save || !j->ranks[0].manifest || j->ranks[0].mode != MODE_SLOTS ||
            !j->directory->dir)
                return false;
        slots = calloc(j->world_size, sizeof(*slots));
        if (!slots)
                return false;
        if (!job_find_offered(j, slots, &step) && !take_failed(j, slots, &step))
                step = -1;
        if (step < 0 || step == j->published) {
                free(slots);
                return false;
        }
        if (!j->attempt.open)
                j->attempt = (struct attempt){.due_ms = clock_boot_ms(),
                                              .due_unix_ms = clock_unix_ms(),
                                              .settle.asked = PAGE_NEVER};
        j->attempt.open = true;
        if (!j->attempt.reason[0])
                snprintf(j->attempt.reason, sizeof(j->attempt.reason), "%s", reason);
        attempt_hand_over(j, slots, step);
        free(slots);
        return j->attempt.save;
}
