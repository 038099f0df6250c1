#include "settings.h"

#include "limit.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
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

static void assert_wrong(const char *text, const char *message)
{
        _cleanup_(diag_done) struct diag d = {0};
        struct settings *s = NULL;

        assert_int_equal(settings_parse("f", text, strlen(text), &s, &d), -EINVAL);
        assert_null(s);
        assert_string_equal(d.text, message);
}

#define KNOWN "; known: long, normal, short"

static const struct {
        const char *text, *message;
} wrong[] = {
        /* the top level */
        {"memory_max: lots",
         "f:1:13: memory_max: expected a size like 64GiB or a share like 25%, found lots"},
        {"memory_max: 8G",
         "f:1:13: memory_max: expected a size like 64GiB or a share like 25%, found 8G; write 8GiB "
         "or 8GB"},
        {"memory_max: 0%",
         "f:1:13: memory_max: expected a size like 64GiB or a share like 25%, found 0%"},
        {"memory_max: 101%",
         "f:1:13: memory_max: expected a size like 64GiB or a share like 25%, found 101%"},
        {"memory_max: 0",
         "f:1:13: memory_max: expected a size like 64GiB or a share like 25%, found 0"},
        {"memory_max: 010",
         "f:1:13: memory_max: expected a size like 64GiB or a share like 25%, found 010; write 10"},
        {"memory_max: null",
         "f:1:13: memory_max: expected a size like 64GiB or a share like 25%, found null"},
        {"memory_max:",
         "f:1:12: memory_max: expected a size like 64GiB or a share like 25%, found nothing"},
        {"memory_max: [1]",
         "f:1:13: memory_max: expected a size like 64GiB or a share like 25%, found a list"},
        {"disk_reserve: 5%", "f:1:15: disk_reserve: expected a size like 10GiB or null, found 5%"},
        {"disk_reserve: {}",
         "f:1:15: disk_reserve: expected a size like 10GiB or null, found a map"},
        {"log_level: loud",
         "f:1:12: log_level: expected error, warning, info or debug, found loud"},
        {"polcies: {}", "f:1:1: unknown key polcies; did you mean policies?"},
        {"colour: red", "f:1:1: unknown key colour"},
        {"keep_checkpoint_max: 3",
         "f:1:1: keep_checkpoint_max: a key of policies; it stands under policies: NAME:"},
        {"write_rate_max: 2GiB", "f:1:1: write_rate_max: not supported by this version"},
        {"metrics: 127.0.0.1:9478", "f:1:1: metrics: not supported by this version"},
        {"saves_at_once: 2", "f:1:1: saves_at_once: not supported by this version"},
        {"log_level: info\nlog_level: info", "f:2:1: log_level: given twice; first at line 1"},
        {"- a\n- b", "f:1:1: expected a map of settings, found a list"},
        {"hello", "f:1:1: expected a map of settings, found a text"},
        {"policies: null", "f:1:11: policies: expected a map of policies or {}, found null"},
        {"policies: [normal]", "f:1:11: policies: expected a map of policies or {}, found a list"},
        {"model_dirs: {}",
         "f:1:13: model_dirs: expected a list of {path, policy} or [], found a map"},
        /* YAML itself */
        {"policies:\n\tnormal: {}", "f:2:1: a tab in the indentation; YAML wants spaces"},
        {"a: b: c", "f:1:5: not YAML: mapping values are not allowed in this context"},
        {"a: [1, 2",
         "f:2:1: not YAML: did not find expected ',' or ']', while parsing a flow sequence"},
        {"memory_max: 50%\n--- \nmemory_max: 50%", "f:2:1: a second document; one file holds one"},
        {"log_level: !!str info", "f:1:12: tags like tag:yaml.org,2002:str are not used here"},
        {"log_level: *x", "f:1:12: no anchor &x stands before this"},
        {"policies: &x {a: *x}", "f:1:18: *x stands inside itself"},
        {"policies: {<<: 5}", "f:1:16: <<: expected a map or a list of maps, found a text"},
        {"{[a]: b}", "f:1:2: a key must be text, found a list"},
        {"log_level: \"in\\0fo\"", "f:1:12: a text with a NUL in it"},
        {"log_level: in\xff"
         "fo",
         "f:1:14: not a text in UTF-8: invalid leading UTF-8 octet"},
        {"a: [[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]", "f:1:19: nested deeper than 16 levels"},
        /* policies */
        {"policies: {normal: 5}", "f:1:20: policy normal: expected a map of keys, found a text"},
        {"policies: {x: }", "f:1:15: policy x: expected a map of keys, found nothing"},
        {"policies: {a b: {}}",
         "f:1:12: policies: expected a name of letters, digits, - and _, found a b"},
        {"policies:\n  short: {}\n  short: {}",
         "f:3:3: policy short is defined twice; first at f:2"},
        {"policies:\n  x: {keep_checkpoint_maks: 3}",
         "f:2:7: unknown key keep_checkpoint_maks; did you mean keep_checkpoint_max?"},
        {"policies:\n  x: {keep_best: {metric: loss}}",
         "f:2:7: keep_best: not supported by this version"},
        {"policies:\n  x: {save_checkpoints_epochs: 1}",
         "f:2:7: save_checkpoints_epochs: not supported by this version"},
        {"policies:\n  x: {format: pt}", "f:2:15: format: pt is not supported by this version"},
        {"policies:\n  x: {save_on_end: yes}",
         "f:2:20: save_on_end: expected true or false, found yes; write true"},
        {"policies:\n  x: {save_on_end: \"true\"}",
         "f:2:20: save_on_end: expected true or false, found the text \"true\"; write it without "
         "quotes"},
        {"policies:\n  x: {save_on_end: null}",
         "f:2:20: save_on_end: expected true or false, found null"},
        {"policies:\n  x: {save_checkpoints_secs: 10:00}",
         "f:2:30: save_checkpoints_secs: expected a duration like 10m or null, found 10:00; 10:00 "
         "is "
         "no number in YAML 1.2, ten minutes are 10m"},
        {"policies:\n  x: {save_checkpoints_steps: 1_000}",
         "f:2:31: save_checkpoints_steps: expected a number of steps like 1000 or null, found "
         "1_000; "
         "write 1000"},
        {"policies:\n  x: {keep_checkpoint_max: 010}",
         "f:2:28: keep_checkpoint_max: expected a number like 5 or null, found 010; write 10"},
        {"policies:\n  x: {keep_checkpoint_max: [5]}",
         "f:2:28: keep_checkpoint_max: expected a number like 5 or null, found a list"},
        {"policies:\n  x: {checkpoint_name: a/b}",
         "f:2:24: checkpoint_name: expected a name without a slash, found a/b"},
        {"policies:\n  x: {when_busy: wait, when_busy: skip}",
         "f:2:24: when_busy: given twice; first at line 2"},
        {"policies:\n  x: {base: nosuch}",
         "f:2:13: no policy nosuch; known: long, normal, short, x"},
        {"policies:\n  x: {base: null}", "f:2:13: base: expected the name of a policy, found null"},
        {"policies:\n  x: {base: [normal]}",
         "f:2:13: base: expected the name of a policy, found a list"},
        {"policies:\n  x: {base: x}", "f:2:13: base: a circle: x -> x"},
        {"policies:\n  normal: {base: long}",
         "f:2:18: base: a circle: normal -> long (built in) -> normal"},
        /* model_dirs */
        {"model_dirs: [5]", "f:1:14: model_dirs: expected {path, policy}, found a text"},
        {"model_dirs: [{policy: long}]", "f:1:14: path: missing"},
        {"model_dirs: [{path: /a}]", "f:1:14: policy: missing"},
        {"model_dirs: [{path: a/b, policy: long}]",
         "f:1:21: path: expected an absolute path like /srv/models/*, found a/b"},
        {"model_dirs: [{path: /a/../b, policy: long}]",
         "f:1:21: path: expected a path without empty names, . and .., found /a/../b"},
        {"model_dirs: [{path: /a//b, policy: long}]",
         "f:1:21: path: expected a path without empty names, . and .., found /a//b"},
        {"model_dirs: [{path: /a, policy: nosuch}]", "f:1:33: no policy nosuch" KNOWN},
        {"model_dirs: [{path: /a, polcy: long}]",
         "f:1:14: policy: missing\nf:1:25: unknown key polcy; did you mean policy?"},
        {"model_dirs: [{path: /a, policy: long, jobs_may_set: null}]",
         "f:1:53: jobs_may_set: expected a list of keys, found null; [] means none"},
        {"model_dirs: [{path: /a, policy: long, jobs_may_set: [fromat]}]",
         "f:1:54: jobs_may_set: unknown key fromat; did you mean format?"},
        {"model_dirs: [{path: /a, policy: long, jobs_may_set: [keep_best]}]",
         "f:1:54: jobs_may_set: keep_best: not supported by this version"},
};

