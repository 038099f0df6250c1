#include "safetensors.h"

#include "limit.h"
#include "stored-build.h"
#include "varint.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#define LENGTH_BYTES 8

struct opener {
        const struct io *io;
        int dirfd;
        struct stored *s;
        struct damage damage;
        struct diag *d;
};

static void opener_done(struct opener *o)
{
        stored_free(o->s);
        damage_done(&o->damage);
}

/* 1: the file is too short to have the header it promises, or promises too much: told. */
static int read_head(struct opener *o, int fd, const struct stored_file *f, struct buffer *ret)
{
        uint8_t length[LENGTH_BYTES];
        uint64_t n;
        int r = f->bytes < LENGTH_BYTES ? -ENODATA
                                        : io_read_all(o->io, fd, length, LENGTH_BYTES, 0);

        if (r == -ENODATA) {
                damage_add(&o->damage, "%s: header too small", f->name);
                return 1;
        }
        if (r < 0)
                return r;
        n = fixed64_get(length);
        if (n > SAFETENSORS_HEADER_MAX || n > f->bytes - LENGTH_BYTES) {
                damage_add(&o->damage, "%s: %s: %" PRIu64 " bytes in a file of %" PRIu64, f->name,
                           n > SAFETENSORS_HEADER_MAX ? "header too large"
                                                      : "invalid header length",
                           n, f->bytes);
                return 1;
        }
        r = buffer_reserve(ret, n + LENGTH_BYTES);
        if (r >= 0)
                r = io_read_all(o->io, fd, ret->data, n + LENGTH_BYTES, 0);
        ret->len = n + LENGTH_BYTES;
        return r;
}

/* A missing file is damage; what else keeps it from being read is an error. */
static int read_shard(struct opener *o, size_t index)
{
        _cleanup_(buffer_done) struct buffer head = {0};
        struct stored_file *f = &o->s->files[index];
        struct safetensors_source source;
        int fd, r = stored_file_size(o->io, o->dirfd, f->name, &f->bytes);

        if (r == -ENOENT || r == -EINVAL)
                return 0; /* stored_look tells */
        if (r < 0)
                return diag_set(o->d, r, "%s: %s", f->name, strerror(-r));
        fd = io_open(o->io, o->dirfd, f->name, O_RDONLY);
        if (fd < 0)
                return diag_set(o->d, -errno, "%s: %s", f->name, strerror(errno));
        r = read_head(o, fd, f, &head);
        o->io->close(fd);
        if (r < 0)
                return diag_set(o->d, r, "%s: %s", f->name, strerror(-r));
        if (r > 0)
                return 0;
        source = (struct safetensors_source){head.data, head.len, f->bytes};
        return safetensors_parse(&source, o->s, index, &o->damage, o->d);
}

static void check_names(struct opener *o)
{
        struct stored *s = o->s;

        stored_sort(s);
        for (size_t i = 1; i < s->n_tensors; i++) {
                const struct stored_tensor *a = &s->tensors[i - 1], *b = &s->tensors[i];

                if (strcmp(a->name, b->name) == 0)
                        damage_add(&o->damage, "%s: is stored twice", a->name);
        }
}

static int finish(struct opener *o, struct stored **ret)
{
        int r;

        check_names(o);
        r = stored_look(o->s, o->io, o->dirfd, &o->damage, o->d);
        if (r < 0)
                return r;
        *ret = take_ptr(o->s);
        return damage_tell(&o->damage, o->d);
}

static char *without_suffix(const char *file)
{
        size_t n = strlen(file), suffix = strlen(SAFETENSORS_SUFFIX);

        if (n > suffix && strcmp(file + n - suffix, SAFETENSORS_SUFFIX) == 0)
                n -= suffix;
        return strndup(file, n);
}

int safetensors_open(const struct io *io, int dirfd, const char *file, struct stored **ret,
                     struct diag *d)
{
        _cleanup_(opener_done) struct opener o = {.io = io, .dirfd = dirfd, .d = d};
        _cleanup_(freep) char *name = without_suffix(file);
        size_t index;
        int r = name ? stored_new(&format_safetensors, name, &o.s) : -ENOMEM;

        if (r >= 0)
                r = stored_add_file(o.s, file, &index);
        if (r >= 0)
                r = read_shard(&o, index);
        return r < 0 ? r : finish(&o, ret);
}

