/* A training job whose tensors another program gives: it saves the bytes of a file at one step, or
 * restores into that file.  One process is one rank.
 *
 *   arrays-job save|restore DIR JOB RANK WORLD STEP TENSORS DATA
 *
 * TENSORS has a line a tensor: dtype number, bytes, sizes, slice and name, with tabs between them;
 * sizes with commas, and both they and the slice may be empty.  DATA holds their bytes in that
 * order.  Prints "published STEP" or "restored STEP", or on standard error what went wrong. */
#include "ckpt.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TENSORS_MAX 64
#define RANK_MAX 8
#define LINE_MAX_BYTES 8192
#define FIELDS 5

struct job {
        size_t n;
        struct ckpt_tensor tensors[TENSORS_MAX];
        size_t bytes[TENSORS_MAX];
        int64_t dims[TENSORS_MAX][RANK_MAX];
};

static int add_tensor(struct job *j, char *line)
{
        struct ckpt_tensor *t = &j->tensors[j->n];
        char *fields[FIELDS], *dim;

        for (int i = 0; i < FIELDS; i++)
                if (!(fields[i] = strsep(&line, "\t\n")))
                        return -EINVAL;
        *t = (struct ckpt_tensor){.size = sizeof(*t), .dims = j->dims[j->n]};
        t->dtype = (enum ckpt_dtype)atoi(fields[0]);
        j->bytes[j->n] = strtoull(fields[1], NULL, 10);
        while (t->n_dims < RANK_MAX && (dim = strsep(&fields[2], ",")) && *dim)
                j->dims[j->n][t->n_dims++] = atoll(dim);
        t->slice = *fields[3] ? strdup(fields[3]) : NULL;
        t->name = strdup(fields[4]);
        t->data = calloc(1, j->bytes[j->n] + 1);
        j->n++;
        return t->name && t->data ? 0 : -ENOMEM;
}

static int read_tensors(struct job *j, const char *path)
{
        FILE *f = fopen(path, "re");
        char line[LINE_MAX_BYTES];
        int r = f ? 0 : -errno;

        while (r == 0 && fgets(line, sizeof(line), f))
                r = j->n < TENSORS_MAX ? add_tensor(j, line) : -E2BIG;
        if (f)
                fclose(f);
        return r;
}

static int move_data(struct job *j, const char *path, bool write)
{
        FILE *f = fopen(path, write ? "we" : "re");
        int r = f ? 0 : -errno;

        for (size_t i = 0; r == 0 && i < j->n; i++) {
                void *p = j->tensors[i].data;
                size_t n = write ? fwrite(p, 1, j->bytes[i], f) : fread(p, 1, j->bytes[i], f);

                r = n == j->bytes[i] ? 0 : -EIO;
        }
        if (f && fclose(f) != 0 && r == 0)
                r = -errno;
        return r;
}

static int save(struct ckpt *c, int64_t step)
{
        int r = ckpt_save(c, step);

        if (r >= 0)
                r = ckpt_wait(c, step);
        if (r >= 0)
                printf("published %lld\n", (long long)step);
        return r;
}

static int restore(struct ckpt *c)
{
        int64_t step = 0;
        int r = ckpt_restore(c, &step);

        if (r > 0)
                printf("restored %lld\n", (long long)step);
        return r;
}

static void job_done(struct job *j)
{
        for (size_t i = 0; i < j->n; i++) {
                free((char *)j->tensors[i].name);
                free((char *)j->tensors[i].slice);
                free(j->tensors[i].data);
        }
}

int main(int argc, char **argv)
{
        struct ckpt_options o = {.size = sizeof(o)};
        struct job j = {.n = 0};
        struct ckpt *c = NULL;
        bool saves;
        int r;

        if (argc != 9)
                return 2;
        saves = strcmp(argv[1], "save") == 0;
        o.model_dir = argv[2];
        o.job = argv[3];
        o.rank = atoi(argv[4]);
        o.world_size = atoi(argv[5]);
        r = read_tensors(&j, argv[7]);
        if (r == 0 && saves)
                r = move_data(&j, argv[8], false);
        if (r == 0)
                r = ckpt_attach(&c, &o, j.tensors, j.n);
        if (r >= 0)
                r = saves ? save(c, atoll(argv[6])) : restore(c);
        if (r >= 0 && !saves)
                r = move_data(&j, argv[8], true);
        if (r < 0)
                fprintf(stderr, "arrays-job: %s\n", c ? ckpt_error(c) : strerror(-r));
        ckpt_free(c);
        job_done(&j);
        return r < 0;
}
