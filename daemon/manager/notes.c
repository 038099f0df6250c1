#include "own.h"
#include "modeldir.h"

#include <stdio.h>
#include <string.h>

void note_add(struct manager *m, struct catalog_batch *batch, const struct note *n,
              const char *format, ...)
{
        _cleanup_(freep) char *detail = NULL;
        struct catalog_batch *own = batch ? NULL : catalog_batch_new(m->catalog);
        struct catalog_event e = {
                .time_ms = clock_unix_ms(),
                .event = n->event,
                .directory = n->directory ? n->directory->row.id : 0,
                .step = n->step,
        };
        const char *word = n->in_log ? n->in_log : n->event;
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&detail, format, ap) < 0)
                detail = NULL;
        va_end(ap);
        e.detail = detail ? detail : "";
        catalog_add_event(batch ? batch : own, &e);
        if (own)
                catalog_submit(m->catalog, own, NULL, NULL);
        if (!n->directory)
                log_at(n->level, "%s: %s", word, e.detail);
        else if (n->step >= 0)
                log_at(n->level, "%s %s@%lld: %s", word, n->directory->row.path, (long long)n->step,
                       e.detail);
        else
                log_at(n->level, "%s %s: %s", word, n->directory->row.path, e.detail);
}
