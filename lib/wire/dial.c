#include "dial.h"

#include "limit.h"

#include <errno.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#define CONNECT_SECONDS 5 /* how long a daemon may leave us waiting in its backlog */
#define PLACES_MAX 4
#define PATH_WIDTH 35 /* columns of the list of places tried */
#define WHAT_WIDTH 22

struct place {
        char path[sizeof((struct sockaddr_un *)0)->sun_path + 1]; /* one more: tells a cut one */
        char what[64];
        bool any_peer; /* whoever answers there is believed */
};

static void add_place(struct place *all, size_t *n, const struct place *p)
{
        for (size_t i = 0; i < *n; i++)
                if (strcmp(all[i].path, p->path) == 0)
                        return;
        all[(*n)++] = *p;
}

static void add_users_place(struct place *all, size_t *n)
{
        struct passwd entry, *found = NULL;
        struct place p = {0};
        char text[4096];

        if (getpwuid_r(geteuid(), &entry, text, sizeof text, &found) != 0 || !found)
                return;
        snprintf(p.path, sizeof p.path, "/run/ckptd/users/%s/ckptd.sock", entry.pw_name);
        snprintf(p.what, sizeof p.what, "ckptd@%s.service", entry.pw_name);
        add_place(all, n, &p);
}

static size_t list_places(const char *socket, struct place *all)
{
        const char *given = socket ? socket : getenv("CKPTD_SOCKET");
        const char *runtime = getenv("XDG_RUNTIME_DIR");
        struct place p = {.what = "user instance"};
        size_t n = 0;

        if (given && *given) {
                p = (struct place){.any_peer = true};
                snprintf(p.path, sizeof p.path, "%s", given);
                snprintf(p.what, sizeof p.what, "%s", socket ? "as given" : "CKPTD_SOCKET");
                add_place(all, &n, &p);
                return n;
        }
        if (runtime && *runtime) {
                snprintf(p.path, sizeof p.path, "%s/ckptd/ckptd.sock", runtime);
                add_place(all, &n, &p);
        }
        snprintf(p.path, sizeof p.path, "/run/user/%u/ckptd/ckptd.sock", geteuid());
        add_place(all, &n, &p);
        add_users_place(all, &n);
        p = (struct place){"/run/ckptd/ckptd.sock", "system instance", true};
        add_place(all, &n, &p);
        return n;
}

/* Root may speak with everybody's daemon; anybody else's own and root's are to be trusted. */
static int check_peer(const struct place *p, int fd, uid_t *ret_uid)
{
        struct ucred peer;
        socklen_t n = sizeof peer;

        if (p->any_peer || geteuid() == 0)
                return 0;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0)
                return -errno;
        *ret_uid = peer.uid;
        return peer.uid == geteuid() || peer.uid == 0 ? 0 : -EKEYREJECTED;
}

static int connect_to(const struct place *p, uid_t *ret_uid, struct wire_conn **ret)
{
        _cleanup_(closep) int fd = -1;
        struct timeval patience = {.tv_sec = CONNECT_SECONDS};
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int r;

        if (strlen(p->path) >= sizeof address.sun_path)
                return -ENAMETOOLONG;
        strcpy(address.sun_path, p->path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) < 0)
                return -errno;
        do
                r = connect(fd, (struct sockaddr *)&address, sizeof address);
        while (r < 0 && errno == EINTR);
        if (r < 0)
                return -errno;
        r = check_peer(p, fd, ret_uid);
        if (r < 0)
                return r;
        r = wire_conn_new(ret, take_fd(&fd));
        if (r == 0)
                wire_conn_set_limit(*ret, LIMIT_OUTPUT_BYTES);
        return r;
}

static void tell_failure(const struct place *p, int error, uid_t uid, struct diag *d)
{
        static const struct {
                int error;
                const char *text;
        } texts[] = {
                {ENOENT, "no such file"},
                {ENOTDIR, "no such file"},
                {ECONNREFUSED, "connection refused"},
                {EACCES, "permission denied"},
                {EAGAIN, "no answer"},
                {ENAMETOOLONG, "path too long for a socket"},
        };
        char other[64];
        const char *text = NULL;

        for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
                if (texts[i].error == -error)
                        text = texts[i].text;
        if (error == -EKEYREJECTED) {
                snprintf(other, sizeof other, "belongs to uid %u", uid);
                text = other;
        }
        diag_add(d, error, "    %-*s %-*s %s", PATH_WIDTH, p->path, WHAT_WIDTH, p->what,
                 text ? text : strerror(-error));
}

