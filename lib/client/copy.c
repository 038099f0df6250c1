#include "copy.h"

#include <stdint.h>
#include <string.h>
#include <time.h>

#define LINE_BYTES 64

#ifdef __x86_64__

#include <immintrin.h>

#define PAGE_LENGTH 4096
#define PAGES 4 /* streams at once: each page is a stream of its own to the memory */
#define BLOCK_BYTES ((size_t)PAGES * PAGE_LENGTH)
#define AHEAD_BYTES 1024

/* What comes before dst's first whole line. */
static size_t head_bytes(const void *dst, size_t n)
{
        size_t head = -(uintptr_t)dst % LINE_BYTES;

        return head < n ? head : n;
}

/* Each copies whole blocks, four pages side by side, and asks for the same place of the next
 * block. */
__attribute__((target("avx512f"))) static void pages_512(uint8_t *d, const uint8_t *s, size_t n)
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

__attribute__((target("avx"))) static void pages_256(uint8_t *d, const uint8_t *s, size_t n)
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

/* Each copies whole blocks from their first to their last byte. */
__attribute__((target("avx"))) static void lines_256(uint8_t *d, const uint8_t *s, size_t n)
{
        for (size_t i = 0; i < n; i += LINE_BYTES) {
                __m256i a = _mm256_loadu_si256((const void *)(s + i));
                __m256i b = _mm256_loadu_si256((const void *)(s + i + 32));

                _mm_prefetch((const char *)s + i + AHEAD_BYTES, _MM_HINT_NTA);
                _mm256_stream_si256((void *)(d + i), a);
                _mm256_stream_si256((void *)(d + i + 32), b);
        }
}

static void lines_128(uint8_t *d, const uint8_t *s, size_t n)
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
        lines_128(d + head + blocks, s + head + blocks, lines);
        head += blocks + lines;
        memcpy(d + head, s + head, n - head);
}

static void copy_pages_512(void *dst, const void *src, size_t n)
{
        copy_by(pages_512, dst, src, n);
}

static void copy_pages_256(void *dst, const void *src, size_t n)
{
        copy_by(pages_256, dst, src, n);
}

static void copy_lines_256(void *dst, const void *src, size_t n)
{
        copy_by(lines_256, dst, src, n);
}

static void copy_lines_128(void *dst, const void *src, size_t n)
{
        copy_by(lines_128, dst, src, n);
}

static bool has_512(void)
{
        return __builtin_cpu_supports("avx512f");
}

static bool has_256(void)
{
        return __builtin_cpu_supports("avx");
}

static bool has_128(void)
{
        return true;
}

const struct copy_way copy_ways[] = {
        {"avx512 pages", copy_pages_512, has_512},
        {"avx pages", copy_pages_256, has_256},
        {"avx lines", copy_lines_256, has_256},
        {"sse2 lines", copy_lines_128, has_128},
        {NULL, NULL, NULL},
};

#else

static void copy_plain(void *dst, const void *src, size_t n)
{
        memcpy(dst, src, n);
}

static bool has_plain(void)
{
        return true;
}

const struct copy_way copy_ways[] = {
        {"memcpy", copy_plain, has_plain},
        {NULL, NULL, NULL},
};

#endif

/* ---- which way is the fastest here ---- */

static size_t list_ways(const struct copy_way **ret)
{
        size_t n = 0;

        for (const struct copy_way *w = copy_ways; w->name; w++)
                if (w->is_supported())
                        ret[n++] = w;
        return n;
}

int64_t copy_now_ns(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void choose(struct copier *c, const struct copy_way *const *ways, size_t n)
{
        size_t best = 0;

        for (size_t i = 1; i < n; i++)
                if (atomic_load(&c->least_ns[i]) < atomic_load(&c->least_ns[best]))
                        best = i;
        atomic_store(&c->chosen, ways[best]->copy);
}

/* Each way has its turns; its best one counts, since a turn may be interrupted. */
static void try_next(struct copier *c, void *dst, const void *src)
{
        const struct copy_way *ways[COPY_WAYS_MAX];
        size_t n = list_ways(ways), k;
        unsigned trial = atomic_fetch_add(&c->n_trials, 1);
        uint64_t ns, least;
        int64_t since = copy_now_ns();

        k = trial % n;
        ways[k]->copy(dst, src, COPY_TRIAL_BYTES);
        copy_fence();
        ns = (uint64_t)(copy_now_ns() - since);
        least = atomic_load(&c->least_ns[k]);
        if (least == 0 || ns < least)
                atomic_store(&c->least_ns[k], ns);
        if (trial + 1 == COPY_TRIALS * n)
                choose(c, ways, n);
}

void copier_copy(struct copier *c, void *dst, const void *src, size_t n)
{
        const struct copy_way *first[COPY_WAYS_MAX];
        copy_fn copy = atomic_load_explicit(&c->chosen, memory_order_relaxed);

        for (; !copy && n >= COPY_TRIAL_BYTES; n -= COPY_TRIAL_BYTES) {
                try_next(c, dst, src);
                dst = (uint8_t *)dst + COPY_TRIAL_BYTES;
                src = (const uint8_t *)src + COPY_TRIAL_BYTES;
                copy = atomic_load_explicit(&c->chosen, memory_order_relaxed);
        }
        if (!copy) {
                list_ways(first); /* one at least is supported */
                copy = first[0]->copy;
        }
        copy(dst, src, n);
}

void copy_fence(void)
{
#ifdef __x86_64__
        _mm_sfence();
#endif
}
