/* The limits that memory sets, as bare loops: the fastest streaming copy and the fastest copy that
 * sums crc32c on the way. Each is the best of several ways, found by trying them on the very memory
 * that is measured. Nothing here comes from the project's own copy. */
#pragma once

#include <stdint.h>

typedef void (*bench_copy_fn)(uint8_t *dst, const uint8_t *src, uint64_t n);

/* bytes a multiple of 64 KiB; both ends at page boundaries. */
bench_copy_fn bench_best_copy(uint8_t *dst, const uint8_t *src, uint64_t n);
bench_copy_fn bench_best_fused(uint8_t *dst, const uint8_t *src, uint64_t n);
double bench_time_copy(bench_copy_fn copy, uint8_t *dst, const uint8_t *src, uint64_t n);
/* One pass of crc32c. */
uint32_t bench_sum(const uint8_t *p, uint64_t n);

/* Warm memory of that many bytes: shared (a memfd) or private. */
uint8_t *bench_shared(uint64_t bytes);
uint8_t *bench_private(uint64_t bytes);
