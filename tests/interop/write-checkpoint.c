/* What the interop tests drive the formats with.
 *   write-checkpoint write DIR FORMAT NAME STEP RANK...   RANK.json: manifest; RANK.bin: bytes
 *   write-checkpoint verify DIR NAME                      prints the tensors, or what is damaged
 *   write-checkpoint state                                a state file in, as we write it out
 */
#include "crc32c.h"
#include "fds.h"
#include "format.h"
#include "limit.h"
#include "state-file.h"
#include "stored.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define RANKS_MAX 8

struct rank {
        struct manifest *manifest;
        struct buffer values; /* of its tensors, in the manifest's order, nothing between them */
        uint8_t *image;       /* the data file */
        uint32_t *sums;
};

struct job {
        int dirfd;
        const struct format *format;
        const char *name;
        int64_t step;
        size_t n;
        struct rank ranks[RANKS_MAX];
};

static int complain(const char *what, const struct diag *d, int r)
{
        fprintf(stderr, "%s: %s\n", what, diag_text(d, r));
        return r;
}

static int load_rank(struct rank *rank, const char *path, struct diag *d)
{
        _cleanup_(buffer_done) struct buffer text = {0};
        char name[4096];
        int r;

        snprintf(name, sizeof(name), "%s.json", path);
        r = fds_read_file(name, LIMIT_MANIFEST_BYTES, &text);
        if (r < 0)
                return diag_set(d, r, "%s: %s", name, strerror(-r));
        snprintf(name, sizeof(name), "%s.bin", path);
        r = fds_read_file(name, SIZE_MAX / 2, &rank->values);
        if (r < 0)
                return diag_set(d, r, "%s: %s", name, strerror(-r));
        return manifest_parse((const char *)text.data, text.len, &rank->manifest, d);
}

/* Puts the values where the layout wants them. */
static int fill_image(struct rank *rank)
{
        const struct manifest *m = rank->manifest;
        uint64_t at = 0;

        rank->image = calloc(1, m->bytes + 1);
        rank->sums = calloc(m->n + 1, sizeof(*rank->sums));
        if (!rank->image || !rank->sums)
                return -ENOMEM;
        for (size_t i = 0; i < m->n; at += m->tensors[i++].bytes) {
                const struct tensor *t = &m->tensors[i];

                if (at + t->bytes > rank->values.len)
                        return -EINVAL;
                if (t->offset < 0)
                        continue;
                memcpy(rank->image + t->offset, rank->values.data + at, t->bytes);
                rank->sums[i] = crc32c_extend(0, rank->values.data + at, t->bytes);
        }
        return at == rank->values.len ? 0 : -EINVAL;
}

static int put(int dirfd, const char *name, const void *p, size_t n)
{
        int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644), r;

        if (fd < 0)
                return -errno;
        r = io_write_all(&io_real, fd, p, n, 0);
        close(fd);
        return r;
}

static int write_files(struct job *j, struct diag *d)
{
        struct format_shard shards[RANKS_MAX];
        const struct format_checkpoint c = {j->name, j->step, j->n, shards};
        _cleanup_(buffer_done) struct buffer index = {0};
        char name[FORMAT_NAME_MAX];
        int r = 0;

        for (size_t i = 0; i < j->n; i++)
                shards[i] = (struct format_shard){j->ranks[i].manifest, j->ranks[i].sums};
        for (size_t i = 0; i < j->n && r >= 0; i++) {
                _cleanup_(buffer_done) struct buffer head = {0};

                if (j->format->head)
                        r = j->format->head(&c, i, &head, d);
                if (r >= 0 && head.len > 0)
                        memcpy(j->ranks[i].image, head.data, head.len);
                if (r >= 0)
                        r = j->format->data_name(name, j->name, i, j->n);
                if (r >= 0)
                        r = put(j->dirfd, name, j->ranks[i].image, j->ranks[i].manifest->bytes);
        }
        if (r >= 0)
                r = j->format->index_name(name, j->name, j->n);
        if (r < 0 || !name[0])
                return r;
        r = j->format->index(&c, &index, d);
        return r < 0 ? r : put(j->dirfd, name, index.data, index.len);
}

