/* The real ckptd of the same build, with settings, catalog and socket in a temporary directory of
 * its own. It dies with the benchmark. Its log is kept below the directory and shown when it does
 * not start. */
#pragma once

#include <sys/types.h>
#include <time.h>

struct bench_daemon {
        pid_t pid;
        clockid_t cpu;
        char *dir, *config, *state, *socket, *log;
};

/* settings: the text of its ckptd.yaml. */
void bench_daemon_init(struct bench_daemon *d, const char *settings);
void bench_daemon_start(struct bench_daemon *d);
void bench_daemon_stop(struct bench_daemon *d); /* by SIGTERM; may be started again */
void bench_daemon_done(struct bench_daemon *d); /* stopped, the directory removed */
/* Seconds of processor time that it has used since its start, all threads. */
double bench_daemon_cpu(const struct bench_daemon *d);
/* Waits until it does nothing more. */
void bench_daemon_settle(const struct bench_daemon *d);
/* Its log to standard error. */
void bench_daemon_show_log(const struct bench_daemon *d);
/* A connected socket. */
int bench_daemon_connect(const struct bench_daemon *d);
/* A malloc'ed path of a program of this build ("daemon/ckptd"). */
char *bench_program(const char *below_build);
