#include "op.h"
#include "owner.h"
#include "publish.h"
#include "record.h"
#include "replace.h"
#include "shards.h"
#include "small-file.h"
#include "stored.h"

#include <errno.h>
#include <time.h>

struct saving { /* one save on its way, on a worker's stack */
        struct store *store;
        struct store_save *task;
        struct store_dir *dir;
        struct diag *diag;
        struct checkpoint claim; /* shallow: the record while it is published */
        struct publish publish;
        int index, record; /* open for their sync; -1: not written */
};

/* ---- slots ---- */

static void look_at_slot(const struct page_slot *slot, struct page_slot *ret)
{
        ret->owner = atomic_load_explicit(&slot->owner, memory_order_acquire);
        ret->sum = slot->sum;
        ret->step = slot->step;
        ret->asked = slot->asked;
        ret->base = slot->base;
        ret->life = slot->life;
        ret->bytes = slot->bytes;
}

static int hold_slots(struct saving *v)
{
        for (size_t i = 0; i < v->task->n_shards; i++) {
                struct store_shard *shard = &v->task->shards[i];

                if (!shard->slot)
                        continue;
                look_at_slot(shard->slot, &shard->before);
                if (shard->before.owner != PAGE_HELD)
                        return diag_set(v->diag, -ESTALE, "rank %zu has taken its slot back", i);
        }
        return 0;
}

/* A job that writes into a slot while it is written to disk makes sums and file disagree.  The
 * locks by which the pieces were joined keep these loads behind the last byte's. */
static int check_slots(struct saving *v)
{
        for (size_t i = 0; i < v->task->n_shards; i++) {
                const struct store_shard *shard = &v->task->shards[i];
                const struct page_slot *before = &shard->before;
                struct page_slot now;

                if (!shard->slot)
                        continue;
                look_at_slot(shard->slot, &now);
                if (now.owner != before->owner || now.sum != before->sum ||
                    now.step != before->step || now.asked != before->asked ||
                    now.base != before->base || now.life != before->life ||
                    now.bytes != before->bytes)
                        return diag_set(v->diag, -ESTALE,
                                        "rank %zu changed its slot while it was being written", i);
        }
        return 0;
}

/* ---- content ---- */

static bool has_memory(const struct store_save *t)
{
        for (size_t i = 0; i < t->n_shards; i++)
                if (!t->shards[i].memory && t->shards[i].manifest->bytes > 0)
                        return false;
        return true;
}

static int write_data(struct saving *v)
{
        struct store_save *t = v->task;
        int r;

        if (!t->pieces) {
                r = has_memory(t) ? shards_new(t)
                                  : diag_set(v->diag, -EINVAL, "there is no data to write");
                if (r == 0)
                        r = shards_open(t, v->diag);
                if (r < 0)
                        return r;
        }
        if (t->pieces->r < 0)
                return diag_set(v->diag, t->pieces->r, "a piece of the data could not be written");
        if (!t->pieces->is_open)
                return diag_set(v->diag, -EINVAL, "no piece of the data was given");
        r = hold_slots(v);
        if (r == 0)
                r = shards_write(v->store, t, v->diag);
        if (r == 0)
                r = shards_write_heads(t, v->diag);
        return r < 0 ? r : check_slots(v);
}

static int write_index(struct saving *v)
{
        struct store_save *t = v->task;
        struct checkpoint *c = t->checkpoint;
        _cleanup_(freep) struct format_shard *shards = calloc(t->n_shards + 1, sizeof(*shards));
        _cleanup_(buffer_done) struct buffer text = {0};
        struct format_checkpoint described = {c->name, c->step, t->n_shards, shards};
        char name[TEMPORARY_MAX];
        int r;

        if (!shards)
                return -ENOMEM;
        if (c->n_files == t->n_shards)
                return 0;
        shards_describe(t, shards);
        r = t->format->index(&described, &text, v->diag);
        if (r < 0)
                return r;
        directory_temporary(name, c->save_id, t->n_shards);
        r = small_file_create(v->dir->io, (struct place){v->dir->fd, name}, &text, &v->index);
        if (r < 0)
                return directory_failed(v->dir, v->diag, r, "write the index");
        c->files[t->n_shards].bytes = text.len;
        c->bytes += text.len;
        return 0;
}

