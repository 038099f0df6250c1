/* attach, attach.gap: a rank with 20,000 tensors attaches to a new directory; meanwhile another
 * connection asks GetInfo every millisecond, and its longest wait for an answer is how long the
 * daemon's loop was blocked. */
#include "bench-job.h"
#include "bench-rpc.h"
#include "bench.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#define TENSORS 20000
#define TENSOR_BYTES 64
#define PING_S 1e-3

struct pinger {
        const struct bench_daemon *daemon;
        pthread_t thread;
        atomic_bool stop;
        double longest;
};

static void *ping(void *user)
{
        struct pinger *p = user;
        int fd = bench_daemon_connect(p->daemon);

        while (!atomic_load(&p->stop)) {
                double start = bench_now(), seconds;

                rpc_call(fd, RPC_GET_INFO, sizeof(RPC_GET_INFO));
                seconds = bench_now() - start;
                if (seconds > p->longest)
                        p->longest = seconds;
                bench_sleep(PING_S);
        }
        close(fd);
        return NULL;
}

static void ping_start(struct pinger *p)
{
        if (pthread_create(&p->thread, NULL, ping, p))
                bench_fail("no thread");
        bench_sleep(20 * PING_S);
}

static double ping_stop(struct pinger *p)
{
        atomic_store(&p->stop, true);
        pthread_join(p->thread, NULL);
        return p->longest;
}

int main(int argc, char **argv)
{
        struct bench_series ours = {0}, gaps = {0};
        struct bench_daemon d;
        struct job_state s;

        (void)argc;
        bench_daemon_init(&d, JOB_SETTINGS);
        job_state_init(&s, (uint64_t)TENSORS * TENSOR_BYTES, TENSORS);
        for (size_t i = 0; i < bench_rounds(); i++) {
                struct pinger p = {.daemon = &d};
                struct job j;
                char name[32];

                snprintf(name, sizeof(name), "attach-%zu", i);
                ping_start(&p);
                bench_add(&ours, job_attach(&j, &d, &s, name) * 1e3);
                bench_add(&gaps, ping_stop(&p) * 1e3);
                job_remove(&j);
        }
        if (bench_wants(argv, "attach"))
                bench_report(&(struct bench_figure){.figure = "attach",
                                                    .unit = "ms",
                                                    .ours = bench_median(&ours),
                                                    .kind = BENCH_BELOW,
                                                    .aim = 200});
        if (bench_wants(argv, "attach.gap"))
                bench_report(&(struct bench_figure){.figure = "attach.gap",
                                                    .unit = "ms",
                                                    .ours = bench_max(&gaps),
                                                    .kind = BENCH_BELOW,
                                                    .aim = 10});
        job_state_done(&s);
        bench_daemon_done(&d);
        return 0;
}
