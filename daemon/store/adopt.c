/* What no record claims: whole checkpoints become ours to list and never ours to have written;
 * everything else that looks like a part of one is a stray. */
#include "reconcile.h"

#include "record.h"
#include "scan.h"
#include "stored.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool ends_with(const char *name, const char *suffix)
{
        size_t n = strlen(name), m = strlen(suffix);

        return n > m && strcmp(name + n - m, suffix) == 0;
}

/* "-00001-of-00008" before the suffix: never a checkpoint by itself. */
static bool is_shard(const char *name)
{
        const char *dash = strstr(name, "-of-");

        return dash && dash > name + 5 && strspn(dash + 4, "0123456789") >= 5 &&
               strspn(dash - 5, "0123456789") == 5;
}

/* The file that makes a checkpoint visible. */
static bool is_index(const char *name)
{
        if (*name == '.')
                return false;
        if (ends_with(name, ".index") || ends_with(name, ".safetensors.index.json"))
                return true;
        return ends_with(name, ".safetensors") && !is_shard(name);
}

static bool is_part(const char *name)
{
        return is_index(name) || ends_with(name, ".safetensors") || strstr(name, ".tempstate") ||
               (strstr(name, ".data-") && is_shard(name));
}

static void claim_files(struct scan *names, const struct checkpoint *c)
{
        for (size_t i = 0; i < c->n_files; i++) {
                struct scan_name *name = scan_find(names, c->files[i].name);

                if (name)
                        name->is_claimed = true;
        }
}

/* A record that cannot be read claims every file of its checkpoint's name. */
static void claim_unreadable(const struct reconcile *rc, struct scan *names)
{
        for (size_t i = 0; i < rc->n_unreadable; i++) {
                size_t length = strlen(rc->unreadable[i]);

                for (size_t k = 0; k < names->n; k++) {
                        const char *text = names->names[k].text;

                        if (strncmp(text, rc->unreadable[i], length) == 0 &&
                            strchr(".-", text[length]))
                                names->names[k].is_claimed = true;
                }
        }
}

/* After all that was recorded, or beside the recorded one that precedes it by step: a copy of an
 * old checkpoint must not become the newest. */
static int64_t place_sequence(const struct history *h, int64_t step)
{
        int64_t before = 0, last = 0, newest_step = -1;

        for (size_t i = 0; i < h->n; i++) {
                const struct checkpoint *c = h->items[i];

                last = c->sequence > last ? c->sequence : last;
                newest_step = c->step > newest_step ? c->step : newest_step;
                if (c->step <= step && c->sequence > before)
                        before = c->sequence;
        }
        return step > newest_step ? last + 1 : before;
}

static int make_checkpoint(struct reconcile *rc, const struct stored *stored,
                           struct checkpoint **ret)
{
        _cleanup_(checkpoint_freep) struct checkpoint *c = calloc(1, sizeof(*c));
        struct file_facts facts;
        int r;

        if (!c)
                return -ENOMEM;
        c->name = strdup(stored->name);
        c->format = strdup(stored->format->name);
        c->step = stored->step;
        c->state = CHECKPOINT_WHOLE;
        c->origin = CHECKPOINT_ADOPTED;
        c->bytes = stored->bytes;
        r = c->name && c->format ? record_take_files(stored, &c->files, &c->n_files) : -ENOMEM;
        if (r == 0)
                r = call_facts(rc->dir->io,
                               (struct place){rc->dir->fd, c->files[c->n_files - 1].name}, &facts);
        if (r < 0)
                return r;
        c->published_ms = facts.modified_ms;
        *ret = take_ptr(c);
        return 0;
}

static int adopt(struct reconcile *rc, struct checkpoint **c)
{
        int r;

        (*c)->sequence = place_sequence(&rc->open->history, (*c)->step);
        r = reconcile_record(rc, *c);
        if (r == 0)
                r = reconcile_note(rc, STORE_ADOPTED, *c, "written by somebody else");
        return r < 0 ? r : history_add(&rc->open->history, take_ptr(*c));
}

/* 0 also for one that is not whole, is just being written, or is for somebody else's eyes: it stays
 * a stray. */
