/* CRC-32C (Castagnoli), as every TensorFlow file and our safetensors carry it.  ISA-L computes;
 * joining the sums of pieces that were written out of order is ours. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Continues a finished sum (0 for nothing) over n more bytes. */
uint32_t crc32c_extend(uint32_t crc, const void *p, size_t n);
/* The sum of A followed by B, from the sums of each and B's length in bytes. */
uint32_t crc32c_combine(uint32_t a, uint32_t b, uint64_t b_bytes);
/* Masked, as TensorFlow stores sums (tsl/lib/hash/crc32c.h), and back. */
uint32_t crc32c_mask(uint32_t crc);
uint32_t crc32c_unmask(uint32_t masked);
