#include "sums.h"

#include "crc32c.h"

#include <errno.h>

uint64_t sums_count(uint64_t bytes)
{
        return bytes / SUMS_PIECE_BYTES + (bytes % SUMS_PIECE_BYTES > 0);
}

void sums_cut(struct sums_part *parts, uint64_t bytes)
{
        for (uint64_t offset = 0; offset < bytes; offset += SUMS_PIECE_BYTES) {
                uint64_t rest = bytes - offset;

                *parts++ = (struct sums_part){
                        .offset = offset,
                        .bytes = rest < SUMS_PIECE_BYTES ? rest : SUMS_PIECE_BYTES,
                };
        }
}

static const struct tensor *tensor_at(const struct sums *s, size_t i)
{
        return &s->manifest->tensors[s->order[i]];
}

static uint64_t end_of(const struct tensor *t)
{
        return (uint64_t)t->offset + t->bytes;
}

static int by_offset(const void *a, const void *b, void *user)
{
        const struct manifest *m = user;
        int64_t x = m->tensors[*(const uint32_t *)a].offset,
                y = m->tensors[*(const uint32_t *)b].offset;

        return x < y ? -1 : x > y;
}

int sums_init(struct sums *s, const struct manifest *m)
{
        *s = (struct sums){.manifest = m};
        s->order = calloc(m->n > 0 ? m->n : 1, sizeof(*s->order));
        if (!s->order)
                return -ENOMEM;
        for (size_t i = 0; i < m->n; i++)
                if (m->tensors[i].offset >= 0 && m->tensors[i].bytes > 0)
                        s->order[s->n++] = (uint32_t)i;
        qsort_r(s->order, s->n, sizeof(*s->order), by_offset, (void *)m);
        return 0;
}

void sums_done(struct sums *s)
{
        free(s->order);
        *s = (struct sums){0};
}

/* The first tensor that ends behind `offset`. */
static size_t first_behind(const struct sums *s, uint64_t offset)
{
        size_t low = 0, high = s->n;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (end_of(tensor_at(s, middle)) > offset)
                        high = middle;
                else
                        low = middle + 1;
        }
        return low;
}

/* Continues crc over what the tensor has in the part. */
static uint32_t sum_within(const struct tensor *t, const struct sums_part *part, const void *memory,
                           uint32_t crc)
{
        uint64_t begin = (uint64_t)t->offset > part->offset ? (uint64_t)t->offset : part->offset;
        uint64_t end = part->offset + part->bytes;

        if (end_of(t) < end)
                end = end_of(t);
        return crc32c_extend(crc, (const uint8_t *)memory + (begin - part->offset), end - begin);
}

void sums_piece(const struct sums *s, struct sums_part *part, const void *memory, uint32_t *crc32c)
{
        uint64_t end = part->offset + part->bytes;

        part->head = part->tail = 0;
        for (size_t i = first_behind(s, part->offset); i < s->n; i++) {
                const struct tensor *t = tensor_at(s, i);
                uint32_t crc;

                if ((uint64_t)t->offset >= end)
                        return;
                crc = sum_within(t, part, memory, 0);
                if ((uint64_t)t->offset < part->offset)
                        part->head = crc;
                else if (end_of(t) > end)
                        part->tail = crc;
                else
                        crc32c[s->order[i]] = crc;
        }
}

static uint32_t join_tensor(const struct tensor *t, const struct sums_part *part)
{
        uint32_t crc = part->tail;

        while (end_of(t) > part->offset + part->bytes) {
                uint64_t left;

                part++;
                left = end_of(t) - part->offset;
                crc = crc32c_combine(crc, part->head, left < part->bytes ? left : part->bytes);
        }
        return crc;
}

void sums_join(const struct sums *s, const struct sums_part *parts, size_t n, uint32_t *crc32c)
{
        for (size_t i = 0, k = 0; i < s->n; i++) {
                const struct tensor *t = tensor_at(s, i);

                while (k < n && parts[k].offset + parts[k].bytes <= (uint64_t)t->offset)
                        k++;
                if (k < n && end_of(t) > parts[k].offset + parts[k].bytes)
                        crc32c[s->order[i]] = join_tensor(t, &parts[k]);
        }
}

void sums_extend(const struct sums *s, const struct sums_part *part, const void *memory,
                 uint32_t *crc32c)
{
        for (size_t i = first_behind(s, part->offset); i < s->n; i++) {
                const struct tensor *t = tensor_at(s, i);

                if ((uint64_t)t->offset >= part->offset + part->bytes)
                        return;
                crc32c[s->order[i]] = sum_within(t, part, memory, crc32c[s->order[i]]);
        }
}
