/* A line of progress on a terminal's standard error, for work that takes more than a second.
 * Owned by the command, one at a time; ctl_progress_show may be called from any thread. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct ctl_progress {
        const char *what;
        bool off; /* no terminal, or not wanted */
        int64_t start_ms;
        _Atomic int64_t due_ms; /* of the next line; monotonic */
        atomic_bool shown;
};

void ctl_progress_init(struct ctl_progress *p, const char *what, bool off);
/* For stored_check: user is the progress. */
void ctl_progress_show(uint64_t bytes, uint64_t of, void *user);
void ctl_progress_done(struct ctl_progress *p); /* takes the line away */
