/* What a start makes of what a crash left: every state of section "a save, moment by moment" is
 * made by hand. */
#include "store-kept.h"

#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define DATA "model.ckpt-7.data-00000-of-00001"
#define INDEX "model.ckpt-7.index"
#define RECORD ".ckptd/checkpoints/model.ckpt-7.json"
#define TMP_DATA ".ckptd-tmp-8-0"
#define TMP_INDEX ".ckptd-tmp-8-1"

static void move(struct kept *k, const char *from, const char *to)
{
        assert_int_equal(renameat(k->dir->fd, from, k->dir->fd, to), 0);
}

/* The record of step 7 with another state. */
static void claim(struct kept *k, enum checkpoint_state s, const char *replaces)
{
        struct checkpoint *c;

        assert_int_equal(
                record_load(k->io, (struct place){k->dir->records, "model.ckpt-7.json"}, &c, NULL),
                0);
        c->state = s;
        c->replaces = replaces ? strdup(replaces) : NULL;
        assert_int_equal(record_write(k->dir, k->dir->records, c), 0);
        checkpoint_free(c);
}

/* A published save of step 7 beside an older one of step 3, with its claim as before the first
 * rename. */
static struct kept *make_claimed(void **state)
{
        struct kept *k = *state;

        assert_int_equal(kept_open(k), 0);
        assert_int_equal(kept_save_step(k, &format_tensorbundle, 3), 0);
        assert_int_equal(kept_save_step(k, &format_tensorbundle, 7), 0);
        claim(k, CHECKPOINT_PUBLISHING, NULL);
        return k;
}

static const struct store_action *find_action(const struct kept *k, enum store_act act)
{
        for (size_t i = 0; i < k->open.n_actions; i++)
                if (k->open.actions[i].act == act)
                        return &k->open.actions[i];
        return NULL;
}

static void expect_finished(struct kept *k)
{
        char *text;

        assert_int_equal(kept_again(k), 0);
        assert_int_equal(k->open.history.n, 2);
        assert_int_equal(history_find(&k->open.history, "model.ckpt-7")->state, CHECKPOINT_WHOLE);
        assert_int_equal(find_action(k, STORE_FINISHED)->step, 7);
        assert_int_equal(kept_verify(k, "model.ckpt-7"), 0);
        assert_int_equal(kept_verify(k, "model.ckpt-3"), 0);
        assert_int_equal(kept_debris(k), 0);
        text = kept_get(k, RECORD);
        assert_non_null(strstr(text, "\"whole\""));
        free(text);
        /* And once more there is nothing left to do. */
        assert_int_equal(kept_again(k), 0);
        assert_int_equal(k->open.n_actions, 0);
        assert_int_equal(k->open.history.n, 2);
}

static void expect_removed(struct kept *k)
{
        assert_int_equal(kept_again(k), 0);
        assert_int_equal(k->open.history.n, 1);
        assert_non_null(find_action(k, STORE_REMOVED));
        assert_false(kept_has(k, DATA));
        assert_false(kept_has(k, INDEX));
        assert_false(kept_has(k, RECORD));
        assert_int_equal(kept_debris(k), 0);
        assert_int_equal(kept_verify(k, "model.ckpt-3"), 0);
        assert_int_equal(kept_again(k), 0);
        assert_int_equal(k->open.n_actions, 0);
}

/* ---- a save cut off ---- */

static void test_before_renames(void **state)
{
        struct kept *k = make_claimed(state);

        move(k, DATA, TMP_DATA);
        move(k, INDEX, TMP_INDEX);
        expect_finished(k);
}

static void test_between_renames(void **state)
{
        struct kept *k = make_claimed(state);

        move(k, INDEX, TMP_INDEX);
        expect_finished(k);
}

static void test_after_renames(void **state)
{
        expect_finished(make_claimed(state));
}

/* Without RENAME_NOREPLACE a crash falls between link and unlink. */
static void test_between_link_and_unlink(void **state)
{
        struct kept *k = make_claimed(state);

        move(k, INDEX, TMP_INDEX);
        assert_int_equal(linkat(k->dir->fd, DATA, k->dir->fd, TMP_DATA, 0), 0);
        expect_finished(k);
}

static void test_data_missing(void **state)
{
        struct kept *k = make_claimed(state);

        assert_int_equal(unlinkat(k->dir->fd, DATA, 0), 0);
        move(k, INDEX, TMP_INDEX);
        expect_removed(k);
}

