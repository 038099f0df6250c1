/* libckpt's restore, beside a daemon that has what the test wants. */
#include "ckpt-job.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* Bytes as a checkpoint would hold them: the job's present tensors. */
static uint8_t *image_of(const struct job *j)
{
        uint8_t *p = calloc(1, j->daemon.data_bytes);

        memcpy(p + j->daemon.offsets[0], j->big, sizeof(j->big));
        memcpy(p + j->daemon.offsets[1], j->small, sizeof(j->small));
        memcpy(p + j->daemon.offsets[3], &j->scalar, sizeof(j->scalar));
        return p;
}

static void assert_filled(const struct job *j, float base)
{
        for (int i = 0; i < BIG; i++)
                assert_true(j->big[i] == base + (float)i);
        for (int i = 0; i < 6; i++)
                assert_true(j->small[i] == -base - (float)i);
        assert_int_equal(j->scalar, base);
}

static void test_from_disk(void **state)
{
        struct job *j = *state;
        struct ckpt_tensor t;
        uint8_t *image;
        int64_t step = -1;

        job_attach(j);
        job_fill(j, 5);
        image = image_of(j);
        job_fill(j, 0);
        j->daemon.restore_data = image;
        j->daemon.restore_step = 300;
        assert_int_equal(ckpt_restore(j->c, &step), 1);
        assert_int_equal(step, 300);
        assert_filled(j, 5);
        fake_wait(&j->daemon, "Restored 300;");
        assert_int_equal(j->daemon.page->rank.base, 300);
        assert_int_equal(j->daemon.page->rank.life, 1);
        assert_int_equal(j->daemon.page->now.step, 300);
        assert_int_equal(ckpt_stored(j->c, 1, &t), 0);
        assert_string_equal(t.name, "dnn/small");
        assert_int_equal(t.dtype, CKPT_FLOAT32);
        assert_int_equal(t.n_dims, 2);
        assert_int_equal(t.dims[1], 3);
        assert_null(t.data);
        assert_int_equal(ckpt_stored(j->c, 4, &t), -ENOENT);
        /* The run goes on from there. */
        fake_announce(&j->daemon, 301);
        assert_int_equal(ckpt_step(j->c, 301), 1);
        assert_int_equal(j->daemon.page->slot[0].base, 300);
        free(image);
}

static void test_from_memory(void **state)
{
        struct job *j = *state;
        int64_t step;
        uint8_t *image;

        job_attach(j);
        job_fill(j, 7);
        image = image_of(j);
        memcpy(j->daemon.slots[1].memory, image, j->daemon.data_bytes);
        free(image);
        job_fill(j, 0);
        j->daemon.restore_step = 40;
        j->daemon.restore_slot = 1;
        assert_int_equal(ckpt_restore(j->c, &step), 1);
        assert_int_equal(step, 40);
        assert_filled(j, 7);
}

static void test_never_saved(void **state)
{
        struct job *j = *state;
        int64_t step = -5;
        struct ckpt_tensor t;

        job_attach(j);
        assert_int_equal(ckpt_restore(j->c, &step), 0);
        assert_int_equal(step, -5);
        assert_filled(j, 1);
        assert_int_equal(j->daemon.page->rank.life, 0);
        assert_int_equal(fake_count(&j->daemon, "Restored"), 0);
        assert_int_equal(ckpt_stored(j->c, 0, &t), -ENOENT);
}

static void test_refused(void **state)
{
        struct job *j = *state;
        int64_t step;

        job_attach(j);
        j->daemon.restore_error = "io.ckptd.Jobs.NoneWhole";
        assert_int_equal(ckpt_restore(j->c, &step), -ENODATA);
        assert_string_equal(ckpt_error(j->c), "the reason");
        j->daemon.restore_error = "io.ckptd.Jobs.Mismatch";
        assert_int_equal(ckpt_restore(j->c, &step), -EINVAL);
        assert_filled(j, 1);
}

static void test_partial(void **state)
{
        struct job *j = *state;
        int64_t step;
        uint8_t *image;

        job_attach(j);
        job_fill(j, 5);
        image = image_of(j);
        job_fill(j, 2);
        j->daemon.restore_data = image;
        j->daemon.restore_step = 10;
        j->daemon.restore_partial = true;
        /* A hole where everything was asked for: nothing is changed. */
        assert_int_equal(ckpt_restore(j->c, &step), -EPROTO);
        assert_filled(j, 2);
        assert_int_equal(ckpt_restore_from(j->c, "10", CKPT_RESTORE_PARTIAL, &step), 1);
        assert_true(j->big[0] == 2);
        assert_true(j->small[0] == -5);
        assert_int_equal(j->scalar, 5);
        assert_int_equal(ckpt_restore_from(j->c, NULL, 8, &step), -EINVAL);
        free(image);
}

static void test_needs_host_memory(void **state)
{
        struct job *j = *state;
        int64_t step;

        j->tensors[0].data = NULL;
        j->tensors[0].copy = job_fetch;
        job_attach(j);
        assert_int_equal(ckpt_restore(j->c, &step), -ENOTSUP);
        assert_non_null(strstr(ckpt_error(j->c), "tensor_name = big"));
}

static void test_reader(void **state)
{
        struct job *j = *state;
        int64_t step;

        assert_int_equal(
                job_try_attach(j, (struct ckpt_options){.read_only = true, .model_dir = "/tmp"}),
                0);
        assert_int_equal(ckpt_step(j->c, 1), -EROFS);
        assert_int_equal(ckpt_save(j->c, 1), -EROFS);
        assert_int_equal(ckpt_restore(j->c, &step), 0);
        assert_int_equal(ckpt_finish(j->c, 1), 0);
        assert_int_equal(fake_count(&j->daemon, "Finish"), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, job_setup, job_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_from_disk), TEST(test_from_memory), TEST(test_never_saved),
                TEST(test_refused),   TEST(test_partial),     TEST(test_needs_host_memory),
                TEST(test_reader),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
