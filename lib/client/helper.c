#include "again.h"
#include "client.h"
#include "swap.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>

#ifndef POLLRDHUP
#define POLLRDHUP 0x2000
#endif

struct sleep { /* what the helper waits for */
        struct pollfd p[2];
        nfds_t n;
        bool watches_link; /* p[1] is the link's connection, else again's */
};

/* Nothing comes over the connection unasked, so only its end is watched, and room where bytes
 * wait. */
static bool watch_link(struct ckpt *c, struct pollfd *p)
{
        bool there;

        pthread_mutex_lock(&c->link.lock);
        there = c->link.conn != NULL;
        /* Taken: its end can be watched for only when it is given back. */
        c->link.wanted = !there && c->link.state == LINK_UP;
        if (there)
                *p = (struct pollfd){.fd = wire_conn_fd(c->link.conn),
                                     .events = (short)(wire_conn_pending(c->link.conn) > 0
                                                               ? POLLRDHUP | POLLOUT
                                                               : POLLRDHUP)};
        pthread_mutex_unlock(&c->link.lock);
        return there;
}

static void rest(struct ckpt *c, const struct again *a)
{
        struct sleep s = {.p = {{.fd = c->link.wake_fd, .events = POLLIN}}, .n = 1};
        eventfd_t count;

        s.watches_link = watch_link(c, &s.p[1]);
        if (!s.watches_link && a->conn)
                s.p[1] = (struct pollfd){.fd = wire_conn_fd(a->conn), .events = POLLIN};
        s.n += s.watches_link || a->conn;
        if (poll(s.p, s.n, again_timeout_ms(c, a)) < 0)
                return;
        if (s.p[0].revents)
                eventfd_read(c->link.wake_fd, &count);
        if (s.watches_link && s.p[1].revents & (POLLRDHUP | POLLHUP | POLLERR))
                link_hung_up(&c->link, s.p[1].fd);
}

static bool must_quit(struct ckpt *c)
{
        bool quit;

        pthread_mutex_lock(&c->link.lock);
        quit = c->quit;
        pthread_mutex_unlock(&c->link.lock);
        return quit;
}

static void *helper_run(void *user)
{
        struct ckpt *c = user;
        struct again again = {0};

        while (!must_quit(c)) {
                rest(c, &again);
                crew_help(&c->crew);
                again_tend(c, &again);
                link_pay(&c->link);
                swap_bury(c);
        }
        again_done(&again);
        return NULL;
}

int helper_start(struct ckpt *c)
{
        sigset_t all, old;
        int r;

        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        r = pthread_create(&c->helper, NULL, helper_run, c);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        if (r != 0)
                return -r;
        pthread_setname_np(c->helper, "ckpt-helper");
        c->has_helper = true;
        return 0;
}

void helper_stop(struct ckpt *c)
{
        if (!c->has_helper)
                return;
        pthread_mutex_lock(&c->link.lock);
        c->quit = true;
        pthread_mutex_unlock(&c->link.lock);
        link_wake(&c->link);
        pthread_join(c->helper, NULL);
        c->has_helper = false;
}

static int populate_piece(void *user, size_t i)
{
        image_populate_part(user, i);
        return 0;
}

void helper_populate(struct ckpt *c, struct image *i)
{
        struct crew_work w = {.piece = populate_piece, .user = i, .n = image_n_parts(i)};

        crew_begin(&c->crew, &w);
        crew_join(&c->crew, &w);
}

void helper_keep_off(struct ckpt *c)
{
        int here = sched_getcpu();
        cpu_set_t set;

        if (here < 0 || pthread_getaffinity_np(pthread_self(), sizeof(set), &set) != 0)
                return;
        CPU_CLR((size_t)here, &set);
        if (CPU_COUNT(&set) > 0)
                pthread_setaffinity_np(c->helper, sizeof(set), &set);
}
