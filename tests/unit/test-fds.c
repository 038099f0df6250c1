#include "fds.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>

static void test_memfd_new(void **state)
{
        _cleanup_(closep) int fd = fds_memfd_new("slot", 12345);
        struct stat st;

        (void)state;
        assert_true(fd >= 0);
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_size, 12345);
        assert_int_equal(st.st_blocks, 0);
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        assert_int_equal(ftruncate(fd, 12344), -1);
        assert_int_equal(ftruncate(fd, 12346), -1);
        assert_int_equal(pwrite(fd, "x", 1, 12344), 1);
        assert_int_equal(fds_memfd_new("slot", (uint64_t)INT64_MAX + 1), -EFBIG);
}

static void test_memfd_of(void **state)
{
        _cleanup_(closep) int fd = fds_memfd_of("manifest", "hello", 5), empty = -1;
        char text[8] = "";

        (void)state;
        assert_true(fd >= 0);
        assert_int_equal(pread(fd, text, sizeof(text), 0), 5);
        assert_string_equal(text, "hello");
        assert_int_equal(pwrite(fd, "x", 1, 0), -1);
        assert_int_equal(errno, EPERM);
        assert_ptr_equal(mmap(NULL, 5, PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
        empty = fds_memfd_of("manifest", NULL, 0);
        assert_true(empty >= 0);
        assert_int_equal(fds_memfd_check(empty, 0), 0);
}

static void test_memfd_check(void **state)
{
        _cleanup_(closep) int sealed = fds_memfd_new("slot", 4096);
        _cleanup_(closep) int open_memfd = memfd_create("x", MFD_ALLOW_SEALING);
        _cleanup_(closep) int null = open("/dev/null", O_RDWR | O_CLOEXEC);

        (void)state;
        assert_int_equal(fds_memfd_check(sealed, 4096), 0);
        assert_int_equal(fds_memfd_check(sealed, 0), 0);
        assert_int_equal(fds_memfd_check(sealed, 4097), -EPERM);
        assert_int_equal(fds_memfd_check(sealed, UINT64_MAX), -EPERM);
        assert_int_equal(fds_memfd_check(open_memfd, 0), -EPERM);
        assert_int_equal(fcntl(open_memfd, F_ADD_SEALS, F_SEAL_GROW), 0);
        assert_int_equal(fds_memfd_check(open_memfd, 0), -EPERM);
        assert_int_equal(fds_memfd_check(null, 0), -EPERM);
        assert_int_equal(fds_memfd_check(-1, 0), -EPERM);
}

static int memfd_with(const void *p, size_t n)
{
        int fd = memfd_create("input", MFD_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, p, n), n);
        return fd;
}

static void test_read_all_sizes(void **state)
{
        static const size_t sizes[] = {0, 1, 63, 64, 65535, 65536, 65537, 200000};
        _cleanup_(freep) char *bytes = malloc(200000);

        (void)state;
        assert_non_null(bytes);
        for (size_t i = 0; i < 200000; i++)
                bytes[i] = (char)(i * 31 >> 3);
        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
                _cleanup_(closep) int fd = memfd_with(bytes, sizes[i]);
                _cleanup_(buffer_done) struct buffer b = {0};

                assert_int_equal(fds_read_all(fd, sizes[i], &b), 0);
                assert_int_equal(b.len, sizes[i]);
                assert_memory_equal(b.data, bytes, sizes[i]);
                assert_int_equal(b.data[b.len], 0);
                /* From the start again, wherever the file offset is. */
                assert_int_equal(fds_read_all(fd, SIZE_MAX, &b), 0);
                assert_int_equal(b.len, sizes[i]);
                if (sizes[i] > 0)
                        assert_int_equal(fds_read_all(fd, sizes[i] - 1, &b), -EFBIG);
                assert_int_equal(b.len, sizes[i]);
        }
}

static void test_read_all_failures(void **state)
{
        _cleanup_(buffer_done) struct buffer b = {0};
        int pipe_fds[2];

        (void)state;
        assert_int_equal(fds_read_all(-1, 100, &b), -EBADF);
        assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
        assert_int_equal(fds_read_all(pipe_fds[0], 100, &b), -ESPIPE);
        close(pipe_fds[0]);
        close(pipe_fds[1]);
        assert_null(b.data);
}

