/* Which number a directory has: its uuid's, from the first time it is put, before the row is
 * written. Owned by the catalog, filled at open; thread-safe afterwards. */
#pragma once

#include <pthread.h>
#include <stdint.h>

struct catalog_ids {
        pthread_mutex_t lock; /* of the members */
        void *by_uuid;        /* tsearch tree */
        int64_t last;
};

void catalog_ids_init(struct catalog_ids *ids);
void catalog_ids_done(struct catalog_ids *ids);
int catalog_ids_add(struct catalog_ids *ids, const char *uuid, int64_t id);
/* Known or new: > 0; or -ENOMEM. */
int64_t catalog_ids_get(struct catalog_ids *ids, const char *uuid);
