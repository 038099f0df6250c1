/* libckpt beside a daemon that does what the test wants: attach, steps, saves, the end. */
#include "ckpt-job.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static const char *told(struct job *j, const char *name)
{
        return json_string_value(json_object_get(j->daemon.attach, name));
}

/* ---- attach ---- */

static void test_attach_tells(void **state)
{
        struct job *j = *state;
        struct stat st;
        char pid[32];

        unsetenv("SLURM_JOB_ID");
        unsetenv("TORCHELASTIC_RUN_ID");
        j->daemon.message = "one slot only";
        assert_int_equal(
                job_try_attach(
                        j, (struct ckpt_options){.policy = "often",
                                                 .policy_values = "{\"keep_checkpoint_max\": 3}"}),
                0);
        snprintf(pid, sizeof(pid), "pid:%d", (int)getpid());
        assert_string_equal(told(j, "job"), pid);
        assert_string_equal(told(j, "model_dir"), j->model_dir);
        assert_string_equal(ckpt_model_dir(j->c), j->model_dir);
        assert_int_equal(stat(j->model_dir, &st), 0);
        assert_string_equal(told(j, "policy"), "often");
        assert_int_equal(
                json_integer_value(json_object_get(
                        json_object_get(j->daemon.attach, "policy_values"), "keep_checkpoint_max")),
                3);
        assert_non_null(told(j, "command"));
        assert_string_equal(ckpt_messages(j->c), "one slot only\ntwo");
        assert_string_equal(j->daemon.manifest,
                            "[{\"name\":\"big\",\"dtype\":\"float32\",\"shape\":[40960]},"
                            "{\"name\":\"dnn/small\",\"dtype\":\"float32\",\"shape\":[2,3]},"
                            "{\"name\":\"nothing\",\"dtype\":\"float32\",\"shape\":[0,7]},"
                            "{\"name\":\"global_step\",\"dtype\":\"int64\",\"shape\":[]}]");
}

static void test_job_names(void **state)
{
        struct job *j = *state;

        setenv("TORCHELASTIC_RUN_ID", "t1", 1);
        job_attach(j);
        assert_string_equal(told(j, "job"), "torchelastic:t1");
        setenv("SLURM_JOB_ID", "88", 1);
        job_attach(j);
        assert_string_equal(told(j, "job"), "slurm:88");
        assert_int_equal(job_try_attach(j, (struct ckpt_options){.job = "mine"}), 0);
        assert_string_equal(told(j, "job"), "mine");
        unsetenv("SLURM_JOB_ID");
        unsetenv("TORCHELASTIC_RUN_ID");
        assert_int_equal(job_try_attach(j, (struct ckpt_options){.world_size = 2}), -EINVAL);
        assert_non_null(strstr(ckpt_error(j->c), "job is required"));
}

static void test_new_model_dir(void **state)
{
        struct job *j = *state;
        struct ckpt_options o = {.size = sizeof(o), .socket = j->daemon.path};

        setenv("TMPDIR", j->daemon.dir, 1);
        assert_int_equal(ckpt_attach(&j->c, &o, j->tensors, 4), 0);
        unsetenv("TMPDIR");
        assert_memory_equal(ckpt_model_dir(j->c), j->daemon.dir, strlen(j->daemon.dir));
        assert_int_equal(rmdir(ckpt_model_dir(j->c)), 0);
}

/* The daemon's reasons come to the job as they are. */
static void test_refusals(void **state)
{
        static const struct {
                const char *error;
                int r;
        } rows[] = {
                {"io.ckptd.Jobs.Busy", -EBUSY},    {"io.ckptd.Jobs.WrongUser", -EPERM},
                {"io.ckptd.Jobs.Owned", -EBUSY},   {"io.ckptd.Jobs.Mismatch", -EINVAL},
                {"io.ckptd.Jobs.Failed", -ENOSPC}, {"io.ckptd.Jobs.WrongState", -ENOTCONN},
        };
        struct job *j = *state;

        j->daemon.refuse_parameters =
                json_pack("{s:s, s:i}", "message", "for this reason", "errno", ENOSPC);
        for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
                j->daemon.refuse = rows[i].error;
                assert_int_equal(job_try_attach(j, (struct ckpt_options){.size = 0}), rows[i].r);
                assert_string_equal(ckpt_error(j->c), "for this reason");
                assert_int_equal(ckpt_step(j->c, 1), -ENOTCONN);
                assert_false(ckpt_should_stop(j->c, 1));
        }
        json_decref(j->daemon.refuse_parameters);
        j->daemon.refuse_parameters = json_pack("{s:s}", "parameter", "policy");
        j->daemon.refuse = "org.varlink.service.InvalidParameter";
        assert_int_equal(job_try_attach(j, (struct ckpt_options){.size = 0}), -EINVAL);
        assert_non_null(strstr(ckpt_error(j->c), "policy"));
        json_decref(j->daemon.refuse_parameters);
}

