/* idle: processor time of the daemon while 100 jobs are attached and ask for nothing, in percent of
 * one. */
#include "bench-job.h"
#include "bench.h"

#include <stdio.h>

#define JOBS 100
#define STATE_BYTES 4096
#define STATE_TENSORS 4
#define WINDOW_S 3.0

int main(int argc, char **argv)
{
        struct bench_series percent = {0};
        struct job jobs[JOBS];
        struct bench_daemon d;
        struct job_state s;
        char name[32];

        (void)argc;
        (void)argv;
        bench_daemon_init(&d, JOB_SETTINGS);
        job_state_init(&s, STATE_BYTES, STATE_TENSORS);
        for (int i = 0; i < JOBS; i++) {
                snprintf(name, sizeof(name), "idle-%d", i);
                job_attach(&jobs[i], &d, &s, name);
        }
        bench_daemon_settle(&d);
        for (size_t i = 0; i < BENCH_ROUNDS_MIN; i++) {
                double cpu = bench_daemon_cpu(&d), start = bench_now();

                bench_sleep(WINDOW_S);
                bench_add(&percent, (bench_daemon_cpu(&d) - cpu) / (bench_now() - start) * 100);
        }
        for (int i = 0; i < JOBS; i++)
                job_free(&jobs[i]);
        bench_report(&(struct bench_figure){.figure = "idle",
                                            .unit = "%",
                                            .ours = bench_median(&percent),
                                            .kind = BENCH_BELOW,
                                            .aim = 0.1});
        job_state_done(&s);
        bench_daemon_done(&d);
        return 0;
}
