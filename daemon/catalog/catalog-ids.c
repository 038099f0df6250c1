#include "catalog-ids.h"

#include "cleanup.h"

#include <errno.h>
#include <search.h>
#include <string.h>

struct known {
        int64_t id;
        char uuid[];
};

static int compare(const void *a, const void *b)
{
        const struct known *x = a, *y = b;

        return strcmp(x->uuid, y->uuid);
}

void catalog_ids_init(struct catalog_ids *ids)
{
        *ids = (struct catalog_ids){0};
        pthread_mutex_init(&ids->lock, NULL);
}

void catalog_ids_done(struct catalog_ids *ids)
{
        tdestroy(ids->by_uuid, free);
        ids->by_uuid = NULL;
        pthread_mutex_destroy(&ids->lock);
}

/* The entry of that uuid, made with `id` if there is none; NULL: no memory. */
static const struct known *find_or_add(struct catalog_ids *ids, const char *uuid, int64_t id)
{
        size_t n = strlen(uuid) + 1;
        _cleanup_(freep) struct known *entry = malloc(sizeof(*entry) + n);
        struct known **found;

        if (!entry)
                return NULL;
        entry->id = id;
        memcpy(entry->uuid, uuid, n);
        found = tsearch(entry, &ids->by_uuid, compare);
        if (!found)
                return NULL;
        if (*found == entry)
                take_ptr(entry);
        return *found;
}

int catalog_ids_add(struct catalog_ids *ids, const char *uuid, int64_t id)
{
        const struct known *k;

        pthread_mutex_lock(&ids->lock);
        k = find_or_add(ids, uuid, id);
        if (ids->last < id)
                ids->last = id;
        pthread_mutex_unlock(&ids->lock);
        return k ? 0 : -ENOMEM;
}

int64_t catalog_ids_get(struct catalog_ids *ids, const char *uuid)
{
        const struct known *k;
        int64_t id = -ENOMEM;

        pthread_mutex_lock(&ids->lock);
        k = find_or_add(ids, uuid, ids->last + 1);
        if (k)
                id = k->id;
        if (ids->last < id)
                ids->last = id;
        pthread_mutex_unlock(&ids->lock);
        return id;
}
