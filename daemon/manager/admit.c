/* Attach: from the call of each rank to the reply with page, layout and slots.
 *
 *   directory opened -> job found or made -> manifest parsed (worker) -> all ranks here -> laid out
 *   (worker)
 *   -> slots made (worker) -> replies
 *
 * Describe goes the second half of the same way. */
#include "admit.h"
#include "fds.h"
#include "leftover.h"
#include "limit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

struct admission { /* one Attach that has no rank yet */
        struct waiting waiting;
        struct manager *manager;
        struct directory *directory;
        struct rpc_call *call;      /* NULL: cancelled */
        struct attach_parameters p; /* strings borrowed from the call */
};

static void admission_end(struct admission *a)
{
        free(a);
}

static void admission_cancelled(void *user)
{
        ((struct admission *)user)->call = NULL;
}

static void refuse(struct admission *a, const char *error, const char *format, ...) _printf_(3, 4);
static void refuse(struct admission *a, const char *error, const char *format, ...)
{
        _cleanup_(freep) char *text = NULL;
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&text, format, ap) < 0)
                text = NULL;
        va_end(ap);
        log_warning("attach to %s refused: %s", a->p.model_dir, text ? text : "");
        answer_text(a->call, error, text ? text : "");
        admission_end(a);
}

/* ---- manifests ---- */

struct parse_task {
        struct task task;
        struct rank *rank;
        int fd;
        json_t *json;
        struct manifest *manifest;
        unsigned id; /* rank::parse then */
        int r;
        struct diag diag;
};

static void parse_run(struct task *task)
{
        struct parse_task *t = (struct parse_task *)task;
        _cleanup_(buffer_done) struct buffer text = {0};

        if (t->json) {
                t->r = manifest_from_json(t->json, &t->manifest, &t->diag);
                return;
        }
        t->r = fds_memfd_check(t->fd, 0);
        if (t->r < 0)
                diag_set(&t->diag, t->r, "manifest_fd: not a memory file sealed against shrinking");
        else
                t->r = fds_read_all(t->fd, LIMIT_MANIFEST_BYTES, &text);
        if (t->r >= 0)
                t->r = manifest_parse((const char *)text.data, text.len, &t->manifest, &t->diag);
}

static bool all_parsed(const struct job *j)
{
        for (unsigned i = 0; i < j->world_size; i++)
                if (j->ranks[i].state != RANK_HERE || !j->ranks[i].parsed)
                        return false;
        return true;
}

static void parse_done(struct task *task)
{
        struct parse_task *t = (struct parse_task *)task;
        struct rank *r = t->rank;
        struct job *j = r->job;
        struct rpc_call **call = r->attach ? &r->attach : &r->describe;
        bool is_wanted = t->id == r->parse && *call; /* else the caller has gone meanwhile */

        if (is_wanted && t->r >= 0 && r->state == RANK_HERE) {
                manifest_free(r->next);
                r->next = take_ptr(t->manifest);
                r->parsed = true;
        } else if (is_wanted) {
                log_warning("%s: rank %u: %s", j->directory->row.path, r->index,
                            diag_text(&t->diag, t->r));
                answer_text(take_ptr(*call), "io.ckptd.Jobs.Mismatch", diag_text(&t->diag, t->r));
                if (j->state == JOB_GATHERING)
                        rank_close(r);
        }
        if (is_wanted && all_parsed(j) && !j->broken)
                job_lay_out(j);
        json_decref(t->json);
        if (t->fd >= 0)
                close(t->fd);
        manifest_free(t->manifest);
        diag_done(&t->diag);
        free(t);
        job_release(j);
}

