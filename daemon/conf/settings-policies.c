/* The policies of all files: definitions by name, circles of `base`, then each one's values. */
#include "buffer.h"
#include "limit.h"
#include "reader.h"
#include "scalar.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#define POLICY_NAME_BYTES 64
#define NAMES_SHOWN 20 /* in "known: …", and of a circle */
#define HOUR_MS 3600000.0

static int compare_names(const void *a, const void *b)
{
        const struct definition *x = *(struct definition *const *)a,
                                *y = *(struct definition *const *)b;
        int c = strcmp(x->key->text, y->key->text);

        return c ? c : (x > y) - (x < y);
}

struct definition *reader_definition(const struct reader *r, const char *name)
{
        size_t from = 0, to = r->n_names;

        while (from < to) {
                size_t middle = from + (to - from) / 2;
                int c = strcmp(r->by_name[middle]->key->text, name);

                if (c == 0)
                        return r->by_name[middle];
                if (c < 0)
                        from = middle + 1;
                else
                        to = middle;
        }
        return NULL;
}

static const char *base_name(const char *path)
{
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}

void reader_no_policy(struct reader *r, struct place place, const char *name)
{
        _cleanup_(buffer_done) struct buffer known = {0};
        char shown[SCALAR_TEXT_MAX];
        size_t n = 0;

        for (size_t i = 0; i < r->n_names && n <= NAMES_SHOWN; i++) {
                if (r->by_name[i]->state == DEFINITION_CIRCULAR)
                        continue;
                if (buffer_printf(&known, "%s%s", n ? ", " : "",
                                  n < NAMES_SHOWN ? r->by_name[i]->key->text : "...") < 0)
                        r->mistakes.no_memory = true;
                n++;
        }
        mistakes_add(&r->mistakes, place, "no policy %s; known: %s", scalar_show(name, shown),
                     known.data ? (const char *)known.data : "none");
}

static bool is_policy_name(const char *name)
{
        if (!isalnum((unsigned char)name[0]) || strlen(name) > POLICY_NAME_BYTES)
                return false;
        for (; *name; name++)
                if (!isalnum((unsigned char)*name) && *name != '-' && *name != '_')
                        return false;
        return true;
}

static void define(struct reader *r, const struct source *s, const struct yaml_node *key,
                   const struct yaml_node *value)
{
        struct definition *d = &r->definitions[r->n_definitions++];
        char shown[SCALAR_TEXT_MAX];

        *d = (struct definition){.source = s, .key = key, .named = is_policy_name(key->text)};
        if (!d->named)
                mistakes_add(&r->mistakes, place_of(s, key),
                             "policies: expected a name of letters, digits, - and _, found %s",
                             scalar_show(key->text, shown));
        if (value->kind == YAML_MAP)
                d->map = value;
        else
                mistakes_add(&r->mistakes, place_of(s, value),
                             "policy %s: expected a map of keys, found %s",
                             scalar_show(key->text, shown),
                             yaml_node_is_null(value) ? "nothing" : yaml_kind_name(value));
}

static int define_all(struct reader *r)
{
        size_t n = 0;

        for (size_t i = 0; i < r->n_sources; i++)
                n += r->sources[i].policies ? r->sources[i].policies->n : 0;
        r->definitions = calloc(n ? n : 1, sizeof(*r->definitions));
        r->by_name = calloc(n ? n : 1, sizeof(struct definition *));
        if (!r->definitions || !r->by_name)
                return -ENOMEM;
        for (size_t i = 0; i < r->n_sources; i++) {
                const struct yaml_node *map = r->sources[i].policies;

                for (size_t j = 0; map && j < map->n; j++)
                        define(r, &r->sources[i], map->items[2 * j], map->items[2 * j + 1]);
        }
        return 0;
}

static bool is_built_in(const struct reader *r, const struct definition *d)
{
        return d->source == &r->sources[r->n_sources - 1];
}

