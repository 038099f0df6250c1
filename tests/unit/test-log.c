#include "log.h"

#include "fds.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <cmocka.h>

/* Standard error lies in a memory file while a test runs. */
struct capture {
        int saved, fd;
};

static int capture_start(void **state)
{
        struct capture *c = calloc(1, sizeof(*c));

        assert_non_null(c);
        c->saved = dup(STDERR_FILENO);
        c->fd = memfd_create("stderr", 0);
        assert_true(c->saved >= 0 && c->fd >= 0);
        assert_int_equal(dup2(c->fd, STDERR_FILENO), STDERR_FILENO);
        unsetenv("JOURNAL_STREAM");
        log_open();
        log_set_level(LOG_LEVEL_INFO);
        *state = c;
        return 0;
}

static int capture_stop(void **state)
{
        struct capture *c = *state;

        dup2(c->saved, STDERR_FILENO);
        close(c->saved);
        close(c->fd);
        free(c);
        return 0;
}

static void assert_logged(const struct capture *c, const char *expected)
{
        _cleanup_(buffer_done) struct buffer text = {0};

        assert_int_equal(fds_read_all(c->fd, 1024 * 1024, &text), 0);
        assert_string_equal((char *)text.data, expected);
}

static void use_journal(const struct capture *c, int inode_offset)
{
        struct stat st;
        char stream[64];

        assert_int_equal(fstat(c->fd, &st), 0);
        snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
                 (unsigned long long)st.st_ino + (unsigned long long)inode_offset);
        setenv("JOURNAL_STREAM", stream, 1);
        log_open();
}

static void test_levels(void **state)
{
        log_debug("no");
        log_info("saved %d", 5);
        log_warning("w");
        log_error("e");
        log_set_level(LOG_LEVEL_ERROR);
        log_warning("no");
        log_error("e2");
        log_set_level(LOG_LEVEL_DEBUG);
        log_debug("d");
        assert_logged(*state, "saved 5\nwarning: w\nerror: e\nerror: e2\ndebug: d\n");
        assert_string_equal(log_level_names[LOG_LEVEL_DEBUG], "debug");
        assert_null(log_level_names[LOG_LEVEL_DEBUG + 1]);
}

static void test_journal(void **state)
{
        use_journal(*state, 0);
        log_set_level(LOG_LEVEL_DEBUG);
        log_error("e");
        log_warning("w");
        log_info("i\nmore");
        log_debug("d");
        assert_logged(*state, "<3>e\n<4>w\n<6>i\n<6>    more\n<7>d\n");
}

static void test_another_stream_is_no_journal(void **state)
{
        use_journal(*state, 1);
        log_error("e");
        setenv("JOURNAL_STREAM", "nonsense", 1);
        log_open();
        log_error("f");
        assert_logged(*state, "error: e\nerror: f\n");
}

/* A name from outside cannot pass for a message of its own. */
static void test_text_from_outside(void **state)
{
        log_error("%s", "/models/a\x1b[2J\r\nerror: forged\tx\x7f");
        log_info("%s", "");
        log_info("gr\xc3\xbc\xc3\x9f");
        assert_logged(*state, "error: /models/a?[2J?\nerror:     error: forged?x?\n\n"
                              "gr\xc3\xbc\xc3\x9f\n");
}

static void test_long_message(void **state)
{
        static char name[20001], expected[sizeof(name) + 1];

        memset(name, 'x', sizeof(name) - 1);
        snprintf(expected, sizeof(expected), "%s\n", name);
        log_info("%s", name);
        assert_logged(*state, expected);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, capture_start, capture_stop)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_levels),
                TEST(test_journal),
                TEST(test_another_stream_is_no_journal),
                TEST(test_text_from_outside),
                TEST(test_long_message),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
