#include "part-read.h"

#include "crc32c.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#define THREADS_MAX 64

struct run { /* what one piece has of one part */
        size_t part;
        uint64_t offset; /* in the file */
        uint32_t n;
        uint32_t crc32c;
};

struct piece { /* of a file, at a multiple of PART_READ_PIECE_BYTES */
        size_t file;
        size_t first_run, n_runs;
};

struct crew {
        struct part_reading *reading;
        struct run *runs;
        struct piece *pieces;
        size_t n_pieces;
        uint64_t total;
        atomic_size_t next;
        atomic_uint_fast64_t done; /* bytes */
        atomic_int error;
        pthread_mutex_t lock; /* of d */
        struct diag *d;
};

struct hand { /* one thread */
        struct crew *crew;
        uint8_t *memory; /* a piece, aligned */
        size_t file;     /* that fd is of */
        int fd;          /* -1: none open */
        bool direct;     /* is fd? */
        bool no_direct;  /* it was refused once */
};

bool part_read_is_there(const struct stored *s, const struct stored_part *part)
{
        const struct stored_file *f = &s->files[part->file];

        return !f->missing && part->offset <= f->bytes && part->bytes <= f->bytes - part->offset;
}

static int compare_parts(const void *a, const void *b)
{
        const struct stored_part *x = ((const struct part_read *)a)->part;
        const struct stored_part *y = ((const struct part_read *)b)->part;

        if (x->file != y->file)
                return x->file < y->file ? -1 : 1;
        return (x->offset > y->offset) - (x->offset < y->offset);
}

static uint64_t piece_of(uint64_t offset)
{
        return offset / PART_READ_PIECE_BYTES;
}

static size_t count_runs(const struct part_reading *r)
{
        size_t n = 0;

        for (size_t i = 0; i < r->n; i++) {
                const struct stored_part *p = r->parts[i].part;

                if (p->bytes > 0)
                        n += piece_of(p->offset + p->bytes - 1) - piece_of(p->offset) + 1;
        }
        return n;
}

/* Adds a run to the last piece, or begins a new one. */
static void add_run(struct crew *c, size_t *n_runs, const struct run *run, size_t file)
{
        struct piece *last = c->n_pieces > 0 ? &c->pieces[c->n_pieces - 1] : NULL;

        if (!last || last->file != file ||
            piece_of(c->runs[last->first_run].offset) != piece_of(run->offset)) {
                last = &c->pieces[c->n_pieces++];
                *last = (struct piece){.file = file, .first_run = *n_runs};
        }
        last->n_runs++;
        c->runs[(*n_runs)++] = *run;
}

static int plan(struct crew *c)
{
        struct part_reading *r = c->reading;
        size_t total_runs, n_runs = 0;

        if (r->n > 1)
                qsort(r->parts, r->n, sizeof(*r->parts), compare_parts);
        total_runs = count_runs(r);
        c->runs = calloc(total_runs + 1, sizeof(*c->runs));
        c->pieces = calloc(total_runs + 1, sizeof(*c->pieces));
        if (!c->runs || !c->pieces)
                return -ENOMEM;
        for (size_t i = 0; i < r->n; i++) {
                const struct stored_part *p = r->parts[i].part;
                uint64_t end = p->offset + p->bytes;

                r->parts[i].first_run = n_runs;
                for (uint64_t at = p->offset, next; at < end; at = next) {
                        next = (piece_of(at) + 1) * PART_READ_PIECE_BYTES;
                        if (next > end)
                                next = end;
                        add_run(c, &n_runs, &(struct run){i, at, (uint32_t)(next - at), 0},
                                p->file);
                }
                r->parts[i].n_runs = n_runs - r->parts[i].first_run;
                c->total += p->bytes;
        }
        return 0;
}

static void close_file(struct hand *h)
{
        if (h->fd >= 0)
                h->crew->reading->how->io->close(h->fd);
        h->fd = -1;
}

static int open_file(struct hand *h, size_t file)
{
        const struct stored_check *how = h->crew->reading->how;
        const char *name = h->crew->reading->stored->files[file].name;

        if (h->fd >= 0 && h->file == file)
                return 0;
        close_file(h);
        h->direct = !h->no_direct;
        if (h->direct) {
                h->fd = io_open(how->io, how->dirfd, name, O_RDONLY | O_DIRECT);
                if (h->fd < 0 && errno == EINVAL) {
                        h->no_direct = true;
                        h->direct = false;
                }
        }
        if (!h->direct)
                h->fd = io_open(how->io, how->dirfd, name, O_RDONLY);
        h->file = file;
        return h->fd < 0 ? -errno : 0;
}

/* Reads up to `want` bytes, of which `need` must be there. */
static int read_once(struct hand *h, uint8_t *to, size_t want, size_t need, uint64_t offset)
{
        const struct io *io = h->crew->reading->how->io;
        size_t done = 0;

        while (done < need) {
                ssize_t n = io->pread(h->fd, to + done, want - done, (off_t)(offset + done));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        return -ENODATA;
                done += (size_t)n;
        }
        return 0;
}

/* What a file system does not read directly is read through the page cache. */
static int read_range(struct hand *h, uint8_t *to, size_t want, size_t need, uint64_t offset)
{
        int r = read_once(h, to, want, need, offset);
        size_t file = h->file;

        if (r != -EINVAL || !h->direct)
                return r;
        h->no_direct = true;
        close_file(h);
        r = open_file(h, file);
        return r < 0 ? r : read_once(h, to, want, need, offset);
}

