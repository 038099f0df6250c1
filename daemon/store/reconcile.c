#include "reconcile.h"

#include "evict.h"
#include "publish.h"
#include "record.h"
#include "replace.h"
#include "scan.h"
#include "stored.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int reconcile_note(struct reconcile *rc, enum store_act act, const struct checkpoint *c,
                   const char *text)
{
        struct store_open *o = rc->open;
        struct store_action *actions = reallocarray(o->actions, o->n_actions + 1, sizeof(*actions));

        if (!actions)
                return -ENOMEM;
        o->actions = actions;
        actions[o->n_actions] = (struct store_action){act, strdup(c->name), c->step, strdup(text)};
        o->n_actions++;
        return actions[o->n_actions - 1].name && actions[o->n_actions - 1].text ? 0 : -ENOMEM;
}

/* A full disk must not keep a directory shut: what is known without the record is enough until the
 * next start. */
int reconcile_record(struct reconcile *rc, const struct checkpoint *c)
{
        int r = rc->open->read_only ? 0 : record_write(rc->dir, rc->dir->records, c);

        return r == -ENOSPC || r == -EDQUOT ? 0 : r;
}

static int io_failed(struct reconcile *rc, int r, const struct checkpoint *c)
{
        char doing[RECORD_FILE_MAX + 32];

        snprintf(doing, sizeof(doing), "reconcile %s", c->name);
        return rc->open->diag.text ? r : directory_failed(rc->dir, &rc->open->diag, r, doing);
}

/* ---- published ones ---- */

static int count_files(struct store_dir *d, const struct checkpoint *c, size_t *ret_there,
                       size_t *ret_right)
{
        *ret_there = *ret_right = 0;
        for (size_t i = 0; i < c->n_files; i++) {
                struct file_facts facts;
                int r = call_facts(d->io, (struct place){d->fd, c->files[i].name}, &facts);

                if (r == -ENOENT)
                        continue;
                if (r < 0)
                        return r;
                (*ret_there)++;
                *ret_right += facts.is_regular && facts.bytes == c->files[i].bytes;
        }
        return 0;
}

static int settle_gone(struct reconcile *rc, const struct checkpoint *c, const char *why)
{
        int r = reconcile_note(rc, STORE_GONE, c, why);

        if (r == 0 && !rc->open->read_only)
                r = record_remove(rc->dir, rc->dir->records, c->name);
        return r;
}

static int settle_damaged(struct reconcile *rc, struct checkpoint *c, const char *why)
{
        int r = reconcile_note(rc, STORE_DAMAGED, c, why);

        c->state = CHECKPOINT_DAMAGED;
        return r < 0 ? r : reconcile_record(rc, c);
}

/* For a directory with thousands of checkpoints opens at once: presence and sizes only. */
static int settle_present(struct reconcile *rc, struct checkpoint **c)
{
        size_t there, right;
        int r = count_files(rc->dir, *c, &there, &right);

        if (r < 0)
                return r;
        if (there == 0)
                return settle_gone(rc, *c, "its files are gone");
        if (there == (*c)->n_files && right < there) {
                r = adopt_is_rewritten(rc, *c);
                if (r != 0)
                        return r < 0 ? r : settle_gone(rc, *c, "another program wrote it anew");
        }
        if (right < (*c)->n_files && (*c)->state != CHECKPOINT_DAMAGED)
                r = settle_damaged(rc, *c,
                                   there < (*c)->n_files ? "a file is missing"
                                                         : "a file has another size");
        if (r == 0)
                r = history_add(&rc->open->history, take_ptr(*c));
        return r;
}

/* ---- saves and evictions that were cut off ---- */

/* Structure and presence are looked at; the sums of the data were made from what was written. */
static int is_valid(struct reconcile *rc, const struct checkpoint *c)
{
        _cleanup_(stored_freep) struct stored *stored = NULL;
        int r = stored_open(rc->dir->io, rc->dir->fd, c->files[c->n_files - 1].name, &stored, NULL);

        if (r == 0)
                return 1;
        return r == -EBADMSG || r == -ENOENT ? 0 : r;
}

static int undo(struct reconcile *rc, struct publish *p)
{
        _cleanup_(checkpoint_freep) struct checkpoint *old = NULL;
        int r = publish_undo(p, &old);

        if (r == 0)
                r = reconcile_note(rc, STORE_REMOVED, p->checkpoint,
                                   "a save that was cut off before it was published");
        if (r == 0 && old)
                r = reconcile_note(rc, STORE_RESTORED_OLD, old,
                                   "the save that replaced it was cut off");
        if (r == 0 && old)
                r = settle_present(rc, &old);
        return r;
}

/* What was replaced tells which files are the new ones' until the record does. */
static int note_finished(struct reconcile *rc, struct checkpoint *c)
{
        char *replaces = take_ptr(c->replaces);
        int r;

        c->state = CHECKPOINT_WHOLE;
        r = record_write(rc->dir, rc->dir->records, c);
        if (r == 0)
                r = replace_drop(rc->dir, c->name);
        if (r == 0)
                free(replaces);
        else
                c->replaces = replaces;
        return r == -ENOSPC || r == -EDQUOT ? 0 : r;
}

