/* Operations on worker threads, inside the store.  An operation runs a task of the manager's from
 * start to end on one thread; a batch lets it spread equal pieces of work over the pool for pieces
 * and waits for them. Owner of everything: struct store.  Nothing here knows what the work is. */
#pragma once

#include "diag.h"
#include "io.h"

#include <stddef.h>

struct store;

enum op_pool { OP_NORMAL, OP_EVICTION };

/* run is called on a worker thread, done on the thread that calls store_reap; both get the same
 * task. */
struct op_kind {
        enum op_pool pool;
        void (*run)(struct store *s, void *task);
        void (*fail)(void *task, int r); /* it cannot even be queued: sets the task's result */
        void (*done)(void *task);
};
void op_start(struct store *s, const struct op_kind *kind, void *task);

const struct io *op_io(const struct store *s);

/* One piece of work, 0 … n - 1, in any order, on any thread. */
typedef int (*batch_fn)(void *user, size_t i, struct diag *d);

/* Runs all n pieces, several at a time; after a failure no new ones are begun.  Returns the
 * first error, with its text.  Called from an operation only; batches of several operations take
 * turns. */
int batch_run(struct store *s, size_t n, batch_fn fn, void *user, struct diag *d);
