#include "catalog-files.h"

#include "catalog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

#define FOLDER_MODE 0750
#define FILE_MODE 0640
#define STAMP_BYTES sizeof("YYYYMMDDTHHMMSS")

static char *sibling(const char *path, const char *suffix)
{
        char *name;

        return asprintf(&name, "%s%s", path, suffix) < 0 ? NULL : name;
}

static int make_one(const char *folder, struct diag *d)
{
        if (mkdir(folder, FOLDER_MODE) < 0 && errno != EEXIST)
                return diag_set(d, -errno, "%s: cannot make this folder: %s", folder,
                                strerror(errno));
        return 0;
}

int catalog_files_make_folder(const char *path, struct diag *d)
{
        _cleanup_(freep) char *folder = strdup(path);
        char *last = folder ? strrchr(folder, '/') : NULL;
        int r = 0;

        if (!folder)
                return -ENOMEM;
        if (!last || last == folder)
                return 0;
        *last = 0;
        if (access(folder, F_OK) == 0)
                return 0;
        for (char *p = strchr(folder + 1, '/'); p && r == 0; p = strchr(p + 1, '/')) {
                *p = 0;
                r = access(folder, F_OK) == 0 ? 0 : make_one(folder, d);
                *p = '/';
        }
        return r < 0 ? r : make_one(folder, d);
}

static int write_pid(int fd)
{
        if (ftruncate(fd, 0) < 0 || dprintf(fd, "%d\n", (int)getpid()) < 0)
                return -errno;
        return 0;
}

static int refuse_second(int fd, const char *path, struct diag *d)
{
        char pid[16] = "";
        ssize_t n = pread(fd, pid, sizeof(pid) - 1, 0);

        pid[n > 0 ? strspn(pid, "0123456789") : 0] = 0;
        return diag_set(d, -EBUSY, "catalog %s belongs to another ckptd that runs, pid %s", path,
                        pid[0] ? pid : "unknown");
}

int catalog_files_lock(const char *path, struct diag *d)
{
        _cleanup_(freep) char *name = sibling(path, "-lock");
        _cleanup_(closep) int fd = -1;
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

        if (!name)
                return -ENOMEM;
        fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
        if (fd < 0)
                return diag_set(d, -errno, "%s: %s", name, strerror(errno));
        if (fcntl(fd, F_OFD_SETLK, &lock) < 0) {
                if (errno == EAGAIN || errno == EACCES)
                        return refuse_second(fd, path, d);
                return diag_set(d, -errno, "%s: cannot lock: %s", name, strerror(errno));
        }
        /* On a full disk there is no pid in it; the lock holds all the same. */
        write_pid(fd);
        return take_fd(&fd);
}

int catalog_files_create(const char *path, struct diag *d)
{
        _cleanup_(closep) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, FILE_MODE);

        if (fd < 0)
                return diag_set(d, -errno, "catalog %s: %s", path, strerror(errno));
        return 0;
}

static int rename_suffixed(const char *from, const char *to, const char *suffix)
{
        _cleanup_(freep) char *old = sibling(from, suffix), *new = sibling(to, suffix);

        if (!old || !new)
                return -ENOMEM;
        return rename(old, new) < 0 && errno != ENOENT ? -errno : 0;
}

int catalog_files_set_aside(const char *path, char **ret_name, struct diag *d)
{
        static const char *const suffixes[] = {"-wal", "-shm", ""};
        _cleanup_(freep) char *name = NULL;
        char stamp[STAMP_BYTES];
        time_t now = time(NULL);
        struct tm tm;
        int r = 0;

        gmtime_r(&now, &tm);
        strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%S", &tm);
        if (asprintf(&name, "%s.broken-%s", path, stamp) < 0) {
                name = NULL;
                return -ENOMEM;
        }
        for (size_t i = 0; i < ARRAY_SIZE(suffixes) && r == 0; i++)
                r = rename_suffixed(path, name, suffixes[i]);
        if (r < 0)
                return diag_set(d, r, "%s is broken and cannot be renamed to %s: %s", path, name,
                                strerror(-r));
        *ret_name = take_ptr(name);
        return 0;
}

static bool has_room(int fd)
{
        struct statvfs st;

        return fstatvfs(fd, &st) == 0 &&
               (uint64_t)st.f_bavail * st.f_frsize >= 2ULL * CATALOG_RESERVE_BYTES;
}

int catalog_files_reserve(const char *path)
{
        _cleanup_(freep) char *name = sibling(path, "-reserve");
        _cleanup_(closep) int fd = -1;
        struct stat st;
        int r;

        if (!name)
                return -ENOMEM;
        fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if ((uint64_t)st.st_blocks * 512 >= CATALOG_RESERVE_BYTES)
                return 0;
        r = has_room(fd) ? -posix_fallocate(fd, 0, CATALOG_RESERVE_BYTES) : -ENOSPC;
        if (r < 0)
                unlink(name);
        return r;
}

int catalog_files_give_up_reserve(const char *path)
{
        _cleanup_(freep) char *name = sibling(path, "-reserve");

        return name && unlink(name) == 0;
}

static uint64_t bytes_of(const char *path, const char *suffix)
{
        _cleanup_(freep) char *name = sibling(path, suffix);
        struct stat st;

        return name && stat(name, &st) == 0 ? (uint64_t)st.st_size : 0;
}

uint64_t catalog_files_bytes(const char *path)
{
        return bytes_of(path, "") + bytes_of(path, "-wal");
}
