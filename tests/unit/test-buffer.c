#include "buffer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void test_empty(void **state)
{
        struct buffer b = {0};
        char *text;

        (void)state;
        buffer_consume(&b, 5);
        assert_int_equal(b.len, 0);
        text = buffer_take(&b);
        assert_string_equal(text, "");
        free(text);
        buffer_done(&b);
        buffer_done(&b);
}

static void test_append_of_nothing_is_a_string(void **state)
{
        _cleanup_(buffer_done) struct buffer b = {0};

        (void)state;
        assert_int_equal(buffer_append(&b, NULL, 0), 0);
        assert_string_equal((char *)b.data, "");
}

/* Crosses every doubling, with the NUL checked after each byte. */
static void test_append_grows(void **state)
{
        _cleanup_(buffer_done) struct buffer b = {0};

        (void)state;
        for (size_t i = 0; i < 5000; i++) {
                uint8_t c = (uint8_t)(i % 251 + 1);

                assert_int_equal(buffer_append(&b, &c, 1), 0);
                assert_int_equal(b.len, i + 1);
                assert_true(b.cap > b.len);
                assert_int_equal(b.data[b.len], 0);
        }
        for (size_t i = 0; i < 5000; i++)
                assert_int_equal(b.data[i], i % 251 + 1);
}

static void test_ceiling(void **state)
{
        _cleanup_(buffer_done) struct buffer b = {.max = 100};
        char bytes[100];

        (void)state;
        memset(bytes, 'x', sizeof(bytes));
        assert_int_equal(buffer_append(&b, bytes, 99), 0);
        assert_int_equal(buffer_append(&b, bytes, 2), -EOVERFLOW);
        assert_int_equal(b.len, 99);
        assert_int_equal(buffer_append(&b, bytes, 1), 0);
        assert_true(b.cap <= 101);
        assert_int_equal(buffer_reserve(&b, 0), 0);
        assert_int_equal(buffer_reserve(&b, 1), -EOVERFLOW);
        assert_int_equal(buffer_printf(&b, "%d", 1), -EOVERFLOW);
        assert_int_equal(b.len, 100);
        buffer_consume(&b, 1);
        assert_int_equal(buffer_printf(&b, "%d", 1), 0);
        assert_int_equal(b.data[99], '1');
}

static void test_size_overflow(void **state)
{
        _cleanup_(buffer_done) struct buffer b = {0};

        (void)state;
        assert_int_equal(buffer_append(&b, "abc", 3), 0);
        assert_int_equal(buffer_reserve(&b, SIZE_MAX), -EOVERFLOW);
        assert_int_equal(buffer_reserve(&b, SIZE_MAX - 2), -EOVERFLOW);
        /* Fits, but for its NUL. */
        assert_int_equal(buffer_reserve(&b, SIZE_MAX - 3), -EOVERFLOW);
        assert_string_equal((char *)b.data, "abc");
}

static void test_printf(void **state)
{
        _cleanup_(buffer_done) struct buffer b = {0};

        (void)state;
        assert_int_equal(buffer_printf(&b, "%s-%d", "step", 42), 0);
        assert_int_equal(buffer_printf(&b, "%200s", "!"), 0);
        assert_int_equal(b.len, 207);
        assert_memory_equal(b.data, "step-42 ", 8);
        assert_string_equal((char *)b.data + 206, "!");
}

static void test_consume(void **state)
{
        _cleanup_(buffer_done) struct buffer b = {0};

        (void)state;
        assert_int_equal(buffer_append(&b, "one\0two", 7), 0);
        buffer_consume(&b, 0);
        assert_int_equal(b.len, 7);
        buffer_consume(&b, 4);
        assert_int_equal(b.len, 3);
        assert_string_equal((char *)b.data, "two");
        buffer_consume(&b, 4);
        assert_int_equal(b.len, 0);
        assert_string_equal((char *)b.data, "");
        assert_int_equal(buffer_append(&b, "x", 1), 0);
        assert_string_equal((char *)b.data, "x");
}

static void test_take(void **state)
{
        _cleanup_(buffer_done) struct buffer b = {.max = 10};
        _cleanup_(freep) char *text = NULL;

        (void)state;
        assert_int_equal(buffer_append(&b, "abc", 3), 0);
        text = buffer_take(&b);
        assert_string_equal(text, "abc");
        assert_null(b.data);
        assert_int_equal(b.len + b.cap, 0);
        assert_int_equal(b.max, 10);
        assert_int_equal(buffer_append(&b, "d", 1), 0);
        assert_string_equal((char *)b.data, "d");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_empty),
                cmocka_unit_test(test_append_of_nothing_is_a_string),
                cmocka_unit_test(test_append_grows),
                cmocka_unit_test(test_ceiling),
                cmocka_unit_test(test_size_overflow),
                cmocka_unit_test(test_printf),
                cmocka_unit_test(test_consume),
                cmocka_unit_test(test_take),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
