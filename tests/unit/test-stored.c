#include "format-opened.h"
#include "stored-build.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>

#define BIG_BYTES (11 * 1024 * 1024 + 5)

static const char *const small[] = {
        "[{\"name\":\"a\",\"dtype\":\"float32\",\"shape\":[50]},{\"name\":\"b\",\"dtype\":\"int8\","
        "\"shape\":[3]}]",
        "[{\"name\":\"c\",\"dtype\":\"float32\",\"shape\":[50]},{\"name\":\"d\",\"dtype\":\"int8\","
        "\"shape\":[3]}]",
};
static const char *const big[] = {
        "[{\"name\":\"first\",\"dtype\":\"int8\",\"shape\":[1000]},"
        "{\"name\":\"big\",\"dtype\":\"uint8\",\"shape\":[11534341]},"
        "{\"name\":\"last\",\"dtype\":\"int64\",\"shape\":[]}]",
};
static const char *const sliced[] = {
        "[{\"name\":\"w\",\"dtype\":\"int16\",\"shape\":[40,30],\"slice\":\"40 70 -:0,30\"}]",
        "[{\"name\":\"w\",\"dtype\":\"int16\",\"shape\":[40,40],\"slice\":\"40 70 -:30,40\"}]",
};

static void reads_steps_from_names(void **state)
{
        (void)state;
        assert_int_equal(stored_name_step("model.ckpt-4000"), 4000);
        assert_int_equal(stored_name_step("model.ckpt-4000-r3"), 4000);
        assert_int_equal(stored_name_step("a/b-1"), 1);
        assert_int_equal(stored_name_step("ckpt-0"), 0);
        assert_int_equal(stored_name_step("best"), -1);
        assert_int_equal(stored_name_step("model4"), -1);
        assert_int_equal(stored_name_step("-5"), 5);
        assert_int_equal(stored_name_step("5"), -1);
        assert_int_equal(stored_name_step("x-"), -1);
        assert_int_equal(stored_name_step("x-99999999999999999999"), -1);
        assert_int_equal(stored_name_step("x-r3"), -1);
}

static void opens_as(const struct fixture *f, const char *name, const char *prefix)
{
        _cleanup_(stored_freep) struct stored *s = fixture_open(f, name);

        assert_string_equal(s->name, prefix);
        assert_ptr_equal(s->format, f->format);
}

static void opens_by_any_of_its_names(void **state)
{
        struct fixture f;

        (void)state;
        fixture_init(&f, &format_tensorbundle, "m-5", small, 2);
        fixture_write(&f, 5);
        opens_as(&f, "m-5", "m-5");
        opens_as(&f, "m-5.index", "m-5");
        opens_as(&f, "m-5.data-00001-of-00002", "m-5");
        f.name = "sub/m-6";
        assert_int_equal(mkdirat(f.dirfd, "sub", 0755), 0);
        fixture_write(&f, 6);
        opens_as(&f, "sub/m-6", "sub/m-6");
        fixture_done(&f);
        fixture_init(&f, &format_safetensors, "m-5", small, 2);
        fixture_write(&f, 5);
        opens_as(&f, "m-5", "m-5");
        opens_as(&f, "m-5.safetensors.index.json", "m-5");
        opens_as(&f, "m-5-00002-of-00002.safetensors", "m-5");
        f.name = "sub/m-6";
        assert_int_equal(mkdirat(f.dirfd, "sub", 0755), 0);
        fixture_write(&f, 6);
        opens_as(&f, "sub/m-6", "sub/m-6");
        assert_int_equal(unlinkat(f.dirfd, "m-5.safetensors.index.json", 0), 0);
        opens_as(&f, "m-5-00002-of-00002.safetensors", "m-5-00002-of-00002");
        assert_int_equal(renameat(f.dirfd, "m-5-00001-of-00002.safetensors", f.dirfd, "odd.bin"),
                         0);
        opens_as(&f, "odd.bin", "odd.bin");
        fixture_done(&f);
}

