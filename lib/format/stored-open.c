#include "bundle.h"
#include "safetensors.h"
#include "stored-build.h"
#include "varint.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

struct place {
        const struct io *io;
        int dirfd;
        struct stored **ret;
        struct diag *d;
};

/* 1: it is there, 0: there is no such file.  A call that failed says neither. */
static int exists(const struct place *p, const char *stem, const char *suffix)
{
        _cleanup_(freep) char *name = NULL;
        uint64_t bytes;
        int r = asprintf(&name, "%s%s", stem, suffix) < 0 ? -ENOMEM : 0;

        if (r == 0)
                r = stored_file_size(p->io, p->dirfd, name, &bytes);
        if (r == -ENOENT || r == -EINVAL || r == -ENOTDIR || r == -ENAMETOOLONG || r == -ELOOP)
                return 0;
        return r < 0 ? diag_set(p->d, r, "%s%s: %s", stem, suffix, strerror(-r)) : 1;
}

static bool ends_with(const char *name, const char *suffix, size_t *ret_stem)
{
        size_t n = strlen(name), k = strlen(suffix);

        if (n <= k || strcmp(name + n - k, suffix) != 0)
                return false;
        *ret_stem = n - k;
        return true;
}

/* The length of what stands before "BEFORE00000-of-00001" at the end of the first n bytes; 0: no
 * such end. */
static size_t before_shard(const char *name, size_t n, const char *before)
{
        size_t at = n, k = strlen(before);

        while (at > 0 && isdigit((unsigned char)name[at - 1]))
                at--;
        if (at == n || at < 4 || strncmp(name + at - 4, "-of-", 4) != 0)
                return 0;
        n = at -= 4;
        while (at > 0 && isdigit((unsigned char)name[at - 1]))
                at--;
        if (at == n || at <= k || strncmp(name + at - k, before, k) != 0)
                return 0;
        return at - k;
}

static int open_bundle(const struct place *p, const char *prefix)
{
        return bundle_open(p->io, p->dirfd, prefix, p->ret, p->d);
}

static int open_single(const struct place *p, const char *file)
{
        return safetensors_open(p->io, p->dirfd, file, p->ret, p->d);
}

static int open_sharded(const struct place *p, const char *prefix)
{
        return safetensors_open_sharded(p->io, p->dirfd, prefix, p->ret, p->d);
}

/* One shard's name stands for the whole where its index is there. */
static int open_safetensors(const struct place *p, const char *file, size_t stem)
{
        size_t n = before_shard(file, stem, "-");
        _cleanup_(freep) char *prefix = strndup(file, n);
        int r;

        if (!prefix)
                return -ENOMEM;
        r = n > 0 ? exists(p, prefix, SAFETENSORS_INDEX_SUFFIX) : 0;
        if (r < 0)
                return r;
        return r ? open_sharded(p, prefix) : open_single(p, file);
}

/* By the suffix of the name.  1: it has none that says. */
static int open_named(const struct place *p, const char *name)
{
        _cleanup_(freep) char *prefix = NULL;
        bool bundle = false, single = false;
        size_t stem;
        int r;

        if (!ends_with(name, SAFETENSORS_INDEX_SUFFIX, &stem)) {
                single = ends_with(name, SAFETENSORS_SUFFIX, &stem);
                bundle = !single;
                if (bundle && !ends_with(name, BUNDLE_INDEX_SUFFIX, &stem))
                        stem = before_shard(name, strlen(name), ".data-");
        }
        r = stem > 0 ? exists(p, name, "") : 0;
        if (r <= 0)
                return r < 0 ? r : 1;
        if (single)
                return open_safetensors(p, name, stem);
        prefix = strndup(name, stem);
        if (!prefix)
                return -ENOMEM;
        return bundle ? open_bundle(p, prefix) : open_sharded(p, prefix);
}

/* A file whose name says nothing: is it safetensors? */
static int open_unnamed(const struct place *p, const char *name)
{
        uint8_t head[9];
        int fd = io_open(p->io, p->dirfd, name, O_RDONLY), r;

        if (fd < 0)
                return diag_set(p->d, -errno, "%s: %s", name, strerror(errno));
        r = io_read_all(p->io, fd, head, sizeof(head), 0);
        p->io->close(fd);
        if (r >= 0 && fixed64_get(head) <= SAFETENSORS_HEADER_MAX && head[8] == '{')
                return open_single(p, name);
        if (r < 0 && r != -ENODATA)
                return diag_set(p->d, r, "%s: %s", name, strerror(-r));
        return diag_set(p->d, -EOPNOTSUPP, "%s: neither a TensorBundle nor safetensors", name);
}

static int open_single_of(const struct place *p, const char *name)
{
        _cleanup_(freep) char *file = NULL;

        return asprintf(&file, "%s" SAFETENSORS_SUFFIX, name) < 0 ? -ENOMEM : open_single(p, file);
}

int stored_open(const struct io *io, int dirfd, const char *name, struct stored **ret,
                struct diag *d)
{
        static const struct {
                const char *suffix;
                int (*open)(const struct place *p, const char *name);
        } ways[] = {
                {BUNDLE_INDEX_SUFFIX, open_bundle},
                {SAFETENSORS_SUFFIX, open_single_of},
                {SAFETENSORS_INDEX_SUFFIX, open_sharded},
                {"", open_unnamed},
        };
        const struct place p = {io, dirfd, ret, d};
        int r;

        *ret = NULL;
        r = open_named(&p, name);
        if (r <= 0)
                return r;
        for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
                r = exists(&p, name, ways[i].suffix);
                if (r != 0)
                        return r < 0 ? r : ways[i].open(&p, name);
        }
        return diag_set(d, -ENOENT, "Failed to find any matching files for %s", name);
}
