/* libckpt: a training job hands its state to ckptd, which decides when, writes it, keeps what
 * should be kept and gives it back.  int results: negative errno is a failure that leaves
 * training free to go on (ckpt_error says what happened and what to do); 0 and more are told at
 * each function.  Nothing here prints, exits or raises a signal.  A daemon that is gone costs
 * the job nothing: it is looked for in the background, and complete snapshots are offered to it
 * when it is back.  Calls on one struct ckpt come from one thread, but ckpt_should_stop and
 * ckpt_wait from any.  After fork, in the child, every call does nothing and returns 0.  Texts
 * that a function returns belong to the library; they hold until the next call on the struct. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ckpt;

/* TensorFlow's DataType numbers.  Others of its numbers may come from ckpt_stored. */
/* clang-format off */
enum ckpt_dtype {
        CKPT_FLOAT32 = 1, CKPT_FLOAT64 = 2, CKPT_INT32 = 3, CKPT_UINT8 = 4, CKPT_INT16 = 5,
        CKPT_INT8 = 6, CKPT_STRING = 7 /* only from ckpt_stored */, CKPT_COMPLEX64 = 8,
        CKPT_INT64 = 9, CKPT_BOOL = 10, CKPT_BFLOAT16 = 14, CKPT_UINT16 = 17, CKPT_COMPLEX128 = 18,
        CKPT_FLOAT16 = 19, CKPT_UINT32 = 22, CKPT_UINT64 = 23, CKPT_FLOAT8_E5M2 = 24,
        CKPT_FLOAT8_E4M3FN = 25
};
/* clang-format on */

/* One tensor, row-major, little-endian.  The library copies all that is named here, but data. */
struct ckpt_tensor {
        size_t size;      /* sizeof(struct ckpt_tensor): the structs may grow */
        const char *name; /* UTF-8, not empty, 4096 bytes at most */
        enum ckpt_dtype dtype;
        int n_dims;          /* 0: a scalar */
        const int64_t *dims; /* of this part, not negative */
        const char *slice;   /* as TensorFlow's slice spec ("4 3 0,2:-"); NULL: the whole tensor */
        void *data;          /* host memory; or NULL and: */
        /* Fetches the tensor's bytes to dst; 0 or negative errno.  Called by the thread that
         * saves, or by the library's own one for a copy that ckpt_save_begin began; never by two
         * at once for one tensor. */
        int (*copy)(void *dst, const struct ckpt_tensor *t, void *user);
        void *user;
};

struct ckpt_options {
        size_t size;           /* sizeof(struct ckpt_options) */
        const char *model_dir; /* NULL: a new one below TMPDIR; made when missing (one level) */
        const char *socket;    /* NULL: CKPTD_SOCKET, else the known places */
        const char *job;    /* NULL: Slurm's or torchelastic's id; required when world_size > 1 */
        const char *policy; /* a name; NULL: what the daemon chose for the directory */
        const char *policy_values; /* a JSON object: values over the policy's; NULL: none */
        int rank, world_size;      /* world_size 0 means 1 */
        bool fresh;                /* a new run beside what is there: nothing is restored */
        bool read_only;            /* a reader: restores only, beside a job, in any number */
};

/* Returns when all ranks are there and the slots are ready.  Sets *ret on failure too, for
 * ckpt_error; ckpt_free it then.  -EHOSTDOWN: no daemon answers; -EBUSY: another job saves into
 * the directory, or another daemon owns it; -EPERM: the daemon serves another user; -EINVAL:
 * options or tensors are wrong. */
int ckpt_attach(struct ckpt **ret, const struct ckpt_options *o, const struct ckpt_tensor *t,
                size_t n);
/* New addresses (at no cost), or another set of tensors: then every rank must call it between
 * the same two steps, and when it fails nothing is saved until a later call succeeds.  -EBUSY:
 * between begin and end. */
int ckpt_describe(struct ckpt *c, const struct ckpt_tensor *t, size_t n);

/* Fills the tensors from the newest whole checkpoint; every tensor needs host memory (-ENOTSUP).
 * 1: restored, *ret_step is its step; 0: this directory never held one; -ENODATA: some exist,
 * none is whole; -EINVAL: tensors do not fit, ckpt_error lists them.  Nothing is changed unless
 * everything fits. */
int ckpt_restore(struct ckpt *c, int64_t *ret_step);
enum ckpt_restore_flags { CKPT_RESTORE_PARTIAL = 1 /* leave alone what does not fit */ };
/* From one step ("4000") or another checkpoint (its prefix or file: a warm start); NULL: the
 * newest. */
int ckpt_restore_from(struct ckpt *c, const char *path_or_step, unsigned flags, int64_t *ret_step);
/* The i-th tensor of what was restored last, in the manifest or not; data is NULL.  -ENOENT:
 * past the end. */
int ckpt_stored(struct ckpt *c, size_t i, struct ckpt_tensor *ret);

/* Once a step; also at step 0 of a fresh run, before training.  A few nanoseconds when nothing
 * is due.  1: the state was copied and handed off; 0: not due, or postponed because every slot is
 * being written. */
int ckpt_step(struct ckpt *c, int64_t step);
/* The same without the copy.  1: call ckpt_save or ckpt_save_begin with this step. */
int ckpt_due(struct ckpt *c, int64_t step);
/* Saves now, due or not.  0: handed over; 1: the daemon is away, kept in memory for its return.
 * Waits for a free slot while the daemon is there; -EBUSY when it is not, or where the policy
 * says when_busy: skip. */
int ckpt_save(struct ckpt *c, int64_t step);
/* The same in two halves: small tensors (below 64 KiB) are copied before begin returns, the rest
 * in the background; end waits for that and returns what ckpt_save does.  Between the two no
 * tensor may change. */
int ckpt_save_begin(struct ckpt *c, int64_t step);
int ckpt_save_end(struct ckpt *c);
/* Waits until the checkpoint of this step (negative: the save in progress) is published: 0, or
 * the reason why not.  Waits up to 60 s for a daemon that is away: -EHOSTDOWN. */
int ckpt_wait(struct ckpt *c, int64_t step);

/* Should training stop after this step?  True at the same step on every rank.  Costs one load. */
bool ckpt_should_stop(const struct ckpt *c, int64_t step);
/* After the last step: the last save if the policy wants it, published; then detaches.  0: done;
 * -EHOSTDOWN: the daemon was away and did not come back within 60 s. */
int ckpt_finish(struct ckpt *c, int64_t step);

const char *ckpt_model_dir(const struct ckpt *c); /* absolute */
const char *ckpt_error(const struct ckpt *c);     /* of the last call that failed; "" */
/* What attach or describe has to say to the user, a line each; "". */
const char *ckpt_messages(const struct ckpt *c);
/* Without ckpt_finish before: nothing new is saved, the last complete snapshot is published.  c
 * may be NULL. */
void ckpt_free(struct ckpt *c);

#ifdef __cplusplus
}
#endif