static void fails(const struct fixture *f, const char *name, int error, const char *why)
{
        _cleanup_(diag_done) struct diag d = {0};

        assert_int_equal(fixture_verify(f, name, &d), error);
        if (!strstr(d.text, why))
                fail_msg("\"%s\" does not say \"%s\"", d.text, why);
}

static void tells_nothing_from_unknown(void **state)
{
        struct fixture f;

        (void)state;
        fixture_init(&f, &format_tensorbundle, "m-5", small, 2);
        fails(&f, "m-5", -ENOENT, "Failed to find any matching files for m-5");
        fails(&f, "m-5.index", -ENOENT, "Failed to find");
        directory_put(&f.dir, "notes.txt", "something else", 14);
        fails(&f, "notes.txt", -EOPNOTSUPP, "notes.txt");
        directory_put(&f.dir, "empty", "", 0);
        fails(&f, "empty", -EOPNOTSUPP, "empty");
        directory_put(&f.dir, "short.index", "", 0);
        fails(&f, "short", -EBADMSG, "short.index: file is too short to be an sstable");
        assert_int_equal(symlinkat("/etc/passwd", f.dirfd, "link.index"), 0);
        fails(&f, "link", -ENOENT, "link");
        fixture_done(&f);
}

static void names_missing_short_and_swapped_files(void **state)
{
        const char *one = "m-5.data-00000-of-00002", *two = "m-5.data-00001-of-00002";
        struct fixture f;

        (void)state;
        fixture_init(&f, &format_tensorbundle, "m-5", small, 2);
        fixture_write(&f, 5);
        assert_int_equal(renameat2(f.dirfd, one, f.dirfd, two, RENAME_EXCHANGE), 0);
        fails(&f, "m-5", -EBADMSG,
              "m-5.data-00000-of-00002: a (float32 [50], bytes 0 to 200): crc32c is ");
        fails(&f, "m-5", -EBADMSG,
              "\nm-5.data-00001-of-00002: d (int8 [3], bytes 256 to 259): crc32c");
        assert_int_equal(renameat2(f.dirfd, one, f.dirfd, two, RENAME_EXCHANGE), 0);
        directory_put(&f.dir, one, f.images[0], f.ranks[0]->bytes - 1);
        fails(&f, "m-5", -EBADMSG, "m-5.data-00000-of-00002: has 258 bytes, the index needs 259");
        directory_put(&f.dir, one, f.images[0], f.ranks[0]->bytes + 1); /* padding is legal */
        assert_int_equal(fixture_verify(&f, "m-5", NULL), 0);
        assert_int_equal(unlinkat(f.dirfd, one, 0), 0);
        assert_int_equal(unlinkat(f.dirfd, two, 0), 0);
        fails(&f, "m-5", -EBADMSG,
              "m-5.data-00000-of-00002: No such file or directory\n"
              "m-5.data-00001-of-00002: No such file or directory");
        fixture_done(&f);
}

static void gives_what_the_index_says_of_a_damaged_one(void **state)
{
        _cleanup_(stored_freep) struct stored *s = NULL;
        struct stored_check how;
        _cleanup_(diag_done) struct diag d = {0};
        struct fixture f;

        (void)state;
        fixture_init(&f, &format_tensorbundle, "m-5", small, 2);
        fixture_write(&f, 5);
        assert_int_equal(unlinkat(f.dirfd, "m-5.data-00001-of-00002", 0), 0);
        assert_int_equal(stored_open(&io_real, f.dirfd, "m-5", &s, &d), -EBADMSG);
        assert_non_null(s);
        assert_int_equal(s->n_tensors, 4);
        assert_true(s->files[2].missing);
        how = fixture_check(&f);
        f.images[0][7] ^= 1;
        directory_put(&f.dir, "m-5.data-00000-of-00002", f.images[0], f.ranks[0]->bytes);
        assert_int_equal(stored_verify(s, &how, &d), -EBADMSG);
        assert_non_null(strstr(d.text, "m-5.data-00001-of-00002: No such file"));
        assert_non_null(strstr(d.text, "m-5.data-00000-of-00002: a (float32"));
        fixture_done(&f);
}

