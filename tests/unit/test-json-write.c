#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "json-write.h"

#include <errno.h>
#include <string.h>

/* What jansson writes is what we write. */
static void check(const json_t *value)
{
        _cleanup_(buffer_done) struct buffer b = {0};
        _cleanup_(freep) char *expected = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

        assert_non_null(expected);
        assert_int_equal(json_write(&b, value), 0);
        assert_string_equal((char *)b.data, expected);
        assert_int_equal(b.len, strlen(expected));
}

static void check_text(const char *text)
{
        json_t *value = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);

        assert_non_null(value);
        check(value);
        json_decref(value);
}

static void values(void **state)
{
        static const char *const texts[] = {
                "null",
                "true",
                "false",
                "0",
                "-1",
                "9223372036854775807",
                "-9223372036854775808",
                "0.1",
                "-1e300",
                "1.0",
                "2.5e-308",
                "\"\"",
                "\"abc\"",
                "[]",
                "{}",
                "[[],{},[1]]",
                "{\"a\":{\"b\":[1,\"x\",null]},\"c\":{},\"d\":\"{\"}",
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
                check_text(texts[i]);
}

static void every_character(void **state)
{
        (void)state;
        for (int c = 0; c < 256; c++) {
                char text[] = {'a', (char)c, (char)c, 'z'};
                json_t *value = c < 0x80 ? json_stringn(text, sizeof(text)) : NULL;
                json_t *object = json_object();

                if (value) {
                        check(value);
                        json_object_setn_new(object, text, sizeof(text), value);
                        check(object);
                }
                json_decref(object);
        }
        check_text("\"gr\\u00fc\\u00df \\ud83d\\ude00 \\u2028 /\"");
}

static void stops_at_the_ceiling(void **state)
{
        _cleanup_(buffer_done) struct buffer b = {.max = 9};
        json_t *value = json_pack("[s]", "12345");

        (void)state;
        assert_int_equal(json_write(&b, value), 0);
        b.len = 1;
        assert_int_equal(json_write(&b, value), -EOVERFLOW);
        json_decref(value);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(values),
                cmocka_unit_test(every_character),
                cmocka_unit_test(stops_at_the_ceiling),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
