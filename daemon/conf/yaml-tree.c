#include "yaml-tree.h"

#include "limit.h"
#include "yaml-map.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <yaml.h>

struct anchor {
        char *name;
        struct yaml_node *node;
};

struct builder {
        yaml_parser_t parser;
        const char *text;
        size_t length;
        struct yaml_tree *tree;
        struct yaml_node *stack[LIMIT_SETTINGS_DEPTH]; /* open lists and maps */
        size_t depth;
        size_t weight; /* of the document so far */
        size_t n_anchors;
        struct anchor *anchors; /* by name */
        unsigned documents;
        struct yaml_error *error;
};

static unsigned line_of(yaml_mark_t mark)
{
        return (unsigned)mark.line + 1;
}

static unsigned column_of(yaml_mark_t mark)
{
        return (unsigned)mark.column + 1;
}

/* Returns the place to fill with a text. */
static struct diag *fail_at(struct builder *b, yaml_mark_t mark)
{
        b->error->line = line_of(mark);
        b->error->column = column_of(mark);
        return &b->error->text;
}

static void node_free(struct yaml_node *n)
{
        free(n->text);
        free(n->items);
        free(n->by_key);
        free(n);
}

void yaml_tree_free(struct yaml_tree *t)
{
        if (!t)
                return;
        for (size_t i = 0; i < t->n; i++)
                node_free(t->nodes[i]);
        free(t->nodes);
        free(t);
}

/* Arrays here double: their size follows from their count.  The array with room for one more, or
 * NULL. */
static void *grown(void *array, size_t n, size_t size)
{
        if (n > 0 && (n & (n - 1)) != 0)
                return array;
        return reallocarray(array, n ? 2 * n : 1, size);
}

static int new_node(struct builder *b, enum yaml_kind kind, yaml_mark_t mark,
                    struct yaml_node **ret)
{
        struct yaml_node **nodes = grown(b->tree->nodes, b->tree->n, sizeof(struct yaml_node *)),
                         *n;

        if (!nodes)
                return -ENOMEM;
        b->tree->nodes = nodes;
        n = calloc(1, sizeof(*n));
        if (!n)
                return -ENOMEM;
        *n = (struct yaml_node){
                .kind = kind,
                .line = line_of(mark),
                .column = column_of(mark),
                .weight = 1,
                .height = 1,
        };
        b->tree->nodes[b->tree->n++] = n;
        *ret = n;
        return 0;
}

/* The document grows by a subtree: a new node, or all that an alias stands for. */
static int check_limits(struct builder *b, const struct yaml_node *n, yaml_mark_t mark)
{
        b->weight += n->weight;
        if (b->weight > LIMIT_SETTINGS_NODES)
                return diag_set(fail_at(b, mark), -EBADMSG, "more than %d values, aliases followed",
                                LIMIT_SETTINGS_NODES);
        if (b->depth + n->height > LIMIT_SETTINGS_DEPTH)
                return diag_set(fail_at(b, mark), -EBADMSG, "nested deeper than %d levels",
                                LIMIT_SETTINGS_DEPTH);
        return 0;
}

/* Hangs a node into the open list or map, or makes it the root.  In a map, `n` counts items while
 * it is open. */
static int attach(struct builder *b, struct yaml_node *n, yaml_mark_t mark)
{
        struct yaml_node *parent, **items;
        int r = check_limits(b, n, mark);

        if (r < 0)
                return r;
        if (b->depth == 0) {
                b->tree->root = n;
                return 0;
        }
        parent = b->stack[b->depth - 1];
        if (parent->kind == YAML_MAP && parent->n % 2 == 0 && n->kind != YAML_SCALAR)
                return diag_set(fail_at(b, mark), -EBADMSG, "a key must be text, found %s",
                                yaml_kind_name(n));
        items = grown(parent->items, parent->n, sizeof(struct yaml_node *));
        if (!items)
                return -ENOMEM;
        parent->items = items;
        parent->items[parent->n++] = n;
        return 0;
}

/* A closed node counts in its parent only then, with all that it holds. */
static void count_in_parent(struct builder *b, const struct yaml_node *n)
{
        struct yaml_node *parent = b->depth > 0 ? b->stack[b->depth - 1] : NULL;

        if (!parent)
                return;
        parent->weight += n->weight;
        if (parent->height < n->height + 1)
                parent->height = n->height + 1;
}

