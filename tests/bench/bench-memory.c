#include "bench-memory.h"

#include "bench.h"

#include <isa-l/crc.h>
#include <string.h>
#include <sys/mman.h>

#define LINE_BYTES 64
#define PAGE_LENGTH 4096
#define FUSED_BLOCK_BYTES ((uint64_t)32 << 10)
#define TRIES 3

static void keep_sum(uint32_t sum)
{
        __asm__ volatile("" : : "r"(sum));
}

uint32_t bench_sum(const uint8_t *p, uint64_t n)
{
        uint32_t sum = crc32_iscsi((unsigned char *)p, (int)n, 0xffffffff);

        keep_sum(sum);
        return sum;
}

static void copy_plain(uint8_t *dst, const uint8_t *src, uint64_t n)
{
        memcpy(dst, src, n);
}

#ifdef __x86_64__

#include <immintrin.h>

static void copy_rep(uint8_t *dst, const uint8_t *src, uint64_t n)
{
        __asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
}

__attribute__((target("avx2"))) static void stream_256(uint8_t *dst, const uint8_t *src, uint64_t n)
{
        for (uint64_t i = 0; i < n; i += LINE_BYTES) {
                __m256i a = _mm256_load_si256((const void *)(src + i));
                __m256i b = _mm256_load_si256((const void *)(src + i + 32));

                _mm256_stream_si256((void *)(dst + i), a);
                _mm256_stream_si256((void *)(dst + i + 32), b);
        }
        _mm_sfence();
}

__attribute__((target("avx2"))) static void stream_256_ahead(uint8_t *dst, const uint8_t *src,
                                                             uint64_t n)
{
        for (uint64_t i = 0; i < n; i += LINE_BYTES) {
                __m256i a = _mm256_load_si256((const void *)(src + i));
                __m256i b = _mm256_load_si256((const void *)(src + i + 32));

                _mm_prefetch((const char *)src + i + 1024, _MM_HINT_NTA);
                _mm256_stream_si256((void *)(dst + i), a);
                _mm256_stream_si256((void *)(dst + i + 32), b);
        }
        _mm_sfence();
}

__attribute__((target("avx512f"))) static void stream_512(uint8_t *dst, const uint8_t *src,
                                                          uint64_t n)
{
        for (uint64_t i = 0; i < n; i += (uint64_t)4 * LINE_BYTES) {
                __m512i v[4];

                for (int k = 0; k < 4; k++)
                        v[k] = _mm512_load_si512(src + i + k * LINE_BYTES);
                for (int k = 0; k < 4; k++)
                        _mm512_stream_si512((void *)(dst + i + k * LINE_BYTES), v[k]);
        }
        _mm_sfence();
}

/* PAGES pages side by side, AHEAD bytes asked for ahead. */
#define PAGED(name_, pages_, lines_, ahead_)                                                       \
        __attribute__((target("avx512f"))) static void name_(uint8_t *dst, const uint8_t *src,     \
                                                             uint64_t n)                           \
        {                                                                                          \
                for (uint64_t block = 0; block < n; block += (uint64_t)(pages_)*PAGE_LENGTH)       \
                        for (uint64_t i = block; i < block + PAGE_LENGTH;                          \
                             i += (uint64_t)(lines_)*LINE_BYTES)                                   \
                                for (uint64_t p = 0; p < (pages_); p++)                            \
                                        for (uint64_t k = 0; k < (lines_); k++) {                  \
                                                uint64_t at =                                      \
                                                        i + p * PAGE_LENGTH + k * LINE_BYTES;      \
                                                __m512i v = _mm512_load_si512(src + at);           \
                                                                                                   \
                                                if ((ahead_) > 0)                                  \
                                                        _mm_prefetch((const char *)src + at +      \
                                                                             (ahead_),             \
                                                                     _MM_HINT_T0);                 \
                                                _mm512_stream_si512((void *)(dst + at), v);        \
                                        }                                                          \
                _mm_sfence();                                                                      \
        }

PAGED(stream_2_pages, 2, 4, 0)
PAGED(stream_4_pages, 4, 2, 0)
PAGED(stream_8_pages, 8, 1, 0)
PAGED(stream_2_pages_ahead, 2, 4, 2 * PAGE_LENGTH)
PAGED(stream_4_pages_ahead, 4, 2, 4 * PAGE_LENGTH)
PAGED(stream_8_pages_ahead, 8, 2, 8 * PAGE_LENGTH)
PAGED(stream_1_page_ahead, 1, 4, 1024)

#endif

static const struct way {
        bench_copy_fn copy;
        int needs; /* 0, or bits of vectors */
} copy_ways[] = {
        {copy_plain, 0},
#ifdef __x86_64__
        {copy_rep, 0},
        {stream_256, 256},
        {stream_256_ahead, 256},
        {stream_512, 512},
        {stream_1_page_ahead, 512},
        {stream_2_pages, 512},
        {stream_4_pages, 512},
        {stream_8_pages, 512},
        {stream_2_pages_ahead, 512},
        {stream_4_pages_ahead, 512},
        {stream_8_pages_ahead, 512},
#endif
};

