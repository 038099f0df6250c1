/* A training job for tests: its tensors are a pattern of step, rank and tensor, so that every byte
 * of a restored state can be checked.  One process is one rank.  Prints one line for each thing
 * that happens:
 *   attached | restored N | fresh | none-whole TEXT | begun N | handed N | kept N | published N |
 *   torn TENSOR | rolled-back N | described N | error TEXT | stop N | finished N
 * With --lives the state also tells which rollings-back and restores led to it: all ranks of a
 * checkpoint must tell the same.
 * With --follow it does what the lines of standard input say, says "ready" before and "done" after
 * each, and finishes when they end:
 *   train N (up to that step) | save | wait N | restore | stored | describe N (tensors) |
 *   again (attaches once more in this process; that one is used from then on) */
#include "ckpt.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MAX_TENSORS 1024
#define COUNT_STRIDE 8 /* counters of ranks, each on its own cache line */

static struct {
        const char *dir, *socket, *job, *values, *from, *together;
        long long rank, world, tensors, stride, jitter, steps, bytes, us, delay, drift;
        long long grow_at, save_at, save_every, hang_after, restore_at;
        long long roll_back_at, roll_back_to, roll_every, roll_by, first;
        bool fresh, read_only, overlap, shared, partial, no_restore, wait, no_finish;
        bool lives, odd_shape, odd_dtype, callback, follow;
        const char *policy;
} o = {.world = 1,
       .tensors = 3,
       .steps = 100,
       .bytes = 4096,
       .us = 1000,
       .stride = 1,
       .grow_at = -1,
       .save_at = -1,
       .roll_back_at = -1,
       .restore_at = -1,
       .hang_after = -1};

static const struct {
        const char *name;
        const char **text; /* one of the three */
        long long *number;
        bool *flag;
} options[] = {
        {"dir", .text = &o.dir},
        {"socket", .text = &o.socket},
        {"job", .text = &o.job},
        {"values", .text = &o.values}, /* of the policy: JSON */
        {"from", .text = &o.from},     /* restores this step or path */
        {"policy", .text = &o.policy}, /* its name */
        {"rank", .number = &o.rank},
        {"world", .number = &o.world},
        {"tensors", .number = &o.tensors},
        {"bytes", .number = &o.bytes}, /* of all tensors, about */
        {"steps", .number = &o.steps},
        {"stride", .number = &o.stride},
        {"us", .number = &o.us}, /* a step takes */
        {"jitter", .number = &o.jitter},
        {"delay", .number = &o.delay},     /* microseconds before attach */
        {"together", .text = &o.together}, /* a file by which the ranks wait for each other, */
        {"drift", .number = &o.drift},     /* so that none is further ahead than this */
        {"grow-at", .number = &o.grow_at},
        {"save-at", .number = &o.save_at},
        {"save-every", .number = &o.save_every},
        {"hang-after", .number = &o.hang_after},
        {"restore-at", .number = &o.restore_at},
        {"roll-back-at", .number = &o.roll_back_at},
        {"roll-back-to", .number = &o.roll_back_to},
        {"roll-every", .number = &o.roll_every}, /* again and again, --roll-by steps back */
        {"roll-by", .number = &o.roll_by},
        {"fresh", .flag = &o.fresh},
        {"read-only", .flag = &o.read_only},
        {"overlap", .flag = &o.overlap}, /* save_begin and save_end */
        {"shared", .flag = &o.shared},   /* all ranks name the same tensors */
        {"partial", .flag = &o.partial},
        {"no-restore", .flag = &o.no_restore},
        {"wait", .flag = &o.wait}, /* for its own saves to be published */
        {"no-finish", .flag = &o.no_finish},
        {"lives", .flag = &o.lives},
        {"odd-shape", .flag = &o.odd_shape}, /* of the first tensor */
        {"odd-dtype", .flag = &o.odd_dtype},
        {"callback", .flag = &o.callback}, /* the library has no memory of ours, and fetches */
        {"follow", .flag = &o.follow},
};
#define N_OPTIONS (sizeof(options) / sizeof(options[0]))

