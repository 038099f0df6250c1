/* Attach and Describe: see admit.c for the way of a call, layout.c for its second half. */
#pragma once

#include "job.h"

#define ADMIT_WAIT_MS 30000                   /* for a dying job, before a second one is refused */
#define ADMIT_SLOTS 2                         /* slots a rank, where memory allows */
#define ADMIT_WINDOW_BYTES (64 * 1024 * 1024) /* at most, where it allows none */
#define ADMIT_WINDOW_MIN_BYTES (1024 * 1024)

/* Parses a manifest on a worker into rank->next; -EBADF: no such descriptor. */
int rank_parse_manifest(struct rank *r, struct rpc_call *c, const json_t *inline_json,
                        int64_t fd_index);
void rank_answer_attach(struct rank *r);
