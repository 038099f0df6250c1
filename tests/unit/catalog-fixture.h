/* For tests of the catalog: one in a folder of its own, with waiting for its answers. */
#pragma once

#include "catalog.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mount.h>

#include <cmocka.h>

#define ANSWER_MS 30000 /* how long an answer may take before the test fails */
#define PATH_BYTES 128

struct fixture {
        char folder[PATH_BYTES / 2], path[PATH_BYTES];
        int wake_fd;
        struct catalog *catalog;
        unsigned n_done;
        int last_r;
};

static inline void wake(void *user)
{
        eventfd_write(((struct fixture *)user)->wake_fd, 1);
}

static inline int open_catalog(struct fixture *f, struct diag *d)
{
        struct catalog_options o = {.path = f->path, .wake = wake, .user = f};

        return catalog_open(&f->catalog, &o, d);
}

static inline void close_catalog(struct fixture *f)
{
        catalog_close(f->catalog);
        f->catalog = NULL;
}

static inline void reopen(struct fixture *f)
{
        close_catalog(f);
        assert_int_equal(open_catalog(f, NULL), 0);
}

static inline int set_up(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));

        assert_non_null(f);
        strcpy(f->folder, "/tmp/test-catalog.XXXXXX");
        assert_non_null(mkdtemp(f->folder));
        snprintf(f->path, sizeof(f->path), "%s/state/users/catalog.sqlite", f->folder);
        f->wake_fd = eventfd(0, EFD_CLOEXEC);
        assert_true(f->wake_fd >= 0);
        *state = f;
        return 0;
}

static inline int tear_down(void **state)
{
        struct fixture *f = *state;
        char command[PATH_BYTES];

        close_catalog(f);
        umount2(f->folder, MNT_DETACH); /* where the test put a file system of its own */
        snprintf(command, sizeof(command), "rm -rf %s", f->folder);
        assert_int_equal(system(command), 0);
        close(f->wake_fd);
        free(f);
        return 0;
}

/* Waits for the next wake-up and takes its answers. */
static inline void reap(struct fixture *f)
{
        eventfd_t n;

        assert_int_equal(poll(&(struct pollfd){.fd = f->wake_fd, .events = POLLIN}, 1, ANSWER_MS),
                         1);
        assert_int_equal(eventfd_read(f->wake_fd, &n), 0);
        catalog_reap(f->catalog);
}

static inline void count_done(void *user, int r)
{
        struct fixture *f = user;

        f->n_done++;
        f->last_r = r;
}

static inline int submit(struct fixture *f, struct catalog_batch *b)
{
        unsigned before = f->n_done;

        catalog_submit(f->catalog, b, count_done, f);
        while (f->n_done == before)
                reap(f);
        return f->last_r;
}

static inline struct catalog_batch *new_batch(struct fixture *f)
{
        struct catalog_batch *b = catalog_batch_new(f->catalog);

        assert_non_null(b);
        return b;
}