int rank_parse_manifest(struct rank *r, struct rpc_call *c, const json_t *inline_json,
                        int64_t fd_index)
{
        struct parse_task *t = calloc(1, sizeof(*t));

        if (!t)
                return -ENOMEM;
        *t = (struct parse_task){
                .task = {.run = parse_run, .done = parse_done}, .rank = r, .fd = -1};
        if (inline_json)
                t->json =
                        json_deep_copy(inline_json); /* jansson's counts are not for two threads */
        else
                t->fd = rpc_call_take_fd(c, fd_index);
        if (!t->json && t->fd < 0) {
                free(t);
                return -EBADF;
        }
        t->id = ++r->parse;
        r->parsed = false;
        job_hold(r->job);
        worker_pool_submit(r->job->manager->parsers, &t->task);
        return 0;
}

/* ---- the job of an admission ---- */

static int64_t new_attach_id(void)
{
        uint64_t id = 0;

        while (!(id >> 1) && getrandom(&id, sizeof(id), 0) < 0 && errno == EINTR)
                ;
        return (int64_t)(id >> 1);
}

static char *job_name(const struct admission *a)
{
        char *name = NULL;

        if (a->p.job)
                return strdup(a->p.job);
        return asprintf(&name, "pid:%d", (int)rpc_call_peer(a->call)->pid) < 0 ? NULL : name;
}

/* The job's own values, kept as texts: a reload asks settings_effective again. */
static int keep_wish(struct job *j, const struct attach_parameters *p)
{
        const char *key;
        json_t *value;

        if (p->policy && !(j->wish_policy = strdup(p->policy)))
                return -ENOMEM;
        json_object_foreach (p->policy_values, key, value) {
                size_t n = j->n_values;

                if (n == WISH_VALUES_MAX)
                        break;
                j->value_keys[n] = strdup(key);
                j->value_texts[n] = json_is_null(value)     ? NULL
                                    : json_is_string(value) ? strdup(json_string_value(value))
                                                            : json_dumps(value, JSON_ENCODE_ANY);
                if (!j->value_keys[n])
                        return -ENOMEM;
                j->n_values++;
        }
        return 0;
}

void job_wish(const struct job *j, struct settings_wish *ret)
{
        *ret = (struct settings_wish){.real_path = j->directory->row.path,
                                      .registered = j->directory->row.policy,
                                      .policy = j->wish_policy,
                                      .n_values = j->n_values,
                                      .keys = (const char *const *)j->value_keys,
                                      .values = (const char *const *)j->value_texts};
}

static int start_job(struct admission *a, struct job **ret)
{
        struct directory *d = a->directory;
        unsigned world = a->p.world_size > 0 ? (unsigned)a->p.world_size : 1;
        struct settings_wish wish;
        struct job *j;
        int r = job_new(&j, d, world);

        if (r < 0)
                return r;
        j->id = job_name(a);
        j->command = a->p.command ? strdup(a->p.command) : NULL;
        j->uid = rpc_call_peer(a->call)->uid;
        j->fresh = a->p.fresh;
        j->veteran = a->p.attach > 0;
        j->reattached = j->veteran && a->p.page_fd >= 0;
        j->attach_id = j->reattached ? a->p.attach : new_attach_id();
        r = keep_wish(j, &a->p);
        job_wish(j, &wish);
        if (r >= 0)
                r = directory_choose_policy(d, &wish, &j->messages);
        if (r >= 0 && !j->id)
                r = -ENOMEM;
        if (r >= 0) {
                j->format = format_by_name(strcmp(d->policy->format, "auto") ? d->policy->format
                                                                             : "tensorbundle");
                r = j->format ? 0 : -EINVAL;
        }
        if (j->messages.text)
                log_warning("%s: %s", d->row.path, j->messages.text);
        *ret = j;
        return r;
}

/* Does the caller belong to the job that is there?  1: yes; 0: it must wait until that is gone;
 * -EBUSY. */
