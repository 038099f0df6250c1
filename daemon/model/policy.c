#include "policy.h"

#include "limit.h"
#include "nearest.h"
#include "scalar.h"
#include "units.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define HOUR_MS INT64_C(3600000)
#define DURATION_MAX_MS 3.1536e13 /* a thousand years: sums of a few never overflow */
#define HOURS_MAX 8.76e6
#define COUNT_MAX 9.007199254740992e15 /* 2^53: exact in JSON, too */

static const char *const when_busy_names[] = {"wait", "skip", NULL};
static const char *const format_names[] = {"auto", "tensorbundle", "safetensors", NULL};
static const char *const format_names_later[] = {"pt", NULL};

/* What a file name must not hold, because a shell, TensorFlow's globbing or --rename reads it
 * otherwise. */
static const char *refuse_checkpoint_name(const char *text)
{
        if (text[0] == '\0')
                return "a name";
        if (text[0] == '.')
                return "a name without a leading dot";
        if (strchr(text, '/'))
                return "a name without a slash";
        if (strstr(text, ".."))
                return "a name without \"..\"";
        if (strpbrk(text, "*?[]\\,"))
                return "a name without any of * ? [ ] \\ ,";
        if (strpbrk(text, "{}"))
                return "a name without braces (fields like {epoch} are not supported by this "
                       "version)";
        if (strlen(text) > LIMIT_CHECKPOINT_NAME_BYTES)
                return "a name of at most 200 bytes";
        for (; *text; text++)
                if ((unsigned char)*text < ' ' || *text == 0x7f)
                        return "a name without control characters";
        return NULL;
}
_Static_assert(LIMIT_CHECKPOINT_NAME_BYTES == 200, "the text above says so");

#define AT(member) offsetof(struct policy, member)

const struct policy_key policy_keys[] = {
        {.name = "save_checkpoints_secs",
         .type = POLICY_SECS,
         .flags = POLICY_NULL_IS_OFF | POLICY_SCHEDULE,
         .offset = AT(save_checkpoints_secs),
         .min = 1,
         .max = DURATION_MAX_MS,
         .expected = "a duration like 10m",
         .initial = "10m"},
        {.name = "save_checkpoints_steps",
         .type = POLICY_COUNT,
         .flags = POLICY_NULL_IS_OFF | POLICY_SCHEDULE,
         .offset = AT(save_checkpoints_steps),
         .min = 1,
         .max = COUNT_MAX,
         .expected = "a number of steps like 1000"},
        {.name = "save_on_start",
         .type = POLICY_BOOL,
         .offset = AT(save_on_start),
         .expected = "true or false",
         .initial = "true"},
        {.name = "save_on_end",
         .type = POLICY_BOOL,
         .offset = AT(save_on_end),
         .expected = "true or false",
         .initial = "true"},
        {.name = "when_busy",
         .type = POLICY_CHOICE,
         .offset = AT(when_busy),
         .choices = when_busy_names,
         .expected = "wait or skip",
         .initial = "wait"},
        {.name = "keep_checkpoint_max",
         .type = POLICY_COUNT,
         .flags = POLICY_NULL_IS_OFF,
         .offset = AT(keep_checkpoint_max),
         .max = COUNT_MAX,
         .expected = "a number like 5",
         .initial = "5"},
        {.name = "keep_checkpoint_every_n_hours",
         .type = POLICY_HOURS,
         .flags = POLICY_NULL_IS_OFF,
         .offset = AT(keep_checkpoint_every_n_hours),
         .min = 1e-6,
         .max = HOURS_MAX,
         .expected = "hours like 6 or 0.5"},
        {.name = "checkpoint_name",
         .type = POLICY_TEXT,
         .offset = AT(checkpoint_name),
         .expected = "a name",
         .initial = "model.ckpt",
         .refuse = refuse_checkpoint_name},
        {.name = "format",
         .type = POLICY_TEXT,
         .offset = AT(format),
         .choices = format_names,
         .expected = "auto, tensorbundle or safetensors",
         .initial = "auto",
         .later = format_names_later},
        {.name = NULL},
};

static const char *const later_keys[] = {
        "save_checkpoints_epochs",
        "save_on_shutdown",
        "save_best_only",
        "save_summary_steps",
        "keep_best",
        "keep_checkpoint_every_n_steps",
        "keep_bytes_max",
        "evict_adopted",
        "events",
        "early_stop",
        "keep_code",
        NULL,
};

static bool is_listed(const char *const *names, const char *name)
{
        for (; names && *names; names++)
                if (strcmp(*names, name) == 0)
                        return true;
        return false;
}

