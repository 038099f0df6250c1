/* Restore: the daemon gives verified bytes, in a slot or a memory file, and where each tensor
 * lies in them; they are copied out here, when all is known to fit. */
#include "client.h"
#include "dtype.h"
#include "fds.h"
#include "io.h"
#include "limit.h"
#include "swap.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct source { /* where the bytes are */
        struct ckpt *c;
        int64_t step;
        const uint8_t *memory; /* a slot; or: */
        int data_fd;
        uint64_t bytes;
        int64_t *map; /* where each tensor begins, or -1 */
        struct pieces pieces;
        struct stored stored;
};

static void source_done(struct source *s)
{
        closep(&s->data_fd);
        free(s->map);
        pieces_done(&s->pieces);
        stored_done(&s->stored);
}

/* ---- what the checkpoint holds ---- */

void stored_done(struct stored *s)
{
        json_decref(s->json);
        free(s->t);
        free(s->dims);
        *s = (struct stored){0};
}

static size_t count_dims(json_t *all)
{
        size_t i, n = 0;
        json_t *t;

        json_array_foreach (all, i, t)
                n += json_array_size(json_object_get(t, "shape"));
        return n;
}

/* Takes one tensor; its dims go to `dims`. */
static int read_tensor(json_t *from, struct ckpt_tensor *to, int64_t *dims)
{
        const char *name, *dtype, *slice = NULL;
        const struct dtype *type;
        json_t *shape, *size;
        size_t i;

        if (json_unpack(from, "{s:s, s:s, s:o, s?s}", "name", &name, "dtype", &dtype, "shape",
                        &shape, "slice", &slice) < 0)
                return -EPROTO;
        type = dtype_by_name(dtype);
        json_array_foreach (shape, i, size)
                dims[i] = json_integer_value(size);
        *to = (struct ckpt_tensor){.size = sizeof(*to),
                                   .name = name,
                                   .dtype = (enum ckpt_dtype)(type ? type->number : 0),
                                   .n_dims = (int)json_array_size(shape),
                                   .dims = dims,
                                   .slice = slice};
        return 0;
}

static int stored_read(struct stored *ret, int fd)
{
        _cleanup_(buffer_done) struct buffer text = {0};
        int64_t *dims;
        int r = fds_read_all(fd, LIMIT_INDEX_BYTES, &text);

        if (r < 0)
                return r;
        ret->json = json_loadb((const char *)text.data, text.len, 0, NULL);
        if (!json_is_array(ret->json))
                return -EPROTO;
        ret->n = json_array_size(ret->json);
        ret->t = calloc(ret->n + 1, sizeof(*ret->t));
        ret->dims = dims = calloc(count_dims(ret->json) + 1, sizeof(*dims));
        if (!ret->t || !dims)
                return -ENOMEM;
        for (size_t i = 0; i < ret->n; i++) {
                r = read_tensor(json_array_get(ret->json, i), &ret->t[i], dims);
                if (r < 0)
                        return r;
                dims += ret->t[i].n_dims;
        }
        return 0;
}

int ckpt_stored(struct ckpt *c, size_t i, struct ckpt_tensor *ret)
{
        if (!c->rank->alive)
                return 0;
        if (i >= c->stored.n)
                return -ENOENT;
        *ret = c->stored.t[i];
        return 0;
}

/* ---- the reply ---- */

static int read_map(struct source *s, int fd, bool partial)
{
        const struct tensors *t = s->c->tensors;
        int r;

        s->map = calloc(t->n + 1, sizeof(*s->map));
        if (!s->map)
                return -ENOMEM;
        r = io_read_all(&io_real, fd, s->map, t->n * sizeof(*s->map), 0);
        for (size_t i = 0; r >= 0 && i < t->n; i++) {
                uint64_t end = 0;

                if (s->map[i] == -1 && (partial || t->bytes[i] == 0))
                        continue;
                if (s->map[i] < 0 ||
                    __builtin_add_overflow((uint64_t)s->map[i], t->bytes[i], &end) ||
                    end > s->bytes)
                        r = -EPROTO;
        }
        return r;
}

