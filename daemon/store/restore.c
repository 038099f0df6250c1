#include "compat.h"
#include "directory.h"
#include "fds.h"
#include "op.h"
#include "store-restore.h"
#include "stored.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#define PLACE_ALIGNMENT 64 /* bytes, of a tensor in the memory */
#define READS_IN_FLIGHT 8  /* straight into the memory, so that none waits for a copy */

struct restoring { /* one restore on its way, on a worker's stack */
        struct store_restore *task;
        struct store_dir *dir;
        int dirfd;     /* where the checkpoint lies */
        int own_dirfd; /* to be closed, or -1 */
        char *name;    /* within dirfd */
        struct stored *stored;
        void *memory, *mapped;
};

/* ---- where it is ---- */

/* A path of the operator's or the job's: its folder by the daemon's rights, the checkpoint's own
 * files only as plain files within it, never through a link. */
static int find_elsewhere(struct restoring *v, const char *path)
{
        _cleanup_(freep) char *folder = strdup(path);
        char *slash = folder ? strrchr(folder, '/') : NULL;

        v->name = strdup(slash ? slash + 1 : path);
        if (!folder || !v->name)
                return -ENOMEM;
        if (!slash)
                return 0;
        if (slash == folder)
                slash++;
        *slash = '\0';
        if (*path == '/') {
                v->own_dirfd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                v->own_dirfd = v->own_dirfd < 0 ? -errno : v->own_dirfd;
        } else
                v->own_dirfd = call_open(v->dir->io, (struct place){v->dir->fd, folder},
                                         O_RDONLY | O_DIRECTORY, 0);
        if (v->own_dirfd < 0)
                return v->own_dirfd;
        v->dirfd = v->own_dirfd;
        return 0;
}

static int find_checkpoint(struct restoring *v)
{
        struct store_restore *t = v->task;
        const char *what = t->path ? t->path : t->name;
        int r;

        if (t->path)
                r = find_elsewhere(v, t->path);
        else {
                v->name = strdup(t->name);
                r = v->name ? 0 : -ENOMEM;
        }
        if (r == 0)
                r = stored_open(v->dir->io, v->dirfd, v->name, &v->stored, &t->diag);
        if (r < 0 && !t->diag.text)
                diag_set(&t->diag, r, "%s: cannot open: %s", what, strerror(-r));
        return r;
}

/* ---- what is in it ---- */

static json_t *tensor_json(const struct stored_tensor *t)
{
        json_t *shape = json_array();

        for (int i = 0; i < t->n_dims; i++)
                json_array_append_new(shape, json_integer(t->dims[i]));
        return json_pack("{s:s, s:s, s:o}", "name", t->name, "dtype", t->dtype->name, "shape",
                         shape);
}

/* A name that is no UTF-8 cannot be told. */
static int list_tensors(const struct stored *stored, char **ret)
{
        json_t *list = json_array();

        for (size_t i = 0; i < stored->n_tensors; i++) {
                json_t *tensor = stored->tensors[i].dtype ? tensor_json(&stored->tensors[i]) : NULL;

                if (tensor)
                        json_array_append_new(list, tensor);
        }
        *ret = json_dumps(list, JSON_COMPACT);
        json_decref(list);
        return *ret ? 0 : -ENOMEM;
}

/* ---- its bytes ---- */

static int make_memory(struct restoring *v)
{
        struct store_restore *t = v->task;
        size_t bytes = t->data_bytes;

        if (t->to) {
                v->memory = t->to;
                return 0;
        }
        t->data_fd = fds_memfd_new("ckptd-restore", bytes);
        if (t->data_fd < 0 || bytes == 0)
                return t->data_fd < 0 ? t->data_fd : 0;
        v->mapped = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, t->data_fd, 0);
        if (v->mapped == MAP_FAILED) {
                v->mapped = NULL;
                return -errno;
        }
        v->memory = v->mapped;
        return 0;
}

