#include "again.h"
#include "swap.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

void again_done(struct again *a)
{
        wire_conn_free(take_ptr(a->conn));
        a->offered = NULL;
}

int again_timeout_ms(const struct ckpt *c, const struct again *a)
{
        int64_t left;

        if (c->link.state != LINK_AWAY || a->conn)
                return -1;
        left = a->next_ms - link_now_ms();
        return left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

static void try_later(struct ckpt *c, struct again *a, const struct diag *d, int r)
{
        again_done(a);
        link_set_why(&c->link, diag_text(d, r));
        a->delay_ms = a->delay_ms == 0 ? AGAIN_FIRST_MS : a->delay_ms * 2;
        if (a->delay_ms > AGAIN_MAX_MS)
                a->delay_ms = AGAIN_MAX_MS;
        a->next_ms = link_now_ms() + a->delay_ms;
}

static int build(struct ckpt *c, struct again *a, struct attach_call *ret)
{
        const struct image *newest;
        int r;

        pthread_mutex_lock(&c->link.lock);
        c->link.restart = false;
        newest = swap_newest(c);
        a->offered = a->bare || newest->mode == IMAGE_READER ? NULL : newest;
        r = attach_call_new(ret, c, a->offered, newest->manifest_fd);
        pthread_mutex_unlock(&c->link.lock);
        return r;
}

static void dial(struct ckpt *c, struct again *a)
{
        _cleanup_(diag_done) struct diag d = {0};
        struct attach_call call = {0};
        int r = wire_dial(c->who.socket, &a->conn, NULL, &d);

        if (r >= 0)
                r = build(c, a, &call);
        if (r >= 0)
                r = attach_send(a->conn, &call, AGAIN_SEND_MS);
        if (r < 0)
                try_later(c, a, &d, r);
}

/* With the lock held: a new daemon is told of everything that still waits in the slots. */
static void owe(struct ckpt *c)
{
        const struct image *i = swap_newest(c);
        int64_t newest = LINK_NOBODY;

        for (size_t k = 0; k < i->n_slots; k++) {
                const struct page_slot *s = &i->page->slot[k];

                if (atomic_load_explicit(&s->owner, memory_order_acquire) != PAGE_HELD)
                        continue;
                if (s->step > newest)
                        newest = s->step;
                if (s->asked == PAGE_NEVER)
                        atomic_store(&c->link.owed_forced, s->step);
        }
        if (newest != LINK_NOBODY)
                atomic_store(&c->link.owed, newest);
}

static void go_on(struct ckpt *c, struct again *a, json_t *parameters, struct image *next)
{
        int64_t attach = json_integer_value(json_object_get(parameters, "attach"));

        if (next && next->mode != IMAGE_READER) {
                for (size_t i = 0; i < image_n_parts(next); i++)
                        image_populate_part(next, i);
                swap_offer(c, next);
        } else if (next) {
                image_free(next);
        } else {
                pthread_mutex_lock(&c->link.lock);
                owe(c);
                pthread_mutex_unlock(&c->link.lock);
        }
        link_set_why(&c->link, NULL);
        link_set_up(&c->link, take_ptr(a->conn), attach);
        *a = (struct again){0};
}

/* A newer attach of this process has the directory: this one is over. */
static bool is_taken_over(const struct wire_reply *reply)
{
        return reply->error && !strcmp(reply->error, "io.ckptd.Jobs.Busy") &&
               json_integer_value(json_object_get(reply->parameters, "pid")) == getpid();
}

static int take_result(struct ckpt *c, struct again *a, struct wire_result *result, struct diag *d)
{
        struct image *next = NULL;
        int r;

        if (is_taken_over(&result->reply))
                link_set_over(&c->link);
        if (result->reply.error)
                return link_error(&result->reply, d);
        r = attach_take_reply(c, a->offered, result, &next, d);
        if (r == -ESTALE)
                a->bare = true;
        if (r >= 0)
                go_on(c, a, result->reply.parameters, next);
        return r;
}

/* 1: an answer was dealt with; 0: none yet. */
static int look(struct ckpt *c, struct again *a, struct diag *d)
{
        struct wire_result result = {0};
        int r = wire_conn_receive(a->conn);
        int next = r < 0 && r != -EPIPE ? r : wire_conn_next(a->conn, &result.message);

        if (next <= 0)
                return next < 0 ? next : r < 0 ? r : 0;
        r = wire_reply_parse(result.message.json, &result.reply);
        if (r >= 0)
                r = take_result(c, a, &result, d);
        wire_result_done(&result);
        return r < 0 ? r : 1;
}

void again_tend(struct ckpt *c, struct again *a)
{
        _cleanup_(diag_done) struct diag d = {0};
        int r;

        if (c->link.state != LINK_AWAY) {
                again_done(a);
                return;
        }
        if (a->conn && link_must_restart(&c->link))
                again_done(a);
        if (!a->conn && link_now_ms() >= a->next_ms)
                dial(c, a);
        if (!a->conn)
                return;
        r = look(c, a, &d);
        if (r < 0)
                try_later(c, a, &d, r);
}