static void test_wrong(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
                assert_wrong(wrong[i].text, wrong[i].message);
}

/* All mistakes in one pass, in the order of the file; a circle is told once, where it begins. */
static void test_all_at_once(void **state)
{
        (void)state;
        assert_wrong("memory_max: lots\n"
                     "policies:\n"
                     "  a:\n"
                     "    base: c\n"
                     "  b:\n"
                     "    base: c\n"
                     "  c:\n"
                     "    base: b\n"
                     "    save_on_end: on\n"
                     "model_dirs:\n"
                     "  - {path: /x, policy: nosuch}\n",
                     "f:1:13: memory_max: expected a size like 64GiB or a share like 25%, found "
                     "lots\n"
                     "f:6:11: base: a circle: b -> c (line 8) -> b\n"
                     "f:9:18: save_on_end: expected true or false, found on; write true\n"
                     "f:11:24: no policy nosuch; known: a, long, normal, short");
}

static void test_empty(void **state)
{
        static const char *const empty[] = {"", "# nothing\n", "{}", "~", "---\n...\n"};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(empty); i++) {
                _cleanup_(settings_freep) struct settings *s = parse(empty[i]);

                assert_int_equal(s->memory_max, 0);
                assert_true(s->memory_share == 0.5);
                assert_int_equal(s->disk_reserve, UINT64_MAX);
                assert_int_equal(s->log_level, LOG_LEVEL_INFO);
                assert_int_equal(s->n_policies, 3);
                assert_int_equal(s->n_dirs, 0);
                assert_null(s->warnings);
                assert_int_equal(settings_policy(s, "normal")->keep_checkpoint_max, 5);
                assert_int_equal(settings_policy(s, "short")->keep_checkpoint_max, 1);
                assert_true(settings_policy(s, "long")->keep_checkpoint_every_n_hours == 6);
                assert_null(settings_policy(s, "nosuch"));
        }
}

