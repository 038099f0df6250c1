#include "nearest.h"

#include "cleanup.h"

#include <string.h>

static size_t min3(size_t a, size_t b, size_t c)
{
        size_t ab = a < b ? a : b;

        return ab < c ? ab : c;
}

/* Three rows of the table of prefix distances are enough: this one and the two before it. */
static size_t distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
        size_t rows[3][NEAREST_NAME_MAX + 1];

        for (size_t j = 0; j <= b_len; j++)
                rows[0][j] = j;
        for (size_t i = 1; i <= a_len; i++) {
                size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];

                row[0] = i;
                for (size_t j = 1; j <= b_len; j++) {
                        row[j] = min3(above[j] + 1, row[j - 1] + 1,
                                      above[j - 1] + (a[i - 1] != b[j - 1]));
                        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                            above2[j - 2] + 1 < row[j])
                                row[j] = above2[j - 2] + 1;
                }
        }
        return rows[a_len % 3][b_len];
}

struct nearest nearest_to(const char *name)
{
        size_t length = strlen(name);

        return (struct nearest){.name = name, .distance = length < 6 ? 2 : length / 3 + 1};
}

void nearest_offer(struct nearest *n, const char *candidate)
{
        size_t typed = strlen(n->name), length = strlen(candidate), d;

        if (typed > NEAREST_NAME_MAX || length > NEAREST_NAME_MAX)
                return;
        d = distance(n->name, typed, candidate, length);
        if (d >= n->distance)
                return;
        n->distance = d;
        n->best = candidate;
}