struct seen {
        atomic_uint_fast64_t bytes, of;
};

static void note(uint64_t bytes, uint64_t of, void *user)
{
        struct seen *seen = user;
        uint64_t before = atomic_load(&seen->bytes);

        while (bytes > before && !atomic_compare_exchange_weak(&seen->bytes, &before, bytes))
                ;
        atomic_store(&seen->of, of);
}

static void verifies_in_pieces_and_tells_progress(void **state)
{
        _cleanup_(stored_freep) struct stored *s = NULL;
        _cleanup_(diag_done) struct diag d = {0};
        struct seen seen = {0};
        struct stored_check how;
        struct fixture f;

        (void)state;
        fixture_init(&f, &format_tensorbundle, "m-5", big, 1);
        fixture_write(&f, 5);
        s = fixture_open(&f, "m-5");
        how = (struct stored_check){&io_real, f.dirfd, 3, note, &seen};
        assert_int_equal(stored_verify(s, &how, NULL), 0);
        assert_int_equal(seen.bytes, BIG_BYTES + 1000 + 8);
        assert_int_equal(seen.of, BIG_BYTES + 1000 + 8);
        f.images[0][9000000] ^= 0x80;
        directory_put(&f.dir, "m-5.data-00000-of-00001", f.images[0], f.ranks[0]->bytes);
        assert_int_equal(stored_verify(s, &how, &d), -EBADMSG);
        assert_non_null(
                strstr(d.text, "big (uint8 [11534341], bytes 1024 to 11535365): crc32c is "));
        fixture_done(&f);
}

/* Into memory laid out as the file, as a slot is: nothing beside the tensors may be touched. */
static void fetches_into_a_slot(void **state)
{
        struct stored_target targets[3];
        struct stored_check how;
        struct fixture f;
        size_t bytes;

        (void)state;
        fixture_init(&f, &format_tensorbundle, "m-5", big, 1);
        fixture_write(&f, 5);
        bytes = f.ranks[0]->bytes;
        for (unsigned threads = 0; threads < 3; threads++) {
                _cleanup_(stored_freep) struct stored *s = fixture_open(&f, "m-5");
                uint8_t *slot = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

                assert_true(slot != MAP_FAILED);
                memset(slot, 0xee, bytes);
                for (size_t i = 0; i < 3; i++) {
                        struct tensor *t = &f.ranks[0]->tensors[i];

                        targets[i] = (struct stored_target){t, slot + t->offset};
                }
                how = (struct stored_check){.io = &io_real, .dirfd = f.dirfd, .n_threads = threads};
                assert_int_equal(stored_fetch(s, &how, targets, 3, NULL), 0);
                for (size_t i = 0; i < 3; i++) {
                        struct tensor *t = &f.ranks[0]->tensors[i];

                        assert_memory_equal(slot + t->offset, f.images[0] + t->offset, t->bytes);
                }
                assert_int_equal(slot[1000], 0xee);
                assert_int_equal(slot[1023], 0xee);
                munmap(slot, bytes);
        }
        fixture_done(&f);
}

