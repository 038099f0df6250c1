/* The calls of ckpt.h that a job makes at every step; attach, restore, describe and finish have
 * files of their own.  In a forked child the rank's memory is zero, and every call returns at
 * once. */
#include "client.h"
#include "fds.h"
#include "swap.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define RANK_MEMORY_BYTES 4096
#define SLOT_WAIT_MS 1 /* how often a slot is looked at while none is free */
#define DETACH_MS 1000 /* how long ckpt_free takes to say good-bye */

_Static_assert(sizeof(struct rank) <= RANK_MEMORY_BYTES, "it fits");

/* ---- making and freeing ---- */

/* Memory that a forked child finds zeroed, so that it never touches the page: no look at the pid
 * needed. */
static struct rank *rank_new(void)
{
        void *p = mmap(NULL, RANK_MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                       -1, 0);
        struct rank *k = p;

        if (p == MAP_FAILED)
                return NULL;
        if (madvise(p, RANK_MEMORY_BYTES, MADV_WIPEONFORK) < 0) {
                munmap(p, RANK_MEMORY_BYTES);
                return NULL;
        }
        k->alive = true;
        return k;
}

static void destroy(struct ckpt *c)
{
        stored_done(&c->stored);
        swap_done(c);
        identity_done(&c->who);
        tensors_free(c->tensors);
        link_done(&c->link);
        for (size_t i = 0; i < CLIENT_ERRORS; i++)
                diag_done(&c->errors[i]);
        closep(&c->dir_fd);
        closep(&c->pid_fd);
        if (c->rank)
                munmap(c->rank, RANK_MEMORY_BYTES);
        free(c);
}

static struct ckpt *new (void)
{
        struct ckpt *c = calloc(1, sizeof(*c));

        if (!c)
                return NULL;
        c->dir_fd = c->pid_fd = -1;
        c->window_step = -1;
        c->crew.link = &c->link;
        if (link_init(&c->link) < 0) {
                free(c);
                return NULL;
        }
        c->rank = rank_new();
        if (!c->rank) {
                destroy(c);
                return NULL;
        }
        return c;
}

int ckpt_attach(struct ckpt **ret, const struct ckpt_options *o, const struct ckpt_tensor *t,
                size_t n)
{
        _cleanup_(diag_done) struct diag d = {0};
        struct ckpt *c = new ();
        int r;

        *ret = c;
        if (!c)
                return -ENOMEM;
        r = client_attach(c, o, t, n, &d);
        return r < 0 ? client_fail(c, r, &d) : 0;
}

/* The daemon would else keep the run open as long as this process lives. */
static void say_good_bye(struct ckpt *c)
{
        struct wire_request q = {.method = "io.ckptd.Jobs.Detach", .timeout_ms = DETACH_MS};
        struct wire_conn *conn = link_try_take(&c->link);
        struct wire_result result;

        if (!conn)
                return;
        if (wire_do_call(conn, &q, &result) >= 0)
                wire_result_done(&result);
        link_give(&c->link, conn, 0);
}

void ckpt_free(struct ckpt *c)
{
        if (!c || !c->rank->alive)
                return;
        snapshot_abandon(c);
        helper_stop(c);
        say_good_bye(c);
        destroy(c);
}

/* ---- texts ---- */

int client_fail(struct ckpt *c, int r, struct diag *d)
{
        struct diag *slot;

        if (!d->text)
                diag_set(d, r, "%s", strerror(-r));
        pthread_mutex_lock(&c->link.lock);
        slot = &c->errors[c->n_errors++ % CLIENT_ERRORS];
        diag_move(slot, d);
        pthread_mutex_unlock(&c->link.lock);
        return r;
}

int client_refuse(struct ckpt *c, int r, const char *text)
{
        struct diag d = {0};

        diag_set(&d, r, "%s", text);
        return client_fail(c, r, &d);
}

const char *ckpt_error(const struct ckpt *c)
{
        struct ckpt *mine = (struct ckpt *)c;
        const char *text;

        if (!c)
                return strerror(ENOMEM);
        if (!c->rank->alive)
                return "";
        pthread_mutex_lock(&mine->link.lock);
        text = c->n_errors > 0 ? c->errors[(c->n_errors - 1) % CLIENT_ERRORS].text : "";
        pthread_mutex_unlock(&mine->link.lock);
        return text ? text : "";
}

const char *ckpt_messages(const struct ckpt *c)
{
        return c->rank->alive && c->image && c->image->messages ? c->image->messages : "";
}

const char *ckpt_model_dir(const struct ckpt *c)
{
        return c->who.model_dir ? c->who.model_dir : "";
}

/* ---- every step ---- */

int client_check(struct ckpt *c)
{
        if (!client_is_attached(c))
                return client_refuse(c, -ENOTCONN, "not attached");
        if (c->who.read_only)
                return client_refuse(c, -EROFS, "attached read_only: a reader saves nothing");
        return 0;
}

