#include "buffer.h"
#include "limit.h"
#include "manifest.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct manifest *parse(const char *text)
{
        _cleanup_(diag_done) struct diag d = {0};
        struct manifest *m = NULL;
        int r = manifest_parse(text, strlen(text), &m, &d);

        if (r < 0)
                fail_msg("%s: %s", text, diag_text(&d, r));
        return m;
}

/* The refusal must be of this kind and name this. */
static void refused(const char *text, int error, const char *names)
{
        _cleanup_(diag_done) struct diag d = {0};
        struct manifest *m = NULL;

        assert_int_equal(manifest_parse(text, strlen(text), &m, &d), error);
        assert_null(m);
        assert_non_null(d.text);
        if (!strstr(d.text, names))
                fail_msg("\"%s\" does not name \"%s\"", d.text, names);
}

static void parses_tensors_in_order(void **state)
{
        _cleanup_(manifest_freep) struct manifest *m =
                parse("[{\"name\":\"w\",\"dtype\":\"bfloat16\",\"shape\":[3,4]},"
                      "{\"name\":\"b\",\"dtype\":\"int64\",\"shape\":[],\"slice\":null},"
                      "{\"name\":\"e\",\"dtype\":\"float32\",\"shape\":[0,7]}]");

        (void)state;
        assert_int_equal(m->n, 3);
        assert_string_equal(m->tensors[0].name, "w");
        assert_int_equal(m->tensors[0].bytes, 24);
        assert_int_equal(m->tensors[1].bytes, 8);
        assert_int_equal(m->tensors[1].n_dims, 0);
        assert_int_equal(m->tensors[2].bytes, 0);
        assert_null(m->tensors[0].full_dims);
        assert_ptr_equal(manifest_find(m, "b"), &m->tensors[1]);
        assert_ptr_equal(manifest_find(m, "w"), &m->tensors[0]);
        assert_null(manifest_find(m, "x"));
        assert_null(manifest_find(m, "a"));
}

static void parses_slices(void **state)
{
        _cleanup_(manifest_freep) struct manifest *m =
                parse("[{\"name\":\"w\",\"dtype\":\"float32\",\"shape\":[2,3],"
                      "\"slice\":\"4 3 2,2:-\"},"
                      "{\"name\":\"w\",\"dtype\":\"float32\",\"shape\":[2,3],"
                      "\"slice\":\"4 3 0,2:0,3\"},"
                      "{\"name\":\"all\",\"dtype\":\"float32\",\"shape\":[2],\"slice\":\"2 -\"}]");

        (void)state;
        assert_int_equal(m->tensors[0].full_dims[0], 4);
        assert_int_equal(m->tensors[0].start[0], 2);
        assert_int_equal(m->tensors[0].start[1], 0);
        assert_null(m->tensors[2].full_dims);
        assert_ptr_equal(manifest_find(m, "w"), &m->tensors[1]);
}

static void refuses_slices_that_do_not_fit(void **state)
{
        static const char *const specs[] = {
                "",
                "4",
                "4 3",
                "4 3 0,2",
                "4 3 0,2:-:-",
                "4 3 3,2:-",
                "4 3 0,1:-",
                "4 3 -1,2:-",
                "4 3 0,2:- ",
                "4  3 0,2:-",
                "4 3 0,2:0,2",
                "4,3 0,2:-",
                "4 3 0,:-",
                "-4 3 0,2:-",
                "4 3 +0,2:-",
                "4 3 0x0,2:-",
                "4 3 0;2:-",
                "99999999999999999999 3 0,2:-",
                "4 3 9223372036854775807,2:-",
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(specs); i++) {
                char text[256];

                snprintf(
                        text, sizeof(text),
                        "[{\"name\":\"w\",\"dtype\":\"float32\",\"shape\":[2,3],\"slice\":\"%s\"}]",
                        specs[i]);
                refused(text, -EINVAL, "w: slice");
        }
}