/* Where the anchor stands or would stand. */
static size_t anchor_index(const struct builder *b, const char *name, bool *ret_found)
{
        size_t from = 0, to = b->n_anchors;

        *ret_found = false;
        while (from < to) {
                size_t middle = from + (to - from) / 2;
                int c = strcmp(b->anchors[middle].name, name);

                if (c == 0) {
                        *ret_found = true;
                        return middle;
                }
                if (c < 0)
                        from = middle + 1;
                else
                        to = middle;
        }
        return from;
}

/* A later anchor of the same name takes the place of the earlier one. */
static int add_anchor(struct builder *b, const yaml_char_t *anchor, struct yaml_node *n)
{
        const char *name = (const char *)anchor;
        bool found;
        size_t at;

        if (!name)
                return 0;
        at = anchor_index(b, name, &found);
        if (!found) {
                struct anchor *anchors = grown(b->anchors, b->n_anchors, sizeof(struct anchor));
                char *copy = strdup(name);

                if (anchors)
                        b->anchors = anchors;
                if (!anchors || !copy) {
                        free(copy);
                        return -ENOMEM;
                }
                memmove(anchors + at + 1, anchors + at,
                        (b->n_anchors - at) * sizeof(struct anchor));
                anchors[at].name = copy;
                b->n_anchors++;
        }
        b->anchors[at].node = n;
        return 0;
}

static int check_tag(struct builder *b, const yaml_char_t *tag, yaml_mark_t mark)
{
        return tag ? diag_set(fail_at(b, mark), -EBADMSG, "tags like %.40s are not used here", tag)
                   : 0;
}

static int on_scalar(struct builder *b, const yaml_event_t *e)
{
        const char *value = (const char *)e->data.scalar.value;
        struct yaml_node *n;
        int r = check_tag(b, e->data.scalar.tag, e->start_mark);

        if (r < 0)
                return r;
        if (strlen(value) != e->data.scalar.length)
                return diag_set(fail_at(b, e->start_mark), -EBADMSG, "a text with a NUL in it");
        r = new_node(b, YAML_SCALAR, e->start_mark, &n);
        if (r < 0)
                return r;
        n->plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        n->text = strdup(value);
        if (!n->text)
                return -ENOMEM;
        r = add_anchor(b, e->data.scalar.anchor, n);
        if (r == 0)
                r = attach(b, n, e->start_mark);
        if (r == 0)
                count_in_parent(b, n);
        return r;
}

static int on_alias(struct builder *b, const yaml_event_t *e)
{
        bool found;
        size_t at = anchor_index(b, (const char *)e->data.alias.anchor, &found);
        struct yaml_node *n = found ? b->anchors[at].node : NULL;
        int r;

        if (!n)
                return diag_set(fail_at(b, e->start_mark), -EBADMSG,
                                "no anchor &%.40s stands before this", e->data.alias.anchor);
        if (n->open)
                return diag_set(fail_at(b, e->start_mark), -EBADMSG, "*%.40s stands inside itself",
                                e->data.alias.anchor);
        r = attach(b, n, e->start_mark);
        if (r == 0)
                count_in_parent(b, n);
        return r;
}

static int open_node(struct builder *b, enum yaml_kind kind, const yaml_event_t *e)
{
        const yaml_char_t *anchor = e->data.sequence_start.anchor,
                          *tag = e->data.sequence_start.tag;
        struct yaml_node *n;
        int r;

        if (kind == YAML_MAP) {
                anchor = e->data.mapping_start.anchor;
                tag = e->data.mapping_start.tag;
        }
        if ((r = check_tag(b, tag, e->start_mark)) < 0 ||
            (r = new_node(b, kind, e->start_mark, &n)) < 0 ||
            (r = attach(b, n, e->start_mark)) < 0 || (r = add_anchor(b, anchor, n)) < 0)
                return r;
        n->open = true;
        b->stack[b->depth++] = n;
        return 0;
}

static int on_list(struct builder *b, const yaml_event_t *e)
{
        return open_node(b, YAML_LIST, e);
}

static int on_map(struct builder *b, const yaml_event_t *e)
{
        return open_node(b, YAML_MAP, e);
}

static int on_close(struct builder *b, const yaml_event_t *e)
{
        struct yaml_node *n = b->stack[--b->depth];
        int r = 0;

        (void)e;
        n->open = false;
        if (n->kind == YAML_MAP)
                r = yaml_map_close(n, b->error);
        count_in_parent(b, n);
        return r;
}

