#include "job.h"
#include "leftover.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

struct rank *rank_of(struct rpc_call *c)
{
        return rpc_session_get(rpc_call_session(c));
}

struct rank *rank_ready(struct rpc_call *c)
{
        struct rank *r = rank_of(c);

        if (!r || !r->job) {
                answer_text(c, "io.ckptd.Jobs.WrongState", "attach first");
                return NULL;
        }
        if (r->job->manager->stopping) {
                rpc_drop(c); /* the next daemon is asked again */
                return NULL;
        }
        if (r->job->state != JOB_READY || r->job->broken) {
                answer_text(c, "io.ckptd.Jobs.WrongState",
                            r->job->why_broken ? r->job->why_broken : "the job is not complete");
                return NULL;
        }
        return r;
}

void rank_slots_done(struct rank *r)
{
        for (size_t k = 0; k < r->n_slots; k++)
                store_slot_done(&r->slots[k]);
        r->job->manager->memory_used -= r->n_slots * r->slot_bytes;
        r->n_slots = 0;
}

static void life_closed(uv_handle_t *h)
{
        free(h);
}

static void rank_life_stop(struct rank *r)
{
        if (r->life) {
                uv_poll_stop(r->life);
                uv_close((uv_handle_t *)take_ptr(r->life), life_closed);
        }
        if (r->pidfd >= 0)
                close(take_fd(&r->pidfd));
}

static void fail_pending(struct rank *r, const char *text)
{
        struct rpc_call **calls[] = {&r->attach, &r->describe, &r->finish, &r->restore, &r->piece};

        /* Who asks a daemon that stops asks the next one again. */
        for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
                if (*calls[i] && r->job->manager->stopping)
                        rpc_drop(take_ptr(*calls[i]));
                else if (*calls[i])
                        answer_text(take_ptr(*calls[i]), "io.ckptd.Jobs.WrongState", text);
}

void rank_close(struct rank *r)
{
        r->parse++;
        rank_lease_end(r);
        fail_pending(r, "the job has ended");
        if (r->session) {
                rpc_session_set(r->session, NULL, NULL);
                rpc_session_drop(take_ptr(r->session));
        }
        rank_life_stop(r);
        rank_slots_done(r);
        free(take_ptr(r->layout));
        if (r->page)
                munmap(take_ptr(r->page), PAGE_BYTES);
        if (r->page_fd >= 0)
                close(take_fd(&r->page_fd));
        manifest_free(take_ptr(r->manifest));
        manifest_free(take_ptr(r->next));
        if (r->restore_what)
                free((char *)r->restore_what->path);
        free(take_ptr(r->restore_what));
        r->state = RANK_EMPTY;
}

static void timer_closed(uv_handle_t *h)
{
        free(h);
}

static int job_timer_new(struct job *j)
{
        j->timer = calloc(1, sizeof(*j->timer));
        if (!j->timer)
                return -ENOMEM;
        uv_timer_init(j->manager->loop, j->timer);
        j->timer->data = j;
        return 0;
}

int job_new(struct job **ret, struct directory *d, unsigned world_size)
{
        struct job *j = calloc(1, sizeof(*j));

        if (!j)
                return -ENOMEM;
        j->manager = d->manager;
        j->directory = d;
        j->reader = !world_size;
        j->world_size = world_size = world_size ? world_size : 1;
        j->published = j->base = -1;
        j->published_life = PAGE_NO_LIFE;
        j->rate_step = -1;
        j->schedule.saved_step = -1;
        j->attempt.settle.asked = PAGE_NEVER;
        TAILQ_INIT(&j->waiters);
        j->ranks = calloc(world_size, sizeof(*j->ranks));
        if (!j->ranks || job_timer_new(j) < 0) {
                free(j->ranks);
                free(j);
                return -ENOMEM;
        }
        for (unsigned i = 0; i < world_size; i++) {
                j->ranks[i].job = j;
                j->ranks[i].index = i;
                j->ranks[i].pidfd = j->ranks[i].page_fd = -1;
        }
        if (j->reader) {
                LIST_INSERT_HEAD(&d->readers, j, link);
                d->n_readers++;
        } else {
                d->job = j;
        }
        *ret = j;
        return 0;
}

