#include "ctl-directory.h"

#include "ctl-records.h"
#include "ctl.h"
#include "io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define TABLE_MAGIC "\x57\xfb\x80\x8b\x24\x75\x47\xdb" /* the last bytes of a bundle's index */
#define TABLE_MAGIC_BYTES 8
#define STEP_DIGITS_MAX 18

/* Names of the files that stand for a checkpoint; the first that fits counts. */
static const char *const suffixes[] = {".safetensors.index.json", ".index", ".safetensors"};

static void checkpoint_clear(struct ctl_checkpoint *c)
{
        free(c->name);
        free(c->file);
        free(c->state);
}

void ctl_directory_free(struct ctl_directory *dir)
{
        if (!dir)
                return;
        for (size_t i = 0; i < dir->n; i++)
                checkpoint_clear(&dir->items[i]);
        free(dir->items);
        free(dir->path);
        closep(&dir->fd);
        free(dir);
}

struct ctl_checkpoint *ctl_directory_find(const struct ctl_directory *dir, const char *name)
{
        for (size_t i = 0; i < dir->n; i++)
                if (strcmp(dir->items[i].name, name) == 0)
                        return &dir->items[i];
        return NULL;
}

/* "model.ckpt-4000", "checkpoint_30": the digits at the end; -1: none. */
static int64_t step_of_name(const char *name, size_t length)
{
        size_t n = length;

        while (n > 0 && name[n - 1] >= '0' && name[n - 1] <= '9')
                n--;
        if (n == length || length - n > STEP_DIGITS_MAX || n == 0 || !strchr("-_=", name[n - 1]))
                return -1;
        return strtoll(name + n, NULL, 10);
}

struct ctl_checkpoint *ctl_directory_add(struct ctl_directory *dir, const char *name, size_t length)
{
        struct ctl_checkpoint *c;

        if ((dir->n & (dir->n - 1)) == 0) {
                c = reallocarray(dir->items, dir->n ? 2 * dir->n : 1, sizeof(*c));
                if (!c)
                        return NULL;
                dir->items = c;
        }
        c = &dir->items[dir->n];
        *c = (struct ctl_checkpoint){.step = step_of_name(name, length), .listed = SIZE_MAX};
        c->name = strndup(name, length);
        if (!c->name)
                return NULL;
        dir->n++;
        return c;
}

/* "x-00001-of-00003": a shard, for which the index stands. */
static bool is_shard(const char *name, size_t length)
{
        const char *of = memmem(name, length, "-of-", 4);

        return of && of - name >= 6 && of[-6] == '-' && strspn(of - 5, "0123456789") == 5 &&
               strspn(of + 4, "0123456789") == (size_t)(name + length - of - 4);
}