static int may_join(const struct admission *a, const struct job *j)
{
        pid_t pid = rpc_call_peer(a->call)->pid;
        _cleanup_(freep) char *name = job_name(a);
        unsigned world = a->p.world_size > 0 ? (unsigned)a->p.world_size : 1;
        const struct rank *r = a->p.rank < j->world_size ? &j->ranks[a->p.rank] : NULL;
        bool is_named = name && !strcmp(name, j->id) && world == j->world_size;

        if (a->p.attach > 0 && a->p.attach == j->attach_id && r &&
            (r->state == RANK_AWAY || (r->state == RANK_EMPTY && j->state == JOB_GATHERING)))
                return 1;
        if (is_named && world > 1 && j->state == JOB_GATHERING && j->veteran && a->p.attach <= 0)
                return 0;
        if (is_named && j->state == JOB_GATHERING && r->state == RANK_EMPTY &&
            j->veteran == (a->p.attach > 0))
                return 1;
        if (j->state == JOB_ENDING || j->broken || j->detached)
                return 0;
        if (pid && job_pid(j) == pid) /* its newer attach counts, not one that comes back */
                return a->p.attach > 0 && a->p.attach != j->attach_id ? -EBUSY : 0;
        for (unsigned i = 0; i < j->world_size; i++)
                if (j->ranks[i].state == RANK_AWAY || j->ranks[i].state == RANK_DEAD)
                        return 0;
        return -EBUSY;
}

/* A second process in the place of a rank that is here: nobody can tell which one is meant. */
static bool is_twin(const struct admission *a, const struct job *j)
{
        _cleanup_(freep) char *name = job_name(a);

        return j->world_size > 1 && a->p.attach <= 0 && name && !strcmp(name, j->id) &&
               a->p.world_size == j->world_size && j->ranks[a->p.rank].state == RANK_HERE &&
               j->ranks[a->p.rank].pid != rpc_call_peer(a->call)->pid;
}

/* A new job of the same process takes the directory over: the old one ends. */
static void take_over_same_pid(const struct admission *a, struct job *j)
{
        pid_t pid = rpc_call_peer(a->call)->pid;

        if (!pid || job_pid(j) != pid || j->state == JOB_ENDING)
                return;
        for (unsigned i = 0; i < j->world_size; i++)
                if (j->ranks[i].session && j->ranks[i].session != rpc_call_session(a->call))
                        rpc_session_drop(j->ranks[i].session);
        j->detached = true;
        for (unsigned i = 0; i < j->world_size; i++)
                if (j->ranks[i].state != RANK_EMPTY)
                        j->ranks[i].state = RANK_DEAD;
        job_maybe_end(j);
}

static void admission_go(struct waiting *w, int r, const struct diag *d);

static void wait_for_job(struct admission *a)
{
        struct directory *d = a->directory;

        a->waiting.for_job = true;
        a->waiting.go = admission_go;
        a->waiting.until_ms = clock_boot_ms() + ADMIT_WAIT_MS;
        TAILQ_INSERT_TAIL(&d->waiting, &a->waiting, link);
        if (d->job)
                take_over_same_pid(a, d->job);
}

/* ---- page and slots ---- */

static int page_map(struct rank *r, int fd)
{
        struct page *p = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        if (p == MAP_FAILED) {
                close(fd);
                return -errno;
        }
        r->page = p;
        r->page_fd = fd;
        return 0;
}

static int page_new(struct rank *r)
{
        int fd = fds_memfd_new("ckptd-page", PAGE_BYTES);
        int k = fd < 0 ? fd : page_map(r, fd);

        if (k >= 0)
                page_init(r->page, (uint64_t)r->job->attach_id, r->index, r->job->world_size, 0);
        return k;
}

/* Where the tensors lie in the slots that the job brought back. */
static int take_layout(struct rank *r, struct admission *a)
{
        _cleanup_(closep) int fd = rpc_call_take_fd(a->call, a->p.layout_fd);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < 0 ||
            (uint64_t)st.st_size > LIMIT_TENSORS * sizeof(*r->layout))
                return -EPROTO;
        r->n_layout = (size_t)st.st_size / sizeof(*r->layout);
        r->layout = calloc(r->n_layout + 1, sizeof(*r->layout));
        if (!r->layout)
                return -ENOMEM;
        return io_read_all(&io_real, fd, r->layout, r->n_layout * sizeof(*r->layout), 0);
}

