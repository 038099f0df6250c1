/* Worker threads beside the loop.  A task is constant while it runs; its result comes back on the
 * loop thread through worker_pool_reap.  Workers never touch the owner's state.
 * All signals are blocked in the threads. */
#pragma once

#include "cleanup.h"

struct worker_pool;

struct task {                         /* embed it first in the caller's task struct */
        void (*run)(struct task *t);  /* on a worker thread */
        void (*done)(struct task *t); /* on the thread that calls worker_pool_reap; frees */
        struct task *next;            /* worker_pool */
};

struct worker_options {
        const char *name; /* thread name, at most 15 bytes */
        unsigned n_threads;
        int nice; /* added to the threads' nice value; 0: none */
        /* Called on a worker thread when a result waits, once until the next reap; thread-safe. */
        void (*wake)(void *user);
        void *user;
};

int worker_pool_new(struct worker_pool **ret, const struct worker_options *o);
/* Runs what is queued, waits for the threads, then calls `done` of all. */
void worker_pool_free(struct worker_pool *p);
DEFINE_FREEP(struct worker_pool, worker_pool_free)
void worker_pool_submit(struct worker_pool *p, struct task *t);
/* Calls `done` for every finished task; returns how many. */
unsigned worker_pool_reap(struct worker_pool *p);