static void test_read_file(void **state)
{
        char dir[] = "/tmp/test-fds.XXXXXX", path[64];
        _cleanup_(buffer_done) struct buffer b = {0};

        (void)state;
        assert_int_equal(fds_read_file("/nowhere/at/all", 100, &b), -ENOENT);
        assert_int_equal(fds_read_file("/", 100, &b), -EISDIR);
        /* Files of /proc have no size. */
        assert_int_equal(fds_read_file("/proc/self/comm", 100, &b), 0);
        assert_string_equal((char *)b.data, "test-fds\n");
        assert_non_null(mkdtemp(dir));
        snprintf(path, sizeof(path), "%s/fifo", dir);
        assert_int_equal(mkfifo(path, 0600), 0);
        assert_int_equal(fds_read_file(path, 100, &b), -ESPIPE);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(rmdir(dir), 0);
}

static void test_pidfd_of_child(void **state)
{
        _cleanup_(closep) int fd = -1;
        int gate[2];
        char c;
        pid_t pid;

        (void)state;
        assert_int_equal(pipe2(gate, O_CLOEXEC), 0);
        pid = fork();
        if (pid == 0) {
                close(gate[1]);
                _exit(read(gate[0], &c, 1) == 0 ? 0 : 1);
        }
        assert_true(pid > 0);
        close(gate[0]);
        fd = fds_pidfd_open(pid);
        assert_true(fd >= 0);
        assert_int_equal(fds_pidfd_is_dead(fd), 0);
        assert_int_equal(fds_pidfd_pid(fd), pid);
        close(gate[1]);
        assert_int_equal(poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, -1), 1);
        assert_int_equal(fds_pidfd_is_dead(fd), 1);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_int_equal(fds_pidfd_is_dead(fd), 1);
        assert_int_equal(fds_pidfd_pid(fd), 0);
        assert_int_equal(fds_pidfd_open(pid), -ESRCH);
}

static void test_pidfd_of_self(void **state)
{
        _cleanup_(closep) int fd = fds_pidfd_open(getpid());

        (void)state;
        assert_true(fd >= 0);
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        assert_int_equal(fds_pidfd_pid(fd), getpid());
        assert_int_equal(fds_pidfd_is_dead(fd), 0);
}

static void test_map_shared(void **state)
{
        static const uint64_t sizes[] = {4096, FDS_HUGE_BYTES, 2 * FDS_HUGE_BYTES + 4096};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
                _cleanup_(closep) int fd = fds_memfd_new("test", sizes[i]);
                char last = 0;
                void *p;

                assert_int_equal(fds_map_shared(fd, sizes[i], &p), 0);
                if (sizes[i] >= FDS_HUGE_BYTES)
                        assert_int_equal((uintptr_t)p % FDS_HUGE_BYTES, 0);
                memset(p, 'x', sizes[i]);
                assert_int_equal(pread(fd, &last, 1, (off_t)sizes[i] - 1), 1);
                assert_int_equal(last, 'x');
                assert_int_equal(munmap(p, sizes[i]), 0);
        }
        assert_int_equal(fds_map_shared(-1, 4096, &(void *){NULL}), -EBADF);
}

static void test_pidfd_failures(void **state)
{
        _cleanup_(closep) int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

        (void)state;
        assert_int_equal(fds_pidfd_open(-1), -EINVAL);
        assert_int_equal(fds_pidfd_is_dead(-1), -EBADF);
        assert_int_equal(fds_pidfd_is_dead(9999), -EBADF);
        assert_int_equal(fds_pidfd_pid(-1), -EBADF);
        assert_int_equal(fds_pidfd_pid(null), -EBADF);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_memfd_new),         cmocka_unit_test(test_memfd_of),
                cmocka_unit_test(test_memfd_check),       cmocka_unit_test(test_read_all_sizes),
                cmocka_unit_test(test_read_all_failures), cmocka_unit_test(test_read_file),
                cmocka_unit_test(test_pidfd_of_child),    cmocka_unit_test(test_pidfd_of_self),
                cmocka_unit_test(test_pidfd_failures),    cmocka_unit_test(test_map_shared),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
