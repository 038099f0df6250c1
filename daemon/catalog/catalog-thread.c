#include "catalog-thread.h"

#include "catalog-files.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static void queue_init(struct request_queue *q)
{
        *q = (struct request_queue){.end = &q->first};
}

static void queue_push(struct request_queue *q, struct catalog_request *r)
{
        r->next = NULL;
        *q->end = r;
        q->end = &r->next;
        q->n++;
}

static void queue_push_first(struct request_queue *q, struct catalog_request *r)
{
        r->next = q->first;
        if (!q->first)
                q->end = &r->next;
        q->first = r;
        q->n++;
}

static struct catalog_request *queue_take(struct request_queue *q, struct catalog_request **at)
{
        struct catalog_request *r = *at;

        *at = r->next;
        if (!r->next)
                q->end = at;
        r->next = NULL;
        q->n--;
        return r;
}

void catalog_request_free(struct catalog_request *r)
{
        if (!r)
                return;
        catalog_batch_done(&r->batch);
        catalog_answer_done(&r->answer);
        diag_done(&r->diag);
        free(r->event);
        free(r);
}

/* A full disk: SQLite gets the reserve's space and tries again at once. */
static int write_batch(struct catalog_thread *t, struct catalog_request *q)
{
        int r = q->batch.r < 0 ? q->batch.r : catalog_batch_write(&q->batch, &t->db, &q->diag);

        if ((r == -ENOSPC || r == -EIO) && t->has_reserve) {
                t->has_reserve = false;
                if (catalog_files_give_up_reserve(t->path))
                        r = catalog_batch_write(&q->batch, &t->db, &q->diag);
        } else if (r == 0 && !t->has_reserve)
                t->has_reserve = catalog_files_reserve(t->path) == 0;
        return r;
}

static int run_request(struct catalog_thread *t, struct catalog_request *q)
{
        switch (q->kind) {
        case REQUEST_DIRECTORY:
                return catalog_read_directory(&t->db, q->query.directory, &q->answer, &q->diag);
        case REQUEST_EVENTS:
                return catalog_read_events(&t->db, &q->query, &q->answer, &q->diag);
        case REQUEST_START:
                return catalog_read_start(&t->db, q->start, &q->diag);
        case REQUEST_WRITE:
                break;
        }
        return write_batch(t, q);
}

/* why NULL: batches are written again.  Locked. */
static void set_problem(struct catalog_thread *t, struct diag *why)
{
        _cleanup_(freep) char *text = NULL;

        if (why &&
            asprintf(&text, "%s cannot be written: %s", t->path, diag_text(why, -ENOMEM)) < 0)
                text = NULL;
        if (!text && !t->problem)
                return;
        if (text && t->problem && strcmp(text, t->problem) == 0)
                return;
        free(t->problem);
        t->problem = take_ptr(text);
        t->problem_changed = true;
}

static void set_retry_time(struct timespec *ret)
{
        clock_gettime(CLOCK_MONOTONIC, ret);
        ret->tv_sec += CATALOG_RETRY_MS / 1000;
        ret->tv_nsec += CATALOG_RETRY_MS % 1000 * 1000000L;
        if (ret->tv_nsec >= 1000000000L) {
                ret->tv_sec++;
                ret->tv_nsec -= 1000000000L;
        }
}

/* Is it answered, or does it go back to its place in the queue?  Locked. */
static bool settle_write(struct catalog_thread *t, struct catalog_request *q)
{
        bool may_wait = q->r < 0 && q->batch.r == 0 && catalog_db_may_retry(q->r);

        if (q->r == 0)
                set_problem(t, NULL);
        else if (!may_wait || !t->is_closing)
                set_problem(t, &q->diag); /* until something else is written */
        if (!may_wait)
                return true;
        if (t->is_closing) {
                t->given_up = q->r;
                return true;
        }
        t->is_blocked = true;
        set_retry_time(&t->retry_at);
        queue_push_first(&t->queued, q);
        return false;
}

/* Whether the loop has to be woken.  Locked. */
static bool settle(struct catalog_thread *t, struct catalog_request *q)
{
        bool was_idle = !t->answered.first && !t->problem_changed;

        if (q->kind == REQUEST_START) {
                q->is_answered = true;
                pthread_cond_broadcast(&t->loaded);
        } else if (q->kind != REQUEST_WRITE || settle_write(t, q))
                queue_push(&t->answered, q);
        return was_idle && (t->answered.first || t->problem_changed);
}

/* What can be done now: the first in order, but past a batch that has to wait only questions.
 * Locked. */