static void test_index_short(void **state)
{
        struct kept *k = make_claimed(state);

        move(k, DATA, TMP_DATA);
        move(k, INDEX, TMP_INDEX);
        kept_put(k, TMP_INDEX, "short");
        expect_removed(k);
}

static void test_index_invalid(void **state)
{
        struct kept *k = make_claimed(state);
        int fd = openat(k->dir->fd, INDEX, O_WRONLY | O_CLOEXEC);

        assert_int_equal(pwrite(fd, "garbage", 7, 20), 7);
        close(fd);
        expect_removed(k);
}

static void test_temporaries_alone(void **state)
{
        struct kept *k = make_claimed(state);

        move(k, DATA, TMP_DATA);
        move(k, INDEX, TMP_INDEX);
        assert_int_equal(unlinkat(k->dir->records, "model.ckpt-7.json", 0), 0);
        kept_put(k, ".ckptd/.ckptd-tmp-note-3", "x");
        kept_put(k, ".ckptd/checkpoints/.ckptd-tmp-note-4", "x");
        expect_removed(k);
}

static void test_claim_torn(void **state)
{
        static const char *const texts[] = {"", "{\n  \"version\": 1,\n  \"name\": \"mod"};
        struct kept *k = make_claimed(state);

        move(k, DATA, TMP_DATA);
        move(k, INDEX, TMP_INDEX);
        for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
                kept_put(k, RECORD, texts[i]);
                expect_removed(k);
        }
}

/* Somebody else's file took the name before the rename: it is theirs. */
static void test_foreign_name(void **state)
{
        struct kept *k = make_claimed(state);
        char *text;

        move(k, DATA, TMP_DATA);
        move(k, INDEX, TMP_INDEX);
        kept_put(k, DATA, "theirs");
        assert_int_equal(kept_again(k), 0);
        assert_int_equal(k->open.history.n, 1);
        assert_false(kept_has(k, INDEX));
        assert_int_equal(kept_debris(k), 0);
        text = kept_get(k, DATA);
        assert_string_equal(text, "theirs");
        free(text);
        assert_int_equal(k->open.n_strays, 1);
        assert_string_equal(k->open.strays[0], DATA);
}

/* ---- a replacement cut off ---- */

struct replaced {
        struct kept *k;
        struct checkpoint *old;
};

static void shell(struct kept *k, const char *what)
{
        char command[4 * KEPT_PATH_BYTES];

        snprintf(command, sizeof(command), "cd '%s' && %s", k->path, what);
        assert_int_equal(system(command), 0);
}

/* Step 7 is there again, by save 90; `moment` puts it back to where the crash came. */
static void make_replaced(struct replaced *x, void **state)
{
        struct kept *k = *state;
        struct checkpoint *c = NULL;

        assert_int_equal(kept_open(k), 0);
        assert_int_equal(kept_save_step(k, &format_tensorbundle, 7), 0);
        assert_int_equal(record_load(k->io, (struct place){k->dir->records, "model.ckpt-7.json"},
                                     &x->old, NULL),
                         0);
        mkdirat(k->dir->ckptd, "replaced", 0755);
        assert_int_equal(checkpoint_copy(&c, x->old), 0);
        c->save_id = 90;
        c->state = CHECKPOINT_PUBLISHING;
        c->replaces = strdup("model.ckpt-7");
        /* The new files: as good as the old ones, and distinguishable by their inode. */
        shell(k, "cp " DATA " .ckptd-tmp-90-0 && cp " INDEX " .ckptd-tmp-90-1");
        shell(k, "cp " RECORD " .ckptd/replaced/");
        assert_int_equal(record_write(k->dir, k->dir->records, c), 0);
        checkpoint_free(c);
        x->k = k;
}

static void put_aside(struct kept *k, const char *name)
{
        char to[KEPT_PATH_BYTES];

        snprintf(to, sizeof(to), ".ckptd/replaced/%s", name);
        move(k, name, to);
}

static void expect_new(struct replaced *x)
{
        assert_int_equal(kept_again(x->k), 0);
        assert_int_equal(x->k->open.history.n, 1);
        assert_int_equal(x->k->open.history.items[0]->save_id, 90);
        assert_int_equal(kept_verify(x->k, "model.ckpt-7"), 0);
        assert_int_equal(kept_debris(x->k), 0);
        checkpoint_free(x->old);
}

