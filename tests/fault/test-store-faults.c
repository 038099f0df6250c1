/* Every call of a save, a publish, an eviction, a note and a reconciliation fails once, in every
 * way, and once the process ends there.  Whatever happened, the next start finds: every
 * checkpoint that was reported published, whole; nothing half visible; no debris; what is not
 * ours as it was. */
#include "store-kept.h"

#include "fault-io.h"
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define MAX_CALLS 2000
#define STACK_BYTES ((rlim_t)512 * 1024)
#define NAME "model.ckpt-7"

struct scenario {
        const char *name;
        void (*prepare)(struct kept *k); /* the directory is open, without faults */
        int (*run)(struct kept *k);      /* 0: reported as done */
        void (*check)(struct kept *k,
                      int r); /* after the next start; r > 0: nothing was reported */
        bool opens;           /* run opens the directory itself */
        const char *evicting;
};

/* ---- what is not ours ---- */

static const struct {
        const char *name, *text;
} foreign[] = {
        {"copied.ckpt-5.index", "an index that cp has half written"},
        {"copied.ckpt-5.data-00000-of-00001", "data"},
        {"tf.ckpt-9.data-00000-of-00001.tempstate77", "being written"},
        {"notes.txt", "mine"},
};

static void put_foreign(struct kept *k)
{
        for (size_t i = 0; i < ARRAY_SIZE(foreign); i++)
                kept_put(k, foreign[i].name, foreign[i].text);
}

static void check_foreign(struct kept *k)
{
        for (size_t i = 0; i < ARRAY_SIZE(foreign); i++) {
                char *text = kept_get(k, foreign[i].name);

                assert_non_null(text);
                assert_string_equal(text, foreign[i].text);
                free(text);
        }
        assert_int_equal(k->open.n_strays, 3);
}

/* ---- checks ---- */

static bool has(struct kept *k, const char *name)
{
        const struct checkpoint *c = history_find(&k->open.history, name);

        return c && c->state == CHECKPOINT_WHOLE;
}

static void check_all_whole(struct kept *k)
{
        for (size_t i = 0; i < k->open.history.n; i++) {
                assert_int_equal(k->open.history.items[i]->state, CHECKPOINT_WHOLE);
                assert_int_equal(k->open.history.items[i]->origin, CHECKPOINT_SAVED);
                assert_int_equal(kept_verify(k, k->open.history.items[i]->name), 0);
        }
}

static int64_t save_id_of(struct kept *k, const char *name)
{
        const struct checkpoint *c = history_find(&k->open.history, name);

        return c ? c->save_id : -1;
}

/* ---- saving ---- */

struct save {
        struct kept_state states[2];
        struct store_shard shards[2];
        struct checkpoint *checkpoint, *old;
        bool read_back;
};

static int save(struct kept *k, const struct format *f, const uint64_t *elements, size_t n,
                struct save *s)
{
        struct store_save t = {.format = f,
                               .n_shards = s->old ? 2 : 1,
                               .shards = s->shards,
                               .replaces = s->old,
                               .read_back = s->read_back,
                               .disk_reserve = 0};
        int r;

        s->checkpoint = t.checkpoint = kept_checkpoint(NAME, 7, 90);
        for (size_t i = 0; i < t.n_shards; i++) {
                kept_state_make(&s->states[i], f, elements, n);
                s->shards[i] = (struct store_shard){.manifest = s->states[i].manifest,
                                                    .memory = s->states[i].memory,
                                                    .crc32c = s->states[i].crc32c};
        }
        /* Another rank's tensors have other names. */
        for (size_t i = 0; t.n_shards > 1 && i < s->states[1].manifest->n; i++)
                s->states[1].manifest->tensors[i].name[0] = 'u';
        r = kept_save(k, &t);
        assert_true(r < 0 || t.published);
        if (t.published)
                r = 0;
        else if (r < 0)
                assert_non_null(t.diag.text);
        diag_done(&t.diag);
        for (size_t i = 0; i < t.n_shards; i++)
                kept_state_done(&s->states[i]);
        checkpoint_free(s->checkpoint);
        return r;
}

/* A failed save cleans up at once, not at the next start. */
static int clean_if_failed(struct kept *k, int r)
{
        if (r < 0) {
                assert_int_equal(kept_debris(k), 0);
                assert_false(kept_has(k, NAME ".index"));
                assert_false(kept_has(k, NAME ".data-00000-of-00001"));
                assert_false(kept_has(k, ".ckptd/checkpoints/" NAME ".json"));
        }
        return r;
}

