#include "stored-build.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

static void tensor_done(struct stored_tensor *t)
{
        for (size_t i = 0; i < t->n_parts; i++) {
                free(t->parts[i].start);
                free(t->parts[i].length);
        }
        free(t->parts);
        free(t->dims);
        free(t->name);
}

void stored_free(struct stored *s)
{
        if (!s)
                return;
        for (size_t i = 0; i < s->n_tensors; i++)
                tensor_done(&s->tensors[i]);
        for (size_t i = 0; i < s->n_files; i++)
                free(s->files[i].name);
        free(s->tensors);
        free(s->files);
        free(s->name);
        free(s);
}

/* "-r3" behind the step: the name of a run that found the plain one taken. */
static const char *without_run(const char *name, const char *end)
{
        const char *at = end;

        while (at > name && isdigit((unsigned char)at[-1]))
                at--;
        return at < end && at - name >= 2 && at[-1] == 'r' && at[-2] == '-' ? at - 2 : end;
}

int64_t stored_name_step(const char *name)
{
        const char *end = without_run(name, name + strlen(name)), *at = end;
        int64_t step = 0;

        while (at > name && isdigit((unsigned char)at[-1]))
                at--;
        if (at == end || at == name || at[-1] != '-')
                return -1;
        for (; at < end; at++)
                if (__builtin_mul_overflow(step, 10, &step) ||
                    __builtin_add_overflow(step, *at - '0', &step))
                        return -1;
        return step;
}

int stored_new(const struct format *format, const char *name, struct stored **ret)
{
        _cleanup_(stored_freep) struct stored *s = calloc(1, sizeof(*s));

        if (!s)
                return -ENOMEM;
        s->format = format;
        s->name = strdup(name);
        if (!s->name)
                return -ENOMEM;
        s->step = stored_name_step(name);
        *ret = take_ptr(s);
        return 0;
}

/* Room for one more in an array that grows by doubling: full whenever n is a power of two, or 0. */
static int grow(void **array, size_t n, size_t item_bytes)
{
        void *p;

        if (n & (n - 1))
                return 0;
        p = reallocarray(*array, n > 0 ? 2 * n : 1, item_bytes);
        if (!p)
                return -ENOMEM;
        *array = p;
        return 0;
}

int stored_add_file(struct stored *s, const char *name, size_t *ret_index)
{
        char *copy = strdup(name);

        if (!copy || grow((void **)&s->files, s->n_files, sizeof(*s->files)) < 0) {
                free(copy);
                return -ENOMEM;
        }
        s->files[s->n_files] = (struct stored_file){.name = copy};
        *ret_index = s->n_files++;
        return 0;
}

int stored_add_tensor(struct stored *s, char *name, int64_t *dims, struct stored_tensor **ret)
{
        if (!name || !dims || grow((void **)&s->tensors, s->n_tensors, sizeof(*s->tensors)) < 0) {
                free(name);
                free(dims);
                return -ENOMEM;
        }
        *ret = &s->tensors[s->n_tensors++];
        **ret = (struct stored_tensor){.name = name, .dims = dims};
        return 0;
}

static int compare_tensors(const void *a, const void *b)
{
        return strcmp(((const struct stored_tensor *)a)->name,
                      ((const struct stored_tensor *)b)->name);
}

void stored_sort(struct stored *s)
{
        if (s->n_tensors > 1)
                qsort(s->tensors, s->n_tensors, sizeof(*s->tensors), compare_tensors);
}

const struct stored_tensor *stored_find(const struct stored *s, const char *name)
{
        struct stored_tensor key = {.name = (char *)(uintptr_t)name};

        if (s->n_tensors == 0)
                return NULL;
        return bsearch(&key, s->tensors, s->n_tensors, sizeof(key), compare_tensors);
}

struct place { /* of one part in its file */
        const struct stored_part *part;
        const struct stored_tensor *tensor;
};

static int compare_places(const void *a, const void *b)
{
        const struct stored_part *x = ((const struct place *)a)->part;
        const struct stored_part *y = ((const struct place *)b)->part;

        if (x->file != y->file)
                return x->file < y->file ? -1 : 1;
        return (x->offset > y->offset) - (x->offset < y->offset);
}

