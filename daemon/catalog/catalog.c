#include "catalog.h"

#include "catalog-files.h"
#include "catalog-thread.h"

#include <errno.h>
#include <string.h>

struct catalog {
        int lock_fd;
        struct catalog_ids ids;
        struct catalog_thread thread;
        char *problem; /* as of the last reap, or NULL */
};

/* ---- opening and closing ---- */

static void free_stopped(struct catalog *c)
{
        if (!c)
                return;
        catalog_thread_done(&c->thread);
        catalog_ids_done(&c->ids);
        closep(&c->lock_fd);
        free(c->problem);
        free(c);
}
DEFINE_FREEP(struct catalog, free_stopped)

static int new_stopped(struct catalog **ret, const struct catalog_options *o)
{
        struct catalog *c = calloc(1, sizeof(*c));
        int r;

        if (!c)
                return -ENOMEM;
        c->lock_fd = -1;
        catalog_ids_init(&c->ids);
        r = catalog_thread_init(&c->thread, o);
        if (r < 0)
                free_stopped(c);
        else
                *ret = c;
        return r;
}

static int open_db(struct catalog *c, struct diag *d)
{
        struct diag why = {0};
        int r = catalog_files_create(c->thread.path, d);

        if (r < 0)
                return r;
        r = catalog_db_open(&c->thread.db, c->thread.path, &why);
        if ((r == -ENOSPC || r == -EIO) && catalog_files_give_up_reserve(c->thread.path))
                r = catalog_db_open(&c->thread.db, c->thread.path, &why);
        if (r < 0)
                diag_set(d, r, "catalog %s: %s", c->thread.path, diag_text(&why, r));
        diag_done(&why);
        return r;
}

/* 1: it was broken, and a new one is open. */
static int open_or_replace(struct catalog *c, struct diag *d)
{
        _cleanup_(freep) char *aside = NULL;
        _cleanup_(diag_done) struct diag why = {0};
        int r = open_db(c, d);

        if (r != -EBADMSG)
                return r;
        diag_move(&why, d);
        r = catalog_files_set_aside(c->thread.path, &aside, d);
        if (r == 0)
                r = open_db(c, d);
        if (r < 0)
                return r;
        return diag_set(d, 1, "%s; set aside as %s, and a new one made", diag_text(&why, -EBADMSG),
                        aside);
}

static int load_ids(struct catalog *c, struct diag *d)
{
        sqlite3_stmt *s = c->thread.db.statements[SQL_LIST_IDS];
        int r = catalog_db_number(&c->thread.db, SQL_LAST_DIRECTORY, &c->ids.last, d), added = 0;

        while (r == 0 && (r = catalog_db_next(&c->thread.db, SQL_LIST_IDS, d)) > 0) {
                added = catalog_ids_add(&c->ids, (const char *)sqlite3_column_text(s, 1),
                                        sqlite3_column_int64(s, 0));
                r = 0;
                if (added < 0)
                        break;
        }
        sqlite3_reset(s);
        return r < 0 ? r : added;
}

int catalog_open(struct catalog **ret, const struct catalog_options *o, struct diag *d)
{
        _cleanup_(free_stoppedp) struct catalog *c = NULL;
        int r = new_stopped(&c, o), is_new;

        if (r == 0)
                r = catalog_files_make_folder(c->thread.path, d);
        if (r < 0)
                return r;
        c->lock_fd = catalog_files_lock(c->thread.path, d);
        if (c->lock_fd < 0)
                return c->lock_fd;
        is_new = open_or_replace(c, d);
        if (is_new < 0)
                return is_new;
        /* Neither is worth failing for: on a full disk there is no more than there was. */
        catalog_db_grow(&c->thread.db, NULL);
        c->thread.has_reserve = catalog_files_reserve(c->thread.path) == 0;
        r = load_ids(c, d);
        if (r == 0)
                r = catalog_thread_start(&c->thread);
        if (r < 0)
                return r;
        *ret = take_ptr(c);
        return is_new;
}

/* An answer's callback may submit more: that is done too, on this thread. */
void catalog_close(struct catalog *c)
{
        if (!c)
                return;
        catalog_thread_stop(&c->thread);
        do
                catalog_reap(c);
        while (catalog_thread_finish(&c->thread));
        free_stopped(c);
}

/* ---- the loop's side ---- */

struct catalog_batch *catalog_batch_new(struct catalog *c)
{
        struct catalog_request *q = calloc(1, sizeof(*q));

        if (!q)
                return NULL;
        q->kind = REQUEST_WRITE;
        q->batch.ids = &c->ids;
        return &q->batch;
}

static struct catalog_request *request_of(struct catalog_batch *b)
{
        return b ? (struct catalog_request *)((char *)b - offsetof(struct catalog_request, batch))
                 : NULL;
}

void catalog_batch_free(struct catalog_batch *b)
{
        catalog_request_free(request_of(b));
}

void catalog_submit(struct catalog *c, struct catalog_batch *b, catalog_done_fn done, void *user)
{
        struct catalog_request *q = request_of(b);

        if (!q) {
                if (done)
                        done(user, -ENOMEM);
                return;
        }
        q->batch_done = done;
        q->user = user;
        catalog_thread_submit(&c->thread, q);
}

static void submit_query(struct catalog *c, enum request_kind kind,
                         const struct catalog_event_query *query, catalog_rows_fn done, void *user)
{
        _cleanup_(catalog_request_freep) struct catalog_request *q = calloc(1, sizeof(*q));

        if (q && query->event)
                q->event = strdup(query->event);
        if (!q || (query->event && !q->event)) {
                done(user, -ENOMEM, NULL);
                return;
        }
        q->kind = kind;
        q->query = *query;
        q->query.event = q->event;
        q->rows_done = done;
        q->user = user;
        catalog_thread_submit(&c->thread, take_ptr(q));
}

void catalog_query_directory(struct catalog *c, int64_t directory, catalog_rows_fn done, void *user)
{
        submit_query(c, REQUEST_DIRECTORY, &(struct catalog_event_query){.directory = directory},
                     done, user);
}

void catalog_query_events(struct catalog *c, const struct catalog_event_query *q,
                          catalog_rows_fn done, void *user)
{
        submit_query(c, REQUEST_EVENTS, q, done, user);
}

int catalog_load(struct catalog *c, struct catalog_start *ret, struct diag *d)
{
        struct catalog_request q = {.kind = REQUEST_START, .start = ret};
        int r = catalog_thread_ask(&c->thread, &q);

        if (r < 0)
                diag_set(d, r, "catalog %s: %s", c->thread.path, diag_text(&q.diag, r));
        diag_done(&q.diag);
        return r;
}

static void answer(struct catalog_request *q)
{
        if (q->kind != REQUEST_WRITE)
                q->rows_done(q->user, q->r, q->r < 0 ? NULL : &q->answer.rows);
        else if (q->batch_done)
                q->batch_done(q->user, q->r);
}

/* What is answered while the callbacks run wakes again. */
unsigned catalog_reap(struct catalog *c)
{
        struct catalog_request *next;
        unsigned n = 0;

        for (struct catalog_request *q = catalog_thread_take(&c->thread, &c->problem); q;
             q = next, n++) {
                next = q->next;
                answer(q);
                catalog_request_free(q);
        }
        return n;
}

const char *catalog_problem(const struct catalog *c)
{
        return c->problem;
}

uint64_t catalog_bytes(const struct catalog *c)
{
        return catalog_files_bytes(c->thread.path);
}
