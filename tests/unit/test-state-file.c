#include "state-file.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct state_file parse(const char *text)
{
        _cleanup_(diag_done) struct diag d = {0};
        struct state_file f = {0};
        int r = state_file_parse(text, strlen(text), &f, &d);

        if (r < 0)
                fail_msg("%s: %s", text, diag_text(&d, r));
        return f;
}

static void refused(const char *text, const char *why)
{
        _cleanup_(diag_done) struct diag d = {0};
        struct state_file f = {0};

        assert_int_equal(state_file_parse(text, strlen(text), &f, &d), -EBADMSG);
        if (!strstr(d.text, why))
                fail_msg("\"%s\" does not say \"%s\"", d.text, why);
}

static void formats_as_tensorflow_does(void **state)
{
        char *paths[] = {(char[]){"ckpt-1"}, (char[]){"ckpt-3"}};
        double times[] = {1700000000.0, 1700000000.1234567};
        struct state_file f = {paths[1], 2, paths, times, 1699999999.5};
        _cleanup_(buffer_done) struct buffer b = {0};

        (void)state;
        assert_int_equal(state_file_format(&f, &b), 0);
        assert_string_equal((char *)b.data, "model_checkpoint_path: \"ckpt-3\"\n"
                                            "all_model_checkpoint_paths: \"ckpt-1\"\n"
                                            "all_model_checkpoint_paths: \"ckpt-3\"\n"
                                            "all_model_checkpoint_timestamps: 1700000000.0\n"
                                            "all_model_checkpoint_timestamps: 1700000000.1234567\n"
                                            "last_preserved_timestamp: 1699999999.5\n");
}