static bool is_wanted(const struct restoring *v, const struct tensor *tensor)
{
        if (tensor->offset < 0 && v->task->to)
                return false; /* a slot has no room for what a lower rank stores */
        return !v->task->partial || compat_fits(tensor, v->stored);
}

/* Where each tensor goes: at its own offset; what a lower rank stores, behind the rank's own
 * data. */
static int make_map(struct restoring *v)
{
        struct store_restore *t = v->task;
        const struct manifest *m = t->manifest;

        t->data_bytes = m->bytes;
        t->map = calloc(m->n + 1, sizeof(*t->map));
        if (!t->map)
                return -ENOMEM;
        for (size_t i = 0; i < m->n; i++) {
                t->map[i] = is_wanted(v, &m->tensors[i]) ? m->tensors[i].offset : -1;
                if (m->tensors[i].offset >= 0 || !is_wanted(v, &m->tensors[i]))
                        continue;
                t->data_bytes =
                        (t->data_bytes + PLACE_ALIGNMENT - 1) / PLACE_ALIGNMENT * PLACE_ALIGNMENT;
                t->map[i] = (int64_t)t->data_bytes;
                t->data_bytes += m->tensors[i].bytes; /* each is below LIMIT_STATE_BYTES */
        }
        return 0;
}

static int fetch(struct restoring *v)
{
        struct store_restore *t = v->task;
        const struct manifest *m = t->manifest;
        struct stored_check how = {
                .io = v->dir->io, .dirfd = v->dirfd, .n_threads = READS_IN_FLIGHT};
        _cleanup_(freep) struct stored_target *targets = calloc(m->n + 1, sizeof(*targets));
        size_t n = 0;

        if (!targets)
                return -ENOMEM;
        for (size_t i = 0; i < m->n; i++)
                if (t->map[i] >= 0)
                        targets[n++] = (struct stored_target){&m->tensors[i],
                                                              (uint8_t *)v->memory + t->map[i]};
        return stored_fetch(v->stored, &how, targets, n, &t->diag);
}

static int restore(struct restoring *v)
{
        struct store_restore *t = v->task;
        int r = find_checkpoint(v);

        if (r < 0)
                return r;
        t->step = v->stored->step;
        r = list_tensors(v->stored, &t->stored_json);
        if (r == 0 && !t->partial)
                r = compat_check(t->manifest, v->stored, &t->diag);
        if (r < 0)
                return r;
        r = make_map(v);
        if (r == 0)
                r = make_memory(v);
        if (r < 0)
                return diag_set(&t->diag, r, "no memory for the restored state: %s", strerror(-r));
        return fetch(v);
}

static void restore_run(struct store *s, void *task)
{
        struct store_restore *t = task;
        struct restoring v = {.task = t, .dir = t->dir, .dirfd = t->dir->fd, .own_dirfd = -1};

        (void)s;
        t->data_fd = -1;
        t->step = -1;
        t->r = restore(&v);
        if (v.mapped)
                munmap(v.mapped, t->data_bytes);
        if (t->r < 0 && t->data_fd >= 0)
                close(take_fd(&t->data_fd));
        if (t->r < 0)
                free(take_ptr(t->map));
        call_close(v.dir->io, v.own_dirfd);
        stored_free(v.stored);
        free(v.name);
}

static void restore_fail(void *task, int r)
{
        struct store_restore *t = task;

        t->r = r;
        t->data_fd = -1;
}

static void restore_done(void *task)
{
        struct store_restore *t = task;

        t->done(t);
}

void store_restore_start(struct store *s, struct store_restore *t)
{
        static const struct op_kind kind = {OP_NORMAL, restore_run, restore_fail, restore_done};

        op_start(s, &kind, t);
}

void store_restore_done(struct store_restore *t)
{
        if (t->data_fd >= 0)
                close(take_fd(&t->data_fd));
        free(take_ptr(t->map));
        free(take_ptr(t->stored_json));
        diag_done(&t->diag);
}
