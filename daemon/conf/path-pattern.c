#include "path-pattern.h"

#include "cleanup.h"

#include <string.h>

#define NAME_WILD '\1' /* stands for * and ** where a pattern is itself matched */
#define PATH_WILD '\2'

/* May this wildcard of a pattern swallow this character? */
static bool swallows(bool any, char c)
{
        return any || (c != '/' && c != PATH_WILD);
}

/* Steps over the wildcards at p that may match nothing, marking each state on the way. */
static void reach(bool *states, const char *pattern, size_t p)
{
        while (!states[p]) {
                states[p] = true;
                if (pattern[p] != '*')
                        return;
                p += pattern[p + 1] == '*' ? 2 : 1;
        }
}

/* A set of states, moved over the text one character at a time: never exponential. */
static bool matches(const char *pattern, const char *text)
{
        size_t n = strlen(pattern);
        _cleanup_(freep) bool *now = calloc(2 * (n + 1), sizeof(bool));
        bool *from = now, *to = now + n + 1, any = true;

        if (!now)
                return false;
        reach(from, pattern, 0);
        for (; *text && any; text++) {
                bool *swap = from;

                memset(to, 0, (n + 1) * sizeof(bool));
                any = false;
                for (size_t p = 0; p < n; p++) {
                        bool wild = pattern[p] == '*', wide = wild && pattern[p + 1] == '*';

                        if (!from[p] || (wild ? !swallows(wide, *text) : pattern[p] != *text))
                                continue;
                        reach(to, pattern, wild ? p : p + 1);
                        any = true;
                }
                from = to;
                to = swap;
        }
        return any && from[n];
}

bool path_pattern_matches(const char *pattern, const char *path)
{
        return matches(pattern, path);
}

/* Taken as a path whose wildcards are characters of their own, b is matched by a only where a
 * wildcard of a swallows each of them. */
bool path_pattern_covers(const char *a, const char *b)
{
        _cleanup_(freep) char *text = malloc(strlen(b) + 1);
        size_t n = 0;

        if (!text)
                return false;
        for (; *b; b++) {
                bool wide = b[0] == '*' && b[1] == '*';

                text[n++] = wide ? PATH_WILD : *b == '*' ? NAME_WILD : *b;
                b += wide;
        }
        text[n] = '\0';
        return matches(a, text);
}
