/* Single values as people write them in settings: YAML 1.2's truth values, null and whole numbers,
 * and a hint where somebody wrote what only YAML 1.1 or another tool reads.  Pure; durations and
 * sizes are units.h's.  Never guesses: what is not exactly a value is refused. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define SCALAR_SHOWN_BYTES 64 /* of a wrong value, in a message */
#define SCALAR_TEXT_MAX 160   /* bytes of any text these functions print, NUL included */

enum scalar_kind {
        SCALAR_BOOL = 1,
        SCALAR_COUNT = 2,
        SCALAR_DURATION = 4,
        SCALAR_SIZE = 8,
        SCALAR_TEXT = 16
};

bool scalar_is_null(const char *text);              /* of a plain (unquoted) scalar */
int scalar_parse_bool(const char *text, bool *ret); /* -EINVAL */
/* Digits without sign or leading zero.  -EINVAL, -ERANGE. */
int scalar_parse_count(const char *text, int64_t *ret);
/* "; write true" for yes, "; write 10" for 010 …, or "": what follows "found TEXT".  Returns out.
 */
const char *scalar_hint(const char *text, enum scalar_kind kind, char out[static SCALAR_TEXT_MAX]);
/* The text as a message may hold it: one line, shortened, "nothing" when empty.  Returns out. */
const char *scalar_show(const char *text, char out[static SCALAR_TEXT_MAX]);
