/* restore.memory, restore.disk: the newest checkpoint back into the tensors, sums compared, against
 * one pass of crc32c and copy out of warm shared memory, and against a bare O_DIRECT read of the
 * file. */
#include "bench-disk.h"
#include "bench-job.h"
#include "bench-memory.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

struct restore {
        struct bench_daemon daemon;
        struct job_state state;
        struct job job;
};

static void save(struct restore *x)
{
        job_attach(&x->job, &x->daemon, &x->state, "restore");
        job_step(&x->job);
        job_wait(&x->job);
        bench_daemon_settle(&x->daemon);
}

/* The state as it was, and then wiped: what a restore does not write is seen. */
static void wipe(struct restore *x)
{
        memset(x->state.memory, 0, x->state.bytes);
}

static void compare(const struct restore *x, const uint8_t *expected)
{
        if (memcmp(x->state.memory, expected, x->state.bytes) != 0)
                bench_fail("other bytes were restored than were saved");
}

static void run_memory(struct restore *x, uint8_t *shared)
{
        struct bench_series ours = {0}, limit = {0};
        uint8_t *target = bench_private(x->state.bytes);
        bench_copy_fn fused = bench_best_fused(target, shared, x->state.bytes);

        save(x);
        for (size_t i = 0; i < bench_rounds() + 1; i++) {
                double seconds;

                wipe(x);
                seconds = job_restore(&x->job);
                compare(x, shared);
                bench_daemon_settle(&x->daemon);
                if (i == 0)
                        continue;
                bench_add(&ours, seconds * 1e3);
                bench_quiet();
                bench_add(&limit, bench_time_copy(fused, target, shared, x->state.bytes) * 1e3);
        }
        job_remove(&x->job);
        munmap(target, x->state.bytes);
        bench_report(&(struct bench_figure){.figure = "restore.memory",
                                            .unit = "ms",
                                            .ours = bench_median(&ours),
                                            .limit = bench_median(&limit),
                                            .kind = BENCH_RATIO,
                                            .aim = 1.1});
}

/* The job and the daemon are both new, as after the node was started anew. */
static double restore_anew(struct restore *x, const uint8_t *expected)
{
        double seconds;

        job_free(&x->job);
        bench_daemon_settle(&x->daemon);
        bench_daemon_stop(&x->daemon);
        bench_daemon_start(&x->daemon);
        job_attach(&x->job, &x->daemon, &x->state, "restore");
        bench_daemon_settle(&x->daemon);
        wipe(x);
        seconds = job_restore(&x->job);
        compare(x, expected);
        bench_daemon_settle(&x->daemon);
        return seconds;
}

static void run_disk(struct restore *x, const uint8_t *shared)
{
        struct bench_series ours = {0};
        struct disk_series plain = {0};
        uint8_t *target = bench_private(x->state.bytes);
        _cleanup_(freep) char *prefix = NULL, *data = NULL;

        save(x);
        prefix = job_prefix(&x->job);
        if (asprintf(&data, "%s.data-00000-of-00001", prefix) < 0)
                bench_fail("out of memory");
        disk_try_read(&plain, data, target, x->state.bytes);
        for (size_t i = 0; i < bench_rounds(); i++) {
                bench_add(&ours, restore_anew(x, shared) * 1e3);
                disk_round_read(&plain, data, target, x->state.bytes);
        }
        job_remove(&x->job);
        munmap(target, x->state.bytes);
        bench_report(&(struct bench_figure){.figure = "restore.disk",
                                            .unit = "ms",
                                            .ours = bench_median(&ours),
                                            .limit = disk_best(plain.seconds) * 1e3,
                                            .kind = BENCH_RATIO,
                                            .aim = 1.1});
}

int main(int argc, char **argv)
{
        struct restore x;
        uint8_t *shared;

        (void)argc;
        bench_daemon_init(&x.daemon, JOB_SETTINGS);
        job_state_init(&x.state, BENCH_GIB, JOB_TENSORS);
        shared = bench_shared(x.state.bytes);
        memcpy(shared, x.state.memory, x.state.bytes);
        if (bench_wants(argv, "restore.memory"))
                run_memory(&x, shared);
        memcpy(x.state.memory, shared, x.state.bytes);
        if (bench_wants(argv, "restore.disk"))
                run_disk(&x, shared);
        munmap(shared, x.state.bytes);
        job_state_done(&x.state);
        bench_daemon_done(&x.daemon);
        return 0;
}