static struct ckpt_tensor tensors[MAX_TENSORS + 1];
static char names[MAX_TENSORS + 1][64];
static int64_t dims[MAX_TENSORS][1];
static int64_t step_now;
static uint64_t life_now;
static long long n_first;
static _Atomic int64_t *counts;

static uint64_t pattern(int64_t step, int tensor, size_t word)
{
        uint64_t rank = o.shared ? 0 : (uint64_t)o.rank;
        uint64_t x = (uint64_t)step * 0x9e3779b97f4a7c15 + rank * 1000003 +
                     (uint64_t)tensor * 8191 + word;

        return x ^ (x >> 29);
}

static size_t words(int tensor)
{
        return (size_t)(o.bytes / n_first / 8 + tensor % 3); /* whatever is described later */
}

static void fill(int64_t step)
{
        for (int t = 0; t < o.tensors; t++)
                for (size_t w = 0; w < words(t); w++)
                        ((uint64_t *)tensors[t].data)[w] = pattern(step, t, w);
}

static bool check(int64_t step)
{
        for (int t = 0; t < o.tensors; t++)
                for (size_t w = 0; w < words(t); w++)
                        if (((uint64_t *)tensors[t].data)[w] != pattern(step, t, w)) {
                                printf("torn %s at word %zu of step %lld\n", names[t], w,
                                       (long long)step);
                                return false;
                        }
        return true;
}

/* From here on the state is another one than any that had this step before. */
static void new_life(int64_t from)
{
        life_now = life_now * 1000003 + (uint64_t)from + 1;
}

static size_t n_tensors(void)
{
        return (size_t)o.tensors + o.lives;
}

static void make_life(void)
{
        char *name = names[o.tensors];

        snprintf(name, sizeof(names[0]), "rank_%lld/life", o.rank);
        tensors[o.tensors] = (struct ckpt_tensor){
                .size = sizeof(tensors[0]), .name = name, .dtype = CKPT_UINT64, .data = &life_now};
}

/* The tensor's bytes, as a job fetches them from a device. */
static int fetch(void *dst, const struct ckpt_tensor *t, void *user)
{
        memcpy(dst, user, (t->n_dims ? (size_t)t->dims[0] : 1) * 8);
        return 0;
}

/* What ckpt_attach is given. */
static const struct ckpt_tensor *offered(void)
{
        static struct ckpt_tensor fetched[MAX_TENSORS + 1];

        if (!o.callback)
                return tensors;
        for (size_t t = 0; t < n_tensors(); t++) {
                fetched[t] = tensors[t];
                fetched[t].data = NULL;
                fetched[t].copy = fetch;
                fetched[t].user = tensors[t].data;
        }
        return fetched;
}

static void make_tensors(int n)
{
        for (int t = 0; t < n; t++) {
                if (o.shared)
                        snprintf(names[t], sizeof(names[t]), "layer_%d/kernel", t);
                else
                        snprintf(names[t], sizeof(names[t]), "rank_%lld/layer_%d/kernel", o.rank,
                                 t);
                dims[t][0] = (int64_t)words(t) - (o.odd_shape && t == 0);
                if (tensors[t].data != &life_now)
                        free(tensors[t].data);
                tensors[t] = (struct ckpt_tensor){.size = sizeof(tensors[t]),
                                                  .name = names[t],
                                                  .dtype = o.odd_dtype && t == 0 ? CKPT_INT64
                                                                                 : CKPT_UINT64,
                                                  .n_dims = 1,
                                                  .dims = dims[t],
                                                  .data = calloc(words(t) + 1, 8)};
        }
        o.tensors = n;
        make_life();
}

static void pause_us(long long us)
{
        struct timespec t = {us / 1000000, us % 1000000 * 1000};

        if (us >= 50)
                nanosleep(&t, NULL);
        else
                for (volatile long long i = 0; i < us * 300; i++)
                        ;
}

static void say_error(struct ckpt *c, const char *what, int r)
{
        printf("error %s: %d (%s): %s\n", what, r, strerror(-r), ckpt_error(c));
}