/* A page and slots that the job brought back are taken only when they are what we once made. */
static int take_back(struct rank *r, struct admission *a)
{
        int fd = rpc_call_take_fd(a->call, a->p.page_fd);
        struct diag none = {0};
        size_t i;
        json_t *index;
        int k = fd < 0 ? fd : fds_memfd_check(fd, PAGE_BYTES);

        if (k < 0) {
                if (fd >= 0)
                        close(fd);
                return k;
        }
        k = page_map(r, fd);
        if (k < 0)
                return k;
        if (page_check(r->page) < 0 || r->page->head.attach_id != (uint64_t)a->p.attach ||
            r->page->head.rank != r->index || r->page->head.world_size != r->job->world_size)
                return -EPROTO;
        json_array_foreach (a->p.slot_fds, i, index) {
                struct stat st;

                fd = rpc_call_take_fd(a->call,
                                      json_is_integer(index) ? json_integer_value(index) : -1);
                if (fd < 0 || i >= PAGE_SLOTS || fstat(fd, &st) < 0 || st.st_size <= 0 ||
                    (i && (uint64_t)st.st_size != r->slot_bytes) ||
                    fds_memfd_check(fd, (uint64_t)st.st_size) < 0) {
                        if (fd >= 0)
                                close(fd);
                        return -EPROTO;
                }
                k = store_slot_map(&r->slots[i], fd, (uint64_t)st.st_size, &none);
                diag_done(&none);
                if (k < 0)
                        return k;
                r->n_slots = i + 1;
                r->slot_bytes = (uint64_t)st.st_size;
                r->job->manager->memory_used += r->slot_bytes;
        }
        return take_layout(r, a);
}

static void drop_offer(struct rank *r)
{
        rank_slots_done(r);
        if (r->page)
                munmap(take_ptr(r->page), PAGE_BYTES);
        if (r->page_fd >= 0)
                close(take_fd(&r->page_fd));
        free(take_ptr(r->layout));
        r->offered = false;
}

int rank_renew(struct rank *r)
{
        int64_t step, base, end;
        int k;

        if (!r->offered)
                return 0;
        step = atomic_load(&r->page->now.step);
        base = atomic_load(&r->page->rank.base);
        end = atomic_load(&r->page->rank.end);
        drop_offer(r);
        k = page_new(r);
        if (k < 0)
                return k;
        atomic_store(&r->page->now.step, step);
        atomic_store(&r->page->rank.base, base);
        atomic_store(&r->page->rank.end, end);
        return 0;
}

static int rank_prepare(struct rank *r, struct admission *a)
{
        int k;

        r->pid = rpc_call_peer(a->call)->pid;
        r->pidfd = a->p.pid_fd >= 0 ? rpc_call_take_fd(a->call, a->p.pid_fd) : -1;
        if (r->pidfd >= 0 &&
            (fds_pidfd_is_dead(r->pidfd) < 0 || (r->pid > 0 && fds_pidfd_pid(r->pidfd) != r->pid)))
                close(take_fd(&r->pidfd)); /* not the caller's: its end would tell nothing */
        if (r->pidfd < 0 && r->pid > 0)
                r->pidfd = fds_pidfd_open(r->pid);
        if (r->pidfd < 0)
                r->pidfd = -1;
        if (a->p.page_fd >= 0 && r->job->reattached) {
                k = take_back(r, a);
                r->offered = k >= 0;
                if (k < 0)
                        drop_offer(r);
        }
        k = r->page ? 0 : page_new(r);
        return k < 0 ? k : rank_watch_life(r);
}

/* What it does not bring along it is given again. */
static void rank_come_back(struct rank *r, struct admission *a)
{
        rpc_call_on_cancel(a->call, NULL, NULL); /* the session's end tells */
        rank_bind(r, a->call);
        r->attach = a->call;
        r->offered = a->p.page_fd >= 0;
        r->new_slots = r->new_slots || !r->offered;
        if (r->job->state != JOB_READY)
                return; /* answered when it is */
        rank_answer_attach(r);
        job_consider(r->job);
}