static void test_no_daemon(void **state)
{
        struct job *j = *state;
        struct stat st;

        fake_stop(&j->daemon);
        assert_int_equal(job_try_attach(j, (struct ckpt_options){.size = 0}), -EHOSTDOWN);
        assert_non_null(strstr(ckpt_error(j->c), j->daemon.path));
        assert_non_null(strstr(ckpt_error(j->c), "no such file"));
        assert_int_equal(stat(j->model_dir, &st), -1); /* nothing was made */
}

static void assert_refused(struct job *j, const char *text)
{
        assert_int_equal(job_try_attach(j, (struct ckpt_options){.size = 0}), -EINVAL);
        if (!strstr(ckpt_error(j->c), text))
                fail_msg("\"%s\" lacks \"%s\"", ckpt_error(j->c), text);
        assert_int_equal(fake_count(&j->daemon, "Attach"), 0);
}

static void test_wrong_tensors(void **state)
{
        static const int64_t negative[] = {-1}, huge[] = {INT64_MAX};
        struct job *j = *state;
        struct ckpt_tensor good = j->tensors[1], *t = &j->tensors[1];

        t->name = "";
        assert_refused(j, "tensor 1: no name");
        *t = good;
        t->name = "caf\xe9";
        assert_refused(j, "not UTF-8");
        *t = good;
        t->dtype = (enum ckpt_dtype)99;
        assert_refused(j, "dnn/small: unknown dtype");
        t->dtype = CKPT_STRING;
        assert_refused(j, "varying size");
        *t = good;
        t->data = NULL;
        assert_refused(j, "neither data nor copy");
        *t = good;
        t->n_dims = 1;
        t->dims = negative;
        assert_refused(j, "negative");
        t->dims = huge;
        assert_refused(j, "too large");
        *t = good;
        t->size = 8;
        assert_refused(j, "another size");
        *t = good;
}

/* ---- steps ---- */

static void test_step_saves_when_due(void **state)
{
        struct job *j = *state;

        job_attach(j);
        assert_int_equal(ckpt_step(j->c, 0), 0);
        fake_announce(&j->daemon, 2);
        assert_int_equal(ckpt_step(j->c, 1), 0);
        job_fill(j, 2);
        assert_int_equal(ckpt_step(j->c, 2), 1);
        fake_wait(&j->daemon, "HandOff 2;");
        job_assert_slot(j, 0);
        assert_int_equal(j->daemon.page->slot[0].step, 2);
        assert_int_equal(j->daemon.page->slot[0].bytes, j->daemon.data_bytes);
        assert_int_equal(ckpt_step(j->c, 3), 0);
}

static void test_missed_is_told(void **state)
{
        struct job *j = *state;

        j->daemon.n_slots = 1;
        job_attach(j);
        fake_announce(&j->daemon, 1);
        assert_int_equal(ckpt_step(j->c, 1), 1);
        fake_announce(&j->daemon, 2);
        assert_int_equal(ckpt_step(j->c, 2), 0);
        fake_wait(&j->daemon, "HandOff 2;");
        assert_int_equal(j->daemon.page->rank.missed, 2);
}

static void test_due_then_save(void **state)
{
        struct job *j = *state;

        job_attach(j);
        fake_announce(&j->daemon, 5);
        assert_int_equal(ckpt_due(j->c, 4), 0);
        assert_int_equal(ckpt_due(j->c, 5), 1);
        assert_int_equal(ckpt_save(j->c, 5), 0);
        fake_wait(&j->daemon, "HandOff 5;");
        assert_int_equal(j->daemon.page->slot[0].asked, 5);
        assert_int_equal(ckpt_due(j->c, 6), 0);
}

