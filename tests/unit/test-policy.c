#include "limit.h"
#include "nearest.h"
#include "policy.h"
#include "scalar.h"

#include <errno.h>
#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct policy *new_policy(void)
{
        struct policy *p = NULL;

        assert_int_equal(policy_new(&p, "x"), 0);
        return p;
}

static void assert_text(const struct policy *p, const char *key, const char *expected)
{
        _cleanup_(freep) char *text = policy_get(p, policy_key_find(key));

        assert_string_equal(text, expected);
}

static void test_defaults(void **state)
{
        _cleanup_(policy_freep) struct policy *p = new_policy();

        (void)state;
        assert_string_equal(p->name, "x");
        assert_int_equal(p->save_checkpoints_secs, 600000);
        assert_int_equal(p->save_checkpoints_steps, 0);
        assert_true(p->save_on_start && p->save_on_end);
        assert_int_equal(p->keep_checkpoint_max, 5);
        assert_true(p->keep_checkpoint_every_n_hours == 0);
        assert_int_equal(p->when_busy, WHEN_BUSY_WAIT);
        assert_string_equal(p->checkpoint_name, "model.ckpt");
        assert_string_equal(p->format, "auto");
        assert_string_equal(policy_format(p), "tensorbundle");
}

/* What policy_get tells, policy_set reads again. */
static void test_set_and_get(void **state)
{
        static const struct {
                const char *key, *text, *told;
        } cases[] = {
                {"save_checkpoints_secs", "600", "10m"},
                {"save_checkpoints_secs", "90s", "90s"},
                {"save_checkpoints_secs", "0.5", "0.5s"},
                {"save_checkpoints_secs", "6h", "6h"},
                {"save_checkpoints_secs", "30d", "30d"},
                {"save_checkpoints_steps", "1", "1"},
                {"save_checkpoints_steps", "1000000", "1000000"},
                {"save_on_start", "true", "true"},
                {"save_on_end", "False", "false"},
                {"when_busy", "skip", "skip"},
                {"keep_checkpoint_max", "0", "null"},
                {"keep_checkpoint_max", "12", "12"},
                {"keep_checkpoint_every_n_hours", "6", "6h"},
                {"keep_checkpoint_every_n_hours", "0.5", "30m"},
                {"keep_checkpoint_every_n_hours", "90m", "90m"},
                {"checkpoint_name", "weights-{}", NULL},
                {"checkpoint_name", "my model", "my model"},
                {"format", "safetensors", "safetensors"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_(policy_freep) struct policy *p = new_policy(), *q = new_policy();
                const struct policy_key *k = policy_key_find(cases[i].key);
                bool null = cases[i].told && strcmp(cases[i].told, "null") == 0;

                if (!cases[i].told) {
                        assert_int_equal(policy_set(p, k, cases[i].text, false, NULL), -EINVAL);
                        continue;
                }
                assert_int_equal(policy_set(p, k, cases[i].text, false, NULL), 0);
                assert_text(p, cases[i].key, cases[i].told);
                assert_int_equal(policy_set(q, k, cases[i].told, null, NULL), 0);
                assert_true(policy_key_equal(p, q, k));
        }
}

static void test_null(void **state)
{
        _cleanup_(policy_freep) struct policy *p = new_policy();

        (void)state;
        for (const struct policy_key *k = policy_keys; k->name; k++) {
                _cleanup_(diag_done) struct diag d = {0};
                int r = policy_set(p, k, "", true, &d);

                assert_int_equal(r, k->flags & POLICY_NULL_IS_OFF ? 0 : -EINVAL);
                assert_true(r == 0 || strstr(d.text, "found null"));
        }
        assert_int_equal(p->save_checkpoints_secs, 0);
        assert_int_equal(p->keep_checkpoint_max, 0);
        assert_text(p, "save_checkpoints_secs", "null");
        assert_text(p, "keep_checkpoint_every_n_hours", "null");
}

static const struct {
        const char *key, *text, *message;
} wrong[] = {
        {"save_checkpoints_secs", "lots",
         "save_checkpoints_secs: expected a duration like 10m or null, found lots"},
        {"save_checkpoints_secs", "10:00",
         "save_checkpoints_secs: expected a duration like 10m or null, found 10:00; 10:00 is no "
         "number in YAML 1.2, ten minutes are 10m"},
        {"save_checkpoints_secs", "0",
         "save_checkpoints_secs: expected a duration like 10m or null, found 0"},
        {"save_checkpoints_secs", "-5",
         "save_checkpoints_secs: expected a duration like 10m or null, found -5"},
        {"save_checkpoints_secs", "99999999999999999999",
         "save_checkpoints_secs: expected a duration like 10m or null, found 99999999999999999999"},
        {"save_checkpoints_steps", "010",
         "save_checkpoints_steps: expected a number of steps like 1000 or null, found 010; write "
         "10"},
        {"save_checkpoints_steps", "1_000",
         "save_checkpoints_steps: expected a number of steps like 1000 or null, found 1_000; write "
         "1000"},
        {"save_checkpoints_steps", "1e3",
         "save_checkpoints_steps: expected a number of steps like 1000 or null, found 1e3"},
        {"save_on_start", "yes", "save_on_start: expected true or false, found yes; write true"},
        {"save_on_end", "Off", "save_on_end: expected true or false, found Off; write false"},
        {"save_on_end", "1", "save_on_end: expected true or false, found 1; write true"},
        {"when_busy", "drop", "when_busy: expected wait or skip, found drop"},
        {"keep_checkpoint_max", "-1",
         "keep_checkpoint_max: expected a number like 5 or null, found -1"},
        {"keep_checkpoint_max", "2.5",
         "keep_checkpoint_max: expected a number like 5 or null, found 2.5"},
        {"keep_checkpoint_every_n_hours", "0",
         "keep_checkpoint_every_n_hours: expected hours like 6 or 0.5 or null, found 0"},
        {"checkpoint_name", "a/b", "checkpoint_name: expected a name without a slash, found a/b"},
        {"checkpoint_name", "", "checkpoint_name: expected a name, found nothing"},
        {"checkpoint_name", ".hidden",
         "checkpoint_name: expected a name without a leading dot, found .hidden"},
        {"checkpoint_name", "a..b", "checkpoint_name: expected a name without \"..\", found a..b"},
        {"checkpoint_name", "a\nb",
         "checkpoint_name: expected a name without control characters, found a?b"},
        {"checkpoint_name", "a*",
         "checkpoint_name: expected a name without any of * ? [ ] \\ ,, found a*"},
        {"checkpoint_name", "weights.{epoch:02d}",
         "checkpoint_name: expected a name without braces (fields like {epoch} are not supported "
         "by "
         "this version), found weights.{epoch:02d}"},
        {"format", "pt", "format: pt is not supported by this version"},
        {"format", "hdf5", "format: expected auto, tensorbundle or safetensors, found hdf5"},
};

static void test_wrong(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
                _cleanup_(policy_freep) struct policy *p = new_policy(), *before = new_policy();
                _cleanup_(diag_done) struct diag d = {0};
                const struct policy_key *k = policy_key_find(wrong[i].key);

                assert_int_equal(policy_set(p, k, wrong[i].text, false, &d), -EINVAL);
                assert_string_equal(d.text, wrong[i].message);
                assert_true(policy_key_equal(p, before, k));
        }
}

