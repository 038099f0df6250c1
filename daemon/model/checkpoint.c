#include "checkpoint.h"

#include <errno.h>
#include <string.h>

const char *const checkpoint_state_names[] = {
        "publishing", "whole", "damaged", "superseded", "evicting", "evicted", "gone", NULL,
};
const char *const checkpoint_origin_names[] = {"saved", "committed", "adopted", NULL};

bool checkpoint_is_there(const struct checkpoint *c)
{
        return c->state == CHECKPOINT_WHOLE || c->state == CHECKPOINT_DAMAGED ||
               c->state == CHECKPOINT_SUPERSEDED;
}

void checkpoint_done(struct checkpoint *c)
{
        for (size_t i = 0; i < c->n_files; i++)
                free(c->files[i].name);
        free(c->files);
        free(c->name);
        free(c->format);
        free(c->pin_by);
        free(c->pin_reason);
        free(c->replaces);
        *c = (struct checkpoint){0};
}

void checkpoint_free(struct checkpoint *c)
{
        if (!c)
                return;
        checkpoint_done(c);
        free(c);
}

static int copy_text(char **ret, const char *text)
{
        *ret = text ? strdup(text) : NULL;
        return text && !*ret ? -ENOMEM : 0;
}

static int copy_files(struct checkpoint *to, const struct checkpoint *from)
{
        int r = 0;

        if (from->n_files == 0)
                return 0;
        to->files = calloc(from->n_files, sizeof(*to->files));
        if (!to->files)
                return -ENOMEM;
        to->n_files = from->n_files;
        for (size_t i = 0; i < from->n_files && r == 0; i++) {
                to->files[i].bytes = from->files[i].bytes;
                r = copy_text(&to->files[i].name, from->files[i].name);
        }
        return r;
}

static int copy_texts(struct checkpoint *to, const struct checkpoint *from)
{
        int r;

        if ((r = copy_text(&to->name, from->name)) < 0 ||
            (r = copy_text(&to->format, from->format)) < 0 ||
            (r = copy_text(&to->pin_by, from->pin_by)) < 0 ||
            (r = copy_text(&to->pin_reason, from->pin_reason)) < 0)
                return r;
        return copy_text(&to->replaces, from->replaces);
}

int checkpoint_copy(struct checkpoint **ret, const struct checkpoint *c)
{
        _cleanup_(checkpoint_freep) struct checkpoint *copy = malloc(sizeof(*copy));
        int r;

        if (!copy)
                return -ENOMEM;
        *copy = *c;
        copy->n_files = 0;
        copy->files = NULL;
        copy->name = copy->format = copy->pin_by = copy->pin_reason = copy->replaces = NULL;
        r = copy_texts(copy, c);
        if (r == 0)
                r = copy_files(copy, c);
        if (r < 0)
                return r;
        *ret = take_ptr(copy);
        return 0;
}

void history_done(struct history *h)
{
        for (size_t i = 0; i < h->n; i++)
                checkpoint_free(h->items[i]);
        free(h->items);
        *h = (struct history){0};
}

/* Room for one more; the array doubles, so its size follows from n. */
static int reserve_one(struct history *h)
{
        struct checkpoint **items;

        if (h->n > 0 && (h->n < 8 || (h->n & (h->n - 1)) != 0))
                return 0;
        items = reallocarray(h->items, h->n < 8 ? 8 : 2 * h->n, sizeof(struct checkpoint *));
        if (!items)
                return -ENOMEM;
        h->items = items;
        return 0;
}

/* Two records of one sequence can only come from damaged records; the name makes the order firm. */
static bool is_before(const struct checkpoint *a, const struct checkpoint *b)
{
        if (a->sequence != b->sequence)
                return a->sequence < b->sequence;
        return strcmp(a->name, b->name) < 0;
}

static size_t index_of(const struct history *h, const char *name)
{
        for (size_t i = h->n; i > 0; i--)
                if (strcmp(h->items[i - 1]->name, name) == 0)
                        return i - 1;
        return SIZE_MAX;
}

static void remove_at(struct history *h, size_t at)
{
        checkpoint_free(h->items[at]);
        h->n--;
        memmove(h->items + at, h->items + at + 1, (h->n - at) * sizeof(*h->items));
}

int history_add(struct history *h, struct checkpoint *c)
{
        size_t known = index_of(h, c->name), at;

        if (known != SIZE_MAX)
                remove_at(h, known);
        else if (reserve_one(h) < 0) {
                checkpoint_free(c);
                return -ENOMEM;
        }
        for (at = h->n; at > 0 && is_before(c, h->items[at - 1]); at--)
                h->items[at] = h->items[at - 1];
        h->items[at] = c;
        h->n++;
        return 0;
}

void history_remove(struct history *h, const char *name)
{
        size_t at = index_of(h, name);

        if (at != SIZE_MAX)
                remove_at(h, at);
}

struct checkpoint *history_find(const struct history *h, const char *name)
{
        size_t at = index_of(h, name);

        return at == SIZE_MAX ? NULL : h->items[at];
}

struct checkpoint *history_at_step(const struct history *h, int64_t step)
{
        struct checkpoint *newest = NULL;

        for (size_t i = h->n; i > 0; i--) {
                struct checkpoint *c = h->items[i - 1];

                if (c->step != step)
                        continue;
                if (c->state == CHECKPOINT_WHOLE)
                        return c;
                if (!newest)
                        newest = c;
        }
        return newest;
}

struct checkpoint *history_newest_whole(const struct history *h, const struct checkpoint *before)
{
        for (size_t i = h->n; i > 0; i--) {
                struct checkpoint *c = h->items[i - 1];

                if (c->state == CHECKPOINT_WHOLE && (!before || is_before(c, before)))
                        return c;
        }
        return NULL;
}

size_t history_supersede(struct history *h, int64_t run, int64_t base)
{
        size_t n = 0;

        if (base < 0)
                return 0;
        for (size_t i = 0; i < h->n; i++) {
                struct checkpoint *c = h->items[i];

                if (c->state != CHECKPOINT_WHOLE || c->run >= run || c->step <= base)
                        continue;
                c->state = CHECKPOINT_SUPERSEDED;
                n++;
        }
        return n;
}
