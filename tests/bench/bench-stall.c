/* stall, stall.first, stall.overlap: the training time that a save takes away, against a streaming
 * copy of the same bytes from the same memory into warm shared memory. */
#include "bench-job.h"
#include "bench-memory.h"
#include "bench.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>

#define PHASE_COPIES 3 /* the computing phase is this much longer than a copy */
#define MATRIX 160     /* three of them fit into the second-level cache */

struct stall {
        struct bench_daemon daemon;
        struct job_state state;
        uint8_t *shared;
        bench_copy_fn copy;
};

static double copy_once(const struct stall *s)
{
        bench_quiet();
        return bench_time_copy(s->copy, s->shared, s->state.memory, s->state.bytes);
}

static void run_stall(struct stall *s)
{
        struct bench_series ours = {0}, limit = {0};
        struct job j;

        job_attach(&j, &s->daemon, &s->state, "stall");
        for (size_t i = 0; i < bench_rounds() + 1; i++) {
                double seconds = job_step(&j);

                job_wait(&j);
                bench_daemon_settle(&s->daemon);
                if (i == 0)
                        continue; /* the first has a figure of its own */
                bench_add(&ours, seconds * 1e3);
                bench_add(&limit, copy_once(s) * 1e3);
        }
        job_remove(&j);
        bench_report(&(struct bench_figure){.figure = "stall",
                                            .unit = "ms",
                                            .ours = bench_median(&ours),
                                            .limit = bench_median(&limit),
                                            .kind = BENCH_RATIO,
                                            .aim = 1.1});
}

static void run_first(struct stall *s)
{
        struct bench_series ours = {0}, limit = {0}, attach = {0};

        for (size_t i = 0; i < bench_rounds(); i++) {
                struct job j;
                char name[32];

                snprintf(name, sizeof(name), "first-%zu", i);
                bench_add(&attach, job_attach(&j, &s->daemon, &s->state, name) * 1e3);
                bench_daemon_settle(&s->daemon);
                bench_add(&ours, job_step(&j) * 1e3);
                job_wait(&j);
                job_remove(&j);
                bench_add(&limit, copy_once(s) * 1e3);
        }
        bench_report(&(struct bench_figure){.figure = "stall.first",
                                            .unit = "ms",
                                            .ours = bench_median(&ours),
                                            .limit = bench_median(&limit),
                                            .kind = BENCH_RATIO,
                                            .aim = 1.2,
                                            .also = "attach",
                                            .also_value = bench_median(&attach)});
}

/* Training between two steps: products of matrices, the tensors are read and not changed. */
struct phase {
        float a[MATRIX][MATRIX], b[MATRIX][MATRIX], c[MATRIX][MATRIX];
        size_t n;
};

static void multiply(struct phase *p)
{
        for (size_t i = 0; i < MATRIX; i++)
                for (size_t k = 0; k < MATRIX; k++)
                        for (size_t j = 0; j < MATRIX; j++)
                                p->c[i][j] += p->a[i][k] * p->b[k][j];
        __asm__ volatile("" : : "r"(p) : "memory");
}

static double compute(struct phase *p)
{
        double start = bench_now();

        for (size_t i = 0; i < p->n; i++)
                multiply(p);
        return bench_now() - start;
}

static struct phase *phase_new(double seconds)
{
        struct phase *p = (struct phase *)bench_private(sizeof(*p));

        p->n = 200;
        p->n = (size_t)((double)p->n * seconds / compute(p)) + 1;
        return p;
}

static double overlap_ours(struct stall *s, struct job *j, struct phase *p)
{
        double start;

        job_await_due(j);
        start = bench_now();
        job_check(j, ckpt_save_begin(j->c, j->step), "ckpt_save_begin");
        compute(p);
        job_check(j, ckpt_save_end(j->c), "ckpt_save_end");
        start = bench_now() - start;
        job_wait(j);
        bench_daemon_settle(&s->daemon);
        return start;
}

static void *copy_thread(void *user)
{
        struct stall *s = user;

        bench_time_copy(s->copy, s->shared, s->state.memory, s->state.bytes);
        return NULL;
}

static double overlap_bare(struct stall *s, struct phase *p)
{
        pthread_t thread;
        double start = bench_now();

        if (pthread_create(&thread, NULL, copy_thread, s))
                bench_fail("no thread");
        compute(p);
        pthread_join(thread, NULL);
        return bench_now() - start;
}

static void run_overlap(struct stall *s)
{
        struct bench_series ours = {0}, limit = {0}, alone = {0};
        struct phase *p = phase_new(copy_once(s) * PHASE_COPIES);
        struct job j;

        job_attach(&j, &s->daemon, &s->state, "overlap");
        overlap_ours(s, &j, p);
        for (size_t i = 0; i < bench_rounds(); i++) {
                bench_quiet();
                bench_add(&alone, compute(p) * 1e3);
                bench_add(&ours, overlap_ours(s, &j, p) * 1e3);
                bench_quiet();
                bench_add(&limit, overlap_bare(s, p) * 1e3);
        }
        job_remove(&j);
        munmap(p, sizeof(*p));
        bench_report(&(struct bench_figure){.figure = "stall.overlap",
                                            .unit = "ms",
                                            .ours = bench_median(&ours) - bench_median(&alone),
                                            .limit = bench_median(&limit) - bench_median(&alone),
                                            .kind = BENCH_ABOVE,
                                            .aim = 5});
}

int main(int argc, char **argv)
{
        struct stall s;

        (void)argc;
        bench_daemon_init(&s.daemon, JOB_SETTINGS);
        job_state_init(&s.state, BENCH_GIB, JOB_TENSORS);
        s.shared = bench_shared(s.state.bytes);
        s.copy = bench_best_copy(s.shared, s.state.memory, s.state.bytes);
        if (bench_wants(argv, "stall"))
                run_stall(&s);
        if (bench_wants(argv, "stall.first"))
                run_first(&s);
        if (bench_wants(argv, "stall.overlap"))
                run_overlap(&s);
        munmap(s.shared, s.state.bytes);
        job_state_done(&s.state);
        bench_daemon_done(&s.daemon);
        return 0;
}
