#include "diag.h"

#include <stdio.h>
#include <string.h>

void diag_done(struct diag *d)
{
        free(d->text);
        d->text = NULL;
}

/* The arguments may point into the old text, so that it is freed last.  Without memory there is no
 * text, and diag_text falls back on the errno. */
static char *format_text(const char *format, va_list args)
{
        char *text;

        return vasprintf(&text, format, args) < 0 ? NULL : text;
}

int diag_set(struct diag *d, int r, const char *format, ...)
{
        va_list args;
        char *text;

        if (!d)
                return r;
        va_start(args, format);
        text = format_text(format, args);
        va_end(args);
        free(d->text);
        d->text = text;
        return r;
}

int diag_add(struct diag *d, int r, const char *format, ...)
{
        _cleanup_(freep) char *line = NULL;
        va_list args;
        char *text;

        if (!d)
                return r;
        va_start(args, format);
        line = format_text(format, args);
        va_end(args);
        if (!line)
                return r;
        if (!d->text)
                d->text = take_ptr(line);
        else if (asprintf(&text, "%s\n%s", d->text, line) >= 0) {
                free(d->text);
                d->text = text;
        }
        return r;
}

void diag_move(struct diag *dst, struct diag *src)
{
        if (!dst || dst == src)
                return;
        free(dst->text);
        dst->text = take_ptr(src->text);
}

const char *diag_text(const struct diag *d, int r)
{
        return d && d->text ? d->text : strerror(r < 0 ? -r : r);
}
