#include "dtype.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void finds_by_every_name(void **state)
{
        const struct dtype *t = dtype_by_name("bfloat16");

        (void)state;
        assert_non_null(t);
        assert_int_equal(t->number, 14);
        assert_int_equal(t->bytes, 2);
        assert_ptr_equal(dtype_by_number(14), t);
        assert_ptr_equal(dtype_by_safetensors("BF16"), t);
        assert_string_equal(dtype_by_name("float16")->tensorflow, "half");
        assert_string_equal(dtype_by_safetensors("F8_E4M3")->name, "float8_e4m3fn");
        assert_int_equal(dtype_by_name("complex128")->bytes, 16);
}

static void refuses_what_is_never_stored(void **state)
{
        (void)state;
        assert_null(dtype_by_number(0));
        assert_null(dtype_by_number(20));  /* resource */
        assert_null(dtype_by_number(101)); /* a reference */
        assert_null(dtype_by_number(-1));
        assert_null(dtype_by_name("float"));
        assert_null(dtype_by_name(""));
        assert_null(dtype_by_safetensors("F4"));
        assert_null(dtype_by_safetensors("float32"));
}

static void numbers_and_names_are_unique(void **state)
{
        int n = 0;

        (void)state;
        for (int i = 0; i < 2000; i++) {
                const struct dtype *t = dtype_by_number(i);

                if (!t)
                        continue;
                n++;
                assert_int_equal(t->number, i);
                assert_ptr_equal(dtype_by_name(t->name), t);
                if (t->safetensors)
                        assert_ptr_equal(dtype_by_safetensors(t->safetensors), t);
                assert_true(t->tensorflow || i >= DTYPE_BEYOND_TENSORFLOW);
                assert_true(t->bytes > 0 || i == DTYPE_STRING || i == DTYPE_VARIANT);
        }
        assert_int_equal(n, 33);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(finds_by_every_name),
                cmocka_unit_test(refuses_what_is_never_stored),
                cmocka_unit_test(numbers_and_names_are_unique),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
