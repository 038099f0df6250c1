/* The top level of a settings file: one table. */
#include "limit.h"
#include "nearest.h"
#include "reader.h"
#include "scalar.h"
#include "units.h"

#include <errno.h>
#include <string.h>

static void wrong(struct reader *r, const struct place place, const char *key, const char *expected,
                  const char *found)
{
        char shown[SCALAR_TEXT_MAX], hint[SCALAR_TEXT_MAX];

        mistakes_add(&r->mistakes, place, "%s: expected %s, found %s%s", key, expected,
                     scalar_show(found, shown), scalar_hint(found, SCALAR_SIZE, hint));
}

/* "25%" as 0.25; above 0, at most 1. */
static int parse_share(const char *text, double *ret)
{
        size_t n = strspn(text, "0123456789.");
        char *end;
        double share;

        if (n == 0 || text[0] == '.' || strcmp(text + n, "%") != 0)
                return -EINVAL;
        share = strtod(text, &end) / 100;
        if (end != text + n || !(share > 0 && share <= 1))
                return -EINVAL;
        *ret = share;
        return 0;
}

static void read_memory_max(struct reader *r, struct source *s, const struct yaml_node *n)
{
        static const char expected[] = "a size like 64GiB or a share like 25%";
        const char *text = reader_text(r, s, "memory_max", n, expected);
        uint64_t bytes;
        double share;

        if (!text)
                return;
        if (parse_share(text, &share) == 0) {
                r->settings->memory_max = 0;
                r->settings->memory_share = share;
        } else if (units_parse_size(text, &bytes) == 0 && bytes > 0)
                r->settings->memory_max = bytes;
        else
                wrong(r, place_of(s, n), "memory_max", expected, text);
}

static void read_disk_reserve(struct reader *r, struct source *s, const struct yaml_node *n)
{
        static const char expected[] = "a size like 10GiB or null";
        const char *text;
        uint64_t bytes;

        if (yaml_node_is_null(n))
                return;
        text = reader_text(r, s, "disk_reserve", n, expected);
        if (!text)
                return;
        if (units_parse_size(text, &bytes) == 0 && bytes < UINT64_MAX)
                r->settings->disk_reserve = bytes;
        else
                wrong(r, place_of(s, n), "disk_reserve", expected, text);
}

static void read_log_level(struct reader *r, struct source *s, const struct yaml_node *n)
{
        static const char expected[] = "error, warning, info or debug";
        const char *text = reader_text(r, s, "log_level", n, expected);

        if (!text)
                return;
        for (int i = 0; log_level_names[i]; i++)
                if (strcmp(text, log_level_names[i]) == 0) {
                        r->settings->log_level = (enum log_level)i;
                        return;
                }
        wrong(r, place_of(s, n), "log_level", expected, text);
}

static void read_policies(struct reader *r, struct source *s, const struct yaml_node *n)
{
        if (n->kind == YAML_MAP)
                s->policies = n;
        else
                mistakes_add(&r->mistakes, place_of(s, n),
                             "policies: expected a map of policies or {}, found %s",
                             yaml_node_is_null(n) ? "null" : yaml_kind_name(n));
}

static void read_model_dirs(struct reader *r, struct source *s, const struct yaml_node *n)
{
        if (n->kind == YAML_LIST)
                s->model_dirs = n;
        else if (!yaml_node_is_null(n)) /* nothing below it: every entry is a comment */
                mistakes_add(&r->mistakes, place_of(s, n),
                             "model_dirs: expected a list of {path, policy} or [], found %s",
                             yaml_kind_name(n));
}

static const struct root_key {
        const char *name;
        bool everywhere; /* in policies.d, too */
        void (*read)(struct reader *r, struct source *s,
                     const struct yaml_node *n); /* NULL: a later version's */
} root_keys[] = {
        {"memory_max", false, read_memory_max}, {"disk_reserve", false, read_disk_reserve},
        {"log_level", false, read_log_level},   {"policies", true, read_policies},
        {"model_dirs", true, read_model_dirs},  {"write_rate_max", false, NULL},
        {"saves_at_once", false, NULL},         {"shutdown_save_timeout", false, NULL},
        {"history_keep", false, NULL},          {"metrics", false, NULL},
        {"metrics_max_dirs", false, NULL},
};

static const struct root_key *find_key(const char *name)
{
        for (size_t i = 0; i < ARRAY_SIZE(root_keys); i++)
                if (strcmp(root_keys[i].name, name) == 0)
                        return &root_keys[i];
        return NULL;
}

static void unknown_key(struct reader *r, struct place place, const char *name)
{
        struct nearest nearest = nearest_to(name);
        char shown[SCALAR_TEXT_MAX];

        if (policy_key_find(name) || policy_key_is_later(name)) {
                mistakes_add(&r->mistakes, place,
                             "%s: a key of policies; it stands under policies: NAME:", name);
                return;
        }
        for (size_t i = 0; i < ARRAY_SIZE(root_keys); i++)
                if (root_keys[i].read)
                        nearest_offer(&nearest, root_keys[i].name);
        scalar_show(name, shown);
        if (nearest.best)
                mistakes_add(&r->mistakes, place, "unknown key %s; did you mean %s?", shown,
                             nearest.best);
        else
                mistakes_add(&r->mistakes, place, "unknown key %s", shown);
}

static void read_pair(struct reader *r, struct source *s, const struct yaml_node *root, size_t i)
{
        const struct yaml_node *key = root->items[2 * i];
        const struct root_key *k = find_key(key->text);

        if (reader_is_repeated(r, s, root, i))
                return;
        if (!k)
                unknown_key(r, place_of(s, key), key->text);
        else if (!s->main && !k->everywhere)
                mistakes_add(
                        &r->mistakes, place_of(s, key),
                        "%s: stands in ckptd.yaml only; policies.d holds policies and model_dirs",
                        key->text);
        else if (!k->read)
                mistakes_add(&r->mistakes, place_of(s, key), "%s: not supported by this version",
                             key->text);
        else
                k->read(r, s, root->items[2 * i + 1]);
}

int settings_read_root(struct reader *r, struct source *s)
{
        const struct yaml_node *root = s->tree ? s->tree->root : NULL;

        if (!root || yaml_node_is_null(root))
                return 0;
        if (root->kind != YAML_MAP) {
                mistakes_add(&r->mistakes, place_of(s, root),
                             "expected a map of settings, found %s", yaml_kind_name(root));
                return 0;
        }
        for (size_t i = 0; i < root->n; i++)
                read_pair(r, s, root, i);
        return 0;
}
