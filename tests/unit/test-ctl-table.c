#include "ctl-table.h"

#include "ctl-text.h"
#include "ctl-values.h"
#include "ctl.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct ctl_column columns[] = {
        {.title = "STEP", .key = "step", .type = CTL_COUNT},
        {.key = "path", .type = CTL_TEXT},
        {.title = "PUBLISHED", .key = "published", .from = "published_ms", .type = CTL_TIME},
        {.title = "SIZE", .key = "bytes", .type = CTL_SIZE},
        {.title = "STATE", .key = "state", .type = CTL_STATE},
        {.title = "NOTE", .key = "note", .type = CTL_TEXT, .if_any = true},
        {.title = "KEPT BY", .key = "kept_by", .type = CTL_LIST},
        {0},
};

static json_t *sample_rows(void)
{
        json_t *rows = json_pack(
                "[{s:i, s:s, s:I, s:I, s:s, s:[s,s]}, {s:i, s:n, s:I, s:s, s:[]}]", "step", 184320,
                "path", "/srv/a-184320", "published_ms", (json_int_t)1795270712000, "bytes",
                (json_int_t)83966610637, "state", "whole", "kept_by", "newest 1/3", "best 1/2",
                "step", 7, "published_ms", "bytes", (json_int_t)512, "state", "damaged", "kept_by");

        assert_non_null(rows);
        return rows;
}

static char *print(const struct ctl_table *t)
{
        char *text = NULL;
        size_t n;
        FILE *f = open_memstream(&text, &n);

        assert_int_equal(ctl_table_print(f, t), 0);
        fclose(f);
        return text;
}

static void table_is_aligned_to_the_column(void **state)
{
        json_auto_t *rows = sample_rows();
        struct ctl_table t = {.columns = columns, .rows = rows};
        char *text;

        (void)state;
        text = print(&t);
        assert_string_equal(text,
                            "  STEP  PUBLISHED                SIZE  STATE    KEPT BY\n"
                            "184320  2026-11-21 14:18:32  78.2 GiB  whole    newest 1/3, best 1/2\n"
                            "     7  -                       512 B  damaged  -\n");
        free(text);
}

static void column_can_be_left_out(void **state)
{
        json_auto_t *rows = sample_rows();
        struct ctl_table t = {.columns = columns, .rows = rows, .without = "PUBLISHED"};
        char *text;

        (void)state;
        text = print(&t);
        assert_null(strstr(text, "PUBLISHED"));
        assert_null(strstr(text, "2026"));
        free(text);
}

static void control_characters_do_not_reach_the_terminal(void **state)
{
        json_auto_t *rows = json_pack("[{s:i, s:s}]", "step", 1, "state", "a\x1b[2Jb\nc");
        struct ctl_table t = {.columns = columns, .rows = rows};
        char *text;

        (void)state;
        text = print(&t);
        assert_null(strchr(text, '\x1b'));
        assert_non_null(strstr(text, "\\x1b[2Jb\\x0ac"));
        free(text);
}

static void only_bad_states_are_coloured(void **state)
{
        json_auto_t *rows = sample_rows();
        struct ctl_table t = {.columns = columns, .rows = rows, .color = true};
        char *text;

        (void)state;
        text = print(&t);
        assert_non_null(strstr(text, "\033[1;31mdamaged"));
        assert_null(strstr(text, "\033[1;31mwhole"));
        free(text);
}

static void json_has_full_precision(void **state)
{
        json_auto_t *rows = sample_rows();
        struct ctl_table t = {.columns = columns, .rows = rows};
        json_auto_t *out = ctl_table_json(&t);
        json_auto_t *wanted = json_pack(
                "[{s:i, s:s, s:s, s:I, s:s, s:[s,s]}, {s:i, s:I, s:s, s:[]}]", "step", 184320,
                "path", "/srv/a-184320", "published", "2026-11-21T14:18:32.000Z", "bytes",
                (json_int_t)83966610637, "state", "whole", "kept_by", "newest 1/3", "best 1/2",
                "step", 7, "bytes", (json_int_t)512, "state", "damaged", "kept_by");

        (void)state;
        assert_non_null(wanted);
        assert_true(json_equal(out, wanted));
}

static void times_before_1970_are_times_too(void **state)
{
        char out[CTL_TIME_MAX];

        (void)state;
        assert_string_equal(ctl_format_rfc3339(out, -1), "1969-12-31T23:59:59.999Z");
        assert_string_equal(ctl_format_time(out, 1795270712999), "2026-11-21 14:18:32");
}

static void since_takes_spans_and_moments(void **state)
{
        static const struct {
                const char *text;
                int64_t ms;
        } good[] = {
                {"2h", 1795263512000},
                {"90", 1795270622000},
                {"13:40", 1795268400000},
                {"14:30:00", 1795185000000},
                {"2026-11-20", 1795132800000},
                {"2026-11-20 01:00", 1795136400000},
                {"2026-11-20T01:00:01.5Z", 1795136401000},
        };
        int64_t ms;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
                assert_int_equal(ctl_parse_since(good[i].text, 1795270712000, &ms), 0);
                assert_int_equal(ms, good[i].ms);
        }
        assert_int_equal(ctl_parse_since("yesterday", 1795270712000, &ms), -EINVAL);
        assert_int_equal(ctl_parse_since("2026-11-20x", 1795270712000, &ms), -EINVAL);
}