static void check_places(const struct stored *s, const struct place *places, size_t n,
                         struct damage *g)
{
        for (size_t i = 0; i < n; i++) {
                const struct stored_part *part = places[i].part;
                struct stored_file *file = &s->files[part->file];
                const struct stored_part *before = i > 0 ? places[i - 1].part : NULL;

                if (before && before->file == part->file && part->offset < file->needed)
                        damage_add(g, "%s: %s and %s lie on one another at byte %" PRIu64,
                                   file->name, places[i - 1].tensor->name, places[i].tensor->name,
                                   part->offset);
                if (part->offset + part->bytes > file->needed)
                        file->needed = part->offset + part->bytes;
        }
}

int stored_check_parts(struct stored *s, struct damage *g)
{
        _cleanup_(freep) struct place *places = NULL;
        size_t n = 0, k = 0;

        for (size_t i = 0; i < s->n_tensors; i++)
                n += s->tensors[i].n_parts;
        places = calloc(n + 1, sizeof(*places));
        if (!places)
                return -ENOMEM;
        for (size_t i = 0; i < s->n_tensors; i++)
                for (size_t p = 0; p < s->tensors[i].n_parts; p++)
                        if (s->tensors[i].parts[p].bytes > 0)
                                places[k++] =
                                        (struct place){&s->tensors[i].parts[p], &s->tensors[i]};
        qsort(places, k, sizeof(*places), compare_places);
        check_places(s, places, k, g);
        return 0;
}

bool stored_is_damage(int r)
{
        return r == -EBADMSG || r == -ENOENT || r == -EIO || r == -EUCLEAN;
}

int stored_file_size(const struct io *io, int dirfd, const char *name, uint64_t *ret)
{
        struct statx st;
        int r;

        do
                r = io->statx(dirfd, name, AT_SYMLINK_NOFOLLOW, STATX_TYPE | STATX_SIZE, &st);
        while (r < 0 && errno == EINTR);
        if (r < 0)
                return -errno;
        if (!S_ISREG(st.stx_mode))
                return -EINVAL;
        *ret = st.stx_size;
        return 0;
}

int stored_look(struct stored *s, const struct io *io, int dirfd, struct damage *g, struct diag *d)
{
        for (size_t i = 0; i < s->n_files; i++) {
                struct stored_file *f = &s->files[i];
                int r = stored_file_size(io, dirfd, f->name, &f->bytes);

                f->missing = r == -ENOENT || r == -ENOTDIR || r == -EINVAL;
                if (r == -EINVAL)
                        damage_add(g, "%s: not a regular file", f->name);
                else if (f->missing)
                        damage_add(g, "%s: No such file or directory", f->name);
                else if (r < 0)
                        return diag_set(d, r, "%s: %s", f->name, strerror(-r));
                else if (f->bytes < f->needed)
                        damage_add(g, "%s: has %" PRIu64 " bytes, the index needs %" PRIu64,
                                   f->name, f->bytes, f->needed);
                s->bytes += f->bytes;
        }
        return 0;
}

int stored_read_file(const struct stored_dir *dir, const char *name, size_t max, struct buffer *ret,
                     struct diag *d)
{
        uint64_t bytes;
        int fd, r = stored_file_size(dir->io, dir->dirfd, name, &bytes);

        if (r == -EINVAL)
                return diag_set(d, r, "%s: not a regular file", name);
        if (r < 0)
                return diag_set(d, r, "%s: %s", name, strerror(-r));
        if (bytes > max)
                return diag_set(d, -EFBIG, "%s: has %" PRIu64 " bytes, at most %zu are possible",
                                name, bytes, max);
        fd = io_open(dir->io, dir->dirfd, name, O_RDONLY);
        if (fd < 0)
                return diag_set(d, -errno, "%s: %s", name, strerror(errno));
        r = buffer_reserve(ret, bytes);
        if (r >= 0)
                r = io_read_all(dir->io, fd, ret->data, bytes, 0);
        dir->io->close(fd);
        if (r < 0)
                return diag_set(d, r == -ENODATA ? -EBADMSG : r, "%s: %s", name,
                                r == -ENODATA ? "became shorter while it was read" : strerror(-r));
        ret->len = bytes;
        ret->data[bytes] = '\0';
        return 0;
}
