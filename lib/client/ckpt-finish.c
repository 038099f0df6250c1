/* Waiting for a publish, and the end of a run. */
#include "client.h"
#include "swap.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#define LOOK_FAST_MS 1      /* how often the page is looked at while Finish is under way, */
#define LOOK_SLOW_MS 5      /* and later, */
#define LOOK_FAST_TIMES 200 /* after so many looks */
#define SEND_MS 10000
#define PAUSE_MS 50     /* between two tries to reach a daemon that seems to be there */
#define STRANGE_MS 1000 /* for the helper to see that the daemon is another one */
#define READ_MS 1000    /* for the daemon to read the hand-off before it is asked for it */

static void nap(int64_t ms)
{
        struct timespec t = {ms / 1000, ms % 1000 * 1000000};

        nanosleep(&t, NULL);
}

/* ---- ckpt_wait ---- */

static bool is_read(struct link *l)
{
        bool read;

        pthread_mutex_lock(&l->lock);
        read = !l->conn || (wire_conn_pending(l->conn) == 0 && wire_conn_is_read(l->conn) != 0);
        pthread_mutex_unlock(&l->lock);
        return read;
}

/* The hand-off went over the job's connection, the question goes over another: first things
 * first. */
static void wait_read(struct link *l)
{
        for (int64_t until = link_now_ms() + READ_MS; !is_read(l) && link_now_ms() < until;)
                nap(LOOK_FAST_MS);
}

/* The daemon's number for us, once it is there. */
static int wait_attached(struct link *l, int64_t until_ms, int64_t *ret, struct diag *d)
{
        int r = 0;

        pthread_mutex_lock(&l->lock);
        while (l->state == LINK_AWAY && r == 0) {
                struct timespec t = {until_ms / 1000, until_ms % 1000 * 1000000};

                if (pthread_cond_timedwait(&l->changed, &l->lock, &t) == ETIMEDOUT)
                        r = diag_set(d, -EHOSTDOWN,
                                     "ckptd went away and did not come back within %d s%s%s",
                                     LINK_AWAY_MS / 1000, l->why ? "\n" : "", l->why ? l->why : "");
        }
        if (r == 0 && l->state != LINK_UP)
                r = diag_set(d, -ENOTCONN, "not attached");
        *ret = l->attach;
        pthread_mutex_unlock(&l->lock);
        return r;
}

static int ask_wait(struct ckpt *c, int64_t attach, int64_t step, struct wire_result *ret)
{
        _cleanup_(wire_conn_freep) struct wire_conn *conn = NULL;
        struct wire_request q = {
                .method = "io.ckptd.Jobs.Wait", .flag = "more", .timeout_ms = SEND_MS};
        int r;

        q.parameters = json_pack(step < 0 ? "{s:I}" : "{s:I, s:I}", "attach", (json_int_t)attach,
                                 "step", (json_int_t)step);
        r = q.parameters ? wire_dial(c->who.socket, &conn, NULL, NULL) : -ENOMEM;
        if (r < 0) {
                json_decref(q.parameters);
                return r;
        }
        r = wire_send_request(conn, &q);
        if (r >= 0)
                r = wire_receive_reply(conn, -1, ret);
        while (r >= 0 && ret->reply.continues) {
                wire_result_done(ret);
                r = wire_receive_reply(conn, -1, ret);
        }
        return r;
}

/* It does not know us: one that has just been started, perhaps. */
static bool is_strange(const struct wire_result *result)
{
        return result->reply.error && !strcmp(result->reply.error, "io.ckptd.Jobs.WrongState");
}

static int wait_published(struct ckpt *c, int64_t step, struct diag *d)
{
        int64_t begun = link_now_ms(), until = begun + LINK_AWAY_MS, attach;
        struct wire_result result;
        int r;

        for (;;) {
                r = wait_attached(&c->link, until, &attach, d);
                if (r < 0)
                        return r;
                wait_read(&c->link);
                r = ask_wait(c, attach, step, &result);
                if (r >= 0 && !(is_strange(&result) && link_now_ms() < begun + STRANGE_MS))
                        break;
                if (r >= 0)
                        wire_result_done(&result);
                if (link_now_ms() >= until)
                        return diag_set(d, -EHOSTDOWN, "ckptd does not answer: %s", strerror(-r));
                nap(PAUSE_MS); /* until the helper has seen it too */
        }
        if (result.reply.error)
                r = link_error(&result.reply, d);
        wire_result_done(&result);
        return r < 0 ? r : 0;
}

int ckpt_wait(struct ckpt *c, int64_t step)
{
        _cleanup_(diag_done) struct diag d = {0};
        int r;

        if (!c->rank->alive)
                return 0;
        r = wait_published(c, step, &d);
        return r < 0 ? client_fail(c, r, &d) : 0;
}