static int run_small(struct kept *k)
{
        static const uint64_t elements[] = {10, 0, 33};
        struct save s = {0};

        return clean_if_failed(k, save(k, &format_tensorbundle, elements, 3, &s));
}

/* What cannot be read back is no checkpoint. */
static int run_read_back(struct kept *k)
{
        static const uint64_t elements[] = {10, 0, 33};
        struct save s = {.read_back = true};

        return clean_if_failed(k, save(k, &format_tensorbundle, elements, 3, &s));
}

static int run_direct(struct kept *k)
{
        static const uint64_t elements[] = {20000, 7};
        struct save s = {0};

        return clean_if_failed(k, save(k, &format_tensorbundle, elements, 2, &s));
}

static int run_safetensors(struct kept *k)
{
        static const uint64_t elements[] = {20000, 7};
        struct save s = {0};

        return clean_if_failed(k, save(k, &format_safetensors, elements, 2, &s));
}

static void check_save(struct kept *k, int r)
{
        if (r <= 0)
                assert_int_equal(has(k, NAME), r == 0);
        assert_true(has(k, "model.ckpt-1"));
        assert_true(has(k, "model.ckpt-2"));
}

/* ---- replacing ---- */

static void prepare_old(struct kept *k)
{
        assert_int_equal(kept_save_step(k, &format_tensorbundle, 7), 0);
}

static int replace(struct kept *k, bool read_back)
{
        static const uint64_t elements[] = {10, 33};
        struct save s = {.read_back = read_back};
        int r;

        assert_int_equal(
                record_load(&io_real, (struct place){k->dir->records, NAME ".json"}, &s.old, NULL),
                0);
        r = save(k, &format_tensorbundle, elements, 2, &s);
        if (r < 0)
                assert_int_equal(kept_debris(k), 0);
        checkpoint_free(s.old);
        return r;
}

static int run_replace(struct kept *k)
{
        return replace(k, false);
}

static int run_replace_read_back(struct kept *k)
{
        return replace(k, true);
}

/* One of the two is there at every moment. */
static void check_replace(struct kept *k, int r)
{
        check_save(k, 1);
        assert_true(has(k, NAME));
        if (r <= 0)
                assert_int_equal(save_id_of(k, NAME), r == 0 ? 90 : 8);
}

/* ---- evicting ---- */

static int run_evict(struct kept *k)
{
        struct checkpoint *c;
        int r;

        assert_int_equal(
                record_load(&io_real, (struct place){k->dir->records, NAME ".json"}, &c, NULL), 0);
        r = kept_evict(k, c);
        checkpoint_free(c);
        return r;
}

static void check_evict(struct kept *k, int r)
{
        (void)r;
        check_save(k, 1);
        assert_false(kept_has(k, NAME ".index"));
        assert_false(kept_has(k, NAME ".data-00000-of-00001"));
        assert_int_equal(k->open.history.n, 2);
}

/* ---- notes ---- */

static void noted(struct store_note *t)
{
        *(bool *)t->user = true;
}

static int run_note(struct kept *k)
{
        char *names[] = {"model.ckpt-1", NAME};
        bool done = false;
        struct store_note t = {.dir = k->dir,
                               .state_file = true,
                               .n_names = 2,
                               .names = names,
                               .done = noted,
                               .user = &done};
        struct checkpoint *c;

        assert_int_equal(
                record_load(&io_real, (struct place){k->dir->records, NAME ".json"}, &c, NULL), 0);
        c->pin_by = strdup("alice");
        t.checkpoint = c;
        store_note_start(k->store, &t);
        kept_wait(k, &done);
        diag_done(&t.diag);
        checkpoint_free(c);
        return t.r;
}

static void check_note(struct kept *k, int r)
{
        char *text = kept_get(k, "checkpoint");

        check_save(k, 1);
        assert_true(has(k, NAME));
        if (r == 0) {
                assert_string_equal(history_find(&k->open.history, NAME)->pin_by, "alice");
                assert_non_null(text);
        }
        /* Old or new, never a part. */
        if (text)
                assert_non_null(strstr(text, "all_model_checkpoint_paths: \"" NAME "\""));
        free(text);
}

/* ---- reconciling ---- */

static int run_open(struct kept *k)
{
        return kept_open(k);
}

static void move(struct kept *k, const char *from, const char *to)
{
        assert_int_equal(renameat(k->dir->fd, from, k->dir->fd, to), 0);
}