int wire_dial(const char *socket, struct wire_conn **ret, char **ret_path, struct diag *d)
{
        struct place all[PLACES_MAX];
        size_t n = list_places(socket, all);
        _cleanup_(diag_done) struct diag tried = {0};

        for (size_t i = 0; i < n; i++) {
                _cleanup_(wire_conn_freep) struct wire_conn *c = NULL;
                uid_t uid = 0;
                int r = connect_to(&all[i], &uid, &c);

                if (r < 0) {
                        tell_failure(&all[i], r, uid, &tried);
                        continue;
                }
                if (ret_path && !(*ret_path = strdup(all[i].path)))
                        return -ENOMEM;
                *ret = take_ptr(c);
                return 0;
        }
        if (d)
                diag_move(d, &tried);
        return -EHOSTDOWN;
}

void wire_result_done(struct wire_result *r)
{
        wire_message_done(&r->message);
        r->reply = (struct wire_reply){0};
}

static int64_t now_ms(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The moment at which a wait ends; negative: never. */
static int64_t deadline_of(int64_t timeout_ms)
{
        int64_t end;

        if (timeout_ms < 0 || __builtin_add_overflow(now_ms(), timeout_ms, &end))
                return -1;
        return end;
}

/* Waits for these events, at most max_ms.  -ETIMEDOUT when the deadline came first. */
static int wait_for(const struct wire_conn *c, short events, int max_ms, int64_t deadline)
{
        struct pollfd p = {.fd = wire_conn_fd(c), .events = events};
        int64_t left = deadline < 0 ? max_ms : deadline - now_ms();
        int wait_ms = left < 0 ? 0 : left > max_ms ? max_ms : (int)left;
        int n = poll(&p, events != 0, wait_ms);

        if (n < 0 && errno != EINTR)
                return -errno;
        return n <= 0 && left <= wait_ms && deadline >= 0 ? -ETIMEDOUT : 0;
}

static int flush_all(struct wire_conn *c, int64_t deadline)
{
        int r;

        while ((r = wire_conn_flush(c)) == 0) {
                r = wait_for(c, POLLOUT, 60 * 1000, deadline);
                if (r < 0)
                        return r;
        }
        return r < 0 ? r : 0;
}

/* The kernel has no event for this one: looked at once a millisecond. */
static int wait_until_read(struct wire_conn *c, int64_t deadline)
{
        int r;

        r = flush_all(c, deadline);
        if (r < 0)
                return r;
        while ((r = wire_conn_is_read(c)) == 0) {
                r = wait_for(c, 0, 1, deadline);
                if (r < 0)
                        return r;
        }
        return r < 0 ? r : 0;
}

static void close_all(const int *fds, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (fds[i] >= 0)
                        close(fds[i]);
}

int wire_send_request(struct wire_conn *c, const struct wire_request *q)
{
        int64_t deadline = deadline_of(q->timeout_ms);
        json_t *message = wire_call_format(q->method, q->parameters, q->flag);
        int r;

        r = !message ? -ENOMEM : q->n_fds > 0 ? wait_until_read(c, deadline) : 0;
        if (r < 0)
                close_all(q->fds, q->n_fds);
        else
                r = wire_conn_send(c, message, q->fds, q->n_fds);
        json_decref(message);
        if (r < 0)
                return r;
        return flush_all(c, deadline);
}

static int take_reply(struct wire_message *m, struct wire_result *ret)
{
        struct wire_result result = {.message = *m};
        int r;

        r = wire_reply_parse(m->json, &result.reply);
        if (r < 0) {
                wire_message_done(m);
                return r;
        }
        *ret = result;
        return 0;
}

int wire_receive_reply(struct wire_conn *c, int64_t timeout_ms, struct wire_result *ret)
{
        int64_t deadline = deadline_of(timeout_ms);
        struct wire_message m;
        int r;

        while ((r = wire_conn_next(c, &m)) == 0) {
                r = wait_for(c, POLLIN, 60 * 1000, deadline);
                if (r == 0)
                        r = wire_conn_receive(c);
                if (r < 0)
                        return r;
        }
        return r < 0 ? r : take_reply(&m, ret);
}

int wire_do_call(struct wire_conn *c, const struct wire_request *q, struct wire_result *ret)
{
        int64_t deadline = deadline_of(q->timeout_ms);
        int64_t left;
        int r;

        r = wire_send_request(c, q);
        if (r < 0 && r != -EPIPE) /* a daemon that hung up may have said why */
                return r;
        if (q->flag && strcmp(q->flag, "oneway") == 0) {
                *ret = (struct wire_result){0};
                return r;
        }
        left = deadline < 0 ? -1 : deadline - now_ms();
        return wire_receive_reply(c, left < 0 && deadline >= 0 ? 0 : left, ret);
}
