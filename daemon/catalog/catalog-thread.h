/* The catalog's thread: works off requests in order, on the connection that is its own while it
 * runs, and gives each back answered.  A batch that cannot be written keeps its place and is tried
 * again on every new request and every CATALOG_RETRY_MS; questions pass it meanwhile.  It calls
 * nobody but `wake`. */
#pragma once

#include "catalog-batch.h"
#include "catalog-read.h"

#include <time.h>

enum request_kind { REQUEST_WRITE, REQUEST_DIRECTORY, REQUEST_EVENTS, REQUEST_START };

/* One thing asked, and then its answer. */
struct catalog_request {
        struct catalog_request *next; /* catalog_thread::queued or catalog_thread::answered */
        enum request_kind kind;
        int r;
        struct diag diag;
        void *user;
        struct catalog_batch batch; /* write */
        catalog_done_fn batch_done;
        struct catalog_event_query query; /* of a directory, or of events */
        char *event;                      /* query.event */
        struct catalog_answer answer;
        catalog_rows_fn rows_done;
        struct catalog_start *start; /* the asker waits, and owns the request */
        bool is_answered;            /* the same */
};

void catalog_request_free(struct catalog_request *q);
DEFINE_FREEP(struct catalog_request, catalog_request_free)

struct request_queue {
        struct catalog_request *first, **end;
        size_t n;
};

struct catalog_thread {
        char *path;
        void (*wake)(void *user);
        void *user;
        struct catalog_db db; /* the thread's, while it runs */
        bool has_reserve;     /* the same */
        pthread_t thread;

        pthread_mutex_t lock; /* of what follows */
        pthread_cond_t work, loaded;
        struct request_queue queued, answered;
        char *problem;            /* why batches wait, or NULL */
        bool problem_changed;     /* since it was taken */
        bool is_blocked;          /* the first batch cannot be written now */
        struct timespec retry_at; /* then: CLOCK_MONOTONIC */
        bool is_closing;
        int given_up; /* < 0: closing, and nothing more can be written */
};

int catalog_thread_init(struct catalog_thread *t, const struct catalog_options *o);
void catalog_thread_done(struct catalog_thread *t); /* not while it runs */
/* The connection is open by now. */
int catalog_thread_start(struct catalog_thread *t);
/* Answers everything, ends the thread. */
void catalog_thread_stop(struct catalog_thread *t);
void catalog_thread_submit(struct catalog_thread *t, struct catalog_request *q); /* takes q */
/* Submits q, which stays the caller's, and waits for its answer. */
int catalog_thread_ask(struct catalog_thread *t, struct catalog_request *q);
/* The list of what was answered; *problem is replaced if it has changed. */
struct catalog_request *catalog_thread_take(struct catalog_thread *t, char **problem);
/* After stop: works off what was submitted since, on the caller's thread.  False: nothing was. */
bool catalog_thread_finish(struct catalog_thread *t);