static void reclaim(struct kept *k, int64_t save_id, const char *replaces)
{
        struct checkpoint *c;

        assert_int_equal(
                record_load(&io_real, (struct place){k->dir->records, NAME ".json"}, &c, NULL), 0);
        c->state = CHECKPOINT_PUBLISHING;
        c->save_id = save_id;
        c->replaces = replaces ? strdup(replaces) : NULL;
        assert_int_equal(record_write(k->dir, k->dir->records, c), 0);
        checkpoint_free(c);
}

static void prepare_finish(struct kept *k)
{
        prepare_old(k);
        reclaim(k, 8, NULL);
        move(k, NAME ".index", ".ckptd-tmp-8-1");
        kept_put(k, ".ckptd-tmp-5-0", "debris");
}

static void prepare_undo(struct kept *k)
{
        prepare_finish(k);
        kept_put(k, ".ckptd-tmp-8-1", "torn");
}

static void prepare_adopt(struct kept *k)
{
        prepare_old(k);
        assert_int_equal(unlinkat(k->dir->records, NAME ".json", 0), 0);
}

static void shell(struct kept *k, const char *what)
{
        char command[4 * KEPT_PATH_BYTES];

        snprintf(command, sizeof(command), "cd '%s' && %s", k->path, what);
        assert_int_equal(system(command), 0);
}

static void prepare_replace(struct kept *k)
{
        prepare_old(k);
        shell(k, "mkdir .ckptd/replaced && cp .ckptd/checkpoints/" NAME ".json .ckptd/replaced/ &&"
                 "cp " NAME ".data-00000-of-00001 .ckptd-tmp-90-0 && cp " NAME
                 ".index .ckptd-tmp-90-1 &&"
                 "mv " NAME ".index .ckptd/replaced/");
        reclaim(k, 90, NAME);
}

static void prepare_replace_undo(struct kept *k)
{
        prepare_replace(k);
        kept_put(k, ".ckptd-tmp-90-1", "torn");
}

static void check_finished(struct kept *k, int r)
{
        (void)r;
        check_save(k, 0);
}

static void check_undone(struct kept *k, int r)
{
        (void)r;
        check_save(k, -EIO);
        assert_false(kept_has(k, NAME ".data-00000-of-00001"));
}

static void check_adopted(struct kept *k, int r)
{
        (void)r;
        check_save(k, 0);
        assert_int_equal(history_find(&k->open.history, NAME)->origin, CHECKPOINT_ADOPTED);
        assert_int_equal(kept_verify(k, NAME), 0);
        history_remove(&k->open.history, NAME);
}

static void check_replaced(struct kept *k, int r)
{
        (void)r;
        check_replace(k, 0);
}

static void check_old_back(struct kept *k, int r)
{
        (void)r;
        check_replace(k, -EIO);
}

/* ---- the loop ---- */

static void start(struct kept *k, const struct io *io)
{
        kept_start(k, io);
}

/* Two checkpoints, what is not ours, and what the scenario needs. */
static void make(struct kept *k, const struct scenario *s)
{
        kept_make(k, NULL);
        start(k, &fault_io);
        put_foreign(k);
        assert_int_equal(kept_open(k), 0);
        assert_int_equal(kept_save_step(k, &format_tensorbundle, 1), 0);
        assert_int_equal(kept_save_step(k, &format_tensorbundle, 2), 0);
        if (s->prepare)
                s->prepare(k);
        kept_stop(k);
}

/* In this process, which goes on. */
static int run_here(struct kept *k, const struct scenario *s, enum fault fault, unsigned n,
                    bool *fired)
{
        int r;

        start(k, &fault_io);
        if (!s->opens)
                assert_int_equal(kept_open(k), 0);
        fault_arm(fault, n);
        r = s->run(k);
        *fired = fault_disarm();
        kept_stop(k);
        return r;
}

