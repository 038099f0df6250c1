#include "evict.h"

#include "op.h"
#include "owner.h"
#include "record.h"
#include "store-keep.h"

#include <errno.h>

/* A link, a folder or a device under a name of ours is somebody else's: it stays. */
static int remove_file(struct store_dir *d, const char *name)
{
        struct place at = {d->fd, name};
        struct file_facts facts;
        int r = call_facts(d->io, at, &facts);

        if (r < 0)
                return r == -ENOENT ? 0 : r;
        return facts.is_regular ? call_unlink(d->io, at) : 0;
}

int evict_checkpoint(struct store_dir *d, const struct checkpoint *c, struct diag *diag)
{
        int r = 0;

        for (size_t i = c->n_files; r >= 0 && i-- > 0;) {
                if (!record_is_plain_name(c->files[i].name))
                        return diag_set(diag, -EINVAL, "%s: %s is no file within it", d->path,
                                        c->files[i].name);
                r = remove_file(d, c->files[i].name);
        }
        /* Until the names are known to be gone, the record must say whose they are. */
        if (r >= 0)
                r = call_fsync(d->io, d->fd);
        if (r >= 0)
                r = record_remove(d, d->records, c->name);
        return r < 0 ? directory_failed(d, diag, r, "remove a checkpoint's files") : 0;
}

static void evict_run(struct store *s, void *task)
{
        struct store_evict *t = task;

        (void)s;
        t->r = owner_check(t->dir, &t->diag);
        if (t->r == 0)
                t->r = evict_checkpoint(t->dir, t->checkpoint, &t->diag);
}

static void evict_fail(void *task, int r)
{
        struct store_evict *t = task;

        t->r = r;
}

static void evict_done(void *task)
{
        struct store_evict *t = task;

        t->done(t);
}

void store_evict_start(struct store *s, struct store_evict *t)
{
        static const struct op_kind kind = {OP_EVICTION, evict_run, evict_fail, evict_done};

        op_start(s, &kind, t);
}
