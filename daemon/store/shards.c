#include "shards.h"

#include "op.h"
#include "units.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define FRONT_ALIGN_BYTES ((uint64_t)4096) /* of a header's last block, at least */
#define RESERVE_BYTES ((uint64_t)10 * 1024 * 1024 * 1024)
#define RESERVE_DIVISOR 20               /* 5% */
#define INDEX_ENTRY_BYTES ((uint64_t)64) /* of a tensor in an index, about, besides its name */

/* ---- the object ---- */

static int count_parts(struct store_save *t, struct store_pieces *p)
{
        for (size_t i = 0; i < t->n_shards; i++) {
                p->shards[i].first_part = p->n_parts;
                if (t->shards[i].memory)
                        p->n_parts += sums_count(t->shards[i].manifest->bytes);
        }
        p->parts = calloc(p->n_parts + 1, sizeof(*p->parts));
        p->shard_of = calloc(p->n_parts + 1, sizeof(*p->shard_of));
        if (!p->parts || !p->shard_of)
                return -ENOMEM;
        for (size_t i = 0; i < t->n_shards; i++) {
                size_t first = p->shards[i].first_part;
                size_t end = i + 1 < t->n_shards ? p->shards[i + 1].first_part : p->n_parts;

                if (t->shards[i].memory)
                        sums_cut(&p->parts[first], t->shards[i].manifest->bytes);
                for (size_t k = first; k < end; k++)
                        p->shard_of[k] = (uint32_t)i;
        }
        return 0;
}

int shards_new(struct store_save *t)
{
        struct store_pieces *p = calloc(1, sizeof(*p));
        int r;

        if (!p)
                return -ENOMEM;
        pthread_mutex_init(&p->lock, NULL);
        pthread_cond_init(&p->turn, NULL);
        t->pieces = p;
        p->shards = calloc(t->n_shards > 0 ? t->n_shards : 1, sizeof(*p->shards));
        r = p->shards ? 0 : -ENOMEM;
        for (; r == 0 && p->n < t->n_shards; p->n++) {
                struct store_shard *shard = &t->shards[p->n];

                p->shards[p->n].file.plain = p->shards[p->n].file.direct = -1;
                memset(shard->crc32c, 0, shard->manifest->n * sizeof(*shard->crc32c));
                t->total += shard->manifest->bytes;
                r = sums_init(&p->shards[p->n].sums, shard->manifest);
        }
        if (r == 0)
                r = count_parts(t, p);
        if (r < 0)
                shards_free(t);
        return r;
}

void shards_free(struct store_save *t)
{
        struct store_pieces *p = take_ptr(t->pieces);

        if (!p)
                return;
        for (size_t i = 0; i < p->n; i++) {
                if (p->shards[i].file.io)
                        persist_close(&p->shards[i].file);
                sums_done(&p->shards[i].sums);
                free(p->shards[i].front);
        }
        free(p->shards);
        free(p->parts);
        free(p->shard_of);
        pthread_cond_destroy(&p->turn);
        pthread_mutex_destroy(&p->lock);
        free(p);
}

/* ---- files ---- */

static uint64_t whole_blocks(uint64_t bytes, uint64_t block)
{
        return (bytes + block - 1) / block * block;
}

/* Data files, and an index and a record, whose sizes are not known yet.  No more than that: on a
 * full disk it must fit into what an evicted checkpoint of the same tensors leaves. */
static uint64_t count_needed(const struct store_save *t, uint64_t block)
{
        uint64_t needed = block, index = 0;

        for (size_t i = 0; i < t->n_shards; i++) {
                const struct manifest *m = t->shards[i].manifest;

                needed += whole_blocks(m->bytes, block);
                for (size_t k = 0; k < m->n; k++)
                        index += INDEX_ENTRY_BYTES + strlen(m->tensors[k].name);
        }
        return needed + whole_blocks(index, block);
}

static int check_space(struct store_save *t, struct diag *d)
{
        char needed_text[UNITS_TEXT_MAX], usable_text[UNITS_TEXT_MAX];
        uint64_t reserve = t->disk_reserve, usable, needed;
        struct store_space space;
        int r = directory_space(t->dir, &space);

        if (r < 0)
                return directory_failed(t->dir, d, r, "ask for free space");
        needed = count_needed(t, space.block_bytes);
        if (reserve == UINT64_MAX) {
                reserve = space.total_bytes / RESERVE_DIVISOR;
                reserve = reserve < RESERVE_BYTES ? reserve : RESERVE_BYTES;
        }
        /* Some file systems do not tell. */
        if (space.total_bytes == 0)
                return 0;
        usable = space.free_bytes > reserve ? space.free_bytes - reserve : 0;
        if (needed <= usable)
                return 0;
        t->short_of = needed + reserve - space.free_bytes;
        return diag_set(d, -ENOSPC,
                        "No space in %s: %s needed, %s usable (free less disk_reserve).",
                        t->dir->path, units_format_size(needed_text, needed),
                        units_format_size(usable_text, usable));
}