static void refuses_targets_that_do_not_fit(void **state)
{
        static const struct {
                const char *manifest, *why;
        } cases[] = {
                {"[{\"name\":\"x\",\"dtype\":\"int8\",\"shape\":[3]}]",
                 "Key x not found in checkpoint"},
                {"[{\"name\":\"a\",\"dtype\":\"int32\",\"shape\":[50]}]",
                 "tensor_name = a; expected dtype int32 does not equal original dtype float"},
                {"[{\"name\":\"a\",\"dtype\":\"float32\",\"shape\":[5,10]}]",
                 "tensor_name = a; shape in shape_and_slice spec [5,10] does not match the shape "
                 "stored in "
                 "checkpoint: [50]"},
        };
        uint8_t memory[256];
        struct fixture f;

        (void)state;
        fixture_init(&f, &format_tensorbundle, "m-5", small, 2);
        fixture_write(&f, 5);
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_(stored_freep) struct stored *s = fixture_open(&f, "m-5");
                _cleanup_(manifest_freep) struct manifest *m = NULL;
                _cleanup_(diag_done) struct diag d = {0};
                struct stored_check how = fixture_check(&f);

                assert_int_equal(
                        manifest_parse(cases[i].manifest, strlen(cases[i].manifest), &m, NULL), 0);
                assert_int_equal(
                        stored_fetch(s, &how, &(struct stored_target){m->tensors, memory}, 1, &d),
                        -EINVAL);
                assert_non_null(strstr(d.text, cases[i].why));
        }
        fixture_done(&f);
}

static void tells_of_parts_that_are_not_there(void **state)
{
        const char *all = "[{\"name\":\"w\",\"dtype\":\"int16\",\"shape\":[40,70]}]";
        _cleanup_(manifest_freep) struct manifest *m = NULL;
        _cleanup_(stored_freep) struct stored *s = NULL;
        _cleanup_(freep) uint8_t *memory = malloc(40 * 70 * 2);
        _cleanup_(diag_done) struct diag d = {0};
        struct stored_check how;
        struct fixture f;

        (void)state;
        fixture_init(&f, &format_tensorbundle, "m-5", sliced, 1);
        fixture_write(&f, 5);
        s = fixture_open(&f, "m-5");
        how = fixture_check(&f);
        assert_int_equal(manifest_parse(all, strlen(all), &m, NULL), 0);
        assert_int_equal(stored_fetch(s, &how, &(struct stored_target){m->tensors, memory}, 1, &d),
                         -EBADMSG);
        assert_string_equal(
                d.text, "Does not have sufficient slices for partitioned tensor w to restore in "
                        "slice_spec: -:-");
        fixture_done(&f);
}

static int append(const void *p, size_t n, void *user)
{
        return buffer_append(user, p, n);
}

static void streams_in_order(void **state)
{
        const char *all = "[{\"name\":\"w\",\"dtype\":\"int16\",\"shape\":[40,70]}]";
        _cleanup_(manifest_freep) struct manifest *m = NULL;
        _cleanup_(buffer_done) struct buffer b = {0};
        _cleanup_(freep) uint8_t *want = NULL;
        struct stored_sink sink = {append, &b};
        struct stored_check how;
        struct stored *s;
        struct fixture f;

        (void)state;
        fixture_init(&f, &format_tensorbundle, "m-5", sliced, 2);
        fixture_write(&f, 5);
        s = fixture_open(&f, "m-5");
        how = fixture_check(&f);
        assert_int_equal(stored_stream(s, &how, s->tensors, &sink, NULL), 0);
        assert_int_equal(manifest_parse(all, strlen(all), &m, NULL), 0);
        want = pattern_bytes(m->tensors);
        assert_int_equal(b.len, 40 * 70 * 2);
        assert_memory_equal(b.data, want, b.len);
        stored_free(s);
        fixture_done(&f);
        b.len = 0;
        fixture_init(&f, &format_tensorbundle, "m-5", big, 1);
        fixture_write(&f, 5);
        s = fixture_open(&f, "m-5");
        how = fixture_check(&f);
        assert_int_equal(stored_stream(s, &how, stored_find(s, "big"), &sink, NULL), 0);
        assert_int_equal(b.len, BIG_BYTES);
        assert_memory_equal(b.data, f.images[0] + f.ranks[0]->tensors[1].offset, b.len);
        stored_free(s);
        fixture_done(&f);
}

