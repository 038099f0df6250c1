/* The second half of Attach and Describe: offsets for every tensor, shared memory for them, the
 * replies. */
#include "admit.h"
#include "fds.h"
#include "leftover.h"
#include "units.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct layout_task {
        struct task task;
        struct job *job;
        const struct format *format;
        size_t n;
        struct manifest **manifests; /* of every rank that has one */
        int r;
        struct diag diag;
};

static void ready(struct job *j);

/* Every rank is answered alike; a Describe leaves the job as it was, an Attach ends. */
static void refuse_all(struct job *j, int r, const char *text)
{
        log_warning("attach to %s refused: %s", j->directory->row.path, text);
        for (unsigned i = 0; i < j->world_size; i++) {
                struct rank *k = &j->ranks[i];
                bool attaching = k->attach;
                struct rpc_call *c = attaching ? take_ptr(k->attach) : take_ptr(k->describe);

                if (c && r == -EINVAL)
                        answer_text(c, "io.ckptd.Jobs.Mismatch", text);
                else if (c)
                        answer_failed(c, r, text);
                manifest_free(take_ptr(k->next));
                k->parsed = false;
                if (attaching)
                        rank_close(k);
        }
        j->state = j->run ? JOB_READY : JOB_GATHERING;
}

/* ---- slots ---- */

static void settle_made(struct rank *r, bool use)
{
        struct store_slots *t = take_ptr(r->made);

        if (!t)
                return;
        if (use) {
                rank_slots_done(r);
                memcpy(r->slots, t->slots, sizeof(r->slots));
                r->n_slots = t->n;
                r->slot_bytes = t->bytes;
                r->mode = r->next_mode;
                r->new_slots = true;
                free(take_ptr(r->job->failed_slots)); /* they were among the old ones */
        } else {
                for (size_t k = 0; k < t->n; k++)
                        store_slot_done(&t->slots[k]);
                r->job->manager->memory_used -= t->n * t->bytes;
        }
        diag_done(&t->diag);
        free(t);
}

static void slots_done(struct store_slots *t)
{
        struct rank *r = t->user;
        struct job *j = r->job;

        if (t->r < 0) {
                log_warning("%s: rank %u: no memory for slots: %s", j->directory->row.path,
                            r->index, diag_text(&t->diag, t->r));
                j->slots_failed = true;
                j->manager->memory_used -= t->n * t->bytes;
                diag_done(&t->diag);
                free(t);
        } else {
                r->made = t; /* in use only when every rank has its own */
        }
        if (--j->n_slots_pending == 0) {
                for (unsigned i = 0; i < j->world_size; i++)
                        settle_made(&j->ranks[i], !j->slots_failed);
                if (j->slots_failed)
                        refuse_all(j, -ENOMEM, "ckptd has no memory for the slots");
                else
                        ready(j);
        }
        job_release(j);
}

/* window: 0, or the bytes of a window where there is memory for no slot. */
static void make_slots(struct job *j, size_t n_slots, uint64_t window)
{
        struct store_slots *t;

        j->slots_failed = false;
        j->n_slots_pending = 1;
        for (unsigned i = 0; i < j->world_size; i++) {
                struct rank *r = &j->ranks[i];
                uint64_t bytes = r->next->bytes ? r->next->bytes : 1;

                r->next_mode = window ? MODE_WINDOW : MODE_SLOTS;
                if (window && bytes > window)
                        bytes = window;
                t = calloc(1, sizeof(*t));
                if (!t) {
                        j->slots_failed = true;
                        continue;
                }
                *t = (struct store_slots){.n = n_slots,
                                          .bytes = (bytes + 4095) & ~UINT64_C(4095),
                                          .done = slots_done,
                                          .user = r};
                j->n_slots_pending++;
                j->manager->memory_used += t->n * t->bytes; /* no other job may count on it */
                job_hold(j);
                store_slots_new(j->manager->store, t);
        }
        if (--j->n_slots_pending == 0)
                refuse_all(j, -ENOMEM, "ckptd has no memory for the slots");
}

static void say_memory(struct job *j, uint64_t need, uint64_t room, size_t n_slots)
{
        char a[UNITS_TEXT_MAX], b[UNITS_TEXT_MAX], c[UNITS_TEXT_MAX];

        if (n_slots >= ADMIT_SLOTS)
                return;
        units_format_size(a, need);
        units_format_size(b, room);
        units_format_size(c, manager_memory_max(j->manager));
        if (n_slots)
                diag_add(&j->messages, 0,
                         "memory for one slot only (%s each, %s left of memory_max %s): a save "
                         "waits for the one before it",
                         a, b, c);
        else
                diag_add(&j->messages, 0,
                         "no memory for a slot (%s needed, %s left of memory_max %s): the job "
                         "waits while a save is written",
                         a, b, c);
        log_warning("%s: %s", j->directory->row.path, j->messages.text);
}