/* The header's blocks hold the first tensors' bytes too. */
static int make_front(struct shard_file *shard, const struct manifest *m)
{
        uint64_t align =
                shard->file.align > FRONT_ALIGN_BYTES ? shard->file.align : FRONT_ALIGN_BYTES;
        uint64_t bytes = (m->head_bytes + align - 1) / align * align;

        if (m->head_bytes == 0)
                return 0;
        shard->front = aligned_alloc(align, bytes);
        if (!shard->front)
                return -ENOMEM;
        memset(shard->front, 0, bytes);
        shard->front_bytes = bytes < m->bytes ? bytes : m->bytes;
        return 0;
}

int shards_open(struct store_save *t, struct diag *d)
{
        struct store_pieces *p = t->pieces;
        int r = directory_check(t->dir, d);

        if (r == 0)
                r = names_make(t, d);
        if (r == 0)
                r = check_space(t, d);
        if (r < 0)
                return r;
        for (size_t i = 0; i < p->n; i++) {
                char name[TEMPORARY_MAX];

                directory_temporary(name, t->checkpoint->save_id, i);
                r = persist_open(&p->shards[i].file, t->dir, name, t->shards[i].manifest->bytes);
                if (r == 0)
                        r = make_front(&p->shards[i], t->shards[i].manifest);
                if (r < 0)
                        return directory_failed(t->dir, d, r, "make a data file");
        }
        p->is_open = true;
        return 0;
}

/* ---- data ---- */

static void copy_to_front(struct shard_file *shard, uint64_t offset, uint64_t n, const void *memory)
{
        uint64_t end = offset + n < shard->front_bytes ? offset + n : shard->front_bytes;

        if (offset < end)
                memcpy(shard->front + offset, memory, end - offset);
}

/* What lies in the header's blocks waits for the header. */
static int write_piece(struct store_save *t, size_t i, uint64_t offset, uint64_t n,
                       const void *memory)
{
        struct shard_file *shard = &t->pieces->shards[i];
        uint64_t skip = offset < shard->front_bytes ? shard->front_bytes - offset : 0;
        int r = 0;

        copy_to_front(shard, offset, n, memory);
        if (skip < n)
                r = persist_write(&shard->file, (const uint8_t *)memory + skip, offset + skip,
                                  n - skip);
        if (r == 0)
                atomic_fetch_add(&t->written, n);
        return r;
}

static int write_part(void *user, size_t k, struct diag *d)
{
        struct store_save *t = user;
        size_t i = t->pieces->shard_of[k];
        struct sums_part *part = &t->pieces->parts[k];
        const uint8_t *memory = (const uint8_t *)t->shards[i].memory + part->offset;
        int r;

        sums_piece(&t->pieces->shards[i].sums, part, memory, t->shards[i].crc32c);
        r = write_piece(t, i, part->offset, part->bytes, memory);
        return r < 0 ? directory_failed(t->dir, d, r, "write a data file") : 0;
}

int shards_write(struct store *s, struct store_save *t, struct diag *d)
{
        struct store_pieces *p = t->pieces;
        int r = batch_run(s, p->n_parts, write_part, t, d);

        for (size_t i = 0; r == 0 && i < p->n; i++) {
                size_t first = p->shards[i].first_part;
                size_t end = i + 1 < p->n ? p->shards[i + 1].first_part : p->n_parts;

                sums_join(&p->shards[i].sums, &p->parts[first], end - first, t->shards[i].crc32c);
        }
        return r;
}

void shards_describe(const struct store_save *t, struct format_shard *ret)
{
        for (size_t i = 0; i < t->n_shards; i++)
                ret[i] = (struct format_shard){t->shards[i].manifest, t->shards[i].crc32c};
}

static int write_head(struct store_save *t, const struct format_checkpoint *c, size_t i,
                      struct diag *d)
{
        _cleanup_(buffer_done) struct buffer head = {0};
        struct shard_file *shard = &t->pieces->shards[i];
        uint64_t head_bytes = t->shards[i].manifest->head_bytes;
        int r;