static int restore(struct ckpt *c)
{
        int64_t step = 0;
        int r = o.from || o.partial
                        ? ckpt_restore_from(c, o.from, o.partial ? CKPT_RESTORE_PARTIAL : 0, &step)
                        : ckpt_restore(c, &step);

        if (r == -ENODATA)
                printf("none-whole %s\n", ckpt_error(c));
        else if (r < 0)
                say_error(c, "restore", r);
        else if (r == 0)
                printf("fresh\n");
        else if (o.partial || check(step))
                printf("restored %lld\n", (long long)step);
        step_now = r > 0 ? step : 0;
        if (r < 0 && check(0))
                printf("unchanged\n");
        if (r > 0)
                new_life(step);
        return r;
}

static void save_here(struct ckpt *c)
{
        int r = ckpt_save(c, step_now);

        if (r < 0)
                say_error(c, "save", r);
        else
                printf(r ? "kept %lld\n" : "handed %lld\n", (long long)step_now);
        if (!o.wait || r < 0)
                return;
        r = ckpt_wait(c, step_now);
        if (r < 0)
                say_error(c, "wait", r);
        else
                printf("published %lld\n", (long long)step_now);
}

static void grow(struct ckpt *c, int n)
{
        int r;

        make_tensors(n);
        fill(step_now);
        r = ckpt_describe(c, offered(), n_tensors());
        if (r < 0)
                say_error(c, "describe", r);
        else
                printf("described %lld\n", o.tensors);
}

static void overlapped(struct ckpt *c)
{
        int r = ckpt_due(c, step_now);

        if (r == 1 && (r = ckpt_save_begin(c, step_now)) >= 0) {
                printf("begun %lld\n", (long long)step_now);
                pause_us(o.us);
                r = ckpt_save_end(c);
                printf("handed %lld\n", (long long)step_now);
        }
        if (r < 0)
                say_error(c, "begin/end", r);
}

static void roll_back(long long to)
{
        step_now = to;
        new_life(to);
        printf("rolled-back %lld\n", to);
}

static void turn_back(struct ckpt *c)
{
        if (step_now == o.roll_back_at) {
                o.roll_back_at = -1;
                roll_back(o.roll_back_to);
        }
        if (o.roll_every && step_now >= o.first + o.roll_every) {
                o.first = step_now;
                roll_back(step_now > o.roll_by ? step_now - o.roll_by : 0);
        }
        if (step_now == o.restore_at) {
                o.restore_at = -1;
                restore(c);
        }
}

/* What a collective does: nobody gets far ahead of the others. */
static void keep_together(void)
{
        static int64_t n_done, allowed;
        int64_t least = INT64_MAX, n;

        if (!counts)
                return;
        atomic_store_explicit(&counts[o.rank * COUNT_STRIDE], ++n_done, memory_order_relaxed);
        while (n_done > allowed) {
                least = INT64_MAX;
                for (int i = 0; i < o.world; i++) {
                        n = atomic_load_explicit(&counts[i * COUNT_STRIDE], memory_order_relaxed);
                        least = n < least ? n : least;
                }
                allowed = least + o.drift;
                if (n_done > allowed)
                        sched_yield();
        }
}

static void open_counts(void)
{
        size_t bytes = (size_t)o.world * COUNT_STRIDE * sizeof(*counts);
        int fd = o.together ? open(o.together, O_RDWR | O_CREAT, 0600) : -1;

        if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
                return;
        counts = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (counts == MAP_FAILED)
                counts = NULL;
        close(fd);
}

static void train(struct ckpt *c)
{
        int r;

        while (step_now < o.steps) {
                turn_back(c);
                step_now += o.stride;
                keep_together();
                fill(step_now);
                pause_us(o.jitter ? o.us + rand() % (int)o.jitter : o.us);
                if (step_now == o.grow_at)
                        grow(c, (int)o.tensors * 2);
                if (o.overlap)
                        overlapped(c);
                else if ((r = ckpt_step(c, step_now)) < 0)
                        say_error(c, "step", r);
                else if (r == 1)
                        printf("handed %lld\n", (long long)step_now);
                if (step_now == o.save_at || (o.save_every && step_now % o.save_every == 0))
                        save_here(c);
                if (ckpt_should_stop(c, step_now)) {
                        printf("stop %lld\n", (long long)step_now);
                        break;
                }
                while (step_now == o.hang_after)
                        pause_us(1000000);
        }
        if (counts)
                atomic_store(&counts[o.rank * COUNT_STRIDE], INT64_MAX);
}