static int find_bytes(struct source *s, json_int_t slot, int data_index, struct wire_message *m)
{
        const struct image *i = s->c->image;
        struct stat st;

        if (data_index >= 0) {
                s->data_fd = wire_message_take_fd(m, data_index);
                if (s->data_fd < 0)
                        return s->data_fd;
                if (fstat(s->data_fd, &st) < 0)
                        return -errno;
                /* Tensors that a lower rank stores may lie behind the data file's end. */
                s->bytes = (uint64_t)st.st_size;
                return 0;
        }
        if (slot < 0 || (uint64_t)slot >= i->n_slots || s->bytes > i->slots[slot].bytes)
                return -EPROTO;
        s->memory = i->slots[slot].memory;
        return 0;
}

/* 1: there is something to restore; 0: nothing was ever saved. */
static int source_read(struct source *s, struct wire_result *result, bool partial)
{
        struct wire_message *m = &result->message;
        _cleanup_(closep) int map = -1, stored = -1;
        json_int_t step = -1, slot = -1, bytes = 0;
        int found = 0, data_index = -1, map_index = -1, stored_index = -1, r;

        if (json_unpack(result->reply.parameters, "{s:b, s?I, s?I, s?i, s?I, s?i, s?i}", "found",
                        &found, "step", &step, "slot", &slot, "data_fd", &data_index, "data_bytes",
                        &bytes, "map_fd", &map_index, "stored_fd", &stored_index) < 0)
                return -EPROTO;
        if (!found)
                return 0;
        if (step < 0 || bytes < 0)
                return -EPROTO;
        s->step = step;
        s->bytes = (uint64_t)bytes;
        r = find_bytes(s, slot, data_index, m);
        if (r < 0)
                return r;
        map = wire_message_take_fd(m, map_index);
        r = map < 0 ? map : read_map(s, map, partial);
        if (r < 0)
                return r;
        stored = wire_message_take_fd(m, stored_index);
        r = stored < 0 ? 0 : stored_read(&s->stored, stored);
        return r < 0 ? r : 1;
}

/* ---- copying out ---- */

static int copy_piece(void *user, size_t i)
{
        struct source *s = user;
        const struct piece *p = &s->pieces.p[i];
        uint8_t *to = (uint8_t *)s->c->tensors->t[p->tensor].data + p->at;
        uint64_t from = (uint64_t)s->map[p->tensor] + p->at;

        if (!s->memory)
                return io_read_all(&io_real, s->data_fd, to, p->bytes, (off_t)from);
        copier_copy(&s->c->copier, to, s->memory + from, p->bytes);
        copy_fence();
        return 0;
}

static int copy_out(struct source *s)
{
        struct crew_work w = {.piece = copy_piece, .user = s};
        int r = pieces_cut(&s->pieces, s->c->tensors, s->map, 1);

        if (r < 0)
                return r;
        w.n = s->pieces.n;
        helper_keep_off(s->c);
        crew_begin(&s->c->crew, &w);
        return crew_join(&s->c->crew, &w);
}

/* The lease ends.  A daemon that died meanwhile has none. */
static void tell_restored(struct ckpt *c, int64_t step)
{
        struct link_ask ask = {.method = "io.ckptd.Jobs.Restored", .fd = -1};
        struct wire_result result;

        ask.parameters = json_pack("{s:I}", "step", (json_int_t)step);
        if (ask.parameters && link_call(&c->link, &ask, 0, &result, NULL) >= 0)
                wire_result_done(&result);
        json_decref(ask.parameters);
}

static int restore_from(struct ckpt *c, struct wire_result *result, bool partial, int64_t *ret_step,
                        struct diag *d)
{
        _cleanup_(source_done) struct source s = {.c = c, .data_fd = -1};
        int r = source_read(&s, result, partial);

        if (r < 0)
                return diag_set(d, r, "the daemon's answer cannot be used: %s", strerror(-r));
        if (r == 0)
                return 0;
        r = copy_out(&s);
        if (r < 0)
                return diag_set(d, r, "copying the restored tensors failed: %s", strerror(-r));
        stored_done(&c->stored);
        c->stored = s.stored;
        s.stored = (struct stored){0};
        if (!c->who.read_only)
                rank_restored(c->rank, s.step);
        tell_restored(c, s.step);
        *ret_step = s.step;
        return 1;
}

