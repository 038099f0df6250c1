/* Every SQL text of the catalog, and nothing else: the schema as a list of migrations, the set-up
 * of a connection, and the prepared statements by number.  Parameters are numbered in the order in
 * which catalog-batch.c puts them, columns in the order in which catalog-read.c takes them. */
#pragma once

#define SQL_APPLICATION_ID 0x636b7074 /* "ckpt", in the file's header */
#define SQL_VERSION 1                 /* PRAGMA user_version that this program writes */

enum sql {
        SQL_BEGIN,
        SQL_COMMIT,
        SQL_ROLLBACK,
        SQL_PUT_DIRECTORY,
        SQL_PUT_RUN,
        SQL_PUT_CHECKPOINT,
        SQL_REMOVE_FILES,
        SQL_PUT_FILE,
        SQL_PUT_SAVE,
        SQL_ADD_EVENT,
        SQL_PUT_SETTING,
        SQL_REMOVE_SETTING,
        SQL_REMOVE_DIRECTORY,
        SQL_REMOVE_EVENTS_BEFORE,
        SQL_REMOVE_SAVES_BEFORE,
        SQL_REMOVE_CHECKPOINTS_BEFORE,
        SQL_LIST_IDS,
        SQL_LAST_DIRECTORY,
        SQL_LIST_DIRECTORIES,
        SQL_NEXT_SAVE_ID,
        SQL_GET_SETTING,
        SQL_LIST_CHECKPOINTS,
        SQL_LIST_FILES,
        SQL_LAST_NUMBERS,
        SQL_LIST_OPEN_SAVES,
        SQL_LIST_RUNS,
        SQL_LIST_EVENTS,
        SQL_LIST_EVENTS_OF,
        SQL_COUNT,
};
extern const char *const sql_texts[SQL_COUNT];

extern const char *const sql_migrations[SQL_VERSION]; /* [n]: from version n to n + 1 */
extern const char
        sql_peek[]; /* one row: user_version, application_id, number of objects in the schema */
extern const char sql_setup[]; /* of a connection */
extern const char sql_check[]; /* one row: "ok", or what is wrong with the file */
extern const char sql_grow[];  /* makes the log as large as it may stay */
