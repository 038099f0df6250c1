/* A list of damages found in a checkpoint, one a line, of which a text for people is made at the
 * end. Embedded: zero-initialise, damage_done.  A hostile file cannot make it endless. */
#pragma once

#include "buffer.h"
#include "diag.h"

#define DAMAGE_LINES_MAX 1000

struct damage {
        struct buffer text;
        size_t n;
};

void damage_done(struct damage *g);
void damage_add(struct damage *g, const char *format, ...) _printf_(2, 3);
/* Each line of d's text. */
void damage_take(struct damage *g, struct diag *d);
/* -EBADMSG with the lines in d; 0: there are none. */
int damage_tell(struct damage *g, struct diag *d);
