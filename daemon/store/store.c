#include "store.h"

#include "op.h"
#include "worker.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#define OPERATION_THREADS 4 /* operations at one time: saves_at_once, and readers beside them */
#define PIECE_THREADS 8     /* pieces in flight when the caller does not say */
#define EVICTION_NICE 10

struct store {
        const struct io *io;
        struct worker_pool *operations, *evictions, *pieces;
        pthread_mutex_t lock;
        pthread_cond_t finished;
        unsigned n_finished;   /* counts wake-ups of the piece pool; under lock */
        atomic_uint n_waiting; /* pullers that are queued and do not run yet */
        unsigned n_pullers;    /* of one batch */
        void (*wake)(void *user);
        void *user;
};

/* ---- operations ---- */

struct op {
        struct task task; /* first: the pool hands it back as such */
        struct store *store;
        const struct op_kind *kind;
        void *work;
};

static void op_run(struct task *task)
{
        struct op *op = (struct op *)task;

        op->kind->run(op->store, op->work);
}

static void op_done(struct task *task)
{
        struct op *op = (struct op *)task;
        const struct op_kind *kind = op->kind;
        void *work = op->work;

        free(op);
        kind->done(work);
}

void op_start(struct store *s, const struct op_kind *kind, void *task)
{
        struct worker_pool *pool = kind->pool == OP_EVICTION ? s->evictions : s->operations;
        struct op *op = malloc(sizeof(*op));

        /* Without a pool the store is being freed, and what `done` asks for is refused. */
        if (!op || !pool) {
                free(op);
                kind->fail(task, pool ? -ENOMEM : -ECANCELED);
                kind->done(task);
                return;
        }
        *op = (struct op){
                .task = {.run = op_run, .done = op_done},
                .store = s,
                .kind = kind,
                .work = task,
        };
        worker_pool_submit(pool, &op->task);
}

const struct io *op_io(const struct store *s)
{
        return s->io;
}

/* ---- batches ---- */

struct batch {
        struct store *store;
        batch_fn fn;
        void *user;
        size_t n;
        atomic_size_t next;
        unsigned n_running; /* pullers; under the store's lock, as all below */
        int r;
        struct diag diag;
};

struct puller {
        struct task task; /* first */
        struct batch *batch;
};

static void batch_failed(struct batch *b, int r, struct diag *d)
{
        pthread_mutex_lock(&b->store->lock);
        if (b->r == 0) {
                b->r = r;
                diag_move(&b->diag, d);
        }
        pthread_mutex_unlock(&b->store->lock);
        atomic_store(&b->next, b->n);
}

/* false: nothing is left to begin. */
static bool pull_one(struct batch *b)
{
        _cleanup_(diag_done) struct diag d = {0};
        size_t i = atomic_fetch_add(&b->next, 1);
        int r;

        if (i >= b->n)
                return false;
        r = b->fn(b->user, i, &d);
        if (r < 0)
                batch_failed(b, r, &d);
        return true;
}

/* Stays on its thread from piece to piece, but makes room as soon as another batch waits. */
static void puller_run(struct task *task)
{
        struct batch *b = ((struct puller *)task)->batch;

        atomic_fetch_sub(&b->store->n_waiting, 1);
        while (pull_one(b) && atomic_load(&b->store->n_waiting) == 0)
                ;
}

static void puller_submit(struct puller *p)
{
        atomic_fetch_add(&p->batch->store->n_waiting, 1);
        worker_pool_submit(p->batch->store->pieces, &p->task);
}

static void puller_done(struct task *task)
{
        struct puller *p = (struct puller *)task;
        struct store *s = p->batch->store;

        if (atomic_load(&p->batch->next) < p->batch->n) {
                puller_submit(p);
                return;
        }
        pthread_mutex_lock(&s->lock);
        p->batch->n_running--;
        pthread_cond_broadcast(&s->finished);
        pthread_mutex_unlock(&s->lock);
}

