/* Texts and times for people, and RFC 3339 for JSON.  Owns nothing; prints only where a FILE is
 * given. Text that comes from files never reaches a terminal with its control characters. */
#pragma once

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#define CTL_TIME_MAX 40 /* bytes of any time printed here, NUL included */
#define CTL_COLUMNS 100 /* where long texts are folded */

int64_t ctl_now_ms(void);       /* Unix time */
int64_t ctl_monotonic_ms(void); /* for spans */

/* "2026-11-21 14:18:19", local time. */
const char *ctl_format_time(char out[static CTL_TIME_MAX], int64_t unix_ms);
/* "2026-11-21T13:18:19.123Z". */
const char *ctl_format_rfc3339(char out[static CTL_TIME_MAX], int64_t unix_ms);
/* "2h" (ago), "13:40" (today's, or yesterday's where that is to come), "2026-11-21", "2026-11-21
 * 13:40[:07]", with a T or a blank; local time, with a final Z UTC.  -EINVAL. */
int ctl_parse_since(const char *text, int64_t now_ms, int64_t *ret_ms);

/* Prints text with control characters (newlines too) and what is not UTF-8 as \xHH. */
void ctl_put_bytes(FILE *f, const char *bytes, size_t n);
void ctl_put(FILE *f, const char *text);
/* Each line of text indented, and folded at blanks so that it ends before CTL_COLUMNS. */
void ctl_put_folded(FILE *f, unsigned indent, const char *text);
/* A JSON string of any bytes: what is not UTF-8 becomes \xHH.  NULL: no memory. */
json_t *ctl_json_text(const char *bytes, size_t n);
