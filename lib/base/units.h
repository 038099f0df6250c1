/* Durations ("90s", "10m", "6h", "30d") and sizes ("512MiB", "2TB") from text and to text.
 * Pure; never accepts a sign, spaces inside, digits in underscores, or "8G". */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define UNITS_TEXT_MAX 32 /* bytes of any text these functions print, NUL included */

/* A bare number counts in unit_ms.  Fractions ("1.5h") are allowed, leading zeros ("010") are not.
 * -EINVAL; -ERANGE beyond int64. */
int units_parse_duration(const char *text, int64_t unit_ms, int64_t *ret_ms);
/* Bytes; "KiB" to "TiB" are powers of 1024, "kB" to "TB" of 1000.  -EINVAL ("8G" too); -ERANGE. */
int units_parse_size(const char *text, uint64_t *ret_bytes);

/* "3m 15s", "6h 0m", "12 days"; below 10 s "3.7s", below 1 s "0.29s", below 10 ms "4ms".  Cuts,
 * never rounds up; negative is "0.00s".  Returns out. */
const char *units_format_duration(char out[static UNITS_TEXT_MAX], int64_t ms);
/* The same of microseconds: below 10 ms "4.2ms", below 0.1 ms "85us". */
const char *units_format_us(char out[static UNITS_TEXT_MAX], int64_t us);
/* "78.2 GiB", "12.4 KiB", "512 B". */
const char *units_format_size(char out[static UNITS_TEXT_MAX], uint64_t bytes);
/* "600s" as policies are told: the shortest of "10m", "90s", "6h". */
const char *units_format_interval(char out[static UNITS_TEXT_MAX], int64_t ms);