static struct catalog_request *next_request(struct catalog_thread *t)
{
        struct catalog_request **at = &t->queued.first;

        while (t->is_blocked && *at && (*at)->kind == REQUEST_WRITE)
                at = &(*at)->next;
        return *at ? queue_take(&t->queued, at) : NULL;
}

static void wait_for_work(struct catalog_thread *t)
{
        if (!t->is_blocked)
                pthread_cond_wait(&t->work, &t->lock);
        else if (pthread_cond_timedwait(&t->work, &t->lock, &t->retry_at) == ETIMEDOUT)
                t->is_blocked = false;
}

/* One request, outside the lock. */
static void work_on(struct catalog_thread *t, struct catalog_request *q)
{
        bool wakes;

        q->r = q->kind == REQUEST_WRITE ? t->given_up : 0;
        pthread_mutex_unlock(&t->lock);
        if (q->r == 0)
                q->r = run_request(t, q);
        pthread_mutex_lock(&t->lock);
        wakes = settle(t, q);
        pthread_mutex_unlock(&t->lock);
        if (wakes && t->wake)
                t->wake(t->user);
        pthread_mutex_lock(&t->lock);
}

static void *thread_main(void *data)
{
        struct catalog_thread *t = data;
        struct catalog_request *q;

        pthread_mutex_lock(&t->lock);
        for (;;) {
                q = next_request(t);
                if (!q && t->is_closing && !t->queued.first)
                        break;
                if (q)
                        work_on(t, q);
                else
                        wait_for_work(t);
        }
        pthread_mutex_unlock(&t->lock);
        return NULL;
}

int catalog_thread_init(struct catalog_thread *t, const struct catalog_options *o)
{
        pthread_condattr_t monotonic;

        *t = (struct catalog_thread){.wake = o->wake, .user = o->user};
        queue_init(&t->queued);
        queue_init(&t->answered);
        pthread_mutex_init(&t->lock, NULL);
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&t->work, &monotonic);
        pthread_cond_init(&t->loaded, NULL);
        pthread_condattr_destroy(&monotonic);
        t->path = strdup(o->path);
        return t->path ? 0 : -ENOMEM;
}

void catalog_thread_done(struct catalog_thread *t)
{
        catalog_db_done(&t->db);
        pthread_mutex_destroy(&t->lock);
        pthread_cond_destroy(&t->work);
        pthread_cond_destroy(&t->loaded);
        free(t->problem);
        free(t->path);
}

int catalog_thread_start(struct catalog_thread *t)
{
        sigset_t all, old;
        int r;

        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        r = -pthread_create(&t->thread, NULL, thread_main, t);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        if (r == 0)
                pthread_setname_np(t->thread, "catalog");
        return r;
}

void catalog_thread_stop(struct catalog_thread *t)
{
        pthread_mutex_lock(&t->lock);
        t->is_closing = true;
        t->is_blocked = false;
        pthread_cond_signal(&t->work);
        pthread_mutex_unlock(&t->lock);
        pthread_join(t->thread, NULL);
}

bool catalog_thread_finish(struct catalog_thread *t)
{
        bool has_more = t->queued.first;

        if (has_more)
                thread_main(t);
        return has_more;
}

void catalog_thread_submit(struct catalog_thread *t, struct catalog_request *q)
{
        bool is_refused;

        pthread_mutex_lock(&t->lock);
        is_refused = q->kind == REQUEST_WRITE && t->queued.n >= CATALOG_QUEUE_MAX;
        q->r = is_refused ? -ENOBUFS : 0;
        queue_push(is_refused ? &t->answered : &t->queued, q);
        if (!is_refused)
                t->is_blocked = false;
        pthread_cond_signal(&t->work);
        pthread_mutex_unlock(&t->lock);
        if (is_refused && t->wake)
                t->wake(t->user);
}

int catalog_thread_ask(struct catalog_thread *t, struct catalog_request *q)
{
        catalog_thread_submit(t, q);
        pthread_mutex_lock(&t->lock);
        while (!q->is_answered)
                pthread_cond_wait(&t->loaded, &t->lock);
        pthread_mutex_unlock(&t->lock);
        return q->r;
}

struct catalog_request *catalog_thread_take(struct catalog_thread *t, char **problem)
{
        struct catalog_request *first;

        pthread_mutex_lock(&t->lock);
        first = t->answered.first;
        queue_init(&t->answered);
        if (t->problem_changed) {
                free(*problem);
                *problem = t->problem ? strdup(t->problem) : NULL;
                t->problem_changed = false;
        }
        pthread_mutex_unlock(&t->lock);
        return first;
}
