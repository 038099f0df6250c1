/* rpc, rpc.pipelined: GetInfo of the daemon, against the same bytes bounced by a bare poll loop. */
#include "bench-rpc.h"

#include "bench-daemon.h"
#include "bench-job.h"
#include "bench.h"

#include <string.h>
#include <sys/wait.h>

#define CALLS 5000
#define ROUNDS 3 /* times the usual: they are short */

static double one_by_one(int fd)
{
        double start = bench_now();

        for (int i = 0; i < CALLS; i++)
                rpc_call(fd, RPC_GET_INFO, sizeof(RPC_GET_INFO));
        return (bench_now() - start) / CALLS * 1e6;
}

static double pipelined(int fd)
{
        double start = bench_now();

        rpc_pipeline(fd, RPC_GET_INFO, sizeof(RPC_GET_INFO), CALLS);
        return (bench_now() - start) / CALLS * 1e6;
}

static void run(const char *figure, double (*measure)(int fd), int daemon, int bare)
{
        struct bench_series ours = {0}, limit = {0};

        measure(daemon);
        measure(bare);
        for (size_t i = 0; i < bench_rounds() * ROUNDS; i++) {
                bench_quiet();
                bench_add(&ours, measure(daemon));
                bench_add(&limit, measure(bare));
        }
        bench_report(&(struct bench_figure){.figure = figure,
                                            .unit = "us",
                                            .ours = bench_median(&ours),
                                            .limit = bench_median(&limit),
                                            .kind = BENCH_RATIO,
                                            .aim = 1.5});
}

int main(int argc, char **argv)
{
        struct bench_daemon d;
        char answer[65536] = {0};
        size_t n_answer;
        int daemon, bare;

        (void)argc;
        bench_daemon_init(&d, JOB_SETTINGS);
        daemon = bench_daemon_connect(&d);
        n_answer = rpc_call(daemon, RPC_GET_INFO, sizeof(RPC_GET_INFO));
        memset(answer, 'x', n_answer - 1);
        bare = rpc_bounce(answer, n_answer);
        if (bench_wants(argv, "rpc"))
                run("rpc", one_by_one, daemon, bare);
        if (bench_wants(argv, "rpc.pipelined"))
                run("rpc.pipelined", pipelined, daemon, bare);
        close(bare);
        close(daemon);
        bench_daemon_done(&d);
        while (wait(NULL) > 0)
                ;
        return 0;
}