static void test_name_length(void **state)
{
        const struct policy_key *k = policy_key_find("checkpoint_name");
        _cleanup_(policy_freep) struct policy *p = new_policy();
        char name[LIMIT_CHECKPOINT_NAME_BYTES + 2];

        (void)state;
        memset(name, 'a', sizeof(name));
        name[LIMIT_CHECKPOINT_NAME_BYTES] = '\0';
        assert_int_equal(policy_set(p, k, name, false, NULL), 0);
        name[LIMIT_CHECKPOINT_NAME_BYTES] = 'a';
        name[LIMIT_CHECKPOINT_NAME_BYTES + 1] = '\0';
        assert_int_equal(policy_set(p, k, name, false, NULL), -EINVAL);
}

static void test_checkpoint_name(void **state)
{
        _cleanup_(policy_freep) struct policy *p = new_policy();
        _cleanup_(freep) char *name = policy_checkpoint_name(p, 184320);
        _cleanup_(freep) char *far = policy_checkpoint_name(p, INT64_MAX);

        (void)state;
        assert_string_equal(name, "model.ckpt-184320");
        assert_string_equal(far, "model.ckpt-9223372036854775807");
}

static void test_clear_schedule(void **state)
{
        _cleanup_(policy_freep) struct policy *p = new_policy();

        (void)state;
        policy_set(p, policy_key_find("save_checkpoints_steps"), "100", false, NULL);
        policy_clear_schedule(p);
        assert_int_equal(p->save_checkpoints_secs, 0);
        assert_int_equal(p->save_checkpoints_steps, 0);
        assert_int_equal(p->keep_checkpoint_max, 5);
}

