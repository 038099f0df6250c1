#include "sql.h"

/* The comments inside the views are for people: `sqlite3 catalog.sqlite .schema` shows them. */
static const char migration_1[] =
        "CREATE TABLE directory (\n"
        "  id INTEGER PRIMARY KEY AUTOINCREMENT,\n"
        "  uuid TEXT NOT NULL UNIQUE,\n"
        "  path TEXT NOT NULL,\n"
        "  device INTEGER NOT NULL,\n"
        "  policy TEXT,\n"
        "  held TEXT,\n"
        "  registered INTEGER NOT NULL,\n"
        "  registered_ms INTEGER NOT NULL\n"
        ");\n"
        "CREATE TABLE run (\n"
        "  directory INTEGER NOT NULL REFERENCES directory(id) ON DELETE CASCADE,\n"
        "  run INTEGER NOT NULL,\n"
        "  job TEXT,\n"
        "  pid INTEGER NOT NULL,\n"
        "  uid INTEGER NOT NULL,\n"
        "  world_size INTEGER NOT NULL,\n"
        "  base INTEGER NOT NULL,\n"
        "  started_ms INTEGER NOT NULL,\n"
        "  ended_ms INTEGER NOT NULL,\n"
        "  end_reason TEXT,\n"
        "  command TEXT,\n"
        "  PRIMARY KEY (directory, run)\n"
        ") WITHOUT ROWID;\n"
        "CREATE TABLE checkpoint (\n"
        "  directory INTEGER NOT NULL REFERENCES directory(id) ON DELETE CASCADE,\n"
        "  name TEXT NOT NULL,\n"
        "  step INTEGER NOT NULL,\n"
        "  sequence INTEGER NOT NULL,\n"
        "  run INTEGER NOT NULL,\n"
        "  save_id INTEGER NOT NULL,\n"
        "  state TEXT NOT NULL,\n"
        "  origin TEXT NOT NULL,\n"
        "  format TEXT,\n"
        "  published_ms INTEGER NOT NULL,\n"
        "  bytes INTEGER NOT NULL,\n"
        "  preserved INTEGER NOT NULL,\n"
        "  pin_by TEXT,\n"
        "  pin_reason TEXT,\n"
        "  replaces TEXT,\n"
        "  PRIMARY KEY (directory, name)\n"
        ") WITHOUT ROWID;\n"
        "CREATE INDEX checkpoint_by_sequence ON checkpoint (directory, sequence);\n"
        "CREATE TABLE file (\n"
        "  directory INTEGER NOT NULL,\n"
        "  checkpoint TEXT NOT NULL,\n"
        "  position INTEGER NOT NULL,\n"
        "  name TEXT NOT NULL,\n"
        "  bytes INTEGER NOT NULL,\n"
        "  PRIMARY KEY (directory, checkpoint, position),\n"
        "  FOREIGN KEY (directory, checkpoint) REFERENCES checkpoint(directory, name)\n"
        "    ON DELETE CASCADE\n"
        ") WITHOUT ROWID;\n"
        "CREATE TABLE save (\n"
        "  id INTEGER PRIMARY KEY AUTOINCREMENT,\n"
        "  directory INTEGER NOT NULL REFERENCES directory(id) ON DELETE CASCADE,\n"
        "  run INTEGER NOT NULL,\n"
        "  step INTEGER NOT NULL,\n"
        "  reason TEXT,\n"
        "  result TEXT NOT NULL,\n"
        "  error TEXT,\n"
        "  due_ms INTEGER NOT NULL,\n"
        "  handed_off_ms INTEGER NOT NULL,\n"
        "  published_ms INTEGER NOT NULL,\n"
        "  lost_us INTEGER NOT NULL,\n"
        "  durable_ms INTEGER NOT NULL,\n"
        "  bytes INTEGER NOT NULL\n"
        ");\n"
        "CREATE INDEX save_by_directory ON save (directory);\n"
        "CREATE INDEX save_open ON save (directory) WHERE result = 'open';\n"
        "CREATE TABLE event (\n"
        "  id INTEGER PRIMARY KEY AUTOINCREMENT,\n"
        "  time_ms INTEGER NOT NULL,\n"
        "  event TEXT NOT NULL,\n"
        "  directory INTEGER REFERENCES directory(id) ON DELETE CASCADE,\n"
        "  step INTEGER,\n"
        "  detail TEXT\n"
        ");\n"
        "CREATE INDEX event_by_directory ON event (directory);\n"
        "CREATE TABLE setting (\n"
        "  key TEXT PRIMARY KEY,\n"
        "  value TEXT NOT NULL\n"
        ") WITHOUT ROWID;\n"
        "CREATE TABLE padding (bytes BLOB);\n"
        "CREATE VIEW checkpoints AS SELECT\n"
        "  d.path AS directory,    -- the model directory\n"
        "  c.name,                 -- as the framework names it, within the directory\n"
        "  c.step, c.sequence,     -- sequence: the order of publishing, from 1\n"
        "  c.run,                  -- the run that published it; 0: none of ours\n"
        "  c.state,                -- publishing, whole, damaged, superseded, evicting, evicted, "
        "gone\n"
        "  c.origin,               -- saved, committed, adopted\n"
        "  c.format, c.bytes,\n"
        "  strftime('%Y-%m-%dT%H:%M:%SZ', nullif(c.published_ms, 0) / 1000, 'unixepoch')\n"
        "    AS published,         -- UTC\n"
        "  c.preserved,            -- 1: kept by keep_checkpoint_every_n_hours, for good\n"
        "  c.pin_by, c.pin_reason, -- NULL: not pinned\n"
        "  c.save_id               -- saves.id; 0: none\n"
        "FROM checkpoint c JOIN directory d ON d.id = c.directory;\n"
        "CREATE VIEW saves AS SELECT\n"
        "  s.id, d.path AS directory, s.run, s.step,\n"
        "  s.reason,               -- why it was asked for\n"
        "  s.result,               -- open, saved, failed, skipped\n"
        "  s.error,                -- why it failed or was skipped\n"
        "  strftime('%Y-%m-%dT%H:%M:%SZ', nullif(s.due_ms, 0) / 1000, 'unixepoch') AS due,\n"
        "  strftime('%Y-%m-%dT%H:%M:%SZ', nullif(s.handed_off_ms, 0) / 1000, 'unixepoch')\n"
        "    AS handed_off,        -- UTC; NULL: not reached\n"
        "  strftime('%Y-%m-%dT%H:%M:%SZ', nullif(s.published_ms, 0) / 1000, 'unixepoch')\n"
        "    AS published,\n"
        "  s.lost_us / 1e6 AS lost_s,       -- seconds of training lost by the copy\n"
        "  s.durable_ms / 1e3 AS durable_s, -- seconds from hand-off to published\n"
        "  s.bytes\n"
        "FROM save s JOIN directory d ON d.id = s.directory;\n"
        "CREATE VIEW events AS SELECT\n"
        "  e.id,\n"
        "  strftime('%Y-%m-%dT%H:%M:%SZ', e.time_ms / 1000, 'unixepoch') AS time, -- UTC\n"
        "  e.event,                -- saved, failed, evicted … as ckptctl history names them\n"
        "  d.path AS directory,    -- NULL: of the daemon as a whole\n"
        "  e.step, e.detail\n"
        "FROM event e LEFT JOIN directory d ON d.id = e.directory;\n"
        "PRAGMA application_id = 1667985524;\n"
        "PRAGMA user_version = 1;\n";

