#include "replace.h"

#include "record.h"

#include <errno.h>
#include <string.h>

static int open_replaced(const struct store_dir *d, bool make)
{
        return directory_open_folder(d, REPLACED_DIR, make);
}

static int exists(const struct io *io, struct place at)
{
        struct file_facts facts;
        int r = call_facts(io, at, &facts);

        if (r == -ENOENT)
                return 0;
        return r < 0 ? r : 1;
}

int replace_prepare(struct store_dir *d, const struct checkpoint *old)
{
        int folder, r = replace_drop(d, old->name);

        if (r < 0)
                return r;
        folder = open_replaced(d, true);
        if (folder < 0)
                return folder;
        r = record_write(d, folder, old);
        call_close(d->io, folder);
        return r;
}

/* Does the file in the model directory belong to the new checkpoint already?  Its temporary is gone
 * then. */
static int is_next(struct store_dir *d, const struct checkpoint *next, const char *file)
{
        char temporary[TEMPORARY_MAX];
        int r;

        for (size_t i = 0; i < next->n_files; i++) {
                if (strcmp(next->files[i].name, file) != 0)
                        continue;
                directory_temporary(temporary, next->save_id, i);
                r = exists(d->io, (struct place){d->fd, temporary});
                return r < 0 ? r : !r;
        }
        return 0;
}

static int aside_file(struct store_dir *d, int folder, const struct checkpoint *next,
                      const char *file)
{
        int r = is_next(d, next, file);

        if (r != 0)
                return r < 0 ? r : 0;
        r = call_move(d->io, (struct place){d->fd, file}, (struct place){folder, file});
        return r == -ENOENT || r == -EEXIST ? 0 : r; /* it is aside already */
}

int replace_aside(struct store_dir *d, const struct checkpoint *old, const struct checkpoint *next)
{
        int folder = open_replaced(d, true);
        int r = 0;

        if (folder < 0)
                return folder;
        for (size_t i = old->n_files; r == 0 && i-- > 0;)
                r = aside_file(d, folder, next, old->files[i].name);
        /* Both folders changed, and the new files may only come when the old ones are known to be
         * kept. */
        if (r == 0)
                r = call_fsync(d->io, folder);
        if (r == 0)
                r = call_fsync(d->io, d->fd);
        call_close(d->io, folder);
        return r;
}

int replace_has_left(struct store_dir *d, const struct checkpoint *old, const char *file)
{
        int folder, r = 1;

        for (size_t i = 0; i < old->n_files; i++) {
                if (strcmp(old->files[i].name, file) != 0)
                        continue;
                folder = open_replaced(d, false);
                if (folder < 0)
                        return folder == -ENOENT ? 0 : folder;
                r = exists(d->io, (struct place){folder, file});
                call_close(d->io, folder);
                return r;
        }
        return r;
}

static int load_in(struct store_dir *d, int folder, const char *name, struct checkpoint **ret)
{
        char file[RECORD_FILE_MAX];
        int r = record_file_name(file, name);

        if (r == 0)
                r = record_load(d->io, (struct place){folder, file}, ret, NULL);
        return r == -ENOENT ? 1 : r;
}

int replace_load(struct store_dir *d, const char *name, struct checkpoint **ret)
{
        int folder = open_replaced(d, false);
        int r;

        if (folder < 0)
                return folder == -ENOENT ? 1 : folder;
        r = load_in(d, folder, name, ret);
        call_close(d->io, folder);
        return r;
}

static int back_files(struct store_dir *d, int folder, const struct checkpoint *old)
{
        int r = 0;

        for (size_t i = 0; r == 0 && i < old->n_files; i++) {
                const char *file = old->files[i].name;

                r = call_move(d->io, (struct place){folder, file}, (struct place){d->fd, file});
                if (r == -ENOENT)
                        r = 0;
        }
        if (r == 0)
                r = call_fsync(d->io, d->fd);
        return r;
}

static int back_record(struct store_dir *d, int folder, const char *name)
{
        char file[RECORD_FILE_MAX];
        int r = record_file_name(file, name);

        if (r == 0)
                r = call_rename(d->io, (struct place){folder, file},
                                (struct place){d->records, file});
        if (r == 0)
                r = call_fsync(d->io, d->records);
        if (r == 0)
                r = call_fsync(d->io, folder);
        return r;
}

int replace_back(struct store_dir *d, const char *name, struct checkpoint **ret)
{
        _cleanup_(checkpoint_freep) struct checkpoint *old = NULL;
        int folder = open_replaced(d, false);
        int r;

        if (folder < 0)
                return folder == -ENOENT ? 1 : folder;
        r = load_in(d, folder, name, &old);
        if (r == 0)
                r = back_files(d, folder, old);
        if (r == 0)
                r = back_record(d, folder, name);
        call_close(d->io, folder);
        if (r == 0)
                *ret = take_ptr(old);
        return r;
}

static int drop_in(struct store_dir *d, int folder, const char *name)
{
        _cleanup_(checkpoint_freep) struct checkpoint *old = NULL;
        int r = load_in(d, folder, name, &old);

        for (size_t i = 0; r == 0 && i < old->n_files; i++) {
                r = call_unlink(d->io, (struct place){folder, old->files[i].name});
                if (r == 1)
                        r = 0;
        }
        /* The record tells which files are debris, so it goes when they are known to be gone. */
        if (r == 0)
                r = call_fsync(d->io, folder);
        if (r == 0)
                r = record_remove(d, folder, name);
        return r;
}

int replace_drop(struct store_dir *d, const char *name)
{
        int folder = open_replaced(d, false);
        int r;

        if (folder < 0)
                return folder == -ENOENT ? 0 : folder;
        r = drop_in(d, folder, name);
        call_close(d->io, folder);
        return r < 0 ? r : 0;
}
