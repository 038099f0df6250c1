#include "compat.h"
#include "limit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static int64_t dims_20[] = {20}, dims_20_10[] = {20, 10}, dims_5_10[] = {5, 10};

/* What is stored, by name. */
static struct stored_tensor stored_tensors[] = {
        {.name = "a/bias", .n_dims = 1, .dims = (int64_t[]){10}},
        {.name = "a/kernel", .n_dims = 2, .dims = dims_20_10},
        {.name = "global_step", .n_dims = 0},
};
static struct stored stored = {.name = "model.ckpt-4000",
                               .n_tensors = ARRAY_SIZE(stored_tensors),
                               .tensors = stored_tensors};

static int set_up(void **state)
{
        (void)state;
        stored_tensors[0].dtype = stored_tensors[1].dtype = dtype_by_name("float32");
        stored_tensors[2].dtype = dtype_by_name("int64");
        return 0;
}

static struct tensor tensor(const char *name, const char *dtype, int n_dims, int64_t *dims)
{
        return (struct tensor){.name = (char *)(uintptr_t)name,
                               .dtype = dtype_by_name(dtype),
                               .n_dims = n_dims,
                               .dims = dims};
}

static void check(struct tensor *tensors, size_t n, int expected, const char *message)
{
        _cleanup_(diag_done) struct diag d = {0};
        _cleanup_(freep) size_t *by_name = calloc(n + 1, sizeof(size_t));
        struct manifest m = {.n = n, .tensors = tensors, .by_name = by_name};

        for (size_t i = 0; i < n; i++)
                by_name[i] = i;
        assert_int_equal(compat_check(&m, &stored, &d), expected);
        if (message)
                assert_string_equal(d.text, message);
        else
                assert_null(d.text);
}

static void test_fits(void **state)
{
        struct tensor t[] = {tensor("a/kernel", "float32", 2, dims_20_10),
                             tensor("global_step", "int64", 0, NULL)};

        (void)state;
        check(t, ARRAY_SIZE(t), 0, NULL);
        check(t, 0, 0, NULL);
        assert_true(compat_fits(&t[0], &stored));
}

/* A part is compared by the full tensor that it is a part of. */
static void test_part(void **state)
{
        struct tensor t[] = {tensor("a/kernel", "float32", 2, dims_5_10)};

        (void)state;
        assert_false(compat_fits(&t[0], &stored));
        t[0].full_dims = dims_20_10;
        check(t, 1, 0, NULL);
        t[0].full_dims = dims_5_10;
        t[0].dims = dims_20_10;
        assert_false(compat_fits(&t[0], &stored));
}

#define NOT_FIT " not fit."

static void test_shape(void **state)
{
        struct tensor t[] = {tensor("a/bias", "float32", 1, dims_20)};

        (void)state;
        check(t, 1, -EINVAL,
              "tensor_name = a/bias; shape in shape_and_slice spec [20] does not match the shape "
              "stored in checkpoint: [10]\n"
              "checkpoint model.ckpt-4000: 1 of 1 tensors that the job wants does" NOT_FIT);
}

static void test_every_kind(void **state)
{
        struct tensor t[] = {tensor("a/bias", "float64", 1, (int64_t[]){10}),
                             tensor("a/gamma", "float32", 1, dims_20),
                             tensor("a/kernel", "float16", 1, dims_20),
                             tensor("global_step", "int64", 0, NULL)};

        (void)state;
        check(t, ARRAY_SIZE(t), -EINVAL,
              "tensor_name = a/bias; expected dtype double does not equal original dtype float\n"
              "Key a/gamma not found in checkpoint\n"
              "tensor_name = a/kernel; expected dtype half does not equal original dtype float\n"
              "tensor_name = a/kernel; shape in shape_and_slice spec [20] does not match the shape "
              "stored in checkpoint: [20,10]\n"
              "checkpoint model.ckpt-4000: 3 of 4 tensors that the job wants do" NOT_FIT);
}

static void test_scalar(void **state)
{
        struct tensor t[] = {tensor("global_step", "int64", 2, dims_20_10)};

        (void)state;
        check(t, 1, -EINVAL,
              "tensor_name = global_step; shape in shape_and_slice spec [20,10] does not match the "
              "shape stored in checkpoint: []\n"
              "checkpoint model.ckpt-4000: 1 of 1 tensors that the job wants does" NOT_FIT);
}

/* Two parts of one tensor in one manifest: one misfit. */
static void test_parts_are_told_once(void **state)
{
        struct tensor t[] = {tensor("x", "float32", 2, dims_5_10),
                             tensor("x", "float32", 2, dims_5_10)};

        (void)state;
        t[0].full_dims = t[1].full_dims = dims_20_10;
        check(t, 2, -EINVAL,
              "Key x not found in checkpoint\n"
              "checkpoint model.ckpt-4000: 1 of 2 tensors that the job wants does" NOT_FIT);
}

static void test_many(void **state)
{
        struct tensor t[LIMIT_MISFITS + 5];
        char names[LIMIT_MISFITS + 5][24];
        _cleanup_(diag_done) struct diag d = {0};
        size_t order[LIMIT_MISFITS + 5], lines = 1;
        struct manifest m = {.n = LIMIT_MISFITS + 5, .tensors = t, .by_name = order};

        (void)state;
        for (size_t i = 0; i < m.n; i++) {
                snprintf(names[i], sizeof(names[i]), "t%02zu", i);
                t[i] = tensor(names[i], "float32", 1, dims_20);
                order[i] = i;
        }
        assert_int_equal(compat_check(&m, &stored, &d), -EINVAL);
        for (const char *c = d.text; *c; c++)
                lines += *c == '\n';
        assert_int_equal(lines, LIMIT_MISFITS + 2);
        assert_non_null(
                strstr(d.text, "\nand 5 more\ncheckpoint model.ckpt-4000: 25 of 25 tensors"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_fits),   cmocka_unit_test(test_part),
                cmocka_unit_test(test_shape),  cmocka_unit_test(test_every_kind),
                cmocka_unit_test(test_scalar), cmocka_unit_test(test_parts_are_told_once),
                cmocka_unit_test(test_many),
        };

        return cmocka_run_group_tests(tests, set_up, NULL);
}
