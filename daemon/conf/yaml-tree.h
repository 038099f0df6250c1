/* One YAML document as a tree of nodes, each with the place where it stands: libyaml's events,
 * aliases followed and merge keys (<<) applied.  Anchors share nodes, so the tree is a graph
 * without circles; its limits count what it would be when written out, so that no few lines unfold
 * to millions. Owns every node; knows nothing of settings; refuses tags, more than one document,
 * and keys that are no text. */
#pragma once

#include "cleanup.h"
#include "diag.h"

#include <stdbool.h>
#include <stddef.h>

enum yaml_kind { YAML_SCALAR, YAML_LIST, YAML_MAP };

struct yaml_node {
        enum yaml_kind kind;
        unsigned line, column;    /* from 1 */
        char *text;               /* YAML_SCALAR: without a NUL inside */
        bool plain;               /* YAML_SCALAR: not quoted */
        size_t n;                 /* YAML_LIST: items; YAML_MAP: pairs */
        struct yaml_node **items; /* borrowed from the tree; YAML_MAP: key, value, key, value … */
        size_t *by_key;           /* YAML_MAP: pairs, sorted by key, then by position */
        size_t weight;            /* nodes below and with this one, aliases followed */
        unsigned height;          /* levels below and with this one */
        bool open;                /* while it is read */
};

struct yaml_tree {
        size_t n;
        struct yaml_node **nodes;
        struct yaml_node *root; /* NULL: an empty document */
};

struct yaml_error {
        unsigned line, column; /* 0: of the file as a whole */
        struct diag text;
};

/* -EBADMSG: *ret_error says what and where (the first mistake: nothing behind it can be trusted);
 * -ENOMEM. */
int yaml_tree_parse(const char *text, size_t length, struct yaml_tree **ret,
                    struct yaml_error *ret_error);
void yaml_tree_free(struct yaml_tree *t);
DEFINE_FREEP(struct yaml_tree, yaml_tree_free)

/* The first pair with the key of pair i; i itself unless the key is given twice. */
size_t yaml_map_first(const struct yaml_node *map, size_t i);
/* The value of a key, or NULL. */
const struct yaml_node *yaml_map_get(const struct yaml_node *map, const char *key);
/* "a map", "a list", "nothing" … for "found …". */
const char *yaml_kind_name(const struct yaml_node *node);