static ssize_t no_direct_pread(int fd, void *p, size_t n, off_t offset)
{
        if (fcntl(fd, F_GETFL) & O_DIRECT) {
                errno = EINVAL;
                return -1;
        }
        return pread(fd, p, n > 70001 ? 70001 : n, offset); /* short counts too */
}

static int no_direct_open(int dirfd, const char *path, int flags, mode_t mode)
{
        if (flags & O_DIRECT) {
                errno = EINVAL;
                return -1;
        }
        return io_real.open(dirfd, path, flags, mode);
}

static ssize_t broken_pread(int fd, void *p, size_t n, off_t offset)
{
        if (offset >= 4 * 1024 * 1024) {
                errno = EIO;
                return -1;
        }
        return pread(fd, p, n, offset);
}

static void falls_back_to_buffered_reads(void **state)
{
        struct io refuses_open = io_real, refuses_read = io_real, breaks = io_real;
        _cleanup_(stored_freep) struct stored *s = NULL;
        _cleanup_(diag_done) struct diag d = {0};
        struct stored_check how;
        struct fixture f;

        (void)state;
        refuses_open.open = no_direct_open;
        refuses_read.pread = no_direct_pread;
        breaks.pread = broken_pread;
        fixture_init(&f, &format_tensorbundle, "m-5", big, 1);
        fixture_write(&f, 5);
        s = fixture_open(&f, "m-5");
        how = (struct stored_check){.io = &refuses_open, .dirfd = f.dirfd};
        assert_int_equal(stored_verify(s, &how, NULL), 0);
        how.io = &refuses_read;
        assert_int_equal(stored_verify(s, &how, NULL), 0);
        how.io = &breaks;
        assert_int_equal(stored_verify(s, &how, &d), -EIO);
        assert_non_null(strstr(d.text, "m-5.data-00000-of-00001: bytes "));
        directory_put(&f.dir, "m-5.data-00000-of-00001", f.images[0], 100);
        how.io = &io_real; /* became shorter after it was opened */
        assert_int_equal(stored_verify(s, &how, &d), -EBADMSG);
        fixture_done(&f);
}

static void takes_files_of_ranks_that_stored_nothing(void **state)
{
        static const char *const ranks[] = {
                "[{\"name\":\"a\",\"dtype\":\"int8\",\"shape\":[3]}]",
                "[{\"name\":\"a\",\"dtype\":\"int8\",\"shape\":[3]}]",
        };
        _cleanup_(stored_freep) struct stored *s = NULL;
        struct fixture f;

        (void)state;
        fixture_init(&f, &format_tensorbundle, "m-5", ranks, 2);
        fixture_write(&f, 5);
        s = fixture_open(&f, "m-5");
        assert_int_equal(s->n_files, 3);
        assert_string_equal(s->files[2].name, "m-5.data-00001-of-00002");
        assert_int_equal(s->files[2].bytes, 0);
        assert_int_equal(unlinkat(f.dirfd, "m-5.data-00001-of-00002", 0), 0);
        assert_int_equal(fixture_verify(&f, "m-5", NULL), 0);
        fixture_done(&f);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(reads_steps_from_names),
                cmocka_unit_test(opens_by_any_of_its_names),
                cmocka_unit_test(tells_nothing_from_unknown),
                cmocka_unit_test(names_missing_short_and_swapped_files),
                cmocka_unit_test(gives_what_the_index_says_of_a_damaged_one),
                cmocka_unit_test(verifies_in_pieces_and_tells_progress),
                cmocka_unit_test(fetches_into_a_slot),
                cmocka_unit_test(refuses_targets_that_do_not_fit),
                cmocka_unit_test(tells_of_parts_that_are_not_there),
                cmocka_unit_test(streams_in_order),
                cmocka_unit_test(falls_back_to_buffered_reads),
                cmocka_unit_test(takes_files_of_ranks_that_stored_nothing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
