#include "directory.h"

#include "fds.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define UNKNOWN_BLOCK_BYTES 4096
#define FDINFO_MAX_BYTES ((size_t)64 * 1024)
#define MOUNTS_MAX_BYTES ((size_t)16 * 1024 * 1024)

/* The mount that the descriptor came through; -1 when the kernel does not tell. */
static int mount_of(int fd)
{
        _cleanup_(buffer_done) struct buffer text = {0};
        char path[64];
        const char *at;
        int id;

        snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
        if (fds_read_file(path, FDINFO_MAX_BYTES, &text) < 0 || !text.data)
                return -1;
        at = strstr((const char *)text.data, "mnt_id:");
        return at && sscanf(at, "mnt_id: %d", &id) == 1 ? id : -1;
}

/* A line of mountinfo: "36 35 98:0 /root /mount options … - type source options".  Its device says
 * nothing: some file systems give their files another. */
static bool read_type(const char *line, int mount, char out[static 32])
{
        int id;
        const char *dash = strstr(line, " - ");

        if (!dash || sscanf(line, "%d", &id) != 1 || id != mount)
                return false;
        return sscanf(dash, " - %31s", out) == 1;
}

static void find_type(int mount, char out[static 32])
{
        _cleanup_(buffer_done) struct buffer text = {0};
        char *rest, *line;

        out[0] = '\0';
        if (mount < 0 || fds_read_file("/proc/self/mountinfo", MOUNTS_MAX_BYTES, &text) < 0)
                return;
        rest = (char *)text.data;
        while ((line = strsep(&rest, "\n")))
                if (read_type(line, mount, out))
                        return;
}

int directory_space(const struct store_dir *d, struct store_space *ret)
{
        struct statvfs vfs;
        int r;

        do
                r = d->io->fstatvfs(d->fd, &vfs);
        while (r < 0 && errno == EINTR);
        if (r < 0)
                return -errno;
        *ret = (struct store_space){
                .free_bytes = (uint64_t)vfs.f_bavail * vfs.f_frsize,
                .total_bytes = (uint64_t)vfs.f_blocks * vfs.f_frsize,
                .block_bytes = vfs.f_frsize > 0 ? vfs.f_frsize : UNKNOWN_BLOCK_BYTES,
        };
        return 0;
}

int store_dir_space(const struct store_dir *d, struct store_space *ret)
{
        int r = directory_space(d, ret);

        if (r == 0)
                find_type(mount_of(d->fd), ret->type);
        return r;
}
