/* Model directories: opened, owned, reconciled with what is on disk, and told apart by their ids
 * (directory.c, identity.c, owner.c, record.c, reconcile.c).  The manager owns a struct store_dir
 * and closes it when no operation runs in it.  Whether a directory was moved, copied or replaced is
 * judged by the manager: here are only the facts. */
#pragma once

#include "checkpoint.h"
#include "diag.h"

struct store;

struct store_dir; /* an open, owned model directory */

enum store_act {
        STORE_FINISHED,
        STORE_REMOVED,
        STORE_ADOPTED,
        STORE_GONE,
        STORE_DAMAGED,
        STORE_RESTORED_OLD
};
struct store_action { /* what reconciliation did or found */
        enum store_act act;
        char *name;   /* the checkpoint, or the file */
        int64_t step; /* -1: none */
        char *text;   /* why */
};

struct store_evicting { /* an eviction that the catalog knows as begun */
        const char *name;
        int64_t sequence; /* a later one of this name is another checkpoint */
};

struct store_open {
        /* task */
        const char *path;
        int fd;             /* the job's own descriptor of the directory, or -1; taken */
        bool create;        /* make the last component when it is missing */
        bool read_only;     /* look only: no lock, nothing written */
        bool take_over;     /* register --take-over */
        const char *socket; /* for .ckptd/owner */
        /* The file system's id when it was open last; 0: unknown.  An empty directory on another
         * one is -ENOENT, and nothing is written. */
        uint64_t known_device;
        size_t n_evicting; /* to be finished */
        const struct store_evicting *evicting;
        void (*done)(struct store_open *o);
        void *user;
        /* result */
        int r; /* -EBUSY owned by another daemon (owner_pid), -ENOTDIR, -EACCES, … */
        struct diag diag;
        struct store_dir *dir;
        char *real_path;
        char uuid[37];
        bool is_new;         /* directory.json was made now */
        char *recorded_path; /* in directory.json: where it was last */
        uint64_t device, recorded_device;
        bool is_empty; /* no file at all */
        pid_t owner_pid;
        struct history history; /* whole, damaged and superseded checkpoints that are there */
        size_t n_actions;
        struct store_action *actions;
        size_t n_unreadable; /* records that cannot be read: checkpoints, but nobody knows which */
        size_t n_strays;
        char **strays; /* files that nothing claims; never touched */
};
void store_open_dir(struct store *s, struct store_open *o);
void store_open_done(struct store_open *o); /* frees the result but dir */
void store_dir_close(struct store_dir *d);  /* releases the lock; no operation may be running */
int store_dir_fd(const struct store_dir *d);
enum store_presence {
        STORE_PRESENT,
        STORE_AWAY,    /* removed, renamed, unmounted: saves fail */
        STORE_ANOTHER, /* the same, and another directory is at its path: that can be opened */
};
enum store_presence store_dir_presence(const struct store_dir *d);
bool store_dir_is_network(const struct store_dir *d);
bool store_dir_is_locked(
        const struct store_dir *d); /* false: the file system has no locks; renewal alone counts */
/* Gives a directory that was copied or replaced a new id, and notes its present path. */
int store_dir_new_identity(struct store_dir *d, char ret_uuid[static 37], struct diag *diag);
/* Keeps the id and notes the present path: the directory was moved. */
int store_dir_note_path(struct store_dir *d, struct diag *diag);
int store_dir_renew(struct store_dir *d,
                    struct diag *diag); /* owner's mark on network file systems */

struct store_space {
        uint64_t free_bytes, total_bytes;
        uint64_t block_bytes; /* a file takes whole ones */
        uint64_t biggest;
        char type[32];
};
int store_dir_space(const struct store_dir *d, struct store_space *ret);
