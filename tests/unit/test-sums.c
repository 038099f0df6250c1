/* Sums of tensors, taken in pieces, are those of the whole. */
#include "store-kept.h"

#include "crc32c.h"
#include "sums.h"

#include <string.h>

#define N_TENSORS 9

static void expect(const struct kept_state *s, uint32_t *ret)
{
        for (size_t i = 0; i < s->manifest->n; i++) {
                const struct tensor *t = &s->manifest->tensors[i];

                ret[i] = crc32c_extend(0, s->memory + t->offset, t->bytes);
        }
}

static void check_pieces(const struct kept_state *s, const struct sums *sums, uint64_t step)
{
        uint32_t want[N_TENSORS], got[N_TENSORS] = {0}, in_order[N_TENSORS] = {0};
        struct sums_part parts[4096];
        size_t n = 0;

        expect(s, want);
        for (uint64_t at = 0; at < s->manifest->bytes; at += step, n++) {
                uint64_t rest = s->manifest->bytes - at;

                assert_true(n < ARRAY_SIZE(parts));
                parts[n] = (struct sums_part){.offset = at, .bytes = rest < step ? rest : step};
        }
        /* Backwards, for the pool keeps no order. */
        for (size_t i = n; i-- > 0;)
                sums_piece(sums, &parts[i], s->memory + parts[i].offset, got);
        sums_join(sums, parts, n, got);
        for (size_t i = 0; i < n; i++)
                sums_extend(sums, &parts[i], s->memory + parts[i].offset, in_order);
        assert_memory_equal(got, want, sizeof(want));
        assert_memory_equal(in_order, want, sizeof(want));
}

static void check_format(const struct format *f)
{
        static const uint64_t elements[N_TENSORS] = {1, 0, 300, 17, 1, 900, 0, 4, 33};
        struct kept_state s;
        struct sums sums;

        kept_state_make(&s, f, elements, N_TENSORS);
        assert_int_equal(sums_init(&sums, s.manifest), 0);
        for (uint64_t step = 7; step < s.manifest->bytes + 100; step += step / 7)
                check_pieces(&s, &sums, step);
        sums_done(&sums);
        kept_state_done(&s);
}

static void test_pieces(void **state)
{
        (void)state;
        check_format(&format_tensorbundle);
        check_format(&format_safetensors);
}

/* A tensor that another rank stores has no bytes here. */
static void test_shared(void **state)
{
        static const uint64_t elements[] = {5, 6};
        uint32_t crc[2] = {0xdead, 0xbeef};
        struct sums_part part = {0};
        struct kept_state s;
        struct sums sums;

        (void)state;
        kept_state_make(&s, &format_tensorbundle, elements, 2);
        s.manifest->tensors[1].offset = -1;
        assert_int_equal(sums_init(&sums, s.manifest), 0);
        assert_int_equal(sums.n, 1);
        part.bytes = s.manifest->bytes;
        sums_piece(&sums, &part, s.memory, crc);
        assert_int_equal(crc[0], crc32c_extend(0, s.memory, 20));
        assert_int_equal(crc[1], 0xbeef);
        sums_done(&sums);
        kept_state_done(&s);
}

static void test_cut(void **state)
{
        struct sums_part parts[3];

        (void)state;
        assert_int_equal(sums_count(0), 0);
        assert_int_equal(sums_count(1), 1);
        assert_int_equal(sums_count(SUMS_PIECE_BYTES), 1);
        assert_int_equal(sums_count(2 * SUMS_PIECE_BYTES + 1), 3);
        sums_cut(parts, 2 * SUMS_PIECE_BYTES + 1);
        assert_int_equal(parts[2].offset, 2 * SUMS_PIECE_BYTES);
        assert_int_equal(parts[2].bytes, 1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_pieces),
                cmocka_unit_test(test_shared),
                cmocka_unit_test(test_cut),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
