/* JSON values as text, the way jansson's JSON_COMPACT writes them, byte for byte, in a fraction of
 * its time: jansson looks at every character of a string on its own.  Appends to a buffer of the
 * caller's; knows nothing of messages.  Values are ours, so their depth is not limited here. */
#pragma once

#include "buffer.h"

#include <jansson.h>

/* -ENOMEM; -EOVERFLOW: over the buffer's max; the buffer then holds a part of the text. */
int json_write(struct buffer *b, const json_t *value);