static void refuses_by_name(void **state)
{
        (void)state;
        refused("[{\"name\":\"w\",\"dtype\":\"float\",\"shape\":[]}]", -EINVAL,
                "w: unknown dtype float");
        refused("[{\"name\":\"w\",\"dtype\":\"string\",\"shape\":[]}]", -EINVAL, "w: dtype string");
        refused("[{\"name\":\"w\",\"dtype\":\"float32\",\"shape\":[-1]}]", -EINVAL,
                "w: dimension 0");
        refused("[{\"name\":\"\",\"dtype\":\"float32\",\"shape\":[]}]", -EINVAL,
                "tensor 0: name is empty");
        refused("[{\"dtype\":\"float32\",\"shape\":[]}]", -EINVAL, "tensor 0: name is missing");
        refused("[{\"name\":\"w\",\"dtype\":\"float32\"}]", -EINVAL, "w: shape is missing");
        refused("[{\"name\":\"w\",\"shape\":[]}]", -EINVAL, "w: dtype is missing");
        refused("[{\"name\":\"w\",\"dtype\":\"float32\",\"shape\":[8796093022208,9]}]", -E2BIG,
                "w:");
        refused("[{\"name\":\"w\",\"dtype\":\"float32\",\"shape\":[4294967296,4294967296]}]",
                -E2BIG, "w:");
        refused("[{\"name\":\"w\",\"dtype\":\"float32\",\"shape\":[17592186044416]},"
                "{\"name\":\"v\",\"dtype\":\"float32\",\"shape\":[1]}]",
                -E2BIG, "manifest");
}

#define TENSOR "{\"name\":\"w\",\"dtype\":\"int8\",\"shape\":[]"

