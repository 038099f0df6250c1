/* What every benchmark does: clocks, series and their medians, one JSON line a figure. A benchmark
 * that cannot be run says so on standard error and exits 1; run.sh owns the temporary directory and
 * removes it. A figure is never compared with a number from another run: its limit is measured
 * beside it, interleaved. */
#pragma once

#include "cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_SERIES_MAX 64
#define BENCH_ROUNDS_MIN 5
#define BENCH_GIB (UINT64_C(1) << 30)

_Noreturn void bench_fail(const char *format, ...) _printf_(1, 2);
/* Fails with "WHAT: strerror" when r is negative (an errno) or, for system calls, -1. */
int bench_check(int r, const char *what);

double bench_now(void);     /* seconds */
double bench_own_cpu(void); /* seconds of this process, all threads */
void bench_sleep(double seconds);
/* Waits until other programs leave processors and disk alone, but not for ever.  Called before
 * what is measured, of ours and of the limit alike. */
void bench_quiet(void);
/* Measured rounds: BENCH_ROUNDS of the environment, else 7; never below 5. */
size_t bench_rounds(void);
/* True when no figure is named on the command line, or this one is. */
bool bench_wants(char **argv, const char *figure);

struct bench_series {
        size_t n;
        double v[BENCH_SERIES_MAX];
};

void bench_add(struct bench_series *s, double v);
double bench_median(const struct bench_series *s);
double bench_max(const struct bench_series *s);

enum bench_aim {
        BENCH_RATIO, /* ours <= limit * aim */
        BENCH_BELOW, /* ours < aim */
        BENCH_ABOVE, /* ours <= limit + aim */
};

struct bench_figure {
        const char *figure, *unit;
        double ours, limit; /* limit 0: there is none but the aim */
        enum bench_aim kind;
        double aim;
        const char *also; /* one more number of the same line, or NULL */
        double also_value;
};

void bench_report(const struct bench_figure *f);

/* A malloc'ed path "DIR/NAME". */
char *bench_path(const char *dir, const char *name);
/* Removes a directory and all below it. */
void bench_remove(const char *path);
/* Runs a program to its end, its output thrown away; the seconds it took.  Fails where it fails. */
double bench_run(char *const *argv);
