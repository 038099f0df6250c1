/* A text for people, made where the facts are, carried up unchanged beside a negative errno.
 * Owner: the caller (embedded, zero-initialised, diag_done).  Never logs, never prints. */
#pragma once

#include "cleanup.h"

#include <stdarg.h>

struct diag {
        char *text; /* NULL: no text; several mistakes are several lines, no final newline */
};

void diag_done(struct diag *d);

/* Replaces the text; returns r, so that `return diag_set(d, -EIO, "…")` works.  d may be NULL. */
int diag_set(struct diag *d, int r, const char *format, ...) _printf_(3, 4);

/* Appends one more line; returns r. */
int diag_add(struct diag *d, int r, const char *format, ...) _printf_(3, 4);

/* Moves src's text to dst (freeing dst's own). */
void diag_move(struct diag *dst, struct diag *src);

/* The text, else strerror(-r). Valid until d changes. */
const char *diag_text(const struct diag *d, int r);
