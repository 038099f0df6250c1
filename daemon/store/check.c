#include "directory.h"
#include "op.h"
#include "record.h"
#include "store-restore.h"
#include "stored.h"
#include "sums.h"

#include <errno.h>
#include <string.h>

struct checking { /* of memory */
        struct store_check *task;
        struct sums sums;
        struct sums_part *parts;
        uint32_t *crc32c;
};

static int check_part(void *user, size_t i, struct diag *d)
{
        struct checking *v = user;

        (void)d;
        sums_piece(&v->sums, &v->parts[i], (const uint8_t *)v->task->memory + v->parts[i].offset,
                   v->crc32c);
        return 0;
}

static int compare(const struct checking *v)
{
        const struct manifest *m = v->task->manifest;
        int r = 0;

        for (size_t i = 0; i < m->n; i++)
                if (m->tensors[i].offset >= 0 && v->crc32c[i] != v->task->crc32c[i])
                        r = diag_add(&v->task->diag, -EBADMSG,
                                     "%s: crc32c is %08x in memory, not %08x", m->tensors[i].name,
                                     v->crc32c[i], v->task->crc32c[i]);
        return r;
}

static int check_memory(struct store *s, struct store_check *t)
{
        struct checking v = {.task = t};
        size_t n = sums_count(t->manifest->bytes);
        int r = sums_init(&v.sums, t->manifest);

        v.parts = calloc(n + 1, sizeof(*v.parts));
        v.crc32c = calloc(t->manifest->n + 1, sizeof(*v.crc32c));
        if (r == 0 && (!v.parts || !v.crc32c))
                r = -ENOMEM;
        if (r == 0) {
                sums_cut(v.parts, t->manifest->bytes);
                r = batch_run(s, n, check_part, &v, &t->diag);
        }
        if (r == 0) {
                sums_join(&v.sums, v.parts, n, v.crc32c);
                r = compare(&v);
        }
        sums_done(&v.sums);
        free(v.parts);
        free(v.crc32c);
        return r;
}

static int check_stored(struct store_check *t)
{
        _cleanup_(stored_freep) struct stored *stored = NULL;
        struct stored_check how = {.io = t->dir->io, .dirfd = t->dir->fd};
        int r = stored_open(t->dir->io, t->dir->fd, t->name, &stored, &t->diag);

        if (r == 0)
                r = stored_verify(stored, &how, &t->diag);
        if (r == 0 && (!stored->format || stored->n_files == 0))
                r = diag_set(&t->diag, -EINVAL, "%s/%s: no checkpoint", t->dir->path, t->name);
        if (r == 0) {
                t->format = stored->format->name;
                t->bytes = stored->bytes;
                r = record_take_files(stored, &t->files, &t->n_files);
        }
        if (r < 0 && !t->diag.text)
                diag_set(&t->diag, r, "%s/%s: cannot read: %s", t->dir->path, t->name,
                         strerror(-r));
        return r;
}

static void check_run(struct store *s, void *task)
{
        struct store_check *t = task;

        t->r = t->memory ? check_memory(s, t) : check_stored(t);
}

static void check_fail(void *task, int r)
{
        struct store_check *t = task;

        t->r = r;
}

static void check_done(void *task)
{
        struct store_check *t = task;

        t->done(t);
}

void store_check_start(struct store *s, struct store_check *t)
{
        static const struct op_kind kind = {OP_NORMAL, check_run, check_fail, check_done};

        op_start(s, &kind, t);
}

void store_check_done(struct store_check *t)
{
        for (size_t i = 0; t->files && i < t->n_files; i++)
                free(t->files[i].name);
        free(take_ptr(t->files));
        diag_done(&t->diag);
}
