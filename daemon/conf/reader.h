/* One reading of the settings: the files as trees, the definitions found in them, the mistakes, and
 * the new settings being made.  Lives for one load; on success the settings are taken out, else all
 * of it goes. Shared by the files of this room only. */
#pragma once

#include "buffer.h"
#include "mistakes.h"
#include "settings.h"
#include "yaml-tree.h"

struct source {
        char *name;             /* FILE in messages */
        size_t order;           /* among the files: of mistakes, and of definitions */
        bool main;              /* else of policies.d: policies and model_dirs only */
        struct yaml_tree *tree; /* NULL: it could not be parsed */
        const struct yaml_node *policies, *model_dirs; /* in the tree, or NULL */
};

enum definition_state { DEFINITION_NEW, DEFINITION_WALKED, DEFINITION_SOUND, DEFINITION_CIRCULAR };

struct definition { /* of a policy */
        const struct source *source;
        bool named;                        /* its name can be referred to */
        const struct yaml_node *key, *map; /* map NULL: it is no map */
        const struct yaml_node *base;      /* the text at `base`, or NULL */
        struct definition *parent;         /* what base names, or NULL */
        enum definition_state state;
        struct policy *policy;
};

struct reader {
        size_t n_sources;
        struct source *sources;
        size_t n_definitions;
        struct definition *definitions; /* in the order of the files, built-in ones last */
        size_t n_names;
        struct definition **by_name; /* the first of each name, sorted */
        struct mistakes mistakes, warnings;
        struct buffer kept; /* settings.kept, in the making */
        struct settings *settings;
};

void reader_done(struct reader *r);
/* Adds a file's text; the built-in policies are added in the same way.  -ENOMEM. */
int reader_add(struct reader *r, const char *name, bool main, const char *text, size_t length);
/* Makes the settings of what was added.  -EINVAL: mistakes; -ENOMEM. */
int reader_finish(struct reader *r, struct settings **ret);

struct place place_of(const struct source *s, const struct yaml_node *n);
struct place place_of_file(const struct source *s);
/* "KEY: given twice; first at line N" when pair i is not the first of its key. */
bool reader_is_repeated(struct reader *r, const struct source *s, const struct yaml_node *map,
                        size_t i);
/* A scalar's text; else "KEY: expected EXPECTED, found a map" and NULL.  An unquoted null counts as
 * wrong. */
const char *reader_text(struct reader *r, const struct source *s, const char *key,
                        const struct yaml_node *n, const char *expected);
bool yaml_node_is_null(const struct yaml_node *n);

/* settings-keys.c: the top level of one file. */
int settings_read_root(struct reader *r, struct source *s);
/* settings-policies.c: all definitions, from the sources' `policies`. */
int settings_read_policies(struct reader *r);
struct definition *reader_definition(const struct reader *r, const char *name);
/* "no policy NAME; known: …" at a place. */
void reader_no_policy(struct reader *r, struct place place, const char *name);
/* settings-dirs.c: model_dirs of one source, appended. */
int settings_read_dirs(struct reader *r, const struct source *s);