/* Another format or another version may lay the same tensors out otherwise: what is in the slots
 * would be published under wrong names. */
static bool lies_alike(const struct rank *r)
{
        if (!r->layout || r->n_layout != r->next->n)
                return false;
        for (size_t i = 0; i < r->n_layout; i++)
                if (r->layout[i] != r->next->tensors[i].offset)
                        return false;
        return true;
}

static bool keep_offered(const struct job *j)
{
        for (unsigned i = 0; i < j->world_size; i++) {
                const struct rank *r = &j->ranks[i];

                if (!r->offered || !r->n_slots || !lies_alike(r) ||
                    (r->slot_bytes < r->next->bytes && r->n_slots != 1))
                        return false;
        }
        return true;
}

/* What is left, within reason; where that is all of the state, the window is a slot. */
static uint64_t window_bytes(uint64_t room)
{
        if (room < ADMIT_WINDOW_MIN_BYTES)
                return ADMIT_WINDOW_MIN_BYTES;
        return room > ADMIT_WINDOW_BYTES ? ADMIT_WINDOW_BYTES : room & ~UINT64_C(4095);
}

static bool use_offered(struct job *j)
{
        bool windowed = false;

        if (j->run || !keep_offered(j))
                return false;
        for (unsigned i = 0; i < j->world_size; i++)
                windowed |= j->ranks[i].slot_bytes < j->ranks[i].next->bytes;
        for (unsigned i = 0; i < j->world_size; i++)
                j->ranks[i].mode = windowed ? MODE_WINDOW : MODE_SLOTS;
        return true;
}

static int renew_ranks(struct job *j)
{
        int r = 0;

        for (unsigned i = 0; r >= 0 && i < j->world_size && !j->run; i++)
                r = rank_renew(&j->ranks[i]);
        return r;
}

static uint64_t room_left(const struct manager *m)
{
        uint64_t max = manager_memory_max(m), there = store_memory_room();
        uint64_t room = max > m->memory_used ? max - m->memory_used : 0;

        return there < room ? there : room;
}

static struct directory *oldest_leftover(const struct manager *m)
{
        struct directory *d, *oldest = NULL;

        TAILQ_FOREACH (d, &m->directories, link)
                if (d->leftover && (!oldest || leftover_until_ms(d->leftover) <
                                                       leftover_until_ms(oldest->leftover)))
                        oldest = d;
        return oldest;
}

/* What jobs that have ended left in memory is on disk too: it goes before a job that lives gets
 * less. */
static uint64_t make_room(struct manager *m, uint64_t need)
{
        uint64_t room = room_left(m);
        struct directory *d;

        while (room < need && (d = oldest_leftover(m))) {
                leftover_free(take_ptr(d->leftover));
                room = room_left(m);
        }
        return room;
}

static void choose_number(struct job *j)
{
        uint64_t need = 0, largest = 0, window, room;
        size_t n;

        for (unsigned i = 0; i < j->world_size; i++) {
                uint64_t bytes = (j->ranks[i].next->bytes + 4095) & ~UINT64_C(4095);

                need += bytes;
                largest = bytes > largest ? bytes : largest;
        }
        room = make_room(j->manager, ADMIT_SLOTS * need);
        n = !need ? ADMIT_SLOTS : room / need < ADMIT_SLOTS ? room / need : ADMIT_SLOTS;
        window = n ? 0 : window_bytes(room / j->world_size);
        if (window >= largest) {
                n = 1;
                window = 0;
        }
        say_memory(j, need, room, n);
        make_slots(j, n ? n : 1, window);
}

static void choose_slots(struct job *j)
{
        struct leftover *l = j->run ? NULL : take_ptr(j->directory->leftover);
        bool has = use_offered(j);

        if (!has && renew_ranks(j) < 0) {
                leftover_free(l);
                refuse_all(j, -ENOMEM, "out of memory");
                return;
        }
        has = has || (l && leftover_take(l, j));
        leftover_free(l); /* before the room is counted */
        if (has)
                ready(j);
        else
                choose_number(j);
}

/* ---- offsets ---- */

static void layout_run(struct task *task)
{
        struct layout_task *t = (struct layout_task *)task;

        t->r = manifest_share(t->manifests, t->n, &t->diag);
        for (size_t i = 0; i < t->n && t->r >= 0; i++)
                t->r = t->format->layout(t->manifests[i], t->n, &t->diag);
}

