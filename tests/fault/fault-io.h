/* A table of I/O calls in which one call fails, comes back short, is interrupted, or ends the
 * process.  Syncs do nothing else: a killed process loses no page cache.  One table a process;
 * calls of all threads are counted together. */
#pragma once

#include "io.h"

#include <stdbool.h>

enum fault { FAULT_NONE, FAULT_EIO, FAULT_ENOSPC, FAULT_SHORT, FAULT_EINTR, FAULT_KILL };

#define FAULT_KILLED 77 /* exit status */

extern const struct io fault_io;
extern const char *const fault_names[];

/* From now on, call number n (from 1) meets the fault; a short count: call n that reads or
 * writes. */
void fault_arm(enum fault fault, unsigned n);
/* Was there an n-th call?  Disarms. */
bool fault_disarm(void);
