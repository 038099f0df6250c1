#include "cleanup.h"
#include "region.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SIDE 6 /* of the full tensor, in each of three dimensions */

static void counts_without_overflow(void **state)
{
        uint64_t n;

        (void)state;
        assert_int_equal(region_count(0, NULL, &n), 0);
        assert_int_equal(n, 1);
        assert_int_equal(region_count(2, (int64_t[]){3, 5}, &n), 0);
        assert_int_equal(n, 15);
        assert_int_equal(region_count(2, (int64_t[]){INT64_MAX, 2}, &n), -EOVERFLOW);
        assert_int_equal(region_count(1, (int64_t[]){-1}, &n), -EINVAL);
        assert_int_equal(region_bytes(dtype_by_name("int64"), 1, (int64_t[]){INT64_MAX / 4}, &n),
                         -EOVERFLOW);
}

static void finds_overlap_in_a_grid(void **state)
{
        int64_t starts[100][2], dims[2] = {10, 7};
        struct region regions[101];
        size_t pair[2];

        (void)state;
        for (size_t i = 0; i < 100; i++) {
                size_t k = i * 37 % 100; /* in no order */

                starts[i][0] = (int64_t)(k / 10) * 10;
                starts[i][1] = (int64_t)(k % 10) * 7;
                regions[i] = (struct region){2, starts[i], dims, i};
        }
        assert_int_equal(region_find_overlap(regions, 100, pair), 0);
        regions[100] = (struct region){2, (int64_t[]){99, 69}, (int64_t[]){1, 1}, 100};
        assert_int_equal(region_find_overlap(regions, 101, pair), 1);
        assert_true(pair[0] == 100 || pair[1] == 100);
}

/* Four arms around a middle: no plane parts them, and still nothing overlaps. */
static void compares_a_pinwheel(void **state)
{
        struct region arms[] = {
                {2, (int64_t[]){0, 0}, (int64_t[]){1, 2}, 0},
                {2, (int64_t[]){0, 2}, (int64_t[]){2, 1}, 1},
                {2, (int64_t[]){2, 1}, (int64_t[]){1, 2}, 2},
                {2, (int64_t[]){1, 0}, (int64_t[]){2, 1}, 3},
                {2, (int64_t[]){1, 1}, (int64_t[]){1, 1}, 4},
                {2, (int64_t[]){1, 1}, (int64_t[]){1, 0}, 5}, /* empty: overlaps nothing */
        };
        size_t pair[2];

        (void)state;
        assert_int_equal(region_find_overlap(arms, ARRAY_SIZE(arms), pair), 0);
}

static uint16_t element(const int64_t at[3])
{
        return (uint16_t)(at[0] * 1000 + at[1] * 100 + at[2] * 10 + 7);
}

/* The elements of a region, each telling where it lies in the full tensor. */
static size_t fill(const struct region *r, uint16_t *ret)
{
        size_t n = 0;

        for (int64_t a = 0; a < r->dims[0]; a++)
                for (int64_t b = 0; b < r->dims[1]; b++)
                        for (int64_t c = 0; c < r->dims[2]; c++)
                                ret[n++] = element((int64_t[]){r->start[0] + a, r->start[1] + b,
                                                               r->start[2] + c});
        return n;
}

static bool has(const struct region *r, const int64_t at[3])
{
        for (int i = 0; i < 3; i++)
                if (at[i] < r->start[i] || at[i] >= r->start[i] + r->dims[i])
                        return false;
        return true;
}

static void check_copied(const struct region *from, const struct region *to, const uint16_t *target)
{
        size_t n = 0;

        for (int64_t a = 0; a < to->dims[0]; a++)
                for (int64_t b = 0; b < to->dims[1]; b++)
                        for (int64_t c = 0; c < to->dims[2]; c++) {
                                int64_t at[] = {to->start[0] + a, to->start[1] + b,
                                                to->start[2] + c};

                                assert_int_equal(target[n++], has(from, at) ? element(at) : 0xffff);
                        }
}

/* Many pairs of boxes, the source handed over in pieces that cut elements and rows. */
static void copies_what_both_have(void **state)
{
        unsigned seed = 1;

        (void)state;
        for (int round = 0; round < 3000; round++) {
                int64_t s[2][3], d[2][3];
                struct region from = {3, s[0], d[0], 0}, to = {3, s[1], d[1], 0};
                uint16_t source[SIDE * SIDE * SIDE], target[SIDE * SIDE * SIDE];
                struct region_copy copy = {&from, &to, 2, target};
                size_t bytes, piece = 1 + (unsigned)round % 41;

                for (int k = 0; k < 6; k++) {
                        seed = seed * 1103515245 + 12345;
                        s[k / 3][k % 3] = (seed >> 16) % SIDE;
                        seed = seed * 1103515245 + 12345;
                        d[k / 3][k % 3] = 1 + (seed >> 16) % (unsigned)(SIDE - s[k / 3][k % 3]);
                }
                bytes = 2 * fill(&from, source);
                memset(target, 0xff, sizeof(target));
                for (size_t at = 0; at < bytes; at += piece)
                        region_copy_bytes(&copy, (uint8_t *)source + at, at,
                                          at + piece < bytes ? piece : bytes - at);
                check_copied(&from, &to, target);
        }
}

static void says_shapes_and_specs(void **state)
{
        int64_t full[] = {4, 3};
        struct region r = {2, (int64_t[]){0, 0}, (int64_t[]){2, 3}, 0};
        _cleanup_(freep) char *spec = region_spec(&r, full);
        _cleanup_(freep) char *text = region_text(dtype_by_name("float32"), 2, full);
        _cleanup_(freep) char *scalar = region_text(dtype_by_name("int64"), 0, NULL);

        (void)state;
        assert_string_equal(spec, "0,2:-");
        assert_string_equal(text, "float32 [4,3]");
        assert_string_equal(scalar, "int64 []");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(counts_without_overflow),
                cmocka_unit_test(finds_overlap_in_a_grid),
                cmocka_unit_test(compares_a_pinwheel),
                cmocka_unit_test(copies_what_both_have),
                cmocka_unit_test(says_shapes_and_specs),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
