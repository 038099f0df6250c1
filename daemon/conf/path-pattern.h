/* Patterns of model_dirs: `*` stays within a name, `**` does not; every other character is itself.
 * Pure.  A pattern holds no control character. */
#pragma once

#include <stdbool.h>

bool path_pattern_matches(const char *pattern, const char *path);
/* Does a match every path that b matches?  Never a wrong yes. */
bool path_pattern_covers(const char *a, const char *b);