static void join(struct admission *a, struct job *j)
{
        struct rank *r = &j->ranks[a->p.rank];
        bool commit = !a->p.manifest && a->p.manifest_fd < 0;
        int k;

        if (r->state == RANK_AWAY) { /* only the connection was lost */
                rank_come_back(r, a);
                admission_end(a);
                return;
        }
        k = rank_prepare(r, a);
        if (k >= 0) {
                rank_bind(r, a->call);
                r->attach = a->call;
                rpc_call_on_cancel(a->call, NULL, NULL); /* the session's end tells */
                r->mode = commit ? MODE_COMMIT : MODE_SLOTS;
                r->parsed = commit;
                if (!commit)
                        k = rank_parse_manifest(r, a->call, a->p.manifest, a->p.manifest_fd);
        }
        if (k < 0) {
                r->attach = NULL;
                answer_failed(a->call, k, k == -EBADF ? "manifest_fd: no such descriptor" : NULL);
                rank_close(r);
                job_maybe_end(j);
        } else if (commit && all_parsed(j)) {
                job_hold(j);
                job_lay_out(j);
                job_release(j);
        }
        admission_end(a);
}

/* A reader is a job of one rank that never saves and that the directory does not know as its
 * job. */
static void admit_reader(struct admission *a)
{
        struct rpc_call *c = a->call;
        struct job *j;
        struct rank *r;
        int k = job_new(&j, a->directory, 0);

        if (k < 0) {
                answer_failed(c, k, NULL);
                admission_end(a);
                return;
        }
        j->format = &format_tensorbundle;
        r = &j->ranks[0];
        r->mode = MODE_READER;
        r->pid = rpc_call_peer(c)->pid;
        rpc_call_on_cancel(c, NULL, NULL);
        rank_bind(r, c);
        r->attach = c;
        if (a->p.manifest || a->p.manifest_fd >= 0)
                k = rank_parse_manifest(r, c, a->p.manifest, a->p.manifest_fd);
        else
                r->parsed = true;
        if (k < 0) {
                r->attach = NULL;
                answer_failed(c, k, NULL);
        } else if (r->parsed) {
                job_lay_out(j);
        }
        admission_end(a);
}

static void admission_refused(struct admission *a, int r, const struct diag *d)
{
        struct directory *dir = a->directory;
        pid_t pid = dir && dir->job ? job_pid(dir->job) : 0;

        /* Before the answer: the strings are the call's. */
        log_warning("attach to %s refused: %s", a->p.model_dir, diag_text(d, r));
        if (r == -EBUSY && a->waiting.for_job)
                answer_busy(a->call, "io.ckptd.Jobs.Busy", a->p.model_dir, pid, diag_text(d, r));
        else if (r == -EBUSY)
                answer_busy(a->call, "io.ckptd.Jobs.Owned", a->p.model_dir, pid, diag_text(d, r));
        else
                answer_failed(a->call, r, diag_text(d, r));
        admission_end(a);
}