static void long_lines_are_folded(void **state)
{
        char *text = NULL;
        size_t n;
        FILE *f = open_memstream(&text, &n);

        (void)state;
        ctl_put_folded(
                f, 4,
                "model.ckpt-2000.data-00000-of-00001: encoder/layer_7/kernel (float32 "
                "[4096,1024], bytes 1207959552 to 1224736767): crc32c is 5f3a91c2, the index "
                "says 0be817d4\nsecond");
        fclose(f);
        assert_string_equal(
                text, "    model.ckpt-2000.data-00000-of-00001: encoder/layer_7/kernel (float32 "
                      "[4096,1024], bytes\n"
                      "    1207959552 to 1224736767): crc32c is 5f3a91c2, the index says "
                      "0be817d4\n"
                      "    second\n");
        free(text);
}

static void json_text_takes_any_bytes(void **state)
{
        json_auto_t *good = ctl_json_text("gr\xc3\xb6\xc3\x9f"
                                          "e",
                                          7);
        json_auto_t *bad = ctl_json_text("a\xff\xc3", 3);

        (void)state;
        assert_string_equal(json_string_value(good), "gr\xc3\xb6\xc3\x9f"
                                                     "e");
        assert_string_equal(json_string_value(bad), "a\\xff\\xc3");
}

static void values_read_as_numpy_prints_them(void **state)
{
        static const struct {
                const char *dtype, *bytes, *text;
        } cases[] = {
                {"float32", "\xcd\xcc\xcc\x3d", "0.1"},
                {"float32", "\x00\x00\xc0\x7f", "nan"},
                {"float32", "\x00\x00\x80\xff", "-inf"},
                {"float64", "\x9a\x99\x99\x99\x99\x99\xb9\x3f", "0.1"},
                {"float16", "\x00\x3c", "1"},
                {"float16", "\x01\x00", "5.9605e-08"},
                {"float16", "\x00\x7c", "inf"},
                {"bfloat16", "\xc0\xbf", "-1.5"},
                {"float8_e4m3fn", "\x7e", "448"},
                {"float8_e4m3fn", "\x7f", "nan"},
                {"float8_e5m2", "\x7b", "57344"},
                {"int8", "\xff", "-1"},
                {"uint8", "\xff", "255"},
                {"qint32", "\xfe\xff\xff\xff", "-2"},
                {"int64", "\x00\x00\x00\x00\x00\x00\x00\x80", "-9223372036854775808"},
                {"uint64", "\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615"},
                {"bool", "\x01", "True"},
                {"complex64", "\x00\x00\x80\x3f\x00\x00\x00\xc0", "1-2j"},
                {"float8_e8m0fnu", "\x7f", "0x7f"},
        };
        char out[CTL_VALUE_TEXT_MAX];

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                const struct dtype *t = dtype_by_name(cases[i].dtype);

                assert_non_null(t);
                assert_string_equal(ctl_value_text(out, t, cases[i].bytes), cases[i].text);
        }
}

static void unknown_commands_name_their_kin(void **state)
{
        static const struct {
                const char *typed, *part;
        } cases[] = {
                {"prune", "did you mean plan? (not in this version)"},
                {"forget", "did you mean plan?"},
                {"rm", "did you mean remove?"},
                {"ls", "unknown command ls; did you mean list?"},
                {"log", "did you mean history?"},
                {"verfiy", "did you mean verify?"},
                {"statu", "did you mean status?"},
                {"plan", "plan: not in this version"},
                {"xyzzy", "unknown command xyzzy"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct diag d = {0};

                assert_null(ctl_command_find(cases[i].typed));
                assert_int_equal(ctl_command_unknown(cases[i].typed, &d), -EINVAL);
                assert_non_null(strstr(d.text, cases[i].part));
                diag_done(&d);
        }
}

static int use_utc(void **state)
{
        (void)state;
        return setenv("TZ", "UTC", 1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(table_is_aligned_to_the_column),
                cmocka_unit_test(column_can_be_left_out),
                cmocka_unit_test(control_characters_do_not_reach_the_terminal),
                cmocka_unit_test(only_bad_states_are_coloured),
                cmocka_unit_test(json_has_full_precision),
                cmocka_unit_test(times_before_1970_are_times_too),
                cmocka_unit_test(since_takes_spans_and_moments),
                cmocka_unit_test(long_lines_are_folded),
                cmocka_unit_test(json_text_takes_any_bytes),
                cmocka_unit_test(values_read_as_numpy_prints_them),
                cmocka_unit_test(unknown_commands_name_their_kin),
        };

        return cmocka_run_group_tests(tests, use_utc, NULL);
}