static int finish(struct reconcile *rc, struct publish *p, struct checkpoint **c)
{
        int r = publish_show(p);

        if (r == -EEXIST || r == -ENOENT) {
                diag_done(&rc->open->diag);
                return undo(rc, p);
        }
        if (r == 0)
                r = is_valid(rc, *c);
        if (r == 0)
                return undo(rc, p);
        if (r < 0)
                return r;
        r = note_finished(rc, *c);
        if (r == 0)
                r = reconcile_note(rc, STORE_FINISHED, *c, "published when the daemon went away");
        return r < 0 ? r : history_add(&rc->open->history, take_ptr(*c));
}

static int settle_publishing(struct reconcile *rc, struct checkpoint **c)
{
        _cleanup_(checkpoint_freep) struct checkpoint *old = NULL;
        struct publish p = {
                .dir = rc->dir,
                .checkpoint = *c,
                .again = true,
                .claimed = true,
                .diag = &rc->open->diag,
        };
        int r;

        /* Somebody who only looks sees no save that is under way. */
        if (rc->open->read_only)
                return 0;
        if ((*c)->replaces) {
                r = replace_load(rc->dir, (*c)->replaces, &old);
                if (r < 0)
                        return r;
                p.replaces = old;
        }
        r = publish_is_complete(&p);
        if (r < 0)
                return r;
        return r == 1 ? finish(rc, &p, c) : undo(rc, &p);
}

static int settle_evicting(struct reconcile *rc, const struct checkpoint *c)
{
        int r;

        if (rc->open->read_only)
                return 0;
        r = evict_checkpoint(rc->dir, c, &rc->open->diag);
        return r < 0 ? r : reconcile_note(rc, STORE_REMOVED, c, "its eviction was cut off");
}

/* ---- records ---- */

static bool is_evicting(const struct reconcile *rc, const struct checkpoint *c)
{
        for (size_t i = 0; i < rc->open->n_evicting; i++)
                if (strcmp(rc->open->evicting[i].name, c->name) == 0 &&
                    rc->open->evicting[i].sequence == c->sequence)
                        return c->state != CHECKPOINT_PUBLISHING;
        return c->state == CHECKPOINT_EVICTING;
}

static int settle_record(struct reconcile *rc, struct checkpoint **c)
{
        if (is_evicting(rc, *c))
                return settle_evicting(rc, *c);
        if ((*c)->state == CHECKPOINT_PUBLISHING)
                return settle_publishing(rc, c);
        return settle_present(rc, c);
}

/* "NAME.…" or "NAME-…" */
static int has_files(struct reconcile *rc, const char *name)
{
        _cleanup_(scan_done) struct scan names = {0};
        size_t length = strlen(name);
        int r = scan_load(rc->dir->io, rc->dir->fd, &names);

        for (size_t i = 0; r == 0 && i < names.n; i++)
                if (strncmp(names.names[i].text, name, length) == 0 &&
                    strchr(".-", names.names[i].text[length]))
                        return 1;
        return r;
}

/* A claim is durable before anything has its name: one that is torn has claimed nothing. */
static int remove_torn(struct reconcile *rc, const char *file, const struct checkpoint *c)
{
        int r = call_unlink(rc->dir->io, (struct place){rc->dir->records, file});

        if (r >= 0)
                r = call_fsync(rc->dir->io, rc->dir->records);
        return r < 0 ? r
                     : reconcile_note(rc, STORE_REMOVED, c,
                                      "a save that was cut off before it wrote anything");
}

/* What cannot be read may hold a pin: it stays, and so do the files that it may claim. */
static int keep_unreadable(struct reconcile *rc, const char *file, int why_r, const char *why)
{
        struct checkpoint c = {.step = -1};
        char **names = reallocarray(rc->unreadable, rc->n_unreadable + 1, sizeof(*names));
        size_t length = strlen(file) - strlen(".json");
        char text[512];
        int r;

        if (!names)
                return -ENOMEM;
        rc->unreadable = names;
        c.name = strndup(file, length);
        names[rc->n_unreadable] = c.name;
        if (!c.name)
                return -ENOMEM;
        rc->n_unreadable++;
        r = has_files(rc, c.name);
        rc->open->n_unreadable += why_r != -EBADMSG || r != 0;
        if (r == 0 && why_r == -EBADMSG && !rc->open->read_only)
                return remove_torn(rc, file, &c);
        if (r < 0)
                return r;
        snprintf(text, sizeof(text), "its record .ckptd/checkpoints/%s cannot be read: %s", file,
                 why);
        return reconcile_note(rc, STORE_DAMAGED, &c, text);
}

static bool is_record_name(const char *name)
{
        size_t length = strlen(name);

        return length > strlen(".json") && *name != '.' && strcmp(name + length - 5, ".json") == 0;
}