static void admission_go(struct waiting *w, int r, const struct diag *d)
{
        struct admission *a = (struct admission *)w;
        struct job *j;

        if (!a->call) {
                if (a->directory)
                        directory_rest(a->directory);
                admission_end(a);
                return;
        }
        if (r >= 0 && a->manager->stopping)
                r = -ESHUTDOWN;
        if (r < 0) {
                admission_refused(a, r, d);
                return;
        }
        if (a->p.read_only) {
                admit_reader(a);
                return;
        }
        j = a->directory->job;
        if (j && is_twin(a, j))
                job_break(j, "rank %u of %u attached twice, by pid %d and pid %d",
                          (unsigned)a->p.rank, j->world_size, (int)j->ranks[a->p.rank].pid,
                          (int)rpc_call_peer(a->call)->pid);
        r = j ? may_join(a, j) : 1;
        if (r == 0) {
                wait_for_job(a);
        } else if (r < 0) {
                char text[256];

                snprintf(text, sizeof(text),
                         "job %.64s (pid %d) saves into it; stop it, use another model_dir, or "
                         "attach "
                         "read-only",
                         j->id, (int)job_pid(j));
                answer_busy(a->call, "io.ckptd.Jobs.Busy", a->directory->row.path, job_pid(j),
                            text);
                log_warning("attach to %s refused: %s", a->directory->row.path, text);
                admission_end(a);
        } else if (!j && (r = start_job(a, &j)) < 0) {
                answer_failed(a->call, r, NULL);
                if (a->directory->job)
                        job_maybe_end(a->directory->job);
                admission_end(a);
        } else {
                join(a, j);
        }
}

void job_next_waiting(struct directory *d)
{
        directory_wake(d, true, 0, NULL);
}

static bool are_indices(const json_t *array)
{
        size_t i;
        json_t *index;

        json_array_foreach (array, i, index)
                if (!json_is_integer(index) || json_integer_value(index) < 0 ||
                    json_integer_value(index) >= LIMIT_MESSAGE_FDS)
                        return false;
        return true;
}

/* 0, or the name of the parameter that is wrong. */
static const char *bad_parameter(const struct attach_parameters *p)
{
        if (p->model_dir[0] != '/' || strlen(p->model_dir) >= PATH_MAX)
                return "model_dir";
        if (p->world_size > LIMIT_WORLD_SIZE || (p->has_world_size && !p->world_size))
                return "world_size";
        if (p->rank >= (p->world_size > 0 ? p->world_size : 1))
                return "rank";
        if (p->world_size > 1 && !p->job)
                return "job";
        if (p->slot_fds && (json_array_size(p->slot_fds) > PAGE_SLOTS || !are_indices(p->slot_fds)))
                return "slot_fds";
        if (p->policy_values && json_object_size(p->policy_values) > WISH_VALUES_MAX)
                return "policy_values";
        return NULL;
}

static bool wrong_user(struct admission *a)
{
        const struct rpc_peer *peer = rpc_call_peer(a->call);
        char text[128], unit[64];

        if (peer->uid == geteuid() || peer->uid == 0)
                return false;
        snprintf(text, sizeof(text), "this ckptd serves uid %u; the job is of uid %u", geteuid(),
                 peer->uid);
        snprintf(unit, sizeof(unit), "ckptd@%u.socket", peer->uid);
        rpc_fail(a->call, "io.ckptd.Jobs.WrongUser",
                 json_pack("{s:s, s:s}", "message", text, "unit", unit));
        admission_end(a);
        return true;
}

void manager_attach(struct manager *m, struct rpc_call *c, const struct attach_parameters *p)
{
        const char *bad = bad_parameter(p);
        struct admission *a = calloc(1, sizeof(*a));
        struct directory_ask ask = {.path = p->model_dir, .fd = -1, .create = !p->read_only};

        if (bad || !a) {
                free(a);
                if (bad)
                        rpc_fail_invalid(c, bad);
                else
                        answer_failed(c, -ENOMEM, NULL);
                return;
        }
        *a = (struct admission){.manager = m, .call = c, .p = *p, .waiting.go = admission_go};
        if (rank_of(c)) {
                refuse(a, "io.ckptd.Jobs.WrongState", "attached already");
                return;
        }
        if (m->stopping) {
                refuse(a, "io.ckptd.Jobs.WrongState", "ckptd is stopping");
                return;
        }
        if (wrong_user(a))
                return;
        rpc_call_on_cancel(c, admission_cancelled, a);
        if (p->model_dir_fd >= 0)
                ask.fd = rpc_call_take_fd(c, p->model_dir_fd);
        directory_open(m, &ask, &a->waiting, &a->directory);
}