        if (shard->front_bytes == 0)
                return 0;
        r = t->format->head(c, i, &head, d);
        if (r < 0)
                return r;
        if (head.len != head_bytes)
                return diag_set(d, -EPROTO, "the header of %s has %zu bytes, not %llu", c->name,
                                head.len, (unsigned long long)head_bytes);
        memcpy(shard->front, head.data, head.len);
        r = persist_write(&shard->file, shard->front, 0, shard->front_bytes);
        return r < 0 ? directory_failed(t->dir, d, r, "write a data file's header") : 0;
}

int shards_write_heads(struct store_save *t, struct diag *d)
{
        _cleanup_(freep) struct format_shard *shards = calloc(t->n_shards + 1, sizeof(*shards));
        struct format_checkpoint c = {t->checkpoint->name, t->checkpoint->step, t->n_shards,
                                      shards};
        int r = 0;

        if (!shards)
                return -ENOMEM;
        if (!t->format->head)
                return 0;
        shards_describe(t, shards);
        for (size_t i = 0; r == 0 && i < t->n_shards; i++)
                r = write_head(t, &c, i, d);
        return r;
}

/* ---- pieces as they come ---- */

static void fail_piece(struct store_piece *piece, int r)
{
        struct store_pieces *p = piece->save->pieces;

        piece->r = r;
        if (!p)
                return;
        pthread_mutex_lock(&p->lock);
        if (p->r == 0)
                p->r = r;
        pthread_cond_broadcast(&p->turn);
        pthread_mutex_unlock(&p->lock);
}

/* The sums need the order in which the pieces were given, the writes do not. */
static int wait_for_turn(struct store_piece *piece, struct shard_file *shard)
{
        struct store_pieces *p = piece->save->pieces;
        int r;

        pthread_mutex_lock(&p->lock);
        if (!p->is_open && p->r == 0)
                p->r = shards_open(piece->save, &piece->diag);
        while (p->r == 0 && shard->n_summed != piece->turn)
                pthread_cond_wait(&p->turn, &p->lock);
        r = p->r;
        if (r == 0 && piece->offset < shard->end)
                r = -EINVAL;
        pthread_mutex_unlock(&p->lock);
        return r;
}

static void end_turn(struct store_piece *piece, struct shard_file *shard)
{
        struct store_pieces *p = piece->save->pieces;

        pthread_mutex_lock(&p->lock);
        shard->n_summed++;
        shard->end = piece->offset + piece->bytes;
        pthread_cond_broadcast(&p->turn);
        pthread_mutex_unlock(&p->lock);
}

static int take_piece(struct store_piece *piece)
{
        struct store_save *t = piece->save;
        struct shard_file *shard = &t->pieces->shards[piece->shard];
        struct sums_part part = {.offset = piece->offset, .bytes = piece->bytes};
        uint64_t end;
        int r;

        if (__builtin_add_overflow(piece->offset, piece->bytes, &end) ||
            end > t->shards[piece->shard].manifest->bytes)
                return diag_set(&piece->diag, -EINVAL, "a piece lies outside its file");
        r = wait_for_turn(piece, shard);
        if (r < 0)
                return r;
        sums_extend(&shard->sums, &part, piece->memory, t->shards[piece->shard].crc32c);
        end_turn(piece, shard);
        r = write_piece(t, piece->shard, piece->offset, piece->bytes, piece->memory);
        return r < 0 ? directory_failed(t->dir, &piece->diag, r, "write a data file") : 0;
}

static void piece_run(struct store *s, void *task)
{
        struct store_piece *piece = task;
        int r = take_piece(piece);

        (void)s;
        piece->r = 0;
        if (r < 0)
                fail_piece(piece, r);
}

static void piece_fail(void *task, int r)
{
        fail_piece(task, r);
}

static void piece_done(void *task)
{
        struct store_piece *piece = task;

        piece->done(piece);
}

void store_save_piece(struct store *s, struct store_piece *p)
{
        static const struct op_kind kind = {OP_NORMAL, piece_run, piece_fail, piece_done};
        int r = p->save->pieces ? 0 : shards_new(p->save);

        if (r == 0 && p->shard >= p->save->n_shards)
                r = -EINVAL;
        if (r < 0) {
                fail_piece(p, r);
                p->done(p);
                return;
        }
        p->turn = p->save->pieces->shards[p->shard].n_given++;
        op_start(s, &kind, p);
}
