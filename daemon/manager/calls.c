/* The smaller calls of a job: Describe, Step, Wait, Finish. */
#include "admit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

bool job_described(const struct job *j)
{
        for (unsigned i = 0; i < j->world_size; i++)
                if (!j->ranks[i].describe || !j->ranks[i].parsed)
                        return false;
        return true;
}

void manager_describe(struct manager *m, struct rpc_call *c, const struct describe_parameters *p)
{
        struct rank *r = rank_ready(c);
        int k;

        (void)m;
        if (!r)
                return;
        if (r->describe || r->job->reader || r->mode == MODE_COMMIT) {
                answer_text(c, "io.ckptd.Jobs.WrongState",
                            "not for a reader, nor for a job that writes its own files");
                return;
        }
        if (!p->manifest && p->manifest_fd < 0) {
                rpc_fail_invalid(c, "manifest_fd");
                return;
        }
        r->describe = c;
        k = rank_parse_manifest(r, c, p->manifest, p->manifest_fd);
        if (k < 0) {
                r->describe = NULL;
                answer_failed(c, k, k == -EBADF ? "manifest_fd: no such descriptor" : NULL);
        }
}

/* A job without a control page tells its steps; the page is then the daemon's alone. */
void manager_step(struct manager *m, struct rpc_call *c, const struct step_parameters *p)
{
        struct rank *r = rank_ready(c);
        int64_t save_at, stop_at;
        bool due;

        (void)m;
        if (!r)
                return;
        if (r->mode != MODE_COMMIT) {
                answer_text(c, "io.ckptd.Jobs.WrongState", "this job has a control page");
                return;
        }
        atomic_store(&r->page->now.step, p->step);
        job_consider(r->job);
        save_at = atomic_load(&r->page->daemon.save_at);
        stop_at = atomic_load(&r->page->daemon.stop_at);
        due = r->job->attempt.open && p->step >= save_at;
        rpc_reply(c, due ? json_pack("{s:b, s:b, s:s}", "due", 1, "stop", p->step >= stop_at,
                                     "reason", r->job->attempt.reason)
                         : json_pack("{s:b, s:b}", "due", 0, "stop", p->step >= stop_at));
}

/* Wait comes on a connection of its own; the attach number is what it knows the job by. */
static struct job *job_by_attach(struct manager *m, int64_t attach)
{
        struct directory *d;

        TAILQ_FOREACH (d, &m->directories, link)
                if (d->job && d->job->attach_id == attach)
                        return d->job;
        return NULL;
}

static void waiter_cancelled(void *user)
{
        struct waiter *w = user;

        TAILQ_REMOVE(&w->job->waiters, w, link);
        free(w);
}

bool job_add_waiter(struct job *j, struct rpc_call *c, int64_t step, struct asking *asking)
{
        struct waiter *w = calloc(1, sizeof(*w));

        if (!w)
                return false;
        *w = (struct waiter){
                .job = j, .call = c, .step = step, .n_saves = j->n_saves, .asking = asking};
        TAILQ_INSERT_TAIL(&j->waiters, w, link);
        if (!asking)
                rpc_call_on_cancel(c, waiter_cancelled, w);
        return true;
}

static void answer_published(struct job *j, struct rpc_call *c)
{
        _cleanup_(freep) char *path =
                directory_path_of(j->directory, j->published_name ? j->published_name : "");

        rpc_reply(c, json_pack("{s:I, s:s}", "step", (json_int_t)j->published, "path",
                               path ? path : ""));
}

void manager_wait(struct manager *m, struct rpc_call *c, const struct wait_parameters *p)
{
        struct job *j = job_by_attach(m, p->attach);
        int64_t own;

        if (m->stopping) {
                rpc_drop(c); /* the next daemon is asked again */
                return;
        }
        if (!j) {
                answer_text(c, "io.ckptd.Jobs.WrongState", "no job has this attach number");
                return;
        }
        own = j->ranks[0].mode == MODE_SLOTS ? job_find_own(j) : -1;
        if (p->has_step && p->step <= j->published && own < 0)
                answer_published(j, c);
        else if (job_has_handed(j)) {
                if (!job_add_waiter(j, c, p->has_step ? p->step : -1, NULL))
                        answer_failed(c, -ENOMEM, NULL);
        } else if (!p->has_step && j->published >= 0)
                answer_published(j, c);
        else
                answer_save_failed(c, p->has_step ? p->step : -1,
                                   j->why_broken   ? j->why_broken
                                   : j->last_error ? j->last_error
                                                   : "no save was handed off");
}

void manager_finish(struct manager *m, struct rpc_call *c, const struct step_parameters *p)
{
        struct rank *r = rank_ready(c);

        (void)m;
        if (!r)
                return;
        if (r->finish || r->job->reader) {
                answer_text(c, "io.ckptd.Jobs.WrongState",
                            r->finish ? "called already" : "a reader has no last step");
                return;
        }
        if (r->mode == MODE_COMMIT) { /* it has written its last checkpoint itself */
                atomic_store(&r->page->now.step, p->step);
                rpc_reply(c, json_pack("{s:b}", "saved", 0));
                return;
        }
        atomic_store(&r->page->rank.end, p->step);
        r->finish = c;
        if (r->job->attempt.open)
                job_look(r->job);
        if (job_finishing(r->job) && r->job->attempt.open && !r->job->attempt.save) {
                if (r->job->attempt.settle.forced)
                        job_publish_words(r->job, r->job->attempt.settle.wanted);
                else
                        attempt_cancel(r->job); /* the last save takes its place */
        }
        job_consider(r->job);
}
