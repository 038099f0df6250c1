#include "catalog-db.h"

#include <errno.h>
#include <string.h>

#define BUSY_MS 1000 /* how long somebody else's transaction is waited for */

struct error_name {
        int sqlite, r;
};

static const struct error_name error_names[] = {
        {SQLITE_OK, 0},
        {SQLITE_FULL, -ENOSPC},
        {SQLITE_IOERR, -EIO},
        {SQLITE_CORRUPT, -EBADMSG},
        {SQLITE_NOTADB, -EBADMSG},
        {SQLITE_BUSY, -EAGAIN},
        {SQLITE_LOCKED, -EAGAIN},
        {SQLITE_NOMEM, -ENOMEM},
        {SQLITE_READONLY, -EROFS},
        {SQLITE_CANTOPEN, -ENOENT},
        {SQLITE_PERM, -EACCES},
        {SQLITE_CONSTRAINT, -EINVAL},
        {SQLITE_MISMATCH, -EINVAL},
        {SQLITE_RANGE, -EINVAL},
        {SQLITE_TOOBIG, -EINVAL},
        {SQLITE_PROTOCOL, -ENOLCK},
};

static int errno_of(int result)
{
        for (size_t i = 0; i < ARRAY_SIZE(error_names); i++)
                if (error_names[i].sqlite == (result & 0xff))
                        return error_names[i].r;
        return -EIO;
}

int catalog_db_error(const struct catalog_db *db, int result, struct diag *d)
{
        int r = errno_of(result), system;

        if (r == 0)
                return 0;
        system = db->handle && r == -EIO ? sqlite3_system_errno(db->handle) : 0;
        if (!db->handle)
                return diag_set(d, r, "%s", sqlite3_errstr(result));
        if (system > 0)
                return diag_set(d, r, "%s (%s)", sqlite3_errmsg(db->handle), strerror(system));
        return diag_set(d, r, "%s", sqlite3_errmsg(db->handle));
}

bool catalog_db_may_retry(int r)
{
        return r != -EINVAL;
}

int catalog_db_next(struct catalog_db *db, enum sql sql, struct diag *d)
{
        int result = sqlite3_step(db->statements[sql]), r;

        if (result == SQLITE_ROW)
                return 1;
        r = result == SQLITE_DONE ? 0 : catalog_db_error(db, result, d);
        sqlite3_reset(db->statements[sql]);
        return r;
}

int catalog_db_run(struct catalog_db *db, enum sql sql, struct diag *d)
{
        int r = catalog_db_next(db, sql, d);

        if (r > 0)
                sqlite3_reset(db->statements[sql]);
        return r < 0 ? r : 0;
}

int catalog_db_number(struct catalog_db *db, enum sql sql, int64_t *ret, struct diag *d)
{
        int r = catalog_db_next(db, sql, d);

        if (r <= 0)
                return r < 0 ? r : diag_set(d, -EBADMSG, "no row where one must be");
        *ret = sqlite3_column_int64(db->statements[sql], 0);
        sqlite3_reset(db->statements[sql]);
        return 0;
}

static int execute(struct catalog_db *db, const char *text, struct diag *d)
{
        return catalog_db_error(db, sqlite3_exec(db->handle, text, NULL, NULL, NULL), d);
}

struct peek {
        int version, application, n_objects;
};

static int read_peek(void *data, int n, char **values, char **names)
{
        struct peek *p = data;

        (void)n;
        (void)names;
        p->version = atoi(values[0]);
        p->application = atoi(values[1]);
        p->n_objects = atoi(values[2]);
        return 0;
}

static int peek(struct catalog_db *db, struct peek *ret, struct diag *d)
{
        return catalog_db_error(db, sqlite3_exec(db->handle, sql_peek, read_peek, ret, NULL), d);
}

static int judge(const struct peek *p, struct diag *d)
{
        if (p->application != SQL_APPLICATION_ID && (p->application != 0 || p->n_objects > 0))
                return diag_set(d, -EEXIST, "this is a database of another program; move it away");
        if (p->version > SQL_VERSION)
                return diag_set(d, -EPROTONOSUPPORT,
                                "its schema has version %d, this ckptd knows up to %d: run the "
                                "newer ckptd, or move the file away",
                                p->version, SQL_VERSION);
        return 0;
}

