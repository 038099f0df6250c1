#include "retention.h"

#include "units.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define HOUR_MS 3600000.0
#define BLOCK_BYTES ((uint64_t)4096) /* of most file systems */

struct plan {
        const struct history *history;
        const struct policy *policy;
        bool any_whole;                    /* one that a restore can take, adopted ones too */
        const struct checkpoint *fallback; /* the newest superseded one, where none is whole */
        size_t n_newer;                    /* counted ones after the row in hand */
};

/* Does keep_checkpoint_max count it? */
static bool is_counted(const struct checkpoint *c)
{
        return c->state == CHECKPOINT_WHOLE && c->origin != CHECKPOINT_ADOPTED;
}

/* A text cut in the middle of a UTF-8 character would be refused by every JSON library. */
static void trim_utf8(char *text)
{
        size_t n = strlen(text), start = n;

        while (start > 0 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
                start--;
        if (start > 0 && (unsigned char)text[start - 1] >= 0xc0) {
                unsigned char lead = (unsigned char)text[start - 1];
                size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;

                if (n - (start - 1) < length)
                        text[start - 1] = '\0';
        }
}

static void add_reason(struct retention_row *row, const char *format, ...) _printf_(2, 3);

static void add_reason(struct retention_row *row, const char *format, ...)
{
        size_t n = strlen(row->reason);
        va_list args;

        row->keep = true;
        if (n + 3 > sizeof(row->reason))
                return;
        if (n > 0)
                n += (size_t)snprintf(row->reason + n, sizeof(row->reason) - n, ", ");
        va_start(args, format);
        vsnprintf(row->reason + n, sizeof(row->reason) - n, format, args);
        va_end(args);
        for (char *c = row->reason; *c; c++)
                if ((unsigned char)*c < ' ' || *c == 0x7f)
                        *c = ' ';
        trim_utf8(row->reason);
}

static void keep_newest(const struct plan *plan, struct retention_row *row)
{
        int64_t max = plan->policy->keep_checkpoint_max;

        if (!is_counted(row->checkpoint))
                return;
        if (max == 0)
                add_reason(row, "all are kept");
        else if (plan->n_newer < (uint64_t)max)
                add_reason(row, "newest %zu/%" PRId64, plan->n_newer + 1, max);
}

static void keep_preserved(const struct plan *plan, struct retention_row *row)
{
        double hours = plan->policy->keep_checkpoint_every_n_hours;
        char text[UNITS_TEXT_MAX];

        if (!row->checkpoint->preserved)
                return;
        if (hours > 0)
                add_reason(row, "every %s",
                           units_format_interval(text, (int64_t)(hours * HOUR_MS + 0.5)));
        else
                add_reason(row, "preserved by an earlier policy");
}

static void keep_for_people(const struct plan *plan, struct retention_row *row)
{
        const struct checkpoint *c = row->checkpoint;

        (void)plan;
        if (c->pin_by && c->pin_reason && *c->pin_reason)
                add_reason(row, "pinned by %s: %s", c->pin_by, c->pin_reason);
        else if (c->pin_by)
                add_reason(row, "pinned by %s", c->pin_by);
        if (c->leases == 1)
                add_reason(row, "leased by a reader");
        else if (c->leases > 1)
                add_reason(row, "leased by %u readers", c->leases);
}

static void keep_untouchable(const struct plan *plan, struct retention_row *row)
{
        const struct checkpoint *c = row->checkpoint;

        if (c->state == CHECKPOINT_DAMAGED)
                add_reason(row, "damaged: kept until its files are deleted");
        else if (c->origin == CHECKPOINT_ADOPTED)
                add_reason(row, "adopted, not counted");
        else if (c == plan->fallback)
                add_reason(row, "superseded, but no other is whole");
}

/* The run that superseded it: the first later one of which a whole checkpoint still stands. */
static int64_t superseding_run(const struct history *h, const struct checkpoint *c)
{
        int64_t run = 0;

        for (size_t i = 0; i < h->n; i++) {
                const struct checkpoint *o = h->items[i];

                if (o->state == CHECKPOINT_WHOLE && o->run > c->run && (run == 0 || o->run < run))
                        run = o->run;
        }
        return run;
}

static void evict(const struct plan *plan, struct retention_row *row)
{
        const struct checkpoint *c = row->checkpoint;
        int64_t run;

        if (c->state != CHECKPOINT_SUPERSEDED) {
                snprintf(row->reason, sizeof(row->reason), "older than the newest %" PRId64,
                         plan->policy->keep_checkpoint_max);
                return;
        }
        run = superseding_run(plan->history, c);
        if (run)
                snprintf(row->reason, sizeof(row->reason), "superseded by run %" PRId64, run);
        else
                snprintf(row->reason, sizeof(row->reason), "superseded by a later run");
}

static void decide(const struct plan *plan, struct retention_row *row)
{
        static void (*const rules[])(const struct plan *plan, struct retention_row *row) = {
                keep_newest,
                keep_preserved,
                keep_for_people,
                keep_untouchable,
        };

        for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
                rules[i](plan, row);
        if (!row->keep)
                evict(plan, row);
}

static size_t survey(struct plan *plan)
{
        size_t n = 0;

        for (size_t i = 0; i < plan->history->n; i++) {
                const struct checkpoint *c = plan->history->items[i];

                n += checkpoint_is_there(c);
                plan->any_whole |= c->state == CHECKPOINT_WHOLE;
                if (c->state == CHECKPOINT_SUPERSEDED)
                        plan->fallback = c;
        }
        if (plan->any_whole)
                plan->fallback = NULL;
        return n;
}

int retention_plan(const struct history *h, const struct policy *p, struct retention_row **ret,
                   size_t *ret_n)
{
        struct plan plan = {.history = h, .policy = p};
        size_t n = survey(&plan), at = n;
        struct retention_row *rows = calloc(n ? n : 1, sizeof(*rows));

        if (!rows)
                return -ENOMEM;
        for (size_t i = h->n; i > 0; i--) {
                if (!checkpoint_is_there(h->items[i - 1]))
                        continue;
                rows[--at].checkpoint = h->items[i - 1];
                decide(&plan, &rows[at]);
                plan.n_newer += is_counted(h->items[i - 1]);
        }
        *ret = rows;
        *ret_n = n;
        return 0;
}

static size_t count_whole(const struct history *h)
{
        size_t n = 0;

        for (size_t i = 0; i < h->n; i++)
                n += h->items[i]->state == CHECKPOINT_WHOLE;
        return n;
}

/* The history as it would be after the save; its items are borrowed. */
static int add_next(const struct history *h, struct checkpoint *next, struct history *ret)
{
        ret->items = calloc(h->n + 1, sizeof(*ret->items));
        if (!ret->items)
                return -ENOMEM;
        for (; ret->n < h->n; ret->n++)
                ret->items[ret->n] = h->items[ret->n];
        ret->items[ret->n++] = next;
        return 0;
}

/* On disk, where files take whole blocks, with its record. */
static uint64_t count_room(const struct checkpoint *c)
{
        uint64_t bytes = BLOCK_BYTES;

        for (size_t i = 0; i < c->n_files; i++)
                bytes += (c->files[i].bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
        return bytes;
}

/* The rows of what may go before the save, in front; how many. */
static size_t pick_for_room(struct retention_row *rows, size_t n, size_t n_whole,
                            const char *except)
{
        size_t n_picked = 0;

        for (size_t i = 0; i < n; i++) {
                const struct checkpoint *c = rows[i].checkpoint;
                bool is_whole = c->state == CHECKPOINT_WHOLE;

                if (rows[i].keep || (except && strcmp(c->name, except) == 0) ||
                    n_whole < (size_t)2 + is_whole)
                        continue;
                n_whole -= is_whole;
                rows[n_picked++] = rows[i];
        }
        return n_picked;
}

int retention_make_room(const struct history *h, const struct policy *p, const char *except,
                        struct retention_row *ret, uint64_t *ret_bytes)
{
        struct checkpoint next = {.state = CHECKPOINT_WHOLE, .sequence = INT64_MAX};
        _cleanup_(freep) struct retention_row *rows = NULL;
        struct history then = {0};
        size_t n = 0;
        int r = add_next(h, &next, &then);

        if (r == 0)
                r = retention_plan(&then, p, &rows, &n);
        free(then.items);
        if (r < 0)
                return r;
        n = pick_for_room(rows, n, count_whole(h), except);
        if (n == 0)
                return 0;
        *ret = rows[0];
        snprintf(ret->reason, sizeof(ret->reason), "making room");
        *ret_bytes = 0;
        for (size_t i = 0; i < n; i++)
                *ret_bytes += count_room(rows[i].checkpoint);
        return 1;
}

bool retention_preserves(const struct history *h, const struct policy *p, int64_t published_ms)
{
        double mark;

        if (p->keep_checkpoint_every_n_hours <= 0 || h->n == 0)
                return false;
        mark = (double)h->items[0]->published_ms;
        /* What was recorded after a mark in the future had set it to its own time.  The time of an
         * adopted one is not the time at which it was recorded. */
        for (size_t i = 0; i < h->n; i++) {
                const struct checkpoint *c = h->items[i];
                double time = (double)c->published_ms;

                if (c->preserved || (mark > time && c->origin != CHECKPOINT_ADOPTED))
                        mark = time;
        }
        if (mark > (double)published_ms)
                mark = (double)published_ms;
        return (double)published_ms - mark >= p->keep_checkpoint_every_n_hours * HOUR_MS;
}