static bool has_data_file(int dirfd, const char *name, size_t length)
{
        _cleanup_(freep) char *data = NULL;

        if (asprintf(&data, "%.*s.data-00000-of-00001", (int)length, name) < 0) {
                data = NULL;
                return false;
        }
        return faccessat(dirfd, data, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Other programs call their files .index too: the magic number tells, or the data file beside
 * it. */
static bool is_bundle(int dirfd, const char *file, size_t length)
{
        _cleanup_(closep) int fd = io_real.open(dirfd, file, O_RDONLY | O_NONBLOCK | O_CLOEXEC, 0);
        char end[TABLE_MAGIC_BYTES];
        struct stat st;

        if (has_data_file(dirfd, file, length))
                return true;
        if (fd < 0 || fstat(fd, &st) < 0 || st.st_size < TABLE_MAGIC_BYTES)
                return false;
        return pread(fd, end, sizeof(end), st.st_size - TABLE_MAGIC_BYTES) == TABLE_MAGIC_BYTES &&
               memcmp(end, TABLE_MAGIC, sizeof(end)) == 0;
}

/* The length of the checkpoint's name in a file's name; 0: it stands for none. */
static size_t name_length(int dirfd, const char *file)
{
        size_t n = strlen(file);

        for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
                size_t s = strlen(suffixes[i]);

                if (n <= s || strcmp(file + n - s, suffixes[i]) != 0)
                        continue;
                if (i == 1 && !is_bundle(dirfd, file, n - s))
                        return 0;
                return i == 2 && is_shard(file, n - s) ? 0 : n - s;
        }
        return 0;
}

static int add_file(struct ctl_directory *dir, const char *file)
{
        size_t n = file[0] == '.' ? 0 : name_length(dir->fd, file);
        struct ctl_checkpoint *c;
        struct stat st;

        if (n == 0 || fstatat(dir->fd, file, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
                return 0;
        c = ctl_directory_add(dir, file, n);
        if (!c || !(c->file = strdup(file)))
                return -ENOMEM;
        c->changed = st.st_mtim.tv_sec;
        return 0;
}

static int read_listing(struct ctl_directory *dir)
{
        int fd = openat(dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *listing = fd < 0 ? NULL : fdopendir(fd);
        const struct dirent *e;
        int r = 0;

        if (!listing) {
                r = -errno;
                closep(&fd);
                return r;
        }
        for (errno = 0; r == 0 && (e = readdir(listing)); errno = 0)
                r = add_file(dir, e->d_name);
        if (r == 0 && errno)
                r = -errno;
        closedir(listing);
        return r;
}

bool ctl_checkpoint_is_candidate(const struct ctl_checkpoint *c)
{
        return !c->state || strcmp(c->state, "whole") == 0;
}

static int order(int64_t a, int64_t b)
{
        return (a > b) - (a < b);
}

/* Recorded whole ones by sequence, then those without a record as the state file has them, then
 * by step; those that a record rules out come last. */
static int compare(const void *left, const void *right)
{
        const struct ctl_checkpoint *a = left, *b = right;
        int o = order(ctl_checkpoint_is_candidate(b), ctl_checkpoint_is_candidate(a));

        o = o ? o : order(b->sequence, a->sequence);
        o = o ? o : (a->listed > b->listed) - (a->listed < b->listed);
        o = o ? o : order(b->step, a->step);
        o = o ? o : order(b->changed, a->changed);
        return o ? o : strcmp(b->name, a->name);
}

int ctl_directory_open(const char *path, struct ctl_directory **ret, struct diag *d)
{
        _cleanup_(ctl_directory_freep) struct ctl_directory *dir = calloc(1, sizeof(*dir));
        int r;

        if (!dir)
                return -ENOMEM;
        dir->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir->fd < 0)
                return diag_set(d, -errno, "%s: %s", path, strerror(errno));
        dir->path = ctl_absolute(path);
        r = dir->path ? read_listing(dir) : -ENOMEM;
        if (r == 0)
                r = ctl_records_read(dir);
        if (r == 0)
                r = ctl_state_file_read(dir);
        if (r < 0)
                return diag_set(d, r, "%s: %s", path, strerror(-r));
        if (dir->n)
                qsort(dir->items, dir->n, sizeof(*dir->items), compare);
        *ret = take_ptr(dir);
        return 0;
}

int ctl_directory_newest(const struct ctl_directory *dir, const struct ctl_checkpoint **ret,
                         struct stored **ret_stored, struct diag *d)
{
        for (size_t i = 0; i < dir->n; i++) {
                const struct ctl_checkpoint *c = &dir->items[i];
                _cleanup_(stored_freep) struct stored *s = NULL;
                _cleanup_(diag_done) struct diag why = {0};
                int r;

                if (!ctl_checkpoint_is_candidate(c)) {
                        diag_add(d, 0, "%s: %s, by its record", c->name, c->state);
                        continue;
                }
                r = stored_open(&io_real, dir->fd, c->file, &s, &why);
                if (r == -ENOMEM)
                        return r;
                if (r < 0) {
                        diag_add(d, 0, "%s%s", r == -ENOENT ? c->name : "",
                                 r == -ENOENT ? ": no files" : diag_text(&why, r));
                        continue;
                }
                *ret = c;
                *ret_stored = take_ptr(s);
                return 0;
        }
        return dir->n ? -ENODATA : -ENOENT;
}

const struct ctl_checkpoint *ctl_directory_at(const struct ctl_directory *dir, int64_t step)
{
        for (size_t i = 0; i < dir->n; i++)
                if (dir->items[i].step == step)
                        return &dir->items[i];
        return NULL;
}
