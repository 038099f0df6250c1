/* A save from complete slots to a published checkpoint: what is on disk afterwards, what a failure
 * leaves, what is never overwritten. */
#include "store-kept.h"

#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static const uint64_t elements[] = {10, 1, 0, 300};

/* A save of one small shard, owned by the test. */
struct save {
        struct kept_state state;
        struct checkpoint *checkpoint;
        struct store_shard shard;
        struct store_save task;
};

static void save_make(struct save *s, const struct format *f, const char *name, int64_t step)
{
        *s = (struct save){0};
        kept_state_make(&s->state, f, elements, ARRAY_SIZE(elements));
        s->checkpoint = kept_checkpoint(name, step, step + 1);
        s->shard = (struct store_shard){.manifest = s->state.manifest,
                                        .memory = s->state.memory,
                                        .crc32c = s->state.crc32c};
        s->task = (struct store_save){
                .format = f, .checkpoint = s->checkpoint, .n_shards = 1, .shards = &s->shard};
}

static void save_done(struct save *s)
{
        diag_done(&s->task.diag);
        kept_state_done(&s->state);
        checkpoint_free(s->checkpoint);
}

static void test_bundle(void **state)
{
        struct kept *k = *state;
        struct checkpoint *c = NULL;
        struct diag d = {0};
        struct save s;
        char *text;

        assert_int_equal(kept_open(k), 0);
        save_make(&s, &format_tensorbundle, "model.ckpt-7", 7);
        assert_int_equal(kept_save(k, &s.task), 0);
        assert_true(s.task.published);
        assert_int_equal(s.checkpoint->n_files, 2);
        assert_string_equal(s.checkpoint->files[0].name, "model.ckpt-7.data-00000-of-00001");
        assert_string_equal(s.checkpoint->files[1].name, "model.ckpt-7.index");
        assert_true(s.checkpoint->published_ms > 0);
        assert_int_equal(s.task.written, s.task.total);
        assert_int_equal(kept_verify(k, "model.ckpt-7"), 0);
        assert_int_equal(kept_debris(k), 0);
        text = kept_get(k, ".ckptd/checkpoints/model.ckpt-7.json");
        assert_non_null(text);
        assert_int_equal(record_parse(text, strlen(text), &c, &d), 0);
        assert_int_equal(c->state, CHECKPOINT_WHOLE);
        assert_int_equal(c->bytes, s.checkpoint->bytes);
        assert_null(c->replaces);
        free(text);
        checkpoint_free(c);
        save_done(&s);
}

static void test_safetensors(void **state)
{
        struct kept *k = *state;
        struct save s;

        assert_int_equal(kept_open(k), 0);
        save_make(&s, &format_safetensors, "net-3", 3);
        assert_int_equal(kept_save(k, &s.task), 0);
        assert_int_equal(s.checkpoint->n_files, 1);
        assert_true(kept_has(k, "net-3.safetensors"));
        assert_int_equal(kept_verify(k, "net-3"), 0);
        save_done(&s);
}

/* Shards of different contents, one index, every sum right. */
static void save_shards(struct kept *k, const struct format *f, const char *name, size_t n)
{
        struct kept_state *states = calloc(n, sizeof(*states));
        struct store_shard *shards = calloc(n, sizeof(*shards));
        struct checkpoint *c = kept_checkpoint(name, 5, 6);
        struct store_save t = {.format = f, .checkpoint = c, .n_shards = n, .shards = shards};

        for (size_t i = 0; i < n; i++) {
                char text[64];

                snprintf(text, sizeof(text),
                         "[{\"name\":\"r%zu\",\"dtype\":\"int8\",\"shape\":[%zu]}]", i,
                         1000 * i + 1);
                assert_int_equal(manifest_parse(text, strlen(text), &states[i].manifest, NULL), 0);
                assert_int_equal(f->layout(states[i].manifest, n, NULL), 0);
                states[i].memory = calloc(1, states[i].manifest->bytes + 1);
                states[i].crc32c = calloc(2, sizeof(uint32_t));
                kept_state_fill(&states[i], (unsigned)i + 7);
                shards[i] = (struct store_shard){.manifest = states[i].manifest,
                                                 .memory = states[i].memory,
                                                 .crc32c = states[i].crc32c};
        }
        assert_int_equal(kept_save(k, &t), 0);
        assert_int_equal(c->n_files, n + 1);
        assert_int_equal(kept_verify(k, name), 0);
        for (size_t i = 0; i < n; i++)
                kept_state_done(&states[i]);
        free(states);
        free(shards);
        checkpoint_free(c);
}