/* ---- the call ---- */

/* All digits: a step.  1: it is one. */
static int parse_step(const char *text, json_int_t *ret)
{
        char *end;

        if (!isdigit((unsigned char)*text))
                return 0;
        errno = 0;
        *ret = strtoll(text, &end, 10);
        return *end == '\0' && errno == 0;
}

static bool is_there(const char *path)
{
        char index[PATH_MAX];
        int n = snprintf(index, sizeof(index), "%s.index", path);

        return access(path, F_OK) == 0 || (n > 0 && n < PATH_MAX && access(index, F_OK) == 0);
}

/* A relative path is the job's where there is something, else the model directory's. */
static json_t *absolute(const char *path)
{
        _cleanup_(freep) char *here = NULL, *full = NULL;
        json_t *json;

        if (*path == '/' || !is_there(path))
                return json_string(path);
        here = getcwd(NULL, 0);
        if (!here || asprintf(&full, "%s/%s", here, path) < 0)
                return NULL;
        json = json_string(full);
        return json;
}

static json_t *what_to_restore(const char *path_or_step, unsigned flags)
{
        json_t *p = json_object();
        json_int_t step;
        int r = 0;

        if (path_or_step && parse_step(path_or_step, &step) == 1)
                r = json_object_set_new(p, "step", json_integer(step));
        else if (path_or_step)
                r = json_object_set_new(p, "path", absolute(path_or_step));
        if (r == 0 && flags & CKPT_RESTORE_PARTIAL)
                r = json_object_set_new(p, "partial", json_true());
        if (r == 0)
                return p;
        json_decref(p);
        return NULL;
}

static int check_memory(const struct ckpt *c, struct diag *d)
{
        for (size_t i = 0; i < c->tensors->n; i++)
                if (!c->tensors->t[i].data && c->tensors->bytes[i] > 0)
                        return diag_set(
                                d, -ENOTSUP,
                                "tensor_name = %s: restore needs host memory, and data is NULL",
                                c->tensors->t[i].name);
        return 0;
}

static int restore(struct ckpt *c, const char *path_or_step, unsigned flags, int64_t *ret_step,
                   struct diag *d)
{
        struct link_ask ask = {.method = "io.ckptd.Jobs.Restore", .fd = -1};
        struct wire_result result;
        int r = check_memory(c, d);

        if (r < 0)
                return r;
        ask.parameters = what_to_restore(path_or_step, flags);
        if (!ask.parameters)
                return diag_set(d, -EINVAL, "the path is not UTF-8");
        r = link_call(&c->link, &ask, LINK_AWAY_MS, &result, d);
        json_decref(ask.parameters);
        if (r < 0)
                return r;
        swap_pending(c);
        r = restore_from(c, &result, flags & CKPT_RESTORE_PARTIAL, ret_step, d);
        wire_result_done(&result);
        return r;
}

int ckpt_restore_from(struct ckpt *c, const char *path_or_step, unsigned flags, int64_t *ret_step)
{
        _cleanup_(diag_done) struct diag d = {0};
        int r;

        if (!c->rank->alive)
                return 0;
        if (!client_is_attached(c))
                return client_refuse(c, -ENOTCONN, "not attached");
        if (c->snapshot.open)
                return client_refuse(c, -EBUSY, "call ckpt_save_end first");
        if (c->stale)
                return client_refuse(c, -ESTALE,
                                     "ckpt_describe failed: call it again before restoring");
        if (flags & ~(unsigned)CKPT_RESTORE_PARTIAL)
                return client_refuse(c, -EINVAL, "an unknown flag");
        r = restore(c, path_or_step, flags, ret_step, &d);
        return r < 0 ? client_fail(c, r, &d) : r;
}

int ckpt_restore(struct ckpt *c, int64_t *ret_step)
{
        return ckpt_restore_from(c, NULL, 0, ret_step);
}