const struct policy_key *policy_key_find(const char *name)
{
        for (const struct policy_key *k = policy_keys; k->name; k++)
                if (strcmp(k->name, name) == 0)
                        return k;
        return NULL;
}

const char *policy_key_nearest(const char *name)
{
        struct nearest n = nearest_to(name);

        for (const struct policy_key *k = policy_keys; k->name; k++)
                nearest_offer(&n, k->name);
        return n.best;
}

bool policy_key_is_later(const char *name)
{
        return is_listed(later_keys, name);
}

int policy_key_unknown(const char *name, struct diag *d)
{
        const char *nearest = policy_key_nearest(name);
        char shown[SCALAR_TEXT_MAX];

        if (policy_key_is_later(name))
                return diag_set(d, -EINVAL, "%s: not supported by this version", name);
        scalar_show(name, shown);
        if (nearest)
                return diag_set(d, -EINVAL, "unknown key %s; did you mean %s?", shown, nearest);
        return diag_set(d, -EINVAL, "unknown key %s", shown);
}

/* The field of a key; the caller knows its type from the table. */
static void *field_of(const struct policy *p, const struct policy_key *k)
{
        return (char *)p + k->offset;
}

static int set_int(struct policy *p, const struct policy_key *k, int64_t value)
{
        if ((double)value < k->min || (double)value > k->max)
                return -ERANGE;
        *(int64_t *)field_of(p, k) = value;
        return 0;
}

static int set_secs(struct policy *p, const struct policy_key *k, const char *text)
{
        int64_t ms;
        int r = units_parse_duration(text, 1000, &ms);

        return r < 0 ? r : set_int(p, k, ms);
}

static int set_count(struct policy *p, const struct policy_key *k, const char *text)
{
        int64_t n;
        int r = scalar_parse_count(text, &n);

        return r < 0 ? r : set_int(p, k, n);
}

static int set_hours(struct policy *p, const struct policy_key *k, const char *text)
{
        int64_t ms;
        double hours;
        int r = units_parse_duration(text, HOUR_MS, &ms);

        if (r < 0)
                return r;
        hours = (double)ms / (double)HOUR_MS;
        if (hours < k->min || hours > k->max)
                return -ERANGE;
        *(double *)field_of(p, k) = hours;
        return 0;
}

static int set_bool(struct policy *p, const struct policy_key *k, const char *text)
{
        return scalar_parse_bool(text, field_of(p, k));
}

static int set_choice(struct policy *p, const struct policy_key *k, const char *text)
{
        for (int64_t i = 0; k->choices[i]; i++)
                if (strcmp(k->choices[i], text) == 0) {
                        *(int64_t *)field_of(p, k) = i;
                        return 0;
                }
        return -EINVAL;
}

static int set_text(struct policy *p, const struct policy_key *k, const char *text)
{
        char **field = field_of(p, k), *copy;

        if ((k->choices && !is_listed(k->choices, text)) || (k->refuse && k->refuse(text)))
                return -EINVAL;
        copy = strdup(text);
        if (!copy)
                return -ENOMEM;
        free(*field);
        *field = copy;
        return 0;
}

static void get_secs(const void *field, const struct policy_key *k, struct diag *ret)
{
        char text[UNITS_TEXT_MAX];
        int64_t ms = *(const int64_t *)field;

        (void)k;
        diag_set(ret, 0, "%s", ms ? units_format_interval(text, ms) : "null");
}

static void get_count(const void *field, const struct policy_key *k, struct diag *ret)
{
        int64_t n = *(const int64_t *)field;

        if (n == 0 && (k->flags & POLICY_NULL_IS_OFF))
                diag_set(ret, 0, "null");
        else
                diag_set(ret, 0, "%" PRId64, n);
}

static void get_hours(const void *field, const struct policy_key *k, struct diag *ret)
{
        int64_t ms = (int64_t)(*(const double *)field * (double)HOUR_MS + 0.5);

        get_secs(&ms, k, ret);
}

static void get_bool(const void *field, const struct policy_key *k, struct diag *ret)
{
        (void)k;
        diag_set(ret, 0, "%s", *(const bool *)field ? "true" : "false");
}

static void get_choice(const void *field, const struct policy_key *k, struct diag *ret)
{
        diag_set(ret, 0, "%s", k->choices[*(const int64_t *)field]);
}

static void get_text(const void *field, const struct policy_key *k, struct diag *ret)
{
        (void)k;
        diag_set(ret, 0, "%s", *(char *const *)field);
}

