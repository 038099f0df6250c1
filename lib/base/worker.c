#include "worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/resource.h>

#define THREAD_NAME_MAX 16 /* bytes, NUL included: the kernel's limit */

struct task_queue {
        struct task *first, **end;
};

struct worker_pool {
        pthread_mutex_t lock; /* of queued, finished and stopping */
        pthread_cond_t work;
        struct task_queue queued, finished;
        bool stopping;
        char name[THREAD_NAME_MAX];
        int nice;
        void (*wake)(void *user);
        void *user;
        unsigned n_threads; /* started */
        pthread_t threads[];
};

static void queue_init(struct task_queue *q)
{
        q->first = NULL;
        q->end = &q->first;
}

static void queue_push(struct task_queue *q, struct task *t)
{
        t->next = NULL;
        *q->end = t;
        q->end = &t->next;
}

static struct task *queue_pop(struct task_queue *q)
{
        struct task *t = q->first;

        if (!t)
                return NULL;
        q->first = t->next;
        if (!q->first)
                q->end = &q->first;
        return t;
}

/* The next task to run; NULL: the pool stops and nothing is queued. */
static struct task *next_task(struct worker_pool *p)
{
        struct task *t;

        pthread_mutex_lock(&p->lock);
        while (!p->queued.first && !p->stopping)
                pthread_cond_wait(&p->work, &p->lock);
        t = queue_pop(&p->queued);
        pthread_mutex_unlock(&p->lock);
        return t;
}

/* One wake-up stands for all results until the next reap. */
static void put_finished(struct worker_pool *p, struct task *t)
{
        bool was_empty;

        pthread_mutex_lock(&p->lock);
        was_empty = !p->finished.first;
        queue_push(&p->finished, t);
        pthread_mutex_unlock(&p->lock);
        if (was_empty && p->wake)
                p->wake(p->user);
}

static void *thread_main(void *data)
{
        struct worker_pool *p = data;
        struct task *t;

        pthread_setname_np(pthread_self(), p->name);
        /* On Linux 0 is the calling thread; a refusal only costs politeness. */
        if (p->nice != 0)
                setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + p->nice);
        while ((t = next_task(p))) {
                t->run(t);
                put_finished(p, t);
        }
        return NULL;
}

/* The threads inherit the full mask, so that no signal ever finds one of them open. */
static int start_threads(struct worker_pool *p, unsigned n)
{
        sigset_t all, old;
        int r = 0;

        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        for (; r == 0 && p->n_threads < n; p->n_threads += r == 0)
                r = -pthread_create(&p->threads[p->n_threads], NULL, thread_main, p);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        return r;
}

int worker_pool_new(struct worker_pool **ret, const struct worker_options *o)
{
        _cleanup_(worker_pool_freep) struct worker_pool *p = NULL;
        int r;

        if (o->n_threads == 0)
                return -EINVAL;
        p = calloc(1, sizeof(*p) + o->n_threads * sizeof(p->threads[0]));
        if (!p)
                return -ENOMEM;
        pthread_mutex_init(&p->lock, NULL);
        pthread_cond_init(&p->work, NULL);
        queue_init(&p->queued);
        queue_init(&p->finished);
        snprintf(p->name, sizeof(p->name), "%s", o->name ? o->name : "worker");
        p->nice = o->nice;
        p->wake = o->wake;
        p->user = o->user;
        r = start_threads(p, o->n_threads);
        if (r < 0)
                return r;
        *ret = take_ptr(p);
        return 0;
}

static void stop_threads(struct worker_pool *p)
{
        pthread_mutex_lock(&p->lock);
        p->stopping = true;
        pthread_cond_broadcast(&p->work);
        pthread_mutex_unlock(&p->lock);
        for (unsigned i = 0; i < p->n_threads; i++)
                pthread_join(p->threads[i], NULL);
}

void worker_pool_free(struct worker_pool *p)
{
        struct task *t;

        if (!p)
                return;
        stop_threads(p);
        worker_pool_reap(p);
        /* What `done` submitted after the threads had gone. */
        while ((t = queue_pop(&p->queued))) {
                t->run(t);
                t->done(t);
        }
        pthread_cond_destroy(&p->work);
        pthread_mutex_destroy(&p->lock);
        free(p);
}

void worker_pool_submit(struct worker_pool *p, struct task *t)
{
        pthread_mutex_lock(&p->lock);
        queue_push(&p->queued, t);
        pthread_cond_signal(&p->work);
        pthread_mutex_unlock(&p->lock);
}

unsigned worker_pool_reap(struct worker_pool *p)
{
        struct task *t, *next;
        unsigned n = 0;

        pthread_mutex_lock(&p->lock);
        t = p->finished.first;
        queue_init(&p->finished);
        pthread_mutex_unlock(&p->lock);
        for (; t; t = next, n++) {
                next = t->next;
                t->done(t);
        }
        return n;
}
