/* One value of a bundle's index, checked: what its protobuf says, in numbers that can be trusted
 * not to overflow.  Used by the reader of bundles alone; pure. */
#pragma once

#include "bundle.pb-c.h"
#include "diag.h"
#include "dtype.h"
#include "table.h"

#define BUNDLE_ARENA_BYTES 8192

struct bundle_arena { /* memory for one message at a time */
        ProtobufCAllocator allocator;
        size_t used;
        _Alignas(16) uint8_t bytes[BUNDLE_ARENA_BYTES];
};

struct bundle_entry {
        const struct dtype *dtype;
        int n_dims;
        int64_t *dims;
        uint64_t count; /* elements */
        uint32_t shard;
        uint64_t offset, bytes;
        uint32_t crc32c;        /* unmasked */
        Bundle__Entry *message; /* in the arena, for its slices */
};

void bundle_arena_init(struct bundle_arena *a);

/* name: for texts.  e: zeroed.  -EBADMSG.  Also after failure: bundle_entry_done. */
int bundle_entry_parse(struct bundle_arena *a, const struct table_entry *value, const char *name,
                       struct bundle_entry *e, struct diag *d);
void bundle_entry_done(struct bundle_arena *a, struct bundle_entry *e);

/* The value of the first key.  -EBADMSG. */
int bundle_header_parse(struct bundle_arena *a, const struct table_entry *value,
                        uint32_t *ret_n_shards, struct diag *d);