/* One row a type: how its text is read and written, its size (0: owned text), and its hints. */
static const struct {
        int (*set)(struct policy *p, const struct policy_key *k, const char *text);
        void (*get)(const void *field, const struct policy_key *k, struct diag *ret);
        size_t bytes;
        enum scalar_kind kind;
} types[] = {
        [POLICY_SECS] = {set_secs, get_secs, sizeof(int64_t), SCALAR_DURATION},
        [POLICY_COUNT] = {set_count, get_count, sizeof(int64_t), SCALAR_COUNT},
        [POLICY_HOURS] = {set_hours, get_hours, sizeof(double), SCALAR_DURATION},
        [POLICY_BOOL] = {set_bool, get_bool, sizeof(bool), SCALAR_BOOL},
        [POLICY_CHOICE] = {set_choice, get_choice, sizeof(int64_t), SCALAR_TEXT},
        [POLICY_TEXT] = {set_text, get_text, 0, SCALAR_TEXT},
};

static void turn_off(struct policy *p, const struct policy_key *k)
{
        memset(field_of(p, k), 0, types[k->type].bytes);
}

static int refused(const struct policy_key *k, const char *text, bool is_null, struct diag *d)
{
        const char *expected = k->expected, *other = k->refuse && !is_null ? k->refuse(text) : NULL;
        char shown[SCALAR_TEXT_MAX], hint[SCALAR_TEXT_MAX] = "";

        if (!is_null && is_listed(k->later, text))
                return diag_set(d, -EINVAL, "%s: %s is not supported by this version", k->name,
                                text);
        if (!is_null)
                scalar_hint(text, types[k->type].kind, hint);
        return diag_set(d, -EINVAL, "%s: expected %s%s, found %s%s", k->name,
                        other ? other : expected, k->flags & POLICY_NULL_IS_OFF ? " or null" : "",
                        is_null ? "null" : scalar_show(text, shown), hint);
}

int policy_set(struct policy *p, const struct policy_key *k, const char *text, bool is_null,
               struct diag *d)
{
        int r = -EINVAL;

        if (is_null && (k->flags & POLICY_NULL_IS_OFF)) {
                turn_off(p, k);
                return 0;
        }
        if (!is_null)
                r = types[k->type].set(p, k, text);
        return r == 0 || r == -ENOMEM ? r : refused(k, text, is_null, d);
}

int policy_new(struct policy **ret, const char *name)
{
        _cleanup_(policy_freep) struct policy *p = calloc(1, sizeof(*p));

        if (!p)
                return -ENOMEM;
        p->name = strdup(name);
        if (!p->name)
                return -ENOMEM;
        for (const struct policy_key *k = policy_keys; k->name; k++) {
                int r = k->initial ? policy_set(p, k, k->initial, false, NULL) : 0;

                if (r < 0)
                        return r;
        }
        *ret = take_ptr(p);
        return 0;
}

int policy_copy(struct policy **ret, const struct policy *p)
{
        _cleanup_(policy_freep) struct policy *copy = NULL;
        int r = policy_new(&copy, p->name);

        for (const struct policy_key *k = policy_keys; r == 0 && k->name; k++) {
                if (types[k->type].bytes)
                        memcpy(field_of(copy, k), field_of(p, k), types[k->type].bytes);
                else
                        r = set_text(copy, k, *(char **)field_of(p, k));
        }
        if (r < 0)
                return r;
        *ret = take_ptr(copy);
        return 0;
}

void policy_free(struct policy *p)
{
        if (!p)
                return;
        for (const struct policy_key *k = policy_keys; k->name; k++)
                if (!types[k->type].bytes)
                        free(*(char **)field_of(p, k));
        free(p->name);
        free(p);
}

void policy_clear_schedule(struct policy *p)
{
        for (const struct policy_key *k = policy_keys; k->name; k++)
                if (k->flags & POLICY_SCHEDULE)
                        turn_off(p, k);
}

char *policy_get(const struct policy *p, const struct policy_key *k)
{
        struct diag text = {0};

        types[k->type].get(field_of(p, k), k, &text);
        return text.text;
}

bool policy_key_equal(const struct policy *a, const struct policy *b, const struct policy_key *k)
{
        if (!types[k->type].bytes)
                return strcmp(*(char **)field_of(a, k), *(char **)field_of(b, k)) == 0;
        return memcmp(field_of(a, k), field_of(b, k), types[k->type].bytes) == 0;
}

const char *policy_format(const struct policy *p)
{
        return strcmp(p->format, "auto") == 0 ? "tensorbundle" : p->format;
}

char *policy_checkpoint_name(const struct policy *p, int64_t step)
{
        char *name;

        return asprintf(&name, "%s-%" PRId64, p->checkpoint_name, step) < 0 ? NULL : name;
}