static bool has(int bits)
{
#ifdef __x86_64__
        if (bits == 512)
                return __builtin_cpu_supports("avx512f");
        if (bits == 256)
                return __builtin_cpu_supports("avx2");
#endif
        return bits == 0;
}

/* Sums a block, then copies it while it is in the cache. */
static void fused(bench_copy_fn copy, uint8_t *dst, const uint8_t *src, uint64_t n)
{
        uint32_t sum = 0xffffffff;

        for (uint64_t i = 0; i < n; i += FUSED_BLOCK_BYTES) {
                uint64_t some = n - i < FUSED_BLOCK_BYTES ? n - i : FUSED_BLOCK_BYTES;

                sum = crc32_iscsi((unsigned char *)(src + i), (int)some, sum);
                copy(dst + i, src + i, some);
        }
        keep_sum(sum);
}

static void fused_plain(uint8_t *dst, const uint8_t *src, uint64_t n)
{
        fused(copy_plain, dst, src, n);
}

#ifdef __x86_64__
static void fused_rep(uint8_t *dst, const uint8_t *src, uint64_t n)
{
        fused(copy_rep, dst, src, n);
}

static void fused_256(uint8_t *dst, const uint8_t *src, uint64_t n)
{
        fused(stream_256, dst, src, n);
}

static void fused_512(uint8_t *dst, const uint8_t *src, uint64_t n)
{
        fused(stream_512, dst, src, n);
}

static void fused_4_pages(uint8_t *dst, const uint8_t *src, uint64_t n)
{
        fused(stream_4_pages, dst, src, n);
}

/* Asks for the next block while this one is copied. */
static void fused_4_pages_ahead(uint8_t *dst, const uint8_t *src, uint64_t n)
{
        uint32_t sum = 0xffffffff;

        for (uint64_t i = 0; i < n; i += (uint64_t)4 * PAGE_LENGTH) {
                sum = crc32_iscsi((unsigned char *)(src + i), 4 * PAGE_LENGTH, sum);
                stream_4_pages_ahead(dst + i, src + i, (uint64_t)4 * PAGE_LENGTH);
        }
        keep_sum(sum);
}
#endif

static const struct way fused_ways[] = {
        {fused_plain, 0},
#ifdef __x86_64__
        {fused_rep, 0},       {fused_256, 256},           {fused_512, 512},
        {fused_4_pages, 512}, {fused_4_pages_ahead, 512},
#endif
};

double bench_time_copy(bench_copy_fn copy, uint8_t *dst, const uint8_t *src, uint64_t n)
{
        double start = bench_now();

        copy(dst, src, n);
        return bench_now() - start;
}

struct copied {
        uint8_t *dst;
        const uint8_t *src;
        uint64_t n;
};

static bench_copy_fn best(const struct way *ways, size_t n_ways, const struct copied *c)
{
        double best_seconds = 0;
        bench_copy_fn found = NULL;

        for (size_t i = 0; i < n_ways; i++) {
                struct bench_series s = {0};
                double seconds;

                if (!has(ways[i].needs))
                        continue;
                for (int k = 0; k < TRIES; k++)
                        bench_add(&s, bench_time_copy(ways[i].copy, c->dst, c->src, c->n));
                seconds = bench_median(&s);
                if (found && seconds >= best_seconds)
                        continue;
                best_seconds = seconds;
                found = ways[i].copy;
        }
        return found;
}

bench_copy_fn bench_best_copy(uint8_t *dst, const uint8_t *src, uint64_t n)
{
        return best(copy_ways, ARRAY_SIZE(copy_ways), &(struct copied){dst, src, n});
}

bench_copy_fn bench_best_fused(uint8_t *dst, const uint8_t *src, uint64_t n)
{
        return best(fused_ways, ARRAY_SIZE(fused_ways), &(struct copied){dst, src, n});
}

static uint8_t *map(int fd, int flags, uint64_t bytes)
{
        uint8_t *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);

        if (p == MAP_FAILED)
                bench_fail("no memory of %llu bytes", (unsigned long long)bytes);
        /* A fork, to start the daemon, would else make each page fault once more. */
        madvise(p, bytes, MADV_DONTFORK);
        memset(p, 1, bytes);
        return p;
}

uint8_t *bench_shared(uint64_t bytes)
{
        int fd = bench_check(memfd_create("bench", MFD_CLOEXEC), "memfd_create");
        uint8_t *p;

        bench_check(ftruncate(fd, (off_t)bytes), "ftruncate");
        p = map(fd, MAP_SHARED, bytes);
        close(fd);
        return p;
}

uint8_t *bench_private(uint64_t bytes)
{
        return map(-1, MAP_PRIVATE | MAP_ANONYMOUS, bytes);
}
