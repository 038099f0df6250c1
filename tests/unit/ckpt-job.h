/* A job with four tensors beside a fake daemon: the fixture of libckpt's tests. */
#pragma once

#include "ckpt.h"
#include "fake-daemon.h"

#define BIG (40 * 1024) /* float32: more than what begin copies at once */

struct job {
        struct fake daemon;
        struct ckpt *c;
        char model_dir[96];
        float big[BIG], small[6];
        int64_t scalar;
        struct ckpt_tensor tensors[4]; /* big, dnn/small, nothing (empty), global_step */
        int copies, fails;             /* of job_fetch */
};

/* For cmocka's setup and teardown; *state is a struct job. */
int job_setup(void **state);
int job_teardown(void **state);
int job_fetch(void *dst, const struct ckpt_tensor *t, void *user); /* a copy function */
void job_fill(struct job *j, float base);
int job_try_attach(struct job *j, struct ckpt_options o);
void job_attach(struct job *j);
/* Slot k of the daemon holds exactly the job's tensors, at their offsets. */
void job_assert_slot(struct job *j, int k);
