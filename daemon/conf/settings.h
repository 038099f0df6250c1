/* Settings and policies from YAML, every message with FILE:LINE:COLUMN, all mistakes in one pass.
 * Parsed into a new object and swapped by the owner on success: a wrong file changes nothing.  No
 * clock, no log. */
#pragma once

#include "diag.h"
#include "log.h"
#include "policy.h"

struct settings_dir {                /* one entry of model_dirs */
        char *path;                  /* absolute; may hold * (within a name) and ** */
        const struct policy *policy; /* of settings.policies */
        char *place;                 /* "FILE:LINE" */
        char **jobs_may_set;         /* NULL-terminated names; NULL: checkpoint_name, format */
};

struct settings {
        char *path;            /* the file read; NULL: there was none */
        size_t n_extra;        /* files read from policies.d */
        uint64_t memory_max;   /* bytes; 0: memory_share counts */
        double memory_share;   /* of this node's memory or the service's limit; 0.5 */
        uint64_t disk_reserve; /* bytes; UINT64_MAX: the smaller of 10GiB and 5% */
        enum log_level log_level;
        size_t n_policies;
        struct policy **policies; /* `normal` always among them */
        size_t n_dirs;
        struct settings_dir *dirs;
        char **warnings; /* NULL-terminated lines, or NULL */
        char *kept; /* every file that was read, for settings_parse_kept; NULL: parsed from text */
};

/* path: settings file; absent is no error when `may_be_absent`.  policies.d beside it is read too
 * (policies and model_dirs only), by name, before the main file in the order of model_dirs.
 * -EINVAL: the diag has every mistake, one a line. ret_mistakes (may be NULL): how many. */
int settings_load(const char *path, bool may_be_absent, struct settings **ret, size_t *ret_mistakes,
                  struct diag *d);

struct settings_count {
        size_t mistakes;
        size_t files, files_wrong; /* read, and how many of them hold a mistake */
};

/* The same, for `ckptctl check`, which tells how many.  ret_count is written in any case. */
int settings_check(const char *path, bool may_be_absent, struct settings **ret,
                   struct settings_count *ret_count, struct diag *d);
/* The same from text, for tests and fuzzers; name stands for FILE. */
int settings_parse(const char *name, const char *text, size_t length, struct settings **ret,
                   struct diag *d);
/* What an earlier load has kept: the files as they were then, by their names. */
int settings_parse_kept(const char *kept, struct settings **ret, struct diag *d);
void settings_free(struct settings *s);
DEFINE_FREEP(struct settings, settings_free)

const struct policy *settings_policy(const struct settings *s,
                                     const char *name); /* NULL: unknown */
/* The first entry of model_dirs that matches a real path, or NULL. */
const struct settings_dir *settings_dir_for(const struct settings *s, const char *real_path);

/* The effective policy of a directory: model_dirs, then `registered`, then the job's wish, then
 * normal; over it the job's own values, as far as they are allowed.  job_values: a table of texts,
 * may be empty. messages: what was ignored and why, one a line, for the job and the log. */
struct settings_wish {
        const char *real_path;
        const char *registered; /* policy of `register --policy`, or NULL */
        const char *policy;     /* what the job asks for, or NULL */
        size_t n_values;
        const char *const *keys, *const *values; /* a NULL value is null */
};

/* ret_chosen_by: "model_dirs at FILE:LINE; the job asked for NAME", "register", "the job",
 * "default". */
int settings_effective(const struct settings *s, const struct settings_wish *w, struct policy **ret,
                       char **ret_chosen_by, struct diag *messages);
