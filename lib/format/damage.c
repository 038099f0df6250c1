#include "damage.h"

#include <errno.h>
#include <stdio.h>

void damage_done(struct damage *g)
{
        buffer_done(&g->text);
}

void damage_add(struct damage *g, const char *format, ...)
{
        _cleanup_(freep) char *line = NULL;
        va_list args;

        if (++g->n > DAMAGE_LINES_MAX)
                return;
        va_start(args, format);
        if (vasprintf(&line, format, args) < 0)
                line = NULL;
        va_end(args);
        if (line)
                buffer_printf(&g->text, "%s%s", g->text.len > 0 ? "\n" : "", line);
}

void damage_take(struct damage *g, struct diag *d)
{
        if (d->text)
                damage_add(g, "%s", d->text);
        diag_done(d);
}

int damage_tell(struct damage *g, struct diag *d)
{
        const char *text = g->text.data ? (const char *)g->text.data : "damaged";

        if (g->n == 0)
                return 0;
        if (g->n <= DAMAGE_LINES_MAX)
                return diag_set(d, -EBADMSG, "%s", text);
        return diag_set(d, -EBADMSG, "%s\nand %zu more", text, g->n - DAMAGE_LINES_MAX);
}
