#include "worker.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <cmocka.h>

#define N_TASKS 2000

/* What the owner's thread keeps; only `done` and the test touch it. */
struct results {
        unsigned n_done, sum;
        unsigned order[N_TASKS];
        pthread_t owner;
        struct worker_pool *pool;
};

struct job {
        struct task task; /* first */
        unsigned input, output;
        unsigned more; /* jobs that `done` submits */
        sem_t *gate, *started;
        struct results *results;
};

static atomic_uint n_wakes;
static sem_t woken;

static void wake(void *user)
{
        assert_ptr_equal(user, &woken);
        atomic_fetch_add(&n_wakes, 1);
        sem_post(&woken);
}

static void wait_for(sem_t *s)
{
        while (sem_wait(s) < 0)
                assert_int_equal(errno, EINTR);
}

static void job_run(struct task *t)
{
        struct job *j = (struct job *)t;

        if (j->started)
                sem_post(j->started);
        if (j->gate)
                wait_for(j->gate);
        j->output = j->input * 2;
}

static struct job *job_new(struct results *results, unsigned input);

static void job_done(struct task *t)
{
        struct job *j = (struct job *)t;
        struct results *r = j->results;

        assert_true(pthread_equal(pthread_self(), r->owner));
        r->order[r->n_done++] = j->input;
        r->sum += j->output;
        for (unsigned i = 0; i < j->more; i++)
                worker_pool_submit(r->pool, &job_new(r, 1000 + i)->task);
        free(j);
}

static struct job *job_new(struct results *results, unsigned input)
{
        struct job *j = calloc(1, sizeof(*j));

        assert_non_null(j);
        j->task.run = job_run;
        j->task.done = job_done;
        j->input = input;
        j->results = results;
        results->owner = pthread_self();
        return j;
}

static struct worker_pool *pool_new(unsigned n_threads)
{
        struct worker_pool *p = NULL;

        atomic_store(&n_wakes, 0);
        assert_int_equal(sem_init(&woken, 0, 0), 0);
        assert_int_equal(
                worker_pool_new(&p, &(struct worker_options){.name = "test-worker-name-too-long",
                                                             .n_threads = n_threads,
                                                             .wake = wake,
                                                             .user = &woken}),
                0);
        return p;
}

static void test_bad_options(void **state)
{
        struct worker_pool *p = NULL;

        (void)state;
        assert_int_equal(worker_pool_new(&p, &(struct worker_options){.name = "x"}), -EINVAL);
        assert_null(p);
        worker_pool_free(NULL);
}

static void test_idle_pool(void **state)
{
        _cleanup_(worker_pool_freep) struct worker_pool *p = pool_new(3);

        (void)state;
        assert_int_equal(worker_pool_reap(p), 0);
}

static void test_results_come_back_here(void **state)
{
        _cleanup_(worker_pool_freep) struct worker_pool *p = pool_new(4);
        struct results results = {0};
        unsigned reaped = 0;

        (void)state;
        for (unsigned i = 0; i < N_TASKS; i++)
                worker_pool_submit(p, &job_new(&results, i)->task);
        while (reaped < N_TASKS) {
                wait_for(&woken);
                reaped += worker_pool_reap(p);
        }
        assert_int_equal(results.n_done, N_TASKS);
        assert_int_equal(results.sum, N_TASKS * (N_TASKS - 1));
        assert_true(atomic_load(&n_wakes) <= N_TASKS);
}

static void test_one_thread_keeps_the_order(void **state)
{
        struct worker_pool *p = pool_new(1);
        struct results results = {0};

        (void)state;
        for (unsigned i = 0; i < 100; i++)
                worker_pool_submit(p, &job_new(&results, i)->task);
        worker_pool_free(p);
        assert_int_equal(results.n_done, 100);
        for (unsigned i = 0; i < 100; i++)
                assert_int_equal(results.order[i], i);
}

/* Nothing runs in `done`'s place before reap: the result waits. */
static void test_done_waits_for_reap(void **state)
{
        _cleanup_(worker_pool_freep) struct worker_pool *p = pool_new(2);
        struct results results = {0};

        (void)state;
        worker_pool_submit(p, &job_new(&results, 21)->task);
        wait_for(&woken);
        assert_int_equal(results.n_done, 0);
        assert_int_equal(worker_pool_reap(p), 1);
        assert_int_equal(results.sum, 42);
        assert_int_equal(worker_pool_reap(p), 0);
}

