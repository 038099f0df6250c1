#include "link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#define HAND_OFF_METHOD "io.ckptd.Jobs.HandOff"
#define ERRNO_MAX 4095

int64_t link_now_ms(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int init_condition(pthread_cond_t *c)
{
        pthread_condattr_t a;
        int r = pthread_condattr_init(&a);

        if (r == 0)
                r = pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
        if (r == 0)
                r = pthread_cond_init(c, &a);
        pthread_condattr_destroy(&a);
        return -r;
}

int link_init(struct link *l)
{
        int r = init_condition(&l->changed);

        if (r < 0)
                return r;
        pthread_mutex_init(&l->lock, NULL);
        atomic_init(&l->owed, LINK_NOBODY);
        atomic_init(&l->owed_forced, LINK_NOBODY);
        l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        return l->wake_fd < 0 ? -errno : 0;
}

void link_done(struct link *l)
{
        wire_conn_free(l->conn);
        free(l->why);
        if (l->wake_fd >= 0)
                close(l->wake_fd);
        pthread_cond_destroy(&l->changed);
        pthread_mutex_destroy(&l->lock);
}

void link_wake(struct link *l)
{
        eventfd_write(l->wake_fd, 1);
}

void link_set_up(struct link *l, struct wire_conn *conn, int64_t attach)
{
        pthread_mutex_lock(&l->lock);
        l->conn = conn;
        l->attach = attach;
        l->generation++;
        l->state = LINK_UP;
        pthread_cond_broadcast(&l->changed);
        pthread_mutex_unlock(&l->lock);
}

void link_set_over(struct link *l)
{
        pthread_mutex_lock(&l->lock);
        wire_conn_free(take_ptr(l->conn));
        l->state = LINK_OVER;
        pthread_cond_broadcast(&l->changed);
        pthread_mutex_unlock(&l->lock);
        link_wake(l);
}

void link_restart(struct link *l, unsigned generation)
{
        pthread_mutex_lock(&l->lock);
        if (l->state == LINK_AWAY || l->generation != generation) {
                wire_conn_free(take_ptr(l->conn));
                l->state = LINK_AWAY;
                l->restart = true;
        }
        pthread_mutex_unlock(&l->lock);
        link_wake(l);
}

bool link_must_restart(struct link *l)
{
        bool restart;

        pthread_mutex_lock(&l->lock);
        restart = l->restart;
        pthread_mutex_unlock(&l->lock);
        return restart;
}

void link_set_why(struct link *l, const char *why)
{
        char *copy = why ? strdup(why) : NULL;

        pthread_mutex_lock(&l->lock);
        free(l->why);
        l->why = copy;
        pthread_mutex_unlock(&l->lock);
}

static int tell_away(const struct link *l, int64_t wait_ms, struct diag *d)
{
        if (wait_ms > 0)
                diag_set(d, -EHOSTDOWN, "ckptd went away and did not come back within %lld s",
                         (long long)wait_ms / 1000);
        else
                diag_set(d, -EHOSTDOWN, "ckptd is away");
        if (l->why)
                diag_add(d, -EHOSTDOWN, "%s", l->why);
        return -EHOSTDOWN;
}

/* Until something changes, at most until the deadline. */
static int wait_change(struct link *l, int64_t deadline_ms)
{
        struct timespec t = {deadline_ms / 1000, deadline_ms % 1000 * 1000000};

        return -pthread_cond_timedwait(&l->changed, &l->lock, &t);
}

static int take_locked(struct link *l, int64_t wait_ms, struct wire_conn **ret, struct diag *d)
{
        int64_t deadline = link_now_ms() + wait_ms;

        while (!l->conn) {
                if (l->state == LINK_UP) { /* the other thread has it, for a moment */
                        pthread_cond_wait(&l->changed, &l->lock);
                        continue;
                }
                if (l->state != LINK_AWAY)
                        return diag_set(d, -ENOTCONN, "not attached");
                if (link_now_ms() >= deadline)
                        return tell_away(l, wait_ms, d);
                wait_change(l, deadline);
        }
        *ret = take_ptr(l->conn);
        return 0;
}

int link_take(struct link *l, int64_t wait_ms, struct wire_conn **ret, struct diag *d)
{
        int r;

        pthread_mutex_lock(&l->lock);
        r = take_locked(l, wait_ms, ret, d);
        pthread_mutex_unlock(&l->lock);
        return r;
}

struct wire_conn *link_try_take(struct link *l)
{
        struct wire_conn *conn;

        if (pthread_mutex_trylock(&l->lock) != 0)
                return NULL;
        conn = take_ptr(l->conn);
        pthread_mutex_unlock(&l->lock);
        return conn;
}

/* Does the helper have to look? */
static bool give(struct link *l, struct wire_conn *conn, int r)
{
        bool look = r < 0;

        pthread_mutex_lock(&l->lock);
        if (r < 0) {
                wire_conn_free(conn);
                l->state = LINK_AWAY;
        } else {
                l->conn = conn;
                look = l->wanted || wire_conn_pending(conn) > 0;
        }
        l->wanted = false;
        pthread_cond_broadcast(&l->changed);
        pthread_mutex_unlock(&l->lock);
        return look;
}

void link_give(struct link *l, struct wire_conn *conn, int r)
{
        if (give(l, conn, r))
                link_wake(l);
}

void link_hung_up(struct link *l, int fd)
{
        pthread_mutex_lock(&l->lock);
        if (l->conn && wire_conn_fd(l->conn) == fd) {
                wire_conn_free(take_ptr(l->conn));
                l->state = LINK_AWAY;
                pthread_cond_broadcast(&l->changed);
        } else {
                l->wanted = true; /* the other thread is about to find out */
        }
        pthread_mutex_unlock(&l->lock);
}

static int error_failed(json_t *parameters, int fallback)
{
        json_int_t number = json_integer_value(json_object_get(parameters, "errno"));

        return number > 0 && number <= ERRNO_MAX ? -(int)number : fallback;
}

int link_error(const struct wire_reply *reply, struct diag *d)
{
        static const struct {
                const char *name;
                int r;
        } errors[] = {
                {"io.ckptd.Jobs.Busy", -EBUSY},
                {"io.ckptd.Jobs.WrongUser", -EPERM},
                {"io.ckptd.Jobs.Owned", -EBUSY},
                {"io.ckptd.Jobs.Mismatch", -EINVAL},
                {"io.ckptd.Jobs.NoneWhole", -ENODATA},
                {"io.ckptd.Jobs.SaveFailed", -EIO},
                {"io.ckptd.Jobs.WrongState", -ENOTCONN},
                {"io.ckptd.TooLarge", -EMSGSIZE},
                {"org.varlink.service.PermissionDenied", -EPERM},
                {"org.varlink.service.InvalidParameter", -EINVAL},
                {"org.varlink.service.MethodNotFound", -ENOSYS},
        };
        const char *text = json_string_value(json_object_get(reply->parameters, "message"));
        const char *bad = json_string_value(json_object_get(reply->parameters, "parameter"));
        int r = -EPROTO;

        for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
                if (!strcmp(errors[i].name, reply->error))
                        r = errors[i].r;
        if (!strcmp(reply->error, "io.ckptd.Jobs.Failed"))
                r = error_failed(reply->parameters, -EIO);
        if (text)
                return diag_set(d, r, "%s", text);
        return diag_set(d, r, "ckptd answers: %s%s%s", reply->error, bad ? ": " : "",
                        bad ? bad : "");
}

static int call_once(struct wire_conn *conn, const struct link_ask *a, struct wire_result *ret)
{
        int fd = a->fd < 0 ? -1 : fcntl(a->fd, F_DUPFD_CLOEXEC, 0);
        struct wire_request q = {.method = a->method,
                                 .parameters = json_incref(a->parameters),
                                 .fds = &fd,
                                 .n_fds = fd >= 0,
                                 .timeout_ms = -1};

        return wire_do_call(conn, &q, ret);
}

int link_call(struct link *l, const struct link_ask *a, int64_t wait_ms, struct wire_result *ret,
              struct diag *d)
{
        int r = -EPIPE;

        for (int tries = 0; r < 0; tries++) {
                struct wire_conn *conn;

                if (tries == LINK_TRIES)
                        return diag_set(d, -EHOSTDOWN, "ckptd went away %d times at %s", tries,
                                        a->method);
                r = link_take(l, wait_ms, &conn, d);
                if (r < 0)
                        return r;
                r = call_once(conn, a, ret);
                link_give(l, conn, r);
                if (r < 0 && wait_ms == 0)
                        return diag_set(d, -EHOSTDOWN, "ckptd went away at %s", a->method);
        }
        if (!ret->reply.error)
                return 0;
        r = link_error(&ret->reply, d);
        wire_result_done(ret);
        return r;
}

static int send_hand_off(struct wire_conn *conn, int64_t step, bool forced)
{
        json_t *p =
                json_pack(forced ? "{s:I, s:b}" : "{s:I}", "step", (json_int_t)step, "forced", 1);
        json_t *call = wire_call_format(HAND_OFF_METHOD, p, "oneway");
        int r = call ? wire_conn_send(conn, call, NULL, 0) : -ENOMEM;

        json_decref(call);
        return r < 0 ? r : wire_conn_flush(conn);
}

int link_hand_off(struct link *l, int64_t step, bool forced)
{
        struct wire_conn *conn = link_try_take(l);

        if (conn) {
                link_give(l, conn, send_hand_off(conn, step, forced));
        } else {
                atomic_store(forced ? &l->owed_forced : &l->owed, step);
                link_wake(l);
        }
        return l->state == LINK_UP ? 0 : 1;
}

/* On failure it stays owed: the next daemon is told. */
static int pay_one(struct wire_conn *conn, _Atomic int64_t *owed, bool forced)
{
        int64_t step = atomic_exchange(owed, LINK_NOBODY);
        int r;

        if (step == LINK_NOBODY)
                return 0;
        r = send_hand_off(conn, step, forced);
        if (r < 0)
                atomic_store(owed, step);
        return r;
}

static struct wire_conn *take_to_pay(struct link *l)
{
        bool owes = l->owed != LINK_NOBODY || l->owed_forced != LINK_NOBODY;
        struct wire_conn *conn = NULL;

        pthread_mutex_lock(&l->lock);
        if (l->conn && (owes || wire_conn_pending(l->conn) > 0))
                conn = take_ptr(l->conn);
        pthread_mutex_unlock(&l->lock);
        return conn;
}

void link_pay(struct link *l)
{
        struct wire_conn *conn = take_to_pay(l);
        int r;

        if (!conn)
                return;
        r = pay_one(conn, &l->owed_forced, true);
        if (r >= 0)
                r = pay_one(conn, &l->owed, false);
        if (r >= 0)
                r = wire_conn_flush(conn);
        give(l, conn, r);
}