static void expect_old(struct replaced *x)
{
        assert_int_equal(kept_again(x->k), 0);
        assert_int_equal(x->k->open.history.n, 1);
        assert_int_equal(x->k->open.history.items[0]->save_id, 8);
        assert_non_null(find_action(x->k, STORE_RESTORED_OLD));
        assert_int_equal(kept_verify(x->k, "model.ckpt-7"), 0);
        assert_int_equal(kept_debris(x->k), 0);
        assert_int_equal(kept_again(x->k), 0);
        assert_int_equal(x->k->open.n_actions, 0);
        checkpoint_free(x->old);
}

static void test_replace_claimed(void **state)
{
        struct replaced x;

        make_replaced(&x, state);
        expect_new(&x);
}

static void test_replace_aside(void **state)
{
        struct replaced x;

        make_replaced(&x, state);
        put_aside(x.k, INDEX);
        put_aside(x.k, DATA);
        expect_new(&x);
}

static void test_replace_half_renamed(void **state)
{
        struct replaced x;

        make_replaced(&x, state);
        put_aside(x.k, INDEX);
        put_aside(x.k, DATA);
        move(x.k, ".ckptd-tmp-90-0", DATA);
        expect_new(&x);
}

static void test_replace_renamed(void **state)
{
        struct replaced x;

        make_replaced(&x, state);
        put_aside(x.k, INDEX);
        put_aside(x.k, DATA);
        move(x.k, ".ckptd-tmp-90-0", DATA);
        move(x.k, ".ckptd-tmp-90-1", INDEX);
        expect_new(&x);
}

static void test_replace_undone(void **state)
{
        struct replaced x;

        make_replaced(&x, state);
        assert_int_equal(unlinkat(x.k->dir->fd, ".ckptd-tmp-90-1", 0), 0);
        /* The old index stands under its name, of the same size, and is no file of the new one. */
        kept_put(x.k, ".ckptd-tmp-90-1", "torn");
        expect_old(&x);
}

static void test_replace_undone_aside(void **state)
{
        struct replaced x;

        make_replaced(&x, state);
        put_aside(x.k, INDEX);
        put_aside(x.k, DATA);
        move(x.k, ".ckptd-tmp-90-0", DATA);
        assert_int_equal(unlinkat(x.k->dir->fd, ".ckptd-tmp-90-1", 0), 0);
        expect_old(&x);
}

/* Whole, and the old one's remains not removed yet. */
static void test_replace_remains(void **state)
{
        struct kept *k = *state;

        assert_int_equal(kept_open(k), 0);
        assert_int_equal(kept_save_step(k, &format_tensorbundle, 7), 0);
        mkdirat(k->dir->ckptd, "replaced", 0755);
        char *text = kept_get(k, RECORD);
        kept_put(k, ".ckptd/replaced/model.ckpt-7.json", text);
        kept_put(k, ".ckptd/replaced/" INDEX, "old");
        free(text);
        assert_int_equal(kept_again(k), 0);
        assert_int_equal(kept_debris(k), 0);
        assert_int_equal(kept_verify(k, "model.ckpt-7"), 0);
}

/* ---- evictions, and what others did ---- */

static void test_evicting(void **state)
{
        struct store_evicting evicting = {"model.ckpt-7", 7};
        struct kept *k = *state;

        assert_int_equal(kept_open(k), 0);
        assert_int_equal(kept_save_step(k, &format_tensorbundle, 7), 0);
        /* Another checkpoint of that name, which is gone, was being evicted. */
        assert_int_equal(kept_open_evicting(k, &evicting), 0);
        assert_int_equal(k->open.history.n, 1);
        assert_int_equal(unlinkat(k->dir->fd, INDEX, 0), 0);
        evicting.sequence = k->open.history.items[0]->sequence;
        assert_int_equal(kept_open_evicting(k, &evicting), 0);
        assert_int_equal(k->open.history.n, 0);
        assert_false(kept_has(k, DATA));
        assert_false(kept_has(k, RECORD));
        assert_int_equal(find_action(k, STORE_REMOVED)->step, 7);
}

