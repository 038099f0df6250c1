/* Mistakes in settings, gathered in one pass over all files and told in the order of the files,
 * each with its place.  Embedded in the reader.  Lack of memory is remembered and told at the end,
 * so that adding needs no answer. */
#pragma once

#include "cleanup.h"
#include "diag.h"

#include <stdbool.h>
#include <stddef.h>

#define MISTAKES_SHOWN 200 /* lines of one message; the others are counted */

struct place {
        size_t order;          /* of the file among the files */
        const char *file;      /* borrowed */
        unsigned line, column; /* 0: the file as a whole */
};

struct mistake {
        struct place place;
        char *text;
};

struct mistakes {
        size_t n, cap;
        struct mistake *items;
        bool no_memory;
};

void mistakes_done(struct mistakes *m);
void mistakes_add(struct mistakes *m, struct place place, const char *format, ...) _printf_(3, 4);
/* By place; one mistake at one place is told once, however many aliases lead there. */
void mistakes_sort(struct mistakes *m);
size_t mistakes_files(const struct mistakes *m); /* that hold one; sorted */
/* "FILE:LINE:COLUMN: text", malloc'ed; NULL: no memory. */
char *mistake_format(const struct mistake *m);
/* Adds one line each. */
void mistakes_tell(const struct mistakes *m, struct diag *d);
