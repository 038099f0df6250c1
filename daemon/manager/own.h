/* What the manager's own files share: the manager, clocks, notes.  Nobody outside this room
 * includes it. */
#pragma once

#include "catalog.h"
#include "manager.h"
#include "settings.h"
#include "store.h"
#include "worker.h"

#include <sys/queue.h>

struct directory;
struct job;

TAILQ_HEAD(directories, directory);

struct manager {
        uv_loop_t *loop;
        uv_async_t wake; /* a room has results */
        uv_timer_t tick; /* leases, waiting attaches, owners' marks: every second while needed */
        const char *config, *socket;
        bool config_may_be_absent;
        char *state_dir, *catalog_path;
        struct settings *settings;
        bool started;
        char *reload_problem;       /* why the last reload changed nothing, or NULL */
        char *settings_problem;     /* the file is wrong; these are the last good ones */
        int64_t settings_loaded_ms; /* Unix time */
        struct catalog *catalog;
        struct store *store;
        struct worker_pool *parsers; /* manifests and layouts */
        struct directories directories;
        int64_t next_save_id;
        uint64_t memory_used; /* bytes in slots */
        int64_t started_ms;   /* boot clock */
        size_t n_opening;     /* directories being opened at start */
        bool stopping;
        void (*stopped)(void *user);
        void *stopped_user;
        unsigned n_handles; /* libuv handles still open at the end */
};

int64_t clock_boot_ms(void); /* monotonic, suspend included */
int64_t clock_unix_ms(void); /* for display and keep_checkpoint_every_n_hours only */

/* Looks whether everything has come to rest after manager_stop. */
void manager_settle_stop(struct manager *m);
/* reload.c.  -EINVAL: wrong, and none that loaded before. */
int manager_load_settings(struct manager *m, const char *last_good, struct diag *d);
void manager_use_settings(struct manager *m);
char *asker(const struct rpc_call *c); /* "root (uid 0)"; malloc'ed */
uint64_t manager_memory_max(const struct manager *m);

/* ---- notes.c: one thing that happened goes to the log and the history, once ---- */

struct note {
        struct directory *directory; /* NULL: the daemon */
        const char *event;           /* a kind that `ckptctl history --event` knows */
        const char *in_log;          /* what the log calls it; NULL: the event */
        int64_t step;                /* -1: none */
        enum log_level level;
};
/* With batch: goes along with its other rows; NULL: a batch of its own. */
void note_add(struct manager *m, struct catalog_batch *batch, const struct note *n,
              const char *format, ...) _printf_(4, 5);

/* ---- answers to calls (answer.c) ---- */

void answer_failed(struct rpc_call *c, int r, const char *text); /* Jobs.Failed */
void answer_text(struct rpc_call *c, const char *error,
                 const char *text); /* an error with only a message */
void answer_save_failed(struct rpc_call *c, int64_t step, const char *text); /* Jobs.SaveFailed */
void answer_no_directory(struct rpc_call *c, const char *model_dir); /* Admin.NoSuchDirectory */
void answer_busy(struct rpc_call *c, const char *error, const char *model_dir, pid_t pid,
                 const char *text);