/* In a process of its own, which ends at call n; 1: nothing was reported. */
static int run_and_die(struct kept *k, const struct scenario *s, unsigned n, bool *fired)
{
        pid_t pid = fork();
        int status;

        if (pid == 0) {
                start(k, &fault_io);
                if (!s->opens && kept_open(k) != 0)
                        _exit(1);
                fault_arm(FAULT_KILL, n);
                _exit(s->run(k) == 0 ? 0 : 2);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        *fired = WEXITSTATUS(status) == FAULT_KILLED;
        if (!*fired)
                assert_int_equal(WEXITSTATUS(status), 0);
        return *fired ? 1 : 0;
}

static void check(struct kept *k, const struct scenario *s, int r)
{
        const struct store_evicting evicting[] = {{s->evicting, 8}};

        start(k, &fault_io);
        assert_int_equal(kept_open_with(k, (struct store_open){.path = k->path,
                                                               .fd = -1,
                                                               .n_evicting = s->evicting ? 1 : 0,
                                                               .evicting = evicting}),
                         0);
        assert_int_equal(kept_debris(k), 0);
        check_foreign(k);
        s->check(k, r);
        check_all_whole(k);
        kept_stop(k);
}

/* A fresh copy of what the scenario begins with. */
static void copy(struct kept *k, const struct kept *from)
{
        char command[4 * KEPT_PATH_BYTES];

        kept_make(k, NULL);
        snprintf(command, sizeof(command), "exec cp -a '%s/.' '%s'", from->path, k->path);
        assert_int_equal(system(command), 0);
}

static bool try_call(const struct scenario *s, const struct kept *from, enum fault fault,
                     unsigned n)
{
        struct kept k;
        bool fired;
        int r;

        copy(&k, from);
        if (fault == FAULT_KILL)
                r = run_and_die(&k, s, n, &fired);
        else
                r = run_here(&k, s, fault, n, &fired);
        /* These are no failures; only to look into a checkpoint may be refused when it is
         * interrupted. */
        if (r != 0 && (fault == FAULT_SHORT || (fault == FAULT_EINTR && !s->opens) || !fired))
                fail_msg("%s: call %u met %s: %s", s->name, n, fault_names[fault], strerror(-r));
        if (getenv("FAULT_TRACE"))
                print_message("%s: call %u met %s: %d in %s\n", s->name, n, fault_names[fault], r,
                              k.path);
        check(&k, s, r);
        kept_remove(&k);
        return fired;
}

static void run_scenario(void **state)
{
        const struct scenario *s = *state;
        struct kept from;

        make(&from, s);
        for (enum fault fault = FAULT_EIO; fault <= FAULT_KILL; fault++) {
                unsigned n = 1;

                while (try_call(s, &from, fault, n) && n < MAX_CALLS)
                        n++;
                assert_true((n > 1 || fault == FAULT_SHORT) && n < MAX_CALLS);
                print_message("%s: %u calls, each met %s\n", s->name, n - 1, fault_names[fault]);
        }
        kept_remove(&from);
}

#define SCENARIO(name_, ...)                                                                       \
        &(struct scenario)                                                                         \
        {                                                                                          \
                .name = name_, __VA_ARGS__                                                         \
        }

/* Thousands of stores start nine threads each, and AddressSanitizer walks every stack: small ones
 * will do.  The limit counts from the next exec on. */
static void use_small_stacks(char **argv)
{
        struct rlimit limit;

        if (getrlimit(RLIMIT_STACK, &limit) < 0 || limit.rlim_cur <= STACK_BYTES)
                return;
        limit.rlim_cur = STACK_BYTES;
        if (setrlimit(RLIMIT_STACK, &limit) == 0)
                execv("/proc/self/exe", argv);
}

int main(int argc, char **argv)
{
        struct scenario *const scenarios[] = {
                SCENARIO("a small save", .run = run_small, .check = check_save),
                SCENARIO("a save that is read back", .run = run_read_back, .check = check_save),
                SCENARIO("a direct save", .run = run_direct, .check = check_save),
                SCENARIO("safetensors", .run = run_safetensors, .check = check_save),
                SCENARIO("a replacement", .prepare = prepare_old, .run = run_replace,
                         .check = check_replace),
                SCENARIO("a replacement that is read back", .prepare = prepare_old,
                         .run = run_replace_read_back, .check = check_replace),
                SCENARIO("an eviction", .prepare = prepare_old, .run = run_evict,
                         .check = check_evict, .evicting = NAME),
                SCENARIO("a note", .prepare = prepare_old, .run = run_note, .check = check_note),
                SCENARIO("finishing", .prepare = prepare_finish, .run = run_open,
                         .check = check_finished, .opens = true),
                SCENARIO("undoing", .prepare = prepare_undo, .run = run_open, .check = check_undone,
                         .opens = true),
                SCENARIO("adopting", .prepare = prepare_adopt, .run = run_open,
                         .check = check_adopted, .opens = true),
                SCENARIO("finishing a replacement", .prepare = prepare_replace, .run = run_open,
                         .check = check_replaced, .opens = true),
                SCENARIO("undoing a replacement", .prepare = prepare_replace_undo, .run = run_open,
                         .check = check_old_back, .opens = true),
        };
        struct CMUnitTest tests[ARRAY_SIZE(scenarios)];

        (void)argc;
        use_small_stacks(argv);
        for (size_t i = 0; i < ARRAY_SIZE(scenarios); i++)
                tests[i] = (struct CMUnitTest){.name = scenarios[i]->name,
                                               .test_func = run_scenario,
                                               .initial_state = scenarios[i]};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
