/* The catalog: SQLite's memory of directories, runs, checkpoints, saves and events.  One thread of
 * its own owns the only connection; the loop thread queues batches (one transaction each) and
 * queries, and gets answers through catalog_reap.  It is an index and a history: what must outlive
 * it stands in the model directories.  A catalog that cannot be written never stops a save: the
 * batch waits and is tried again. Beside the file PATH stand PATH-wal, PATH-shm (SQLite's),
 * PATH-lock (holds the daemon's pid) and PATH-reserve (given up on a full disk).  sqlite3 users
 * read the views checkpoints, saves and events. */
#pragma once

#include "catalog-rows.h"
#include "diag.h"

#define CATALOG_RESERVE_BYTES (8 * 1024 * 1024) /* of PATH-reserve */
#define CATALOG_RETRY_MS 1000   /* between two tries of a batch that cannot be written */
#define CATALOG_QUEUE_MAX 65536 /* batches that wait; one more is answered -ENOBUFS, unwritten */

struct catalog;
struct catalog_batch;

struct catalog_options {
        const char *path;         /* of catalog.sqlite; its folder is made, mode 0750 */
        void (*wake)(void *user); /* an answer waits; called on the catalog's thread */
        void *user;
};

/* Locks (PATH-lock, OFD), opens, migrates.  -EBUSY: another daemon has it: the diag names its pid;
 * -EPROTONOSUPPORT: a newer schema: refused without touching it; -EEXIST: a database of another
 * program; 1: it was broken: set aside as PATH.broken-YYYYMMDDTHHMMSS (UTC) and made anew, *ret is
 * set and the diag tells. */
int catalog_open(struct catalog **ret, const struct catalog_options *o, struct diag *d);
/* Writes what is queued (as far as it can be written), answers everything, ends the thread. */
void catalog_close(struct catalog *c);
DEFINE_FREEP(struct catalog, catalog_close)
/* Calls back for every answer; returns how many. */
unsigned catalog_reap(struct catalog *c);
/* Why batches wait, or NULL.  Renewed by reap (a change wakes), valid until the next one. */
const char *catalog_problem(const struct catalog *c);

/* A batch copies what it is given.  NULL on lack of memory: the puts then do nothing and submit
 * answers. */
struct catalog_batch *catalog_batch_new(struct catalog *c);
void catalog_batch_free(struct catalog_batch *b); /* one that is not submitted after all */
DEFINE_FREEP(struct catalog_batch, catalog_batch_free)
void catalog_put_directory(struct catalog_batch *b, struct catalog_directory *d); /* by uuid */
void catalog_put_run(struct catalog_batch *b, const struct catalog_run *r); /* by directory, run */
void catalog_put_checkpoint(struct catalog_batch *b, int64_t directory,
                            const struct checkpoint *c); /* by directory, name */
void catalog_put_save(struct catalog_batch *b, const struct catalog_save *s); /* by id */
void catalog_add_event(struct catalog_batch *b, const struct catalog_event *e);
/* key "settings": the last good text.  value NULL: removed. */
void catalog_put_setting(struct catalog_batch *b, const char *key, const char *value);
/* Forgets a directory with all its rows (unregister --purge). */
void catalog_remove_directory(struct catalog_batch *b, int64_t directory);
/* Forgets events, closed saves and rows of evicted or gone checkpoints from before that time
 * (history_keep); a directory's last sequence and run numbers stay. */
void catalog_remove_before(struct catalog_batch *b, int64_t time_ms);

typedef void (*catalog_done_fn)(void *user, int r);
/* One transaction, synchronous=FULL.  done (may be NULL) is called by reap once it is durable, and
 * from submit itself only when b is NULL (-ENOMEM).  Disk full and I/O errors do not end it: it is
 * tried again, in order, until it can be written, or catalog_close gives up.  A row that breaks a
 * rule of the schema (an unknown directory) ends it at once, nothing of it written: -EINVAL. */
void catalog_submit(struct catalog *c, struct catalog_batch *b, catalog_done_fn done, void *user);

/* Read at start, synchronously. */
int catalog_load(struct catalog *c, struct catalog_start *ret, struct diag *d);

/* rows is NULL when r < 0.  Queries see every batch submitted before that could be written. */
typedef void (*catalog_rows_fn)(void *user, int r, struct catalog_rows *rows);
/* Everything known of one directory: checkpoints (with gone and evicted ones), runs, open
 * saves. */
void catalog_query_directory(struct catalog *c, int64_t directory, catalog_rows_fn done,
                             void *user);
void catalog_query_events(struct catalog *c, const struct catalog_event_query *q,
                          catalog_rows_fn done, void *user);
/* Of the file and its log, on disk now. */
uint64_t catalog_bytes(const struct catalog *c);
