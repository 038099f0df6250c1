#include "yaml-map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct pair {
        struct yaml_node *key, *value;
        bool merged; /* came by <<: an own one of that key, or an earlier merged one, wins */
};

struct pairs {
        size_t n, cap;
        struct pair *items;
};

static int add_pair(struct pairs *p, struct pair pair)
{
        if (p->n == p->cap) {
                size_t cap = p->cap ? 2 * p->cap : 8;
                struct pair *items = reallocarray(p->items, cap, sizeof(*items));

                if (!items)
                        return -ENOMEM;
                p->items = items;
                p->cap = cap;
        }
        p->items[p->n++] = pair;
        return 0;
}

static int by_key(const void *a, const void *b, void *items)
{
        const size_t i = *(const size_t *)a, j = *(const size_t *)b;
        const struct pair *pairs = items;
        int c = strcmp(pairs[i].key->text, pairs[j].key->text);

        return c ? c : (i > j) - (i < j);
}

/* *ret: positions, sorted by key, then by position. */
static int sort_pairs(const struct pairs *p, size_t **ret)
{
        size_t *order = calloc(p->n ? p->n : 1, sizeof(*order));

        if (!order)
                return -ENOMEM;
        for (size_t i = 0; i < p->n; i++)
                order[i] = i;
        qsort_r(order, p->n, sizeof(*order), by_key, p->items);
        *ret = order;
        return 0;
}

static bool is_merge(const struct yaml_node *key)
{
        return key->plain && strcmp(key->text, "<<") == 0;
}

static int merge_map(struct pairs *p, const struct yaml_node *from, struct yaml_error *e)
{
        int r = 0;

        if (from->kind != YAML_MAP) {
                e->line = from->line;
                e->column = from->column;
                return diag_set(&e->text, -EBADMSG,
                                "<<: expected a map or a list of maps, found %s",
                                yaml_kind_name(from));
        }
        for (size_t i = 0; i < from->n && r == 0; i++)
                r = add_pair(p, (struct pair){from->items[2 * i], from->items[2 * i + 1], true});
        return r;
}

static int merge(struct pairs *p, const struct yaml_node *from, struct yaml_error *e)
{
        int r = 0;

        if (from->kind != YAML_LIST)
                return merge_map(p, from, e);
        for (size_t i = 0; i < from->n && r == 0; i++)
                r = merge_map(p, from->items[i], e);
        return r;
}

/* Own pairs first, then the merged ones in their order. */
static int collect(const struct yaml_node *map, struct pairs *p, struct yaml_error *e)
{
        int r = 0;

        for (size_t i = 0; i < map->n && r == 0; i++)
                if (!is_merge(map->items[2 * i]))
                        r = add_pair(
                                p, (struct pair){map->items[2 * i], map->items[2 * i + 1], false});
        for (size_t i = 0; i < map->n && r == 0; i++)
                if (is_merge(map->items[2 * i]))
                        r = merge(p, map->items[2 * i + 1], e);
        return r;
}

/* A merged pair stays only where no pair of its key stands before it. */
static int drop_overridden(struct pairs *p)
{
        _cleanup_(freep) size_t *order = NULL;
        size_t n = 0;
        int r = sort_pairs(p, &order);

        if (r < 0)
                return r;
        for (size_t i = p->n; i-- > 1;)
                if (p->items[order[i]].merged &&
                    strcmp(p->items[order[i]].key->text, p->items[order[i - 1]].key->text) == 0)
                        p->items[order[i]].value = NULL;
        for (size_t i = 0; i < p->n; i++)
                if (p->items[i].value)
                        p->items[n++] = p->items[i];
        p->n = n;
        return 0;
}

static int store(struct yaml_node *map, const struct pairs *p)
{
        struct yaml_node **items = calloc(p->n ? 2 * p->n : 1, sizeof(*items));
        int r;

        if (!items)
                return -ENOMEM;
        for (size_t i = 0; i < p->n; i++) {
                items[2 * i] = p->items[i].key;
                items[2 * i + 1] = p->items[i].value;
        }
        free(map->items);
        map->items = items;
        map->n = p->n;
        r = sort_pairs(p, &map->by_key);
        return r;
}

int yaml_map_close(struct yaml_node *map, struct yaml_error *ret_error)
{
        struct pairs p = {0};
        int r;

        map->n /= 2;
        r = collect(map, &p, ret_error);
        if (r == 0)
                r = drop_overridden(&p);
        if (r == 0)
                r = store(map, &p);
        free(p.items);
        return r;
}

/* The first place in by_key whose key is not below this one. */
static size_t lower_bound(const struct yaml_node *map, const char *key)
{
        size_t from = 0, to = map->n;

        while (from < to) {
                size_t middle = from + (to - from) / 2;

                if (strcmp(map->items[2 * map->by_key[middle]]->text, key) < 0)
                        from = middle + 1;
                else
                        to = middle;
        }
        return from;
}

size_t yaml_map_first(const struct yaml_node *map, size_t i)
{
        return map->by_key[lower_bound(map, map->items[2 * i]->text)];
}

const struct yaml_node *yaml_map_get(const struct yaml_node *map, const char *key)
{
        size_t at = lower_bound(map, key);

        if (at == map->n || strcmp(map->items[2 * map->by_key[at]]->text, key) != 0)
                return NULL;
        return map->items[2 * map->by_key[at] + 1];
}