static void test_gone_and_damaged(void **state)
{
        struct kept *k = *state;

        assert_int_equal(kept_open(k), 0);
        for (int64_t step = 3; step < 8; step++)
                assert_int_equal(kept_save_step(k, &format_tensorbundle, step), 0);
        assert_int_equal(unlinkat(k->dir->fd, DATA, 0), 0);
        assert_int_equal(unlinkat(k->dir->fd, INDEX, 0), 0);
        assert_int_equal(unlinkat(k->dir->fd, "model.ckpt-6.index", 0), 0);
        kept_put(k, "model.ckpt-5.data-00000-of-00001", "short");
        assert_int_equal(kept_again(k), 0);
        assert_int_equal(find_action(k, STORE_GONE)->step, 7);
        assert_null(history_find(&k->open.history, "model.ckpt-7"));
        assert_int_equal(history_find(&k->open.history, "model.ckpt-6")->state, CHECKPOINT_DAMAGED);
        assert_int_equal(history_find(&k->open.history, "model.ckpt-5")->state, CHECKPOINT_DAMAGED);
        assert_int_equal(history_find(&k->open.history, "model.ckpt-4")->state, CHECKPOINT_WHOLE);
        /* Kept, told once. */
        assert_true(kept_has(k, "model.ckpt-6.data-00000-of-00001"));
        assert_int_equal(kept_again(k), 0);
        assert_int_equal(k->open.n_actions, 0);
        assert_int_equal(k->open.history.n, 4);
}

static void forget(struct kept *k, const char *name)
{
        char path[KEPT_PATH_BYTES];

        snprintf(path, sizeof(path), ".ckptd/checkpoints/%s.json", name);
        assert_int_equal(unlinkat(k->dir->fd, path, 0), 0);
}

static void test_adopted(void **state)
{
        struct kept *k = *state;
        const struct checkpoint *c;

        assert_int_equal(kept_open(k), 0);
        for (int64_t step = 2; step < 8; step++)
                assert_int_equal(kept_save_step(k, &format_tensorbundle, step), 0);
        assert_int_equal(kept_save_step(k, &format_safetensors, 8), 0);
        forget(k, "model.ckpt-3");
        forget(k, "model.ckpt-7");
        forget(k, "model.ckpt-8");
        assert_int_equal(kept_again(k), 0);
        assert_int_equal(k->open.history.n, 7);
        c = history_find(&k->open.history, "model.ckpt-7");
        assert_int_equal(c->origin, CHECKPOINT_ADOPTED);
        assert_int_equal(c->state, CHECKPOINT_WHOLE);
        assert_int_equal(c->step, 7);
        assert_int_equal(c->n_files, 2);
        assert_string_equal(c->files[1].name, INDEX);
        assert_int_equal(c->sequence, 8);
        assert_int_equal(history_find(&k->open.history, "model.ckpt-8")->sequence, 9);
        /* An old one never becomes the newest. */
        assert_int_equal(history_find(&k->open.history, "model.ckpt-3")->sequence, 3);
        assert_int_equal(k->open.n_strays, 0);
        assert_int_equal(kept_again(k), 0);
        assert_int_equal(k->open.n_actions, 0);
}

static int grow(struct kept *k, const char *name)
{
        int fd = openat(k->dir->fd, name, O_WRONLY | O_CLOEXEC);
        int r = ftruncate(fd, 1 << 16);

        close(fd);
        return r;
}

/* TensorFlow goes on from step 7 and writes its own model.ckpt-7; what only grew is damaged. */
static void test_rewritten(void **state)
{
        const struct timespec later[2] = {{.tv_sec = INT32_MAX}, {.tv_sec = INT32_MAX}};
        struct kept *k = *state;

        assert_int_equal(kept_open(k), 0);
        for (int64_t step = 6; step < 8; step++)
                assert_int_equal(kept_save_step(k, &format_tensorbundle, step), 0);
        assert_int_equal(grow(k, DATA), 0);
        assert_int_equal(grow(k, "model.ckpt-6.data-00000-of-00001"), 0);
        assert_int_equal(utimensat(k->dir->fd, INDEX, later, 0), 0);
        assert_int_equal(kept_again(k), 0);
        assert_int_equal(find_action(k, STORE_GONE)->step, 7);
        assert_int_equal(find_action(k, STORE_ADOPTED)->step, 7);
        assert_int_equal(find_action(k, STORE_DAMAGED)->step, 6);
        assert_int_equal(history_find(&k->open.history, "model.ckpt-7")->origin,
                         CHECKPOINT_ADOPTED);
        assert_int_equal(kept_again(k), 0);
        assert_int_equal(k->open.n_actions, 0);
}

