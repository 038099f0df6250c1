/* What follows a publish: the record anew, TensorFlow's state file, and removal. */
#include "store-kept.h"

#include "record.h"
#include "state-file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

static struct checkpoint *load(struct kept *k, const char *file)
{
        struct checkpoint *c = NULL;

        assert_int_equal(record_load(k->io, (struct place){k->dir->records, file}, &c, NULL), 0);
        return c;
}

static void test_evict(void **state)
{
        struct kept *k = *state;
        struct checkpoint *c;

        assert_int_equal(kept_open(k), 0);
        assert_int_equal(kept_save_step(k, &format_tensorbundle, 7), 0);
        assert_int_equal(kept_save_step(k, &format_tensorbundle, 70), 0);
        c = load(k, "model.ckpt-7.json");
        assert_int_equal(kept_evict(k, c), 0);
        assert_false(kept_has(k, "model.ckpt-7.index"));
        assert_false(kept_has(k, "model.ckpt-7.data-00000-of-00001"));
        assert_false(kept_has(k, ".ckptd/checkpoints/model.ckpt-7.json"));
        assert_int_equal(kept_verify(k, "model.ckpt-70"), 0);
        /* Twice is no failure. */
        assert_int_equal(kept_evict(k, c), 0);
        checkpoint_free(c);
}

static void test_evict_confined(void **state)
{
        struct kept *k = *state;
        struct checkpoint *c;

        assert_int_equal(kept_open(k), 0);
        assert_int_equal(kept_save_step(k, &format_tensorbundle, 7), 0);
        c = load(k, "model.ckpt-7.json");
        free(c->files[0].name);
        c->files[0].name = strdup(".ckptd/directory.json");
        assert_int_equal(kept_evict(k, c), -EINVAL);
        assert_true(kept_has(k, ".ckptd/directory.json"));
        checkpoint_free(c);
}

/* ---- notes ---- */

static void noted(struct store_note *t)
{
        *(bool *)t->user = true;
}

static int note(struct kept *k, struct store_note t)
{
        bool done = false;

        t.dir = k->dir;
        t.done = noted;
        t.user = &done;
        store_note_start(k->store, &t);
        kept_wait(k, &done);
        diag_done(&t.diag);
        return t.r;
}

static void test_pin(void **state)
{
        struct kept *k = *state;
        struct checkpoint *c;

        assert_int_equal(kept_open(k), 0);
        assert_int_equal(kept_save_step(k, &format_tensorbundle, 7), 0);
        c = load(k, "model.ckpt-7.json");
        c->pin_by = strdup("alice");
        c->pin_reason = strdup("demo");
        c->preserved = true;
        assert_int_equal(note(k, (struct store_note){.checkpoint = c}), 0);
        checkpoint_free(c);
        assert_int_equal(kept_again(k), 0);
        assert_string_equal(k->open.history.items[0]->pin_by, "alice");
        assert_true(k->open.history.items[0]->preserved);
        assert_int_equal(kept_debris(k), 0);
}

static void test_state_file(void **state)
{
        struct kept *k = *state;
        char *names[] = {"model.ckpt-3", "model.ckpt-7"};
        double times[] = {1.5, 2.25};
        struct state_file f = {0};
        char *text;

        assert_int_equal(kept_open(k), 0);
        assert_int_equal(note(k, (struct store_note){.state_file = true,
                                                     .n_names = 2,
                                                     .names = names,
                                                     .timestamps = times,
                                                     .last_preserved = 1.5}),
                         0);
        text = kept_get(k, "checkpoint");
        assert_non_null(text);
        assert_int_equal(state_file_parse(text, strlen(text), &f, NULL), 0);
        assert_string_equal(f.newest, "model.ckpt-7");
        assert_int_equal(f.n, 2);
        assert_string_equal(f.paths[0], "model.ckpt-3");
        state_file_done(&f);
        free(text);
        assert_int_equal(note(k, (struct store_note){.state_file = true}), 0);
        assert_false(kept_has(k, "checkpoint"));
        assert_int_equal(note(k, (struct store_note){.state_file = true}), 0);
        assert_int_equal(kept_debris(k), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, kept_setup, kept_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_evict),
                TEST(test_evict_confined),
                TEST(test_pin),
                TEST(test_state_file),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
