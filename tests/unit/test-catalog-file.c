#include "catalog-kept.h"
#include "sql.h"

#include "fds.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* ---- the file ---- */

static sqlite3 *open_sqlite(const char *path)
{
        sqlite3 *db = NULL;

        assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
        return db;
}

static void execute(const char *path, const char *sql)
{
        sqlite3 *db = open_sqlite(path);

        assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static int64_t number_of(sqlite3 *db, const char *sql)
{
        sqlite3_stmt *s = NULL;
        int64_t n;

        assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_step(s), SQLITE_ROW);
        n = sqlite3_column_int64(s, 0);
        sqlite3_finalize(s);
        return n;
}

static void make_folder(struct fixture *f)
{
        assert_int_equal(open_catalog(f, NULL), 0);
        close_catalog(f);
}

static void test_empty_file(void **state)
{
        struct fixture *f = *state;
        sqlite3 *db;

        make_folder(f);
        assert_int_equal(truncate(f->path, 0), 0);
        assert_int_equal(open_catalog(f, NULL), 0);
        db = open_sqlite(f->path);
        assert_int_equal(number_of(db, "PRAGMA user_version"), SQL_VERSION);
        assert_int_equal(number_of(db, "PRAGMA application_id"), SQL_APPLICATION_ID);
        assert_int_equal(number_of(db, "SELECT journal_mode = 'wal' FROM pragma_journal_mode"), 1);
        sqlite3_close(db);
}

static void assert_refused_untouched(struct fixture *f, int error, const char *text)
{
        _cleanup_(diag_done) struct diag d = {0};
        _cleanup_(buffer_done) struct buffer before = {0}, after = {0};

        assert_int_equal(fds_read_file(f->path, SIZE_MAX, &before), 0);
        assert_int_equal(open_catalog(f, &d), error);
        assert_non_null(strstr(d.text, text));
        assert_non_null(strstr(d.text, f->path));
        assert_int_equal(fds_read_file(f->path, SIZE_MAX, &after), 0);
        assert_int_equal(before.len, after.len);
        assert_memory_equal(before.data, after.data, after.len);
}

static void test_newer_schema(void **state)
{
        struct fixture *f = *state;

        make_folder(f);
        execute(f->path, "PRAGMA user_version = 999");
        assert_refused_untouched(f, -EPROTONOSUPPORT, "version 999");
        execute(f->path, "PRAGMA user_version = 1");
        assert_int_equal(open_catalog(f, NULL), 0);
}

static void test_foreign_database(void **state)
{
        struct fixture *f = *state;

        make_folder(f);
        assert_int_equal(unlink(f->path), 0);
        execute(f->path, "CREATE TABLE recipe (name)");
        assert_refused_untouched(f, -EEXIST, "another program");
        execute(f->path, "DROP TABLE recipe; PRAGMA application_id = 5");
        assert_refused_untouched(f, -EEXIST, "another program");
}

static int count_aside(struct fixture *f)
{
        char folder[PATH_BYTES];
        struct dirent *e;
        DIR *dir;
        int n = 0;

        snprintf(folder, sizeof(folder), "%s/state/users", f->folder);
        dir = opendir(folder);
        assert_non_null(dir);
        while ((e = readdir(dir)))
                n += strncmp(e->d_name, "catalog.sqlite.broken-2", 23) == 0;
        closedir(dir);
        return n;
}

static void assert_replaced(struct fixture *f)
{
        _cleanup_(diag_done) struct diag d = {0};
        struct catalog_start s = {0};

        assert_int_equal(open_catalog(f, &d), 1);
        assert_non_null(strstr(d.text, ".broken-"));
        assert_int_equal(count_aside(f), 1);
        assert_int_equal(catalog_load(f->catalog, &s, NULL), 0);
        assert_int_equal(s.n_directories, 0);
        catalog_start_done(&s);
        assert_int_equal(put_directory(f, "u", "/m"), 1);
        reopen(f);
}

static void test_garbage_file(void **state)
{
        struct fixture *f = *state;
        int fd;

        make_folder(f);
        fd = open(f->path, O_WRONLY | O_TRUNC | O_CLOEXEC);
        assert_true(fd >= 0);
        for (int i = 0; i < 4096; i++)
                assert_int_equal(write(fd, "garbage!", 8), 8);
        close(fd);
        assert_replaced(f);
}

