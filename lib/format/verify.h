/* What verifying and fetching say about a part whose sum is wrong. */
#pragma once

#include "damage.h"
#include "stored.h"

/* "FILE: TENSOR (float32 [4096,1024], bytes A to B): crc32c is X, the index says Y"; B is the
 * first byte behind the tensor. */
void verify_tell_sum(struct damage *g, const struct stored *s, const struct stored_tensor *t,
                     const struct stored_part *part, uint32_t crc32c);
