/* Files in a directory of their own under /tmp, and the pattern that fills tensors: made from a
 * tensor's name, so that parts of one tensor have their part of one pattern.  Owner: the test. */
#pragma once

#include "cleanup.h"
#include "io.h"
#include "manifest.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct directory {
        char path[64];
        int fd;
};

static inline void directory_init(struct directory *t)
{
        *t = (struct directory){.path = "/tmp/ckptd-format-XXXXXX"};
        assert_non_null(mkdtemp(t->path));
        t->fd = open(t->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(t->fd >= 0);
}

static inline void directory_done(struct directory *t)
{
        char command[128];

        close(t->fd);
        snprintf(command, sizeof(command), "rm -rf %s", t->path);
        assert_int_equal(system(command), 0);
}

static inline void directory_put(const struct directory *t, const char *name, const void *p,
                                 size_t n)
{
        int fd = openat(t->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        assert_true(fd >= 0);
        assert_int_equal(io_write_all(&io_real, fd, p, n, 0), 0);
        close(fd);
}

static inline void directory_get(const struct directory *t, const char *name, struct buffer *ret)
{
        int fd = openat(t->fd, name, O_RDONLY | O_CLOEXEC);
        off_t n = lseek(fd, 0, SEEK_END);

        assert_true(fd >= 0);
        assert_int_equal(buffer_reserve(ret, (size_t)n), 0);
        assert_int_equal(io_read_all(&io_real, fd, ret->data, (size_t)n, 0), 0);
        ret->len = (size_t)n;
        close(fd);
}

static inline uint8_t pattern_byte(const char *name, uint64_t i)
{
        return (uint8_t)(name[0] * 7 + i * 31 + (i >> 8) * 13 + (i >> 16) * 5);
}

/* The bytes of a tensor or part, malloc'ed. */
static inline uint8_t *pattern_bytes(const struct tensor *t)
{
        const int64_t *dims = t->full_dims ? t->full_dims : t->dims;
        struct region full = {.n_dims = t->n_dims, .dims = dims}, part = manifest_region(t, 0);
        uint8_t *all, *bytes = malloc(t->bytes + 1);
        uint64_t n;

        assert_int_equal(region_bytes(t->dtype, t->n_dims, dims, &n), 0);
        all = malloc(n + 1);
        assert_true(all && bytes);
        for (uint64_t i = 0; i < n; i++)
                all[i] = pattern_byte(t->name, i);
        region_copy_bytes(&(struct region_copy){&full, &part, t->dtype->bytes, bytes}, all, 0, n);
        free(all);
        return bytes;
}
