#include "own.h"
#include "fds.h"
#include "job.h"
#include "leftover.h"
#include "limit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define TICK_MS 1000

static int64_t clock_ms(clockid_t id)
{
        struct timespec t;

        clock_gettime(id, &t);
        return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t clock_boot_ms(void)
{
        return clock_ms(CLOCK_BOOTTIME);
}

int64_t clock_unix_ms(void)
{
        return clock_ms(CLOCK_REALTIME);
}

uint64_t manager_memory_max(const struct manager *m)
{
        return m->settings->memory_max
                       ? m->settings->memory_max
                       : (uint64_t)((double)store_memory_total() * m->settings->memory_share);
}

/* ---- rooms that have results ---- */

static void wake_up(void *user)
{
        uv_async_send(&((struct manager *)user)->wake);
}

/* Nothing is evicted while the catalog cannot be written: saves that wait for it fail now. */
static void stop_waiting_for_room(struct manager *m)
{
        struct directory *d;

        TAILQ_FOREACH (d, &m->directories, link)
                if (d->job)
                        job_room_made(d->job);
}

static void woken(uv_async_t *h)
{
        struct manager *m = h->data;

        worker_pool_reap(m->parsers);
        store_reap(m->store);
        catalog_reap(m->catalog);
        if (catalog_problem(m->catalog))
                stop_waiting_for_room(m);
        if (m->stopping)
                manager_settle_stop(m);
}

static void ticked(uv_timer_t *t)
{
        struct manager *m = t->data;
        struct directory *d, *next;
        int64_t now = clock_boot_ms();

        for (d = TAILQ_FIRST(&m->directories); d; d = next) {
                next = TAILQ_NEXT(d, link);
                directory_tick(d, now);
        }
        if (m->stopping)
                manager_settle_stop(m);
}

/* ---- start ---- */

static int open_rooms(struct manager *m, const struct manager_options *o, struct diag *d)
{
        struct catalog_options c = {.path = m->catalog_path, .wake = wake_up, .user = m};
        struct store_options s = {.io = o->io, .wake = wake_up, .user = m};
        struct worker_options w = {
                .name = "ckptd-parse", .n_threads = 1, .wake = wake_up, .user = m};
        int r = catalog_open(&m->catalog, &c, d);

        if (r < 0)
                return r;
        if (r == 1) {
                log_error("%s", diag_text(d, -EBADMSG));
                diag_done(d);
        }
        r = store_new(&m->store, &s);
        if (r >= 0)
                r = worker_pool_new(&m->parsers, &w);
        return r < 0 ? diag_set(d, r, "cannot start threads: %s", strerror(-r)) : 0;
}

static int take_directories(struct manager *m, struct catalog_start *start)
{
        for (size_t i = 0; i < start->n_directories; i++) {
                struct directory *d = calloc(1, sizeof(*d));

                if (!d)
                        return -ENOMEM;
                d->manager = m;
                d->row = start->directories[i];
                start->directories[i] = (struct catalog_directory){0};
                TAILQ_INIT(&d->waiting);
                TAILQ_INIT(&d->leases);
                TAILQ_INSERT_TAIL(&m->directories, d, link);
        }
        return 0;
}

static void handles_init(struct manager *m)
{
        uv_async_init(m->loop, &m->wake, woken);
        uv_timer_init(m->loop, &m->tick);
        m->wake.data = m->tick.data = m;
        uv_timer_start(&m->tick, ticked, TICK_MS, TICK_MS);
}

int manager_new(struct manager **ret, const struct manager_options *o, struct diag *d)
{
        struct manager *m = calloc(1, sizeof(*m));
        struct catalog_start start = {0};
        int r;

        if (!m || asprintf(&m->catalog_path, "%s/catalog.sqlite", o->state_dir) < 0) {
                free(m);
                return diag_set(d, -ENOMEM, "out of memory");
        }
        m->loop = o->loop;
        m->config = o->config;
        m->config_may_be_absent = o->config_may_be_absent;
        m->socket = o->socket;
        m->started_ms = clock_boot_ms();
        TAILQ_INIT(&m->directories);
        handles_init(m);
        r = open_rooms(m, o, d);
        if (r >= 0)
                r = catalog_load(m->catalog, &start, d);
        if (r >= 0)
                r = manager_load_settings(m, start.settings, d);
        if (r >= 0)
                r = take_directories(m, &start);
        m->next_save_id = start.next_save_id ? start.next_save_id : 1;
        catalog_start_done(&start);
        if (r >= 0) {
                manager_use_settings(m);
        }
        *ret = m; /* also after a failure: manager_stop takes it down */
        return r;
}

static void start_go(struct waiting *w, int r, const struct diag *d)
{
        (void)r;
        (void)d; /* said where it happened */
        free(w);
}

void manager_start(struct manager *m)
{
        struct directory *d, *next, *ignored;

        m->started = true;
        for (d = TAILQ_FIRST(&m->directories); d; d = next) {
                struct waiting *w = calloc(1, sizeof(*w));

                next = TAILQ_NEXT(d, link);
                if (!w)
                        return;
                w->go = start_go;
                directory_open(m, &(struct directory_ask){.path = d->row.path, .fd = -1}, w,
                               &ignored);
        }
}

/* ---- stop ---- */

static void manager_free(struct manager *m)
{
        struct directory *d;
        void (*stopped)(void *user) = m->stopped;
        void *user = m->stopped_user;

        while ((d = TAILQ_FIRST(&m->directories)))
                directory_free(d);
        settings_free(m->settings);
        free(m->settings_problem);
        free(m->reload_problem);
        free(m->catalog_path);
        free(m);
        stopped(user);
}

static void handle_closed(uv_handle_t *h)
{
        struct manager *m = h->data;

        if (--m->n_handles == 0)
                manager_free(m);
}

static bool at_rest(const struct manager *m)
{
        const struct directory *d;

        TAILQ_FOREACH (d, &m->directories, link)
                if (d->job || d->opening || d->tidying || d->n_readers || d->n_marks)
                        return false;
        return true;
}

void manager_settle_stop(struct manager *m)
{
        if (!m->stopping || m->n_handles || !at_rest(m))
                return;
        m->n_handles = 2;
        worker_pool_free(take_ptr(m->parsers));
        store_free(take_ptr(m->store));
        catalog_close(take_ptr(m->catalog));
        uv_close((uv_handle_t *)&m->wake, handle_closed);
        uv_close((uv_handle_t *)&m->tick, handle_closed);
}

static void end_readers(struct directory *d)
{
        struct job *j, *next;

        for (j = LIST_FIRST(&d->readers); j; j = next) {
                next = LIST_NEXT(j, link);
                job_maybe_end(j);
        }
}

void manager_stop(struct manager *m, void (*done)(void *user), void *user)
{
        struct directory *d, *next;

        m->stopped = done;
        m->stopped_user = user;
        m->stopping = true;
        for (d = TAILQ_FIRST(&m->directories); d; d = next) {
                next = TAILQ_NEXT(d, link);
                leftover_free(take_ptr(d->leftover));
                if (d->job)
                        job_maybe_end(d->job);
                end_readers(d);
        }
        if (m->started)
                note_add(m, NULL,
                         &(struct note){.event = "stopped", .step = -1, .level = LOG_LEVEL_INFO},
                         "in good order");
        manager_settle_stop(m);
}
