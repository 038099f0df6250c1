/* The known name nearest to a mistyped one, for "did you mean": an edit distance in which a swap of
 * two neighbours counts once.  The caller offers its names one after another, from whatever table
 * it has. Never allocates; never keeps a copy: what is offered must live as long as the answer. */
#pragma once

#include <stddef.h>

#define NEAREST_NAME_MAX 64 /* bytes; a longer name is near to none */

struct nearest {
        const char *name; /* as it was typed */
        const char *best; /* the nearest so far, or NULL: none is near */
        size_t distance;  /* a candidate must be below it */
};

/* Near means: at most a third of the typed name's letters differ, and never fewer than one may. */
struct nearest nearest_to(const char *name);
void nearest_offer(struct nearest *n, const char *candidate);
