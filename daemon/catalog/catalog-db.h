/* The connection to the catalog's file: opened, checked, migrated, its statements prepared.  Used
 * by one thread at a time.  It knows errors of SQLite and none of the rows.  Every r is a negative
 * errno, see catalog_db_error for which. */
#pragma once

#include "diag.h"
#include "sql.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

struct catalog_db {
        sqlite3 *handle;
        sqlite3_stmt *statements[SQL_COUNT];
};

/* -EBADMSG: broken; -EPROTONOSUPPORT: newer; -EEXIST: not a catalog; -ENOSPC, -EIO … */
int catalog_db_open(struct catalog_db *db, const char *path, struct diag *d);
/* Makes the log as large as it is kept, so that later rows need no new space. */
int catalog_db_grow(struct catalog_db *db, struct diag *d);
void catalog_db_done(struct catalog_db *db);
/* A result of SQLite as errno (0 stays 0), with its text in d. */
int catalog_db_error(const struct catalog_db *db, int result, struct diag *d);
/* May the same transaction succeed later?  No: it breaks a rule of the schema. */
bool catalog_db_may_retry(int r);
/* Steps a statement that gives no rows, then resets it. */
int catalog_db_run(struct catalog_db *db, enum sql sql, struct diag *d);
/* Steps a statement: 1 a row is there, 0 the end; at the end and on failure it is reset. */
int catalog_db_next(struct catalog_db *db, enum sql sql, struct diag *d);
/* The only number of the only row of a statement without parameters. */
int catalog_db_number(struct catalog_db *db, enum sql sql, int64_t *ret, struct diag *d);
