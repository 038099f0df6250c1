/* safetensors (huggingface/safetensors): a length, a JSON header, the tensors.  What we write,
 * beyond what every reader wants: the header is padded with spaces so that the data begins at a
 * multiple of SAFETENSORS_ALIGNMENT, and __metadata__ has
 *   "crc32c":      8 hex digits a tensor, in the order of the data;
 *   "head_crc32c": the sum of all bytes before the data, these 8 digits taken for zeros.
 * A file is taken for ours when its data is so aligned and either is there: both must then be
 * right. */
#pragma once

#include "damage.h"
#include "stored.h"

#define SAFETENSORS_SUFFIX ".safetensors"
#define SAFETENSORS_INDEX_SUFFIX ".safetensors.index.json"
#define SAFETENSORS_HEADER_MAX 100000000 /* bytes of JSON: the reference reader's limit */
#define SAFETENSORS_ALIGNMENT 4096
#define SAFETENSORS_CRC_DIGITS 8
#define SAFETENSORS_NO_DIGITS "00000000"

struct safetensors_source {
        const void *head; /* 8 bytes of length and the JSON */
        size_t n;
        uint64_t file_bytes; /* of the whole file */
};

/* Adds the tensors of one file (files[file] of s) in the order of the data.  Damage goes to g.
 * -EOPNOTSUPP: a dtype that is packed below the byte; -ENOMEM. */
int safetensors_parse(const struct safetensors_source *source, struct stored *s, size_t file,
                      struct damage *g, struct diag *d);

/* Appends a JSON string with its quotes. */
int safetensors_append_string(struct buffer *b, const char *text);
/* The sum of text in which the digits at `at` stand for zeros. */
uint32_t safetensors_own_sum(const void *text, size_t n, size_t at);
/* Eight lower-case hex digits.  -EINVAL. */
int safetensors_parse_digits(const char *digits, uint32_t *ret);