static void test_copy(void **state)
{
        _cleanup_(policy_freep) struct policy *p = new_policy(), *copy = NULL;

        (void)state;
        policy_set(p, policy_key_find("checkpoint_name"), "m", false, NULL);
        policy_set(p, policy_key_find("keep_checkpoint_every_n_hours"), "6", false, NULL);
        assert_int_equal(policy_copy(&copy, p), 0);
        for (const struct policy_key *k = policy_keys; k->name; k++)
                assert_true(policy_key_equal(p, copy, k));
        policy_set(p, policy_key_find("checkpoint_name"), "n", false, NULL);
        assert_string_equal(copy->checkpoint_name, "m");
        assert_false(policy_key_equal(p, copy, policy_key_find("checkpoint_name")));
}

static void test_nearest(void **state)
{
        static const struct {
                const char *typed, *near;
        } cases[] = {
                {"keep_checkpoint_maks", "keep_checkpoint_max"},
                {"save_checkpoint_secs", "save_checkpoints_secs"},
                {"save_checkpoints_step", "save_checkpoints_steps"},
                {"keep_checkpoint_every_hours", "keep_checkpoint_every_n_hours"},
                {"fromat", "format"},
                {"saveonend", "save_on_end"},
                {"epochs", NULL},
                {"x", NULL},
                {"", NULL},
        };
        char name[300];

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                const char *near = policy_key_nearest(cases[i].typed);

                assert_int_equal(!near, !cases[i].near);
                if (near)
                        assert_string_equal(near, cases[i].near);
        }
        memset(name, 'k', sizeof(name) - 1);
        name[sizeof(name) - 1] = '\0';
        assert_null(policy_key_nearest(name));
}

static void test_unknown(void **state)
{
        _cleanup_(diag_done) struct diag d = {0};

        (void)state;
        assert_int_equal(policy_key_unknown("keep_best", &d), -EINVAL);
        assert_string_equal(d.text, "keep_best: not supported by this version");
        policy_key_unknown("keep_checkpoint_maks", &d);
        assert_string_equal(d.text,
                            "unknown key keep_checkpoint_maks; did you mean keep_checkpoint_max?");
        policy_key_unknown("a\nb", &d);
        assert_string_equal(d.text, "unknown key a?b");
}

/* A shortened value stays UTF-8. */
static void test_show(void **state)
{
        char text[200] = "x", out[SCALAR_TEXT_MAX];

        (void)state;
        for (int i = 0; i < 60; i++)
                strcat(text, "\xc3\xa4");
        scalar_show(text, out);
        assert_int_equal(strlen(out), 1 + 2 * 31 + 3);
        assert_string_equal(out + 61, "\xc3\xa4...");
}

static void test_size_hints(void **state)
{
        char hint[SCALAR_TEXT_MAX];

        (void)state;
        assert_string_equal(scalar_hint("8G", SCALAR_SIZE, hint), "; write 8GiB or 8GB");
        assert_string_equal(scalar_hint("1.5k", SCALAR_SIZE, hint), "; write 1.5KiB or 1.5kB");
        assert_string_equal(scalar_hint("lots", SCALAR_SIZE, hint), "");
        assert_string_equal(scalar_hint("8G", SCALAR_COUNT, hint), "");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_defaults),       cmocka_unit_test(test_set_and_get),
                cmocka_unit_test(test_null),           cmocka_unit_test(test_wrong),
                cmocka_unit_test(test_name_length),    cmocka_unit_test(test_checkpoint_name),
                cmocka_unit_test(test_clear_schedule), cmocka_unit_test(test_copy),
                cmocka_unit_test(test_nearest),        cmocka_unit_test(test_unknown),
                cmocka_unit_test(test_show),           cmocka_unit_test(test_size_hints),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
