#include "scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define STEP_BYTES (32 * 1024)

/* A record of getdents64(2); d_name is as long as the record says. */
struct dirent_head {
        uint64_t inode;
        int64_t next;
        uint16_t bytes;
        uint8_t type;
        char name[];
} __attribute__((packed));

void scan_done(struct scan *s)
{
        for (size_t i = 0; i < s->n; i++)
                free(s->names[i].text);
        free(s->names);
        *s = (struct scan){0};
}

static int add_name(struct scan *s, const char *text, bool is_regular)
{
        struct scan_name *names;
        size_t cap = s->cap > 0 ? s->cap * 2 : 64;

        if (s->n == s->cap) {
                names = reallocarray(s->names, cap, sizeof(*names));
                if (!names)
                        return -ENOMEM;
                s->names = names;
                s->cap = cap;
        }
        s->names[s->n] = (struct scan_name){.text = strdup(text), .is_regular = is_regular};
        if (!s->names[s->n].text)
                return -ENOMEM;
        s->n++;
        return 0;
}

/* Some file systems do not tell the type; a name that vanishes meanwhile is not there. */
static int add_entry(const struct io *io, int dirfd, const struct dirent_head *e, struct scan *s)
{
        struct file_facts facts;
        int r;

        if (strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0)
                return 0;
        if (e->type != DT_UNKNOWN)
                return add_name(s, e->name, e->type == DT_REG);
        r = call_facts(io, (struct place){dirfd, e->name}, &facts);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        return add_name(s, e->name, facts.is_regular);
}

static int add_entries(const struct io *io, int dirfd, const uint8_t *p, size_t n, struct scan *s)
{
        int r = 0;

        while (r == 0 && n > 0) {
                const struct dirent_head *e = (const struct dirent_head *)p;

                if (n < sizeof(*e) || e->bytes < sizeof(*e) || e->bytes > n)
                        return -EIO;
                if (!memchr(e->name, '\0', e->bytes - sizeof(*e)))
                        return -EIO;
                r = add_entry(io, dirfd, e, s);
                p += e->bytes;
                n -= e->bytes;
        }
        return r;
}

static int by_text(const void *a, const void *b)
{
        return strcmp(((const struct scan_name *)a)->text, ((const struct scan_name *)b)->text);
}

/* A descriptor of its own, for the position in the folder belongs to the open file. */
int scan_load(const struct io *io, int dirfd, struct scan *ret)
{
        _cleanup_(scan_done) struct scan s = {0};
        _cleanup_(freep) uint8_t *step = malloc(STEP_BYTES);
        int fd = call_open(io, (struct place){dirfd, "."}, O_RDONLY | O_DIRECTORY, 0);
        ssize_t n = 1;
        int r = 0;

        if (fd < 0)
                return fd;
        if (!step)
                r = -ENOMEM;
        while (r == 0 && n != 0) {
                n = io->getdents(fd, step, STEP_BYTES);
                if (n < 0 && errno == EINTR)
                        continue;
                r = n < 0 ? -errno : add_entries(io, dirfd, step, (size_t)n, &s);
        }
        call_close(io, fd);
        if (r < 0)
                return r;
        if (s.n > 0)
                qsort(s.names, s.n, sizeof(*s.names), by_text);
        *ret = s;
        s = (struct scan){0};
        return 0;
}

struct scan_name *scan_find(const struct scan *s, const char *name)
{
        struct scan_name key = {.text = (char *)name};

        return s->n == 0 ? NULL : bsearch(&key, s->names, s->n, sizeof(key), by_text);
}
