#include "units.h"

#include "cleanup.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)

static void test_parse_duration(void **state)
{
        static const struct {
                const char *text;
                int64_t unit_ms, ms;
        } cases[] = {
                {"0", SECOND, 0},
                {"90", SECOND, 90 * SECOND},
                {"90", 1, 90},
                {"2", HOUR, 2 * HOUR},
                {"90s", HOUR, 90 * SECOND},
                {"10m", 1, 10 * MINUTE},
                {"6h", 1, 6 * HOUR},
                {"30d", 1, 30 * DAY},
                {"1.5h", 1, 90 * MINUTE},
                {"0.1s", 1, 100},
                {"2.25", SECOND, 2250},
                {"0.0004s", 1, 0},
                {"0.00000000000000000000000000001d", 1, 0},
                {"0.99999999999999999999", SECOND, SECOND},
                {"9223372036854775807", 1, INT64_MAX},
                {"9223372036854775.807s", 1, INT64_MAX},
                {"106751991167d", 1, 106751991167 * DAY},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                int64_t ms = -1;

                assert_int_equal(units_parse_duration(cases[i].text, cases[i].unit_ms, &ms), 0);
                assert_int_equal(ms, cases[i].ms);
        }
}

static void test_parse_duration_failures(void **state)
{
        static const char *const wrong[] = {
                "",    "s",    "-1",    "+1",   " 1",  "1 ",   "1 s",   "1_000",
                "010", "00",   "1.",    ".5",   "1.s", "1,5s", "10:00", "5M",
                "5ms", "5min", "1h30m", "0x10", "1e3", "nan",  "inf",   "99999999999999999999x",
        };
        static const char *const far[] = {
                "9223372036854775808",   "18446744073709551616", "99999999999999999999999",
                "99999999999999999999s", "106751991168d",        "9223372036854775.808s",
                "213503982334601d",
        };
        int64_t ms = -7;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
                assert_int_equal(units_parse_duration(wrong[i], 1, &ms), -EINVAL);
        for (size_t i = 0; i < ARRAY_SIZE(far); i++)
                assert_int_equal(units_parse_duration(far[i], 1, &ms), -ERANGE);
        assert_int_equal(ms, -7);
}

static void test_parse_size(void **state)
{
        static const struct {
                const char *text;
                uint64_t bytes;
        } cases[] = {
                {"0", 0},
                {"512", 512},
                {"512B", 512},
                {"1KiB", 1024},
                {"512MiB", UINT64_C(512) << 20},
                {"8GiB", UINT64_C(8) << 30},
                {"2TiB", UINT64_C(2) << 40},
                {"1kB", 1000},
                {"3MB", 3000000},
                {"4GB", UINT64_C(4000000000)},
                {"2TB", UINT64_C(2000000000000)},
                {"1.5GiB", UINT64_C(3) << 29},
                {"0.1kB", 100},
                {"0.0001kB", 0},
                {"18446744073709551615", UINT64_MAX},
                {"16777215TiB", UINT64_C(16777215) << 40},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                uint64_t bytes = 77;

                assert_int_equal(units_parse_size(cases[i].text, &bytes), 0);
                assert_int_equal(bytes, cases[i].bytes);
        }
}

static void test_parse_size_failures(void **state)
{
        static const char *const wrong[] = {
                "",     "8G",    "8g",    "8M",    "8K",   "8k",    "1KB", "1kib",
                "1gib", "1GiBs", "GiB",   "-1GiB", "+1",   "1 GiB", "1.5", "1.5B",
                "1_0",  "08",    "1.GiB", "50%",   "lots", "1PiB",  "1e3", "0x1",
        };
        static const char *const far[] = {
                "18446744073709551616",      "16777216TiB",
                "99999999999999999999GiB",   "18446744074TB",
                "16777215.9999999999999TiB",
        };
        uint64_t bytes = 77;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
                assert_int_equal(units_parse_size(wrong[i], &bytes), -EINVAL);
        for (size_t i = 0; i < ARRAY_SIZE(far); i++)
                assert_int_equal(units_parse_size(far[i], &bytes), -ERANGE);
        assert_int_equal(bytes, 77);
}

static void test_format_duration(void **state)
{
        static const struct {
                int64_t ms;
                const char *text;
        } cases[] = {
                {INT64_MIN, "0.00s"},
                {0, "0.00s"},
                {1, "1ms"},
                {9, "9ms"},
                {10, "0.01s"},
                {296, "0.29s"},
                {999, "0.99s"},
                {1000, "1.0s"},
                {3790, "3.7s"},
                {9999, "9.9s"},
                {10 * SECOND, "10s"},
                {MINUTE - 1, "59s"},
                {MINUTE, "1m 0s"},
                {3 * MINUTE + 15 * SECOND, "3m 15s"},
                {HOUR - 1, "59m 59s"},
                {6 * HOUR, "6h 0m"},
                {47 * HOUR + 59 * MINUTE, "47h 59m"},
                {2 * DAY, "2 days"},
                {12 * DAY + 23 * HOUR, "12 days"},
                {INT64_MAX, "106751991167 days"},
        };
        char text[UNITS_TEXT_MAX];

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                assert_string_equal(units_format_duration(text, cases[i].ms), cases[i].text);
        assert_string_equal(units_format_us(text, -1), "0.00s");
        assert_string_equal(units_format_us(text, 0), "0.00s");
        assert_string_equal(units_format_us(text, 85), "85us");
        assert_string_equal(units_format_us(text, 400), "0.4ms");
        assert_string_equal(units_format_us(text, 9999), "9.9ms");
        assert_string_equal(units_format_us(text, 10000), "0.01s");
}

static void test_format_size(void **state)
{
        static const struct {
                uint64_t bytes;
                const char *text;
        } cases[] = {
                {0, "0 B"},
                {512, "512 B"},
                {1023, "1023 B"},
                {1024, "1.0 KiB"},
                {12698, "12.4 KiB"},
                {(UINT64_C(1) << 20) - 1, "1.0 MiB"},
                {UINT64_C(1) << 20, "1.0 MiB"},
                {UINT64_C(83966610432), "78.2 GiB"},
                {(UINT64_C(1) << 40) - 1, "1.0 TiB"},
                {UINT64_C(1) << 50, "1.0 PiB"},
                {UINT64_MAX, "16.0 EiB"},
        };
        char text[UNITS_TEXT_MAX];

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                assert_string_equal(units_format_size(text, cases[i].bytes), cases[i].text);
}

static void test_format_interval(void **state)
{
        static const struct {
                int64_t ms;
                const char *text;
        } cases[] = {
                {-5, "0s"},           {0, "0s"},
                {1, "0.001s"},        {1500, "1.5s"},
                {90 * SECOND, "90s"}, {600 * SECOND, "10m"},
                {90 * MINUTE, "90m"}, {6 * HOUR, "6h"},
                {DAY, "1d"},          {36 * HOUR, "36h"},
                {30 * DAY, "30d"},    {INT64_MAX, "9223372036854775.807s"},
        };
        char text[UNITS_TEXT_MAX];
        int64_t back;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                assert_string_equal(units_format_interval(text, cases[i].ms), cases[i].text);
                assert_int_equal(units_parse_duration(text, 1, &back), 0);
                assert_int_equal(back, cases[i].ms < 0 ? 0 : cases[i].ms);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parse_duration),
                cmocka_unit_test(test_parse_duration_failures),
                cmocka_unit_test(test_parse_size),
                cmocka_unit_test(test_parse_size_failures),
                cmocka_unit_test(test_format_duration),
                cmocka_unit_test(test_format_size),
                cmocka_unit_test(test_format_interval),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
