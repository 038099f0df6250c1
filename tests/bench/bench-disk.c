#include "bench-disk.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define TRIES 2 /* of each length of a piece */

struct transfer {
        int fd;
        uint8_t *memory;
        uint64_t bytes, piece_bytes;
        bool write;
        atomic_uint_fast64_t next;
};

static void move_piece(struct transfer *t, uint64_t at)
{
        uint64_t end = at + t->piece_bytes < t->bytes ? at + t->piece_bytes : t->bytes;

        while (at < end) {
                ssize_t n = t->write ? pwrite(t->fd, t->memory + at, end - at, (off_t)at)
                                     : pread(t->fd, t->memory + at, end - at, (off_t)at);

                if (n <= 0)
                        bench_fail("%s: %s", t->write ? "pwrite" : "pread",
                                   n ? strerror(errno) : "nothing moved");
                at += (uint64_t)n;
        }
}

static void *move_pieces(void *user)
{
        struct transfer *t = user;
        uint64_t at;

        while ((at = atomic_fetch_add(&t->next, t->piece_bytes)) < t->bytes)
                move_piece(t, at);
        return NULL;
}

static void move_all(struct transfer *t, unsigned depth)
{
        pthread_t threads[1 << (DISK_DEPTHS - 1)];

        for (unsigned i = 1; i < depth; i++)
                if (pthread_create(&threads[i], NULL, move_pieces, t))
                        bench_fail("no thread");
        move_pieces(t);
        for (unsigned i = 1; i < depth; i++)
                pthread_join(threads[i], NULL);
}

static int open_direct(const char *path, int flags)
{
        int fd = open(path, flags | O_DIRECT | O_CLOEXEC, 0600);

        if (fd < 0 && errno == EINVAL)
                fd = open(path, flags | O_CLOEXEC, 0600);
        return bench_check(fd, path);
}

double disk_write(const char *path, const void *p, uint64_t bytes, const struct disk_way *way)
{
        struct transfer t = {.memory = (uint8_t *)p,
                             .bytes = bytes,
                             .piece_bytes = way->piece_bytes,
                             .write = true};
        double start = bench_now();

        t.fd = open_direct(path, O_WRONLY | O_CREAT | O_TRUNC);
        if (fallocate(t.fd, 0, 0, (off_t)bytes) < 0)
                bench_check(ftruncate(t.fd, (off_t)bytes), path);
        move_all(&t, way->depth);
        bench_check(fdatasync(t.fd), path);
        close(t.fd);
        return bench_now() - start;
}

double disk_read(const char *path, void *p, uint64_t bytes, const struct disk_way *way)
{
        struct transfer t = {.memory = p, .bytes = bytes, .piece_bytes = way->piece_bytes};
        double start = bench_now();

        t.fd = open_direct(path, O_RDONLY);
        move_all(&t, way->depth);
        close(t.fd);
        return bench_now() - start;
}

typedef void (*round_fn)(struct disk_series *s, const char *path, void *p, uint64_t bytes);

static void round_write(struct disk_series *s, const char *path, void *p, uint64_t bytes)
{
        disk_round_write(s, path, p, bytes);
}

static uint64_t try_pieces(round_fn round, const char *path, void *p, uint64_t bytes)
{
        static const uint64_t pieces[] = {1 << 19, 1 << 20, 1 << 22, 1 << 24, 1 << 26};
        uint64_t best = 0;
        double best_seconds = 0;

        for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
                struct disk_series s = {.piece_bytes = pieces[i]};
                double seconds;

                for (int k = 0; k < TRIES; k++)
                        round(&s, path, p, bytes);
                seconds = disk_best(s.seconds);
                if (best && seconds >= best_seconds)
                        continue;
                best = pieces[i];
                best_seconds = seconds;
        }
        return best;
}

void disk_try_write(struct disk_series *s, const char *path, const void *p, uint64_t bytes)
{
        s->piece_bytes = try_pieces(round_write, path, (void *)p, bytes);
}

void disk_try_read(struct disk_series *s, const char *path, void *p, uint64_t bytes)
{
        s->piece_bytes = try_pieces(disk_round_read, path, p, bytes);
}

void disk_round_write(struct disk_series *s, const char *path, const void *p, uint64_t bytes)
{
        for (unsigned i = 0; i < DISK_DEPTHS; i++) {
                const struct disk_way way = {1U << i, s->piece_bytes};
                double cpu;

                bench_quiet();
                cpu = bench_own_cpu();
                bench_add(&s->seconds[i], disk_write(path, p, bytes, &way));
                bench_add(&s->cpu[i], bench_own_cpu() - cpu);
                bench_check(unlink(path), path);
        }
}

void disk_round_read(struct disk_series *s, const char *path, void *p, uint64_t bytes)
{
        for (unsigned i = 0; i < DISK_DEPTHS; i++) {
                const struct disk_way way = {1U << i, s->piece_bytes};
                double cpu;

                bench_quiet();
                cpu = bench_own_cpu();
                bench_add(&s->seconds[i], disk_read(path, p, bytes, &way));
                bench_add(&s->cpu[i], bench_own_cpu() - cpu);
        }
}

double disk_best(const struct bench_series *of_depths)
{
        double best = bench_median(&of_depths[0]);

        for (unsigned i = 1; i < DISK_DEPTHS; i++)
                if (bench_median(&of_depths[i]) < best)
                        best = bench_median(&of_depths[i]);
        return best;
}
