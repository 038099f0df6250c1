/* A training job as libckpt's users write it: so many tensors of one state, attached to a model
 * directory below the daemon's temporary one. Steps are made until one is due. */
#pragma once

#include "bench-daemon.h"
#include "ckpt.h"

#define JOB_TENSORS 300
/* Each save is due by its steps alone; two checkpoints are kept. */
#define JOB_SETTINGS                                                                               \
        "log_level: warning\n"                                                                     \
        "policies:\n"                                                                              \
        "  bench: {save_checkpoints_steps: 1, save_on_start: false, save_on_end: false,\n"         \
        "          keep_checkpoint_max: 2, checkpoint_name: model.ckpt}\n"                         \
        "  quiet: {save_checkpoints_steps: 1000000000000, save_on_start: false,\n"                 \
        "          save_on_end: false}\n"

struct job_state {
        uint8_t *memory; /* page-aligned, warm, no two words alike */
        uint64_t bytes;
        size_t n;
        struct ckpt_tensor *t;
        int64_t *dims;
        char (*names)[64];
};

/* A third of the tensors is small (4 KiB, biases), the others share the rest. */
void job_state_init(struct job_state *s, uint64_t bytes, size_t n);
void job_state_done(struct job_state *s);

struct job {
        struct ckpt *c;
        char *dir;
        int64_t step;
        const struct bench_daemon *daemon;
};

/* name: of the model directory below the daemon's; the time attach took. */
double job_attach(struct job *j, const struct bench_daemon *d, const struct job_state *s,
                  const char *name);
/* The same with options of which model_dir and socket are filled in. */
double job_attach_as(struct job *j, const struct job_state *s, const char *name,
                     struct ckpt_options *o);
void job_free(struct job *j);   /* the model directory stays */
void job_remove(struct job *j); /* and goes */
/* Makes steps until one is due; the seconds that this one took in ckpt_step. */
double job_step(struct job *j);
/* The same with ckpt_due, without a save. */
void job_await_due(struct job *j);
/* Until published; the seconds it took. */
double job_wait(struct job *j);
/* Reads the newest checkpoint back; the seconds. */
double job_restore(struct job *j);
/* Fails with libckpt's own text when r is negative. */
int job_check(const struct job *j, int r, const char *what);
/* A malloc'ed path of the checkpoint of the newest step (its prefix). */
char *job_prefix(const struct job *j);
