#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "envelope.h"
#include "wire-test.h"

static void calls(void **state)
{
        json_t *json = json_of(
                "{\"method\":\"a.B\",\"parameters\":{\"x\":1},\"more\":true,\"oneway\":false,"
                "\"com.example.trace\":[]}");
        struct wire_call call;

        (void)state;
        assert_int_equal(wire_call_parse(json, &call), 0);
        assert_string_equal(call.method, "a.B");
        assert_json(call.parameters, "{\"x\":1}");
        assert_true(call.more);
        assert_false(call.oneway);
        assert_false(call.upgrade);
        json_decref(json);
}

static void absent_null_and_empty(void **state)
{
        static const char *const same[] = {
                "{\"method\":\"a.B\"}",
                "{\"method\":\"a.B\",\"parameters\":null,\"more\":null}",
                "{\"method\":\"a.B\",\"parameters\":{},\"more\":false,\"upgrade\":false}",
        };
        struct wire_call call;

        (void)state;
        for (size_t i = 0; i < 3; i++) {
                json_t *json = json_of(same[i]);

                assert_int_equal(wire_call_parse(json, &call), 0);
                assert_null(call.parameters);
                assert_false(call.oneway || call.more || call.upgrade);
                json_decref(json);
        }
}

static void bad_calls(void **state)
{
        static const char *const bad[] = {
                "{}",
                "{\"method\":null}",
                "{\"method\":1}",
                "{\"method\":\"a.B\",\"parameters\":[]}",
                "{\"method\":\"a.B\",\"parameters\":\"x\"}",
                "{\"method\":\"a.B\",\"more\":1}",
                "{\"method\":\"a.B\",\"oneway\":\"true\"}",
                "{\"method\":\"a.B\",\"upgrade\":{}}",
                "{\"method\":\"a.B\",\"more\":true,\"oneway\":true}",
                "{\"method\":\"a.B\",\"more\":true,\"upgrade\":true}",
                "{\"method\":\"a.B\",\"continues\":true}",
                "{\"method\":\"a.B\",\"error\":\"x\"}",
        };
        struct wire_call call;

        (void)state;
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                json_t *json = json_of(bad[i]);

                assert_int_equal(wire_call_parse(json, &call), -EBADMSG);
                json_decref(json);
        }
}

static void replies(void **state)
{
        static const char *const bad[] = {
                "{\"error\":1}",          "{\"parameters\":1}",
                "{\"continues\":\"no\"}", "{\"error\":\"a.B\",\"continues\":true}",
                "{\"method\":\"a.B\"}",
        };
        struct wire_reply reply;
        json_t *json = json_of("{\"error\":\"a.Wrong\",\"parameters\":{\"why\":\"so\"},\"a.b\":1}");

        (void)state;
        assert_int_equal(wire_reply_parse(json, &reply), 0);
        assert_string_equal(reply.error, "a.Wrong");
        assert_json(reply.parameters, "{\"why\":\"so\"}");
        assert_false(reply.continues);
        json_decref(json);
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                json = json_of(bad[i]);
                assert_int_equal(wire_reply_parse(json, &reply), -EBADMSG);
                json_decref(json);
        }
}

static void assert_format(json_t *got, const char *text)
{
        assert_json(got, text);
        json_decref(got);
}

static void formats(void **state)
{
        (void)state;
        assert_format(wire_call_format("a.B", NULL, NULL), "{\"method\":\"a.B\"}");
        assert_format(wire_call_format("a.B", json_object(), "oneway"),
                      "{\"method\":\"a.B\",\"oneway\":true}");
        assert_format(wire_call_format("a.B", json_of("{\"x\":[1]}"), "more"),
                      "{\"method\":\"a.B\",\"parameters\":{\"x\":[1]},\"more\":true}");
        assert_format(wire_reply_format(NULL, NULL, false), "{}");
        assert_format(wire_reply_format(NULL, json_of("{\"x\":1}"), true),
                      "{\"parameters\":{\"x\":1},\"continues\":true}");
        assert_format(wire_reply_format("a.Wrong", json_of("{\"x\":1}"), false),
                      "{\"error\":\"a.Wrong\",\"parameters\":{\"x\":1}}");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(calls),     cmocka_unit_test(absent_null_and_empty),
                cmocka_unit_test(bad_calls), cmocka_unit_test(replies),
                cmocka_unit_test(formats),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
