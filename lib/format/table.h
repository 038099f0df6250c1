/* The sorted string table that a TensorBundle's index is (tsl/lib/io/table*, a LevelDB dialect).
 * The writer gives byte for byte what TensorFlow's builder gives; the reader takes a whole file
 * in memory, checks every sum and accounts for every byte.  Pure: no disk. */
#pragma once

#include "buffer.h"
#include "diag.h"

#include <stdbool.h>

#define TABLE_BLOCK_BYTES 262144
#define TABLE_FOOTER_BYTES 48
#define TABLE_MAGIC 0xdb4775248b80fb57ull

struct table_block { /* a block being built */
        struct buffer bytes;
        struct buffer restarts; /* fixed32 each, without the first, which is 0 */
        struct buffer last_key;
        uint32_t n_restarts; /* the first included */
        uint32_t counter;    /* entries since the last restart */
        uint32_t interval;
};

struct table_writer { /* embedded: table_writer_init, table_writer_done */
        struct buffer out;
        struct table_block data, index;
        uint64_t pending_offset, pending_bytes; /* block that is written but not indexed */
        bool has_pending;
        uint64_t n_entries;
};

void table_writer_init(struct table_writer *w);
void table_writer_done(struct table_writer *w);
/* Keys must grow, bytewise: else -EINVAL. */
int table_writer_add(struct table_writer *w, const void *key, size_t key_len, const void *value,
                     size_t value_len);
/* Moves the file's bytes to ret (empty before). */
int table_writer_finish(struct table_writer *w, struct buffer *ret);

struct table_entry {
        const uint8_t *key, *value; /* valid during the call */
        size_t key_len, value_len;
};

typedef int (*table_visit)(const struct table_entry *e, void *user);

/* Calls visit for every entry in order, until it answers negative.  -EBADMSG: damaged, the
 * reason (in TensorFlow's words where it has them) in d.  Blocks may be compressed with snappy. */
int table_read(const void *file, size_t n, table_visit visit, void *user, struct diag *d);

/* bytewise order of keys */
int table_compare(const void *a, size_t a_len, const void *b, size_t b_len);