static void record_end(struct job *j)
{
        struct catalog_batch *b = catalog_batch_new(j->manager->catalog);
        struct catalog_run run = {.directory = j->directory->row.id,
                                  .run = j->run,
                                  .job = j->id,
                                  .pid = job_pid(j),
                                  .started_ms = j->started_ms,
                                  .uid = j->uid,
                                  .world_size = j->world_size,
                                  .base = j->base,
                                  .ended_ms = clock_unix_ms(),
                                  .command = j->command,
                                  .end_reason = j->detached            ? "detached"
                                                : j->manager->stopping ? "ckptd stopped"
                                                : j->why_broken        ? j->why_broken
                                                                       : "gone"};

        catalog_put_run(b, &run);
        catalog_submit(j->manager->catalog, b, NULL, NULL);
        log_info("%s: %s: %s", j->directory->row.path, j->id, run.end_reason);
}

static void job_free(struct job *j)
{
        struct directory *d = j->directory;
        bool reader = j->reader;

        if (j->run)
                record_end(j);
        if (d->naming && !reader &&
            j->published_name) { /* published, if not yet named in the state file */
                d->naming = false;
                job_answer_waiters(j, j->published, j->published_name, NULL);
        }
        job_answer_waiters(j, -1, NULL, "the job has ended");
        if (!j->manager->stopping && !reader && j->state == JOB_ENDING) {
                leftover_free(d->leftover);
                d->leftover = leftover_new(j);
        }
        job_forget_snapshot(j);
        for (unsigned i = 0; i < j->world_size; i++)
                rank_close(&j->ranks[i]);
        uv_close((uv_handle_t *)j->timer, timer_closed);
        free(j->ranks);
        free(j->id);
        free(j->command);
        free(j->wish_policy);
        for (size_t i = 0; i < j->n_values; i++) {
                free(j->value_keys[i]);
                free(j->value_texts[i]);
        }
        free(j->why_broken);
        free(j->asked_by);
        free(j->published_name);
        free(j->last_error);
        free(j->settle_ranks);
        free(j->agreed);
        free(j->failed_slots);
        diag_done(&j->messages);
        if (reader)
                LIST_REMOVE(j, link);
        free(j);
        if (reader)
                d->n_readers--;
        else
                d->job = NULL;
        job_next_waiting(d);
        directory_rest(d);
}

/* Ranks that still could come back, or are here. */
static bool job_has_life(const struct job *j)
{
        for (unsigned i = 0; i < j->world_size; i++)
                if (j->ranks[i].state == RANK_HERE || j->ranks[i].state == RANK_AWAY)
                        return true;
        return false;
}

void job_maybe_end(struct job *j)
{
        if (job_has_life(j) && !j->manager->stopping)
                return;
        if (j->state == JOB_READY) {
                uv_timer_stop(j->timer);
                j->state = JOB_ENDING;
                if (j->attempt.open && !j->attempt.save)
                        attempt_cancel(j);
        }
        if (j->n_busy)
                return;
        if (j->state == JOB_ENDING && !j->end_tried && !j->reader) {
                j->end_tried = true;
                if (job_persist_offered(j, "the last snapshot of a job that ended"))
                        return; /* its end comes back here */
        }
        job_free(j);
}

void job_hold(struct job *j)
{
        j->n_busy++;
}

void job_release(struct job *j)
{
        j->n_busy--;
        job_maybe_end(j);
}

void job_break(struct job *j, const char *format, ...)
{
        va_list ap;

        if (j->broken)
                return;
        j->broken = true;
        va_start(ap, format);
        if (vasprintf(&j->why_broken, format, ap) < 0)
                j->why_broken = NULL;
        va_end(ap);
        log_info("%s: %s: %s", j->directory->row.path, j->id, j->why_broken ? j->why_broken : "");
        if (j->state == JOB_READY && j->attempt.open && !j->attempt.save)
                job_look(j); /* it may have been the last one to answer */
        if (j->state == JOB_READY && j->attempt.open && !j->attempt.save)
                attempt_fail(j, -1, "%s", j->why_broken ? j->why_broken : "a rank is gone");
        for (unsigned i = 0; i < j->world_size; i++)
                if (j->ranks[i].page)
                        atomic_fetch_or(&j->ranks[i].page->daemon.flags, PAGE_FLAG_OVER);
        for (unsigned i = 0; i < j->world_size; i++)
                if (j->ranks[i].state == RANK_HERE)
                        fail_pending(&j->ranks[i],
                                     j->why_broken ? j->why_broken : "a rank is gone");
}

