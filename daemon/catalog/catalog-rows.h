/* The rows of the catalog, as the manager puts and gets them.  Plain values: texts in what is put
 * are borrowed for the call; who owns texts in what is read stands beside the call that reads.
 * Times are Unix time in milliseconds.  Checkpoints are rows of their own kind: checkpoint.h. */
#pragma once

#include "checkpoint.h"

struct catalog_directory {
        int64_t id;      /* 0: not known yet; put assigns it before it returns */
        char *uuid;      /* .ckptd/directory.json */
        char *path;      /* real path */
        uint64_t device; /* st_dev's stable part: file system id */
        char *policy;    /* register --policy, or NULL */
        char *held;      /* why nothing is evicted, or NULL */
        bool registered;
        int64_t registered_ms;
        int64_t n_checkpoints;                    /* read only: those there */
        uint64_t bytes;                           /* read only */
        int64_t newest_step, newest_published_ms; /* read only, of the newest whole; -1: none */
};
void catalog_directory_done(struct catalog_directory *d);

struct catalog_run {
        int64_t directory, run; /* run counts from 1 in its directory */
        const char *job;
        int64_t pid, uid;
        int64_t world_size;
        int64_t base;                 /* restored from; -1: fresh; -2: not restored yet */
        int64_t started_ms, ended_ms; /* 0: not ended */
        const char *end_reason;       /* "detached", "died" … */
        const char *command;
};

struct catalog_save { /* every save, whatever came of it */
        int64_t id;   /* the daemon's save id; unique */
        int64_t directory, run, step;
        const char *reason; /* "due: 10m", "asked by root (uid 0)" */
        const char *result; /* "open", "saved", "failed", "skipped" */
        const char *error;
        int64_t due_ms, handed_off_ms, published_ms; /* 0: not reached */
        int64_t lost_us;                             /* of the job, by the copy */
        int64_t durable_ms;                          /* hand-off to published */
        uint64_t bytes;
};

struct catalog_event {
        int64_t id; /* when read */
        int64_t time_ms;
        const char *event; /* "saved", "failed" … */
        int64_t directory; /* 0: none */
        const char *path;  /* when read; NULL: none */
        int64_t step;      /* -1: none */
        const char *detail;
};

struct catalog_start { /* what the daemon needs of the catalog when it starts */
        size_t n_directories;
        struct catalog_directory *directories;
        int64_t next_save_id; /* greater than every one used */
        char *settings;       /* the last good settings text, or NULL */
};
void catalog_start_done(struct catalog_start *s);

struct catalog_rows { /* the answer of a query; owned by the catalog, valid in the callback */
        struct history checkpoints; /* query_directory; the callback may take them */
        int64_t last_run, last_sequence;
        size_t n_events;
        const struct catalog_event *events;
        size_t n_saves;
        const struct catalog_save *saves; /* open ones, by id */
        size_t n_runs;
        const struct catalog_run *runs; /* of query_directory, by number */
};

struct catalog_event_query {
        int64_t directory; /* 0: all */
        int64_t since_ms, after_id;
        const char *event; /* NULL: all; copied */
        int64_t limit;     /* the newest so many, oldest first; 0: all */
};
