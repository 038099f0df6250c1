#include "store-kept.h"

#include "scan.h"
#include "small-file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>

#define ALIGN_BYTES 4096

/* ---- directory and store ---- */

void kept_make(struct kept *k, const char *base)
{
        const char *tmp = getenv("TMPDIR");

        *k = (struct kept){.io = &io_real};
        snprintf(k->path, sizeof(k->path), "%s/ckptd-store-XXXXXX",
                 base  ? base
                 : tmp ? tmp
                       : "/tmp");
        assert_non_null(mkdtemp(k->path));
        sem_init(&k->woken, 0, 0);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        (void)st;
        (void)type;
        (void)ftw;
        return remove(path);
}

void kept_remove(struct kept *k)
{
        nftw(k->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        sem_destroy(&k->woken);
}

static void wake(void *user)
{
        sem_post(&((struct kept *)user)->woken);
}

void kept_start(struct kept *k, const struct io *io)
{
        struct store_options o = {.io = io, .wake = wake, .user = k};

        k->io = io;
        assert_int_equal(store_new(&k->store, &o), 0);
}

void kept_stop(struct kept *k)
{
        store_dir_close(take_ptr(k->dir));
        store_open_done(&k->open);
        store_free(take_ptr(k->store));
}

int kept_setup(void **state)
{
        struct kept *k = calloc(1, sizeof(*k));

        assert_non_null(k);
        kept_make(k, NULL);
        kept_start(k, &io_real);
        *state = k;
        return 0;
}

int kept_teardown(void **state)
{
        struct kept *k = *state;

        kept_stop(k);
        kept_remove(k);
        free(k);
        return 0;
}

void kept_wait(struct kept *k, const bool *done)
{
        while (!*done) {
                store_reap(k->store);
                if (!*done)
                        sem_wait(&k->woken);
        }
}

/* ---- opening ---- */

static void opened(struct store_open *o)
{
        *(bool *)o->user = true;
}

int kept_open_with(struct kept *k, struct store_open task)
{
        bool done = false;

        store_dir_close(take_ptr(k->dir));
        store_open_done(&k->open);
        k->open = task;
        k->open.done = opened;
        k->open.user = &done;
        store_open_dir(k->store, &k->open);
        kept_wait(k, &done);
        k->dir = k->open.dir;
        return k->open.r;
}

int kept_open_evicting(struct kept *k, const struct store_evicting *e)
{
        return kept_open_with(
                k, (struct store_open){.path = k->path, .fd = -1, .n_evicting = 1, .evicting = e});
}

int kept_open(struct kept *k)
{
        return kept_open_with(
                k, (struct store_open){.path = k->path, .fd = -1, .socket = "/run/test"});
}

int kept_again(struct kept *k)
{
        kept_stop(k);
        kept_start(k, &io_real);
        return kept_open(k);
}

/* ---- states ---- */

void kept_state_make(struct kept_state *s, const struct format *f, const uint64_t *elements,
                     size_t n)
{
        json_t *list = json_array();
        size_t bytes;

        for (size_t i = 0; i < n; i++) {
                char name[32];

                snprintf(name, sizeof(name), "t%zu", i);
                json_array_append_new(list, json_pack("{s:s, s:s, s:[I]}", "name", name, "dtype",
                                                      "float32", "shape", (json_int_t)elements[i]));
        }
        assert_int_equal(manifest_from_json(list, &s->manifest, NULL), 0);
        json_decref(list);
        assert_int_equal(f->layout(s->manifest, 1, NULL), 0);
        bytes = (s->manifest->bytes / ALIGN_BYTES + 1) * ALIGN_BYTES;
        s->memory = aligned_alloc(ALIGN_BYTES, bytes);
        s->crc32c = calloc(n + 1, sizeof(*s->crc32c));
        assert_true(s->memory && s->crc32c);
        memset(s->memory, 0, bytes);
        kept_state_fill(s, 1);
}

void kept_state_fill(struct kept_state *s, unsigned seed)
{
        for (size_t i = 0; i < s->manifest->n; i++) {
                const struct tensor *t = &s->manifest->tensors[i];

                for (uint64_t b = 0; b < t->bytes; b++)
                        s->memory[(uint64_t)t->offset + b] =
                                (uint8_t)(seed = seed * 1103515245u + 12345u);
        }
}

void kept_state_done(struct kept_state *s)
{
        manifest_free(s->manifest);
        free(s->memory);
        free(s->crc32c);
        *s = (struct kept_state){0};
}

struct checkpoint *kept_checkpoint(const char *name, int64_t step, int64_t save_id)
{
        struct checkpoint *c = calloc(1, sizeof(*c));

        assert_non_null(c);
        c->name = strdup(name);
        c->format = strdup("tensorbundle");
        c->step = step;
        c->sequence = save_id;
        c->save_id = save_id;
        c->run = 1;
        return c;
}

/* ---- operations ---- */

static void saved(struct store_save *t)
{
        *(bool *)t->user = true;
}

int kept_save(struct kept *k, struct store_save *t)
{
        bool done = false;

        t->dir = k->dir;
        t->done = saved;
        t->user = &done;
        store_save_start(k->store, t);
        kept_wait(k, &done);
        return t->r;
}

int kept_save_step(struct kept *k, const struct format *f, int64_t step)
{
        static const uint64_t elements[] = {10, 1, 0, 300};
        struct kept_state state;
        char name[64];
        struct checkpoint *c;
        int r;

        snprintf(name, sizeof(name), "model.ckpt-%lld", (long long)step);
        c = kept_checkpoint(name, step, step + 1);
        free(c->format);
        c->format = strdup(f->name);
        kept_state_make(&state, f, elements, ARRAY_SIZE(elements));
        struct store_shard shard = {
                .manifest = state.manifest, .memory = state.memory, .crc32c = state.crc32c};
        struct store_save t = {.format = f, .checkpoint = c, .n_shards = 1, .shards = &shard};
        r = kept_save(k, &t);
        diag_done(&t.diag);
        kept_state_done(&state);
        checkpoint_free(c);
        return r;
}

static void evicted(struct store_evict *t)
{
        *(bool *)t->user = true;
}

int kept_evict(struct kept *k, const struct checkpoint *c)
{
        bool done = false;
        struct store_evict t = {.dir = k->dir, .checkpoint = c, .done = evicted, .user = &done};

        store_evict_start(k->store, &t);
        kept_wait(k, &done);
        diag_done(&t.diag);
        return t.r;
}

static void checked(struct store_check *t)
{
        *(bool *)t->user = true;
}

int kept_verify(struct kept *k, const char *name)
{
        bool done = false;
        struct store_check t = {.dir = k->dir, .name = name, .done = checked, .user = &done};

        store_check_start(k->store, &t);
        kept_wait(k, &done);
        if (t.r < 0)
                print_message("%s\n", diag_text(&t.diag, t.r));
        store_check_done(&t);
        return t.r;
}

/* ---- files ---- */

static void in_directory(const struct kept *k, const char *name,
                         char out[static 2 * KEPT_PATH_BYTES])
{
        snprintf(out, 2 * KEPT_PATH_BYTES, "%s/%s", k->path, name);
}

void kept_put(struct kept *k, const char *name, const char *text)
{
        char path[2 * KEPT_PATH_BYTES];
        FILE *f;

        in_directory(k, name, path);
        f = fopen(path, "w");
        assert_non_null(f);
        assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
        assert_int_equal(fclose(f), 0);
}

bool kept_has(struct kept *k, const char *name)
{
        char path[2 * KEPT_PATH_BYTES];

        in_directory(k, name, path);
        return access(path, F_OK) == 0;
}

char *kept_get(struct kept *k, const char *name)
{
        char path[2 * KEPT_PATH_BYTES];
        struct buffer text = {0};
        int fd, r;

        in_directory(k, name, path);
        fd = open(k->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(fd >= 0);
        r = small_file_read(&io_real, (struct place){fd, name}, 1 << 20, &text);
        close(fd);
        return r < 0 ? NULL : buffer_take(&text);
}

static size_t count_in(struct kept *k, const char *folder, const char *prefix)
{
        char path[2 * KEPT_PATH_BYTES];
        struct scan names = {0};
        size_t n = 0;
        int fd;

        in_directory(k, folder, path);
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return 0;
        assert_int_equal(scan_load(&io_real, fd, &names), 0);
        close(fd);
        for (size_t i = 0; i < names.n; i++)
                if (strncmp(names.names[i].text, prefix, strlen(prefix)) == 0)
                        n++;
        scan_done(&names);
        return n;
}

size_t kept_debris(struct kept *k)
{
        return count_in(k, ".", TEMPORARY_PREFIX) + count_in(k, ".ckptd", TEMPORARY_PREFIX) +
               count_in(k, ".ckptd/checkpoints", TEMPORARY_PREFIX) +
               count_in(k, ".ckptd/replaced", "");
}