static void test_values(void **state)
{
        _cleanup_(settings_freep) struct settings *s = parse("memory_max: 64GiB\n"
                                                             "disk_reserve: 0\n"
                                                             "log_level: debug\n");
        _cleanup_(settings_freep) struct settings *t = parse("memory_max: 12.5%\n"
                                                             "disk_reserve: 2TB\n");

        (void)state;
        assert_int_equal(s->memory_max, UINT64_C(64) << 30);
        assert_int_equal(s->disk_reserve, 0);
        assert_int_equal(s->log_level, LOG_LEVEL_DEBUG);
        assert_int_equal(t->memory_max, 0);
        assert_true(t->memory_share == 0.125);
        assert_int_equal(t->disk_reserve, UINT64_C(2000000000000));
}

/* Defaults, then the base, then itself; who writes any schedule key takes none of its base's. */
static void test_bases(void **state)
{
        _cleanup_(settings_freep) struct settings *s = parse(
                "policies:\n"
                "  far: {base: mid, save_on_end: true}\n"
                "  mid: {base: near, save_checkpoints_steps: 100, keep_checkpoint_max: null}\n"
                "  near: {save_checkpoints_secs: 5m, save_on_end: false, when_busy: skip}\n"
                "  off: {base: near, save_checkpoints_steps: null}\n"
                "  normal: {keep_checkpoint_max: 9}\n");
        const struct policy *far = settings_policy(s, "far"), *off = settings_policy(s, "off");

        (void)state;
        assert_string_equal(far->name, "far");
        assert_int_equal(far->save_checkpoints_secs, 0);
        assert_int_equal(far->save_checkpoints_steps, 100);
        assert_int_equal(far->keep_checkpoint_max, 0);
        assert_int_equal(far->when_busy, WHEN_BUSY_SKIP);
        assert_true(far->save_on_end && !settings_policy(s, "mid")->save_on_end);
        assert_int_equal(off->save_checkpoints_secs, 0);
        assert_int_equal(off->save_checkpoints_steps, 0);
        /* The built-in ones stand on what the file says of normal. */
        assert_int_equal(settings_policy(s, "long")->keep_checkpoint_max, 9);
        assert_int_equal(settings_policy(s, "short")->keep_checkpoint_max, 1);
}