static void prints_numbers_as_python_does(void **state)
{
        static const struct {
                double value;
                const char *text;
        } cases[] = {
                {1e16, "1e+16"},
                {1e-7, "1e-07"},
                {1.2345678901234568e17, "1.2345678901234568e+17"},
                {5e-324, "5e-324"},
                {INFINITY, "inf"},
                {-INFINITY, "-inf"},
                {NAN, "nan"},
                {0.0001, "0.0001"},
                {0.00001, "1e-05"},
                {-1.5, "-1.5"},
                {123456789012345680.0, "1.2345678901234568e+17"},
                {9999999999999998.0, "9999999999999998.0"},
                {1.0, "1.0"},
                {100.0, "100.0"},
                {0.1, "0.1"},
                {1e100, "1e+100"},
                {5.960464477539063e-08, "5.960464477539063e-08"},
                {1.25e-10, "1.25e-10"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_(buffer_done) struct buffer b = {0};
                struct state_file f = {.newest = (char[]){"x"}, .last_preserved = cases[i].value};
                char want[128];

                snprintf(want, sizeof(want),
                         "model_checkpoint_path: \"x\"\nlast_preserved_timestamp: %s\n",
                         cases[i].text);
                assert_int_equal(state_file_format(&f, &b), 0);
                assert_string_equal((char *)b.data, want);
        }
}

static void escapes_and_reads_back_every_byte(void **state)
{
        char path[260] = "";
        _cleanup_(buffer_done) struct buffer b = {0};
        _cleanup_(state_file_done) struct state_file f = {0};
        struct state_file original = {.newest = path};
        size_t n = 0;

        (void)state;
        for (int c = 1; c < 128; c++)
                path[n++] = (char)c;
        strcpy(path + n, "\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80");
        assert_int_equal(state_file_format(&original, &b), 0);
        assert_non_null(strstr((char *)b.data, "\\001\\002"));
        assert_non_null(strstr((char *)b.data, "\\t\\n\\013\\014\\r"));
        assert_non_null(strstr((char *)b.data, "!\\\"#"));
        assert_non_null(strstr((char *)b.data, "&\\'("));
        assert_non_null(strstr((char *)b.data, "\\177\\303\\251\\344"));
        f = parse((char *)b.data);
        assert_string_equal(f.newest, path);
        assert_int_equal(f.n, 0);
        assert_null(f.timestamps);
}

static void reads_all_of_the_grammar(void **state)
{
        _cleanup_(state_file_done) struct state_file f =
                parse("# a comment\n"
                      "model_checkpoint_path : 'first' ; # superseded\n"
                      "all_model_checkpoint_paths:[\"a\" 'b', \"\\x41\\102\\u00e9\\U0001f600\"],\n"
                      "all_model_checkpoint_paths: \"c\\?\\a\"\n"
                      "all_model_checkpoint_timestamps: [1, -2.5e1f, +INFINITY]\n"
                      "all_model_checkpoint_timestamps: []\r\n"
                      "last_preserved_timestamp: 3.f\n"
                      "model_checkpoint_path: \"sec\"\n  \"ond\"");

        (void)state;
        assert_string_equal(f.newest, "second");
        assert_int_equal(f.n, 3);
        assert_string_equal(f.paths[0], "ab");
        assert_string_equal(f.paths[1], "AB\xc3\xa9\xf0\x9f\x98\x80");
        assert_string_equal(f.paths[2], "c?\a");
        assert_true(f.timestamps[0] == 1 && f.timestamps[1] == -25 && isinf(f.timestamps[2]));
        assert_true(f.last_preserved == 3);
}

static void drops_timestamps_that_are_not_as_many(void **state)
{
        _cleanup_(state_file_done) struct state_file f =
                parse("model_checkpoint_path: \"a\"\nall_model_checkpoint_paths: \"a\"\n"
                      "all_model_checkpoint_timestamps: 1\nall_model_checkpoint_timestamps: 2\n");

        (void)state;
        assert_int_equal(f.n, 1);
        assert_null(f.timestamps);
}

static void refuses_with_line_and_reason(void **state)
{
        static const struct {
                const char *text, *why;
        } cases[] = {
                {"", "line 1: no model_checkpoint_path"},
                {"model_checkpoint_path: \"\"", "no model_checkpoint_path"},
                {"model_checkpoint_path: \"a\"\nunknown: 1", "line 2: not a field"},
                {"model_checkpoint_path \"a\"", "':' is expected"},
                {"model_checkpoint_path: a", "a string in quotes is expected"},
                {"model_checkpoint_path: [\"a\"]", "a string in quotes is expected"},
                {"model_checkpoint_path: \"a\nb\"", "line 1: a string does not end"},
                {"model_checkpoint_path: \"a", "a string does not end"},
                {"model_checkpoint_path: \"a\\", "a string does not end"},
                {"model_checkpoint_path: \"\\q\"", "bad escape"},
                {"model_checkpoint_path: \"\\xg\"", "bad escape"},
                {"model_checkpoint_path: \"\\400\"", "bad escape"},
                {"model_checkpoint_path: \"\\ud800\"", "bad escape"},
                {"model_checkpoint_path: \"\\U00110000\"", "bad escape"},
                {"model_checkpoint_path: \"\\000\"", "zero byte"},
                {"model_checkpoint_path: \"\xff\"", "not UTF-8"},
                {"model_checkpoint_path: \"\\355\\240\\200\"", "not UTF-8"},
                {"model_checkpoint_path: \"\xc0\xaf\"", "not UTF-8"},
                {"last_preserved_timestamp: 0x10", "a number is expected"},
                {"last_preserved_timestamp: 1e", "a number is expected"},
                {"last_preserved_timestamp: \"1\"", "a number is expected"},
                {"all_model_checkpoint_paths: [\"a\" \"b\"", "a list does not end"},
                {"all_model_checkpoint_paths: [,]", "a string in quotes is expected"},
                {"\"model_checkpoint_path\": \"a\"", "not a field"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                refused(cases[i].text, cases[i].why);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(formats_as_tensorflow_does),
                cmocka_unit_test(prints_numbers_as_python_does),
                cmocka_unit_test(escapes_and_reads_back_every_byte),
                cmocka_unit_test(reads_all_of_the_grammar),
                cmocka_unit_test(drops_timestamps_that_are_not_as_many),
                cmocka_unit_test(refuses_with_line_and_reason),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
