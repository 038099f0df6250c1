#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define BACKLOG 4096 /* connections; the kernel lowers it to net.core.somaxconn */

static int make_folder(const char *path, struct diag *d)
{
        _cleanup_(freep) char *copy = strdup(path);

        if (!copy)
                return -ENOMEM;
        for (char *p = strchr(copy + 1, '/'); p; p = strchr(p + 1, '/')) {
                *p = '\0';
                if (mkdir(copy, 0755) == 0)
                        chmod(copy, 0755); /* whatever the umask says */
                else if (errno != EEXIST)
                        return diag_set(d, -errno, "%s: cannot make the folder: %s", copy,
                                        strerror(errno));
                *p = '/';
        }
        return 0;
}

/* The pid of who listens there: > 0; 0: somebody whose pid is not visible here; -errno: nobody. */
static int find_listener(const struct sockaddr_un *address)
{
        _cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct ucred peer;
        socklen_t n = sizeof peer;

        if (fd < 0)
                return -errno;
        if (connect(fd, (const struct sockaddr *)address, sizeof *address) < 0)
                return errno == EAGAIN ? 0 : -errno; /* EAGAIN: its backlog is full */
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0)
                return 0;
        return peer.pid;
}

static int tell_in_use(const struct sockaddr_un *address, int pid, struct diag *d)
{
        if (pid > 0)
                return diag_set(d, -EADDRINUSE, "%s: process %d already listens there",
                                address->sun_path, pid);
        return diag_set(d, -EADDRINUSE, "%s: another process already listens there",
                        address->sun_path);
}

static int take_lock(struct rpc_listener *l, const struct sockaddr_un *address, struct diag *d)
{
        char path[sizeof address->sun_path + sizeof ".lock"];

        snprintf(path, sizeof path, "%s.lock", address->sun_path);
        l->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (l->lock_fd < 0)
                return diag_set(d, -errno, "%s: %s", path, strerror(errno));
        if (flock(l->lock_fd, LOCK_EX | LOCK_NB) == 0)
                return 0;
        if (errno != EWOULDBLOCK)
                return diag_set(d, -errno, "%s: cannot lock: %s", path, strerror(errno));
        return tell_in_use(address, find_listener(address), d);
}

/* Makes the path free: a socket on which nobody listens goes, anything else stays. */
static int clear_path(const struct sockaddr_un *address, struct diag *d)
{
        const char *path = address->sun_path;
        struct stat st;
        int r;

        if (lstat(path, &st) < 0)
                return errno == ENOENT ? 0 : diag_set(d, -errno, "%s: %s", path, strerror(errno));
        if (!S_ISSOCK(st.st_mode))
                return diag_set(d, -EEXIST, "%s: exists and is no socket", path);
        r = find_listener(address);
        if (r >= 0)
                return tell_in_use(address, r, d);
        if (r != -ECONNREFUSED && r != -ENOENT)
                return diag_set(d, r, "%s: cannot tell whether somebody listens there: %s", path,
                                strerror(-r));
        if (unlink(path) < 0 && errno != ENOENT)
                return diag_set(d, -errno, "%s: cannot remove the dead socket: %s", path,
                                strerror(errno));
        return 0;
}

static int bind_and_listen(struct rpc_listener *l, const struct sockaddr_un *address,
                           struct diag *d)
{
        struct stat st;
        mode_t mask;
        int r;

        l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (l->fd < 0)
                return diag_set(d, -errno, "socket: %s", strerror(errno));
        mask = umask(0117); /* the file is never more open than 0660 */
        r = bind(l->fd, (const struct sockaddr *)address, sizeof *address) < 0 ? -errno : 0;
        umask(mask);
        if (r == 0 && (listen(l->fd, BACKLOG) < 0 || stat(address->sun_path, &st) < 0))
                r = -errno;
        if (r < 0)
                return diag_set(d, r, "%s: cannot listen: %s", address->sun_path, strerror(-r));
        l->dev = st.st_dev;
        l->ino = st.st_ino;
        l->path = strdup(address->sun_path);
        return l->path ? 0 : -ENOMEM;
}

int rpc_listener_open(struct rpc_listener *l, const char *path, struct diag *d)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int r;

        *l = (struct rpc_listener){.fd = -1, .lock_fd = -1};
        if (strlen(path) >= sizeof address.sun_path)
                return diag_set(d, -ENAMETOOLONG,
                                "%s: longer than %zu bytes, which a socket's name may have", path,
                                sizeof address.sun_path - 1);
        strcpy(address.sun_path, path);
        r = make_folder(path, d);
        if (r == 0)
                r = take_lock(l, &address, d);
        if (r == 0)
                r = clear_path(&address, d);
        if (r == 0)
                r = bind_and_listen(l, &address, d);
        if (r < 0)
                rpc_listener_close(l);
        return r;
}

int rpc_listener_adopt(struct rpc_listener *l, int fd, struct diag *d)
{
        int listens = 0, flags = fcntl(fd, F_GETFL);
        socklen_t n = sizeof listens;

        *l = (struct rpc_listener){.fd = fd, .lock_fd = -1};
        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
            fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ||
            getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &n) < 0)
                return diag_set(d, -errno, "descriptor %d, passed as the varlink socket: %s", fd,
                                strerror(errno));
        if (!listens)
                return diag_set(d, -EINVAL,
                                "descriptor %d, passed as the varlink socket, does not listen", fd);
        return 0;
}

void rpc_listener_close(struct rpc_listener *l)
{
        struct stat st;

        if (l->path && lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
                unlink(l->path);
        free(l->path);
        closep(&l->fd);
        closep(&l->lock_fd);
        *l = (struct rpc_listener){.fd = -1, .lock_fd = -1};
}
