#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#define ROUNDS 7

extern char **environ;

void bench_fail(const char *format, ...)
{
        va_list ap;

        va_start(ap, format);
        fputs("bench: ", stderr);
        vfprintf(stderr, format, ap);
        fputc('\n', stderr);
        va_end(ap);
        exit(1);
}

int bench_check(int r, const char *what)
{
        if (r < 0)
                bench_fail("%s: %s", what, strerror(r == -1 ? errno : -r));
        return r;
}

static double clock_seconds(clockid_t clock)
{
        struct timespec t;

        clock_gettime(clock, &t);
        return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

double bench_now(void)
{
        return clock_seconds(CLOCK_MONOTONIC);
}

double bench_own_cpu(void)
{
        return clock_seconds(CLOCK_PROCESS_CPUTIME_ID);
}

void bench_sleep(double seconds)
{
        struct timespec t = {.tv_sec = (time_t)seconds};

        t.tv_nsec = (long)((seconds - (double)t.tv_sec) * 1e9);
        nanosleep(&t, NULL);
}

size_t bench_rounds(void)
{
        const char *text = getenv("BENCH_ROUNDS");
        size_t n = text ? strtoul(text, NULL, 10) : ROUNDS;

        if (n > BENCH_SERIES_MAX)
                n = BENCH_SERIES_MAX;
        return n < BENCH_ROUNDS_MIN ? BENCH_ROUNDS_MIN : n;
}

bool bench_wants(char **argv, const char *figure)
{
        if (!argv[1])
                return true;
        for (size_t i = 1; argv[i]; i++)
                if (!strcmp(argv[i], figure))
                        return true;
        return false;
}

void bench_add(struct bench_series *s, double v)
{
        if (s->n < BENCH_SERIES_MAX)
                s->v[s->n++] = v;
}

static int compare(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;

        return (x > y) - (x < y);
}

double bench_median(const struct bench_series *s)
{
        struct bench_series sorted = *s;

        if (s->n == 0)
                bench_fail("nothing was measured");
        qsort(sorted.v, sorted.n, sizeof(*sorted.v), compare);
        return (sorted.v[(sorted.n - 1) / 2] + sorted.v[sorted.n / 2]) / 2;
}

double bench_max(const struct bench_series *s)
{
        double max = 0;

        for (size_t i = 0; i < s->n; i++)
                if (s->v[i] > max)
                        max = s->v[i];
        return max;
}

static bool is_met(const struct bench_figure *f)
{
        switch (f->kind) {
        case BENCH_RATIO:
                return f->ours <= f->limit * f->aim;
        case BENCH_BELOW:
                return f->ours < f->aim;
        case BENCH_ABOVE:
                return f->ours <= f->limit + f->aim;
        }
        return false;
}

static void print_aim(const struct bench_figure *f)
{
        static const char *const words[] = {
                [BENCH_RATIO] = "ratio <= ",
                [BENCH_BELOW] = "< ",
                [BENCH_ABOVE] = "limit + ",
        };

        printf(",\"aim\":\"%s%g%s%s\",\"met\":%s", words[f->kind], f->aim,
               f->kind == BENCH_RATIO ? "" : " ", f->kind == BENCH_RATIO ? "" : f->unit,
               is_met(f) ? "true" : "false");
}

void bench_report(const struct bench_figure *f)
{
        printf("{\"figure\":\"%s\",\"unit\":\"%s\",\"ours\":%.5g,", f->figure, f->unit, f->ours);
        if (f->limit != 0)
                printf("\"limit\":%.5g,\"ratio\":%.3f", f->limit, f->ours / f->limit);
        else
                fputs("\"limit\":null,\"ratio\":null", stdout);
        if (f->also)
                printf(",\"%s\":%.5g", f->also, f->also_value);
        print_aim(f);
        puts("}");
        fflush(stdout);
}

char *bench_path(const char *dir, const char *name)
{
        char *path;

        if (asprintf(&path, "%s/%s", dir, name) < 0)
                bench_fail("out of memory");
        return path;
}

static int remove_one(const char *path, const struct stat *s, int kind, struct FTW *where)
{
        (void)s;
        (void)kind;
        (void)where;
        return remove(path);
}

void bench_remove(const char *path)
{
        nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

double bench_run(char *const *argv)
{
        posix_spawn_file_actions_t actions;
        int status, r;
        double start;
        pid_t pid;

        bench_quiet();
        start = bench_now();
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
        r = posix_spawn(&pid, argv[0], &actions, NULL, argv, environ);
        posix_spawn_file_actions_destroy(&actions);
        if (r)
                bench_fail("%s: %s", argv[0], strerror(r));
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        if (status)
                bench_fail("%s %s failed (status %#x)", argv[0], argv[1] ? argv[1] : "", status);
        return bench_now() - start;
}
