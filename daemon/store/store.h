/* The store: everything that touches a model directory's files, and the shared memory of slots.
 * Its worker threads do the I/O; every operation takes a task that stays constant while it runs and
 * answers on the loop thread through store_reap.  It decides nothing: what to save, evict or
 * restore is the manager's. All system calls on model directories go through one table (io.h), so
 * that tests can fail each of them. */
#pragma once

#include "io.h"
#include "store-dir.h"
#include "store-keep.h"
#include "store-restore.h"
#include "store-save.h"
#include "store-slots.h"

struct store;

struct store_options {
        const struct io *io;
        unsigned n_threads;       /* for pieces of data; 0: 8 */
        void (*wake)(void *user); /* thread-safe */
        void *user;
};

int store_new(struct store **ret, const struct store_options *o);
void store_free(struct store *s); /* waits for what runs */
DEFINE_FREEP(struct store, store_free)
unsigned store_reap(struct store *s); /* runs the `done` of every finished operation */