static int open_handle(struct catalog_db *db, const char *path, int flags, struct diag *d)
{
        int r = catalog_db_error(
                db, sqlite3_open_v2(path, &db->handle, flags | SQLITE_OPEN_NOMUTEX, NULL), d);

        if (r == 0) {
                sqlite3_extended_result_codes(db->handle, 1);
                sqlite3_busy_timeout(db->handle, BUSY_MS);
        }
        return r;
}

/* A file of a newer or of another program is left as it is: it is looked at without the right to
 * write. Whatever else is the matter shows when it is opened for writing. */
static int refuse_foreign(const char *path, struct diag *d)
{
        struct catalog_db db = {0};
        struct peek p = {0};
        int r = 0;

        if (open_handle(&db, path, SQLITE_OPEN_READONLY, NULL) == 0 && peek(&db, &p, NULL) == 0)
                r = judge(&p, d);
        catalog_db_done(&db);
        return r;
}

static int check_pages(struct catalog_db *db, struct diag *d)
{
        sqlite3_stmt *check = NULL;
        const char *text = NULL;
        int result = sqlite3_prepare_v2(db->handle, sql_check, -1, &check, NULL), r = 0;

        if (result == SQLITE_OK)
                result = sqlite3_step(check);
        if (result == SQLITE_ROW)
                text = (const char *)sqlite3_column_text(check, 0);
        if (result != SQLITE_ROW)
                r = catalog_db_error(db, result, d);
        else if (!text || strcmp(text, "ok") != 0)
                r = diag_set(d, -EBADMSG, "%s", text ? text : "not checked");
        sqlite3_finalize(check);
        return r;
}

static int migrate(struct catalog_db *db, struct diag *d)
{
        struct peek p = {0};
        int r = execute(db, sql_texts[SQL_BEGIN], d);

        if (r < 0)
                return r;
        r = peek(db, &p, d);
        if (r == 0)
                r = judge(&p, d);
        for (int version = p.version; r == 0 && version < SQL_VERSION; version++)
                r = execute(db, sql_migrations[version], d);
        if (r == 0)
                r = execute(db, sql_texts[SQL_COMMIT], d);
        if (r < 0)
                execute(db, sql_texts[SQL_ROLLBACK], NULL);
        return r;
}

static int prepare(struct catalog_db *db, struct diag *d)
{
        int result;

        for (size_t i = 0; i < SQL_COUNT; i++) {
                result = sqlite3_prepare_v3(db->handle, sql_texts[i], -1, SQLITE_PREPARE_PERSISTENT,
                                            &db->statements[i], NULL);
                if (result != SQLITE_OK)
                        return catalog_db_error(db, result, d);
        }
        return 0;
}

static int open_whole(struct catalog_db *db, const char *path, struct diag *d)
{
        int r = open_handle(db, path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, d);

        if (r == 0)
                r = execute(db, sql_setup, d);
        if (r == 0)
                r = check_pages(db, d);
        if (r == 0)
                r = migrate(db, d);
        if (r == 0)
                r = prepare(db, d);
        return r;
}

int catalog_db_grow(struct catalog_db *db, struct diag *d)
{
        int r = execute(db, sql_grow, d);

        if (r < 0 && !sqlite3_get_autocommit(db->handle))
                execute(db, sql_texts[SQL_ROLLBACK], NULL);
        return r;
}

int catalog_db_open(struct catalog_db *db, const char *path, struct diag *d)
{
        int r = refuse_foreign(path, d);

        if (r == 0)
                r = open_whole(db, path, d);
        if (r < 0)
                catalog_db_done(db);
        return r;
}

void catalog_db_done(struct catalog_db *db)
{
        for (size_t i = 0; i < SQL_COUNT; i++)
                sqlite3_finalize(db->statements[i]);
        sqlite3_close(db->handle);
        *db = (struct catalog_db){0};
}
