/* For tests of the catalog: rows put, and what a query answered kept beyond its callback. */
#pragma once

#include "catalog-fixture.h"

static inline int64_t put_directory(struct fixture *f, char *uuid, char *path)
{
        struct catalog_directory d = {.uuid = uuid, .path = path, .registered = true};
        struct catalog_batch *b = new_batch(f);

        catalog_put_directory(b, &d);
        assert_true(d.id > 0);
        assert_int_equal(submit(f, b), 0);
        return d.id;
}

static inline int submit_event(struct fixture *f, int64_t directory, int64_t time_ms,
                               const char *event, const char *detail)
{
        struct catalog_batch *b = new_batch(f);
        struct catalog_event e = {.time_ms = time_ms,
                                  .event = event,
                                  .directory = directory,
                                  .step = -1,
                                  .detail = detail};

        catalog_add_event(b, &e);
        return submit(f, b);
}

struct kept {
        struct fixture *f;
        bool is_done;
        int r;
        struct history checkpoints;
        int64_t last_run, last_sequence;
        size_t n_events, n_saves;
        struct catalog_event first_event, last_event;
        struct catalog_save save;
        char details[4096]; /* of the events, joined by spaces */
        char texts[256];    /* of the first save */
};

static inline void keep(void *user, int r, struct catalog_rows *rows)
{
        struct kept *k = user;

        k->is_done = true;
        k->r = r;
        if (r < 0) {
                assert_null(rows);
                return;
        }
        k->checkpoints = rows->checkpoints;
        rows->checkpoints = (struct history){0};
        k->last_run = rows->last_run;
        k->last_sequence = rows->last_sequence;
        k->n_events = rows->n_events;
        k->n_saves = rows->n_saves;
        for (size_t i = 0; i < rows->n_events && strlen(k->details) < 2048; i++)
                snprintf(k->details + strlen(k->details), 64, "%s%.60s", i > 0 ? " " : "",
                         rows->events[i].detail ? rows->events[i].detail : "-");
        if (rows->n_events > 0) {
                k->first_event = rows->events[0];
                k->last_event = rows->events[rows->n_events - 1];
        }
        if (rows->n_saves > 0) {
                k->save = rows->saves[0];
                snprintf(k->texts, sizeof(k->texts), "%s/%s/%s", k->save.reason, k->save.result,
                         k->save.error ? k->save.error : "-");
        }
}

static inline void query_directory(struct fixture *f, int64_t directory, struct kept *k)
{
        *k = (struct kept){.f = f};
        catalog_query_directory(f->catalog, directory, keep, k);
        while (!k->is_done)
                reap(f);
        assert_int_equal(k->r, 0);
}

static inline void query_events(struct fixture *f, struct catalog_event_query q, struct kept *k)
{
        *k = (struct kept){.f = f};
        catalog_query_events(f->catalog, &q, keep, k);
        while (!k->is_done)
                reap(f);
        assert_int_equal(k->r, 0);
}

/* ---- the order of answers ---- */

struct order {
        int next;
        bool is_whole;
};
struct numbered {
        struct order *order;
        int number;
};

static inline void check_order(void *user, int r)
{
        struct numbered *n = user;

        assert_int_equal(r, 0);
        n->order->is_whole = n->order->is_whole && n->number == n->order->next;
        n->order->next++;
}
