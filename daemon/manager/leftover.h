/* The slots of a job that has ended, kept for the next job of its directory: the same memory again,
 * and a restore without the disk.  Freed after ten minutes, or when the next job's tensors
 * differ. */
#pragma once

#include "job.h"

#define LEFTOVER_KEEP_MS (10 * 60 * 1000)

struct leftover;

/* Takes the ranks' slots and manifests and the job's snapshot; NULL when there is nothing worth
 * keeping. */
struct leftover *leftover_new(struct job *j);
void leftover_free(struct leftover *l);
int64_t leftover_until_ms(const struct leftover *l); /* boot clock */
/* Gives everything to a new job whose manifests are laid out alike; false: they differ, nothing is
 * taken. */
bool leftover_take(struct leftover *l, struct job *j);
