#include "bench-rpc.h"

#include "bench.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define BUFFER_BYTES 65536
#define WINDOW 64

static void send_all(int fd, const char *p, size_t n)
{
        while (n > 0) {
                ssize_t some = send(fd, p, n, MSG_NOSIGNAL);

                if (some < 0)
                        bench_fail("send: %s", strerror(errno));
                p += some;
                n -= (size_t)some;
        }
}

static size_t count_ends(const char *p, size_t n)
{
        size_t ends = 0;
        const char *end = p + n;

        while ((p = memchr(p, '\0', (size_t)(end - p)))) {
                ends++;
                p++;
        }
        return ends;
}

size_t rpc_call(int fd, const void *message, size_t n)
{
        char buffer[BUFFER_BYTES];
        size_t got = 0;

        send_all(fd, message, n);
        do {
                ssize_t some = recv(fd, buffer, sizeof(buffer), 0);

                if (some <= 0)
                        bench_fail("no answer: %s", some ? strerror(errno) : "closed");
                got += (size_t)some;
                if (buffer[some - 1] == '\0')
                        return got;
        } while (true);
}

static size_t receive(int fd, bool wait)
{
        char buffer[BUFFER_BYTES];
        ssize_t some = recv(fd, buffer, sizeof(buffer), wait ? 0 : MSG_DONTWAIT);

        if (some < 0 && errno == EAGAIN)
                return 0;
        if (some <= 0)
                bench_fail("no answer: %s", some ? strerror(errno) : "closed");
        return count_ends(buffer, (size_t)some);
}

void rpc_pipeline(int fd, const void *message, size_t n, size_t n_calls)
{
        size_t sent = 0, answered = 0;

        while (answered < n_calls) {
                while (sent < n_calls && sent - answered < WINDOW) {
                        send_all(fd, message, n);
                        sent++;
                }
                answered += receive(fd, true);
        }
}

static void bounce(int fd, const void *answer, size_t n_answer)
{
        char buffer[BUFFER_BYTES];
        struct pollfd p = {.fd = fd, .events = POLLIN};

        while (poll(&p, 1, -1) > 0) {
                ssize_t some = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);

                if (some <= 0)
                        return;
                for (size_t n = count_ends(buffer, (size_t)some); n > 0; n--)
                        send_all(fd, answer, n_answer);
        }
}

int rpc_bounce(const void *answer, size_t n_answer)
{
        int ends[2];

        bench_check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), "socketpair");
        if (bench_check(fork(), "fork") == 0) {
                close(ends[0]);
                bounce(ends[1], answer, n_answer);
                _exit(0);
        }
        close(ends[1]);
        return ends[0];
}
