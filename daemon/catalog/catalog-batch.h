/* A batch of rows on their way into the catalog: statements with their values, copied out of the
 * structs that were put.  Filled on the loop thread, written on the catalog's. */
#pragma once

#include "buffer.h"
#include "catalog-db.h"
#include "catalog-ids.h"
#include "catalog.h"

struct catalog_value;
struct catalog_op;

struct catalog_batch {
        struct catalog_ids *ids; /* the catalog's */
        int r;                   /* < 0: it could not be filled, for lack of memory */
        size_t n_ops, ops_cap;
        struct catalog_op *ops;
        size_t n_values, values_cap;
        struct catalog_value *values;
        struct buffer text; /* NUL-terminated texts, one after another */
};

void catalog_batch_done(struct catalog_batch *b);
/* All of it in one transaction, or nothing. */
int catalog_batch_write(const struct catalog_batch *b, struct catalog_db *db, struct diag *d);
