/* model_dirs: which directory has which policy. */
#include "nearest.h"
#include "path-pattern.h"
#include "reader.h"
#include "scalar.h"

#include <errno.h>
#include <linux/limits.h>
#include <stdio.h>
#include <string.h>

/* One entry while it is read: the nodes of its keys. */
struct entry {
        const struct yaml_node *map, *path, *policy, *jobs_may_set;
};

static const struct entry_key {
        const char *name;
        size_t offset;
} entry_keys[] = {
        {"path", offsetof(struct entry, path)},
        {"policy", offsetof(struct entry, policy)},
        {"jobs_may_set", offsetof(struct entry, jobs_may_set)},
};

static void unknown_key(struct reader *r, struct place place, const char *name)
{
        struct nearest nearest = nearest_to(name);
        char shown[SCALAR_TEXT_MAX];

        for (size_t i = 0; i < ARRAY_SIZE(entry_keys); i++)
                nearest_offer(&nearest, entry_keys[i].name);
        scalar_show(name, shown);
        if (nearest.best)
                mistakes_add(&r->mistakes, place, "unknown key %s; did you mean %s?", shown,
                             nearest.best);
        else
                mistakes_add(&r->mistakes, place,
                             "unknown key %s; known: path, policy, jobs_may_set", shown);
}

static void sort_out(struct reader *r, const struct source *s, struct entry *e)
{
        for (size_t i = 0; i < e->map->n; i++) {
                const struct yaml_node *key = e->map->items[2 * i];
                const struct entry_key *known = NULL;

                for (size_t j = 0; j < ARRAY_SIZE(entry_keys); j++)
                        if (strcmp(entry_keys[j].name, key->text) == 0)
                                known = &entry_keys[j];
                if (reader_is_repeated(r, s, e->map, i))
                        continue;
                if (known)
                        *(const struct yaml_node **)((char *)e + known->offset) =
                                e->map->items[2 * i + 1];
                else
                        unknown_key(r, place_of(s, key), key->text);
        }
}

/* What a real path never is; NULL: fine. */
static const char *refuse_path(const char *path)
{
        if (path[0] != '/')
                return "an absolute path like /srv/models/*";
        if (strlen(path) >= PATH_MAX)
                return "a path of less than 4096 bytes";
        for (const char *c = path; *c; c++)
                if ((unsigned char)*c < ' ' || *c == 0x7f)
                        return "a path without control characters";
        for (const char *name = path; name; name = strchr(name, '/')) {
                size_t n = strcspn(++name, "/");

                if ((n == 0 && *name) || (n == 1 && name[0] == '.') ||
                    (n == 2 && strncmp(name, "..", 2) == 0))
                        return "a path without empty names, . and ..";
        }
        return NULL;
}

static int read_path(struct reader *r, const struct source *s, const struct entry *e,
                     struct settings_dir *dir)
{
        const char *text, *expected;
        char shown[SCALAR_TEXT_MAX];
        size_t n;

        if (!e->path) {
                mistakes_add(&r->mistakes, place_of(s, e->map), "path: missing");
                return 0;
        }
        text = reader_text(r, s, "path", e->path, "an absolute path like /srv/models/*");
        if (!text)
                return 0;
        expected = refuse_path(text);
        if (expected) {
                mistakes_add(&r->mistakes, place_of(s, e->path), "path: expected %s, found %s",
                             expected, scalar_show(text, shown));
                return 0;
        }
        n = strlen(text);
        dir->path = strndup(text, n > 1 && text[n - 1] == '/' ? n - 1 : n);
        return dir->path ? 0 : -ENOMEM;
}

static void read_policy(struct reader *r, const struct source *s, const struct entry *e,
                        struct settings_dir *dir)
{
        const struct definition *d;
        const char *text;

