#include "directory.h"
#include "format.h"
#include "op.h"
#include "owner.h"
#include "record.h"
#include "small-file.h"
#include "state-file.h"
#include "store-keep.h"

#include <errno.h>
#include <fcntl.h>

#define STATE_FILE "checkpoint"
#define SECTOR_BYTES ((uint64_t)512) /* no file system hands out less */

static int format_state(const struct store_note *t, struct buffer *ret)
{
        struct state_file f = {
                .newest = t->names[t->n_names - 1],
                .n = t->n_names,
                .paths = t->names,
                .timestamps = t->timestamps,
                .last_preserved = t->last_preserved,
        };

        return state_file_format(&f, ret);
}

/* What is no file is somebody else's.  1: there is one, of *ret_bytes. */
static int look_at_state(struct store_dir *d, uint64_t *ret_bytes, struct diag *diag)
{
        struct file_facts facts;
        int r = call_facts(d->io, (struct place){d->fd, STATE_FILE}, &facts);

        if (r < 0)
                return r == -ENOENT ? 0 : r;
        if (!facts.is_regular)
                return diag_set(diag, -EEXIST, "%s/" STATE_FILE " is not a file, and not ours",
                                d->path);
        *ret_bytes = facts.bytes;
        return 1;
}

/* On a full disk no second file has room, and without a new state file nothing could be evicted: it
 * is written over the old one, within the blocks that this has.  Blank lines mean nothing in it. */
static int overwrite_state(struct store_dir *d, struct buffer *text, uint64_t bytes)
{
        uint64_t room = (bytes + SECTOR_BYTES - 1) / SECTOR_BYTES * SECTOR_BYTES;
        int fd, r = 0;

        if (text->len > room)
                return -ENOSPC;
        while (r == 0 && text->len < bytes)
                r = buffer_append(text, "\n", 1);
        if (r < 0)
                return r;
        fd = call_open(d->io, (struct place){d->fd, STATE_FILE}, O_WRONLY, 0);
        if (fd < 0)
                return fd;
        r = io_write_all(d->io, fd, text->data, text->len, 0);
        if (r == 0)
                r = call_fsync(d->io, fd);
        call_close(d->io, fd);
        return r;
}

static int write_state(struct store_dir *d, const struct store_note *t, struct diag *diag)
{
        _cleanup_(buffer_done) struct buffer text = {0};
        char scratch[TEMPORARY_MAX];
        uint64_t bytes = 0;
        int r, there = look_at_state(d, &bytes, diag);

        if (there < 0)
                return there;
        if (t->n_names == 0) {
                r = there ? call_unlink(d->io, (struct place){d->fd, STATE_FILE}) : 1;
                return r == 0 ? call_fsync(d->io, d->fd) : r < 0 ? r : 0;
        }
        r = format_state(t, &text);
        if (r < 0)
                return r;
        directory_scratch(d, scratch);
        r = small_file_replace(d->io, (struct place){d->fd, scratch}, STATE_FILE, &text);
        if ((r == -ENOSPC || r == -EDQUOT) && there)
                r = overwrite_state(d, &text, bytes);
        return r;
}

static void note_run(struct store *s, void *task)
{
        struct store_note *t = task;

        (void)s;
        t->r = owner_check(t->dir, &t->diag);
        if (t->r == 0 && t->checkpoint) {
                t->r = record_write(t->dir, t->dir->records, t->checkpoint);
                if (t->r < 0)
                        directory_failed(t->dir, &t->diag, t->r, "write the checkpoint's record");
        }
        if (t->r == 0 && t->state_file) {
                t->r = write_state(t->dir, t, &t->diag);
                if (t->r < 0 && !t->diag.text)
                        directory_failed(t->dir, &t->diag, t->r, "write the state file");
        }
}

static void note_fail(void *task, int r)
{
        struct store_note *t = task;

        t->r = r;
}

static void note_done(void *task)
{
        struct store_note *t = task;

        t->done(t);
}

void store_note_start(struct store *s, struct store_note *t)
{
        static const struct op_kind kind = {OP_NORMAL, note_run, note_fail, note_done};

        op_start(s, &kind, t);
}
