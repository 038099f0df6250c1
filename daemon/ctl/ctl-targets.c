#include "ctl-targets.h"

#include "units.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void ctl_targets_done(struct ctl_targets *all)
{
        for (size_t i = 0; i < all->n; i++) {
                free(all->items[i].file);
                free(all->items[i].name);
                free(all->items[i].path);
                free(all->items[i].label);
                diag_done(&all->items[i].damage);
        }
        for (size_t i = 0; i < all->n_places; i++) {
                ctl_place_done(all->places[i]);
                free(all->places[i]);
        }
        free(all->items);
        free(all->places);
        *all = (struct ctl_targets){0};
}

static struct ctl_place *add_place(struct ctl_targets *all)
{
        struct ctl_place **more = reallocarray(all->places, all->n_places + 1, sizeof(*more));

        if (!more)
                return NULL;
        all->places = more;
        more[all->n_places] = calloc(1, sizeof(**more));
        return more[all->n_places] ? more[all->n_places++] : NULL;
}

static struct ctl_target *add_target(struct ctl_targets *all)
{
        if ((all->n & (all->n - 1)) == 0) {
                struct ctl_target *more =
                        reallocarray(all->items, all->n ? 2 * all->n : 1, sizeof(*more));

                if (!more)
                        return NULL;
                all->items = more;
        }
        all->items[all->n] = (struct ctl_target){.step = -1};
        return &all->items[all->n++];
}

/* Step, size and name come from the files where they can be read. */
static int look(struct ctl_target *t, const char *name)
{
        _cleanup_(stored_freep) struct stored *s = NULL;

        stored_open(&io_real, t->fd, t->file, &s, NULL);
        if (s) {
                t->bytes = s->bytes;
                t->step = t->step >= 0 ? t->step : s->step;
        }
        t->name = strdup(s ? s->name : name);
        if (t->name)
                t->path = ctl_join(t->parent, t->name);
        return t->path ? 0 : -ENOMEM;
}

static int make_label(struct ctl_target *t, const char *dir, const char *given)
{
        int n = given          ? asprintf(&t->label, "%s", given)
                : t->step >= 0 ? asprintf(&t->label, "%s@%" PRId64, dir, t->step)
                               : asprintf(&t->label, "%s/%s", dir, t->name);

        return n < 0 ? -ENOMEM : n;
}

static void widen(struct ctl_targets *all, const struct ctl_target *t)
{
        char size[UNITS_TEXT_MAX];
        int label = (int)strlen(t->label), width = (int)strlen(units_format_size(size, t->bytes));

        all->label_width = label > all->label_width ? label : all->label_width;
        all->size_width = width > all->size_width ? width : all->size_width;
}

/* c NULL: the file of the place. */
static int add_one(struct ctl_targets *all, const struct ctl_place *p,
                   const struct ctl_checkpoint *c, bool is_listed)
{
        struct ctl_target *t = add_target(all);
        int r;

        if (!t)
                return -ENOMEM;
        t->fd = p->fd;
        t->parent = p->parent;
        t->file = strdup(c ? c->file : p->file);
        t->step = c ? c->step : -1;
        t->is_recorded = c && c->state;
        t->is_candidate = !c || ctl_checkpoint_is_candidate(c);
        t->may_go = is_listed;
        r = t->file ? look(t, c ? c->name : p->file) : -ENOMEM;
        if (r == 0)
                r = make_label(t, p->path, c ? NULL : p->path);
        if (r >= 0)
                widen(all, t);
        return r < 0 ? r : 0;
}

static bool is_passing(const struct ctl_checkpoint *c)
{
        return c->state &&
               (strcmp(c->state, "publishing") == 0 || strcmp(c->state, "evicting") == 0);
}

int ctl_targets_add(struct ctl_targets *all, const char *path, struct diag *d)
{
        struct ctl_place *p = add_place(all);
        int r = p ? ctl_place_resolve(path, p, d) : -ENOMEM;

        if (r < 0) {
                if (p)
                        p->fd = -1;
                return r;
        }
        if (!p->dir || p->only)
                return add_one(all, p, p->only, false);
        for (size_t i = p->dir->n; r == 0 && i > 0; i--)
                if (!is_passing(&p->dir->items[i - 1]))
                        r = add_one(all, p, &p->dir->items[i - 1], true);
        return r;
}

size_t ctl_targets_count(const struct ctl_targets *all, enum ctl_outcome outcome)
{
        size_t n = 0;

        for (size_t i = 0; i < all->n; i++)
                n += all->items[i].outcome == outcome;
        return n;
}

uint64_t ctl_targets_bytes(const struct ctl_targets *all)
{
        uint64_t n = 0;

        for (size_t i = 0; i < all->n; i++)
                n += all->items[i].read_bytes;
        return n;
}

const struct ctl_target *ctl_targets_restore(const struct ctl_targets *all)
{
        if (all->n_places != 1 || !all->places[0]->dir || all->places[0]->only)
                return NULL;
        for (size_t i = all->n; i > 0; i--)
                if (all->items[i - 1].outcome == CTL_TARGET_WHOLE && all->items[i - 1].is_candidate)
                        return &all->items[i - 1];
        return NULL;
}
