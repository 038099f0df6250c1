/* The manager owns the rooms (store, catalog, settings) and every directory, job and rank.  Methods
 * and the composition call it; it answers calls itself, now or later.  All of it runs on the loop
 * thread. The life of a checkpoint is told top to bottom in saving.c. */
#pragma once

#include "diag.h"
#include "io.h"
#include "server.h"

struct manager;

struct manager_options {
        uv_loop_t *loop;
        const struct io *io;
        const char *config;        /* the settings file */
        bool config_may_be_absent; /* the default place */
        const char *state_dir;     /* holds catalog.sqlite */
        const char *socket;        /* named in .ckptd/owner and status */
};

/* -EBUSY: another daemon has the catalog; -EINVAL: settings wrong and none recorded. */
int manager_new(struct manager **ret, const struct manager_options *o, struct diag *d);
/* Reconciles every known directory in the background. */
void manager_start(struct manager *m);
/* Finishes what was handed off, closes directories and catalog, then done(user); frees m before
 * done. */
void manager_stop(struct manager *m, void (*done)(void *user), void *user);
/* Reads the settings anew and acts on attached jobs at once.  *ret_changes: new array of strings.
 * -EINVAL: nothing changed, the diag has every mistake.  c: who asks; NULL: a signal. */
int manager_reload(struct manager *m, const struct rpc_call *c, json_t **ret_changes,
                   struct diag *d);

/* ---- io.ckptd.Jobs ---- */

struct attach_parameters {
        const char *model_dir, *job, *policy, *command;
        int64_t model_dir_fd, pid_fd, manifest_fd, page_fd, layout_fd;
        int64_t rank, world_size, attach;
        json_t *policy_values, *manifest, *slot_fds;
        bool fresh, read_only, has_world_size;
};
struct describe_parameters {
        json_t *manifest;
        int64_t manifest_fd;
};
struct hand_off_parameters {
        int64_t step;
        bool forced;
};
struct piece_parameters {
        int64_t step, asked, offset, bytes;
        bool last;
};
struct step_parameters {
        int64_t step;
};
struct commit_parameters {
        int64_t step;
        const char *path;
};
struct restore_parameters {
        int64_t step;
        bool has_step;
        const char *path;
        bool partial;
};
struct wait_parameters {
        int64_t attach, step;
        bool has_step;
};

void manager_attach(struct manager *m, struct rpc_call *c, const struct attach_parameters *p);
void manager_describe(struct manager *m, struct rpc_call *c, const struct describe_parameters *p);
void manager_hand_off(struct manager *m, struct rpc_call *c, const struct hand_off_parameters *p);
void manager_piece(struct manager *m, struct rpc_call *c, const struct piece_parameters *p);
void manager_step(struct manager *m, struct rpc_call *c, const struct step_parameters *p);
void manager_commit(struct manager *m, struct rpc_call *c, const struct commit_parameters *p);
void manager_restore(struct manager *m, struct rpc_call *c, const struct restore_parameters *p);
void manager_restored(struct manager *m, struct rpc_call *c, const struct step_parameters *p);
void manager_wait(struct manager *m, struct rpc_call *c, const struct wait_parameters *p);
void manager_finish(struct manager *m, struct rpc_call *c, const struct step_parameters *p);
void manager_detach(struct manager *m, struct rpc_call *c);

/* ---- io.ckptd.Admin ---- */

struct list_parameters {
        const char *model_dir;
        bool all;
};
struct history_parameters {
        const char *model_dir, *event;
        int64_t since_ms, limit;
};
struct save_parameters {
        const char *model_dir;
        bool all, wait;
};
struct damage_parameters {
        const char *model_dir, *path;
};

void manager_status(struct manager *m, struct rpc_call *c);
void manager_list(struct manager *m, struct rpc_call *c, const struct list_parameters *p);
void manager_history(struct manager *m, struct rpc_call *c, const struct history_parameters *p);
void manager_save(struct manager *m, struct rpc_call *c, const struct save_parameters *p);
void manager_latest(struct manager *m, struct rpc_call *c, const struct list_parameters *p);
void manager_report_damage(struct manager *m, struct rpc_call *c,
                           const struct damage_parameters *p);