/* ---- ckpt_finish ---- */

/* Serves the last save when it is announced.  1: it is in a slot; 0: not yet. */
static int serve(struct ckpt *c, int64_t step)
{
        const struct page *p = c->image->page;
        int64_t asked = atomic_load_explicit(&p->daemon.save_at, memory_order_acquire);
        struct rank_filled f = {.step = step, .asked = asked};
        int slot = rank_vacant(c->rank), r;

        if (asked != step || rank_has_answered(c->rank, asked))
                return asked == step;
        if (c->stale)
                return client_refuse(c, -ESTALE,
                                     "ckpt_describe failed: there is no layout for the last save");
        if (slot < 0)
                return 0;
        r = snapshot_fill(c, slot, &f);
        return r < 0 ? r : 1;
}

/* Pieces go over the connection that Finish occupies, so through a window the last save comes
 * first, whether the policy wants it or not: the daemon could not ask. */
static int save_window(struct ckpt *c, int64_t step)
{
        int r = 0;

        if (c->image->mode == IMAGE_WINDOW && c->window_step != step && !c->stale)
                r = ckpt_save(c, step);
        return r == -EHOSTDOWN ? 0 : r;
}

/* 0: ret is the reply; -EIO: the copy failed, and the connection has to go; else it is broken. */
static int finish_once(struct ckpt *c, struct wire_conn *conn, int64_t step,
                       struct wire_result *ret)
{
        struct wire_request q = {.method = "io.ckptd.Jobs.Finish", .timeout_ms = SEND_MS};
        int r;

        q.parameters = json_pack("{s:I}", "step", (json_int_t)step);
        r = q.parameters ? wire_send_request(conn, &q) : -ENOMEM;
        for (int n = 0; r >= 0; n++) {
                r = wire_receive_reply(conn, n < LOOK_FAST_TIMES ? LOOK_FAST_MS : LOOK_SLOW_MS,
                                       ret);
                if (r != -ETIMEDOUT)
                        return r;
                r = c->image->mode == IMAGE_SLOTS && serve(c, step) < 0 ? -EIO : 0;
        }
        return r;
}

static int tell_unsaved(const struct ckpt *c, int64_t step, int r, struct diag *d)
{
        if (c->who.read_only || r != -EHOSTDOWN)
                return r;
        return diag_add(d, r, "step %lld of %s is not known to be published%s", (long long)step,
                        c->who.model_dir,
                        rank_holds_any(c->rank)
                                ? "; a complete snapshot is in memory, and is published "
                                  "if ckptd comes back while this process lives"
                                : "");
}

static int finish(struct ckpt *c, int64_t step, struct diag *d)
{
        struct wire_result result;
        int r = -EPIPE;

        for (int tries = 0; r < 0; tries++) {
                struct wire_conn *conn;

                if (tries == LINK_TRIES)
                        return diag_set(d, -EHOSTDOWN, "ckptd went away %d times at the last save",
                                        tries);
                r = save_window(c, step);
                if (r < 0)
                        return diag_set(d, r, "%s", ckpt_error(c));
                r = link_take(&c->link, LINK_AWAY_MS, &conn, d);
                if (r < 0)
                        return r;
                swap_pending(c);
                r = finish_once(c, conn, step, &result);
                link_give(&c->link, conn, r);
                if (r < 0)
                        c->window_step = -1; /* the pieces went with the connection */
                if (r == -EIO)
                        return diag_set(d, r, "%s", ckpt_error(c));
        }
        if (result.reply.error)
                r = link_error(&result.reply, d);
        wire_result_done(&result);
        return r < 0 ? r : 0;
}

static void detach(struct ckpt *c)
{
        struct link_ask ask = {.method = "io.ckptd.Jobs.Detach", .fd = -1};
        struct wire_result result;

        if (link_call(&c->link, &ask, 0, &result, NULL) >= 0)
                wire_result_done(&result);
        link_set_over(&c->link);
        atomic_store_explicit(&c->rank->page, NULL, memory_order_relaxed);
}

int ckpt_finish(struct ckpt *c, int64_t step)
{
        _cleanup_(diag_done) struct diag d = {0};
        int r = 0;

        if (!c->rank->alive)
                return 0;
        if (!client_is_attached(c))
                return client_refuse(c, -ENOTCONN, "not attached");
        ckpt_save_end(c);
        if (!c->who.read_only) {
                swap_pending(c);
                rank_end(c->rank, step);
                r = finish(c, step, &d);
                if (r < 0) {
                        rank_go_on(c->rank);
                        return client_fail(c, tell_unsaved(c, step, r, &d), &d);
                }
        }
        detach(c);
        return 0;
}
