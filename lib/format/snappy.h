/* Decompression of one snappy block (the raw format of google/snappy's format_description.txt).
 * Old TensorFlow and other writers compressed the index so; nothing of ours ever does.  Pure. */
#pragma once

#include "buffer.h"

/* Replaces ret's content.  -EBADMSG: corrupt, or says it holds more than max bytes; -ENOMEM. */
int snappy_decompress(const void *p, size_t n, size_t max, struct buffer *ret);
