#include "ctl-place.h"

#include "ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

void ctl_place_done(struct ctl_place *p)
{
        if (!p->dir)
                closep(&p->fd);
        ctl_directory_free(p->dir);
        free(p->path);
        free(p->parent);
        free(p->file);
        *p = (struct ctl_place){.fd = -1};
}

char *ctl_join(const char *dir, const char *name)
{
        char *out;

        return asprintf(&out, "%s/%s", strcmp(dir, "/") == 0 ? "" : dir, name) < 0 ? NULL : out;
}

static bool is_directory(const char *path)
{
        struct stat st;

        return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int resolve_directory(struct ctl_place *p, struct diag *d)
{
        int r = ctl_directory_open(p->path, &p->dir, d);

        if (r < 0)
                return r;
        p->fd = p->dir->fd;
        p->parent = strdup(p->dir->path);
        return p->parent ? 0 : -ENOMEM;
}

static int resolve_file(struct ctl_place *p, struct diag *d)
{
        const char *slash = strrchr(p->path, '/');
        _cleanup_(freep) char *parent = NULL;

        p->file = strdup(slash ? slash + 1 : p->path);
        parent = !slash ? strdup(".")
                        : strndup(p->path, (size_t)(slash - p->path) + (slash == p->path));
        if (!p->file || !parent)
                return -ENOMEM;
        p->fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (p->fd < 0)
                return diag_set(d, -errno, "%s: %s", p->path, strerror(errno));
        p->parent = ctl_absolute(parent);
        return p->parent ? 0 : -ENOMEM;
}

/* DIR@STEP, where DIR is a directory.  1: it was. */
static int resolve_step(struct ctl_place *p, struct diag *d)
{
        char *at = strrchr(p->path, '@'), *end;
        long long step;
        int r;

        if (!at || at == p->path || at[1] < '0' || at[1] > '9')
                return 0;
        errno = 0;
        step = strtoll(at + 1, &end, 10);
        if (errno || *end)
                return 0;
        *at = '\0';
        if (!is_directory(p->path)) {
                *at = '@';
                return 0;
        }
        r = resolve_directory(p, d);
        if (r < 0)
                return r;
        p->only = ctl_directory_at(p->dir, step);
        if (!p->only)
                return diag_set(d, -ENOENT, "%s: no checkpoint of step %lld", p->path, step);
        return 1;
}

static void strip_slashes(char *path)
{
        for (size_t n = strlen(path); n > 1 && path[n - 1] == '/'; n--)
                path[n - 1] = '\0';
}

int ctl_place_resolve(const char *text, struct ctl_place *ret, struct diag *d)
{
        struct ctl_place p = {.fd = -1, .path = strdup(text)};
        int r;

        if (!p.path)
                return -ENOMEM;
        strip_slashes(p.path);
        r = is_directory(text) ? resolve_directory(&p, d) : resolve_step(&p, d);
        if (r == 0 && !p.dir)
                r = resolve_file(&p, d);
        if (r < 0) {
                ctl_place_done(&p);
                return r;
        }
        *ret = p;
        return 0;
}

/* What stored_open says of a file by its name, with the whole path. */
static void tell_path(const struct ctl_place *p, int r, struct diag *d)
{
        size_t n = p->file ? strlen(p->file) : 0;
        _cleanup_(freep) char *text = NULL;

        if (n == 0 || !d->text || strncmp(d->text, p->file, n) != 0)
                return;
        text = strdup(d->text + n);
        if (text)
                diag_set(d, r, "%s%s", p->path, text);
}

int ctl_place_open(const struct ctl_place *p, struct stored **ret, char **ret_path, struct diag *d)
{
        _cleanup_(stored_freep) struct stored *s = NULL;
        const struct ctl_checkpoint *newest;
        int r;

        if (p->dir && !p->only)
                r = ctl_directory_newest(p->dir, &newest, &s, d);
        else
                r = stored_open(&io_real, p->fd, p->only ? p->only->file : p->file, &s, d);
        if (r == -ENOENT)
                diag_set(d, r, "%s: no checkpoint there", p->path);
        else if (r < 0 && !s)
                tell_path(p, r, d);
        if (s && !(*ret_path = ctl_join(p->parent, s->name)))
                return -ENOMEM;
        if (s)
                *ret = take_ptr(s);
        return r;
}