static void test_damaged_page(void **state)
{
        static const char junk[4096] = "\xff\xff\xff\xff\xff\xff\xff\xff\xff";
        struct fixture *f = *state;
        int fd;

        assert_int_equal(open_catalog(f, NULL), 0);
        put_directory(f, "u", "/m");
        close_catalog(f);
        fd = open(f->path, O_WRONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        for (int page = 1; page < 10; page++)
                assert_int_equal(pwrite(fd, junk, sizeof(junk), page * 4096), sizeof(junk));
        close(fd);
        assert_replaced(f);
}

static void test_second_opener(void **state)
{
        struct fixture *f = *state;
        struct catalog_options o = {.path = f->path};
        struct catalog *second = NULL;
        _cleanup_(diag_done) struct diag d = {0};
        char pid[32];

        assert_int_equal(open_catalog(f, NULL), 0);
        assert_int_equal(catalog_open(&second, &o, &d), -EBUSY);
        assert_null(second);
        snprintf(pid, sizeof(pid), "pid %d", (int)getpid());
        assert_non_null(strstr(d.text, pid));
        close_catalog(f);
        assert_int_equal(catalog_open(&second, &o, &d), 0);
        catalog_close(second);
}

static void test_unusable_place(void **state)
{
        struct fixture *f = *state;
        _cleanup_(diag_done) struct diag d = {0};

        snprintf(f->path, sizeof(f->path), "/dev/null/catalog.sqlite");
        assert_int_equal(open_catalog(f, &d), -ENOTDIR);
        assert_non_null(strstr(d.text, "/dev/null"));
        snprintf(f->path, sizeof(f->path), "%s/a-folder", f->folder);
        assert_int_equal(mkdir(f->path, 0700), 0);
        assert_true(open_catalog(f, &d) < 0);
        assert_non_null(strstr(d.text, f->folder));
}

/* What sqlite3 users see, while the daemon writes. */
static void test_readers(void **state)
{
        struct fixture *f = *state;
        struct checkpoint c = {
                .name = "m-7", .step = 7, .state = CHECKPOINT_WHOLE, .published_ms = 1700000000001};
        struct catalog_batch *b;
        sqlite3 *db;
        int64_t id;

        assert_int_equal(open_catalog(f, NULL), 0);
        id = put_directory(f, "u", "/m");
        b = new_batch(f);
        catalog_put_checkpoint(b, id, &c);
        catalog_put_save(b,
                         &(struct catalog_save){
                                 .id = 1, .directory = id, .result = "saved", .lost_us = 2500000});
        assert_int_equal(submit(f, b), 0);
        assert_int_equal(sqlite3_open_v2(f->path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, "BEGIN", NULL, NULL, NULL), SQLITE_OK);
        assert_int_equal(number_of(db, "SELECT count(*) FROM events"), 0);
        for (int i = 0; i < 50; i++)
                assert_int_equal(submit_event(f, i % 2 ? id : 0, 1700000000999, "saved", "x"), 0);
        assert_int_equal(number_of(db, "SELECT count(*) FROM events"), 0);
        assert_int_equal(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
        assert_int_equal(number_of(db, "SELECT count(*) FROM events"
                                       " WHERE time = '2023-11-14T22:13:20Z'"),
                         50);
        assert_int_equal(number_of(db, "SELECT count(*) FROM events WHERE directory = '/m'"), 25);
        assert_int_equal(number_of(db, "SELECT step FROM checkpoints WHERE directory = '/m'"
                                       " AND state = 'whole' AND published LIKE '2023%'"),
                         7);
        assert_int_equal(number_of(db, "SELECT lost_s * 10 FROM saves WHERE published IS NULL"),
                         25);
        sqlite3_close(db);
}

/* Somebody's open transaction holds batches back; nothing is lost. */
static void test_locked_by_another(void **state)
{
        struct fixture *f = *state;
        struct catalog_batch *b;
        struct kept k;
        sqlite3 *db;

        assert_int_equal(open_catalog(f, NULL), 0);
        db = open_sqlite(f->path);
        assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
        b = new_batch(f);
        catalog_add_event(b, &(struct catalog_event){.event = "saved", .detail = "late"});
        catalog_submit(f->catalog, b, count_done, f);
        while (!catalog_problem(f->catalog))
                reap(f);
        assert_non_null(strstr(catalog_problem(f->catalog), "locked"));
        /* Questions are answered meanwhile. */
        query_events(f, (struct catalog_event_query){0}, &k);
        assert_int_equal(k.n_events, 0);
        assert_int_equal(f->n_done, 0);
        assert_int_equal(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
        while (f->n_done == 0)
                reap(f);
        assert_int_equal(f->last_r, 0);
        assert_null(catalog_problem(f->catalog));
        sqlite3_close(db);
}

/* ---- a full disk ---- */

static void fill(const char *folder, char name[static PATH_BYTES])
{
        static char block[64 * 1024];
        int fd;

        snprintf(name, PATH_BYTES, "%s/filler", folder);
        fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        for (size_t n = sizeof(block); n >= 512; n /= 2)
                while (write(fd, block, n) > 0)
                        ;
        close(fd);
}

static bool has_reserve(struct fixture *f)
{
        char name[PATH_BYTES + 16];

        snprintf(name, sizeof(name), "%s-reserve", f->path);
        return access(name, F_OK) == 0;
}

static void submit_large(struct fixture *f, struct numbered *n, const char *detail)
{
        struct catalog_batch *b = new_batch(f);

        catalog_add_event(b, &(struct catalog_event){.event = "saved", .detail = detail});
        catalog_submit(f->catalog, b, check_order, n);
}

static void check_full_disk(struct fixture *f)
{
        enum { N = 64, DETAIL_BYTES = 512 * 1024 };
        _cleanup_(freep) char *detail = malloc(DETAIL_BYTES);
        struct order order = {.is_whole = true};
        struct numbered numbered[N];
        char filler[PATH_BYTES];
        struct kept k;
        int written;

        assert_non_null(detail);
        memset(detail, 'x', DETAIL_BYTES - 1);
        detail[DETAIL_BYTES - 1] = 0;
        assert_int_equal(open_catalog(f, NULL), 0);
        assert_true(has_reserve(f));
        fill(f->folder, filler);
        for (int i = 0; i < N; i++) {
                numbered[i] = (struct numbered){&order, i};
                submit_large(f, &numbered[i], detail);
        }
        while (!catalog_problem(f->catalog))
                reap(f);
        written = order.next;
        /* The log's 4 MiB, the padding's, and most of the reserve held rows. */
        assert_in_range(written, 12, N - 1);
        assert_false(has_reserve(f));
        assert_non_null(strstr(catalog_problem(f->catalog), f->path));
        query_events(f, (struct catalog_event_query){0}, &k);
        assert_int_equal(k.n_events, written);
        assert_int_equal(unlink(filler), 0);
        while (order.next < N)
                reap(f);
        assert_true(order.is_whole);
        assert_null(catalog_problem(f->catalog));
        assert_true(has_reserve(f));
        reopen(f);
        query_events(f, (struct catalog_event_query){0}, &k);
        assert_int_equal(k.n_events, N);
}

static void test_full_disk(void **state)
{
        struct fixture *f = *state;

        if (mount("none", f->folder, "tmpfs", 0, "size=128m") < 0)
                skip();
        check_full_disk(f);
}

/* On a disk that is full already, what is there opens with the reserve's help. */
static void test_open_on_full_disk(void **state)
{
        struct fixture *f = *state;
        char filler[PATH_BYTES];
        struct kept k;

        if (mount("none", f->folder, "tmpfs", 0, "size=40m") < 0)
                skip();
        assert_int_equal(open_catalog(f, NULL), 0);
        assert_int_equal(submit_event(f, 0, 0, "saved", "before"), 0);
        close_catalog(f);
        fill(f->folder, filler);
        assert_int_equal(open_catalog(f, NULL), 0);
        query_events(f, (struct catalog_event_query){0}, &k);
        assert_string_equal(k.details, "before");
        assert_int_equal(submit_event(f, 0, 0, "evicted", "after"), 0);
}

static void count_failed(void *user, int r)
{
        struct fixture *f = user;

        f->n_done++;
        if (r < 0)
                f->last_r = r;
}

/* Closing while nothing can be written: every batch is answered, none hangs. */
static void test_file_size_limit(void **state)
{
        struct fixture *f = *state;
        struct rlimit old, small;
        struct kept k;
        char detail[100000];

        memset(detail, 'x', sizeof(detail));
        detail[sizeof(detail) - 1] = 0;
        assert_int_equal(open_catalog(f, NULL), 0);
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
        signal(SIGXFSZ, SIG_IGN);
        small = (struct rlimit){4200000, old.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        for (int i = 0; i < 100; i++) {
                struct catalog_batch *b = new_batch(f);

                catalog_add_event(b, &(struct catalog_event){.event = "saved", .detail = detail});
                catalog_submit(f->catalog, b, count_failed, f);
        }
        while (!catalog_problem(f->catalog))
                reap(f);
        close_catalog(f);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        signal(SIGXFSZ, SIG_DFL);
        assert_int_equal(f->n_done, 100);
        assert_true(f->last_r == -EIO || f->last_r == -ENOSPC);
        assert_int_equal(open_catalog(f, NULL), 0);
        query_events(f, (struct catalog_event_query){0}, &k);
        assert_in_range(k.n_events, 1, 99);
}

/* ---- kill -9 ---- */

struct told {
        int fd;
        int64_t id;
};

static void tell(void *user, int r)
{
        struct told *t = user;

        if (r < 0 || write(t->fd, &t->id, sizeof(t->id)) != sizeof(t->id))
                _exit(1);
        free(t);
}

static void submit_told(struct fixture *f, int fd, int64_t id, int64_t directory)
{
        struct told *t = malloc(sizeof(*t));
        struct catalog_batch *b = catalog_batch_new(f->catalog);
        struct catalog_save save = {.id = id, .directory = directory, .result = "open"};

        if (!t || !b)
                _exit(1);
        *t = (struct told){fd, id};
        catalog_put_save(b, &save);
        catalog_add_event(b, &(struct catalog_event){.event = "saved", .step = id});
        catalog_submit(f->catalog, b, tell, t);
}

static void write_until_killed(struct fixture *f, int fd)
{
        struct catalog_directory d = {.uuid = "u", .path = "/m"};
        struct catalog_batch *b;
        eventfd_t n;

        if (open_catalog(f, NULL) < 0)
                _exit(1);
        b = catalog_batch_new(f->catalog);
        catalog_put_directory(b, &d);
        catalog_submit(f->catalog, b, NULL, NULL);
        for (int64_t id = 1;; id++) {
                submit_told(f, fd, id, d.id);
                /* Some batches in flight all the time. */
                if (id % 8 == 0 && eventfd_read(f->wake_fd, &n) == 0)
                        catalog_reap(f->catalog);
        }
}

static void test_kill(void **state)
{
        struct fixture *f = *state;
        int64_t id, last = 0;
        int fds[2], status;
        struct kept k;
        pid_t child;

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        child = fork();
        assert_true(child >= 0);
        if (child == 0)
                write_until_killed(f, fds[1]);
        close(fds[1]);
        while (last < 200 && read(fds[0], &id, sizeof(id)) == sizeof(id)) {
                assert_int_equal(id, last + 1);
                last = id;
        }
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        while (read(fds[0], &id, sizeof(id)) == sizeof(id))
                last = id;
        close(fds[0]);
        assert_true(last >= 200);

        assert_int_equal(open_catalog(f, NULL), 0);
        query_directory(f, 1, &k);
        assert_true(k.n_saves >= (size_t)last);
        assert_int_equal(k.save.id, 1);
        query_events(f, (struct catalog_event_query){0}, &k);
        assert_true(k.n_events >= (size_t)last);
        /* In order, none missing: the last one is as many steps on as there are events. */
        assert_int_equal(k.first_event.step, 1);
        assert_int_equal(k.last_event.step, k.n_events);
}

#define CATALOG_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CATALOG_TEST(test_empty_file),
                CATALOG_TEST(test_newer_schema),
                CATALOG_TEST(test_foreign_database),
                CATALOG_TEST(test_garbage_file),
                CATALOG_TEST(test_damaged_page),
                CATALOG_TEST(test_second_opener),
                CATALOG_TEST(test_unusable_place),
                CATALOG_TEST(test_readers),
                CATALOG_TEST(test_locked_by_another),
                CATALOG_TEST(test_full_disk),
                CATALOG_TEST(test_open_on_full_disk),
                CATALOG_TEST(test_file_size_limit),
                CATALOG_TEST(test_kill),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
