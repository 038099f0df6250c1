#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "field.h"
#include "wire-test.h"

#include <math.h>

struct all {
        const char *text;
        int64_t number;
        double real;
        bool flag;
        json_t *object, *array;
        int64_t fd;
        int64_t step;
        bool has_step;
};

static const struct field fields[] = {
        FIELD(FIELD_STRING, struct all, text, FIELD_REQUIRED | FIELD_NOT_EMPTY),
        FIELD(FIELD_INT, struct all, number, FIELD_NOT_NEGATIVE),
        FIELD(FIELD_FLOAT, struct all, real, 0),
        FIELD(FIELD_BOOL, struct all, flag, 0),
        FIELD(FIELD_OBJECT, struct all, object, 0),
        FIELD(FIELD_ARRAY, struct all, array, FIELD_NOT_EMPTY),
        FIELD(FIELD_FD, struct all, fd, 0),
        {"step", FIELD_INT, 0, offsetof(struct all, step), offsetof(struct all, has_step)},
        FIELD_END,
};

static void everything(void **state)
{
        json_t *json =
                json_of("{\"text\":\"t\",\"number\":9223372036854775807,\"real\":0.5,\"flag\":true,"
                        "\"object\":{\"a\":1},\"array\":[2],\"fd\":0,\"step\":0}");
        struct all all = {0};
        const char *bad = NULL;
        json_t *back;

        (void)state;
        assert_int_equal(field_decode(fields, json, &all, &bad), 0);
        assert_string_equal(all.text, "t");
        assert_true(all.number == INT64_MAX);
        assert_true(all.real == 0.5);
        assert_true(all.flag);
        assert_json(all.object, "{\"a\":1}");
        assert_json(all.array, "[2]");
        assert_int_equal(all.fd, 0);
        assert_true(all.has_step);
        back = field_encode(fields, &all);
        assert_true(json_equal(json, back));
        json_decref(back);
        json_decref(json);
}

static void nothing(void **state)
{
        json_t *json = json_of("{\"text\":\"t\",\"number\":null,\"fd\":null,\"object\":null}");
        struct all all = {0};
        const char *bad = NULL;
        json_t *back;

        (void)state;
        assert_int_equal(field_decode(fields, json, &all, &bad), 0);
        assert_int_equal(all.fd, -1);
        assert_null(all.object);
        assert_false(all.has_step);
        back = field_encode(fields, &all);
        assert_json(back, "{\"text\":\"t\"}");
        json_decref(back);
        json_decref(json);
        assert_int_equal(field_decode(fields, NULL, &all, &bad), -EINVAL);
        assert_string_equal(bad, "text");
        assert_int_equal(field_decode(fields + 1, NULL, &all, &bad), 0);
}

static void refusals(void **state)
{
        static const struct {
                const char *text, *bad;
        } cases[] = {
                {"{}", "text"},
                {"{\"text\":null}", "text"},
                {"{\"text\":\"\"}", "text"},
                {"{\"text\":1}", "text"},
                {"{\"text\":\"t\",\"number\":-1}", "number"},
                {"{\"text\":\"t\",\"number\":1.0}", "number"},
                {"{\"text\":\"t\",\"number\":\"1\"}", "number"},
                {"{\"text\":\"t\",\"number\":true}", "number"},
                {"{\"text\":\"t\",\"real\":\"x\"}", "real"},
                {"{\"text\":\"t\",\"flag\":0}", "flag"},
                {"{\"text\":\"t\",\"object\":[]}", "object"},
                {"{\"text\":\"t\",\"array\":{}}", "array"},
                {"{\"text\":\"t\",\"array\":[]}", "array"},
                {"{\"text\":\"t\",\"fd\":-1}", "fd"},
                {"{\"text\":\"t\",\"fd\":253}", "fd"},
                {"{\"text\":\"t\",\"fd\":1.0}", "fd"},
                {"{\"text\":\"t\",\"stepp\":1}", "stepp"},
                {"{\"text\":\"t\",\"other\":null}", "other"},
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                json_t *json = json_of(cases[i].text);
                struct all all = {0};
                const char *bad = NULL;

                assert_int_equal(field_decode(fields, json, &all, &bad), -EINVAL);
                assert_string_equal(bad, cases[i].bad);
                json_decref(json);
        }
}

static void floats(void **state)
{
        struct all all = {.text = "t"};
        const char *bad = NULL;
        json_t *json = json_of("{\"text\":\"t\",\"real\":-3}");

        (void)state;
        assert_int_equal(field_decode(fields, json, &all, &bad), 0);
        assert_true(all.real == -3.0);
        all.real = NAN;
        assert_null(field_encode(fields, &all));
        all.real = INFINITY;
        assert_null(field_encode(fields, &all));
        json_decref(json);
}

static void embedded_nul(void **state)
{
        json_t *json = json_pack("{s:o}", "text", json_stringn("a\0b", 3));
        struct all all = {0};
        const char *bad = NULL;

        (void)state;
        assert_int_equal(field_decode(fields, json, &all, &bad), -EINVAL);
        assert_string_equal(bad, "text");
        json_decref(json);
}

static void required_zeroes_are_sent(void **state)
{
        static const struct field required[] = {
                FIELD(FIELD_INT, struct all, number, FIELD_REQUIRED),
                FIELD(FIELD_BOOL, struct all, flag, FIELD_REQUIRED),
                FIELD(FIELD_FLOAT, struct all, real, FIELD_REQUIRED),
                FIELD(FIELD_FD, struct all, fd, 0),
                FIELD_END,
        };
        struct all all = {0};
        json_t *json = field_encode(required, &all);

        (void)state;
        assert_json(json, "{\"number\":0,\"flag\":false,\"real\":0.0,\"fd\":0}");
        json_decref(json);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(everything),   cmocka_unit_test(nothing),
                cmocka_unit_test(refusals),     cmocka_unit_test(floats),
                cmocka_unit_test(embedded_nul), cmocka_unit_test(required_zeroes_are_sent),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
