/* A policy: when to save, what to keep, in which format.  Immutable once loaded; replaced whole on
 * reload. The table of keys is the one place where a key is declared: settings files, jobs' own
 * values and `ckptctl` all go through it. */
#pragma once

#include "cleanup.h"
#include "diag.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POLICY_NAME_DEFAULT "normal"

enum when_busy { WHEN_BUSY_WAIT, WHEN_BUSY_SKIP };

struct policy {
        char *name;
        int64_t save_checkpoints_secs;  /* ms; 0: off */
        int64_t save_checkpoints_steps; /* 0: off */
        bool save_on_start, save_on_end;
        int64_t keep_checkpoint_max;          /* 0: all */
        double keep_checkpoint_every_n_hours; /* 0: off */
        int64_t when_busy;                    /* enum when_busy */
        char *checkpoint_name;
        char *format; /* "auto", "tensorbundle", "safetensors" */
};

enum policy_type {
        POLICY_SECS,
        POLICY_COUNT,
        POLICY_HOURS,
        POLICY_BOOL,
        POLICY_CHOICE,
        POLICY_TEXT
};
enum policy_flags {
        POLICY_NULL_IS_OFF = 1 << 0, /* null turns it off; elsewhere null is an error */
        POLICY_SCHEDULE = 1 << 1,    /* one of the group that drops the inherited ones */
};

struct policy_key {
        const char *name;
        enum policy_type type;
        unsigned flags;
        size_t offset;
        const char *const *choices; /* POLICY_CHOICE: names, NULL at the end */
        double min, max;            /* in the unit of the field: ms, hours, count */
        const char *expected;       /* "a duration like 10m" */
        const char *initial;        /* the default, as text; NULL: null */
        const char *const *later;   /* values that a later version will know, NULL at the end */
        /* POLICY_TEXT: NULL, or what was expected instead */
        const char *(*refuse)(const char *text);
};

extern const struct policy_key policy_keys[]; /* name NULL at the end */

const struct policy_key *policy_key_find(const char *name);
/* The known key nearest to a mistyped one, or NULL when none is near; nearest.h does it for other
 * names. */
const char *policy_key_nearest(const char *name);
/* Is it a key that this version does not know yet, but a later one will? */
bool policy_key_is_later(const char *name);
/* Why no key has this name: "KEY: not supported by this version" or "unknown key X; did you mean
 * Y?". -EINVAL. */
int policy_key_unknown(const char *name, struct diag *d);
int policy_new(struct policy **ret, const char *name); /* the defaults of `normal` */
int policy_copy(struct policy **ret, const struct policy *p);
void policy_free(struct policy *p);
DEFINE_FREEP(struct policy, policy_free)
/* Sets one key from scalar text (is_null: the text is null).  -EINVAL: "KEY: expected …, found …"
 * without place. */
int policy_set(struct policy *p, const struct policy_key *k, const char *text, bool is_null,
               struct diag *d);
/* Turns off every key of the schedule group (a policy that writes one takes none of its base's). */
void policy_clear_schedule(struct policy *p);
/* One key's value as text for people ("10m", "5", "null"); malloc'ed. */
char *policy_get(const struct policy *p, const struct policy_key *k);
bool policy_key_equal(const struct policy *a, const struct policy *b, const struct policy_key *k);
/* The format that is written: `auto` is tensorbundle. */
const char *policy_format(const struct policy *p);
/* The name of the checkpoint of a step: checkpoint_name, "-STEP" appended. malloc'ed; NULL: no
 * memory. */
char *policy_checkpoint_name(const struct policy *p, int64_t step);