const char *const sql_migrations[SQL_VERSION] = {migration_1};

const char sql_peek[] = "SELECT user_version, application_id,"
                        " (SELECT count(*) FROM sqlite_schema)"
                        " FROM pragma_user_version, pragma_application_id";

/* The log is written over from its start once it holds 1000 pages (4 MiB), and is cut to 4 MiB when
 * a long reader made it grow beyond. */
const char sql_setup[] = "PRAGMA journal_mode = WAL;"
                         "PRAGMA synchronous = FULL;"
                         "PRAGMA foreign_keys = ON;"
                         "PRAGMA journal_size_limit = 4194304;"
                         "PRAGMA wal_autocheckpoint = 1000;";

const char sql_check[] = "SELECT quick_check FROM pragma_quick_check(1)";

/* The pages of the padding become free pages of the database: rows to come need no new space there
 * either.  The checkpoint lets the next transaction start at the log's beginning. */
const char sql_grow[] = "BEGIN IMMEDIATE;"
                        "INSERT INTO padding VALUES (zeroblob(4194304));"
                        "COMMIT;"
                        "DELETE FROM padding;"
                        "PRAGMA wal_checkpoint(RESTART);";

#define EVENT_COLUMNS                                                                              \
        "SELECT e.id, e.time_ms, e.event, coalesce(e.directory, 0), d.path, coalesce(e.step, -1)," \
        " e.detail FROM event e LEFT JOIN directory d ON d.id = e.directory"

