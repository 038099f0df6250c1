/* Slots: sealed, touched, as large as asked; and how much memory there is for them. */
#include "store-kept.h"

#include "memory-limit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

static void slots_made(struct store_slots *t)
{
        *(bool *)t->user = true;
}

static int make(struct kept *k, struct store_slots *t)
{
        bool done = false;

        t->done = slots_made;
        t->user = &done;
        store_slots_new(k->store, t);
        kept_wait(k, &done);
        return t->r;
}

static void test_new(void **state)
{
        struct store_slots t = {.n = 2, .bytes = (70 << 20) + 1};
        struct stat st;

        assert_int_equal(make(*state, &t), 0);
        for (size_t i = 0; i < 2; i++) {
                assert_int_equal(t.slots[i].bytes, (70 << 20) + 4096);
                assert_int_equal(fstat(t.slots[i].fd, &st), 0);
                /* Every page is there already. */
                assert_int_equal(st.st_blocks * 512, t.slots[i].bytes);
                assert_true(ftruncate(t.slots[i].fd, 1) < 0);
                assert_true(ftruncate(t.slots[i].fd, 1 << 30) < 0);
                ((uint8_t *)t.slots[i].memory)[t.slots[i].bytes - 1] = 1;
                store_slot_done(&t.slots[i]);
                assert_int_equal(t.slots[i].fd, -1);
        }
        assert_int_equal(t.slots[2].fd, -1);
}

static void test_empty(void **state)
{
        struct store_slots t = {.n = 1};

        assert_int_equal(make(*state, &t), 0);
        assert_int_equal(t.slots[0].bytes, 4096);
        store_slot_done(&t.slots[0]);
}

static void test_too_large(void **state)
{
        struct store_slots t = {.n = 1, .bytes = UINT64_MAX - 5};

        assert_int_equal(make(*state, &t), -EINVAL);
        t = (struct store_slots){.n = PAGE_SLOTS + 1, .bytes = 1};
        assert_int_equal(make(*state, &t), -EINVAL);
        t = (struct store_slots){.n = 2, .bytes = UINT64_C(1) << 61};
        assert_true(make(*state, &t) < 0);
        assert_non_null(t.diag.text);
        assert_int_equal(t.slots[0].fd, -1);
        diag_done(&t.diag);
}

/* One that a job brings: sealed and large enough, or refused. */
static void test_map(void **state)
{
        struct store_slots t = {.n = 1, .bytes = 100};
        struct store_slot slot;
        struct diag d = {0};
        int fd;

        assert_int_equal(make(*state, &t), 0);
        memcpy(t.slots[0].memory, "kept", 4);
        assert_int_equal(store_slot_map(&slot, dup(t.slots[0].fd), 100, &d), 0);
        assert_memory_equal(slot.memory, "kept", 4);
        store_slot_done(&slot);
        assert_true(store_slot_map(&slot, dup(t.slots[0].fd), 4097, &d) < 0);
        assert_int_equal(slot.fd, -1);
        fd = memfd_create("unsealed", MFD_CLOEXEC);
        assert_int_equal(ftruncate(fd, 4096), 0);
        assert_true(store_slot_map(&slot, fd, 4096, &d) < 0);
        assert_non_null(strstr(d.text, "no sealed memory"));
        diag_done(&d);
        store_slot_done(&t.slots[0]);
}

/* ---- limits ---- */

static void put(struct kept *k, const char *path, const char *text)
{
        char copy[128], full[2 * KEPT_PATH_BYTES];

        snprintf(copy, sizeof(copy), "%s", path);
        for (char *slash = strchr(copy, '/'); slash; slash = strchr(slash + 1, '/')) {
                *slash = '\0';
                snprintf(full, sizeof(full), "%s/%s", k->path, copy);
                mkdir(full, 0755);
                *slash = '/';
        }
        kept_put(k, path, text);
}

static void put_node(struct kept *k)
{
        put(k, "proc/meminfo", "MemTotal:  1000000 kB\nMemFree:  5 kB\nMemAvailable:  600000 kB\n");
        put(k, "proc/self/mountinfo",
            "25 1 0:22 / /sys rw - sysfs sysfs rw\n"
            "30 25 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
            "31 25 0:28 / /sys/fs/cgroup/unified rw,nosuid shared:4 - cgroup2 cgroup2 rw\n");
}

static void test_no_limit(void **state)
{
        struct kept *k = *state;
        struct memory_limit l;

        put_node(k);
        memory_limit_read(k->path, &l);
        assert_int_equal(l.total, UINT64_C(1000000) * 1024);
        assert_int_equal(l.room, UINT64_C(600000) * 1024);
}

/* The tightest of the whole way up; page cache gives way. */
static void test_version_2(void **state)
{
        struct kept *k = *state;
        struct memory_limit l;

        put_node(k);
        put(k, "proc/self/cgroup", "0::/system.slice/ckptd.service\n");
        put(k, "sys/fs/cgroup/unified/system.slice/ckptd.service/memory.max", "max\n");
        put(k, "sys/fs/cgroup/unified/system.slice/ckptd.service/memory.current", "5\n");
        put(k, "sys/fs/cgroup/unified/system.slice/memory.max", "10000000\n");
        put(k, "sys/fs/cgroup/unified/system.slice/memory.current", "9000000\n");
        put(k, "sys/fs/cgroup/unified/system.slice/memory.stat",
            "anon 1\nfile 9\ninactive_file 300\nactive_file 20\n");
        memory_limit_read(k->path, &l);
        assert_int_equal(l.total, 10000000);
        assert_int_equal(l.room, 1000320);
}

static void test_version_1(void **state)
{
        struct kept *k = *state;
        struct memory_limit l;

        put_node(k);
        put(k, "proc/self/cgroup", "5:devices:/\n4:memory:/a/b\n0::/\n");
        put(k, "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
        put(k, "sys/fs/cgroup/memory/a/b/memory.usage_in_bytes", "5\n");
        put(k, "sys/fs/cgroup/memory/a/memory.limit_in_bytes", "4096000\n");
        put(k, "sys/fs/cgroup/memory/a/memory.usage_in_bytes", "5000000\n");
        memory_limit_read(k->path, &l);
        assert_int_equal(l.total, 4096000);
        assert_int_equal(l.room, 0);
}

/* A container sees a part of the tree as the whole. */
static void test_container(void **state)
{
        struct kept *k = *state;
        struct memory_limit l;

        put_node(k);
        put(k, "proc/self/mountinfo",
            "31 25 0:28 /docker/x /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        put(k, "proc/self/cgroup", "0::/docker/x/job\n");
        put(k, "sys/fs/cgroup/job/memory.max", "777\n");
        put(k, "sys/fs/cgroup/job/memory.current", "700\n");
        put(k, "sys/fs/cgroup/memory.max", "800\n");
        put(k, "sys/fs/cgroup/memory.current", "750\n");
        memory_limit_read(k->path, &l);
        assert_int_equal(l.total, 777);
        assert_int_equal(l.room, 50);
}

static void test_here(void **state)
{
        (void)state;
        assert_in_range(store_memory_room(), 1 << 20, store_memory_total());
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, kept_setup, kept_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_new),       TEST(test_empty),     TEST(test_too_large),
                TEST(test_map),       TEST(test_no_limit),  TEST(test_version_2),
                TEST(test_version_1), TEST(test_container), cmocka_unit_test(test_here),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
