/* Which crash each sync is for.
 *
 * Side by side, before anything of the checkpoint has its name:
 *   data, index           a power cut after a rename would show an empty or torn file
 *   claim, its folder     durable before the first rename: files with their own names that no
 *                         record claims would be strays for ever, or be adopted as somebody else's.
 *                         A claim that is torn itself had nothing renamed yet, and is removed
 * Then:
 *   directory (data)      the index must not survive a crash that the data's names do not
 *   directory (index)     `published` was answered: it must still be there
 *   none (claim: whole)   the next start finishes a claim that still says `publishing`, with the
 *                         same result
 *
 * Only where an older checkpoint is replaced: .ckptd/replaced and the directory, once its files are
 * aside. */
#include "publish.h"

#include "record.h"
#include "replace.h"

#include <errno.h>

/* ---- what is there ---- */

struct whereabouts { /* of one file */
        char temporary[TEMPORARY_MAX];
        bool is_temporary, is_named; /* it is there under that name */
        bool is_ours;                /* what has its own name is this save's */
        bool is_complete;
};

static int facts_or_none(struct store_dir *d, const char *name, struct file_facts *ret,
                         bool *ret_there)
{
        int r = call_facts(d->io, (struct place){d->fd, name}, ret);

        *ret_there = r == 0;
        return r == -ENOENT ? 0 : r;
}

/* While the temporary is there, only another link to it is ours; once it is gone, it was renamed.
 * A name that the replaced checkpoint has too is the old file's until that one is aside, and again
 * when it is back. */
static int find_file(const struct publish *p, size_t i, struct whereabouts *ret)
{
        const struct checkpoint_file *file = &p->checkpoint->files[i];
        struct file_facts temporary = {0}, named = {0};
        int r, is_free;

        directory_temporary(ret->temporary, p->checkpoint->save_id, i);
        r = facts_or_none(p->dir, ret->temporary, &temporary, &ret->is_temporary);
        if (r == 0)
                r = facts_or_none(p->dir, file->name, &named, &ret->is_named);
        if (r < 0)
                return r;
        is_free = p->replaces ? replace_has_left(p->dir, p->replaces, file->name) : 1;
        if (is_free < 0)
                return is_free;
        if (ret->is_temporary)
                ret->is_ours = ret->is_named && named.inode == temporary.inode;
        else
                ret->is_ours =
                        is_free && ret->is_named && named.is_regular && named.bytes == file->bytes;
        ret->is_complete = ret->is_temporary ? temporary.bytes == file->bytes : ret->is_ours;
        return 0;
}

int publish_is_complete(const struct publish *p)
{
        for (size_t i = 0; i < p->checkpoint->n_files; i++) {
                struct whereabouts w;
                int r = find_file(p, i, &w);

                if (r < 0)
                        return r;
                if (!w.is_complete || (w.is_temporary && w.is_named && !w.is_ours && !p->replaces))
                        return 0;
        }
        return 1;
}

/* ---- forward ---- */

static int move_again(struct publish *p, size_t i)
{
        struct whereabouts w;
        int r = find_file(p, i, &w);

        if (r < 0)
                return r;
        if (!w.is_temporary)
                return w.is_ours ? 0 : -ENOENT;
        if (!w.is_ours)
                return -EEXIST;
        r = call_unlink(p->dir->io, (struct place){p->dir->fd, w.temporary});
        return r < 0 ? r : 0;
}

static int move_file(struct publish *p, size_t i)
{
        struct store_dir *d = p->dir;
        const char *name = p->checkpoint->files[i].name;
        char temporary[TEMPORARY_MAX];
        int r;

        directory_temporary(temporary, p->checkpoint->save_id, i);
        r = call_move(d->io, (struct place){d->fd, temporary}, (struct place){d->fd, name});
        if (p->again && (r == -ENOENT || r == -EEXIST))
                r = move_again(p, i);
        if (r == -EEXIST)
                return diag_set(p->diag, r, "%s/%s exists and is not ours to replace", d->path,
                                name);
        return r < 0 ? directory_failed(d, p->diag, r, "rename a file of the checkpoint") : 0;
}

static int sync_directory(struct publish *p)
{
        int r = call_fsync(p->dir->io, p->dir->fd);

        return r < 0 ? directory_failed(p->dir, p->diag, r, "sync the directory") : 0;
}

int publish_show(struct publish *p)
{
        size_t n_data = p->checkpoint->n_files - 1;
        int r = 0;

        if (p->replaces) {
                r = replace_aside(p->dir, p->replaces, p->checkpoint);
                if (r < 0)
                        return directory_failed(p->dir, p->diag, r, "move the replaced checkpoint");
        }
        for (size_t i = 0; r == 0 && i < n_data; i++)
                r = move_file(p, i);
        if (r == 0 && n_data > 0)
                r = sync_directory(p);
        if (r == 0)
                r = move_file(p, n_data);
        if (r < 0)
                return r;
        p->visible = true;
        return sync_directory(p);
}

/* The old record takes the place of the old files' claim until the new one has it. */
static int claim_replaced(struct publish *p)
{
        struct store_dir *d = p->dir;
        int r = replace_prepare(d, p->replaces);

        if (r < 0) {
                replace_drop(d, p->replaces->name);
                return r;
        }
        p->claimed = true;
        return record_write(d, d->records, p->checkpoint);
}

int publish_run(struct publish *p)
{
        int r;

        if (p->replaces) {
                r = claim_replaced(p);
                if (r < 0)
                        return directory_failed(p->dir, p->diag, r, "keep the replaced checkpoint");
        }
        return publish_show(p);
}

/* ---- back ---- */

/* The index first: what remains is then nothing that a reader would open. */
static int remove_named(struct publish *p)
{
        struct store_dir *d = p->dir;
        int r = 0;

        for (size_t i = p->checkpoint->n_files; r == 0 && i-- > 0;) {
                struct whereabouts w;

                r = find_file(p, i, &w);
                if (r == 0 && w.is_ours)
                        r = call_unlink(d->io, (struct place){d->fd, p->checkpoint->files[i].name});
                r = r < 0 ? r : 0;
        }
        return r < 0 ? r : call_fsync(d->io, d->fd);
}

static int remove_temporaries(struct publish *p)
{
        int r = 0;

        for (size_t i = 0; i < p->checkpoint->n_files; i++) {
                char name[TEMPORARY_MAX];
                int q;

                directory_temporary(name, p->checkpoint->save_id, i);
                q = call_unlink(p->dir->io, (struct place){p->dir->fd, name});
                r = r < 0 ? r : q < 0 ? q : 0;
        }
        return r;
}

/* The claim and the temporaries tell whose the named files are, so that they go last: whatever is
 * cut off here is judged in the same way again. */
int publish_undo(struct publish *p, struct checkpoint **ret_old)
{
        _cleanup_(checkpoint_freep) struct checkpoint *old = NULL;
        int r;

        if (!p->claimed)
                return remove_temporaries(p);
        r = remove_named(p);
        if (r == 0 && p->replaces)
                r = replace_back(p->dir, p->checkpoint->name, &old);
        else if (r == 0)
                r = record_remove(p->dir, p->dir->records, p->checkpoint->name);
        if (r >= 0)
                r = remove_temporaries(p);
        if (r == 0 && ret_old)
                *ret_old = take_ptr(old);
        return r;
}