static int find_checkpoint(struct reconcile *rc, const char *index, struct checkpoint **ret)
{
        _cleanup_(stored_freep) struct stored *stored = NULL;
        char file[RECORD_FILE_MAX];
        int r = stored_open(rc->dir->io, rc->dir->fd, index, &stored, NULL);

        if (r == -EBADMSG || r == -ENOENT || r == -EINVAL || r == -EOPNOTSUPP || r == -EACCES ||
            r == -EPERM)
                return 0;
        if (r < 0)
                return r;
        if (stored->step < 0 || stored->n_files == 0 || record_file_name(file, stored->name) < 0)
                return 0;
        if (history_find(&rc->open->history, stored->name))
                return 0;
        r = make_checkpoint(rc, stored, ret);
        return r == -EINVAL ? 0 : r;
}

/* TensorFlow saves the step from which it goes on, under the name that it has already.  Damage does
 * not write an index that is younger than the record and fits the files. */
int adopt_is_rewritten(struct reconcile *rc, const struct checkpoint *c)
{
        _cleanup_(stored_freep) struct stored *stored = NULL;
        const char *index = c->files[c->n_files - 1].name;
        struct file_facts facts;
        int r = call_facts(rc->dir->io, (struct place){rc->dir->fd, index}, &facts);

        if (r < 0)
                return r;
        if (facts.modified_ms <= c->published_ms || c->pin_by)
                return 0;
        r = stored_open(rc->dir->io, rc->dir->fd, index, &stored, NULL);
        if (r == -EBADMSG || r == -ENOENT || r == -EINVAL || r == -EOPNOTSUPP)
                return 0;
        return r < 0 ? r : 1;
}

static int by_step(const void *a, const void *b)
{
        const struct checkpoint *x = *(struct checkpoint *const *)a,
                                *y = *(struct checkpoint *const *)b;

        if (x->step != y->step)
                return x->step < y->step ? -1 : 1;
        return strcmp(x->name, y->name);
}

/* All that are found first, for their order is that of their steps. */
static int find_all(struct reconcile *rc, struct scan *names, struct checkpoint **found, size_t *n)
{
        for (size_t i = 0; i < names->n; i++) {
                const struct scan_name *name = &names->names[i];
                int r;

                if (!name->is_regular || name->is_claimed || !is_index(name->text))
                        continue;
                r = find_checkpoint(rc, name->text, &found[*n]);
                if (r < 0)
                        return r;
                if (found[*n])
                        claim_files(names, found[(*n)++]);
        }
        qsort(found, *n, sizeof(*found), by_step);
        return 0;
}

static int adopt_all(struct reconcile *rc, struct scan *names)
{
        struct checkpoint **found = calloc(names->n + 1, sizeof(*found));
        size_t n = 0;
        int r;

        if (!found)
                return -ENOMEM;
        r = find_all(rc, names, found, &n);
        for (size_t i = 0; r == 0 && i < n; i++)
                r = adopt(rc, &found[i]);
        for (size_t i = 0; i < n; i++)
                checkpoint_free(found[i]);
        free(found);
        return r;
}

static int list_strays(struct reconcile *rc, const struct scan *names)
{
        char **strays = calloc(names->n + 1, sizeof(*strays));

        if (!strays)
                return -ENOMEM;
        rc->open->strays = strays;
        for (size_t i = 0; i < names->n; i++) {
                const struct scan_name *name = &names->names[i];

                if (!name->is_regular || name->is_claimed || !is_part(name->text))
                        continue;
                strays[rc->open->n_strays] = strdup(name->text);
                if (!strays[rc->open->n_strays])
                        return -ENOMEM;
                rc->open->n_strays++;
        }
        return 0;
}

int adopt_rest(struct reconcile *rc)
{
        _cleanup_(scan_done) struct scan names = {0};
        int r = scan_load(rc->dir->io, rc->dir->fd, &names);

        if (r < 0)
                return r;
        for (size_t i = 0; i < rc->open->history.n; i++)
                claim_files(&names, rc->open->history.items[i]);
        claim_unreadable(rc, &names);
        r = adopt_all(rc, &names);
        return r < 0 ? r : list_strays(rc, &names);
}