static void test_forced_save(void **state)
{
        struct job *j = *state;

        job_attach(j);
        assert_int_equal(ckpt_step(j->c, 3), 0);
        assert_int_equal(ckpt_save(j->c, 3), 0);
        fake_wait(&j->daemon, "HandOff 3 forced;");
        assert_int_equal(j->daemon.page->slot[0].asked, PAGE_NEVER);
        job_assert_slot(j, 0);
        /* One that is due is no forced one, asked for or not. */
        fake_announce(&j->daemon, 4);
        assert_int_equal(ckpt_save(j->c, 4), 0);
        fake_wait(&j->daemon, "HandOff 4;");
}

static void test_save_when_busy(void **state)
{
        struct job *j = *state;

        j->daemon.n_slots = 1;
        job_attach(j);
        assert_int_equal(ckpt_save(j->c, 1), 0);
        atomic_store(&j->daemon.page->daemon.flags, PAGE_FLAG_SKIP_WHEN_BUSY);
        assert_int_equal(ckpt_save(j->c, 2), -EBUSY);
        fake_vacate(&j->daemon);
        assert_int_equal(ckpt_save(j->c, 3), 0);
}

static void test_begin_and_end(void **state)
{
        struct job *j = *state;

        job_attach(j);
        fake_announce(&j->daemon, 1);
        assert_int_equal(ckpt_due(j->c, 1), 1);
        assert_int_equal(ckpt_save_begin(j->c, 1), 0);
        /* What is small is copied already. */
        assert_memory_equal(j->daemon.slots[0].memory + j->daemon.offsets[3], &j->scalar,
                            sizeof(j->scalar));
        assert_int_equal(j->daemon.page->slot[0].owner, PAGE_FILLING);
        assert_int_equal(ckpt_save(j->c, 1), -EBUSY);
        assert_int_equal(ckpt_describe(j->c, j->tensors, 4), -EBUSY);
        assert_int_equal(ckpt_save_end(j->c), 0);
        fake_wait(&j->daemon, "HandOff 1;");
        job_assert_slot(j, 0);
        assert_int_equal(j->daemon.page->slot[0].owner, PAGE_HELD);
        assert_int_equal(ckpt_save_end(j->c), 0); /* nothing was begun */
}

static void test_begin_without_end(void **state)
{
        struct job *j = *state;

        job_attach(j);
        assert_int_equal(ckpt_save_begin(j->c, 1), 0);
        ckpt_free(j->c);
        j->c = NULL;
        assert_int_equal(j->daemon.page->slot[0].owner, PAGE_VACANT);
        fake_wait(&j->daemon, "Detach;");
}

static void test_copy_function(void **state)
{
        struct job *j = *state;

        j->tensors[0].data = NULL;
        j->tensors[0].copy = job_fetch;
        j->tensors[1].data = NULL;
        j->tensors[1].copy = job_fetch;
        job_attach(j);
        assert_int_equal(ckpt_save(j->c, 1), 0);
        job_assert_slot(j, 0);
        assert_int_equal(j->copies, 2);
        fake_vacate(&j->daemon);
        job_fill(j, 9);
        assert_int_equal(ckpt_save_begin(j->c, 2), 0);
        assert_int_equal(ckpt_save_end(j->c), 0);
        assert_int_equal(j->copies, 4);
        job_assert_slot(j, 1);
}

static void test_copy_function_fails(void **state)
{
        struct job *j = *state;

        j->tensors[0].data = NULL;
        j->tensors[0].copy = job_fetch;
        job_attach(j);
        j->fails = 1;
        fake_announce(&j->daemon, 1);
        assert_int_equal(ckpt_step(j->c, 1), -EREMOTEIO);
        assert_non_null(strstr(ckpt_error(j->c), "tensor_name = big"));
        assert_int_equal(j->daemon.page->slot[0].owner, PAGE_VACANT);
        assert_int_equal(j->daemon.page->rank.missed, 1);
        assert_int_equal(ckpt_save_begin(j->c, 2), 0);
        assert_int_equal(ckpt_save_end(j->c), -EREMOTEIO);
        assert_int_equal(j->daemon.page->slot[0].owner, PAGE_VACANT);
        j->fails = 0;
        assert_int_equal(ckpt_save(j->c, 3), 0);
}

