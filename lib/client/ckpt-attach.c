/* Attach and attach again: the call, and what its answer gives. */
#include "client.h"
#include "fds.h"
#include "field.h"
#include "swap.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define COMMAND_MAX_BYTES 4096
#define RANK_PAGE_BYTES 4096

struct attach_parameters {
        const char *model_dir, *job, *policy, *command;
        int64_t model_dir_fd, pid_fd, manifest_fd, page_fd, layout_fd;
        int64_t rank, world_size, attach;
        json_t *policy_values, *slot_fds;
        bool fresh, read_only;
};

#define F(type, member, flags) FIELD(type, struct attach_parameters, member, flags)

static const struct field attach_fields[] = {
        F(FIELD_STRING, model_dir, FIELD_REQUIRED),
        F(FIELD_FD, model_dir_fd, 0),
        F(FIELD_FD, pid_fd, 0),
        F(FIELD_STRING, job, 0),
        F(FIELD_INT, rank, 0),
        F(FIELD_INT, world_size, 0),
        F(FIELD_STRING, policy, 0),
        F(FIELD_OBJECT, policy_values, 0),
        F(FIELD_FD, manifest_fd, 0),
        F(FIELD_BOOL, fresh, 0),
        F(FIELD_BOOL, read_only, 0),
        F(FIELD_STRING, command, 0),
        F(FIELD_INT, attach, 0),
        F(FIELD_FD, page_fd, 0),
        F(FIELD_ARRAY, slot_fds, 0),
        F(FIELD_FD, layout_fd, 0),
        FIELD_END,
};

/* ---- the call ---- */

static void attach_call_done(struct attach_call *a)
{
        for (size_t i = 0; i < a->n_fds; i++)
                close(a->fds[i]);
        json_decref(a->parameters);
        *a = (struct attach_call){0};
}

/* The index of a duplicate in the call; -1 where there is nothing to push. */
static int64_t push(struct attach_call *a, int fd)
{
        int copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);

        if (copy < 0)
                return -1;
        a->fds[a->n_fds] = copy;
        return (int64_t)a->n_fds++;
}

static int push_image(struct attach_call *a, const struct image *i, struct attach_parameters *p)
{
        p->page_fd = push(a, i->page_fd);
        p->layout_fd = push(a, i->layout_fd);
        p->slot_fds = json_array();
        if (p->page_fd < 0 || p->layout_fd < 0 || !p->slot_fds)
                return -ENOMEM;
        for (size_t k = 0; k < i->n_slots; k++) {
                int64_t index = push(a, i->slots[k].fd);

                if (index < 0 || json_array_append_new(p->slot_fds, json_integer(index)) < 0)
                        return -ENOMEM;
        }
        return 0;
}

int attach_call_new(struct attach_call *ret, const struct ckpt *c, const struct image *image,
                    int manifest_fd)
{
        const struct identity *w = &c->who;
        _cleanup_(attach_call_done) struct attach_call a = {0};
        struct attach_parameters p = {.model_dir = w->model_dir,
                                      .job = w->job,
                                      .policy = w->policy,
                                      .command = w->command,
                                      .rank = w->rank,
                                      .world_size = w->world_size,
                                      .attach = c->link.attach,
                                      .fresh = w->fresh,
                                      .read_only = w->read_only,
                                      .page_fd = -1,
                                      .layout_fd = -1};
        int r = 0;

        p.model_dir_fd = push(&a, c->dir_fd);
        p.pid_fd = push(&a, c->pid_fd);
        p.manifest_fd = push(&a, manifest_fd);
        p.policy_values = w->policy_values ? json_loads(w->policy_values, 0, NULL) : NULL;
        if (image)
                r = push_image(&a, image, &p);
        if (r >= 0)
                a.parameters = field_encode(attach_fields, &p);
        json_decref(p.policy_values);
        json_decref(p.slot_fds);
        if (!a.parameters)
                return r < 0 ? r : -EINVAL; /* names that are not UTF-8 */
        *ret = a;
        a = (struct attach_call){0};
        return 0;
}

int attach_send(struct wire_conn *conn, struct attach_call *a, int64_t timeout_ms)
{
        struct wire_request q = {.method = "io.ckptd.Jobs.Attach",
                                 .parameters = a->parameters,
                                 .fds = a->fds,
                                 .n_fds = a->n_fds,
                                 .timeout_ms = timeout_ms};

        return wire_send_request(conn, &q);
}

/* ---- the reply ---- */