static int64_t now_ms(void)
{
        struct timespec now;

        clock_gettime(CLOCK_REALTIME, &now);
        return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int write_claim(struct saving *v)
{
        struct store_save *t = v->task;
        struct checkpoint *c = t->checkpoint;
        int r;

        c->published_ms = now_ms();
        v->claim = *c;
        v->claim.state = CHECKPOINT_PUBLISHING;
        v->claim.replaces = t->replaces ? t->replaces->name : NULL;
        if (t->replaces)
                return 0;
        r = record_claim(v->dir, &v->claim, &v->record);
        if (r == -EEXIST)
                return diag_set(v->diag, r, "%s has a record of %s already", v->dir->path, c->name);
        v->publish.claimed = r == 0;
        return r < 0 ? directory_failed(v->dir, v->diag, r, "write the checkpoint's record") : 0;
}

/* Side by side, so that the file system can commit them as one. */
static int sync_one(void *user, size_t i, struct diag *d)
{
        struct saving *v = user;
        int others[] = {v->record, v->dir->records, v->index};
        int r = 0;

        if (i < v->task->n_shards)
                r = persist_sync(&v->task->pieces->shards[i].file);
        else if (others[i - v->task->n_shards] >= 0)
                r = call_fsync(v->dir->io, others[i - v->task->n_shards]);
        return r < 0 ? directory_failed(v->dir, d, r, "sync a file") : 0;
}

static int sync_content(struct saving *v)
{
        return batch_run(v->store, v->task->n_shards + (v->index >= 0 ? 3 : 2), sync_one, v,
                         v->diag);
}

/* Without it the next start would find the claim and do the same. */
static int mark_whole(struct saving *v)
{
        struct checkpoint *c = v->task->checkpoint;
        int r = v->record >= 0 ? record_mark_whole(v->dir, &v->claim, v->record) : -ERANGE;

        c->state = CHECKPOINT_WHOLE;
        if (r < 0)
                r = record_write(v->dir, v->dir->records, c);
        if (r < 0)
                directory_failed(v->dir, v->diag, r,
                                 "mark the checkpoint's record whole (the next start does)");
        return r;
}

/* ---- the whole ---- */

static int write_content(struct saving *v)
{
        int r = write_data(v);

        if (r == 0)
                r = write_index(v);
        if (r == 0)
                r = write_claim(v);
        return r < 0 ? r : sync_content(v);
}

/* Where the only other copy is about to go: what is on disk must be readable first.  What is not
 * goes again, and what it replaced comes back: nobody was told of it. */
static int read_back(struct saving *v)
{
        struct store_save *t = v->task;
        _cleanup_(stored_freep) struct stored *stored = NULL;
        struct stored_check how = {.io = v->dir->io, .dirfd = v->dir->fd};
        int r;

        if (!t->read_back)
                return 0;
        r = stored_open(v->dir->io, v->dir->fd, t->checkpoint->name, &stored, v->diag);
        if (r == 0)
                r = stored_verify(stored, &how, v->diag);
        if (r < 0)
                t->published = v->publish.visible = false;
        if (r < 0 && !v->diag->text)
                directory_failed(v->dir, v->diag, r, "read the new checkpoint back");
        return r;
}

static int publish(struct saving *v)
{
        struct store_save *t = v->task;
        int marked, r = owner_check(v->dir, v->diag);

        v->publish.checkpoint = &v->claim;
        v->publish.replaces = t->replaces;
        if (r == 0)
                r = publish_run(&v->publish);
        t->published = v->publish.visible;
        if (r < 0)
                return r;
        marked = mark_whole(v);
        r = read_back(v);
        /* Without the mark, what was replaced tells the next start which files are the new
         * ones'. */
        if (r == 0 && marked == 0 && t->replaces)
                replace_drop(v->dir, t->replaces->name);
        return r;
}

static void take_back(struct saving *v)
{
        struct store_save *t = v->task;

        /* The files are another daemon's now, which finishes or removes them by their records. */
        if (owner_check(v->dir, NULL) < 0)
                return;
        v->publish.checkpoint = v->publish.claimed ? &v->claim : t->checkpoint;
        t->checkpoint->state = CHECKPOINT_PUBLISHING;
        publish_undo(&v->publish, NULL);
}

static void save_run(struct store *s, void *task)
{
        struct store_save *t = task;
        struct saving v = {
                .store = s,
                .task = t,
                .dir = t->dir,
                .diag = &t->diag,
                .index = -1,
                .record = -1,
                .publish = {.dir = t->dir, .diag = &t->diag},
        };

        t->r = owner_check(t->dir, &t->diag);
        if (t->r == 0)
                t->r = write_content(&v);
        if (t->r == 0)
                t->r = publish(&v);
        if (t->r < 0 && !t->published)
                take_back(&v);
        call_close(t->dir->io, v.index);
        call_close(t->dir->io, v.record);
        shards_free(t);
}

static void abandon_run(struct store *s, void *task)
{
        struct store_save *t = task;
        struct publish p = {.dir = t->dir, .checkpoint = t->checkpoint};

        (void)s;
        publish_undo(&p, NULL);
        shards_free(t);
        t->r = -ECANCELED;
}

static void save_fail(void *task, int r)
{
        struct store_save *t = task;

        shards_free(t);
        t->r = r;
}

static void save_done(void *task)
{
        struct store_save *t = task;

        t->done(t);
}

void store_save_start(struct store *s, struct store_save *t)
{
        static const struct op_kind kind = {OP_NORMAL, save_run, save_fail, save_done};

        op_start(s, &kind, t);
}

void store_save_abandon(struct store *s, struct store_save *t)
{
        static const struct op_kind kind = {OP_NORMAL, abandon_run, save_fail, save_done};

        op_start(s, &kind, t);
}
