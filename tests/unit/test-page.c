#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "page.h"

#include <errno.h>
#include <string.h>

static void fresh_page(void **state)
{
        static struct page p;

        (void)state;
        page_init(&p, 7, 3, 8, 2);
        assert_int_equal(page_check(&p), 0);
        assert_memory_equal(&p, "ckptpag1", 8);
        assert_int_equal(p.head.attach_id, 7);
        assert_int_equal(p.head.rank, 3);
        assert_int_equal(p.head.world_size, 8);
        assert_int_equal(p.head.n_slots, 2);
        assert_true(atomic_load(&p.daemon.save_at) == PAGE_NEVER);
        assert_true(atomic_load(&p.daemon.stop_at) == PAGE_NEVER);
        assert_true(atomic_load(&p.rank.missed) == PAGE_NEVER);
        assert_true(atomic_load(&p.rank.end) == PAGE_NEVER);
        assert_true(atomic_load(&p.now.step) == -1);
        assert_true(atomic_load(&p.rank.base) == -1);
        assert_int_equal(atomic_load(&p.slot[0].owner), PAGE_VACANT);
}

static void strange_pages(void **state)
{
        struct page p;

        (void)state;
        memset(&p, 0, sizeof p);
        assert_int_equal(page_check(&p), -EPROTO);
        page_init(&p, 1, 0, 1, 2);
        p.head.minor = 9; /* adds fields only */
        assert_int_equal(page_check(&p), 0);
        p.head.major = 2;
        assert_int_equal(page_check(&p), -EPROTONOSUPPORT);
        p.head.major = 1;
        p.head.n_slots = PAGE_SLOTS + 1;
        assert_int_equal(page_check(&p), -EPROTO);
        p.head.n_slots = PAGE_SLOTS;
        p.head.rank = 1;
        assert_int_equal(page_check(&p), -EPROTO);
        p.head.rank = 0;
        p.head.size = 8192;
        assert_int_equal(page_check(&p), -EPROTO);
}

static void slot_sums(void **state)
{
        struct page_slot slot = {.step = 5, .asked = 6, .base = 7, .life = 8, .bytes = 9};
        uint32_t sum = page_slot_sum(&slot);
        unsigned char *bytes = (unsigned char *)&slot;

        (void)state;
        slot.copy_ns = 1; /* not in the sum */
        slot.sum = 2;
        atomic_store(&slot.owner, PAGE_HELD);
        assert_int_equal(page_slot_sum(&slot), sum);
        for (size_t bit = 8 * offsetof(struct page_slot, step);
             bit < 8 * offsetof(struct page_slot, copy_ns); bit++) {
                bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
                assert_int_not_equal(page_slot_sum(&slot), sum);
                bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        }
        memset(&slot, 0, sizeof slot);
        assert_int_not_equal(page_slot_sum(&slot), 0); /* zeroes are no valid header */
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(fresh_page),
                cmocka_unit_test(strange_pages),
                cmocka_unit_test(slot_sums),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
