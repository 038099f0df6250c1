#include "path-pattern.h"

#include "cleanup.h"

#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void test_patterns(void **state)
{
        static const struct {
                const char *pattern, *path;
                bool matches;
        } cases[] = {
                {"/a/b", "/a/b", true},
                {"/a/b", "/a/bc", false},
                {"/a/*", "/a/b", true},
                {"/a/*", "/a/b/c", false},
                {"/a/*", "/a/", true},
                {"/a/**", "/a/b/c", true},
                {"/a/**", "/a", false},
                {"/a/llm-*", "/a/llm-7b", true},
                {"/a/llm-*", "/a/llm", false},
                {"/**/x", "/a/b/x", true},
                {"/**/x", "/a/b/xy", false},
                {"/a*b*c", "/aXbYbZc", true},
                {"/a*b*c", "/aXbYbZ", false},
                {"/a/*/c/**", "/a/b/c/d/e", true},
                {"/a/*/c/**", "/a/b/b/c/d", false},
                {"/a?", "/ab", false},
                {"/a?", "/a?", true},
                {"/[ab]", "/a", false},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                assert_int_equal(path_pattern_matches(cases[i].pattern, cases[i].path),
                                 cases[i].matches);
}

static void test_pattern_time(void **state)
{
        char pattern[401] = "", path[2001];

        (void)state;
        for (int i = 0; i < 100; i++)
                strcat(pattern, i % 2 ? "a**" : "/a*");
        memset(path, 'a', 2000);
        path[2000] = '\0';
        assert_false(path_pattern_matches(pattern, path));
}

static void test_covers(void **state)
{
        (void)state;
        assert_true(path_pattern_covers("/a/**", "/a/*"));
        assert_true(path_pattern_covers("/a/**", "/a/b/**"));
        assert_true(path_pattern_covers("/a/*", "/a/b-*"));
        assert_true(path_pattern_covers("/a/*", "/a/*"));
        assert_false(path_pattern_covers("/a/*", "/a/**"));
        assert_false(path_pattern_covers("/a/b-*", "/a/*"));
        assert_false(path_pattern_covers("/a/*", "/a/b/c"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_patterns),
                cmocka_unit_test(test_pattern_time),
                cmocka_unit_test(test_covers),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
