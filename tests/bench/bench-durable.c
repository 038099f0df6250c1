/* durable, durable.small, cpu: from the hand-off to the published checkpoint, and what it costs the
 * daemon, against bare writers of the same bytes to the same file system. */
#include "bench-disk.h"
#include "bench-job.h"
#include "bench-memory.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define SMALL_BYTES 2048
#define SMALL_TENSORS 8
#define SMALL_ROUNDS 9 /* more than of the large ones: they are short */

struct durable {
        struct bench_daemon daemon;
        struct job_state state;
        struct bench_series seconds, cpu, sum_cpu;
        struct disk_series plain;
};

static void measure_save(struct durable *x, struct job *j, bool counts)
{
        double seconds, cpu;

        job_step(j);
        cpu = bench_daemon_cpu(&x->daemon);
        seconds = job_wait(j);
        bench_daemon_settle(&x->daemon);
        cpu = bench_daemon_cpu(&x->daemon) - cpu;
        if (!counts)
                return;
        bench_add(&x->seconds, seconds);
        bench_add(&x->cpu, cpu);
}

static void measure_limit(struct durable *x, const uint8_t *shared, const char *path)
{
        double cpu;

        disk_round_write(&x->plain, path, shared, x->state.bytes);
        cpu = bench_own_cpu();
        bench_sum(shared, x->state.bytes);
        bench_add(&x->sum_cpu, bench_own_cpu() - cpu);
}

static void measure(struct durable *x)
{
        _cleanup_(freep) char *path = bench_path(x->daemon.dir, "plain");
        uint8_t *shared = bench_shared(x->state.bytes);
        struct job j;

        memcpy(shared, x->state.memory, x->state.bytes);
        disk_try_write(&x->plain, path, shared, x->state.bytes);
        job_attach(&j, &x->daemon, &x->state, "durable");
        for (size_t i = 0; i < bench_rounds() + 1; i++) {
                measure_save(x, &j, i > 0);
                if (i > 0)
                        measure_limit(x, shared, path);
        }
        job_remove(&j);
        munmap(shared, x->state.bytes);
}

static void run_large(char **argv)
{
        struct durable *x = calloc(1, sizeof(*x));

        bench_daemon_init(&x->daemon, JOB_SETTINGS);
        job_state_init(&x->state, BENCH_GIB, JOB_TENSORS);
        measure(x);
        if (bench_wants(argv, "durable"))
                bench_report(&(struct bench_figure){.figure = "durable",
                                                    .unit = "ms",
                                                    .ours = bench_median(&x->seconds) * 1e3,
                                                    .limit = disk_best(x->plain.seconds) * 1e3,
                                                    .kind = BENCH_RATIO,
                                                    .aim = 1.05});
        if (bench_wants(argv, "cpu"))
                bench_report(&(struct bench_figure){
                        .figure = "cpu",
                        .unit = "ms",
                        .ours = bench_median(&x->cpu) * 1e3,
                        .limit = (disk_best(x->plain.cpu) + bench_median(&x->sum_cpu)) * 1e3,
                        .kind = BENCH_RATIO,
                        .aim = 1.2});
        job_state_done(&x->state);
        bench_daemon_done(&x->daemon);
        free(x);
}

/* What a careful program does with a small file. */
static double write_small(const char *dir, const void *p, size_t n)
{
        int dirfd = bench_check(open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), dir), fd;
        double start = bench_now();

        fd = bench_check(openat(dirfd, "small.tmp", O_WRONLY | O_CREAT | O_CLOEXEC, 0600), "open");
        if (write(fd, p, n) != (ssize_t)n)
                bench_fail("short write");
        bench_check(fsync(fd), "fsync");
        close(fd);
        bench_check(renameat(dirfd, "small.tmp", dirfd, "small"), "rename");
        bench_check(fsync(dirfd), "fsync of the directory");
        start = bench_now() - start;
        bench_check(unlinkat(dirfd, "small", 0), "unlink");
        close(dirfd);
        return start;
}

static void run_small(void)
{
        struct bench_series ours = {0}, limit = {0};
        struct bench_daemon d;
        struct job_state s;
        struct job j;

        bench_daemon_init(&d, JOB_SETTINGS);
        job_state_init(&s, SMALL_BYTES, SMALL_TENSORS);
        job_attach(&j, &d, &s, "job");
        for (size_t i = 0; i < SMALL_ROUNDS * BENCH_ROUNDS_MIN; i++) {
                job_step(&j);
                bench_add(&ours, job_wait(&j) * 1e3);
                bench_daemon_settle(&d);
                bench_add(&limit, write_small(d.dir, s.memory, s.bytes) * 1e3);
        }
        job_remove(&j);
        job_state_done(&s);
        bench_daemon_done(&d);
        bench_report(&(struct bench_figure){.figure = "durable.small",
                                            .unit = "ms",
                                            .ours = bench_median(&ours),
                                            .limit = bench_median(&limit),
                                            .kind = BENCH_RATIO,
                                            .aim = 4});
}

int main(int argc, char **argv)
{
        (void)argc;
        if (bench_wants(argv, "durable") || bench_wants(argv, "cpu"))
                run_large(argv);
        if (bench_wants(argv, "durable.small"))
                run_small();
        return 0;
}
