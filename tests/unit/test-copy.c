#include "copy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define ROOM (200 * 1024)
#define GUARD 0xa5

static uint8_t byte_at(size_t i)
{
        return (uint8_t)(i * 31 + i / 251 + 7);
}

/* Every byte arrives, and none beside them changes. */
static void check(copy_fn copy, uint8_t *dst, const uint8_t *src, size_t n)
{
        memset(dst - 64, GUARD, n + 128);
        copy(dst, src, n);
        copy_fence();
        assert_memory_equal(dst, src, n);
        for (size_t i = 1; i <= 64; i++) {
                assert_int_equal(dst[-(ptrdiff_t)i], GUARD);
                assert_int_equal(dst[n + i - 1], GUARD);
        }
}

static void test_all_ways(void **state)
{
        static const size_t lengths[] = {0,
                                         1,
                                         63,
                                         64,
                                         4095,
                                         4096,
                                         4097,
                                         8191,
                                         16 * 1024,
                                         16 * 1024 + 63,
                                         16 * 1024 + 64,
                                         65536 + 4097,
                                         150001};
        uint8_t *to = aligned_alloc(64, ROOM), *from = aligned_alloc(64, ROOM);

        (void)state;
        for (size_t i = 0; i < ROOM; i++)
                from[i] = byte_at(i);
        for (const struct copy_way *w = copy_ways; w->name; w++)
                for (size_t k = 0; w->is_supported() && k < sizeof(lengths) / sizeof(*lengths); k++)
                        for (size_t shift = 0; shift < 64; shift += 21) {
                                check(w->copy, to + 64 + shift, from, lengths[k]);
                                check(w->copy, to + 64, from + shift, lengths[k]);
                        }
        free(to);
        free(from);
}

/* Every way has its turns, then one is chosen; the bytes are right all the while. */
static void test_copier(void **state)
{
        struct copier c = {.n_trials = 0};
        size_t n = COPY_TRIAL_BYTES + 100, turns = 0, n_ways = 0;
        uint8_t *to = malloc(n), *from = malloc(n);
        const struct copy_way *w = copy_ways;

        (void)state;
        for (const struct copy_way *k = copy_ways; k->name; k++)
                n_ways += k->is_supported();
        for (size_t i = 0; i < n; i++)
                from[i] = byte_at(i);
        copier_copy(&c, to, from, 100);
        assert_int_equal(atomic_load(&c.n_trials), 0);
        for (; !atomic_load(&c.chosen); turns++) {
                memset(to, 0, n);
                copier_copy(&c, to, from, n);
                copy_fence();
                assert_memory_equal(to, from, n);
        }
        assert_int_equal(turns, COPY_TRIALS * n_ways);
        while (w->name && w->copy != atomic_load(&c.chosen))
                w++;
        assert_non_null(w->name);
        assert_true(w->is_supported());
        free(to);
        free(from);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_all_ways),
                cmocka_unit_test(test_copier),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
