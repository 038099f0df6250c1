/* A directory with checkpoints in it, made by the formats under test: every tensor is filled with a
 * pattern made from its name, parts of a tensor with their part of it.  Owner: the test. */
#pragma once

#include "cleanup.h"
#include "crc32c.h"
#include "format.h"
#include "format-files.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define FIXTURE_RANKS_MAX 4

struct fixture {
        struct directory dir;
        int dirfd; /* of dir */
        const struct format *format;
        const char *name;
        size_t n_ranks;
        struct manifest *ranks[FIXTURE_RANKS_MAX];
        uint8_t *images[FIXTURE_RANKS_MAX]; /* the data files */
        uint32_t *sums[FIXTURE_RANKS_MAX];
};

static inline void fixture_fill(struct fixture *f, size_t rank)
{
        struct manifest *m = f->ranks[rank];

        f->images[rank] = calloc(1, m->bytes + 1);
        f->sums[rank] = calloc(m->n + 1, sizeof(uint32_t));
        assert_true(f->images[rank] && f->sums[rank]);
        for (size_t i = 0; i < m->n; i++) {
                _cleanup_(freep) uint8_t *bytes = NULL;

                if (m->tensors[i].offset < 0)
                        continue;
                bytes = pattern_bytes(&m->tensors[i]);
                memcpy(f->images[rank] + m->tensors[i].offset, bytes, m->tensors[i].bytes);
                f->sums[rank][i] = crc32c_extend(0, bytes, m->tensors[i].bytes);
        }
}

static inline void fixture_init(struct fixture *f, const struct format *format, const char *name,
                                const char *const *manifests, size_t n)
{
        struct diag d = {0};

        *f = (struct fixture){.format = format, .name = name, .n_ranks = n};
        directory_init(&f->dir);
        f->dirfd = f->dir.fd;
        for (size_t i = 0; i < n; i++) {
                int r = manifest_parse(manifests[i], strlen(manifests[i]), &f->ranks[i], &d);

                if (r < 0)
                        fail_msg("manifest: %s", diag_text(&d, r));
        }
        assert_int_equal(manifest_share(f->ranks, n, &d), 0);
        for (size_t i = 0; i < n; i++) {
                assert_int_equal(format->layout(f->ranks[i], n, &d), 0);
                fixture_fill(f, i);
        }
}

static inline void fixture_done(struct fixture *f)
{
        for (size_t i = 0; i < f->n_ranks; i++) {
                manifest_free(f->ranks[i]);
                free(f->images[i]);
                free(f->sums[i]);
        }
        directory_done(&f->dir);
}

static inline void fixture_write(struct fixture *f, int64_t step)
{
        struct format_shard shards[FIXTURE_RANKS_MAX];
        struct format_checkpoint c = {f->name, step, f->n_ranks, shards};
        char name[FORMAT_NAME_MAX];

        for (size_t i = 0; i < f->n_ranks; i++)
                shards[i] = (struct format_shard){f->ranks[i], f->sums[i]};
        for (size_t i = 0; i < f->n_ranks; i++) {
                _cleanup_(buffer_done) struct buffer head = {0};

                if (f->format->head) {
                        assert_int_equal(f->format->head(&c, i, &head, NULL), 0);
                        assert_int_equal(head.len, f->ranks[i]->head_bytes);
                        memcpy(f->images[i], head.data, head.len);
                }
                assert_int_equal(f->format->data_name(name, f->name, i, f->n_ranks), 0);
                directory_put(&f->dir, name, f->images[i], f->ranks[i]->bytes);
        }
        assert_int_equal(f->format->index_name(name, f->name, f->n_ranks), 0);
        if (name[0]) {
                _cleanup_(buffer_done) struct buffer index = {0};

                assert_int_equal(f->format->index(&c, &index, NULL), 0);
                directory_put(&f->dir, name, index.data, index.len);
        }
}
