#include "settings.h"

#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct settings *parse(const char *text)
{
        _cleanup_(diag_done) struct diag d = {0};
        struct settings *s = NULL;

        if (settings_parse("f", text, strlen(text), &s, &d) < 0)
                fail_msg("%s", diag_text(&d, 0));
        return s;
}

static const char decides[] =
        "policies: {a: {keep_checkpoint_max: 11}, b: {keep_checkpoint_max: 22}}\n"
        "model_dirs:\n"
        "  - {path: /m/a, policy: a}\n"
        "  - {path: /m/b, policy: a, jobs_may_set: [keep_checkpoint_max]}\n";

static struct policy *effective(const struct settings_wish *w, const char *by, const char *messages)
{
        _cleanup_(settings_freep) struct settings *s = parse(decides);
        _cleanup_(diag_done) struct diag d = {0};
        _cleanup_(freep) char *chosen_by = NULL;
        struct policy *p = NULL;

        assert_int_equal(settings_effective(s, w, &p, &chosen_by, &d), 0);
        assert_string_equal(chosen_by, by);
        assert_string_equal(d.text ? d.text : "", messages);
        return p;
}

static void test_who_decides(void **state)
{
        static const struct {
                struct settings_wish wish;
                const char *name, *by, *messages;
        } cases[] = {
                {{.real_path = "/x"}, "normal", "default", ""},
                {{.real_path = "/x", .policy = "b"}, "b", "the job", ""},
                {{.real_path = "/x", .policy = "b", .registered = "short"},
                 "short",
                 "register; the job asked for b",
                 ""},
                {{.real_path = "/m/a", .policy = "b"},
                 "a",
                 "model_dirs at f:3; the job asked for b",
                 ""},
                {{.real_path = "/m/a", .policy = "a"}, "a", "model_dirs at f:3", ""},
                {{.real_path = "/m/a", .registered = "b"},
                 "a",
                 "model_dirs at f:3",
                 "register --policy b is not used: model_dirs at f:3 decides"},
                {{.real_path = "/x", .policy = "c"},
                 "normal",
                 "default; the job asked for c",
                 "the job's policy: no policy c; known: a, b, long, normal, short"},
                {{.real_path = "/x", .policy = "b", .registered = "c"},
                 "b",
                 "the job",
                 "register --policy: no policy c; known: a, b, long, normal, short"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_(policy_freep) struct policy *p =
                        effective(&cases[i].wish, cases[i].by, cases[i].messages);

                assert_string_equal(p->name, cases[i].name);
        }
}

static void test_values_of_the_job(void **state)
{
        static const char *const keys[] = {
                "keep_checkpoint_max", "checkpoint_name", "save_checkpoints_steps",
                "keep_best",           "save_on_end",     "save_checkpoints_secs"};
        static const char *const values[] = {NULL, "net", "50", "loss", "maybe", "lots"};
        _cleanup_(policy_freep) struct policy *p = effective(
                &(struct settings_wish){"/x", NULL, "b", ARRAY_SIZE(keys), keys, values}, "the job",
                "the job's value is ignored: keep_best: not supported by this version\n"
                "the job's value is ignored: save_on_end: expected true or false, found maybe\n"
                "the job's value is ignored: save_checkpoints_secs: expected a duration like 10m "
                "or "
                "null, found lots");

        (void)state;
        assert_int_equal(p->keep_checkpoint_max, 0);
        assert_string_equal(p->checkpoint_name, "net");
        assert_int_equal(p->save_checkpoints_steps, 50);
        assert_int_equal(p->save_checkpoints_secs, 0);
        assert_true(p->save_on_end);
}

static void test_values_over_model_dirs(void **state)
{
        static const char *const keys[] = {"keep_checkpoint_max", "checkpoint_name"};
        static const char *const values[] = {"3", "net"};
        _cleanup_(policy_freep) struct policy *a = effective(
                &(struct settings_wish){"/m/a", NULL, NULL, 2, keys, values}, "model_dirs at f:3",
                "the job's keep_checkpoint_max is ignored: policy a at f:3 decides (jobs_may_set)");
        _cleanup_(policy_freep) struct policy *b = effective(
                &(struct settings_wish){"/m/b", NULL, NULL, 2, keys, values}, "model_dirs at f:4",
                "the job's checkpoint_name is ignored: policy a at f:4 decides (jobs_may_set)");

        (void)state;
        assert_int_equal(a->keep_checkpoint_max, 11);
        assert_string_equal(a->checkpoint_name, "net");
        assert_int_equal(b->keep_checkpoint_max, 3);
        assert_string_equal(b->checkpoint_name, "model.ckpt");
}

/* A bad first value of the schedule drops nothing. */
static void test_bad_schedule_of_the_job(void **state)
{
        static const char *const keys[] = {"save_checkpoints_steps"};
        static const char *const values[] = {"0"};
        _cleanup_(policy_freep) struct policy *p =
                effective(&(struct settings_wish){"/x", NULL, NULL, 1, keys, values}, "default",
                          "the job's value is ignored: save_checkpoints_steps: expected a number "
                          "of steps like "
                          "1000 or null, found 0");

        (void)state;
        assert_int_equal(p->save_checkpoints_secs, 600000);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_who_decides),
                cmocka_unit_test(test_values_of_the_job),
                cmocka_unit_test(test_values_over_model_dirs),
                cmocka_unit_test(test_bad_schedule_of_the_job),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
