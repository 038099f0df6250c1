#include "catalog-kept.h"

#include <sys/stat.h>

/* ---- rows, there and back ---- */

static void test_new_catalog(void **state)
{
        struct fixture *f = *state;
        struct catalog_start start = {0};
        char name[PATH_BYTES + 16];
        struct stat st;

        assert_int_equal(open_catalog(f, NULL), 0);
        assert_int_equal(catalog_load(f->catalog, &start, NULL), 0);
        assert_int_equal(start.n_directories, 0);
        assert_int_equal(start.next_save_id, 1);
        assert_null(start.settings);
        catalog_start_done(&start);
        assert_null(catalog_problem(f->catalog));
        assert_true(catalog_bytes(f->catalog) > 4 * 1024 * 1024);
        assert_int_equal(stat(f->path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0640);
        snprintf(name, sizeof(name), "%s-wal", f->path);
        assert_int_equal(stat(name, &st), 0);
        assert_true(st.st_size >= 4 * 1024 * 1024);
        snprintf(name, sizeof(name), "%s-reserve", f->path);
        assert_int_equal(stat(name, &st), 0);
        assert_true(st.st_blocks * 512 >= CATALOG_RESERVE_BYTES);
        snprintf(name, sizeof(name), "%s/state", f->folder);
        assert_int_equal(stat(name, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0750);
}

static void test_directories(void **state)
{
        struct fixture *f = *state;
        struct catalog_directory d = {.uuid = "u-1",
                                      .path = "/models/a",
                                      .device = UINT64_MAX - 1,
                                      .policy = "long",
                                      .held = "changed id",
                                      .registered = true,
                                      .registered_ms = 1700000000123};
        struct catalog_directory same = {.uuid = "u-1", .path = "/moved/a"},
                                 other = {.uuid = "u-2", .path = "/models/b"};
        struct catalog_batch *b;
        struct catalog_start s = {0};

        assert_int_equal(open_catalog(f, NULL), 0);
        b = new_batch(f);
        catalog_put_directory(b, &d);
        catalog_put_directory(b, &other);
        assert_int_equal(d.id, 1);
        assert_int_equal(other.id, 2);
        assert_int_equal(submit(f, b), 0);
        reopen(f);
        assert_int_equal(catalog_load(f->catalog, &s, NULL), 0);
        assert_int_equal(s.n_directories, 2);
        assert_string_equal(s.directories[0].uuid, "u-1");
        assert_string_equal(s.directories[0].path, "/models/a");
        assert_true(s.directories[0].device == UINT64_MAX - 1);
        assert_string_equal(s.directories[0].policy, "long");
        assert_string_equal(s.directories[0].held, "changed id");
        assert_true(s.directories[0].registered);
        assert_int_equal(s.directories[0].registered_ms, 1700000000123);
        assert_int_equal(s.directories[0].newest_step, -1);
        assert_int_equal(s.directories[0].n_checkpoints, 0);
        assert_null(s.directories[1].policy);
        assert_false(s.directories[1].registered);
        catalog_start_done(&s);

        /* After a restart too, a known uuid keeps its number. */
        b = new_batch(f);
        catalog_put_directory(b, &same);
        assert_int_equal(same.id, 1);
        assert_int_equal(submit(f, b), 0);
        assert_int_equal(put_directory(f, "u-3", "/models/c"), 3);
        assert_int_equal(catalog_load(f->catalog, &s, NULL), 0);
        assert_int_equal(s.n_directories, 3);
        assert_string_equal(s.directories[0].path, "/moved/a");
        assert_null(s.directories[0].held);
        catalog_start_done(&s);
}

/* A batch that is thrown away has given a number all the same: nobody else gets it. */
static void test_directory_numbers(void **state)
{
        struct fixture *f = *state;
        struct catalog_directory d = {.uuid = "thrown away", .path = "/x"};
        _cleanup_(catalog_batch_freep) struct catalog_batch *b = NULL;

        assert_int_equal(open_catalog(f, NULL), 0);
        b = new_batch(f);
        catalog_put_directory(b, &d);
        assert_int_equal(d.id, 1);
        assert_int_equal(put_directory(f, "written", "/y"), 2);
        assert_int_equal(put_directory(f, "thrown away", "/x"), 1);
        catalog_batch_free(take_ptr(b));
        b = new_batch(f);
        catalog_remove_directory(b, 2);
        assert_int_equal(submit(f, take_ptr(b)), 0);
        reopen(f);
        assert_int_equal(put_directory(f, "third", "/z"), 3);
}

static struct checkpoint make_checkpoint(int64_t sequence, char *name)
{
        static struct checkpoint_file files[] = {{"m-7.data-00000-of-00001", 1ULL << 40},
                                                 {"m-7.index", 123}};

        return (struct checkpoint){.name = name,
                                   .step = 7,
                                   .sequence = sequence,
                                   .run = 3,
                                   .save_id = 40 + sequence,
                                   .state = CHECKPOINT_WHOLE,
                                   .origin = CHECKPOINT_SAVED,
                                   .format = "tensorbundle",
                                   .published_ms = 1700000000000 + sequence,
                                   .bytes = (1ULL << 40) + 123,
                                   .n_files = 2,
                                   .files = files,
                                   .preserved = true,
                                   .pin_by = "alice (uid 1001)",
                                   .pin_reason = "demo for the board; 'quoted' \xc3\xa9",
                                   .replaces = "old"};
}

static void test_checkpoint_round_trip(void **state)
{
        struct fixture *f = *state;
        struct checkpoint c = make_checkpoint(5, "m-7");
        struct catalog_batch *b;
        struct kept k;
        const struct checkpoint *got;
        int64_t id;

        assert_int_equal(open_catalog(f, NULL), 0);
        id = put_directory(f, "u", "/m");
        b = new_batch(f);
        catalog_put_checkpoint(b, id, &c);
        assert_int_equal(submit(f, b), 0);
        reopen(f);
        query_directory(f, id, &k);
        assert_int_equal(k.checkpoints.n, 1);
        assert_int_equal(k.last_sequence, 5);
        got = k.checkpoints.items[0];
        assert_string_equal(got->name, c.name);
        assert_int_equal(got->step, 7);
        assert_int_equal(got->sequence, 5);
        assert_int_equal(got->run, 3);
        assert_int_equal(got->save_id, 45);
        assert_int_equal(got->state, CHECKPOINT_WHOLE);
        assert_int_equal(got->origin, CHECKPOINT_SAVED);
        assert_string_equal(got->format, c.format);
        assert_int_equal(got->published_ms, c.published_ms);
        assert_int_equal(got->bytes, c.bytes);
        assert_true(got->preserved);
        assert_string_equal(got->pin_by, c.pin_by);
        assert_string_equal(got->pin_reason, c.pin_reason);
        assert_string_equal(got->replaces, c.replaces);
        assert_int_equal(got->n_files, 2);
        assert_string_equal(got->files[0].name, c.files[0].name);
        assert_int_equal(got->files[0].bytes, 1ULL << 40);
        assert_string_equal(got->files[1].name, c.files[1].name);
        history_done(&k.checkpoints);
}

/* Every state and origin comes back; a second put replaces the row and all its files. */
static void test_checkpoint_changes(void **state)
{
        struct fixture *f = *state;
        struct checkpoint c = make_checkpoint(1, "x");
        struct catalog_batch *b;
        struct kept k;
        int64_t id;

        assert_int_equal(open_catalog(f, NULL), 0);
        id = put_directory(f, "u", "/m");
        for (int i = 0; checkpoint_state_names[i]; i++) {
                c.state = (enum checkpoint_state)i;
                c.origin = (enum checkpoint_origin)(i % 3);
                c.n_files = (size_t)i % 3;
                c.pin_by = c.pin_reason = c.replaces = c.format = NULL;
                c.preserved = false;
                b = new_batch(f);
                catalog_put_checkpoint(b, id, &c);
                assert_int_equal(submit(f, b), 0);
                query_directory(f, id, &k);
                assert_int_equal(k.checkpoints.n, 1);
                assert_int_equal(k.checkpoints.items[0]->state, i);
                assert_int_equal(k.checkpoints.items[0]->origin, i % 3);
                assert_int_equal(k.checkpoints.items[0]->n_files, i % 3);
                assert_null(k.checkpoints.items[0]->pin_by);
                assert_null(k.checkpoints.items[0]->format);
                assert_false(k.checkpoints.items[0]->preserved);
                history_done(&k.checkpoints);
        }
}

static void test_directory_totals(void **state)
{
        static const enum checkpoint_state states[] = {CHECKPOINT_WHOLE,   CHECKPOINT_WHOLE,
                                                       CHECKPOINT_DAMAGED, CHECKPOINT_SUPERSEDED,
                                                       CHECKPOINT_EVICTED, CHECKPOINT_GONE};
        struct fixture *f = *state;
        struct catalog_start s = {0};
        struct catalog_batch *b;
        char name[16];
        int64_t id;

        assert_int_equal(open_catalog(f, NULL), 0);
        id = put_directory(f, "u", "/m");
        b = new_batch(f);
        for (int64_t i = 0; i < (int64_t)ARRAY_SIZE(states); i++) {
                struct checkpoint c = make_checkpoint(i + 1, name);

                snprintf(name, sizeof(name), "m-%d", (int)i);
                c.step = 100 * (i + 1);
                c.state = states[i];
                c.bytes = 10;
                catalog_put_checkpoint(b, id, &c);
        }
        assert_int_equal(submit(f, b), 0);
        assert_int_equal(catalog_load(f->catalog, &s, NULL), 0);
        assert_int_equal(s.directories[0].n_checkpoints, 4);
        assert_int_equal(s.directories[0].bytes, 40);
        assert_int_equal(s.directories[0].newest_step, 200);
        assert_int_equal(s.directories[0].newest_published_ms, 1700000000002);
        /* The sixth checkpoint's save id. */
        assert_int_equal(s.next_save_id, 47);
        catalog_start_done(&s);
}

static void test_runs_and_saves(void **state)
{
        struct fixture *f = *state;
        struct catalog_run run = {
                .run = 4, .job = "j", .pid = 1, .uid = 2, .world_size = 8, .base = -2};
        struct catalog_save save = {.id = 900,
                                    .run = 4,
                                    .step = INT64_MAX,
                                    .reason = "due: 10m",
                                    .result = "open",
                                    .due_ms = 1,
                                    .handed_off_ms = 2,
                                    .published_ms = 3,
                                    .lost_us = 4,
                                    .durable_ms = 5,
                                    .bytes = UINT64_MAX};
        struct catalog_batch *b;
        struct catalog_start s = {0};
        struct kept k;

        assert_int_equal(open_catalog(f, NULL), 0);
        run.directory = save.directory = put_directory(f, "u", "/m");
        b = new_batch(f);
        catalog_put_run(b, &run);
        catalog_put_save(b, &save);
        run.base = 10;
        catalog_put_run(b, &run);
        assert_int_equal(submit(f, b), 0);
        reopen(f);
        query_directory(f, run.directory, &k);
        assert_int_equal(k.last_run, 4);
        assert_int_equal(k.last_sequence, 0);
        assert_int_equal(k.n_saves, 1);
        assert_string_equal(k.texts, "due: 10m/open/-");
        assert_int_equal(k.save.id, 900);
        assert_int_equal(k.save.step, INT64_MAX);
        assert_int_equal(k.save.due_ms * 10000 + k.save.handed_off_ms * 1000 +
                                 k.save.published_ms * 100 + k.save.lost_us * 10 +
                                 k.save.durable_ms,
                         12345);
        assert_true(k.save.bytes == UINT64_MAX);

        save.result = "failed";
        save.error = "no space";
        b = new_batch(f);
        catalog_put_save(b, &save);
        assert_int_equal(submit(f, b), 0);
        query_directory(f, run.directory, &k);
        assert_int_equal(k.n_saves, 0);

        /* Used numbers stay used, even when history forgets the save. */
        b = new_batch(f);
        catalog_remove_before(b, INT64_MAX);
        assert_int_equal(submit(f, b), 0);
        reopen(f);
        assert_int_equal(catalog_load(f->catalog, &s, NULL), 0);
        assert_int_equal(s.next_save_id, 901);
        catalog_start_done(&s);
}

static void test_settings(void **state)
{
        struct fixture *f = *state;
        struct catalog_start s = {0};
        struct catalog_batch *b;

        assert_int_equal(open_catalog(f, NULL), 0);
        b = new_batch(f);
        catalog_put_setting(b, "settings", "a: 1");
        catalog_put_setting(b, "settings", "a: 2\n");
        catalog_put_setting(b, "other", "x");
        assert_int_equal(submit(f, b), 0);
        reopen(f);
        assert_int_equal(catalog_load(f->catalog, &s, NULL), 0);
        assert_string_equal(s.settings, "a: 2\n");
        catalog_start_done(&s);
        b = new_batch(f);
        catalog_put_setting(b, "settings", NULL);
        assert_int_equal(submit(f, b), 0);
        assert_int_equal(catalog_load(f->catalog, &s, NULL), 0);
        assert_null(s.settings);
        catalog_start_done(&s);
}

static void test_events(void **state)
{
        struct fixture *f = *state;
        int64_t a, b, second;
        struct kept k;

        assert_int_equal(open_catalog(f, NULL), 0);
        a = put_directory(f, "u-a", "/a");
        b = put_directory(f, "u-b", "/b");
        assert_int_equal(submit_event(f, a, 100, "saved", "1"), 0);
        assert_int_equal(submit_event(f, b, 200, "saved", "2"), 0);
        assert_int_equal(submit_event(f, a, 300, "failed", "3"), 0);
        assert_int_equal(submit_event(f, 0, 400, "reloaded", NULL), 0);
        reopen(f);
        query_events(f, (struct catalog_event_query){0}, &k);
        assert_string_equal(k.details, "1 2 3 -");
        assert_int_equal(k.first_event.directory, a);
        assert_int_equal(k.first_event.step, -1);
        assert_int_equal(k.last_event.directory, 0);
        second = k.first_event.id + 1;
        query_events(f, (struct catalog_event_query){.directory = a}, &k);
        assert_string_equal(k.details, "1 3");
        query_events(f, (struct catalog_event_query){.directory = a, .event = "failed"}, &k);
        assert_string_equal(k.details, "3");
        query_events(f, (struct catalog_event_query){.event = "saved"}, &k);
        assert_string_equal(k.details, "1 2");
        query_events(f, (struct catalog_event_query){.since_ms = 200, .limit = 2}, &k);
        assert_string_equal(k.details, "3 -");
        query_events(f, (struct catalog_event_query){.after_id = second}, &k);
        assert_string_equal(k.details, "3 -");
        query_events(f, (struct catalog_event_query){.event = "pinned"}, &k);
        assert_int_equal(k.n_events, 0);
}

static void test_forgetting(void **state)
{
        struct fixture *f = *state;
        struct checkpoint old = make_checkpoint(1, "old"), last = make_checkpoint(2, "last");
        struct catalog_batch *b;
        struct kept k;
        int64_t id, other;

        assert_int_equal(open_catalog(f, NULL), 0);
        id = put_directory(f, "u", "/m");
        other = put_directory(f, "v", "/n");
        b = new_batch(f);
        old.state = last.state = CHECKPOINT_EVICTED;
        catalog_put_checkpoint(b, id, &old);
        catalog_put_checkpoint(b, id, &last);
        catalog_put_checkpoint(b, other, &old);
        catalog_add_event(b,
                          &(struct catalog_event){.time_ms = 1, .event = "saved", .detail = "1"});
        catalog_add_event(b,
                          &(struct catalog_event){.time_ms = 9, .event = "saved", .detail = "9"});
        assert_int_equal(submit(f, b), 0);
        b = new_batch(f);
        catalog_remove_before(b, 9);
        assert_int_equal(submit(f, b), 0);
        query_events(f, (struct catalog_event_query){0}, &k);
        assert_string_equal(k.details, "9");
        b = new_batch(f);
        catalog_remove_before(b, INT64_MAX);
        catalog_remove_directory(b, other);
        assert_int_equal(submit(f, b), 0);
        query_directory(f, id, &k);
        assert_int_equal(k.checkpoints.n, 1);
        assert_string_equal(k.checkpoints.items[0]->name, "last");
        history_done(&k.checkpoints);
        query_directory(f, other, &k);
        assert_int_equal(k.checkpoints.n, 0);
        assert_int_equal(k.last_sequence, 0);
}

/* ---- order, and batches that end badly ---- */

static void test_order(void **state)
{
        enum { N = 300 };
        struct fixture *f = *state;
        struct order order = {.is_whole = true};
        struct numbered numbered[N];
        struct kept k = {0};
        char detail[16];

        assert_int_equal(open_catalog(f, NULL), 0);
        for (int i = 0; i < N; i++) {
                struct catalog_batch *b = new_batch(f);

                snprintf(detail, sizeof(detail), "%d", i);
                catalog_add_event(b, &(struct catalog_event){.event = "saved", .detail = detail});
                numbered[i] = (struct numbered){&order, i};
                catalog_submit(f->catalog, b, check_order, &numbered[i]);
        }
        catalog_query_events(f->catalog, &(struct catalog_event_query){.limit = 3}, keep, &k);
        while (!k.is_done)
                reap(f);
        assert_int_equal(order.next, N);
        assert_true(order.is_whole);
        assert_string_equal(k.details, "297 298 299");
}

static void test_bad_rows(void **state)
{
        struct fixture *f = *state;
        struct checkpoint c = make_checkpoint(1, "m");
        struct catalog_batch *b;
        struct kept k;

        assert_int_equal(open_catalog(f, NULL), 0);
        b = new_batch(f);
        catalog_add_event(b, &(struct catalog_event){.event = "saved", .detail = "not alone"});
        catalog_put_checkpoint(b, 77, &c);
        assert_int_equal(submit(f, b), -EINVAL);
        assert_non_null(strstr(catalog_problem(f->catalog), "cannot be written: "));
        /* Nothing of it is there, and what follows is written. */
        assert_int_equal(submit_event(f, 0, 0, "saved", "next"), 0);
        assert_null(catalog_problem(f->catalog));
        query_events(f, (struct catalog_event_query){0}, &k);
        assert_string_equal(k.details, "next");
        catalog_submit(f->catalog, NULL, count_done, f);
        assert_int_equal(f->last_r, -ENOMEM);
        catalog_put_setting(NULL, "a", "b");
}

/* Closing writes what is queued; an answer's callback may ask for more even then. */
static void submit_again(void *user, int r)
{
        struct fixture *f = user;

        assert_int_equal(r, 0);
        if (++f->n_done < 5)
                catalog_submit(f->catalog, catalog_batch_new(f->catalog), submit_again, f);
}

static void test_close_writes(void **state)
{
        struct fixture *f = *state;
        struct kept k;

        assert_int_equal(open_catalog(f, NULL), 0);
        for (int i = 0; i < 20; i++) {
                struct catalog_batch *b = new_batch(f);

                catalog_add_event(b, &(struct catalog_event){.event = "saved", .detail = "x"});
                catalog_submit(f->catalog, b, i == 19 ? submit_again : NULL, f);
        }
        reopen(f);
        assert_int_equal(f->n_done, 5);
        query_events(f, (struct catalog_event_query){0}, &k);
        assert_int_equal(k.n_events, 20);
}

#define CATALOG_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CATALOG_TEST(test_new_catalog),
                CATALOG_TEST(test_directories),
                CATALOG_TEST(test_directory_numbers),
                CATALOG_TEST(test_checkpoint_round_trip),
                CATALOG_TEST(test_checkpoint_changes),
                CATALOG_TEST(test_directory_totals),
                CATALOG_TEST(test_runs_and_saves),
                CATALOG_TEST(test_settings),
                CATALOG_TEST(test_events),
                CATALOG_TEST(test_forgetting),
                CATALOG_TEST(test_order),
                CATALOG_TEST(test_bad_rows),
                CATALOG_TEST(test_close_writes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