const char *const sql_texts[SQL_COUNT] = {
        [SQL_BEGIN] = "BEGIN IMMEDIATE",
        [SQL_COMMIT] = "COMMIT",
        [SQL_ROLLBACK] = "ROLLBACK",
        [SQL_PUT_DIRECTORY] =
                "INSERT INTO directory VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"
                " ON CONFLICT (uuid) DO UPDATE SET path = ?3, device = ?4, policy = ?5, held = ?6,"
                " registered = ?7, registered_ms = ?8",
        [SQL_PUT_RUN] =
                "INSERT INTO run VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
                " ON CONFLICT DO UPDATE SET job = ?3, pid = ?4, uid = ?5, world_size = ?6,"
                " base = ?7, started_ms = ?8, ended_ms = ?9, end_reason = ?10, command = ?11",
        [SQL_PUT_CHECKPOINT] =
                "INSERT INTO checkpoint VALUES"
                " (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)"
                " ON CONFLICT DO UPDATE SET step = ?3, sequence = ?4, run = ?5, save_id = ?6,"
                " state = ?7, origin = ?8, format = ?9, published_ms = ?10, bytes = ?11,"
                " preserved = ?12, pin_by = ?13, pin_reason = ?14, replaces = ?15",
        [SQL_REMOVE_FILES] = "DELETE FROM file WHERE directory = ?1 AND checkpoint = ?2",
        [SQL_PUT_FILE] = "INSERT INTO file VALUES (?1, ?2, ?3, ?4, ?5)",
        [SQL_PUT_SAVE] =
                "INSERT INTO save VALUES"
                " (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"
                " ON CONFLICT (id) DO UPDATE SET directory = ?2, run = ?3, step = ?4, reason = ?5,"
                " result = ?6, error = ?7, due_ms = ?8, handed_off_ms = ?9, published_ms = ?10,"
                " lost_us = ?11, durable_ms = ?12, bytes = ?13",
        [SQL_ADD_EVENT] = "INSERT INTO event (time_ms, event, directory, step, detail)"
                          " VALUES (?1, ?2, nullif(?3, 0), nullif(?4, -1), ?5)",
        [SQL_PUT_SETTING] = "INSERT INTO setting VALUES (?1, ?2)"
                            " ON CONFLICT (key) DO UPDATE SET value = ?2",
        [SQL_REMOVE_SETTING] = "DELETE FROM setting WHERE key = ?1",
        [SQL_REMOVE_DIRECTORY] = "DELETE FROM directory WHERE id = ?1",
        [SQL_REMOVE_EVENTS_BEFORE] = "DELETE FROM event WHERE time_ms < ?1",
        [SQL_REMOVE_SAVES_BEFORE] = "DELETE FROM save WHERE due_ms < ?1 AND result <> 'open'",
        [SQL_REMOVE_CHECKPOINTS_BEFORE] =
                "DELETE FROM checkpoint WHERE published_ms < ?1 AND state IN ('evicted', 'gone')"
                " AND sequence < (SELECT max(l.sequence) FROM checkpoint l"
                " WHERE l.directory = checkpoint.directory)",

        [SQL_LIST_IDS] = "SELECT id, uuid FROM directory",
        [SQL_LAST_DIRECTORY] =
                "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'directory'",
        [SQL_LIST_DIRECTORIES] =
                "SELECT d.id, d.uuid, d.path, d.device, d.policy, d.held, d.registered,"
                " d.registered_ms,"
                " (SELECT count(*) FROM checkpoint c WHERE c.directory = d.id"
                " AND c.state IN ('whole', 'damaged', 'superseded')),"
                " (SELECT coalesce(sum(c.bytes), 0) FROM checkpoint c WHERE c.directory = d.id"
                " AND c.state IN ('whole', 'damaged', 'superseded')),"
                " coalesce(n.step, -1), coalesce(n.published_ms, -1)"
                " FROM directory d LEFT JOIN checkpoint n ON n.directory = d.id AND n.name ="
                " (SELECT c.name FROM checkpoint c WHERE c.directory = d.id AND c.state = 'whole'"
                " ORDER BY c.sequence DESC LIMIT 1)"
                " ORDER BY d.id",
        [SQL_NEXT_SAVE_ID] =
                "SELECT 1 + max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'save'), 0),"
                " coalesce((SELECT max(save_id) FROM checkpoint), 0))",
        [SQL_GET_SETTING] = "SELECT value FROM setting WHERE key = ?1",
        [SQL_LIST_CHECKPOINTS] =
                "SELECT name, step, sequence, run, save_id, state, origin, format, published_ms,"
                " bytes, preserved, pin_by, pin_reason, replaces"
                " FROM checkpoint WHERE directory = ?1 ORDER BY sequence, name",
        [SQL_LIST_FILES] = "SELECT name, bytes FROM file WHERE directory = ?1 AND checkpoint = ?2"
                           " ORDER BY position",
        [SQL_LAST_NUMBERS] =
                "SELECT coalesce((SELECT max(run) FROM run WHERE directory = ?1), 0),"
                " coalesce((SELECT max(sequence) FROM checkpoint WHERE directory = ?1), 0)",
        [SQL_LIST_OPEN_SAVES] =
                "SELECT id, directory, run, step, reason, result, error, due_ms, handed_off_ms,"
                " published_ms, lost_us, durable_ms, bytes"
                " FROM save WHERE directory = ?1 AND result = 'open' ORDER BY id",
        [SQL_LIST_RUNS] = "SELECT run, job, pid, uid, world_size, base, started_ms, ended_ms, "
                          "end_reason, command"
                          " FROM run WHERE directory = ?1 ORDER BY run",
        [SQL_LIST_EVENTS] =
                "SELECT * FROM (" EVENT_COLUMNS " WHERE e.time_ms >= ?2 AND e.id > ?3"
                " AND (?4 IS NULL OR e.event = ?4) ORDER BY e.id DESC LIMIT ?5) ORDER BY 1",
        [SQL_LIST_EVENTS_OF] =
                "SELECT * FROM (" EVENT_COLUMNS " WHERE e.directory = ?1 AND e.time_ms >= ?2"
                " AND e.id > ?3 AND (?4 IS NULL OR e.event = ?4)"
                " ORDER BY e.id DESC LIMIT ?5) ORDER BY 1",
};
