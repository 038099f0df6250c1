/* Reads JSON text as a stream, without a tree: for manifests, which can be many megabytes.  As
 * strict as jansson: UTF-8, escapes, integers without a fraction, no zero byte in a string.
 * Embedded; borrows the text. */
#pragma once

#include "buffer.h"
#include "diag.h"

#include <stdbool.h>
#include <stdint.h>

struct json_scan {
        const char *start, *at, *end;
        const char *what; /* for texts: "the manifest" */
        struct diag *d;
};

/* -EINVAL, with line and column of where the scan is. */
int json_scan_fail(const struct json_scan *s, const char *why);
/* Skips white space; is c next?  Then it is taken. */
bool json_scan_char(struct json_scan *s, char c);
/* The same, or -EINVAL. */
int json_scan_expect(struct json_scan *s, char c);
/* A string; replaces b's content. */
int json_scan_string(struct json_scan *s, struct buffer *b);
int json_scan_integer(struct json_scan *s, int64_t *ret);
/* Is "null" next?  Then it is taken. */
bool json_scan_null(struct json_scan *s);
