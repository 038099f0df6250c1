/* A model directory and a store of their own for every test of the store: made fresh, removed
 * after. Operations are waited for as the loop does it: woken, then reaped. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "directory.h"
#include "store.h"
#include "stored.h"

#include <semaphore.h>

#define KEPT_PATH_BYTES 256

struct kept {
        const struct io *io;
        char path[KEPT_PATH_BYTES];
        struct store *store;
        sem_t woken;
        struct store_dir *dir;
        struct store_open open; /* the last one */
};

/* The temporary directory lies under `base` (NULL: $TMPDIR or /tmp). */
void kept_make(struct kept *k, const char *base);
void kept_remove(struct kept *k);
void kept_start(struct kept *k, const struct io *io); /* a store */
void kept_stop(struct kept *k);                       /* closes the directory, frees the store */
int kept_setup(void **state);                         /* all three of it, for cmocka */
int kept_teardown(void **state);

/* Runs operations until *done. */
void kept_wait(struct kept *k, const bool *done);
/* Opens the directory; the result stands in k->open. */
int kept_open(struct kept *k);
int kept_open_with(struct kept *k, struct store_open task);
int kept_open_evicting(struct kept *k, const struct store_evicting *e);
/* Stops and starts the store and opens the directory again, as a new daemon does. */
int kept_again(struct kept *k);

/* What one rank has: n tensors "t0" … of these float32 elements, filled from a seed. */
struct kept_state {
        struct manifest *manifest;
        uint8_t *memory; /* aligned to 4096 */
        uint32_t *crc32c;
};
void kept_state_make(struct kept_state *s, const struct format *f, const uint64_t *elements,
                     size_t n);
void kept_state_fill(struct kept_state *s, unsigned seed);
void kept_state_done(struct kept_state *s);

struct checkpoint *kept_checkpoint(const char *name, int64_t step, int64_t save_id);
/* Saves one shard, or `task` as it is; waits. */
int kept_save(struct kept *k, struct store_save *task);
/* "model.ckpt-STEP" of a small state, as one call. */
int kept_save_step(struct kept *k, const struct format *f, int64_t step);
int kept_evict(struct kept *k, const struct checkpoint *c);
/* Reads every byte: 0 when whole. */
int kept_verify(struct kept *k, const char *name);

void kept_put(struct kept *k, const char *name, const char *text); /* a file within the directory */
bool kept_has(struct kept *k, const char *name);
char *kept_get(struct kept *k, const char *name); /* malloc'ed text */
/* Temporaries of ours anywhere, or anything in .ckptd/replaced. */
size_t kept_debris(struct kept *k);