/* The first definition of a name counts; only a built-in one may stand behind it. */
static void name_all(struct reader *r)
{
        size_t n = 0;

        for (size_t i = 0; i < r->n_definitions; i++)
                if (r->definitions[i].named)
                        r->by_name[n++] = &r->definitions[i];
        qsort(r->by_name, n, sizeof(*r->by_name), compare_names);
        for (size_t i = 0; i < n; i++) {
                struct definition *d = r->by_name[i],
                                  *first = r->n_names ? r->by_name[r->n_names - 1] : NULL;

                if (!first || strcmp(first->key->text, d->key->text) != 0)
                        r->by_name[r->n_names++] = d;
                else if (!is_built_in(r, d))
                        mistakes_add(&r->mistakes, place_of(d->source, d->key),
                                     "policy %s is defined twice; first at %s:%u", d->key->text,
                                     base_name(first->source->name), first->key->line);
        }
}

static void link_bases(struct reader *r)
{
        for (size_t i = 0; i < r->n_definitions; i++) {
                struct definition *d = &r->definitions[i];
                const struct yaml_node *base = d->map ? yaml_map_get(d->map, "base") : NULL;

                if (!base || !reader_text(r, d->source, "base", base, "the name of a policy"))
                        continue;
                d->base = base;
                d->parent = reader_definition(r, base->text);
        }
}

/* "c (line 34)": where one of a circle names the next, seen from the file of the message. */
static int circle_name(struct reader *r, struct buffer *text, const struct definition *d,
                       const struct source *here)
{
        if (is_built_in(r, d))
                return buffer_printf(text, " -> %s (built in)", d->key->text);
        if (d->source == here)
                return buffer_printf(text, " -> %s (line %u)", d->key->text, d->base->line);
        return buffer_printf(text, " -> %s (%s:%u)", d->key->text, base_name(d->source->name),
                             d->base->line);
}

/* d is in a circle; it is told once, at the one of it that stands first. */
static void tell_circle(struct reader *r, struct definition *d)
{
        _cleanup_(buffer_done) struct buffer text = {0};
        struct definition *first = d, *c;
        size_t n = 0;
        int k = 0;

        for (c = d->parent; c != d; c = c->parent)
                first = c < first ? c : first;
        first->state = DEFINITION_CIRCULAR;
        for (c = first->parent; c != first; c = c->parent, n++) {
                c->state = DEFINITION_CIRCULAR;
                if (k == 0 && n < NAMES_SHOWN)
                        k = circle_name(r, &text, c, first->source);
        }
        if (k < 0)
                r->mistakes.no_memory = true;
        mistakes_add(&r->mistakes, place_of(first->source, first->base),
                     "base: a circle: %s%s%s -> %s", first->key->text,
                     text.data ? (const char *)text.data : "", n > NAMES_SHOWN ? " -> ..." : "",
                     first->key->text);
}

/* Each definition is walked once; who comes upon one walked in this very walk has found a circle.
 */
static void find_circles(struct reader *r)
{
        for (size_t i = 0; i < r->n_definitions; i++) {
                struct definition *d = &r->definitions[i];

                for (; d && d->state == DEFINITION_NEW; d = d->parent)
                        d->state = DEFINITION_WALKED;
                if (d && d->state == DEFINITION_WALKED)
                        tell_circle(r, d);
                for (d = &r->definitions[i]; d && d->state == DEFINITION_WALKED; d = d->parent)
                        d->state = DEFINITION_SOUND;
        }
}

/* Numbers and truth values are not texts; durations are both. */
static bool is_wrongly_quoted(const struct policy_key *k, const struct yaml_node *n)
{
        return !n->plain && (k->type == POLICY_BOOL || k->type == POLICY_COUNT);
}

static int read_value(struct reader *r, struct definition *d, const struct policy_key *k,
                      const struct yaml_node *n)
{
        _cleanup_(diag_done) struct diag why = {0};
        char shown[SCALAR_TEXT_MAX];
        int e = 0;

        if (n->kind != YAML_SCALAR)
                diag_set(&why, 0, "%s: expected %s%s, found %s", k->name, k->expected,
                         k->flags & POLICY_NULL_IS_OFF ? " or null" : "", yaml_kind_name(n));
        else if (is_wrongly_quoted(k, n))
                diag_set(&why, 0, "%s: expected %s, found the text \"%s\"; write it without quotes",
                         k->name, k->expected, scalar_show(n->text, shown));
        else
                e = policy_set(d->policy, k, n->text, yaml_node_is_null(n), &why);
        if (why.text)
                mistakes_add(&r->mistakes, place_of(d->source, n), "%s", why.text);
        return e == -ENOMEM ? e : 0;
}

