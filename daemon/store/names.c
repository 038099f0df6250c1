#include "shards.h"

#include <errno.h>
#include <string.h>

static int add_file(struct checkpoint *c, const char *name, uint64_t bytes)
{
        char *copy = strdup(name);

        if (!copy)
                return -ENOMEM;
        c->files[c->n_files++] = (struct checkpoint_file){copy, bytes};
        c->bytes += bytes;
        return 0;
}

static bool is_replaced(const struct checkpoint *old, const char *name)
{
        for (size_t i = 0; old && i < old->n_files; i++)
                if (strcmp(old->files[i].name, name) == 0)
                        return true;
        return false;
}

static int check_free(const struct store_save *t, const char *name, struct diag *d)
{
        struct file_facts facts;
        int r = call_facts(t->dir->io, (struct place){t->dir->fd, name}, &facts);

        if (r == -ENOENT || (r == 0 && facts.is_regular && is_replaced(t->replaces, name)))
                return 0;
        if (r < 0)
                return directory_failed(t->dir, d, r, "look for files of that name");
        return diag_set(d, -EEXIST, "%s/%s exists and is not ours to replace", t->dir->path, name);
}

static void drop_files(struct checkpoint *c)
{
        for (size_t i = 0; i < c->n_files; i++)
                free(c->files[i].name);
        free(c->files);
        c->files = NULL;
        c->n_files = 0;
        c->bytes = 0;
}

int names_make(struct store_save *t, struct diag *d)
{
        struct checkpoint *c = t->checkpoint;
        char name[FORMAT_NAME_MAX];
        int r = 0;

        drop_files(c);
        c->files = calloc(t->n_shards + 1, sizeof(*c->files));
        if (!c->files)
                return -ENOMEM;
        for (size_t i = 0; r == 0 && i < t->n_shards; i++) {
                r = t->format->data_name(name, c->name, i, t->n_shards);
                if (r == 0)
                        r = add_file(c, name, t->shards[i].manifest->bytes);
        }
        if (r == 0)
                r = t->format->index_name(name, c->name, t->n_shards);
        if (r == 0 && *name)
                r = add_file(c, name, 0);
        if (r < 0)
                return diag_set(d, r, "%s: the name %s cannot be used: %s", t->dir->path, c->name,
                                strerror(-r));
        for (size_t i = 0; r == 0 && i < c->n_files; i++)
                r = check_free(t, c->files[i].name, d);
        return r;
}
