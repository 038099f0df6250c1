/* Where settings, catalog and socket are: the system's places for root, else those of the user
 * (XDG). */
#pragma once

#include <stdbool.h>

struct places {
        char *config, *state, *socket;
};

void places_default(struct places *p);
/* option 'c', 's' or 'S'; false: no memory. */
bool places_set(struct places *p, int option, const char *value);
void places_done(struct places *p);
