#include "bench-daemon.h"

#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#define START_S 10.0
#define QUIET_S 0.01
#define QUIET_TIMES 5
#define QUIET_CPU_S 50e-6 /* less than this in QUIET_S is nothing */

char *bench_program(const char *below_build)
{
        char self[4096];
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
        char *path;

        if (n < 0)
                bench_fail("/proc/self/exe: %s", strerror(errno));
        self[n] = '\0';
        for (int up = 0; up < 3; up++) /* BUILD/tests/bench/NAME */
                *strrchr(self, '/') = '\0';
        path = bench_path(self, below_build);
        if (access(path, X_OK) < 0)
                bench_fail("%s: %s", path, strerror(errno));
        return path;
}

static void write_text(const char *path, const char *text)
{
        FILE *f = fopen(path, "we");

        if (!f || fputs(text, f) < 0 || fclose(f) < 0)
                bench_fail("%s: %s", path, strerror(errno));
}

void bench_daemon_init(struct bench_daemon *d, const char *settings)
{
        const char *tmp = getenv("TMPDIR");

        *d = (struct bench_daemon){.dir = bench_path(tmp ? tmp : "/tmp", "ckptd-bench-XXXXXX")};
        if (!mkdtemp(d->dir))
                bench_fail("%s: %s", d->dir, strerror(errno));
        d->config = bench_path(d->dir, "ckptd.yaml");
        d->state = bench_path(d->dir, "state");
        d->socket = bench_path(d->dir, "ckptd.sock");
        d->log = bench_path(d->dir, "log");
        write_text(d->config, settings);
        bench_check(mkdir(d->state, 0700), d->state);
        bench_daemon_start(d);
}

static void run_daemon(const struct bench_daemon *d, const char *program)
{
        int log = open(d->log, O_WRONLY | O_CREAT | O_APPEND, 0600);

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (log >= 0)
                dup2(log, STDERR_FILENO);
        execl(program, program, "--config", d->config, "--state", d->state, "--socket", d->socket,
              (char *)NULL);
        _exit(127);
}

static int try_connect(const struct bench_daemon *d)
{
        struct sockaddr_un a = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd < 0 || strlen(d->socket) >= sizeof(a.sun_path))
                bench_fail("%s: cannot be a socket's path", d->socket);
        strcpy(a.sun_path, d->socket);
        if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
                return fd;
        close(fd);
        return -1;
}

int bench_daemon_connect(const struct bench_daemon *d)
{
        return bench_check(try_connect(d), d->socket);
}

void bench_daemon_show_log(const struct bench_daemon *d)
{
        char line[4096];
        FILE *f = fopen(d->log, "re");

        while (f && fgets(line, sizeof(line), f))
                fputs(line, stderr);
}

void bench_daemon_start(struct bench_daemon *d)
{
        _cleanup_(freep) char *program = bench_program("daemon/ckptd");
        double end = bench_now() + START_S;
        int fd;

        d->pid = bench_check(fork(), "fork");
        if (d->pid == 0)
                run_daemon(d, program);
        while ((fd = try_connect(d)) < 0) {
                if (waitpid(d->pid, NULL, WNOHANG) != 0 || bench_now() > end) {
                        bench_daemon_show_log(d);
                        bench_fail("ckptd does not start");
                }
                bench_sleep(1e-3);
        }
        close(fd);
        if (clock_getcpuclockid(d->pid, &d->cpu))
                bench_fail("no clock of ckptd's processor time");
}

void bench_daemon_stop(struct bench_daemon *d)
{
        int status;

        kill(d->pid, SIGTERM);
        while (waitpid(d->pid, &status, 0) < 0 && errno == EINTR)
                ;
        if (status) {
                bench_daemon_show_log(d);
                bench_fail("ckptd ended with status %#x", status);
        }
        d->pid = 0;
}

void bench_daemon_done(struct bench_daemon *d)
{
        if (d->pid)
                bench_daemon_stop(d);
        bench_remove(d->dir);
        free(d->dir);
        free(d->config);
        free(d->state);
        free(d->socket);
        free(d->log);
}

double bench_daemon_cpu(const struct bench_daemon *d)
{
        struct timespec t;

        bench_check(clock_gettime(d->cpu, &t), "ckptd's processor time");
        return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void bench_daemon_settle(const struct bench_daemon *d)
{
        double last = bench_daemon_cpu(d);

        for (int quiet = 0; quiet < QUIET_TIMES;) {
                double now;

                bench_sleep(QUIET_S);
                now = bench_daemon_cpu(d);
                quiet = now - last < QUIET_CPU_S ? quiet + 1 : 0;
                last = now;
        }
}
