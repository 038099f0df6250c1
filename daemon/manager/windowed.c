/* A save through a window: where memory is short of even one slot, the job brings its data file in
 * pieces and waits for each.  The save is named when the first piece comes, and published when
 * every rank has sent its last. */
#include "job.h"

#include <errno.h>
#include <string.h>

struct window_piece {
        struct store_piece piece;
        struct rank *rank;
        bool last;
};

struct window {                  /* job::window */
        struct store_save *save; /* not yet started */
        unsigned n_pieces;       /* being written */
        bool abandoned;
        uint64_t *next; /* one a rank: the offset that must come next */
};

static void abandoned(struct store_save *s)
{
        for (size_t i = 0; i < s->n_shards; i++)
                free(s->shards[i].crc32c);
        free(s->shards);
        diag_done(&s->diag);
        checkpoint_free(s->checkpoint);
        job_release(s->user);
        free(s);
}

void window_end(struct job *j)
{
        struct window *w = j->window;
        struct attempt *a = &j->attempt;

        if (!w)
                return;
        if (w->save && w->save->checkpoint == a->checkpoint)
                a->checkpoint = NULL; /* goes with the save */
        if (w->n_pieces) {
                w->abandoned = true; /* the last piece's end comes back here */
                return;
        }
        j->window = NULL;
        for (unsigned i = 0; i < j->world_size; i++)
                j->ranks[i].window_last = false;
        if (w->save) {
                w->save->done = abandoned;
                job_hold(j);
                store_save_abandon(j->manager->store, w->save);
        }
        free(w->next);
        free(w);
}

static bool all_last(const struct job *j)
{
        for (unsigned i = 0; i < j->world_size; i++)
                if (!j->ranks[i].window_last)
                        return false;
        return true;
}

static void publish(struct job *j)
{
        struct attempt *a = &j->attempt;
        struct window *w = j->window;

        a->handed_ms = clock_boot_ms();
        a->handed_unix_ms = clock_unix_ms();
        a->save = take_ptr(w->save);
        job_publish_words(j, PAGE_NEVER);
        window_end(j);
        job_hold(j);
        store_save_start(j->manager->store, a->save);
}

static void piece_done(struct store_piece *p)
{
        struct window_piece *t = (struct window_piece *)p;
        struct rank *r = t->rank;
        struct job *j = r->job;
        struct rpc_call *c = take_ptr(r->piece);
        struct window *w = j->window;

        w->n_pieces--;
        r->piece_busy = false;
        j->window_busy = w->n_pieces;
        if (p->r < 0 || w->abandoned) {
                if (c)
                        answer_save_failed(c, j->attempt.step,
                                           p->r < 0 ? diag_text(&p->diag, p->r) : "given up");
                if (p->r < 0 && !w->abandoned)
                        attempt_fail(j, j->attempt.step, "%s", diag_text(&p->diag, p->r));
                else
                        window_end(j);
                if (p->r == -ENOSPC || p->r == -EDQUOT)
                        directory_make_room(j->directory, 0); /* for the next try */
        } else {
                if (c)
                        rpc_reply(c, NULL);
                r->window_last = t->last;
                if (!w->n_pieces && all_last(j))
                        publish(j);
        }
        diag_done(&p->diag);
        free(t);
        if (j->state == JOB_READY && job_described(j))
                job_lay_out(j);
        job_consider(j);
        job_release(j);
}

static int window_begin(struct job *j, int64_t step)
{
        struct window *w = calloc(1, sizeof(*w));

        if (!w || !(w->next = calloc(j->world_size, sizeof(*w->next)))) {
                free(w);
                return -ENOMEM;
        }
        w->save = job_new_save(j, NULL, step);
        j->window = w;
        if (!w->save)
                window_end(j);
        return j->window ? 0 : -ENOMEM;
}

static const char *wrong_piece(const struct rank *r, const struct piece_parameters *p)
{
        const struct job *j = r->job;

        if (r->mode != MODE_WINDOW)
                return "this job has slots";
        if (r->piece || r->piece_busy || j->attempt.save)
                return "a piece is being written";
        if ((uint64_t)p->bytes > r->slot_bytes || p->bytes > (int64_t)r->manifest->bytes ||
            p->offset > (int64_t)r->manifest->bytes - p->bytes)
                return "the piece is outside the window or the data file";
        if (j->window && (j->window->abandoned || !j->window->save))
                return "the save was given up";
        if (j->window && (j->window->save->checkpoint->step != p->step ||
                          (uint64_t)p->offset != j->window->next[r->index]))
                return "another step, or not the next piece";
        if (!j->window && p->offset)
                return "not the first piece";
        if (p->last && (uint64_t)(p->offset + p->bytes) != r->manifest->bytes)
                return "the last piece does not end the data file";
        return NULL;
}

void manager_piece(struct manager *m, struct rpc_call *c, const struct piece_parameters *p)
{
        struct rank *r = rank_ready(c);
        struct window_piece *t;
        const char *wrong;

        if (!r)
                return;
        if ((wrong = wrong_piece(r, p))) {
                answer_text(c, "io.ckptd.Jobs.WrongState", wrong);
                return;
        }
        if (!r->job->window && (directory_reopens(r->job->directory) || !r->job->directory->dir)) {
                const char *why = directory_why_closed(r->job->directory);

                answer_save_failed(c, p->step, why);
                if (r->job->attempt.open)
                        attempt_fail(r->job, p->step, "%s", why);
                return;
        }
        if (!r->job->attempt.open) {
                r->job->attempt = (struct attempt){
                        .open = true,
                        .why = SCHEDULE_JOB,
                        .reason = "asked by the job",
                        .due_ms = clock_boot_ms(),
                        .due_unix_ms = clock_unix_ms(),
                        .settle = {.asked = p->asked, .wanted = p->step, .forced = true}};
        }
        t = calloc(1, sizeof(*t));
        if (!t || (!r->job->window && window_begin(r->job, p->step) < 0)) {
                free(t);
                answer_failed(c, -ENOMEM, NULL);
                return;
        }
        *t = (struct window_piece){.piece = {.save = r->job->window->save,
                                             .shard = r->index,
                                             .offset = (uint64_t)p->offset,
                                             .bytes = (uint64_t)p->bytes,
                                             .memory = r->slots[0].memory,
                                             .done = piece_done},
                                   .rank = r,
                                   .last = p->last};
        r->piece = c;
        r->piece_busy = r->job->window_busy = true;
        r->job->window->next[r->index] += (uint64_t)p->bytes;
        r->job->window->n_pieces++;
        job_hold(r->job);
        store_save_piece(m->store, &t->piece);
}
