#include "bundle.h"

#include "crc32c.h"
#include "limit.h"
#include "stored-build.h"
#include "varint.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define VARIABLE "/.ATTRIBUTES/VARIABLE_VALUE"

/* Where frameworks keep the step, when the name has none. */
static const char *const step_names[] = {
        "global_step",
        "step",
        "global_step" VARIABLE,
        "step" VARIABLE,
        "optimizer/iter" VARIABLE,
        "optimizer/_iterations" VARIABLE,
};

static bool is_step(const struct stored_tensor *t)
{
        return t && t->n_dims == 0 && t->n_parts == 1 && t->bytes == t->dtype->bytes &&
               (strcmp(t->dtype->name, "int64") == 0 || strcmp(t->dtype->name, "int32") == 0);
}

/* -1: unreadable, damaged or negative. */
static int64_t read_step(const struct stored *s, const struct io *io, int dirfd,
                         const struct stored_tensor *t)
{
        uint8_t bytes[8] = {0};
        const struct stored_part *part = &t->parts[0];
        int fd = io_open(io, dirfd, s->files[part->file].name, O_RDONLY), r;
        int64_t step;

        if (fd < 0)
                return -1;
        r = io_read_all(io, fd, bytes, t->bytes, (off_t)part->offset);
        io->close(fd);
        if (r < 0 || crc32c_extend(0, bytes, t->bytes) != part->crc32c)
                return -1;
        step = t->bytes == 4 ? (int32_t)fixed32_get(bytes) : (int64_t)fixed64_get(bytes);
        return step < 0 ? -1 : step;
}

static void find_step(struct stored *s, const struct io *io, int dirfd)
{
        for (size_t i = 0; i < ARRAY_SIZE(step_names) && s->step < 0; i++) {
                const struct stored_tensor *t = stored_find(s, step_names[i]);

                if (is_step(t))
                        s->step = read_step(s, io, dirfd, t);
        }
}

/* Data files of ranks that stored nothing: no entry names them, but they belong to the
 * checkpoint. */
static int add_empty_shards(struct stored *s, const struct io *io, int dirfd, size_t n_shards)
{
        size_t n_named = s->n_files, known = 1;

        for (size_t shard = 0; shard < n_shards && n_shards <= LIMIT_WORLD_SIZE; shard++) {
                _cleanup_(freep) char *name = bundle_data_name(s->name, shard, n_shards);
                uint64_t bytes;
                size_t index;

                if (!name)
                        return -ENOMEM;
                if (known < n_named && strcmp(s->files[known].name, name) == 0)
                        known++;
                else if (stored_file_size(io, dirfd, name, &bytes) == 0 &&
                         stored_add_file(s, name, &index) < 0)
                        return -ENOMEM;
        }
        return 0;
}

int bundle_open(const struct io *io, int dirfd, const char *prefix, struct stored **ret,
                struct diag *d)
{
        _cleanup_(buffer_done) struct buffer index = {0};
        _cleanup_(stored_freep) struct stored *s = NULL;
        _cleanup_(damage_done) struct damage damage = {0};
        _cleanup_(diag_done) struct diag parsed = {0};
        _cleanup_(freep) char *name = NULL;
        size_t n_shards;
        int r;

        if (asprintf(&name, "%s" BUNDLE_INDEX_SUFFIX, prefix) < 0)
                return -ENOMEM;
        r = stored_read_file(&(struct stored_dir){io, dirfd}, name, LIMIT_INDEX_BYTES, &index, d);
        if (r < 0)
                return r;
        r = bundle_parse(&(struct bundle_source){prefix, index.data, index.len}, &s, &n_shards,
                         &parsed);
        if (r < 0 && r != -EBADMSG)
                return r;
        damage_take(&damage, &parsed);
        if (s)
                r = add_empty_shards(s, io, dirfd, n_shards);
        if (s && r >= 0)
                r = stored_look(s, io, dirfd, &damage, d);
        if (r < 0 && r != -EBADMSG)
                return r;
        if (s && damage.n == 0)
                find_step(s, io, dirfd);
        *ret = take_ptr(s);
        return damage_tell(&damage, d);
}
