/* step, step.ranks: ckpt_step when nothing is due, in nanoseconds; of one rank, and of the slowest
 * of several ranks that step at the same time. */
#include "bench-job.h"
#include "bench.h"

#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define CALLS 20000000
#define STATE_BYTES 4096
#define STATE_TENSORS 4
#define RANKS_MAX 8

static double step_ns(struct job *j)
{
        double start = bench_now();

        for (int i = 0; i < CALLS; i++)
                if (ckpt_step(j->c, ++j->step) != 0)
                        bench_fail("a step is due");
        return (bench_now() - start) / CALLS * 1e9;
}

struct steps {
        const struct bench_daemon *daemon;
        const struct job_state *state;
        int world_size;
};

static double run_rank(const struct steps *x, int rank)
{
        struct bench_series ns = {0};
        struct ckpt_options o = {
                .policy = "quiet", .job = "bench", .rank = rank, .world_size = x->world_size};
        struct job j = {.daemon = x->daemon};

        job_attach_as(&j, x->state, x->world_size == 1 ? "one" : "several", &o);
        for (size_t i = 0; i < bench_rounds(); i++)
                bench_add(&ns, step_ns(&j));
        job_free(&j);
        return bench_median(&ns);
}

static _Noreturn void be_rank(const struct steps *x, int rank, int end)
{
        double ns;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        ns = run_rank(x, rank);
        _exit(write(end, &ns, sizeof(ns)) != sizeof(ns));
}

/* Each rank is a process; all attach together, and so they begin together. */
static double run_ranks(const struct steps *x)
{
        double slowest = 0, ns;
        int ends[2], status;

        bench_check(pipe(ends), "pipe");
        for (int rank = 0; rank < x->world_size; rank++)
                if (bench_check(fork(), "fork") == 0)
                        be_rank(x, rank, ends[1]);
        for (int rank = 0; rank < x->world_size; rank++) {
                if (wait(&status) < 0 || status)
                        bench_fail("a rank has failed");
                if (read(ends[0], &ns, sizeof(ns)) != sizeof(ns))
                        bench_fail("a rank has told nothing");
                if (ns > slowest)
                        slowest = ns;
        }
        close(ends[0]);
        close(ends[1]);
        return slowest;
}

/* One a processor: more would measure the scheduler. */
static int ranks(void)
{
        long n = sysconf(_SC_NPROCESSORS_ONLN);

        return n < 2 ? 2 : n > RANKS_MAX ? RANKS_MAX : (int)n;
}

static void report(const char *figure, double ns, double aim)
{
        bench_report(&(struct bench_figure){
                .figure = figure, .unit = "ns", .ours = ns, .kind = BENCH_BELOW, .aim = aim});
}

int main(int argc, char **argv)
{
        struct bench_daemon d;
        struct job_state s;

        (void)argc;
        bench_daemon_init(&d, JOB_SETTINGS);
        job_state_init(&s, STATE_BYTES, STATE_TENSORS);
        if (bench_wants(argv, "step"))
                report("step", run_rank(&(struct steps){&d, &s, 1}, 0), 5);
        if (bench_wants(argv, "step.ranks"))
                report("step.ranks", run_ranks(&(struct steps){&d, &s, ranks()}), 15);
        job_state_done(&s);
        bench_daemon_done(&d);
        return 0;
}