static void test_one_wake_until_reap(void **state)
{
        _cleanup_(worker_pool_freep) struct worker_pool *p = pool_new(1);
        struct results results = {0};
        struct job *last = job_new(&results, 3);
        sem_t gate, started;

        (void)state;
        sem_init(&gate, 0, 0);
        sem_init(&started, 0, 0);
        last->gate = &gate;
        last->started = &started;
        worker_pool_submit(p, &job_new(&results, 1)->task);
        worker_pool_submit(p, &job_new(&results, 2)->task);
        worker_pool_submit(p, &last->task);
        /* The only thread has taken the third, so two results wait. */
        wait_for(&started);
        assert_int_equal(atomic_load(&n_wakes), 1);
        assert_int_equal(worker_pool_reap(p), 2);
        sem_post(&gate);
        wait_for(&woken);
        wait_for(&woken);
        assert_int_equal(atomic_load(&n_wakes), 2);
        assert_int_equal(worker_pool_reap(p), 1);
        sem_destroy(&gate);
        sem_destroy(&started);
}

static void test_done_may_submit(void **state)
{
        struct worker_pool *p = pool_new(2);
        struct results results = {.pool = p};
        struct job *j = job_new(&results, 1);

        (void)state;
        j->more = 3;
        worker_pool_submit(p, &j->task);
        wait_for(&woken);
        assert_int_equal(worker_pool_reap(p), 1);
        worker_pool_free(p);
        assert_int_equal(results.n_done, 4);
}

static void test_free_runs_all(void **state)
{
        struct worker_pool *p = pool_new(2);
        struct results results = {.pool = p};

        (void)state;
        for (unsigned i = 0; i < 10; i++) {
                struct job *j = job_new(&results, i);

                j->more = 2;
                worker_pool_submit(p, &j->task);
        }
        worker_pool_free(p);
        assert_int_equal(results.n_done, 30);
}

/* What a worker thread sees of itself. */
struct look {
        struct task task; /* first */
        sigset_t blocked;
        int nice;
        char name[16];
        bool *seen;
};

static void look_run(struct task *t)
{
        struct look *l = (struct look *)t;

        pthread_sigmask(SIG_BLOCK, NULL, &l->blocked);
        l->nice = getpriority(PRIO_PROCESS, 0);
        pthread_getname_np(pthread_self(), l->name, sizeof(l->name));
}

static void look_done(struct task *t)
{
        struct look *l = (struct look *)t;
        const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGUSR1, SIGRTMAX};

        for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
                assert_true(sigismember(&l->blocked, signals[i]));
        assert_int_equal(l->nice, getpriority(PRIO_PROCESS, 0) + 1);
        assert_string_equal(l->name, "fifteen-bytes-x");
        *l->seen = true;
}

static void test_threads_are_quiet_and_nice(void **state)
{
        struct worker_options o = {.name = "fifteen-bytes-xyz", .n_threads = 1, .nice = 1};
        struct worker_pool *p = NULL;
        bool seen = false;
        struct look l = {.task = {.run = look_run, .done = look_done}, .seen = &seen};
        sigset_t before, after;

        (void)state;
        pthread_sigmask(SIG_BLOCK, NULL, &before);
        assert_int_equal(worker_pool_new(&p, &o), 0);
        pthread_sigmask(SIG_BLOCK, NULL, &after);
        assert_int_equal(sigismember(&before, SIGTERM), sigismember(&after, SIGTERM));
        worker_pool_submit(p, &l.task);
        worker_pool_free(p);
        assert_true(seen);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_bad_options),
                cmocka_unit_test(test_idle_pool),
                cmocka_unit_test(test_results_come_back_here),
                cmocka_unit_test(test_one_thread_keeps_the_order),
                cmocka_unit_test(test_done_waits_for_reap),
                cmocka_unit_test(test_one_wake_until_reap),
                cmocka_unit_test(test_done_may_submit),
                cmocka_unit_test(test_free_runs_all),
                cmocka_unit_test(test_threads_are_quiet_and_nice),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