        if (!e->policy) {
                mistakes_add(&r->mistakes, place_of(s, e->map), "policy: missing");
                return;
        }
        text = reader_text(r, s, "policy", e->policy, "the name of a policy");
        if (!text)
                return;
        d = reader_definition(r, text);
        if (d)
                dir->policy = d->policy;
        else
                reader_no_policy(r, place_of(s, e->policy), text);
}

static int read_may_set(struct reader *r, const struct source *s, const struct yaml_node *n,
                        struct settings_dir *dir)
{
        if (n->kind != YAML_LIST) {
                mistakes_add(&r->mistakes, place_of(s, n),
                             "jobs_may_set: expected a list of keys, found %s",
                             yaml_node_is_null(n) ? "null; [] means none" : yaml_kind_name(n));
                return 0;
        }
        dir->jobs_may_set = calloc(n->n + 1, sizeof(char *));
        if (!dir->jobs_may_set)
                return -ENOMEM;
        for (size_t i = 0; i < n->n; i++) {
                _cleanup_(diag_done) struct diag why = {0};
                const char *text =
                        reader_text(r, s, "jobs_may_set", n->items[i], "a key of policies");

                if (text && !policy_key_find(text)) {
                        policy_key_unknown(text, &why);
                        mistakes_add(&r->mistakes, place_of(s, n->items[i]), "jobs_may_set: %s",
                                     diag_text(&why, -ENOMEM));
                }
                dir->jobs_may_set[i] = strdup(text ? text : "");
                if (!dir->jobs_may_set[i])
                        return -ENOMEM;
        }
        return 0;
}

/* The new entry is the last one; does an earlier one take all that it matches? */
static void warn_unreached(struct reader *r, const struct source *s, const struct yaml_node *path)
{
        const struct settings *settings = r->settings;
        const struct settings_dir *dir = &settings->dirs[settings->n_dirs - 1];

        for (size_t i = 0; dir->path && i + 1 < settings->n_dirs; i++) {
                const struct settings_dir *earlier = &settings->dirs[i];

                if (!earlier->path || !path_pattern_covers(earlier->path, dir->path))
                        continue;
                mistakes_add(&r->warnings, place_of(s, path),
                             "path: never reached; %s at %s comes first", earlier->path,
                             earlier->place);
                return;
        }
}

static struct settings_dir *new_dir(struct settings *s)
{
        struct settings_dir *dirs;

        if (s->n_dirs == 0 || (s->n_dirs & (s->n_dirs - 1)) == 0) {
                dirs = reallocarray(s->dirs, s->n_dirs ? 2 * s->n_dirs : 1, sizeof(*dirs));
                if (!dirs)
                        return NULL;
                s->dirs = dirs;
        }
        s->dirs[s->n_dirs] = (struct settings_dir){0};
        return &s->dirs[s->n_dirs++];
}

static int read_entry(struct reader *r, const struct source *s, const struct yaml_node *map)
{
        struct entry e = {.map = map};
        struct settings_dir *dir;
        int k;

        if (map->kind != YAML_MAP) {
                mistakes_add(&r->mistakes, place_of(s, map),
                             "model_dirs: expected {path, policy}, found %s", yaml_kind_name(map));
                return 0;
        }
        dir = new_dir(r->settings);
        if (!dir)
                return -ENOMEM;
        if (asprintf(&dir->place, "%s:%u", s->name, map->line) < 0) {
                dir->place = NULL;
                return -ENOMEM;
        }
        sort_out(r, s, &e);
        read_policy(r, s, &e, dir);
        k = read_path(r, s, &e, dir);
        if (k == 0 && e.jobs_may_set)
                k = read_may_set(r, s, e.jobs_may_set, dir);
        if (k == 0)
                warn_unreached(r, s, e.path);
        return k;
}

int settings_read_dirs(struct reader *r, const struct source *s)
{
        int k = 0;

        for (size_t i = 0; s->model_dirs && i < s->model_dirs->n && k == 0; i++)
                k = read_entry(r, s, s->model_dirs->items[i]);
        return k;
}