/* 1: *ret_asked is due; 0: nothing is; negative: an error. */
static int look(struct ckpt *c, int64_t step, int64_t last, int64_t *ret_asked)
{
        enum rank_look look;
        int r = client_check(c);

        if (r < 0)
                return r;
        if (step < 0) {
                c->rank->last = last;
                return client_refuse(c, -EINVAL, "a step is never negative");
        }
        swap_pending(c);
        look = rank_look(c->rank, step, last, ret_asked);
        if (look == RANK_DUE && (c->stale || c->snapshot.open)) {
                rank_miss(c->rank, *ret_asked);
                look = RANK_MISSED;
        }
        if (look == RANK_MISSED)
                link_hand_off(&c->link, step, false);
        return look == RANK_DUE;
}

/* Everything but the fast path; out of line, so that the fast path needs no stack. */
__attribute__((noinline)) static int step_slowly(struct ckpt *c, int64_t step, int64_t last)
{
        struct rank_filled f = {.step = step};
        int r = c->rank->alive ? look(c, step, last, &f.asked) : 0;

        if (r <= 0)
                return r;
        r = snapshot_save(c, rank_vacant(c->rank), &f, false);
        if (r == -EHOSTDOWN)
                return 0; /* a window needs the daemon: it asks again when it is back */
        return r < 0 ? r : 1;
}

int ckpt_step(struct ckpt *c, int64_t step)
{
        int64_t last;

        if (__builtin_expect(rank_pass(c->rank, step, &last), 1))
                return 0;
        return step_slowly(c, step, last);
}

int ckpt_due(struct ckpt *c, int64_t step)
{
        struct rank *k = c->rank;
        int64_t last;
        int r;

        if (rank_pass(k, step, &last))
                return 0;
        r = k->alive ? look(c, step, last, &k->told) : 0;
        if (r > 0)
                k->told_step = step;
        return r;
}

bool ckpt_should_stop(const struct ckpt *c, int64_t step)
{
        const struct page *p = atomic_load_explicit(&c->rank->page, memory_order_relaxed);

        return p && step >= atomic_load_explicit(&p->daemon.stop_at, memory_order_relaxed);
}

/* ---- saving when the job wants it ---- */

static void nap(void)
{
        struct timespec t = {.tv_nsec = SLOT_WAIT_MS * 1000000};

        nanosleep(&t, NULL);
}

/* A vacant slot; while the daemon is there it is waited for. */
static int find_slot(struct ckpt *c)
{
        int slot;

        while ((slot = rank_vacant(c->rank)) < 0) {
                const struct page *p = c->image->page;

                if (atomic_load(&p->daemon.flags) & PAGE_FLAG_OVER)
                        return client_refuse(c, -ENOTCONN,
                                             "the run has ended: another rank is gone or has left; "
                                             "nothing more is saved");
                if (c->link.state != LINK_UP)
                        return client_refuse(c, -EBUSY,
                                             "ckptd is away, and every slot holds a state "
                                             "that it has yet to write");
                if (atomic_load(&p->daemon.flags) & PAGE_FLAG_SKIP_WHEN_BUSY)
                        return client_refuse(c, -EBUSY,
                                             "every slot is still being written "
                                             "(policy: when_busy: skip)");
                nap();
                swap_pending(c);
        }
        return slot;
}

/* Which save_at is answered by saving at this step: one that ckpt_due told, one that is due now,
 * or none, which makes it a forced save. */
static int choose(struct ckpt *c, struct rank_filled *f, bool *ret_forced)
{
        struct rank *k = c->rank;
        int64_t last;
        int r = 0;

        f->asked = k->told;
        if (k->told == PAGE_NEVER || k->told_step != f->step)
                r = rank_pass(k, f->step, &last) ? 0 : look(c, f->step, last, &f->asked);
        else
                r = 1;
        k->told = PAGE_NEVER;
        if (r < 0)
                return r;
        *ret_forced = r == 0;
        if (r == 0)
                f->asked = PAGE_NEVER;
        return find_slot(c);
}

/* The slot to fill; negative: an error. */
static int prepare(struct ckpt *c, struct rank_filled *f, bool *ret_forced)
{
        int r = client_check(c);

        if (r < 0)
                return r;
        if (c->snapshot.open)
                return client_refuse(c, -EBUSY, "call ckpt_save_end first");
        if (c->stale)
                return client_refuse(c, -ESTALE,
                                     "ckpt_describe failed: call it again before saving");
        swap_pending(c);
        return choose(c, f, ret_forced);
}

int ckpt_save(struct ckpt *c, int64_t step)
{
        struct rank_filled f = {.step = step};
        bool forced;
        int slot;

        if (!c->rank->alive)
                return 0;
        slot = prepare(c, &f, &forced);
        return slot < 0 ? slot : snapshot_save(c, slot, &f, forced);
}

/* Through a window the daemon writes while the job waits: then begin does it all. */
int ckpt_save_begin(struct ckpt *c, int64_t step)
{
        struct rank_filled f = {.step = step};
        bool forced;
        int slot;

        if (!c->rank->alive)
                return 0;
        slot = prepare(c, &f, &forced);
        if (slot < 0)
                return slot;
        if (c->image->mode == IMAGE_WINDOW)
                return snapshot_save(c, slot, &f, forced);
        return snapshot_begin(c, slot, &f, forced);
}

int ckpt_save_end(struct ckpt *c)
{
        if (!c->rank->alive || !c->snapshot.open)
                return 0;
        return snapshot_end(c);
}