static void test_anchors(void **state)
{
        _cleanup_(settings_freep) struct settings *s =
                parse("policies:\n"
                      "  a: &a {save_on_end: false, keep_checkpoint_max: 2}\n"
                      "  b: {<<: *a, keep_checkpoint_max: 3}\n"
                      "  c: &c {<<: [*a, {when_busy: skip, keep_checkpoint_max: 7}]}\n"
                      "  d: {<<: *c, checkpoint_name: &n net}\n"
                      "  e: {checkpoint_name: *n}\n");

        (void)state;
        assert_int_equal(settings_policy(s, "b")->keep_checkpoint_max, 3);
        assert_false(settings_policy(s, "b")->save_on_end);
        assert_int_equal(settings_policy(s, "d")->keep_checkpoint_max, 2);
        assert_int_equal(settings_policy(s, "d")->when_busy, WHEN_BUSY_SKIP);
        assert_string_equal(settings_policy(s, "e")->checkpoint_name, "net");
}

/* Nine lines that would unfold to a billion values. */
static void test_bomb(void **state)
{
        _cleanup_(diag_done) struct diag d = {0};
        struct settings *s = NULL;
        char text[4096] = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n", line[200];

        (void)state;
        for (int i = 1; i < 9; i++) {
                sprintf(line, "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i,
                        i, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
                strcat(text, line);
        }
        assert_int_equal(settings_parse("f", text, strlen(text), &s, &d), -EINVAL);
        assert_string_equal(d.text, "f:5:38: more than 100000 values, aliases followed");
}

/* The same, by merging. */
static void test_merge_bomb(void **state)
{
        _cleanup_(diag_done) struct diag d = {0};
        struct settings *s = NULL;
        char text[4096] = "a0: &a0 {a: 1, b: 2, c: 3, d: 4, e: 5}\n", line[200];

        (void)state;
        for (int i = 1; i < 12; i++) {
                sprintf(line, "a%d: &a%d {<<: [*a%d, *a%d, *a%d, *a%d]}\n", i, i, i - 1, i - 1,
                        i - 1, i - 1);
                strcat(text, line);
        }
        assert_int_equal(settings_parse("f", text, strlen(text), &s, &d), -EINVAL);
        assert_non_null(strstr(d.text, "more than 100000 values"));
}

static void test_too_long(void **state)
{
        _cleanup_(freep) char *text = malloc(LIMIT_SETTINGS_BYTES + 1);
        _cleanup_(diag_done) struct diag d = {0};
        struct settings *s = NULL;

        (void)state;
        memset(text, '#', LIMIT_SETTINGS_BYTES + 1);
        assert_int_equal(settings_parse("f", text, LIMIT_SETTINGS_BYTES + 1, &s, &d), -EINVAL);
        assert_string_equal(d.text, "f: longer than 1048576 bytes");
        assert_int_equal(settings_parse("f", text, LIMIT_SETTINGS_BYTES, &s, &d), 0);
        settings_free(s);
}

/* A long chain of bases, last first: no recursion, no quadratic time. */
static void test_long_chain(void **state)
{
        _cleanup_(settings_freep) struct settings *s = NULL;
        _cleanup_(freep) char *text = calloc(1, 600000);
        char *at = text + sprintf(text, "policies:\n");

        (void)state;
        for (int i = 20000; i > 0; i--)
                at += sprintf(at, "  p%d: {base: p%d}\n", i, i - 1);
        strcpy(at, "  p0: {keep_checkpoint_max: 77}\n");
        s = parse(text);
        assert_int_equal(settings_policy(s, "p20000")->keep_checkpoint_max, 77);
}

static void test_many_mistakes(void **state)
{
        _cleanup_(diag_done) struct diag d = {0};
        _cleanup_(freep) char *text = calloc(1, 100000);
        struct settings *s = NULL;
        char *at = text;

        (void)state;
        for (int i = 0; i < 5000; i++)
                at += sprintf(at, "wrong%d: 1\n", i);
        assert_int_equal(settings_parse("f", text, strlen(text), &s, &d), -EINVAL);
        assert_non_null(strstr(d.text, "\nand 4800 more mistakes"));
}

static void test_dirs(void **state)
{
        _cleanup_(settings_freep) struct settings *s =
                parse("model_dirs:\n"
                      "  - {path: /m/llm-*/, policy: long}\n"
                      "  - path: /m/**\n"
                      "    policy: short\n"
                      "    jobs_may_set: [format, when_busy]\n");

        (void)state;
        assert_int_equal(s->n_dirs, 2);
        assert_ptr_equal(settings_dir_for(s, "/m/llm-7b"), &s->dirs[0]);
        assert_ptr_equal(settings_dir_for(s, "/m/x/y"), &s->dirs[1]);
        assert_null(settings_dir_for(s, "/n"));
        assert_ptr_equal(s->dirs[0].policy, settings_policy(s, "long"));
        assert_string_equal(s->dirs[0].place, "f:2");
        assert_string_equal(s->dirs[1].place, "f:3");
        assert_null(s->dirs[0].jobs_may_set);
        assert_string_equal(s->dirs[1].jobs_may_set[1], "when_busy");
        assert_null(s->dirs[1].jobs_may_set[2]);
}

static void test_warnings(void **state)
{
        _cleanup_(settings_freep) struct settings *s =
                parse("policies:\n"
                      "  all: {save_checkpoints_secs: 1h, keep_checkpoint_every_n_hours: 0.5}\n"
                      "  some: {save_checkpoints_secs: 1h, keep_checkpoint_every_n_hours: 2}\n"
                      "model_dirs:\n"
                      "  - {path: /m/**, policy: all}\n"
                      "  - {path: /n, policy: all}\n"
                      "  - {path: /m/x/*, policy: some}\n");

        (void)state;
        assert_string_equal(s->warnings[0],
                            "f:2:67: keep_checkpoint_every_n_hours: not above the save interval: "
                            "policy all keeps every checkpoint for good");
        assert_string_equal(s->warnings[1],
                            "f:7:12: path: never reached; /m/** at f:5 comes first");
        assert_null(s->warnings[2]);
}

/* Files in a directory of their own, removed again. */

static char dir[] = "/tmp/test-settings-XXXXXX";

static const char *file(const char *name)
{
        static char path[300];

        snprintf(path, sizeof(path), "%s/%s", dir, name);
        return path;
}

static void put(const char *name, const char *text)
{
        FILE *f = fopen(file(name), "w");

        assert_non_null(f);
        fputs(text, f);
        fclose(f);
}

static int make_dir(void **state)
{
        (void)state;
        strcpy(dir + strlen(dir) - 6, "XXXXXX");
        return !mkdtemp(dir) || mkdir(file("policies.d"), 0755) < 0 ? -1 : 0;
}

static int remove_dir(void **state)
{
        static const char *const names[] = {"policies.d/10-a.yaml",
                                            "policies.d/20-vision.yaml",
                                            "policies.d/.hidden.yaml",
                                            "policies.d/old.yaml~",
                                            "policies.d",
                                            "ckptd.yaml",
                                            ""};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                remove(file(names[i]));
        return 0;
}

static void test_load_files(void **state)
{
        _cleanup_(settings_freep) struct settings *s = NULL;
        _cleanup_(diag_done) struct diag d = {0};
        size_t mistakes = 9;

        (void)state;
        put("ckptd.yaml", "model_dirs: [{path: /m/**, policy: vision}]\n");
        put("policies.d/20-vision.yaml", "policies: {vision: {base: other}}\n"
                                         "model_dirs: [{path: /m/b, policy: vision}]\n");
        put("policies.d/10-a.yaml", "policies: {other: {keep_checkpoint_max: 2}}\n"
                                    "model_dirs: [{path: /m/a, policy: other}]\n");
        put("policies.d/.hidden.yaml", "nonsense");
        put("policies.d/old.yaml~", "nonsense");
        assert_int_equal(settings_load(file("ckptd.yaml"), false, &s, &mistakes, &d), 0);
        assert_int_equal(mistakes, 0);
        assert_int_equal(s->n_extra, 2);
        assert_string_equal(s->path, file("ckptd.yaml"));
        assert_string_equal(s->dirs[0].path, "/m/a");
        assert_string_equal(s->dirs[1].path, "/m/b");
        assert_string_equal(s->dirs[2].path, "/m/**");
        assert_int_equal(s->dirs[1].policy->keep_checkpoint_max, 2);
}

/* The example of `ckptctl check`. */
static void test_check_example(void **state)
{
        static const char expected[] =
                "%s/ckptd.yaml:5:13: memory_max: expected a size like 64GiB or a share like 25%%, "
                "found lots\n"
                "%s/ckptd.yaml:18:5: unknown key keep_checkpoint_maks; did you mean "
                "keep_checkpoint_max?\n"
                "%s/ckptd.yaml:31:11: base: a circle: b -> c (line 34) -> b\n"
                "%s/policies.d/20-vision.yaml:3:3: policy short is defined twice; first at "
                "ckptd.yaml:29\n"
                "%s/policies.d/20-vision.yaml:9:34: no policy nosuch; known: long, normal, short, "
                "sweep";
        _cleanup_(diag_done) struct diag d = {0};
        struct settings_count count;
        struct settings *s = NULL;
        char text[2000];

        (void)state;
        put("ckptd.yaml",
            "\n\n\n\nmemory_max: lots\n\n\n\n\npolicies:\n  normal:\n\n\n\n\n\n\n"
            "    keep_checkpoint_maks: 3\n\n\n\n\n\n  sweep:\n    base: normal\n\n\n\n"
            "  short: {}\n  b:\n    base: c\n\n  c:\n    base: b\n");
        put("policies.d/10-a.yaml", "policies: {}\n");
        put("policies.d/20-vision.yaml", "\npolicies:\n  short: {}\n\n\n\nmodel_dirs:\n\n"
                                         "  - {path: /srv/visions, policy: nosuch}\n");
        assert_int_equal(settings_check(file("ckptd.yaml"), false, &s, &count, &d), -EINVAL);
        snprintf(text, sizeof(text), expected, dir, dir, dir, dir, dir);
        assert_string_equal(d.text, text);
        assert_int_equal(count.mistakes, 5);
        assert_int_equal(count.files_wrong, 2);
        assert_int_equal(count.files, 3);
}

static void test_only_in_main(void **state)
{
        _cleanup_(diag_done) struct diag d = {0};
        struct settings *s = NULL;
        char text[400];

        (void)state;
        put("policies.d/10-a.yaml", "memory_max: 5%\n");
        assert_int_equal(settings_load(file("ckptd.yaml"), true, &s, NULL, &d), -EINVAL);
        snprintf(text, sizeof(text),
                 "%s/policies.d/10-a.yaml:1:1: memory_max: stands in ckptd.yaml only; policies.d "
                 "holds policies and model_dirs",
                 dir);
        assert_string_equal(d.text, text);
}

static void test_absent(void **state)
{
        _cleanup_(settings_freep) struct settings *s = NULL;
        _cleanup_(diag_done) struct diag d = {0};
        char text[400];

        (void)state;
        assert_int_equal(settings_load(file("ckptd.yaml"), false, &s, NULL, &d), -EINVAL);
        snprintf(text, sizeof(text), "%s/ckptd.yaml: No such file or directory", dir);
        assert_string_equal(d.text, text);
        put("policies.d/10-a.yaml", "policies: {a: {}}\n");
        assert_int_equal(settings_load(file("ckptd.yaml"), true, &s, NULL, &d), 0);
        assert_null(s->path);
        assert_int_equal(s->n_extra, 1);
        assert_non_null(settings_policy(s, "a"));
}

/* What ships says what is built in. */
static void test_shipped(void **state)
{
        _cleanup_(settings_freep) struct settings *s = NULL, *none = parse("");
        _cleanup_(diag_done) struct diag d = {0};

        (void)state;
        if (settings_load(SOURCE_ROOT "/config/ckptd.yaml", false, &s, NULL, &d) < 0)
                fail_msg("%s", diag_text(&d, 0));
        assert_null(s->warnings);
        assert_int_equal(s->n_dirs, 0);
        assert_int_equal(s->n_policies, none->n_policies);
        for (size_t i = 0; i < s->n_policies; i++)
                for (const struct policy_key *k = policy_keys; k->name; k++)
                        assert_true(policy_key_equal(s->policies[i], none->policies[i], k));
        assert_true(s->memory_share == none->memory_share);
        assert_int_equal(s->memory_max, none->memory_max);
        assert_int_equal(s->disk_reserve, none->disk_reserve);
        assert_int_equal(s->log_level, none->log_level);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_wrong),
                cmocka_unit_test(test_all_at_once),
                cmocka_unit_test(test_empty),
                cmocka_unit_test(test_values),
                cmocka_unit_test(test_bases),
                cmocka_unit_test(test_anchors),
                cmocka_unit_test(test_bomb),
                cmocka_unit_test(test_merge_bomb),
                cmocka_unit_test(test_too_long),
                cmocka_unit_test(test_long_chain),
                cmocka_unit_test(test_many_mistakes),
                cmocka_unit_test(test_dirs),
                cmocka_unit_test(test_warnings),
                cmocka_unit_test_setup_teardown(test_load_files, make_dir, remove_dir),
                cmocka_unit_test_setup_teardown(test_check_example, make_dir, remove_dir),
                cmocka_unit_test_setup_teardown(test_only_in_main, make_dir, remove_dir),
                cmocka_unit_test_setup_teardown(test_absent, make_dir, remove_dir),
                cmocka_unit_test(test_shipped),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