static int fail(struct crew *c, size_t file, int r, uint64_t from, uint64_t end)
{
        const char *name = c->reading->stored->files[file].name;

        pthread_mutex_lock(&c->lock);
        if (atomic_load(&c->error) == 0) {
                if (r == -ENODATA)
                        r = diag_set(c->d, -EBADMSG, "%s: became shorter than %" PRIu64 " bytes",
                                     name, end);
                else
                        diag_set(c->d, r, "%s: bytes %" PRIu64 " to %" PRIu64 ": %s", name, from,
                                 end, strerror(-r));
                atomic_store(&c->error, r);
        }
        pthread_mutex_unlock(&c->lock);
        return r;
}

/* The caller's memory, if the piece is of one part and needs no bytes around it. */
static uint8_t *place_for(struct crew *c, const struct piece *p, uint64_t from, uint64_t end)
{
        const struct run *run = &c->runs[p->first_run];
        const struct part_read *part = &c->reading->parts[run->part];
        uint8_t *at;

        if (!c->reading->place || p->n_runs != 1 || run->offset != from ||
            run->offset + run->n != end)
                return NULL;
        at = c->reading->place(part, from - part->part->offset, c->reading->user);
        return (uintptr_t)at % PART_READ_ALIGNMENT == 0 ? at : NULL;
}

/* Sums the piece's runs and hands them over.  bytes: what the file has from `from` on. */
static void take_runs(struct crew *c, const struct piece *p, const uint8_t *bytes, uint64_t from)
{
        const struct part_reading *r = c->reading;
        uint64_t n = 0;

        for (size_t i = 0; i < p->n_runs; i++) {
                struct run *run = &c->runs[p->first_run + i];
                const struct part_read *part = &r->parts[run->part];
                const uint8_t *at = bytes + (run->offset - from);

                run->crc32c = crc32c_extend(0, at, run->n);
                if (r->take)
                        r->take(part, run->offset - part->part->offset, at, run->n, r->user);
                n += run->n;
        }
        n += atomic_fetch_add(&c->done, n);
        if (r->how->progress)
                r->how->progress(n, c->total, r->how->user);
}

static int read_piece(struct hand *h, const struct piece *p)
{
        struct crew *c = h->crew;
        const struct run *first = &c->runs[p->first_run], *last = first + p->n_runs - 1;
        uint64_t end = last->offset + last->n;
        uint64_t from = first->offset & ~(uint64_t)(PART_READ_ALIGNMENT - 1);
        uint64_t want =
                (end - from + PART_READ_ALIGNMENT - 1) & ~(uint64_t)(PART_READ_ALIGNMENT - 1);
        uint8_t *to = place_for(c, p, from, from + want);
        int r = open_file(h, p->file);

        if (!to)
                to = h->memory;
        if (r >= 0)
                r = read_range(h, to, want, end - from, from);
        if (r < 0)
                return fail(c, p->file, r, from, end);
        take_runs(c, p, to, from);
        return 0;
}

static void *work(void *user)
{
        struct crew *c = user;
        struct hand h = {.crew = c, .fd = -1};
        size_t i;

        h.memory = aligned_alloc(PART_READ_PIECE_BYTES, PART_READ_PIECE_BYTES);
        if (!h.memory) {
                atomic_store(&c->error, -ENOMEM);
                return NULL;
        }
        madvise(h.memory, PART_READ_PIECE_BYTES, MADV_HUGEPAGE); /* one run for the disk */
        while (atomic_load(&c->error) == 0) {
                i = atomic_fetch_add(&c->next, 1);
                if (i >= c->n_pieces || read_piece(&h, &c->pieces[i]) < 0)
                        break;
        }
        close_file(&h);
        free(h.memory);
        return NULL;
}

/* The caller works too; threads that cannot be had are done without. */
static void run_crew(struct crew *c)
{
        size_t n = c->reading->how->n_threads ? c->reading->how->n_threads : PART_READ_THREADS;
        pthread_t threads[THREADS_MAX];
        sigset_t all, before;
        size_t started = 0;

        if (n > c->n_pieces)
                n = c->n_pieces;
        if (n > THREADS_MAX)
                n = THREADS_MAX;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        while (started + 1 < n && pthread_create(&threads[started], NULL, work, c) == 0)
                started++;
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        work(c);
        for (size_t i = 0; i < started; i++)
                pthread_join(threads[i], NULL);
}

static void join_sums(struct crew *c)
{
        for (size_t i = 0; i < c->reading->n; i++) {
                struct part_read *p = &c->reading->parts[i];

                p->crc32c = 0;
                for (size_t k = 0; k < p->n_runs; k++) {
                        const struct run *run = &c->runs[p->first_run + k];

                        p->crc32c = crc32c_combine(p->crc32c, run->crc32c, run->n);
                }
        }
}

int part_read_run(struct part_reading *r, struct diag *d)
{
        struct crew c = {.reading = r, .lock = PTHREAD_MUTEX_INITIALIZER, .d = d};
        int k = plan(&c);

        if (k >= 0 && c.n_pieces > 0) {
                run_crew(&c);
                k = atomic_load(&c.error);
        }
        if (k >= 0)
                join_sums(&c);
        pthread_mutex_destroy(&c.lock);
        free(c.runs);
        free(c.pieces);
        return k;
}