static void layout_done(struct task *task)
{
        struct layout_task *t = (struct layout_task *)task;
        struct job *j = t->job;

        if (t->r < 0)
                refuse_all(j, t->r, diag_text(&t->diag, t->r));
        else if (j->reader)
                ready(j);
        else
                choose_slots(j);
        diag_done(&t->diag);
        free(t->manifests);
        free(t);
        job_release(j);
}

/* Nothing may point to the slots that Describe replaces; what is complete in them is published
 * first. */
static bool must_wait(struct job *j)
{
        if (j->state != JOB_READY || j->reader)
                return false;
        if (j->window && !j->window_busy)
                attempt_cancel(j);
        if (j->attempt.save || j->restoring || j->window)
                return true; /* looked at again when that has ended */
        return j->run && job_persist_offered(j, "complete before another manifest was described");
}

static bool has_manifests(const struct job *j)
{
        for (unsigned i = 0; i < j->world_size; i++)
                if (j->ranks[i].next)
                        return true;
        return false;
}

void job_lay_out(struct job *j)
{
        struct layout_task *t;

        if (must_wait(j))
                return;
        if (j->state == JOB_READY && j->attempt.open)
                attempt_cancel(j);
        j->state = JOB_LAYING;
        if (!has_manifests(j)) { /* writes its own files, or a reader without a manifest */
                ready(j);
                return;
        }
        t = calloc(1, sizeof(*t));
        if (!t || !(t->manifests = calloc(j->world_size, sizeof(*t->manifests)))) {
                free(t);
                refuse_all(j, -ENOMEM, "out of memory");
                return;
        }
        t->task = (struct task){.run = layout_run, .done = layout_done};
        t->job = j;
        t->format = j->format;
        for (unsigned i = 0; i < j->world_size; i++)
                if (j->ranks[i].next)
                        t->manifests[t->n++] = j->ranks[i].next;
        if (t->n != j->world_size) {
                free(t->manifests);
                free(t);
                refuse_all(j, -EINVAL, "some ranks gave a manifest and some did not");
                return;
        }
        job_hold(j);
        worker_pool_submit(j->manager->parsers, &t->task);
}

/* ---- replies ---- */

static int layout_fd(const struct manifest *m)
{
        int64_t *offsets = calloc(m->n ? m->n : 1, sizeof(*offsets));
        int fd;

        if (!offsets)
                return -ENOMEM;
        for (size_t i = 0; i < m->n; i++)
                offsets[i] = m->tensors[i].offset;
        fd = fds_memfd_of("ckptd-layout", offsets, m->n * sizeof(*offsets));
        free(offsets);
        return fd;
}

static const char *const mode_names[] = {"slots", "window", "commit", "reader"};

/* The members that Attach and Describe have in common. */
static void put_layout(struct rank *r, struct rpc_call *c, json_t *reply)
{
        int fd;

        json_object_set_new(reply, "mode", json_string(mode_names[r->mode]));
        if (r->manifest && r->new_slots && (fd = layout_fd(r->manifest)) >= 0) {
                json_t *slots = json_array();

                json_object_set_new(reply, "layout_fd", json_integer(rpc_call_push_fd(c, fd)));
                json_object_set_new(reply, "data_bytes",
                                    json_integer((json_int_t)r->manifest->bytes));
                for (size_t k = 0; k < r->n_slots; k++)
                        json_array_append_new(
                                slots,
                                json_pack("{s:I, s:I}", "fd",
                                          (json_int_t)rpc_call_push_fd(c, dup(r->slots[k].fd)),
                                          "bytes", (json_int_t)r->slots[k].bytes));
                json_object_set_new(reply, "slots", slots);
                r->new_slots = false;
        }
        json_object_set_new(reply, "messages",
                            r->job->messages.text ? json_pack("[s]", r->job->messages.text)
                                                  : json_array());
}

void rank_answer_attach(struct rank *r)
{
        struct job *j = r->job;
        struct rpc_call *c = take_ptr(r->attach);
        const struct checkpoint *newest = history_newest_whole(&j->directory->history, NULL);
        json_t *reply;

        if (!c)
                return;
        reply = json_pack("{s:I, s:I}", "attach", (json_int_t)j->attach_id, "run",
                          (json_int_t)j->run);
        if (!r->offered && r->page && r->mode != MODE_COMMIT)
                json_object_set_new(reply, "page_fd",
                                    json_integer(rpc_call_push_fd(c, dup(r->page_fd))));
        r->offered = true; /* it has it from now on */
        put_layout(r, c, reply);
        if (newest)
                json_object_set_new(reply, "newest_step", json_integer(newest->step));
        rpc_reply(c, reply);
}