static int settle_file(struct reconcile *rc, const char *file)
{
        _cleanup_(checkpoint_freep) struct checkpoint *c = NULL;
        _cleanup_(diag_done) struct diag why = {0};
        int r = record_load(rc->dir->io, (struct place){rc->dir->records, file}, &c, &why);

        if (r == -EBADMSG || r == -EPROTONOSUPPORT)
                return keep_unreadable(rc, file, r, diag_text(&why, r));
        if (r < 0)
                return directory_failed(rc->dir, &rc->open->diag, r, "read a checkpoint's record");
        r = settle_record(rc, &c);
        return r < 0 && c ? io_failed(rc, r, c) : r;
}

/* Temporaries of ours are debris in any folder: a record that claims some was settled before. */
static int remove_temporaries(struct reconcile *rc, int dirfd, const struct scan *names)
{
        size_t n_removed = 0;

        for (size_t i = 0; i < names->n; i++) {
                const struct checkpoint c = {.name = names->names[i].text, .step = -1};
                int r;

                if (strncmp(c.name, TEMPORARY_PREFIX, strlen(TEMPORARY_PREFIX)) != 0)
                        continue;
                r = call_unlink(rc->dir->io, (struct place){dirfd, c.name});
                if (r == 0 && dirfd == rc->dir->fd)
                        r = reconcile_note(rc, STORE_REMOVED, &c, "a file that was being written");
                if (r < 0)
                        return r;
                n_removed++;
        }
        return n_removed > 0 ? call_fsync(rc->dir->io, dirfd) : 0;
}

static int settle_records(struct reconcile *rc)
{
        _cleanup_(scan_done) struct scan names = {0};
        int r = 0;

        if (rc->dir->records < 0)
                return 0;
        r = scan_load(rc->dir->io, rc->dir->records, &names);
        for (size_t i = 0; r == 0 && i < names.n; i++)
                if (is_record_name(names.names[i].text))
                        r = settle_file(rc, names.names[i].text);
        if (r == 0 && !rc->open->read_only)
                r = remove_temporaries(rc, rc->dir->records, &names);
        return r;
}

/* It stays: nobody can tell what it was. */
static int note_aside(struct reconcile *rc, const char *name)
{
        const struct checkpoint c = {.name = (char *)name, .step = -1};
        char text[RECORD_FILE_MAX + 128];

        snprintf(text, sizeof(text),
                 "what it replaced is kept: .ckptd/replaced/%s.json cannot be read", name);
        return reconcile_note(rc, STORE_DAMAGED, &c, text);
}

/* What waits there although the new one's record is whole was replaced for good. */
static int settle_replaced(struct reconcile *rc)
{
        _cleanup_(scan_done) struct scan names = {0};
        int folder =
                rc->open->read_only ? -ENOENT : directory_open_folder(rc->dir, REPLACED_DIR, false);
        int r;

        if (folder < 0)
                return folder == -ENOENT ? 0 : folder;
        r = scan_load(rc->dir->io, folder, &names);
        if (r == 0)
                r = remove_temporaries(rc, folder, &names);
        call_close(rc->dir->io, folder);
        for (size_t i = 0; r == 0 && i < names.n; i++) {
                _cleanup_(freep) char *name = NULL;
                const struct checkpoint *c;

                if (!is_record_name(names.names[i].text))
                        continue;
                name = strndup(names.names[i].text, strlen(names.names[i].text) - strlen(".json"));
                if (!name)
                        return -ENOMEM;
                c = history_find(&rc->open->history, name);
                if (c && !c->replaces)
                        r = replace_drop(rc->dir, name);
                if (r == -EBADMSG || r == -EPROTONOSUPPORT)
                        r = note_aside(rc, name);
        }
        return r;
}

static int remove_all_temporaries(struct reconcile *rc)
{
        int folders[] = {rc->dir->fd, rc->dir->ckptd};
        int r = 0;

        for (size_t i = 0; r == 0 && i < ARRAY_SIZE(folders) && !rc->open->read_only; i++) {
                _cleanup_(scan_done) struct scan names = {0};

                r = scan_load(rc->dir->io, folders[i], &names);
                if (r == 0)
                        r = remove_temporaries(rc, folders[i], &names);
        }
        return r;
}

static void reconcile_done(struct reconcile *rc)
{
        for (size_t i = 0; i < rc->n_unreadable; i++)
                free(rc->unreadable[i]);
        free(rc->unreadable);
}

int reconcile_run(struct store_dir *d, struct store_open *o)
{
        _cleanup_(reconcile_done) struct reconcile rc = {.dir = d, .open = o};
        int r = settle_records(&rc);

        if (r == 0)
                r = settle_replaced(&rc);
        if (r == 0)
                r = remove_all_temporaries(&rc);
        if (r == 0)
                r = adopt_rest(&rc);
        if (r < 0 && !o->diag.text)
                directory_failed(d, &o->diag, r, "read what it holds");
        return r;
}