/* What TensorFlow, cp or rsync are just writing is not ours to judge. */
static void test_strays(void **state)
{
        static const char *const names[] = {
                "a.ckpt-1.data-00000-of-00001",
                "b.ckpt-2.index.tempstate123",
                "model.ckpt-7.index",
                "part-00001-of-00002.safetensors",
        };
        struct kept *k = *state;

        assert_int_equal(kept_open(k), 0);
        assert_int_equal(kept_save_step(k, &format_tensorbundle, 7), 0);
        forget(k, "model.ckpt-7");
        assert_int_equal(unlinkat(k->dir->fd, DATA, 0), 0);
        kept_put(k, names[0], "data without an index");
        kept_put(k, names[1], "x");
        kept_put(k, names[3], "x");
        kept_put(k, "graph.pbtxt", "x");
        kept_put(k, "checkpoint", "x");
        kept_put(k, ".hidden.index", "x");
        assert_int_equal(kept_again(k), 0);
        assert_int_equal(k->open.history.n, 0);
        assert_int_equal(k->open.n_strays, ARRAY_SIZE(names));
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                assert_string_equal(k->open.strays[i], names[i]);
                assert_true(kept_has(k, names[i]));
        }
        assert_true(kept_has(k, "graph.pbtxt"));
}

/* A record that cannot be read may hold a pin: nothing of it is touched. */
static void test_unreadable(void **state)
{
        struct kept *k = *state;
        char *text;

        assert_int_equal(kept_open(k), 0);
        assert_int_equal(kept_save_step(k, &format_tensorbundle, 7), 0);
        kept_put(k, RECORD, "{\"version\": 9}");
        assert_int_equal(kept_again(k), 0);
        assert_int_equal(k->open.history.n, 0);
        assert_int_equal(k->open.n_strays, 0);
        assert_non_null(
                strstr(find_action(k, STORE_DAMAGED)->text, "cannot be read: written by a newer"));
        text = kept_get(k, RECORD);
        assert_string_equal(text, "{\"version\": 9}");
        free(text);
        assert_true(kept_has(k, INDEX));
}

static void test_read_only(void **state)
{
        struct kept *k = make_claimed(state);

        move(k, INDEX, TMP_INDEX);
        forget(k, "model.ckpt-3");
        assert_int_equal(
                kept_open_with(k,
                               (struct store_open){.path = k->path, .fd = -1, .read_only = true}),
                0);
        assert_int_equal(k->open.history.n, 1);
        assert_int_equal(k->open.history.items[0]->step, 3);
        assert_true(kept_has(k, TMP_INDEX));
        assert_false(kept_has(k, ".ckptd/checkpoints/model.ckpt-3.json"));
        kept_stop(k);
        kept_start(k, &io_real);
}

static void test_read_only_unregistered(void **state)
{
        struct kept *k = *state;

        assert_int_equal(
                kept_open_with(k,
                               (struct store_open){.path = k->path, .fd = -1, .read_only = true}),
                0);
        assert_true(k->open.is_empty);
        assert_false(kept_has(k, ".ckptd"));
        assert_string_equal(k->open.uuid, "");
}

/* ---- the directory itself ---- */

static void test_identity(void **state)
{
        struct kept *k = *state;
        char first[37], second[37];
        struct diag d = {0};

        assert_int_equal(kept_open(k), 0);
        assert_true(k->open.is_new);
        assert_true(k->open.is_empty);
        assert_null(k->open.recorded_path);
        memcpy(first, k->open.uuid, sizeof(first));
        assert_int_equal(strlen(first), 36);
        assert_int_equal(kept_again(k), 0);
        assert_false(k->open.is_new);
        assert_string_equal(k->open.uuid, first);
        assert_string_equal(k->open.recorded_path, k->open.real_path);
        assert_int_equal(k->open.recorded_device, k->open.device);
        assert_int_equal(store_dir_new_identity(k->dir, second, &d), 0);
        assert_string_not_equal(first, second);
        assert_int_equal(kept_again(k), 0);
        assert_string_equal(k->open.uuid, second);
        assert_int_equal(store_dir_note_path(k->dir, &d), 0);
        kept_put(k, ".ckptd/directory.json", "{\"id\": 5}");
        assert_int_equal(kept_again(k), -EBADMSG);
        assert_non_null(strstr(k->open.diag.text, "directory.json is damaged"));
}