/* The text reader says where, the tree reader which tensor; both refuse the same. */
static void refuses_bad_json(void **state)
{
        static const struct {
                const char *text, *why;
        } cases[] = {
                {"", "line 1 column 1: an array is expected"},
                {"{}", "column 1: an array is expected"},
                {"[", "column 2: '{' is expected"},
                {"[1]", "'{' is expected"},
                {"[" TENSOR "}", "']' is expected"},
                {"[" TENSOR "},]", "'{' is expected"},
                {"[" TENSOR "}] []", "more than one value"},
                {"[" TENSOR "", "'}' is expected"},
                {"[" TENSOR ",}]", "a string is expected"},
                {"[" TENSOR ",\"x\":1}]", "a member besides"},
                {"[" TENSOR ",\"name\":\"v\"}]", "a member is there twice"},
                {"[\n\n" TENSOR " x}]", "line 3 column 39"},
                {"[{\"name\":1}]", "a string is expected"},
                {"[{\"name\":null}]", "a string is expected"},
                {"[{\"shape\":3}]", "'[' is expected"},
                {"[{\"shape\":[1.0]}]", "an integer is expected"},
                {"[{\"shape\":[1e3]}]", "an integer is expected"},
                {"[{\"shape\":[01]}]", "an integer is expected"},
                {"[{\"shape\":[-]}]", "an integer is expected"},
                {"[{\"shape\":[9223372036854775808]}]", "a number is too big"},
                {"[{\"shape\":[1,]}]", "an integer is expected"},
                {"[{\"slice\":1}]", "a string is expected"},
                {"[{\"name\":\"a\\u0000b\"}]", "a zero byte"},
                {"[{\"name\":\"\\ud800\"}]", "surrogate"},
                {"[{\"name\":\"\\ud800\\u0041\"}]", "surrogate"},
                {"[{\"name\":\"\\udc00\"}]", "surrogate"},
                {"[{\"name\":\"\\u12\"}]", "escape"},
                {"[{\"name\":\"\\x\"}]", "escape"},
                {"[{\"name\":\"a\nb\"}]", "control character"},
                {"[{\"name\":\"\xff\"}]", "UTF-8"},
                {"[{\"name\":\"\xc3\"}]", "UTF-8"},
                {"[{\"name\":\"abc", "does not end"},
                {"[{\"name\":\"abc\\", "does not end"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                json_t *json = json_loads(cases[i].text, JSON_REJECT_DUPLICATES, NULL);
                struct manifest *m = NULL;

                refused(cases[i].text, -EINVAL, cases[i].why);
                if (json)
                        assert_int_equal(manifest_from_json(json, &m, NULL), -EINVAL);
                json_decref(json);
        }
}

/* Both readers, every escape. */
static void reads_text_and_tree_alike(void **state)
{
        const char *text =
                " [ { \"shape\" : [ 4 , 0 ] , \"name\" : "
                "\"\\u00e9\\ud83d\\ude00\\\"\\\\\\/\\b\\f\\n\\r\\t\xc3\xa9\","
                "\"dtype\":\"int8\"},\r\n\t{\"name\":\"w\",\"dtype\":\"int64\",\"shape\":[2],"
                "\"slice\":\"4 1,2\"}, "
                "{\"name\":\"v\",\"dtype\":\"bool\",\"shape\":[],\"slice\":null}]\n";
        _cleanup_(manifest_freep) struct manifest *a = parse(text), *b = NULL;
        json_t *json = json_loads(text, 0, NULL);

        (void)state;
        assert_int_equal(manifest_from_json(json, &b, NULL), 0);
        json_decref(json);
        assert_true(manifest_equal(a, b));
        assert_string_equal(a->tensors[0].name, "\xc3\xa9\xf0\x9f\x98\x80\"\\/\b\f\n\r\t\xc3\xa9");
}

static void refuses_a_name_twice(void **state)
{
        const char *part =
                "{\"name\":\"w\",\"dtype\":\"float32\",\"shape\":[2],\"slice\":\"4 %s\"}";
        char a[100], b[100], text[256];

        (void)state;
        refused("[{\"name\":\"w\",\"dtype\":\"float32\",\"shape\":[]},"
                "{\"name\":\"w\",\"dtype\":\"int32\",\"shape\":[]}]",
                -EINVAL, "w: named twice");
        snprintf(a, sizeof(a), part, "0,2");
        snprintf(b, sizeof(b), part, "1,2");
        snprintf(text, sizeof(text), "[%s,%s]", a, b);
        refused(text, -EINVAL, "overlap");
        snprintf(text, sizeof(text), "[%s,%s]", a, a);
        refused(text, -EINVAL, "overlap");
        snprintf(text, sizeof(text), "[%s,{\"name\":\"w\",\"dtype\":\"float32\",\"shape\":[4]}]",
                 a);
        refused(text, -EINVAL, "named twice");
}

static void refuses_names_and_ranks_too_long(void **state)
{
        _cleanup_(buffer_done) struct buffer b = {0};

        (void)state;
        buffer_printf(&b, "[{\"dtype\":\"int8\",\"shape\":[],\"name\":\"");
        for (int i = 0; i <= LIMIT_NAME_BYTES; i++)
                buffer_append(&b, "n", 1);
        buffer_printf(&b, "\"}]");
        refused((char *)b.data, -EINVAL, "name has 4097 bytes");
        b.len = 0;
        buffer_printf(&b, "[{\"name\":\"w\",\"dtype\":\"int8\",\"shape\":[1");
        for (int i = 0; i < LIMIT_RANK; i++)
                buffer_printf(&b, ",1");
        buffer_printf(&b, "]}]");
        refused((char *)b.data, -EINVAL, "255 dimensions");
}

static void tells_equal_from_different(void **state)
{
        const char *text =
                "[{\"name\":\"w\",\"dtype\":\"float32\",\"shape\":[2],\"slice\":\"4 0,2\"}]";
        _cleanup_(manifest_freep) struct manifest *a = parse(text), *b = parse(text);
        _cleanup_(manifest_freep) struct manifest *c =
                parse("[{\"name\":\"w\",\"dtype\":\"float32\",\"shape\":[2],\"slice\":\"4 2,2\"}]");
        _cleanup_(manifest_freep) struct manifest *e =
                parse("[{\"name\":\"w\",\"dtype\":\"float32\",\"shape\":[2]}]");

        (void)state;
        assert_true(manifest_equal(a, b));
        assert_false(manifest_equal(a, c));
        assert_false(manifest_equal(a, e));
}

static void shares_whole_tensors_with_the_lowest(void **state)
{
        _cleanup_(manifest_freep) struct manifest *a = parse(
                "[{\"name\":\"x\",\"dtype\":\"int8\",\"shape\":[2]},"
                "{\"name\":\"p\",\"dtype\":\"int8\",\"shape\":[1,2],\"slice\":\"2 2 0,1:-\"}]");
        _cleanup_(manifest_freep) struct manifest *b =
                parse("[{\"name\":\"y\",\"dtype\":\"int8\",\"shape\":[2]},"
                      "{\"name\":\"p\",\"dtype\":\"int8\",\"shape\":[1,2],\"slice\":\"2 2 1,1:-\"},"
                      "{\"name\":\"x\",\"dtype\":\"int8\",\"shape\":[2]}]");
        _cleanup_(manifest_freep) struct manifest *c = parse(
                "[{\"name\":\"p\",\"dtype\":\"int8\",\"shape\":[1,2],\"slice\":\"2 2 1,1:-\"}]");
        struct manifest *ranks[] = {a, b, c};

        (void)state;
        assert_int_equal(manifest_share(ranks, 3, NULL), 0);
        assert_int_equal(a->tensors[0].offset, 0);
        assert_int_equal(a->tensors[0].owner_rank, 0);
        assert_int_equal(b->tensors[2].offset, -1);
        assert_int_equal(b->tensors[2].owner_rank, 0);
        assert_int_equal(b->tensors[2].owner_index, 0);
        assert_int_equal(b->tensors[0].owner_rank, 1);
        assert_int_equal(b->tensors[1].offset, 0);
        assert_int_equal(c->tensors[0].offset, -1);
        assert_int_equal(c->tensors[0].owner_rank, 1);
        assert_int_equal(c->tensors[0].owner_index, 1);
}

static void share_fails(const char *first, const char *second, const char *names)
{
        _cleanup_(diag_done) struct diag d = {0};
        _cleanup_(manifest_freep) struct manifest *a = parse(first), *b = parse(second);
        struct manifest *ranks[] = {a, b};

        assert_int_equal(manifest_share(ranks, 2, &d), -EINVAL);
        if (!strstr(d.text, names) || !strstr(d.text, "rank 0") || !strstr(d.text, "rank 1"))
                fail_msg("%s", d.text);
}

static void refuses_what_ranks_disagree_on(void **state)
{
        (void)state;
        share_fails("[{\"name\":\"x\",\"dtype\":\"int8\",\"shape\":[2]}]",
                    "[{\"name\":\"x\",\"dtype\":\"int8\",\"shape\":[3]}]", "int8 [3]");
        share_fails("[{\"name\":\"x\",\"dtype\":\"int8\",\"shape\":[9]}]",
                    "[{\"name\":\"x\",\"dtype\":\"uint8\",\"shape\":[9]}]", "uint8 [9]");
        share_fails("[{\"name\":\"x\",\"dtype\":\"int8\",\"shape\":[2],\"slice\":\"4 0,2\"}]",
                    "[{\"name\":\"x\",\"dtype\":\"int8\",\"shape\":[4]}]", "part");
        share_fails("[{\"name\":\"x\",\"dtype\":\"int8\",\"shape\":[2],\"slice\":\"4 0,2\"}]",
                    "[{\"name\":\"x\",\"dtype\":\"int8\",\"shape\":[2],\"slice\":\"4 1,2\"}]",
                    "overlap");
        share_fails("[{\"name\":\"x\",\"dtype\":\"int8\",\"shape\":[2],\"slice\":\"4 0,2\"}]",
                    "[{\"name\":\"x\",\"dtype\":\"int8\",\"shape\":[2],\"slice\":\"5 3,2\"}]",
                    "x:");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(parses_tensors_in_order),
                cmocka_unit_test(parses_slices),
                cmocka_unit_test(refuses_slices_that_do_not_fit),
                cmocka_unit_test(refuses_by_name),
                cmocka_unit_test(refuses_bad_json),
                cmocka_unit_test(reads_text_and_tree_alike),
                cmocka_unit_test(refuses_a_name_twice),
                cmocka_unit_test(refuses_names_and_ranks_too_long),
                cmocka_unit_test(tells_equal_from_different),
                cmocka_unit_test(shares_whole_tensors_with_the_lowest),
                cmocka_unit_test(refuses_what_ranks_disagree_on),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
