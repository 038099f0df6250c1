/* libckpt when its daemon dies, comes back, or comes back without what it had. */
#include "ckpt-job.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

/* The daemon dies with everything; the job keeps page and slots. */
static void kill_daemon(struct job *j)
{
        fake_stop(&j->daemon);
        j->daemon.log[0] = '\0';
}

/* The job's own view of its page, after the daemon's mapping went: the same memory. */
static struct page *keep_page(struct job *j)
{
        struct page *p =
                mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, j->daemon.page_fd, 0);

        assert_true(p != MAP_FAILED);
        return p;
}

static void test_steps_go_on(void **state)
{
        struct job *j = *state;
        struct page *p;

        job_attach(j);
        p = keep_page(j);
        fake_announce(&j->daemon, 3);
        kill_daemon(j);
        fake_forget(&j->daemon);
        assert_int_equal(ckpt_step(j->c, 1), 0);
        assert_int_equal(ckpt_step(j->c, 3), 1); /* into a free slot */
        assert_int_equal(p->slot[0].owner, PAGE_HELD);
        assert_int_equal(ckpt_step(j->c, 4), 0);
        munmap(p, PAGE_BYTES);
}

/* What was complete when the daemon was away is told to the next one, on the same page and
 * slots. */
static void test_comes_back_and_adopts(void **state)
{
        struct job *j = *state;

        j->daemon.adopts = true;
        job_attach(j);
        kill_daemon(j);
        fake_forget(&j->daemon);
        job_fill(j, 3);
        while (ckpt_save(j->c, 5) == 0) /* until the hang-up is seen */
                ;
        fake_start(&j->daemon);
        fake_wait(&j->daemon, "Attach;HandOff 5 forced;");
        job_assert_slot(j, 0);
        assert_int_equal(j->daemon.page->slot[0].step, 5);
        assert_int_equal(json_integer_value(json_object_get(j->daemon.attach, "attach")), 4711);
        fake_vacate(&j->daemon);
        fake_announce(&j->daemon, 7);
        assert_int_equal(ckpt_step(j->c, 7), 1);
        fake_wait(&j->daemon, "HandOff 7;");
}

/* The daemon does not take the old ones: the job changes over at its next step. */
static void test_comes_back_with_new_slots(void **state)
{
        struct job *j = *state;

        job_attach(j);
        assert_int_equal(ckpt_step(j->c, 4), 0);
        kill_daemon(j);
        fake_forget(&j->daemon);
        fake_start(&j->daemon);
        fake_wait(&j->daemon, "Attach;");
        assert_int_equal(ckpt_wait(j->c, 4), 0); /* the helper has taken the reply */
        fake_announce(&j->daemon, 6);
        assert_int_equal(ckpt_step(j->c, 5), 0);
        assert_int_equal(j->daemon.page->now.step, 5);
        assert_int_equal(j->daemon.page->rank.life, 1);
        assert_int_equal(ckpt_step(j->c, 6), 1);
        fake_wait(&j->daemon, "HandOff 6;");
        job_assert_slot(j, 0);
}

/* Only the connection is lost: the daemon still has everything. */
static void test_connection_lost(void **state)
{
        struct job *j = *state;

        job_attach(j);
        kill_daemon(j);
        fake_start(&j->daemon);
        fake_wait(&j->daemon, "Attach;");
        assert_int_equal(ckpt_wait(j->c, 0), 0);
        fake_announce(&j->daemon, 1);
        assert_int_equal(ckpt_step(j->c, 1), 1);
        fake_wait(&j->daemon, "HandOff 1;");
}

static void test_restore_waits_for_it(void **state)
{
        struct job *j = *state;
        int64_t step;

        job_attach(j);
        kill_daemon(j);
        fake_forget(&j->daemon);
        fake_start(&j->daemon);
        assert_int_equal(ckpt_restore(j->c, &step), 0);
        assert_int_equal(fake_count(&j->daemon, "Attach"), 1);
}

static void test_describe_waits_for_it(void **state)
{
        struct job *j = *state;
        struct ckpt_options o = {
                .size = sizeof(o), .socket = j->daemon.path, .model_dir = j->model_dir};

        assert_int_equal(ckpt_attach(&j->c, &o, j->tensors, 2), 0);
        kill_daemon(j);
        fake_start(&j->daemon);
        assert_int_equal(ckpt_describe(j->c, j->tensors, 4), 0);
        assert_int_equal(ckpt_save(j->c, 1), 0);
        job_assert_slot(j, 0);
}

static void test_finish_waits_for_it(void **state)
{
        struct job *j = *state;

        j->daemon.saves_at_end = true;
        j->daemon.adopts = true;
        job_attach(j);
        kill_daemon(j);
        fake_forget(&j->daemon);
        fake_start(&j->daemon);
        assert_int_equal(ckpt_finish(j->c, 9), 0);
        fake_wait(&j->daemon, "Saved 9;");
}

static void test_full_slots(void **state)
{
        struct job *j = *state;

        job_attach(j);
        kill_daemon(j);
        fake_forget(&j->daemon);
        while (ckpt_save(j->c, 1) == 0) /* until the hang-up is seen */
                ;
        while (ckpt_save(j->c, 2) >= 0) /* until both are full */
                ;
        assert_int_equal(ckpt_save(j->c, 3), -EBUSY);
        assert_non_null(strstr(ckpt_error(j->c), "ckptd is away"));
}

/* A daemon that takes the call and never answers holds nobody up. */
static void test_silent_daemon(void **state)
{
        struct job *j = *state;

        job_attach(j);
        kill_daemon(j);
        j->daemon.silent = true;
        fake_start(&j->daemon);
        fake_wait(&j->daemon, "Attach;");
        assert_int_equal(ckpt_save_begin(j->c, 1), 0);
        assert_int_equal(ckpt_save_end(j->c), 1);
        job_assert_slot(j, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, job_setup, job_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_steps_go_on),
                TEST(test_comes_back_and_adopts),
                TEST(test_comes_back_with_new_slots),
                TEST(test_connection_lost),
                TEST(test_restore_waits_for_it),
                TEST(test_describe_waits_for_it),
                TEST(test_finish_waits_for_it),
                TEST(test_full_slots),
                TEST(test_silent_daemon),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