static bool is_same_file(const struct wire_message *m, json_t *index, int fd)
{
        json_int_t i = json_is_integer(index) ? json_integer_value(index) : -1;
        struct stat a, b;

        return i >= 0 && (size_t)i < m->n_fds && fstat(m->fds[i], &a) == 0 && fstat(fd, &b) == 0 &&
               a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* 1: page and slots go on as they are; 0: both are new; -ESTALE: only one of them. */
static int goes_on(const struct image *offered, const struct wire_message *m, json_t *parameters)
{
        json_t *page = json_object_get(parameters, "page_fd");
        json_t *slots = json_object_get(parameters, "slots");
        json_t *slot = json_object_get(json_array_get(slots, 0), "fd");
        bool same_page = !json_is_integer(page) || is_same_file(m, page, offered->page_fd);
        bool same_slots = !slot || is_same_file(m, slot, offered->slots[0].fd);

        return same_page == same_slots ? same_page : -ESTALE;
}

int attach_take_reply(struct ckpt *c, const struct image *offered, struct wire_result *result,
                      struct image **ret, struct diag *d)
{
        _cleanup_(image_freep) struct image *i = NULL;
        json_t *parameters = result->reply.parameters;
        int r = offered ? goes_on(offered, &result->message, parameters) : 0;

        if (r < 0)
                return diag_set(d, r, "the daemon took over only a part of what it was offered");
        if (r > 0) {
                *ret = NULL;
                return 0;
        }
        r = image_new(&i, offered ? fcntl(offered->manifest_fd, F_DUPFD_CLOEXEC, 0) : -1);
        if (r >= 0)
                r = image_take_reply(i, c->tensors, parameters, &result->message, d);
        if (r < 0)
                return r;
        *ret = take_ptr(i);
        return 0;
}

/* ---- who attaches to what ---- */

void identity_done(struct identity *w)
{
        free(w->model_dir);
        free(w->socket);
        free(w->job);
        free(w->policy);
        free(w->policy_values);
        free(w->command);
}

/* NULL where /proc is not there, or where it is not UTF-8: the daemon only shows it. */
static char *read_command(void)
{
        _cleanup_(buffer_done) struct buffer b = {0};
        json_t *json;
        bool good;

        if (fds_read_file("/proc/self/cmdline", COMMAND_MAX_BYTES, &b) < 0 || b.len == 0)
                return NULL;
        while (b.len > 0 && b.data[b.len - 1] == '\0')
                b.len--;
        for (size_t i = 0; i < b.len; i++)
                b.data[i] = b.data[i] == '\0' ? ' ' : b.data[i];
        json = json_stringn((const char *)b.data, b.len);
        good = json != NULL;
        json_decref(json);
        return good ? buffer_take(&b) : NULL;
}

static int name_job(struct identity *w, const char *given, struct diag *d)
{
        static const struct {
                const char *variable, *prefix;
        } managers[] = {{"SLURM_JOB_ID", "slurm"}, {"TORCHELASTIC_RUN_ID", "torchelastic"}};
        int r = given ? asprintf(&w->job, "%s", given) : 0;

        for (size_t i = 0; i < ARRAY_SIZE(managers) && r == 0; i++) {
                const char *id = getenv(managers[i].variable);

                if (id && *id && strcmp(id, "none") != 0)
                        r = asprintf(&w->job, "%s:%s", managers[i].prefix, id);
        }
        if (r == 0 && w->world_size > 1)
                return diag_set(
                        d, -EINVAL,
                        "ckpt_options.job is required when world_size is over 1: the same text for "
                        "every rank (under Slurm and torchelastic it is their id)");
        if (r == 0)
                r = asprintf(&w->job, "pid:%d", (int)getpid());
        if (r < 0)
                w->job = NULL;
        return r < 0 ? -ENOMEM : 0;
}

static int check_values(const char *text, struct diag *d)
{
        json_error_t e;
        json_t *json = text ? json_loads(text, JSON_REJECT_DUPLICATES, &e) : NULL;
        bool good = !text || json_is_object(json);

        if (!json && !good)
                diag_set(d, -EINVAL, "ckpt_options.policy_values is not JSON: %s", e.text);
        else if (!good)
                diag_set(d, -EINVAL, "ckpt_options.policy_values is not a JSON object");
        json_decref(json);
        return good ? 0 : -EINVAL;
}

static int copy_text(char **ret, const char *text)
{
        *ret = text ? strdup(text) : NULL;
        return text && !*ret ? -ENOMEM : 0;
}

static int identity_take(struct identity *w, const struct ckpt_options *o, struct diag *d)
{
        int r;

        w->rank = o->rank;
        w->world_size = o->world_size == 0 ? 1 : o->world_size;
        w->fresh = o->fresh;
        w->read_only = o->read_only;
        w->command = read_command();
        if (w->world_size < 1 || w->rank < 0 || w->rank >= w->world_size)
                return diag_set(d, -EINVAL, "rank %d of world_size %d: there is none", o->rank,
                                o->world_size);
        r = check_values(o->policy_values, d);
        if (r >= 0)
                r = copy_text(&w->policy_values, o->policy_values);
        if (r >= 0)
                r = copy_text(&w->policy, o->policy);
        return r < 0 ? r : name_job(w, o->job, d);
}

/* ---- the model directory ---- */

static int make_dir(struct ckpt *c, char **ret, struct diag *d)
{
        const char *below = getenv("TMPDIR");
        int r;

        if (c->who.read_only)
                return diag_set(d, -EINVAL, "ckpt_options.model_dir is required for a reader");
        if (asprintf(ret, "%s/ckpt-XXXXXX", below && *below ? below : "/tmp") < 0) {
                *ret = NULL;
                return -ENOMEM;
        }
        r = mkdtemp(*ret) ? 0 : -errno;
        return r < 0 ? diag_set(d, r, "%s: %s", *ret, strerror(-r)) : 0;
}

static int open_dir(struct ckpt *c, const char *given, struct diag *d)
{
        _cleanup_(freep) char *path = given ? strdup(given) : NULL;
        int r = given ? 0 : make_dir(c, &path, d);

        if (r < 0 || !path)
                return r < 0 ? r : -ENOMEM;
        if (given && !c->who.read_only && mkdir(path, 0777) < 0 && errno != EEXIST) {
                r = -errno;
                return diag_set(d, r, "%s cannot be made: %s", path, strerror(-r));
        }
        c->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        c->who.model_dir = c->dir_fd < 0 ? NULL : realpath(path, NULL);
        if (c->who.model_dir)
                return 0;
        r = -errno;
        return diag_set(d, r, "%s: %s", path, strerror(-r));
}

static int dial(struct ckpt *c, const char *socket, struct wire_conn **ret, struct diag *d)
{
        _cleanup_(diag_done) struct diag tried = {0};
        int r = wire_dial(socket, ret, &c->who.socket, &tried);

        if (r != -EHOSTDOWN)
                return r;
        return diag_set(d, r,
                        "no ckptd answers. Tried:\n%s\n"
                        "Start one: ckptd &\n"
                        "Elsewhere: ckpt_options.socket or CKPTD_SOCKET.",
                        diag_text(&tried, r));
}

/* ---- the whole ---- */

static int exchange(struct ckpt *c, struct wire_conn *conn, int manifest_fd, struct diag *d)
{
        struct wire_result result = {0};
        struct attach_call call = {0};
        int r = attach_call_new(&call, c, NULL, manifest_fd);

        if (r == -EINVAL)
                diag_set(d, r, "model_dir, job or policy is not UTF-8");
        if (r >= 0)
                r = attach_send(conn, &call, -1);
        if (r >= 0)
                r = wire_receive_reply(conn, -1, &result);
        if (r == -EPIPE)
                r = diag_set(d, -EHOSTDOWN, "ckptd went away at Attach");
        if (r < 0)
                return r;
        r = result.reply.error ? link_error(&result.reply, d) : 0;
        if (r >= 0)
                r = attach_take_reply(c, NULL, &result, &c->image, d);
        if (r >= 0)
                c->link.attach =
                        json_integer_value(json_object_get(result.reply.parameters, "attach"));
        wire_result_done(&result);
        return r;
}

static int attach(struct ckpt *c, const struct ckpt_options *o, struct diag *d)
{
        _cleanup_(wire_conn_freep) struct wire_conn *conn = NULL;
        _cleanup_(closep) int manifest_fd = -1;
        int r = dial(c, o->socket, &conn, d);

        if (r >= 0)
                r = open_dir(c, o->model_dir, d);
        if (r < 0)
                return r;
        c->pid_fd = fds_pidfd_open(getpid()); /* without it the daemon finds us by the socket */
        if (c->tensors->n > 0 || !c->who.read_only) {
                manifest_fd = tensors_manifest(c->tensors, d);
                if (manifest_fd < 0)
                        return manifest_fd;
        }
        r = exchange(c, conn, manifest_fd, d);
        if (r < 0)
                return r;
        c->image->manifest_fd = take_fd(&manifest_fd);
        r = helper_start(c);
        if (r < 0)
                return diag_set(d, r, "the helper thread cannot be started: %s", strerror(-r));
        helper_populate(c, c->image);
        if (c->image->page)
                rank_begin(c->rank, c->image->page, c->image->n_slots);
        link_set_up(&c->link, take_ptr(conn), c->link.attach);
        link_wake(&c->link);
        return 0;
}

static int check_options(const struct ckpt_options *o, struct ckpt_options *ret, struct diag *d)
{
        if (!o || o->size < sizeof(o->size))
                return diag_set(d, -EINVAL,
                                "ckpt_options.size must be sizeof(struct ckpt_options)");
        *ret = (struct ckpt_options){0};
        memcpy(ret, o, o->size < sizeof(*o) ? o->size : sizeof(*o));
        return 0;
}

int client_attach(struct ckpt *c, const struct ckpt_options *o, const struct ckpt_tensor *t,
                  size_t n, struct diag *d)
{
        struct ckpt_options options;
        int r = check_options(o, &options, d);

        if (r >= 0)
                r = tensors_new(&c->tensors, t, n, d);
        if (r >= 0)
                r = identity_take(&c->who, &options, d);
        return r < 0 ? r : attach(c, &options, d);
}
