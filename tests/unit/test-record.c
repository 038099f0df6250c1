/* Records: what is written comes back, and nothing else is believed. */
#include "store-kept.h"

#include "record.h"

#include <errno.h>
#include <string.h>

static struct checkpoint *full(void)
{
        struct checkpoint *c = kept_checkpoint("model.ckpt-7", 7, 3);

        c->sequence = 12;
        c->run = 2;
        c->state = CHECKPOINT_WHOLE;
        c->origin = CHECKPOINT_ADOPTED;
        c->published_ms = 1795270311123;
        c->bytes = UINT64_C(1) << 40;
        c->preserved = true;
        c->pin_by = strdup("alice");
        c->pin_reason = strdup("demo \"for\"\nthe board");
        c->replaces = strdup("model.ckpt-7");
        c->files = calloc(1, sizeof(*c->files));
        c->files[0] = (struct checkpoint_file){strdup("model.ckpt-7.index"), 42};
        c->n_files = 1;
        return c;
}

static void test_there_and_back(void **state)
{
        struct checkpoint *c = full(), *back;
        struct buffer text = {0};

        (void)state;
        assert_int_equal(record_format(c, &text), 0);
        assert_non_null(strstr((char *)text.data, "\"2026-11-21T14:11:51.123Z\""));
        assert_int_equal(record_parse((char *)text.data, text.len, &back, NULL), 0);
        assert_string_equal(back->name, c->name);
        assert_int_equal(back->step, 7);
        assert_int_equal(back->sequence, 12);
        assert_int_equal(back->run, 2);
        assert_int_equal(back->save_id, 3);
        assert_int_equal(back->state, CHECKPOINT_WHOLE);
        assert_int_equal(back->origin, CHECKPOINT_ADOPTED);
        assert_int_equal(back->published_ms, c->published_ms);
        assert_int_equal(back->bytes, c->bytes);
        assert_true(back->preserved);
        assert_string_equal(back->pin_by, "alice");
        assert_string_equal(back->pin_reason, c->pin_reason);
        assert_string_equal(back->replaces, "model.ckpt-7");
        assert_int_equal(back->n_files, 1);
        assert_string_equal(back->files[0].name, "model.ckpt-7.index");
        assert_int_equal(back->files[0].bytes, 42);
        checkpoint_free(c);
        checkpoint_free(back);
        buffer_done(&text);
}

/* The record with one text replaced by another. */
static int parse_with(const char *from, const char *to, struct diag *d)
{
        struct checkpoint *c = full(), *back = NULL;
        struct buffer text = {0}, changed = {0};
        const char *at;
        int r;

        assert_int_equal(record_format(c, &text), 0);
        at = strstr((char *)text.data, from);
        assert_non_null(at);
        buffer_append(&changed, text.data, (size_t)(at - (char *)text.data));
        buffer_printf(&changed, "%s%s", to, at + strlen(from));
        r = record_parse((char *)changed.data, changed.len, &back, d);
        checkpoint_free(back);
        checkpoint_free(c);
        buffer_done(&text);
        buffer_done(&changed);
        return r;
}

static void test_refused(void **state)
{
        static const struct {
                const char *from, *to;
                int r;
        } cases[] = {
                {"\"version\": 1", "\"version\": 2", -EPROTONOSUPPORT},
                {"\"version\": 1", "\"version\": 0", -EBADMSG},
                {"\"version\": 1,", "", -EBADMSG},
                {"\"step\": 7", "\"step\": -7", -EBADMSG},
                {"\"step\": 7", "\"step\": 7.5", -EBADMSG},
                {"\"step\": 7", "\"step\": 99999999999999999999", -EBADMSG},
                {"\"step\": 7", "\"step\": 7, \"step\": 8", -EBADMSG},
                {"\"step\": 7", "\"step\": 7, \"unknown\": 8", -EBADMSG},
                {"\"whole\"", "\"perfect\"", -EBADMSG},
                {"\"adopted\"", "\"stolen\"", -EBADMSG},
                {"\"name\": \"model.ckpt-7\"", "\"name\": \"../model\"", -EBADMSG},
                {"\"name\": \"model.ckpt-7\"", "\"name\": \"a/b\"", -EBADMSG},
                {"\"name\": \"model.ckpt-7\"", "\"name\": \".hidden\"", -EBADMSG},
                {"\"name\": \"model.ckpt-7\"", "\"name\": \"a\\u0000b\"", -EBADMSG},
                {"\"name\": \"model.ckpt-7\"", "\"name\": \"a\\nb\"", -EBADMSG},
                {"\"model.ckpt-7.index\"", "\"../../etc/passwd\"", -EBADMSG},
                {"\"model.ckpt-7.index\"", "\"..\"", -EBADMSG},
                {"\"model.ckpt-7.index\"", "\"\"", -EBADMSG},
                {"\"bytes\": 42", "\"bytes\": -42", -EBADMSG},
                {"\"alice\"", "\"\"", -EBADMSG},
                {"}", "} trailing", -EBADMSG},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct diag d = {0};

                assert_int_equal(parse_with(cases[i].from, cases[i].to, &d), cases[i].r);
                assert_non_null(d.text);
                diag_done(&d);
        }
}

