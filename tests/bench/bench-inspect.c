/* inspect, verify: ckptctl on a checkpoint of 1 GiB, from its start to its end; verify against a
 * bare O_DIRECT read of the data file. */
#include "bench-disk.h"
#include "bench-job.h"
#include "bench-memory.h"

#include <stdio.h>
#include <sys/mman.h>

#define INSPECTS 3 /* times the usual: it is short */

struct checkpoint_paths {
        char *ctl, *prefix, *data;
};

static void run_inspect(const struct checkpoint_paths *p)
{
        char *argv[] = {p->ctl, (char *)"inspect", p->prefix, NULL};
        struct bench_series ours = {0};

        bench_run(argv);
        for (size_t i = 0; i < bench_rounds() * INSPECTS; i++)
                bench_add(&ours, bench_run(argv) * 1e3);
        bench_report(&(struct bench_figure){.figure = "inspect",
                                            .unit = "ms",
                                            .ours = bench_median(&ours),
                                            .kind = BENCH_BELOW,
                                            .aim = 5});
}

static void run_verify(const struct checkpoint_paths *p)
{
        char *argv[] = {p->ctl, (char *)"verify", p->prefix, NULL};
        struct bench_series ours = {0};
        struct disk_series plain = {0};
        uint8_t *target = bench_private(BENCH_GIB);

        disk_try_read(&plain, p->data, target, BENCH_GIB);
        for (size_t i = 0; i < bench_rounds(); i++) {
                bench_add(&ours, bench_run(argv) * 1e3);
                disk_round_read(&plain, p->data, target, BENCH_GIB);
        }
        munmap(target, BENCH_GIB);
        bench_report(&(struct bench_figure){.figure = "verify",
                                            .unit = "ms",
                                            .ours = bench_median(&ours),
                                            .limit = disk_best(plain.seconds) * 1e3,
                                            .kind = BENCH_RATIO,
                                            .aim = 1.1});
}

int main(int argc, char **argv)
{
        struct checkpoint_paths p = {.ctl = bench_program("daemon/ctl/ckptctl")};
        struct bench_daemon d;
        struct job_state s;
        struct job j;

        (void)argc;
        bench_daemon_init(&d, JOB_SETTINGS);
        job_state_init(&s, BENCH_GIB, JOB_TENSORS);
        job_attach(&j, &d, &s, "inspect");
        job_step(&j);
        job_wait(&j);
        p.prefix = job_prefix(&j);
        if (asprintf(&p.data, "%s.data-00000-of-00001", p.prefix) < 0)
                bench_fail("out of memory");
        job_free(&j);
        bench_daemon_settle(&d);
        if (bench_wants(argv, "inspect"))
                run_inspect(&p);
        if (bench_wants(argv, "verify"))
                run_verify(&p);
        job_state_done(&s);
        bench_daemon_done(&d);
        free(p.ctl);
        free(p.prefix);
        free(p.data);
        return 0;
}
