#include "copy.h"

#include <stdint.h>
#include <string.h>

#define LINE_BYTES 64

static void copy_plain(void *dst, const void *src, size_t n)
{
        memcpy(dst, src, n);
}

static bool has_plain(void)
{
        return true;
}

#ifdef __x86_64__

#include <immintrin.h>

#define PAGE_LENGTH 4096
#define PAGES 4 /* streams at once: each page is a stream of its own to the memory */
#define BLOCK_BYTES ((size_t)PAGES * PAGE_LENGTH)

/* What comes before dst's first whole line. */
static size_t head_bytes(const void *dst, size_t n)
{
        size_t head = -(uintptr_t)dst % LINE_BYTES;

        return head < n ? head : n;
}

/* Each copies whole blocks, four pages side by side, and asks for the same place of the next
 * block. */
__attribute__((target("avx512f"))) static void stream_512(uint8_t *d, const uint8_t *s, size_t n)
{
        for (size_t block = 0; block < n; block += BLOCK_BYTES) {
                for (size_t i = block; i < block + PAGE_LENGTH; i += (size_t)2 * LINE_BYTES) {
                        __m512i v[PAGES * 2];

                        for (size_t p = 0; p < PAGES; p++) {
                                const uint8_t *from = s + i + p * PAGE_LENGTH;

                                _mm_prefetch((const char *)from + BLOCK_BYTES, _MM_HINT_T0);
                                _mm_prefetch((const char *)from + BLOCK_BYTES + LINE_BYTES,
                                             _MM_HINT_T0);
                                v[2 * p] = _mm512_loadu_si512(from);
                                v[2 * p + 1] = _mm512_loadu_si512(from + LINE_BYTES);
                        }
                        for (size_t p = 0; p < PAGES; p++) {
                                uint8_t *to = d + i + p * PAGE_LENGTH;

                                _mm512_stream_si512((void *)to, v[2 * p]);
                                _mm512_stream_si512((void *)(to + LINE_BYTES), v[2 * p + 1]);
                        }
                }
        }
}

__attribute__((target("avx"))) static void stream_256(uint8_t *d, const uint8_t *s, size_t n)
{
        for (size_t block = 0; block < n; block += BLOCK_BYTES) {
                for (size_t i = block; i < block + PAGE_LENGTH; i += LINE_BYTES) {
                        __m256i v[PAGES * 2];

                        for (size_t p = 0; p < PAGES; p++) {
                                const uint8_t *from = s + i + p * PAGE_LENGTH;

                                _mm_prefetch((const char *)from + BLOCK_BYTES, _MM_HINT_T0);
                                v[2 * p] = _mm256_loadu_si256((const void *)from);
                                v[2 * p + 1] = _mm256_loadu_si256((const void *)(from + 32));
                        }
                        for (size_t p = 0; p < PAGES; p++) {
                                uint8_t *to = d + i + p * PAGE_LENGTH;

                                _mm256_stream_si256((void *)to, v[2 * p]);
                                _mm256_stream_si256((void *)(to + 32), v[2 * p + 1]);
                        }
                }
        }
}

static void stream_128(uint8_t *d, const uint8_t *s, size_t n)
{
        for (size_t block = 0; block < n; block += BLOCK_BYTES) {
                for (size_t i = block; i < block + PAGE_LENGTH; i += LINE_BYTES) {
                        __m128i v[PAGES * 4];

                        for (size_t p = 0; p < PAGES; p++) {
                                const uint8_t *from = s + i + p * PAGE_LENGTH;

                                _mm_prefetch((const char *)from + BLOCK_BYTES, _MM_HINT_T0);
                                for (size_t k = 0; k < 4; k++)
                                        v[4 * p + k] =
                                                _mm_loadu_si128((const void *)(from + k * 16));
                        }
                        for (size_t p = 0; p < PAGES; p++)
                                for (size_t k = 0; k < 4; k++)
                                        _mm_stream_si128((void *)(d + i + p * PAGE_LENGTH + k * 16),
                                                         v[4 * p + k]);
                }
        }
}

/* What no block is left for, line by line. */
static void stream_lines(uint8_t *d, const uint8_t *s, size_t n)
{
        for (size_t i = 0; i < n; i += 16)
                _mm_stream_si128((void *)(d + i), _mm_loadu_si128((const void *)(s + i)));
}

static void copy_by(void (*stream)(uint8_t *, const uint8_t *, size_t), void *dst, const void *src,
                    size_t n)
{
        uint8_t *d = dst;
        const uint8_t *s = src;
        size_t head = head_bytes(dst, n), blocks, lines;

        if (n < COPY_STREAM_BYTES) {
                memcpy(d, s, n);
                return;
        }
        blocks = (n - head) / BLOCK_BYTES * BLOCK_BYTES;
        lines = (n - head - blocks) / LINE_BYTES * LINE_BYTES;
        memcpy(d, s, head);
        stream(d + head, s + head, blocks);
        stream_lines(d + head + blocks, s + head + blocks, lines);
        head += blocks + lines;
        memcpy(d + head, s + head, n - head);
}

static void copy_512(void *dst, const void *src, size_t n)
{
        copy_by(stream_512, dst, src, n);
}

static void copy_256(void *dst, const void *src, size_t n)
{
        copy_by(stream_256, dst, src, n);
}

static void copy_128(void *dst, const void *src, size_t n)
{
        copy_by(stream_128, dst, src, n);
}

static bool has_512(void)
{
        return __builtin_cpu_supports("avx512f");
}

static bool has_256(void)
{
        return __builtin_cpu_supports("avx");
}

#endif

const struct copy_way copy_ways[] = {
#ifdef __x86_64__
        {"avx512", copy_512, has_512},     {"avx", copy_256, has_256},
        {"sse2", copy_128, has_plain},
#endif
        {"memcpy", copy_plain, has_plain}, {NULL, NULL, NULL},
};

copy_fn copy_pick(void)
{
        const struct copy_way *w = copy_ways;

        while (!w->is_supported())
                w++;
        return w->copy;
}

void copy_fence(void)
{
#ifdef __x86_64__
        _mm_sfence();
#endif
}