static int attach(struct ckpt **ret)
{
        const struct ckpt_options how = {.size = sizeof(how),
                                         .model_dir = o.dir,
                                         .socket = o.socket,
                                         .job = o.job,
                                         .policy = o.policy,
                                         .policy_values = o.values,
                                         .rank = (int)o.rank,
                                         .world_size = (int)o.world,
                                         .fresh = o.fresh,
                                         .read_only = o.read_only};
        int r = ckpt_attach(ret, &how, offered(), n_tensors());

        if (r < 0)
                say_error(*ret, "attach", r);
        else
                printf("attached %s\n", ckpt_messages(*ret));
        return r;
}

static void print_stored(struct ckpt *c)
{
        struct ckpt_tensor t;

        for (size_t i = 0; ckpt_stored(c, i, &t) == 0; i++) {
                printf("stored %s %d", t.name, (int)t.dtype);
                for (int k = 0; k < t.n_dims; k++)
                        printf(" %lld", (long long)t.dims[k]);
                printf("\n");
        }
}

static void wait_for(struct ckpt *c, long long step)
{
        int r = ckpt_wait(c, step);

        if (r < 0)
                say_error(c, "wait", r);
        else
                printf("published %lld\n", step);
}

static void obey(struct ckpt *c, const char *line)
{
        long long n;

        if (sscanf(line, "train %lld", &n) == 1) {
                o.steps = n;
                train(c);
        } else if (sscanf(line, "wait %lld", &n) == 1)
                wait_for(c, n);
        else if (sscanf(line, "describe %lld", &n) == 1)
                grow(c, (int)n);
        else if (!strcmp(line, "save\n"))
                save_here(c);
        else if (!strcmp(line, "restore\n"))
                restore(c);
        else if (!strcmp(line, "stored\n"))
                print_stored(c);
        else
                printf("what?\n");
}

/* The one that is used in the end; *first stays as it was. */
static struct ckpt *follow(struct ckpt *c, struct ckpt **first)
{
        char line[128];

        printf("ready\n");
        while (fgets(line, sizeof(line), stdin)) {
                if (!strcmp(line, "again\n") && !*first) {
                        *first = c;
                        attach(&c);
                } else {
                        obey(c, line);
                }
                printf("done\n");
        }
        return c;
}

static int parse(int argc, char **argv)
{
        struct option longs[N_OPTIONS + 1] = {0};
        int c, i;

        for (size_t k = 0; k < N_OPTIONS; k++)
                longs[k] = (struct option){.name = options[k].name, .has_arg = !options[k].flag};
        while ((c = getopt_long(argc, argv, "", longs, &i)) == 0) {
                if (options[i].text)
                        *options[i].text = optarg;
                else if (options[i].number)
                        *options[i].number = atoll(optarg);
                else
                        *options[i].flag = true;
        }
        return c == -1 && optind == argc && o.dir ? 0 : 2;
}

int main(int argc, char **argv)
{
        struct ckpt *c = NULL, *first = NULL;
        int r = parse(argc, argv);

        if (r)
                return r;
        setvbuf(stdout, NULL, _IOLBF, 0);
        srand((unsigned)o.rank + 1);
        n_first = o.tensors;
        make_tensors((int)o.tensors);
        fill(0);
        open_counts();
        pause_us(o.delay);
        if (attach(&c) < 0) {
                ckpt_free(c);
                return 1;
        }
        if (!o.no_restore && restore(c) < 0) {
                ckpt_free(c);
                return 3;
        }
        if (o.read_only) {
                ckpt_free(c);
                return 0;
        }
        if (step_now == 0 && ckpt_step(c, 0) == 1)
                printf("handed 0\n");
        if (o.follow)
                c = follow(c, &first);
        else
                train(c);
        if (!o.no_finish) {
                r = ckpt_finish(c, step_now);
                if (r < 0)
                        say_error(c, "finish", r);
                else
                        printf("finished %lld\n", (long long)step_now);
        }
        ckpt_free(c);
        ckpt_free(first);
        for (int t = 0; t < o.tensors; t++)
                free(tensors[t].data);
        return r < 0;
}