static void test_not_a_directory(void **state)
{
        struct kept *k = *state;
        char path[2 * KEPT_PATH_BYTES];

        kept_put(k, "file", "x");
        snprintf(path, sizeof(path), "%s/file", k->path);
        assert_int_equal(kept_open_with(k, (struct store_open){.path = path, .fd = -1}), -ENOTDIR);
        assert_non_null(strstr(k->open.diag.text, "is not a directory"));
        snprintf(path, sizeof(path), "%s/new", k->path);
        assert_int_equal(kept_open_with(k, (struct store_open){.path = path, .fd = -1}), -ENOENT);
        assert_int_equal(
                kept_open_with(k, (struct store_open){.path = path, .fd = -1, .create = true}), 0);
        assert_true(k->open.is_empty);
        store_dir_close(take_ptr(k->dir));
        /* A link in place of .ckptd leads nowhere. */
        assert_int_equal(symlink("/tmp", strcat(path, "/.ckptd2")), 0);
        kept_put(k, ".ckptd", "x");
        assert_int_equal(kept_open(k), -ENOTDIR);
}

static void test_given_descriptor(void **state)
{
        struct kept *k = *state;
        int fd = open(k->path, O_PATH | O_DIRECTORY | O_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(kept_open_with(k, (struct store_open){.path = "/nonexistent", .fd = fd}),
                         0);
        assert_int_equal(k->open.fd, -1);
        assert_string_equal(k->open.real_path, "/nonexistent");
        assert_true(kept_has(k, ".ckptd/directory.json"));
}

/* ---- many ---- */

static atomic_uint n_reads; /* the table of calls has no room for a context */

static ssize_t count_read(int fd, void *p, size_t n, off_t offset)
{
        atomic_fetch_add(&n_reads, 1);
        return io_real.pread(fd, p, n, offset);
}

static void put_fake(struct kept *k, struct checkpoint *c, int step)
{
        struct buffer text = {0};
        char path[128];

        free(c->name);
        free(c->files[0].name);
        assert_true(asprintf(&c->name, "model.ckpt-%d", step) > 0);
        assert_true(asprintf(&c->files[0].name, "%s.index", c->name) > 0);
        c->files[0].bytes = 4;
        c->sequence = c->step = step;
        assert_int_equal(record_format(c, &text), 0);
        snprintf(path, sizeof(path), ".ckptd/checkpoints/%s.json", c->name);
        kept_put(k, path, (char *)text.data);
        kept_put(k, c->files[0].name, "fake");
        buffer_done(&text);
}

/* Only records are read, never what they claim: these files would not pass. */
static void test_thousand(void **state)
{
        struct kept *k = *state;
        struct checkpoint *c = kept_checkpoint("x", 0, 1);
        struct io io = io_real;

        io.pread = count_read;
        assert_int_equal(kept_open(k), 0);
        c->files = calloc(1, sizeof(*c->files));
        c->n_files = 1;
        c->state = CHECKPOINT_WHOLE;
        for (int i = 0; i < 1000; i++)
                put_fake(k, c, i);
        kept_stop(k);
        kept_start(k, &io);
        assert_int_equal(kept_open(k), 0);
        assert_int_equal(k->open.history.n, 1000);
        assert_int_equal(k->open.n_actions, 0);
        assert_in_range(atomic_load(&n_reads), 2000, 2010);
        checkpoint_free(c);
        kept_stop(k);
        kept_start(k, &io_real);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, kept_setup, kept_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_before_renames),
                TEST(test_between_renames),
                TEST(test_after_renames),
                TEST(test_between_link_and_unlink),
                TEST(test_data_missing),
                TEST(test_index_short),
                TEST(test_index_invalid),
                TEST(test_temporaries_alone),
                TEST(test_claim_torn),
                TEST(test_foreign_name),
                TEST(test_replace_claimed),
                TEST(test_replace_aside),
                TEST(test_replace_half_renamed),
                TEST(test_replace_renamed),
                TEST(test_replace_undone),
                TEST(test_replace_undone_aside),
                TEST(test_replace_remains),
                TEST(test_evicting),
                TEST(test_gone_and_damaged),
                TEST(test_adopted),
                TEST(test_rewritten),
                TEST(test_strays),
                TEST(test_unreadable),
                TEST(test_read_only),
                TEST(test_read_only_unregistered),
                TEST(test_identity),
                TEST(test_not_a_directory),
                TEST(test_given_descriptor),
                TEST(test_thousand),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