static void answer_describe(struct rank *r)
{
        struct rpc_call *c = take_ptr(r->describe);
        json_t *reply;

        if (!c)
                return;
        reply = json_object();
        put_layout(r, c, reply);
        rpc_reply(c, reply);
}

static void start_run(struct job *j)
{
        struct directory *d = j->directory;
        struct catalog_batch *b;
        bool none = !history_newest_whole(&d->history, NULL);

        j->run = j->reattached && d->last_run ? d->last_run : d->last_run + 1;
        d->last_run = j->run;
        j->schedule.saved_ms = clock_boot_ms();
        j->schedule.start_wanted = d->policy->save_on_start && (none || j->fresh) && !j->reattached;
        if (j->reattached)
                j->base = atomic_load(&j->ranks[0].page->rank.base);
        j->schedule.saved_step = j->base;
        for (size_t i = 0; j->reattached && i < d->history.n; i++)
                if (d->history.items[i]->run == j->run &&
                    d->history.items[i]->state == CHECKPOINT_WHOLE &&
                    d->history.items[i]->step > j->published) {
                        j->published = j->schedule.saved_step = d->history.items[i]->step;
                        free(j->published_name);
                        j->published_name = strdup(d->history.items[i]->name);
                }
        b = catalog_batch_new(j->manager->catalog);
        catalog_put_run(b, &(struct catalog_run){.directory = d->row.id,
                                                 .run = j->run,
                                                 .job = j->id,
                                                 .pid = job_pid(j),
                                                 .uid = j->uid,
                                                 .world_size = j->world_size,
                                                 .base = j->reattached ? j->base : -2,
                                                 .started_ms = j->started_ms = clock_unix_ms(),
                                                 .command = j->command});
        catalog_submit(j->manager->catalog, b, NULL, NULL);
        log_info("%s: %s attached%s, run %lld, %u rank%s, policy %s", d->row.path, j->id,
                 j->reattached ? " again" : "", (long long)j->run, j->world_size,
                 j->world_size == 1 ? "" : "s", d->policy->name);
}

static void rank_put_flags(struct rank *r)
{
        uint32_t skip = r->job->directory->policy->when_busy == WHEN_BUSY_SKIP
                                ? PAGE_FLAG_SKIP_WHEN_BUSY
                                : 0;

        atomic_store(&r->page->daemon.flags, skip | (r->job->broken ? PAGE_FLAG_OVER : 0));
}

void job_policy_changed(struct job *j)
{
        for (unsigned i = 0; i < j->world_size; i++)
                if (j->ranks[i].page)
                        rank_put_flags(&j->ranks[i]);
        if (j->state == JOB_READY && j->attempt.open && !j->attempt.save &&
            !j->attempt.settle.forced && j->attempt.why != SCHEDULE_ASKED)
                attempt_cancel(j); /* by the old schedule */
        job_consider(j);
}

/* Another manifest lies otherwise in the slots: what they hold means nothing now. */
static void vacate_all(struct rank *r)
{
        for (size_t k = 0; r->page && k < r->n_slots; k++)
                if (atomic_load_explicit(&r->page->slot[k].owner, memory_order_acquire) ==
                    PAGE_HELD)
                        atomic_store_explicit(&r->page->slot[k].owner, PAGE_VACANT,
                                              memory_order_release);
}

static void rank_ready_now(struct rank *r)
{
        if (r->next && r->manifest)
                vacate_all(r);
        if (r->next) {
                manifest_free(r->manifest);
                r->manifest = take_ptr(r->next);
        }
        r->parsed = r->mode == MODE_COMMIT;
        if (!r->page)
                return;
        r->page->head.n_slots = (uint32_t)r->n_slots;
        rank_put_flags(r);
}

static void ready(struct job *j)
{
        bool first = !j->run && !j->reader;

        for (unsigned i = 0; i < j->world_size; i++)
                rank_ready_now(&j->ranks[i]);
        if (first)
                start_run(j);
        else
                job_forget_snapshot(j);
        j->state = JOB_READY;
        if (!j->reader && !j->reattached)
                job_consider(
                        /* a save at the start is announced before any rank takes its first step */
                        j);
        for (unsigned i = 0; i < j->world_size; i++) {
                struct rank *r = &j->ranks[i];

                if (r->state == RANK_DEAD) {
                        job_break(j, "rank %u of %u (pid %d) is gone", i, j->world_size,
                                  (int)r->pid);
                        continue;
                }
                rank_answer_attach(r);
                answer_describe(r);
        }
        if (j->reader)
                return;
        if (first && j->reattached &&
            job_persist_offered(j, "kept by the job while ckptd was away"))
                return;
        if (first && j->reattached)
                job_resume(j);
        job_consider(j);
}
