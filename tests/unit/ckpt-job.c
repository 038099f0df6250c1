#include "ckpt-job.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static const int64_t big_dims[] = {BIG}, small_dims[] = {2, 3}, empty_dims[] = {0, 7};

int job_fetch(void *dst, const struct ckpt_tensor *t, void *user)
{
        struct job *j = user;

        j->copies++;
        if (j->fails)
                return -EREMOTEIO;
        memcpy(dst, !strcmp(t->name, "big") ? j->big : j->small,
               !strcmp(t->name, "big") ? sizeof(j->big) : sizeof(j->small));
        return 0;
}

void job_fill(struct job *j, float base)
{
        for (int i = 0; i < BIG; i++)
                j->big[i] = base + (float)i;
        for (int i = 0; i < 6; i++)
                j->small[i] = -base - (float)i;
        j->scalar = (int64_t)base;
}

int job_setup(void **state)
{
        struct job *j = calloc(1, sizeof(*j));

        fake_init(&j->daemon);
        fake_start(&j->daemon);
        snprintf(j->model_dir, sizeof(j->model_dir), "%s/model", j->daemon.dir);
        j->tensors[0] =
                (struct ckpt_tensor){.name = "big", .n_dims = 1, .dims = big_dims, .data = j->big};
        j->tensors[1] = (struct ckpt_tensor){
                .name = "dnn/small", .n_dims = 2, .dims = small_dims, .data = j->small};
        j->tensors[2] = (struct ckpt_tensor){.name = "nothing", .n_dims = 2, .dims = empty_dims};
        j->tensors[3] = (struct ckpt_tensor){.name = "global_step", .data = &j->scalar};
        for (int i = 0; i < 4; i++) {
                j->tensors[i].size = sizeof(struct ckpt_tensor);
                j->tensors[i].dtype = i < 3 ? CKPT_FLOAT32 : CKPT_INT64;
                j->tensors[i].user = j;
        }
        job_fill(j, 1);
        *state = j;
        return 0;
}

int job_teardown(void **state)
{
        struct job *j = *state;

        ckpt_free(j->c);
        rmdir(j->model_dir);
        fake_done(&j->daemon);
        free(j);
        return 0;
}

int job_try_attach(struct job *j, struct ckpt_options o)
{
        o.size = sizeof(o);
        o.socket = j->daemon.path;
        if (!o.model_dir)
                o.model_dir = j->model_dir;
        ckpt_free(j->c);
        return ckpt_attach(&j->c, &o, j->tensors, 4);
}

void job_attach(struct job *j)
{
        assert_int_equal(job_try_attach(j, (struct ckpt_options){.size = 0}), 0);
}

void job_assert_slot(struct job *j, int k)
{
        const uint8_t *m = j->daemon.slots[k].memory;

        assert_memory_equal(m + j->daemon.offsets[0], j->big, sizeof(j->big));
        assert_memory_equal(m + j->daemon.offsets[1], j->small, sizeof(j->small));
        assert_memory_equal(m + j->daemon.offsets[3], &j->scalar, sizeof(j->scalar));
}