static int write_job(struct job *j, char **paths, struct diag *d)
{
        struct manifest *manifests[RANKS_MAX];
        int r = 0;

        for (size_t i = 0; i < j->n && r >= 0; i++) {
                r = load_rank(&j->ranks[i], paths[i], d);
                manifests[i] = j->ranks[i].manifest;
        }
        if (r >= 0)
                r = manifest_share(manifests, j->n, d);
        for (size_t i = 0; i < j->n && r >= 0; i++) {
                r = j->format->layout(manifests[i], j->n, d);
                if (r >= 0)
                        r = fill_image(&j->ranks[i]);
        }
        return r < 0 ? r : write_files(j, d);
}

static int command_write(int argc, char **argv)
{
        _cleanup_(diag_done) struct diag d = {0};
        struct job j = {.name = argv[2], .n = (size_t)argc - 4};
        int r;

        j.dirfd = open(argv[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        j.format = format_by_name(argv[1]);
        j.step = strtoll(argv[3], NULL, 10);
        if (j.dirfd < 0 || !j.format || j.n > RANKS_MAX)
                return complain(argv[0], NULL, -EINVAL);
        r = write_job(&j, argv + 4, &d);
        for (size_t i = 0; i < j.n; i++) {
                manifest_free(j.ranks[i].manifest);
                buffer_done(&j.ranks[i].values);
                free(j.ranks[i].image);
                free(j.ranks[i].sums);
        }
        close(j.dirfd);
        return r < 0 ? complain(argv[2], &d, r) : 0;
}

static int command_verify(int argc, char **argv)
{
        _cleanup_(diag_done) struct diag d = {0};
        _cleanup_(stored_freep) struct stored *s = NULL;
        struct stored_check how = {.io = &io_real};
        int r;

        (void)argc;
        how.dirfd = open(argv[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (how.dirfd < 0)
                return complain(argv[0], NULL, -errno);
        r = stored_open(&io_real, how.dirfd, argv[1], &s, &d);
        if (r >= 0)
                r = stored_verify(s, &how, &d);
        close(how.dirfd);
        if (r < 0)
                return complain(argv[1], &d, r);
        for (size_t i = 0; i < s->n_tensors; i++)
                printf("%s\n", s->tensors[i].name);
        return 0;
}

static int read_input(struct buffer *ret)
{
        char piece[4096];
        size_t n;
        int r = 0;

        while (r >= 0 && (n = fread(piece, 1, sizeof(piece), stdin)) > 0)
                r = buffer_append(ret, piece, n);
        return r;
}

static int command_state(int argc, char **argv)
{
        _cleanup_(diag_done) struct diag d = {0};
        _cleanup_(buffer_done) struct buffer text = {0}, out = {0};
        _cleanup_(state_file_done) struct state_file f = {0};
        int r = read_input(&text);

        (void)argc;
        (void)argv;
        if (r >= 0)
                r = state_file_parse((const char *)text.data, text.len, &f, &d);
        if (r >= 0)
                r = state_file_format(&f, &out);
        if (r < 0)
                return complain("state", &d, r);
        fwrite(out.data, 1, out.len, stdout);
        return 0;
}

static const struct command {
        const char *name;
        int min_args;
        int (*run)(int argc, char **argv);
} commands[] = {
        {"write", 5, command_write},
        {"verify", 2, command_verify},
        {"state", 0, command_state},
};

int main(int argc, char **argv)
{
        for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
                if (argc >= 2 + commands[i].min_args && strcmp(argv[1], commands[i].name) == 0)
                        return commands[i].run(argc - 2, argv + 2) < 0 ? 1 : 0;
        fprintf(stderr, "usage: write-checkpoint write|verify|state ...\n");
        return 2;
}