static void test_shards(void **state)
{
        struct kept *k = *state;

        assert_int_equal(kept_open(k), 0);
        save_shards(k, &format_tensorbundle, "model.ckpt-5", 8);
        assert_true(kept_has(k, "model.ckpt-5.data-00007-of-00008"));
        save_shards(k, &format_safetensors, "net-5", 3);
        assert_int_equal(kept_debris(k), 0);
}

/* Foreign files of the target's name stay as they are, and nothing else is left. */
static void test_foreign_target(void **state)
{
        struct kept *k = *state;
        struct save s;
        char *text;

        kept_put(k, "model.ckpt-7.index", "mine");
        assert_int_equal(kept_open(k), 0);
        save_make(&s, &format_tensorbundle, "model.ckpt-7", 7);
        assert_int_equal(kept_save(k, &s.task), -EEXIST);
        assert_non_null(strstr(s.task.diag.text, "model.ckpt-7.index exists"));
        assert_false(s.task.published);
        text = kept_get(k, "model.ckpt-7.index");
        assert_string_equal(text, "mine");
        free(text);
        assert_false(kept_has(k, "model.ckpt-7.data-00000-of-00001"));
        assert_false(kept_has(k, ".ckptd/checkpoints/model.ckpt-7.json"));
        assert_int_equal(kept_debris(k), 0);
        save_done(&s);
}

static void test_no_space(void **state)
{
        struct kept *k = *state;
        struct save s;

        assert_int_equal(kept_open(k), 0);
        save_make(&s, &format_tensorbundle, "model.ckpt-7", 7);
        s.task.disk_reserve = UINT64_MAX / 2;
        assert_int_equal(kept_save(k, &s.task), -ENOSPC);
        assert_non_null(strstr(s.task.diag.text, "No space in "));
        assert_non_null(strstr(s.task.diag.text, " needed, 0 B usable (free less disk_reserve)."));
        assert_int_equal(kept_debris(k), 0);
        save_done(&s);
}

static void test_vanished(void **state)
{
        struct kept *k = *state;
        struct save s;
        char command[2 * KEPT_PATH_BYTES];

        assert_int_equal(kept_open(k), 0);
        snprintf(command, sizeof(command), "rm -r '%s'", k->path);
        assert_int_equal(system(command), 0);
        save_make(&s, &format_tensorbundle, "model.ckpt-7", 7);
        assert_int_equal(kept_save(k, &s.task), -ENOENT);
        assert_non_null(strstr(s.task.diag.text, "has vanished"));
        save_done(&s);
}

/* ---- slots ---- */

static void test_slot_taken_back(void **state)
{
        struct kept *k = *state;
        struct page_slot slot = {.step = 7, .asked = 7};
        struct save s;

        assert_int_equal(kept_open(k), 0);
        save_make(&s, &format_tensorbundle, "model.ckpt-7", 7);
        s.shard.slot = &slot;
        atomic_store(&slot.owner, PAGE_FILLING);
        assert_int_equal(kept_save(k, &s.task), -ESTALE);
        assert_int_equal(kept_debris(k), 0);
        atomic_store(&slot.owner, PAGE_HELD);
        diag_done(&s.task.diag);
        s.task.total = 0;
        s.task.written = 0;
        assert_int_equal(kept_save(k, &s.task), 0);
        save_done(&s);
}

/* ---- replacing ---- */

static void test_replace(void **state)
{
        struct kept *k = *state;
        struct checkpoint *old;
        struct save s;

        assert_int_equal(kept_open(k), 0);
        save_make(&s, &format_tensorbundle, "model.ckpt-7", 7);
        assert_int_equal(kept_save(k, &s.task), 0);
        assert_int_equal(checkpoint_copy(&old, s.checkpoint), 0);
        /* Not without being told. */
        s.checkpoint->save_id = 90;
        assert_int_equal(kept_save(k, &s.task), -EEXIST);
        diag_done(&s.task.diag);
        kept_state_fill(&s.state, 99);
        s.task.replaces = old;
        assert_int_equal(kept_save(k, &s.task), 0);
        assert_int_equal(kept_verify(k, "model.ckpt-7"), 0);
        assert_int_equal(kept_debris(k), 0);
        assert_int_equal(kept_again(k), 0);
        assert_int_equal(k->open.history.n, 1);
        assert_int_equal(k->open.history.items[0]->save_id, 90);
        checkpoint_free(old);
        save_done(&s);
}