/* A shard lies beside its index: a plain name. */
static bool is_plain(const char *name)
{
        return *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static int compare_strings(const void *a, const void *b)
{
        return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The shards' names, sorted, each once; in the index's own directory. */
static int add_shards(struct opener *o, const char *prefix, json_t *map)
{
        _cleanup_(freep) const char **names = calloc(json_object_size(map) + 1, sizeof(*names));
        const char *slash = strrchr(prefix, '/'), *tensor;
        json_t *value;
        size_t n = 0, index;

        if (!names)
                return -ENOMEM;
        json_object_foreach (map, tensor, value) {
                const char *name = json_string_value(value);

                if (!name || !is_plain(name))
                        damage_add(&o->damage, "%s: %s: its file is not a plain name",
                                   o->s->files[0].name, tensor);
                else
                        names[n++] = name;
        }
        qsort(names, n, sizeof(*names), compare_strings);
        for (size_t i = 0; i < n; i++) {
                _cleanup_(freep) char *path = NULL;
                int dir_length = slash ? (int)(slash - prefix) + 1 : 0;

                if (i > 0 && strcmp(names[i - 1], names[i]) == 0)
                        continue;
                if (asprintf(&path, "%.*s%s", dir_length, prefix, names[i]) < 0 ||
                    stored_add_file(o->s, path, &index) < 0)
                        return -ENOMEM;
        }
        return 0;
}

static const char *base_name(const char *path)
{
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}

/* Each tensor of the map must be in the file that it names. */
static void check_map(struct opener *o, json_t *map)
{
        const struct stored *s = o->s;
        const char *tensor;
        json_t *value;

        json_object_foreach (map, tensor, value) {
                const struct stored_tensor *t = stored_find(s, tensor);
                const char *file = json_string_value(value);

                if (!file || (t && t->n_parts == 0))
                        continue;
                if (!t || strcmp(base_name(s->files[t->parts[0].file].name), file) != 0)
                        damage_add(&o->damage, "%s: Key %s not found in %s", s->files[0].name,
                                   tensor, file);
        }
}

static bool any_sums(const struct stored *s)
{
        for (size_t i = 0; i < s->n_tensors; i++)
                if (s->tensors[i].n_parts > 0 && s->tensors[i].parts[0].has_crc)
                        return true;
        return false;
}

/* The index's own sum; demanded where the shards have sums, since then it was ours. */
static void check_index_sum(struct opener *o, const struct buffer *text, const json_t *metadata)
{
        static const char before[] = "\"crc32c\": \"";
        const char *digits = json_string_value(json_object_get(metadata, "crc32c"));
        const uint8_t *at = memmem(text->data, text->len, before, sizeof(before) - 1);
        size_t offset = at ? (size_t)(at - text->data) + sizeof(before) - 1 : 0;
        uint32_t said;

        if (!any_sums(o->s))
                return;
        if (!digits || !at || text->len < offset + SAFETENSORS_CRC_DIGITS ||
            safetensors_parse_digits(digits, &said) < 0 ||
            safetensors_own_sum(text->data, text->len, offset) != said)
                damage_add(&o->damage, "%s: its sum does not fit", o->s->files[0].name);
}

static int read_sharded(struct opener *o, const char *prefix, json_t *index,
                        const struct buffer *text)
{
        json_t *map = json_object_get(index, "weight_map");
        int r;

        if (!json_is_object(map)) {
                damage_add(&o->damage, "%s: has no weight_map", o->s->files[0].name);
                return 0;
        }
        r = add_shards(o, prefix, map);
        for (size_t i = 1; i < o->s->n_files && r >= 0; i++)
                r = read_shard(o, i);
        if (r < 0)
                return r;
        stored_sort(o->s);
        check_map(o, map);
        check_index_sum(o, text, json_object_get(index, "metadata"));
        return 0;
}

int safetensors_open_sharded(const struct io *io, int dirfd, const char *prefix,
                             struct stored **ret, struct diag *d)
{
        _cleanup_(opener_done) struct opener o = {.io = io, .dirfd = dirfd, .d = d};
        _cleanup_(buffer_done) struct buffer text = {0};
        _cleanup_(freep) char *name = NULL;
        json_error_t error;
        json_t *index;
        size_t file;
        int r;

        if (asprintf(&name, "%s" SAFETENSORS_INDEX_SUFFIX, prefix) < 0)
                return -ENOMEM;
        r = stored_read_file(&(struct stored_dir){io, dirfd}, name, SAFETENSORS_HEADER_MAX, &text,
                             d);
        if (r >= 0)
                r = stored_new(&format_safetensors, prefix, &o.s);
        if (r >= 0)
                r = stored_add_file(o.s, name, &file);
        if (r < 0)
                return r;
        index = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, &error);
        if (!index)
                return diag_set(d, -EBADMSG, "%s: line %d column %d: %s", name, error.line,
                                error.column, error.text);
        r = read_sharded(&o, prefix, index, &text);
        json_decref(index);
        return r < 0 ? r : finish(&o, ret);
}
