#include "reader.h"

#include "scalar.h"

#include <errno.h>
#include <string.h>

/* What ckptd knows before it has read a file; a file may define each of these once more. */
static const char built_in[] = "policies:\n"
                               "  normal: {}\n"
                               "  short: {base: normal, keep_checkpoint_max: 1}\n"
                               "  long: {base: normal, keep_checkpoint_every_n_hours: 6}\n";

void reader_done(struct reader *r)
{
        buffer_done(&r->kept);
        for (size_t i = 0; i < r->n_definitions; i++)
                policy_free(r->definitions[i].policy);
        for (size_t i = 0; i < r->n_sources; i++) {
                free(r->sources[i].name);
                yaml_tree_free(r->sources[i].tree);
        }
        free(r->definitions);
        free(r->by_name);
        free(r->sources);
        mistakes_done(&r->mistakes);
        mistakes_done(&r->warnings);
        settings_free(r->settings);
        *r = (struct reader){0};
}

struct place place_of(const struct source *s, const struct yaml_node *n)
{
        return (struct place){s->order, s->name, n->line, n->column};
}

struct place place_of_file(const struct source *s)
{
        return (struct place){.order = s->order, .file = s->name};
}

bool reader_is_repeated(struct reader *r, const struct source *s, const struct yaml_node *map,
                        size_t i)
{
        size_t first = yaml_map_first(map, i);
        char shown[SCALAR_TEXT_MAX];

        if (first == i)
                return false;
        mistakes_add(&r->mistakes, place_of(s, map->items[2 * i]),
                     "%s: given twice; first at line %u",
                     scalar_show(map->items[2 * i]->text, shown), map->items[2 * first]->line);
        return true;
}

bool yaml_node_is_null(const struct yaml_node *n)
{
        return n->kind == YAML_SCALAR && n->plain && scalar_is_null(n->text);
}

const char *reader_text(struct reader *r, const struct source *s, const char *key,
                        const struct yaml_node *n, const char *expected)
{
        const char *found = NULL;

        if (yaml_node_is_null(n))
                found = n->text[0] ? n->text : "nothing";
        else if (n->kind != YAML_SCALAR)
                found = yaml_kind_name(n);
        if (!found)
                return n->text;
        mistakes_add(&r->mistakes, place_of(s, n), "%s: expected %s, found %s", key, expected,
                     found);
        return NULL;
}

int reader_add(struct reader *r, const char *name, bool main, const char *text, size_t length)
{
        struct source *sources = reallocarray(r->sources, r->n_sources + 1, sizeof(*sources)), *s;
        struct yaml_error e = {0};
        int k;

        if (!sources)
                return -ENOMEM;
        r->sources = sources;
        s = &sources[r->n_sources];
        *s = (struct source){.name = strdup(name), .order = r->n_sources, .main = main};
        if (!s->name)
                return -ENOMEM;
        r->n_sources++;
        k = yaml_tree_parse(text, length, &s->tree, &e);
        if (k == -EBADMSG)
                mistakes_add(&r->mistakes, (struct place){s->order, s->name, e.line, e.column},
                             "%s", diag_text(&e.text, k));
        diag_done(&e.text);
        return k == -EBADMSG ? 0 : k;
}

/* Warnings become lines of the settings. */
static int keep_warnings(struct reader *r)
{
        mistakes_sort(&r->warnings);
        if (r->warnings.n == 0)
                return 0;
        r->settings->warnings = calloc(r->warnings.n + 1, sizeof(char *));
        if (!r->settings->warnings)
                return -ENOMEM;
        for (size_t i = 0; i < r->warnings.n; i++) {
                r->settings->warnings[i] = mistake_format(&r->warnings.items[i]);
                if (!r->settings->warnings[i])
                        return -ENOMEM;
        }
        return 0;
}

/* The settings own the policies that a name leads to; what a second definition made goes with the
 * reader. */
static int keep_policies(struct reader *r)
{
        struct settings *s = r->settings;

        s->policies = calloc(r->n_names, sizeof(struct policy *));
        if (!s->policies)
                return -ENOMEM;
        for (size_t i = 0; i < r->n_names; i++)
                s->policies[s->n_policies++] = take_ptr(r->by_name[i]->policy);
        return 0;
}

static int read_all(struct reader *r)
{
        int k = 0;

        for (size_t i = 0; i < r->n_sources && k == 0; i++)
                k = settings_read_root(r, &r->sources[i]);
        if (k == 0)
                k = settings_read_policies(r);
        for (size_t i = 0; i < r->n_sources && k == 0; i++)
                if (!r->sources[i].main)
                        k = settings_read_dirs(r, &r->sources[i]);
        for (size_t i = 0; i < r->n_sources && k == 0; i++)
                if (r->sources[i].main)
                        k = settings_read_dirs(r, &r->sources[i]);
        return k;
}

int reader_finish(struct reader *r, struct settings **ret)
{
        int k;

        r->settings = calloc(1, sizeof(*r->settings));
        if (!r->settings)
                return -ENOMEM;
        r->settings->memory_share = 0.5;
        r->settings->disk_reserve = UINT64_MAX;
        r->settings->log_level = LOG_LEVEL_INFO;
        k = reader_add(r, "built in", false, built_in, sizeof(built_in) - 1);
        if (k == 0)
                k = read_all(r);
        mistakes_sort(&r->mistakes);
        if (k == 0 && (r->mistakes.no_memory || r->warnings.no_memory))
                k = -ENOMEM;
        if (k < 0)
                return k;
        if (r->mistakes.n > 0)
                return -EINVAL;
        if ((k = keep_policies(r)) < 0 || (k = keep_warnings(r)) < 0)
                return k;
        *ret = take_ptr(r->settings);
        return 0;
}
