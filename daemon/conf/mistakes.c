#include "mistakes.h"

#include <stdio.h>
#include <string.h>

void mistakes_done(struct mistakes *m)
{
        for (size_t i = 0; i < m->n; i++)
                free(m->items[i].text);
        free(m->items);
        *m = (struct mistakes){0};
}

static bool reserve_one(struct mistakes *m)
{
        size_t cap = m->cap ? 2 * m->cap : 8;
        struct mistake *items;

        if (m->n < m->cap)
                return true;
        items = reallocarray(m->items, cap, sizeof(*items));
        if (!items)
                return false;
        m->items = items;
        m->cap = cap;
        return true;
}

void mistakes_add(struct mistakes *m, struct place place, const char *format, ...)
{
        va_list args;
        char *text;
        int r;

        va_start(args, format);
        r = vasprintf(&text, format, args);
        va_end(args);
        if (r < 0 || !reserve_one(m)) {
                if (r >= 0)
                        free(text);
                m->no_memory = true;
                return;
        }
        m->items[m->n++] = (struct mistake){.place = place, .text = text};
}

static int compare(const void *a, const void *b)
{
        const struct mistake *x = a, *y = b;

        if (x->place.order != y->place.order)
                return x->place.order < y->place.order ? -1 : 1;
        if (x->place.line != y->place.line)
                return x->place.line < y->place.line ? -1 : 1;
        if (x->place.column != y->place.column)
                return x->place.column < y->place.column ? -1 : 1;
        return strcmp(x->text, y->text);
}

void mistakes_sort(struct mistakes *m)
{
        size_t n = 0;

        if (m->n == 0)
                return;
        qsort(m->items, m->n, sizeof(*m->items), compare);
        for (size_t i = 0; i < m->n; i++) {
                if (n > 0 && compare(&m->items[n - 1], &m->items[i]) == 0)
                        free(m->items[i].text);
                else
                        m->items[n++] = m->items[i];
        }
        m->n = n;
}

size_t mistakes_files(const struct mistakes *m)
{
        size_t n = 0;

        for (size_t i = 0; i < m->n; i++)
                n += i == 0 || m->items[i].place.order != m->items[i - 1].place.order;
        return n;
}

char *mistake_format(const struct mistake *m)
{
        char *line;
        int r;

        if (m->place.line == 0)
                r = asprintf(&line, "%s: %s", m->place.file, m->text);
        else
                r = asprintf(&line, "%s:%u:%u: %s", m->place.file, m->place.line, m->place.column,
                             m->text);
        return r < 0 ? NULL : line;
}

void mistakes_tell(const struct mistakes *m, struct diag *d)
{
        for (size_t i = 0; i < m->n && i < MISTAKES_SHOWN; i++) {
                _cleanup_(freep) char *line = mistake_format(&m->items[i]);

                if (line)
                        diag_add(d, 0, "%s", line);
        }
        if (m->n > MISTAKES_SHOWN)
                diag_add(d, 0, "and %zu more mistakes", m->n - MISTAKES_SHOWN);
}
