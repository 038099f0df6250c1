/* The data files of one save while they are written, one a rank: from a slot's memory on the pool
 * for pieces, or in pieces as they come.  Owner: the save task, from its first piece to its end.
 * Nothing here is visible yet. */
#pragma once

#include "persist.h"
#include "store-save.h"
#include "sums.h"

#include <pthread.h>

struct shard_file {
        struct persist file;
        struct sums sums;
        size_t first_part; /* in store_pieces.parts */
        uint64_t
                front_bytes; /* the header and what shares its blocks: written last; 0: no header */
        uint8_t *front;      /* of front_bytes, from aligned memory */
        uint64_t n_given,
                n_summed; /* pieces: asked for, and taken into the sums; n_summed under lock */
        uint64_t end;     /* of the last piece; under lock */
};

struct store_pieces {
        pthread_mutex_t lock;
        pthread_cond_t turn;
        bool is_open; /* under lock, as all below */
        int r;        /* the first failure of a piece */
        size_t n;
        struct shard_file *shards;
        size_t n_parts; /* all files, for memory that is there at once */
        struct sums_part *parts;
        uint32_t *shard_of; /* each part's */
};

/* Allocates t->pieces; no file yet. */
int shards_new(struct store_save *t);
void shards_free(struct store_save *t);
/* Names, space, files; once. */
int shards_open(struct store_save *t, struct diag *d);
/* Writes all memory, with its sums. */
int shards_write(struct store *s, struct store_save *t, struct diag *d);
/* The sums are known: the headers, with the rest of their blocks. */
int shards_write_heads(struct store_save *t, struct diag *d);
void shards_describe(const struct store_save *t, struct format_shard *ret);

/* names.c: t->checkpoint->files and bytes; -EEXIST: a file of that name stands there and is not
 * replaced. */
int names_make(struct store_save *t, struct diag *d);