static int on_document(struct builder *b, const yaml_event_t *e)
{
        if (b->documents++ > 0)
                return diag_set(fail_at(b, e->start_mark), -EBADMSG,
                                "a second document; one file holds one");
        return 0;
}

/* Of the file's own bytes: where the byte at this offset stands. */
static void place_of_offset(struct builder *b, size_t offset)
{
        b->error->line = b->error->column = 1;
        for (size_t i = 0; i < offset && i < b->length; i++) {
                b->error->column++;
                if (b->text[i] == '\n') {
                        b->error->line++;
                        b->error->column = 1;
                }
        }
}

/* Does the mistake come from a tab in the indentation? */
static bool is_tab(const struct builder *b, yaml_mark_t mark)
{
        size_t line = 0, i;

        for (i = 0; i < b->length && line < mark.line; i++)
                line += b->text[i] == '\n';
        for (; i < b->length && (b->text[i] == ' ' || b->text[i] == '\t'); i++)
                if (b->text[i] == '\t')
                        return true;
        return false;
}

static int syntax_error(struct builder *b)
{
        const yaml_parser_t *p = &b->parser;
        const char *problem = p->problem ? p->problem : "unreadable";

        if (p->error == YAML_MEMORY_ERROR)
                return -ENOMEM;
        if (p->error == YAML_READER_ERROR) {
                place_of_offset(b, p->problem_offset);
                return diag_set(&b->error->text, -EBADMSG, "not a text in UTF-8: %s", problem);
        }
        if (is_tab(b, p->problem_mark))
                return diag_set(fail_at(b, p->problem_mark), -EBADMSG,
                                "a tab in the indentation; YAML wants spaces");
        return diag_set(fail_at(b, p->problem_mark), -EBADMSG, "not YAML: %s%s%s", problem,
                        p->context ? ", " : "", p->context ? p->context : "");
}

/* 1: the stream goes on; 0: its end. */
static int next_event(struct builder *b)
{
        static int (*const handlers[])(struct builder * b, const yaml_event_t *e) = {
                [YAML_DOCUMENT_START_EVENT] = on_document, [YAML_ALIAS_EVENT] = on_alias,
                [YAML_SCALAR_EVENT] = on_scalar,           [YAML_SEQUENCE_START_EVENT] = on_list,
                [YAML_SEQUENCE_END_EVENT] = on_close,      [YAML_MAPPING_START_EVENT] = on_map,
                [YAML_MAPPING_END_EVENT] = on_close,
        };
        yaml_event_t e;
        int r = 0;

        if (!yaml_parser_parse(&b->parser, &e))
                return syntax_error(b);
        if (e.type < ARRAY_SIZE(handlers) && handlers[e.type])
                r = handlers[e.type](b, &e);
        if (r == 0)
                r = e.type != YAML_STREAM_END_EVENT;
        yaml_event_delete(&e);
        return r;
}

static int build(struct builder *b)
{
        int r;

        if (!yaml_parser_initialize(&b->parser))
                return -ENOMEM;
        yaml_parser_set_encoding(&b->parser, YAML_UTF8_ENCODING);
        yaml_parser_set_input_string(&b->parser, (const unsigned char *)b->text, b->length);
        while ((r = next_event(b)) > 0)
                ;
        yaml_parser_delete(&b->parser);
        for (size_t i = 0; i < b->n_anchors; i++)
                free(b->anchors[i].name);
        free(b->anchors);
        return r;
}

int yaml_tree_parse(const char *text, size_t length, struct yaml_tree **ret,
                    struct yaml_error *ret_error)
{
        _cleanup_(yaml_tree_freep) struct yaml_tree *tree = calloc(1, sizeof(*tree));
        struct builder b = {.text = text, .length = length, .tree = tree, .error = ret_error};
        int r;

        if (!tree)
                return -ENOMEM;
        if (length > LIMIT_SETTINGS_BYTES)
                return diag_set(&ret_error->text, -EBADMSG, "longer than %d bytes",
                                LIMIT_SETTINGS_BYTES);
        r = build(&b);
        if (r < 0)
                return r;
        *ret = take_ptr(tree);
        return 0;
}

const char *yaml_kind_name(const struct yaml_node *node)
{
        static const char *const names[] = {"a text", "a list", "a map"};

        return names[node->kind];
}