static void test_should_stop(void **state)
{
        struct job *j = *state;

        job_attach(j);
        assert_false(ckpt_should_stop(j->c, 100));
        atomic_store(&j->daemon.page->daemon.stop_at, 50);
        assert_false(ckpt_should_stop(j->c, 49));
        assert_true(ckpt_should_stop(j->c, 50));
        assert_true(ckpt_should_stop(j->c, 51));
}

/* ---- another manifest ---- */

static void test_describe_new_addresses(void **state)
{
        struct job *j = *state;
        float other[6] = {9, 8, 7, 6, 5, 4};

        job_attach(j);
        j->tensors[1].data = other;
        assert_int_equal(ckpt_describe(j->c, j->tensors, 4), 0);
        assert_int_equal(fake_count(&j->daemon, "Describe"), 0);
        assert_int_equal(ckpt_save(j->c, 1), 0);
        assert_memory_equal(j->daemon.slots[0].memory + j->daemon.offsets[1], other, sizeof(other));
}

static void test_describe_more(void **state)
{
        struct job *j = *state;
        struct ckpt_options o = {
                .size = sizeof(o), .socket = j->daemon.path, .model_dir = j->model_dir};

        assert_int_equal(ckpt_attach(&j->c, &o, j->tensors, 2), 0);
        assert_int_equal(ckpt_save(j->c, 0), 0);
        assert_int_equal(ckpt_describe(j->c, j->tensors, 4), 0);
        job_fill(j, 3);
        assert_int_equal(ckpt_save(j->c, 1), 0);
        job_assert_slot(j, 0);
        assert_int_equal(ckpt_save(j->c, 2), 0);
        job_assert_slot(j, 1);
        assert_int_equal(fake_count(&j->daemon, "Describe"), 1);
}

static void test_describe_fails(void **state)
{
        struct job *j = *state;

        job_attach(j);
        j->tensors[0].data = NULL;
        assert_int_equal(ckpt_describe(j->c, j->tensors, 4), -EINVAL);
        fake_announce(&j->daemon, 1);
        assert_int_equal(ckpt_step(j->c, 1), 0);
        assert_int_equal(j->daemon.page->rank.missed, 1);
        assert_int_equal(ckpt_save(j->c, 1), -ESTALE);
        j->tensors[0].data = j->big;
        assert_int_equal(ckpt_describe(j->c, j->tensors, 4), 0);
        assert_int_equal(ckpt_save(j->c, 2), 0);
}

/* ---- a window instead of slots ---- */

static void check_window(struct job *j, uint64_t bytes)
{
        j->daemon.mode = "window";
        j->daemon.window_bytes = bytes;
        job_attach(j);
        fake_announce(&j->daemon, 1);
        assert_int_equal(ckpt_step(j->c, 1), 1);
        assert_memory_equal(j->daemon.file + j->daemon.offsets[0], j->big, sizeof(j->big));
        assert_memory_equal(j->daemon.file + j->daemon.offsets[1], j->small, sizeof(j->small));
        assert_memory_equal(j->daemon.file + j->daemon.offsets[3], &j->scalar, sizeof(j->scalar));
        /* What lies between tensors is zero, whatever was in the window before. */
        for (int64_t i = j->daemon.offsets[1] + (int64_t)sizeof(j->small); i < j->daemon.offsets[3];
             i++)
                assert_int_equal(j->daemon.file[i], 0);
        assert_int_equal(j->daemon.page->slot[0].owner, PAGE_VACANT);
        assert_int_equal(fake_count(&j->daemon, "HandOff"), 0);
}

static void test_window(void **state)
{
        struct job *j = *state;

        check_window(j, 4096);
        assert_int_equal(fake_count(&j->daemon, "Piece 1"), 41);
        j->tensors[0].data = NULL;
        j->tensors[0].copy = job_fetch;
        fake_forget(&j->daemon);
        check_window(j, 65536);
        assert_int_equal(j->copies, 1); /* fetched once, though it spans three windows */
        fake_forget(&j->daemon);
        check_window(j, 1 << 20);
        assert_int_equal(ckpt_step(j->c, 2), 0);
        assert_int_equal(ckpt_finish(j->c, 2), 0);
        fake_wait(&j->daemon, "Piece 2;Finish 2;");
}

/* ---- the end ---- */