static void rank_gone(struct rank *r, bool dead)
{
        struct job *j = r->job;

        r->state = dead ? RANK_DEAD : RANK_AWAY;
        restoring_rank_gone(r);
        rank_lease_end(r);
        if (dead && j->world_size > 1 && j->state == JOB_READY && !j->detached && job_has_life(j))
                job_break(j, "rank %u of %u (pid %d) is gone", r->index, j->world_size,
                          (int)r->pid);
        if (dead && j->state == JOB_GATHERING)
                rank_close(r);
        if (dead)
                job_maybe_end(j);
}

static void session_closed(void *data)
{
        struct rank *r = data;

        r->session = NULL;
        fail_pending(r, "the connection is gone"); /* goes nowhere, but ends the calls */
        if (r->state == RANK_HERE)
                rank_gone(r, r->pidfd < 0 || r->job->state == JOB_GATHERING ||
                                     (r->job->detached && r->job->world_size == 1));
}

static void life_ended(uv_poll_t *h, int status, int events)
{
        struct rank *r = h->data;

        (void)status;
        (void)events;
        uv_poll_stop(h);
        if (r->state == RANK_HERE || r->state == RANK_AWAY) {
                if (r->session) {
                        rpc_session_set(r->session, NULL, NULL);
                        rpc_session_drop(take_ptr(r->session));
                        fail_pending(r, "the process has ended");
                }
                rank_gone(r, true);
        }
}

int rank_watch_life(struct rank *r)
{
        if (r->pidfd < 0)
                return 0;
        r->life = calloc(1, sizeof(*r->life));
        if (!r->life)
                return -ENOMEM;
        if (uv_poll_init(r->job->manager->loop, r->life, r->pidfd) < 0) {
                free(take_ptr(r->life));
                close(take_fd(&r->pidfd));
                return 0; /* the connection alone tells */
        }
        r->life->data = r;
        uv_poll_start(r->life, UV_READABLE, life_ended);
        return 0;
}

void rank_bind(struct rank *r, struct rpc_call *c)
{
        r->session = rpc_call_session(c);
        r->state = RANK_HERE;
        rpc_session_set(r->session, r, session_closed);
}

int64_t job_step(const struct job *j)
{
        int64_t step = -1, s;

        for (unsigned i = 0; i < j->world_size; i++)
                if (j->ranks[i].page && (s = atomic_load(&j->ranks[i].page->now.step)) > step)
                        step = s;
        return step > j->base ? step : j->base;
}

bool job_finishing(const struct job *j)
{
        for (unsigned i = 0; i < j->world_size; i++)
                if (!j->ranks[i].finish)
                        return false;
        return true;
}

bool job_complete(const struct job *j)
{
        for (unsigned i = 0; i < j->world_size; i++)
                if (j->ranks[i].state != RANK_HERE)
                        return false;
        return true;
}

pid_t job_pid(const struct job *j)
{
        for (unsigned i = 0; i < j->world_size; i++)
                if (j->ranks[i].state != RANK_EMPTY)
                        return j->ranks[i].pid;
        return 0;
}

void job_publish_words(struct job *j, int64_t save_at)
{
        for (unsigned i = 0; i < j->world_size; i++)
                if (j->ranks[i].page)
                        atomic_store_explicit(&j->ranks[i].page->daemon.save_at, save_at,
                                              memory_order_release);
}

/* It detaches while there is still something to save, by itself or by another rank. */
static bool leaves_early(const struct rank *r)
{
        const struct job *j = r->job;

        for (unsigned i = 0; i < j->world_size; i++)
                if (j->ranks[i].page && j->ranks[i].mode != MODE_COMMIT &&
                    atomic_load(&j->ranks[i].page->rank.end) == PAGE_NEVER)
                        return j->world_size > 1 && j->state == JOB_READY;
        return false;
}

void manager_detach(struct manager *m, struct rpc_call *c)
{
        struct rank *r = rank_of(c);

        (void)m;
        if (!r || !r->job) {
                answer_text(c, "io.ckptd.Jobs.WrongState", "attach first");
                return;
        }
        rpc_reply(c, NULL);
        rpc_session_set(r->session, NULL, NULL);
        r->session = NULL;
        if (leaves_early(r))
                job_break(r->job, "rank %u of %u (pid %d) has left", r->index, r->job->world_size,
                          (int)r->pid);
        r->job->detached = true;
        rank_gone(r, true);
}