/* Every beginning of a record, as a torn write leaves it. */
static void test_torn(void **state)
{
        struct checkpoint *c = full(), *back = NULL;
        struct buffer text = {0};

        (void)state;
        assert_int_equal(record_format(c, &text), 0);
        for (size_t n = 0; n + 1 < text.len; n++)
                assert_int_equal(record_parse((char *)text.data, n, &back, NULL), -EBADMSG);
        checkpoint_free(c);
        buffer_done(&text);
}

static void test_names(void **state)
{
        char file[RECORD_FILE_MAX], name[RECORD_FILE_MAX];

        (void)state;
        memset(name, 'a', sizeof(name));
        name[RECORD_NAME_MAX_BYTES] = '\0';
        assert_int_equal(record_file_name(file, name), 0);
        assert_int_equal(strlen(file), RECORD_NAME_MAX_BYTES + 5);
        name[RECORD_NAME_MAX_BYTES] = 'a';
        name[RECORD_NAME_MAX_BYTES + 1] = '\0';
        assert_int_equal(record_file_name(file, name), -EINVAL);
        assert_int_equal(record_file_name(file, ""), -EINVAL);
        assert_int_equal(record_file_name(file, "a/b"), -EINVAL);
        assert_int_equal(record_file_name(file, "a\nb"), -EINVAL);
}

/* The claim says `publishing` until it is marked, and stays a record at every moment. */
static void test_mark_whole(void **state)
{
        struct kept *k = *state;
        struct checkpoint *c = full(), *back;
        struct place at;
        int fd;

        assert_int_equal(kept_open(k), 0);
        at = (struct place){k->dir->records, "model.ckpt-7.json"};
        c->state = CHECKPOINT_PUBLISHING;
        assert_int_equal(record_claim(k->dir, c, &fd), 0);
        assert_int_equal(record_load(k->io, at, &back, NULL), 0);
        assert_int_equal(back->state, CHECKPOINT_PUBLISHING);
        checkpoint_free(back);
        assert_int_equal(record_mark_whole(k->dir, c, fd), 0);
        assert_int_equal(record_load(k->io, at, &back, NULL), 0);
        assert_int_equal(back->state, CHECKPOINT_WHOLE);
        assert_string_equal(back->pin_reason, c->pin_reason);
        checkpoint_free(back);
        close(fd);
        assert_int_equal(record_claim(k->dir, c, &fd), -EEXIST);
        checkpoint_free(c);
}

static void test_stands_under_its_name(void **state)
{
        struct kept *k = *state;
        struct checkpoint *c = full(), *back;
        struct diag d = {0};
        char *text;

        assert_int_equal(kept_open(k), 0);
        assert_int_equal(record_write(k->dir, k->dir->records, c), 0);
        text = kept_get(k, ".ckptd/checkpoints/model.ckpt-7.json");
        kept_put(k, ".ckptd/checkpoints/other.json", text);
        free(text);
        assert_int_equal(
                record_load(k->io, (struct place){k->dir->records, "other.json"}, &back, &d),
                -EBADMSG);
        assert_string_equal(d.text, "it is the record of model.ckpt-7");
        diag_done(&d);
        checkpoint_free(c);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_there_and_back),
                cmocka_unit_test(test_refused),
                cmocka_unit_test(test_torn),
                cmocka_unit_test(test_names),
                cmocka_unit_test_setup_teardown(test_mark_whole, kept_setup, kept_teardown),
                cmocka_unit_test_setup_teardown(test_stands_under_its_name, kept_setup,
                                                kept_teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
