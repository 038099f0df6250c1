/* One directory, one daemon: the rules of the lock and of the mark, and what a refusal says. */
#include "store-kept.h"

#include "owner.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void test_rules(void **state)
{
        const int64_t stale = OWNER_STALE_MS;
        const struct {
                struct owner_facts facts;
                bool may;
        } cases[] = {
                /* On a local file system the lock says all. */
                {{.lock = OWNER_LOCK_FREE, .has_mark = true}, true},
                {{.lock = OWNER_LOCK_HELD,
                  .has_mark = true,
                  .same_machine = true,
                  .same_boot = true,
                  .same_instance = true},
                 false},
                {{.lock = OWNER_LOCK_HELD, .has_mark = true, .take_over = true}, false},
                /* Over the network nobody's directory is free. */
                {{.is_network = true, .lock = OWNER_LOCK_FREE}, true},
                {{.is_network = true, .lock = OWNER_LOCK_MISSING}, true},
                {{.is_network = true, .lock = OWNER_LOCK_HELD}, false},
                /* An earlier boot of this machine is over, whatever the server still locks. */
                {{.is_network = true,
                  .lock = OWNER_LOCK_HELD,
                  .has_mark = true,
                  .same_machine = true},
                 true},
                /* The own kernel knows that its process lives. */
                {{.is_network = true,
                  .lock = OWNER_LOCK_HELD,
                  .has_mark = true,
                  .same_machine = true,
                  .same_boot = true,
                  .age_ms = stale,
                  .take_over = true},
                 false},
                {{.is_network = true,
                  .lock = OWNER_LOCK_FREE,
                  .has_mark = true,
                  .same_machine = true,
                  .same_boot = true},
                 true},
                /* Without locks the same instance takes its own at once, another waits. */
                {{.lock = OWNER_LOCK_MISSING,
                  .has_mark = true,
                  .same_machine = true,
                  .same_boot = true,
                  .same_instance = true},
                 true},
                {{.lock = OWNER_LOCK_MISSING,
                  .has_mark = true,
                  .same_machine = true,
                  .same_boot = true},
                 false},
                /* Another machine: until its mark is old. */
                {{.is_network = true,
                  .lock = OWNER_LOCK_FREE,
                  .has_mark = true,
                  .age_ms = stale - 1},
                 false},
                {{.is_network = true, .lock = OWNER_LOCK_FREE, .has_mark = true, .age_ms = stale},
                 true},
                {{.is_network = true, .lock = OWNER_LOCK_HELD, .has_mark = true, .age_ms = stale},
                 true},
                {{.is_network = true, .lock = OWNER_LOCK_FREE, .has_mark = true, .take_over = true},
                 true},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                assert_int_equal(owner_may_take(&cases[i].facts), cases[i].may);
}

/* Another store, even of this process, is another owner. */
static void test_second_is_refused(void **state)
{
        struct kept *k = *state, other = {.io = &io_real};
        char expected[128];

        assert_int_equal(kept_open(k), 0);
        snprintf(other.path, sizeof(other.path), "%s", k->path);
        sem_init(&other.woken, 0, 0);
        kept_start(&other, &io_real);
        assert_int_equal(kept_open(&other), -EBUSY);
        assert_int_equal(other.open.owner_pid, getpid());
        snprintf(expected, sizeof(expected), "belongs to the ckptd with pid %d on ", (int)getpid());
        assert_non_null(strstr(other.open.diag.text, expected));
        assert_non_null(strstr(other.open.diag.text, "/run/test"));
        /* The refusal leaves the owner's mark alone, and a look needs no lock. */
        assert_int_equal(store_dir_renew(k->dir, NULL), 0);
        assert_int_equal(
                kept_open_with(&other,
                               (struct store_open){.path = k->path, .fd = -1, .read_only = true}),
                0);
        store_dir_close(take_ptr(k->dir));
        assert_int_equal(kept_open(&other), 0);
        kept_stop(&other);
        sem_destroy(&other.woken);
}

/* A daemon that was killed leaves its mark, and no lock. */
static void test_killed_owner(void **state)
{
        struct kept *k = *state;
        pid_t pid = fork();
        int status;

        if (pid == 0) {
                struct kept child = {.io = &io_real};

                snprintf(child.path, sizeof(child.path), "%s", k->path);
                sem_init(&child.woken, 0, 0);
                kept_start(&child, &io_real);
                _exit(kept_open(&child) == 0 ? 0 : 1);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        assert_int_equal(kept_open(k), 0);
        assert_true(store_dir_is_locked(k->dir));
}

static void put_mark(struct kept *k, const char *host, const char *boot)
{
        char text[1024];

        snprintf(text, sizeof(text),
                 "{\"host\":\"%s\",\"machine_id\":\"m\",\"boot_id\":\"%s\",\"uid\":0,\"pid\":4242,"
                 "\"socket\":\"/run/theirs\",\"renewed\":\"2026-01-01T00:00:00Z\"}",
                 host, boot);
        kept_put(k, ".ckptd/owner", text);
}

/* As on a network file system: the mark of another host counts although the lock is free. */
static void test_taken_over(void **state)
{
        struct kept *k = *state;
        struct diag d = {0};

        assert_int_equal(kept_open(k), 0);
        k->dir->is_network = true;
        assert_int_equal(store_dir_renew(k->dir, &d), 0);
        put_mark(k, "gpu-18", "other");
        assert_int_equal(store_dir_renew(k->dir, &d), -EBUSY);
        assert_non_null(strstr(d.text, "pid 4242 on gpu-18"));
        assert_int_equal(kept_save_step(k, &format_tensorbundle, 5), -EBUSY);
        diag_done(&d);
        /* Nor is what is not ours emptied. */
        store_dir_close(take_ptr(k->dir));
        char *text = kept_get(k, ".ckptd/owner");
        assert_non_null(strstr(text, "gpu-18"));
        free(text);
}

static void test_fresh_mark_of_another_host(void **state)
{
        struct kept *k = *state;
        struct timespec old[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
        struct diag d = {0};
        pid_t pid = 0;

        assert_int_equal(kept_open(k), 0);
        k->dir->is_network = true;
        put_mark(k, "gpu-18", "other");
        close(take_fd(&k->dir->owner));
        assert_int_equal(owner_take(k->dir, false, &pid, &d), -EBUSY);
        assert_int_equal(pid, 4242);
        assert_int_equal(futimens(k->dir->owner, old), 0);
        close(take_fd(&k->dir->owner));
        assert_int_equal(owner_take(k->dir, false, &pid, &d), 0);
        diag_done(&d);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_rules),
                cmocka_unit_test_setup_teardown(test_second_is_refused, kept_setup, kept_teardown),
                cmocka_unit_test_setup_teardown(test_killed_owner, kept_setup, kept_teardown),
                cmocka_unit_test_setup_teardown(test_taken_over, kept_setup, kept_teardown),
                cmocka_unit_test_setup_teardown(test_fresh_mark_of_another_host, kept_setup,
                                                kept_teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