static void test_finish(void **state)
{
        struct job *j = *state;

        job_attach(j);
        assert_int_equal(ckpt_step(j->c, 7), 0);
        assert_int_equal(ckpt_finish(j->c, 7), 0);
        assert_int_equal(j->daemon.page->rank.end, 7);
        assert_int_equal(fake_count(&j->daemon, "Saved"), 0);
        assert_int_equal(fake_count(&j->daemon, "Detach"), 1);
        assert_int_equal(ckpt_step(j->c, 8), -ENOTCONN);
        assert_int_equal(ckpt_finish(j->c, 8), -ENOTCONN);
        ckpt_free(j->c);
        j->c = NULL;
        assert_int_equal(fake_count(&j->daemon, "Detach"), 1);
}

static void test_finish_saves(void **state)
{
        struct job *j = *state;

        j->daemon.saves_at_end = true;
        job_attach(j);
        assert_int_equal(ckpt_finish(j->c, 7), 0);
        fake_wait(&j->daemon, "Saved 7;");
        job_assert_slot(j, 0);
}

static void test_finish_copy_fails(void **state)
{
        struct job *j = *state;

        j->tensors[0].data = NULL;
        j->tensors[0].copy = job_fetch;
        j->daemon.saves_at_end = true;
        job_attach(j);
        j->fails = 1;
        assert_int_equal(ckpt_finish(j->c, 7), -EIO);
        assert_non_null(strstr(ckpt_error(j->c), "tensor_name = big"));
}

static void test_wait(void **state)
{
        struct job *j = *state;

        job_attach(j);
        assert_int_equal(ckpt_save(j->c, 1), 0);
        assert_int_equal(ckpt_wait(j->c, 1), 0);
        fake_wait(&j->daemon, "HandOff 1 forced;Wait 1;");
        j->daemon.wait_error = "No space left on device";
        assert_int_equal(ckpt_wait(j->c, 1), -EIO);
        assert_string_equal(ckpt_error(j->c), "No space left on device");
}

/* ---- a forked child ---- */

static int in_child(struct job *j)
{
        struct ckpt_tensor t;
        int64_t step = -7;
        int r = ckpt_step(j->c, 1) || ckpt_due(j->c, 2) || ckpt_save(j->c, 3) ||
                ckpt_save_begin(j->c, 4) || ckpt_save_end(j->c) || ckpt_wait(j->c, 5) ||
                ckpt_finish(j->c, 6) || ckpt_restore(j->c, &step) ||
                ckpt_describe(j->c, j->tensors, 4) || ckpt_stored(j->c, 0, &t) ||
                ckpt_should_stop(j->c, 9);

        r = r || *ckpt_error(j->c) || *ckpt_messages(j->c) || step != -7;
        ckpt_free(j->c);
        return r;
}

static void test_child_does_nothing(void **state)
{
        struct job *j = *state;
        int status;
        pid_t child;

        job_attach(j);
        fake_announce(&j->daemon, 1);
        atomic_store(&j->daemon.page->daemon.stop_at, 0);
        child = fork();
        if (child == 0)
                _exit(in_child(j));
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        assert_int_equal(j->daemon.page->now.step, -1);
        assert_int_equal(j->daemon.page->slot[0].owner, PAGE_VACANT);
        assert_int_equal(ckpt_step(j->c, 1), 1); /* the parent goes on */
        assert_int_equal(fake_count(&j->daemon, "Detach"), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, job_setup, job_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_attach_tells),
                TEST(test_job_names),
                TEST(test_new_model_dir),
                TEST(test_refusals),
                TEST(test_no_daemon),
                TEST(test_wrong_tensors),
                TEST(test_step_saves_when_due),
                TEST(test_missed_is_told),
                TEST(test_due_then_save),
                TEST(test_forced_save),
                TEST(test_save_when_busy),
                TEST(test_begin_and_end),
                TEST(test_begin_without_end),
                TEST(test_copy_function),
                TEST(test_copy_function_fails),
                TEST(test_should_stop),
                TEST(test_describe_new_addresses),
                TEST(test_describe_more),
                TEST(test_describe_fails),
                TEST(test_window),
                TEST(test_finish),
                TEST(test_finish_saves),
                TEST(test_finish_copy_fails),
                TEST(test_wait),
                TEST(test_child_does_nothing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
