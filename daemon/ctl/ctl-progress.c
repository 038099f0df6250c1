#include "ctl-progress.h"

#include "ctl-text.h"
#include "units.h"

#include <stdio.h>
#include <unistd.h>

#define QUIET_MS 1000
#define EVERY_MS 200
#define CLEAR_LINE "\r\033[K"

void ctl_progress_init(struct ctl_progress *p, const char *what, bool off)
{
        p->what = what;
        p->off = off || !isatty(STDERR_FILENO);
        p->start_ms = ctl_monotonic_ms();
        atomic_init(&p->due_ms, p->start_ms + QUIET_MS);
        atomic_init(&p->shown, false);
}

void ctl_progress_show(uint64_t bytes, uint64_t of, void *user)
{
        struct ctl_progress *p = user;
        int64_t now_ms, due_ms = atomic_load(&p->due_ms);
        char size[UNITS_TEXT_MAX];

        if (p->off || of == 0)
                return;
        now_ms = ctl_monotonic_ms();
        /* Of several threads only the one that moves the due time prints. */
        if (now_ms < due_ms ||
            !atomic_compare_exchange_strong(&p->due_ms, &due_ms, now_ms + EVERY_MS))
                return;
        atomic_store(&p->shown, true);
        fprintf(stderr, CLEAR_LINE "%s: %d%% at %s/s", p->what, (int)(bytes * 100.0 / of),
                units_format_size(size, bytes * 1000 / (uint64_t)(now_ms - p->start_ms)));
}

void ctl_progress_done(struct ctl_progress *p)
{
        if (atomic_load(&p->shown))
                fputs(CLEAR_LINE, stderr);
}
