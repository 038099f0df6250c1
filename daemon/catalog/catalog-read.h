/* Queries: rows of the catalog's file as structs.  An answer owns every text in it. */
#pragma once

#include "catalog-db.h"
#include "catalog-rows.h"

struct answer_text; /* texts of one answer, freed together */

struct catalog_answer {
        struct catalog_rows rows;
        struct catalog_event *events; /* rows.events */
        struct catalog_save *saves;   /* rows.saves */
        struct catalog_run *runs;     /* rows.runs */
        struct answer_text *texts;
};

void catalog_answer_done(struct catalog_answer *a);
/* Both fill a zeroed answer; the caller frees it, also on failure. */
int catalog_read_directory(struct catalog_db *db, int64_t directory, struct catalog_answer *a,
                           struct diag *d);
int catalog_read_events(struct catalog_db *db, const struct catalog_event_query *q,
                        struct catalog_answer *a, struct diag *d);
int catalog_read_start(struct catalog_db *db, struct catalog_start *ret, struct diag *d);
