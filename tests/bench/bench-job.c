#include "bench-job.h"

#include "bench-memory.h"
#include "bench.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define SMALL_BYTES 4096
#define LINE_BYTES 64
#define STEP_S 100e-6
#define STEPS_MAX 100000

static void fill(uint8_t *p, uint64_t n)
{
        uint64_t *word = (uint64_t *)p, seed = 1;

        for (uint64_t i = 0; i < n / sizeof(*word); i++) {
                seed += UINT64_C(0x9e3779b97f4a7c15);
                word[i] = (seed ^ seed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        }
}

static uint64_t tensor_bytes(const struct job_state *s, size_t i, uint64_t left)
{
        size_t n_small = (s->n + 2) / 3, n_large = s->n - n_small;
        uint64_t small = s->bytes / s->n < SMALL_BYTES ? s->bytes / s->n : SMALL_BYTES;

        small -= small % LINE_BYTES;
        if (i == s->n - 1)
                return left;
        if (i % 3 == 0)
                return small;
        return (s->bytes - n_small * small) / n_large / LINE_BYTES * LINE_BYTES;
}

void job_state_init(struct job_state *s, uint64_t bytes, size_t n)
{
        uint64_t at = 0;

        *s = (struct job_state){.bytes = bytes, .n = n, .memory = bench_private(bytes)};
        s->t = calloc(n, sizeof(*s->t));
        s->dims = calloc(n, sizeof(*s->dims));
        s->names = calloc(n, sizeof(*s->names));
        if (!s->t || !s->dims || !s->names)
                bench_fail("out of memory");
        fill(s->memory, bytes);
        for (size_t i = 0; i < n; i++) {
                uint64_t some = tensor_bytes(s, i, bytes - at);

                snprintf(s->names[i], sizeof(s->names[i]), "model/layer_%05zu/%s", i / 3,
                         (const char *[]){"bias", "kernel", "kernel/Adam"}[i % 3]);
                s->dims[i] = (int64_t)(some / sizeof(float));
                s->t[i] = (struct ckpt_tensor){.size = sizeof(s->t[i]),
                                               .name = s->names[i],
                                               .dtype = CKPT_FLOAT32,
                                               .n_dims = 1,
                                               .dims = &s->dims[i],
                                               .data = s->memory + at};
                at += some;
        }
}

void job_state_done(struct job_state *s)
{
        munmap(s->memory, s->bytes);
        free(s->t);
        free(s->dims);
        free(s->names);
}

int job_check(const struct job *j, int r, const char *what)
{
        if (r >= 0)
                return r;
        bench_daemon_show_log(j->daemon);
        bench_fail("%s: %s: %s", what, strerror(-r), ckpt_error(j->c));
}

double job_attach_as(struct job *j, const struct job_state *s, const char *name,
                     struct ckpt_options *o)
{
        double start;

        j->dir = bench_path(j->daemon->dir, name);
        o->size = sizeof(*o);
        o->model_dir = j->dir;
        o->socket = j->daemon->socket;
        bench_quiet();
        start = bench_now();
        job_check(j, ckpt_attach(&j->c, o, s->t, s->n), "ckpt_attach");
        return bench_now() - start;
}

double job_attach(struct job *j, const struct bench_daemon *d, const struct job_state *s,
                  const char *name)
{
        struct ckpt_options o = {.policy = "bench"};

        *j = (struct job){.daemon = d};
        return job_attach_as(j, s, name, &o);
}

void job_free(struct job *j)
{
        ckpt_free(take_ptr(j->c));
        free(take_ptr(j->dir));
}

void job_remove(struct job *j)
{
        _cleanup_(freep) char *dir = strdup(j->dir);

        job_free(j);
        bench_daemon_settle(j->daemon);
        bench_remove(dir);
}

double job_step(struct job *j)
{
        bench_quiet();
        for (int i = 0; i < STEPS_MAX; i++) {
                double start = bench_now();
                int r = ckpt_step(j->c, ++j->step);
                double seconds = bench_now() - start;

                if (job_check(j, r, "ckpt_step") == 1)
                        return seconds;
                bench_sleep(STEP_S);
        }
        bench_daemon_show_log(j->daemon);
        bench_fail("no step is due");
}

void job_await_due(struct job *j)
{
        bench_quiet();
        for (int i = 0; i < STEPS_MAX; i++) {
                if (job_check(j, ckpt_due(j->c, ++j->step), "ckpt_due") == 1)
                        return;
                bench_sleep(STEP_S);
        }
        bench_daemon_show_log(j->daemon);
        bench_fail("no step is due");
}

double job_wait(struct job *j)
{
        double start = bench_now();

        job_check(j, ckpt_wait(j->c, j->step), "ckpt_wait");
        return bench_now() - start;
}

double job_restore(struct job *j)
{
        double start;

        bench_quiet();
        start = bench_now();
        if (job_check(j, ckpt_restore(j->c, &j->step), "ckpt_restore") != 1)
                bench_fail("nothing was restored");
        return bench_now() - start;
}

char *job_prefix(const struct job *j)
{
        char *path;

        if (asprintf(&path, "%s/model.ckpt-%" PRId64, j->dir, j->step) < 0)
                bench_fail("out of memory");
        return path;
}
