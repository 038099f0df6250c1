#include "directory.h"

#include "op.h"
#include "owner.h"
#include "reconcile.h"
#include "scan.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>

/* ---- names and texts ---- */

void directory_temporary(char out[static TEMPORARY_MAX], int64_t save_id, size_t i)
{
        snprintf(out, TEMPORARY_MAX, TEMPORARY_PREFIX "%" PRId64 "-%zu", save_id, i);
}

void directory_scratch(struct store_dir *d, char out[static TEMPORARY_MAX])
{
        snprintf(out, TEMPORARY_MAX, TEMPORARY_PREFIX "note-%u",
                 atomic_fetch_add(&d->n_temporaries, 1));
}

/* Without calls through the table: whatever fails there, this only says why. */
static bool is_same_place(const struct store_dir *d, const char *path)
{
        struct stat a, b;

        return fstat(d->fd, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev &&
               a.st_ino == b.st_ino;
}

static bool is_removed(int fd)
{
        struct stat st;

        return fd >= 0 && fstat(fd, &st) == 0 && st.st_nlink == 0;
}

static bool has_vanished(const struct store_dir *d)
{
        return is_removed(d->fd) || is_removed(d->records) ||
               (d->is_at_path && !is_same_place(d, d->path));
}

int directory_check(const struct store_dir *d, struct diag *diag)
{
        if (!has_vanished(d))
                return 0;
        return diag_set(diag, -ENOENT, "%s has vanished (removed, renamed or unmounted)", d->path);
}

enum store_presence store_dir_presence(const struct store_dir *d)
{
        struct stat st;

        if (!has_vanished(d))
                return STORE_PRESENT;
        if (!d->is_at_path || stat(d->path, &st) < 0 || !S_ISDIR(st.st_mode))
                return STORE_AWAY;
        return STORE_ANOTHER;
}

int directory_failed(const struct store_dir *d, struct diag *diag, int r, const char *doing)
{
        if ((r == -ENOENT || r == -ESTALE) && has_vanished(d))
                return diag_set(diag, -ENOENT,
                                "%s has vanished (removed, renamed or unmounted): cannot %s",
                                d->path, doing);
        if (r == -EROFS)
                return diag_set(diag, r,
                                "%s is on a file system that is mounted read-only: cannot %s",
                                d->path, doing);
        if (r == -EACCES || r == -EPERM)
                return diag_set(diag, r, "%s: uid %u may not %s: %s", d->path, geteuid(), doing,
                                strerror(-r));
        if (r == -ENOSPC)
                return diag_set(diag, r, "No space left in %s: cannot %s", d->path, doing);
        if (r == -EDQUOT) {
                struct store_space space = {0};

                store_dir_space(d, &space);
                return diag_set(diag, r,
                                "The disk quota of uid %u on %s (%s) is used up: cannot %s",
                                geteuid(), d->path, *space.type ? space.type : "unknown", doing);
        }
        return diag_set(diag, r, "%s: cannot %s: %s", d->path, doing, strerror(-r));
}

int directory_open_folder(const struct store_dir *d, const char *name, bool make)
{
        struct place at = {d->ckptd, name};
        int fd = call_open(d->io, at, O_RDONLY | O_DIRECTORY, 0);
        int r;

        if (fd != -ENOENT || !make)
                return fd;
        r = call_mkdir(d->io, at, 0755);
        if (r == 0)
                r = call_fsync(d->io, d->ckptd);
        return r < 0 ? r : call_open(d->io, at, O_RDONLY | O_DIRECTORY, 0);
}

/* ---- opening ---- */

static int make_directory(const struct io *io, const struct store_open *o)
{
        _cleanup_(freep) char *parent = strdup(o->path);
        char *slash;
        int fd, r;

        if (!parent)
                return -ENOMEM;
        r = call_mkdir(io, (struct place){AT_FDCWD, o->path}, 0777);
        if (r != 0)
                return r < 0 ? r : 0;
        for (slash = parent + strlen(parent); slash > parent + 1 && slash[-1] == '/';)
                *--slash = '\0';
        slash = strrchr(parent, '/');
        if (slash)
                slash[slash == parent ? 1 : 0] = '\0';
        fd = open(slash ? parent : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        r = fd < 0 ? -errno : call_fsync(io, fd);
        if (fd >= 0)
                close(fd);
        return r;
}

static int open_path(const struct io *io, const struct store_open *o)
{
        int fd = open(o->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int r;

        if (fd >= 0 || errno != ENOENT || !o->create)
                return fd < 0 ? -errno : fd;
        r = make_directory(io, o);
        if (r < 0)
                return r;
        fd = open(o->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

/* The job's descriptor names the directory also where its path means another place to the
 * daemon. */
static int open_given(struct store_dir *d, struct store_open *o)
{
        if (o->fd < 0)
                return -EBADF;
        d->fd = call_open(d->io, (struct place){o->fd, "."}, O_RDONLY | O_DIRECTORY, 0);
        return d->fd;
}

static int open_failed(const struct store_open *o, int r, struct diag *diag)
{
        if (r == -ENOTDIR)
                return diag_set(diag, r, "%s is not a directory", o->path);
        if (r == -ENOENT)
                return diag_set(diag, r, "%s does not exist", o->path);
        if (r == -EACCES)
                return diag_set(diag, r, "%s: uid %u may not open it", o->path, geteuid());
        return diag_set(diag, r, "%s: cannot open: %s", o->path, strerror(-r));
}

static int open_directory(struct store_dir *d, struct store_open *o)
{
        char *real;

        if (open_given(d, o) < 0)
                d->fd = open_path(d->io, o);
        if (d->fd < 0)
                return open_failed(o, d->fd, &o->diag);
        real = is_same_place(d, o->path) ? realpath(o->path, NULL) : NULL;
        d->is_at_path = real;
        d->path = real ? real : strdup(o->path);
        d->socket = strdup(o->socket ? o->socket : "");
        o->real_path = d->path ? strdup(d->path) : NULL;
        return d->socket && o->real_path ? 0 : -ENOMEM;
}

/* Known by the magic of statfs(2): whose locks or clock may not be this kernel's. */
static bool is_network_type(int64_t magic)
{
        static const uint32_t magics[] = {
                0x6969,     /* NFS */
                0xff534d42, /* CIFS */
                0xfe534d42, /* SMB2 */
                0x517b,     /* SMB */
                0x0bd00bd0, /* Lustre */
                0x47504653, /* GPFS */
                0x65735546, /* FUSE */
                0x00c36400, /* Ceph */
                0x01021997, /* 9p */
        };

        for (size_t i = 0; i < ARRAY_SIZE(magics); i++)
                if (magics[i] == (uint32_t)magic)
                        return true;
        return false;
}

/* The file system's own id, for device numbers change from boot to boot. */
static int know_file_system(struct store_dir *d)
{
        struct file_facts facts;
        struct statfs fs;
        int r;

        if (fstatfs(d->fd, &fs) < 0)
                return -errno;
        d->is_network = is_network_type((int64_t)fs.f_type);
        memcpy(&d->device, &fs.f_fsid, sizeof(d->device));
        if (d->device != 0)
                return 0;
        r = call_facts_of(d->io, d->fd, &facts);
        if (r == 0)
                d->device = facts.device;
        return r;
}

static int open_ckptd(struct store_dir *d, struct store_open *o)
{
        struct place at = {d->fd, CKPTD_DIR};
        int r = o->read_only ? 0 : call_mkdir(d->io, at, 0755);

        if (r == 0 && !o->read_only)
                r = call_fsync(d->io, d->fd);
        if (r < 0)
                return directory_failed(d, &o->diag, r, "make .ckptd");
        d->ckptd = call_open(d->io, at, O_RDONLY | O_DIRECTORY, 0);
        if (d->ckptd == -ENOENT && o->read_only)
                return 0;
        if (d->ckptd < 0)
                return directory_failed(d, &o->diag, d->ckptd, "open .ckptd");
        d->records = directory_open_folder(d, RECORDS_DIR, !o->read_only);
        if (d->records < 0 && !(d->records == -ENOENT && o->read_only))
                return directory_failed(d, &o->diag, d->records, "open .ckptd/checkpoints");
        return 0;
}

static int open_and_own(struct store_dir *d, struct store_open *o)
{
        _cleanup_(scan_done) struct scan before = {0};
        int r = open_directory(d, o);

        if (r < 0)
                return r;
        r = know_file_system(d);
        if (r == 0)
                r = scan_load(d->io, d->fd, &before);
        if (r < 0)
                return directory_failed(d, &o->diag, r, "read it");
        o->is_empty = before.n == 0;
        o->device = d->device;
        if (o->is_empty && o->known_device && o->known_device != d->device)
                return diag_set(&o->diag, -ENOENT,
                                "%s is empty and on another file system than recorded; "
                                "is it mounted?",
                                d->path);
        r = open_ckptd(d, o);
        if (r == 0 && !o->read_only)
                r = owner_take(d, o->take_over, &o->owner_pid, &o->diag);
        if (r == 0)
                r = identity_load(d, o);
        return r < 0 ? r : reconcile_run(d, o);
}

static void open_run(struct store *s, void *task)
{
        struct store_open *o = task;
        struct store_dir *d = calloc(1, sizeof(*d));

        if (!d) {
                o->r = -ENOMEM;
                return;
        }
        *d = (struct store_dir){
                .io = op_io(s),
                .fd = -1,
                .ckptd = -1,
                .records = -1,
                .owner = -1,
        };
        d->is_read_only = o->read_only;
        o->r = open_and_own(d, o);
        if (o->fd >= 0)
                close(take_fd(&o->fd));
        if (o->r < 0)
                store_dir_close(d);
        else
                o->dir = d;
}

static void open_fail(void *task, int r)
{
        struct store_open *o = task;

        o->r = r;
}

static void open_done(void *task)
{
        struct store_open *o = task;

        o->done(o);
}

void store_open_dir(struct store *s, struct store_open *o)
{
        static const struct op_kind kind = {OP_NORMAL, open_run, open_fail, open_done};

        op_start(s, &kind, o);
}

void store_open_done(struct store_open *o)
{
        for (size_t i = 0; i < o->n_actions; i++) {
                free(o->actions[i].name);
                free(o->actions[i].text);
        }
        for (size_t i = 0; i < o->n_strays; i++)
                free(o->strays[i]);
        free(o->actions);
        free(o->strays);
        free(o->real_path);
        free(o->recorded_path);
        history_done(&o->history);
        diag_done(&o->diag);
        o->actions = NULL;
        o->strays = NULL;
        o->real_path = o->recorded_path = NULL;
        o->n_actions = o->n_strays = 0;
}

void store_dir_close(struct store_dir *d)
{
        if (!d)
                return;
        owner_release(d);
        call_close(d->io, d->records);
        call_close(d->io, d->ckptd);
        call_close(d->io, d->fd);
        free(d->path);
        free(d->socket);
        free(d);
}

int store_dir_fd(const struct store_dir *d)
{
        return d->fd;
}

bool store_dir_is_network(const struct store_dir *d)
{
        return d->is_network;
}

bool store_dir_is_locked(const struct store_dir *d)
{
        return d->is_locked;
}

int store_dir_renew(struct store_dir *d, struct diag *diag)
{
        return d->is_read_only ? 0 : owner_renew(d, diag);
}