static int read_pair(struct reader *r, struct definition *d, size_t i)
{
        _cleanup_(diag_done) struct diag why = {0};
        const struct yaml_node *key = d->map->items[2 * i];
        const struct policy_key *k = policy_key_find(key->text);

        if (reader_is_repeated(r, d->source, d->map, i) || strcmp(key->text, "base") == 0)
                return 0;
        if (k)
                return read_value(r, d, k, d->map->items[2 * i + 1]);
        policy_key_unknown(key->text, &why);
        mistakes_add(&r->mistakes, place_of(d->source, key), "%s", diag_text(&why, -ENOMEM));
        return 0;
}

static bool writes_schedule(const struct definition *d)
{
        for (size_t i = 0; i < d->map->n; i++) {
                const struct policy_key *k = policy_key_find(d->map->items[2 * i]->text);

                if (k && (k->flags & POLICY_SCHEDULE))
                        return true;
        }
        return false;
}

/* What is no mistake and yet not meant. */
static void warn(struct reader *r, const struct definition *d)
{
        static const char hours_key[] = "keep_checkpoint_every_n_hours";
        const struct yaml_node *hours = d->map ? yaml_map_get(d->map, hours_key) : NULL;
        const struct policy *p = d->policy;

        if (!is_built_in(r, d) && p->save_checkpoints_secs > 0 &&
            p->keep_checkpoint_every_n_hours > 0 &&
            p->keep_checkpoint_every_n_hours * HOUR_MS <= (double)p->save_checkpoints_secs)
                mistakes_add(&r->warnings, place_of(d->source, hours ? hours : d->key),
                             "%s: not above the save interval: policy %s keeps every checkpoint "
                             "for good",
                             hours_key, p->name);
}

/* The defaults, then the base's values, then its own. */
static int evaluate(struct reader *r, struct definition *d)
{
        const struct definition *base = d->parent && d->parent->policy ? d->parent : NULL;
        char *name = strdup(d->key->text);
        int k;

        if (!name)
                return -ENOMEM;
        k = base ? policy_copy(&d->policy, base->policy) : policy_new(&d->policy, name);
        if (k < 0) {
                free(name);
                return k;
        }
        free(d->policy->name);
        d->policy->name = name;
        if (d->map && writes_schedule(d))
                policy_clear_schedule(d->policy);
        for (size_t i = 0; d->map && i < d->map->n && k == 0; i++)
                k = read_pair(r, d, i);
        warn(r, d);
        return k;
}

/* Bases first.  A chain may be as long as the file allows, so it is no recursion. */
static int evaluate_all(struct reader *r)
{
        _cleanup_(freep) struct definition **chain = calloc(r->n_definitions + 1, sizeof(*chain));
        int k = 0;

        if (!chain)
                return -ENOMEM;
        for (size_t i = 0; i < r->n_definitions; i++) {
                size_t n = 0;

                for (struct definition *d = &r->definitions[i]; d && !d->policy; d = d->parent) {
                        chain[n++] = d;
                        if (d->state == DEFINITION_CIRCULAR)
                                break;
                }
                while (n > 0 && k == 0)
                        k = evaluate(r, chain[--n]);
        }
        return k;
}

int settings_read_policies(struct reader *r)
{
        int k = define_all(r);

        if (k < 0)
                return k;
        name_all(r);
        link_bases(r);
        find_circles(r);
        for (size_t i = 0; i < r->n_definitions; i++) {
                const struct definition *d = &r->definitions[i];

                if (d->base && !d->parent)
                        reader_no_policy(r, place_of(d->source, d->base), d->base->text);
        }
        return evaluate_all(r);
}