static void test_read_back(void **state)
{
        struct kept *k = *state;
        struct save s;

        assert_int_equal(kept_open(k), 0);
        save_make(&s, &format_tensorbundle, "model.ckpt-7", 7);
        s.task.read_back = true;
        assert_int_equal(kept_save(k, &s.task), 0);
        assert_int_equal(s.checkpoint->state, CHECKPOINT_WHOLE);
        save_done(&s);
}

/* ---- pieces ---- */

static void piece_done(struct store_piece *p)
{
        (*(unsigned *)p->user)++;
}

/* Several in flight, of odd sizes, and the header's blocks in two of them. */
static void save_in_pieces(struct kept *k, const struct format *f, const char *name, uint64_t step)
{
        struct store_piece pieces[64] = {0};
        unsigned n = 0, n_done = 0;
        struct save s;

        save_make(&s, f, name, 7);
        s.shard.memory = NULL;
        s.task.dir = k->dir;
        for (uint64_t offset = 0; offset < s.state.manifest->bytes; offset += step, n++) {
                uint64_t rest = s.state.manifest->bytes - offset;

                assert_true(n < ARRAY_SIZE(pieces));
                pieces[n] = (struct store_piece){.save = &s.task,
                                                 .offset = offset,
                                                 .bytes = rest < step ? rest : step,
                                                 .memory = s.state.memory + offset,
                                                 .done = piece_done,
                                                 .user = &n_done};
                store_save_piece(k->store, &pieces[n]);
        }
        while (n_done < n) {
                sem_wait(&k->woken);
                store_reap(k->store);
        }
        for (unsigned i = 0; i < n; i++)
                assert_int_equal(pieces[i].r, 0);
        assert_int_equal(kept_save(k, &s.task), 0);
        assert_int_equal(kept_verify(k, name), 0);
        save_done(&s);
}

static void test_pieces(void **state)
{
        struct kept *k = *state;

        assert_int_equal(kept_open(k), 0);
        save_in_pieces(k, &format_tensorbundle, "model.ckpt-7", 100);
        save_in_pieces(k, &format_tensorbundle, "all.ckpt-7", 1 << 20);
        save_in_pieces(k, &format_safetensors, "net-7", 137);
        save_in_pieces(k, &format_safetensors, "net-8", 4096);
        assert_int_equal(kept_debris(k), 0);
}

static void count_save(struct store_save *t)
{
        *(bool *)t->user = true;
}

static void test_abandon(void **state)
{
        struct kept *k = *state;
        struct store_piece piece;
        unsigned n_done = 0;
        bool done = false;
        struct save s;

        assert_int_equal(kept_open(k), 0);
        save_make(&s, &format_tensorbundle, "model.ckpt-7", 7);
        s.shard.memory = NULL;
        s.task.dir = k->dir;
        s.task.done = count_save;
        s.task.user = &done;
        piece = (struct store_piece){.save = &s.task,
                                     .bytes = 40,
                                     .memory = s.state.memory,
                                     .done = piece_done,
                                     .user = &n_done};
        store_save_piece(k->store, &piece);
        while (n_done == 0) {
                sem_wait(&k->woken);
                store_reap(k->store);
        }
        assert_int_equal(kept_debris(k), 1);
        store_save_abandon(k->store, &s.task);
        kept_wait(k, &done);
        assert_int_equal(s.task.r, -ECANCELED);
        assert_int_equal(kept_debris(k), 0);
        save_done(&s);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_bundle, kept_setup, kept_teardown),
                cmocka_unit_test_setup_teardown(test_safetensors, kept_setup, kept_teardown),
                cmocka_unit_test_setup_teardown(test_shards, kept_setup, kept_teardown),
                cmocka_unit_test_setup_teardown(test_foreign_target, kept_setup, kept_teardown),
                cmocka_unit_test_setup_teardown(test_no_space, kept_setup, kept_teardown),
                cmocka_unit_test_setup_teardown(test_vanished, kept_setup, kept_teardown),
                cmocka_unit_test_setup_teardown(test_slot_taken_back, kept_setup, kept_teardown),
                cmocka_unit_test_setup_teardown(test_replace, kept_setup, kept_teardown),
                cmocka_unit_test_setup_teardown(test_read_back, kept_setup, kept_teardown),
                cmocka_unit_test_setup_teardown(test_pieces, kept_setup, kept_teardown),
                cmocka_unit_test_setup_teardown(test_abandon, kept_setup, kept_teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
