#include "diag.h"

#include <errno.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void test_set_replaces(void **state)
{
        _cleanup_(diag_done) struct diag d = {0};

        (void)state;
        assert_int_equal(diag_set(&d, -EIO, "%s:%d", "a.yaml", 5), -EIO);
        assert_string_equal(d.text, "a.yaml:5");
        assert_int_equal(diag_set(&d, -EINVAL, "other"), -EINVAL);
        assert_string_equal(d.text, "other");
}

static void test_set_from_own_text(void **state)
{
        _cleanup_(diag_done) struct diag d = {0};

        (void)state;
        diag_set(&d, -EIO, "inner");
        diag_set(&d, -EIO, "outer: %s", d.text);
        assert_string_equal(d.text, "outer: inner");
        diag_add(&d, -EIO, "again %s", d.text);
        assert_string_equal(d.text, "outer: inner\nagain outer: inner");
}

static void test_add_makes_lines(void **state)
{
        _cleanup_(diag_done) struct diag d = {0};

        (void)state;
        assert_int_equal(diag_add(&d, -EINVAL, "first"), -EINVAL);
        assert_string_equal(d.text, "first");
        assert_int_equal(diag_add(&d, 1, "second %%"), 1);
        assert_string_equal(d.text, "first\nsecond %");
}

static void test_no_diag(void **state)
{
        struct diag src = {0};

        (void)state;
        assert_int_equal(diag_set(NULL, -EIO, "x"), -EIO);
        assert_int_equal(diag_add(NULL, -EIO, "x"), -EIO);
        diag_move(NULL, &src);
        assert_string_equal(diag_text(NULL, -ENOSPC), strerror(ENOSPC));
}

static void test_move(void **state)
{
        _cleanup_(diag_done) struct diag dst = {0}, src = {0};

        (void)state;
        diag_set(&dst, 0, "old");
        diag_set(&src, 0, "new");
        diag_move(&dst, &src);
        assert_string_equal(dst.text, "new");
        assert_null(src.text);
        diag_move(&dst, &dst);
        assert_string_equal(dst.text, "new");
        diag_move(&dst, &src);
        assert_null(dst.text);
}

static void test_text(void **state)
{
        _cleanup_(diag_done) struct diag d = {0};

        (void)state;
        assert_string_equal(diag_text(&d, -ENOENT), strerror(ENOENT));
        assert_string_equal(diag_text(&d, 0), strerror(0));
        diag_set(&d, -ENOENT, "no model here");
        assert_string_equal(diag_text(&d, -ENOENT), "no model here");
        diag_done(&d);
        assert_string_equal(diag_text(&d, -ENOENT), strerror(ENOENT));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_set_replaces),
                cmocka_unit_test(test_set_from_own_text),
                cmocka_unit_test(test_add_makes_lines),
                cmocka_unit_test(test_no_diag),
                cmocka_unit_test(test_move),
                cmocka_unit_test(test_text),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