static void pieces_wake(void *user)
{
        struct store *s = user;

        pthread_mutex_lock(&s->lock);
        s->n_finished++;
        pthread_cond_broadcast(&s->finished);
        pthread_mutex_unlock(&s->lock);
}

/* Whichever operation reaps first calls the `done` of all pullers, also of other batches'. */
static void batch_wait(struct batch *b)
{
        struct store *s = b->store;

        pthread_mutex_lock(&s->lock);
        while (b->n_running > 0) {
                unsigned seen = s->n_finished;

                pthread_mutex_unlock(&s->lock);
                worker_pool_reap(s->pieces);
                pthread_mutex_lock(&s->lock);
                if (b->n_running > 0 && s->n_finished == seen)
                        pthread_cond_wait(&s->finished, &s->lock);
        }
        pthread_mutex_unlock(&s->lock);
}

/* The calling thread takes its share. */
int batch_run(struct store *s, size_t n, batch_fn fn, void *user, struct diag *d)
{
        struct batch b = {.store = s, .fn = fn, .user = user, .n = n};
        _cleanup_(freep) struct puller *pullers = NULL;
        size_t n_pullers = (n < s->n_pullers ? n : s->n_pullers) - 1;

        if (n == 0)
                return 0;
        pullers = calloc(n_pullers + 1, sizeof(*pullers));
        if (!pullers)
                return -ENOMEM;
        b.n_running = (unsigned)n_pullers;
        for (size_t i = 0; i < n_pullers; i++) {
                pullers[i] = (struct puller){{.run = puller_run, .done = puller_done}, &b};
                puller_submit(&pullers[i]);
        }
        while (pull_one(&b))
                ;
        batch_wait(&b);
        if (b.r < 0)
                diag_move(d, &b.diag);
        diag_done(&b.diag);
        return b.r;
}

/* ---- the store ---- */

static int start_pools(struct store *s, unsigned n_pieces)
{
        struct worker_options operations = {
                .name = "ckptd-store",
                .n_threads = OPERATION_THREADS,
                .wake = s->wake,
                .user = s->user,
        };
        struct worker_options evictions = {
                .name = "ckptd-evict",
                .n_threads = 1,
                .nice = EVICTION_NICE,
                .wake = s->wake,
                .user = s->user,
        };
        struct worker_options pieces = {
                .name = "ckptd-pieces",
                .n_threads = n_pieces,
                .wake = pieces_wake,
                .user = s,
        };
        int r = worker_pool_new(&s->pieces, &pieces);

        if (r == 0)
                r = worker_pool_new(&s->operations, &operations);
        if (r == 0)
                r = worker_pool_new(&s->evictions, &evictions);
        return r;
}

int store_new(struct store **ret, const struct store_options *o)
{
        _cleanup_(store_freep) struct store *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return -ENOMEM;
        s->io = o->io;
        s->wake = o->wake;
        s->user = o->user;
        s->n_pullers = o->n_threads > 0 ? o->n_threads : PIECE_THREADS;
        pthread_mutex_init(&s->lock, NULL);
        pthread_cond_init(&s->finished, NULL);
        r = start_pools(s, s->n_pullers);
        if (r < 0)
                return r;
        *ret = take_ptr(s);
        return 0;
}

/* A pool is unlinked before it goes, so that what `done` starts while it is drained is refused;
 * operations need the pieces' pool to the end. */
void store_free(struct store *s)
{
        if (!s)
                return;
        worker_pool_free(take_ptr(s->operations));
        worker_pool_free(take_ptr(s->evictions));
        worker_pool_free(take_ptr(s->pieces));
        pthread_cond_destroy(&s->finished);
        pthread_mutex_destroy(&s->lock);
        free(s);
}

unsigned store_reap(struct store *s)
{
        unsigned n = s->operations ? worker_pool_reap(s->operations) : 0;

        return n + (s->evictions ? worker_pool_reap(s->evictions) : 0);
}
