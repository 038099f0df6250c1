/* String and variant tensors as a bundle stores them: lengths and a sum of their own before the
 * bytes (tensorflow/core/util/tensor_bundle).  Pure, but for strings_load. */
#pragma once

#include "damage.h"
#include "stored.h"

#define STRINGS_MAX_BYTES (1LL << 31) /* of one tensor */

struct strings_view {         /* of n elements in someone else's bytes */
        uint64_t *lengths;    /* malloc'ed */
        const uint8_t *bytes; /* of all, one behind the other */
        uint64_t total;       /* bytes of all */
        uint32_t crc32c;      /* of the whole tensor, as its entry has it */
};

/* A string tensor of n elements.  -EBADMSG, the reason in d. */
int strings_parse(const void *p, uint64_t bytes, uint64_t n, struct strings_view *ret,
                  struct diag *d);
/* The entry's sum of a variant tensor.  -EBADMSG. */
int strings_sum_variants(const void *p, uint64_t bytes, uint64_t n, uint32_t *ret, struct diag *d);
/* Reads one part into memory.  -EFBIG; -EBADMSG: the file is too short. */
int strings_load(const struct stored *s, const struct stored_check *how,
                 const struct stored_part *part, struct buffer *ret, struct diag *d);
/* Elements in this part. */
uint64_t strings_count(const struct stored_tensor *t, const struct stored_part *part);
