#include "crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void has_the_known_sums(void **state)
{
        static const uint8_t zeros[32];

        (void)state;
        assert_int_equal(crc32c_extend(0, "", 0), 0);
        assert_int_equal(crc32c_extend(0, "123456789", 9), 0xe3069283);
        assert_int_equal(crc32c_extend(0, zeros, sizeof(zeros)), 0x8a9136aa);
        assert_int_equal(crc32c_extend(crc32c_extend(0, "1234", 4), "56789", 5), 0xe3069283);
}

static void masks_and_back(void **state)
{
        (void)state;
        assert_int_equal(crc32c_mask(0), 0xa282ead8);
        assert_int_equal(crc32c_mask(0xe3069283), 0xc78ab0e5);
        for (uint32_t crc = 1; crc; crc *= 2)
                assert_int_equal(crc32c_unmask(crc32c_mask(crc)), crc);
}

static void combines_pieces_of_any_length(void **state)
{
        uint8_t bytes[5000];

        (void)state;
        for (size_t i = 0; i < sizeof(bytes); i++)
                bytes[i] = (uint8_t)(i * i + i / 3);
        for (size_t cut = 0; cut <= sizeof(bytes); cut += 7) {
                uint32_t a = crc32c_extend(0, bytes, cut);
                uint32_t b = crc32c_extend(0, bytes + cut, sizeof(bytes) - cut);

                assert_int_equal(crc32c_combine(a, b, sizeof(bytes) - cut),
                                 crc32c_extend(0, bytes, sizeof(bytes)));
        }
        assert_int_equal(crc32c_combine(0x12345678, 0, 0), 0x12345678);
}

/* 2^33 zeros, by joining a block to itself, and the same in another order. */
static void combines_lengths_beyond_32_bits(void **state)
{
        static const uint8_t zeros[4096];
        uint32_t doubled = crc32c_extend(0, zeros, sizeof(zeros)), other;
        uint64_t n = sizeof(zeros);

        (void)state;
        for (; n < (uint64_t)1 << 33; n *= 2)
                doubled = crc32c_combine(doubled, doubled, n);
        other = crc32c_extend(0, zeros, 1);
        for (uint64_t have = 1; have < n;) {
                uint64_t more = have * 2 <= n ? have : n - have;

                other = crc32c_combine(other, other, more);
                have += more;
        }
        assert_int_equal(doubled, other);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(has_the_known_sums),
                cmocka_unit_test(masks_and_back),
                cmocka_unit_test(combines_pieces_of_any_length),
                cmocka_unit_test(combines_lengths_beyond_32_bits),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
