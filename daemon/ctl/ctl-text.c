#include "ctl-text.h"

#include "buffer.h"
#include "units.h"

#include <errno.h>
#include <string.h>
#include <time.h>

static int64_t clock_ms(clockid_t clock)
{
        struct timespec t;

        clock_gettime(clock, &t);
        return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t ctl_now_ms(void)
{
        return clock_ms(CLOCK_REALTIME);
}

int64_t ctl_monotonic_ms(void)
{
        return clock_ms(CLOCK_MONOTONIC);
}

/* Seconds rounded down, so that times before 1970 have a positive rest too. */
static time_t split_ms(int64_t ms, int *ret_rest)
{
        int64_t seconds = ms / 1000, rest = ms % 1000;

        if (rest < 0) {
                seconds--;
                rest += 1000;
        }
        *ret_rest = (int)rest;
        return (time_t)seconds;
}

const char *ctl_format_time(char out[static CTL_TIME_MAX], int64_t unix_ms)
{
        int rest;
        time_t t = split_ms(unix_ms, &rest);
        struct tm tm;

        if (!localtime_r(&t, &tm) || !strftime(out, CTL_TIME_MAX, "%Y-%m-%d %H:%M:%S", &tm))
                strcpy(out, "?");
        return out;
}

const char *ctl_format_rfc3339(char out[static CTL_TIME_MAX], int64_t unix_ms)
{
        int rest;
        time_t t = split_ms(unix_ms, &rest);
        struct tm tm;
        size_t n;

        if (!gmtime_r(&t, &tm))
                return strcpy(out, "?");
        n = strftime(out, CTL_TIME_MAX - 8, "%Y-%m-%dT%H:%M:%S", &tm);
        snprintf(out + n, CTL_TIME_MAX - n, ".%03dZ", rest);
        return out;
}

static int parse_time_of_day(const char *text, int64_t now_ms, int64_t *ret_ms)
{
        static const char *const formats[] = {"%H:%M:%S", "%H:%M"};
        time_t now = (time_t)(now_ms / 1000), t;
        struct tm tm;
        const char *end = NULL;

        for (size_t i = 0; i < ARRAY_SIZE(formats) && !(end && !*end); i++) {
                localtime_r(&now, &tm);
                tm.tm_sec = 0;
                end = strptime(text, formats[i], &tm);
        }
        if (!end || *end)
                return -EINVAL;
        tm.tm_isdst = -1;
        t = mktime(&tm);
        if (t > now) {
                tm.tm_mday--;
                tm.tm_isdst = -1;
                t = mktime(&tm);
        }
        *ret_ms = (int64_t)t * 1000;
        return 0;
}

static int parse_date(const char *text, int64_t *ret_ms)
{
        static const char *const formats[] = {"%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M",
                                              "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M"};

        for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
                struct tm tm = {.tm_isdst = -1};
                const char *end = strptime(text, formats[i], &tm);

                if (end && *end == '.')
                        end += 1 + strspn(end + 1, "0123456789");
                if (!end || (*end && strcmp(end, "Z") != 0))
                        continue;
                *ret_ms = (int64_t)(*end ? timegm(&tm) : mktime(&tm)) * 1000;
                return 0;
        }
        return -EINVAL;
}

int ctl_parse_since(const char *text, int64_t now_ms, int64_t *ret_ms)
{
        int64_t ago_ms;

        if (units_parse_duration(text, 1000, &ago_ms) == 0) {
                *ret_ms = now_ms > ago_ms ? now_ms - ago_ms : 0;
                return 0;
        }
        if (parse_time_of_day(text, now_ms, ret_ms) == 0)
                return 0;
        return parse_date(text, ret_ms);
}

/* Bytes of the character at p that a terminal may be given: UTF-8, no control character; 0:
 * none. */
static size_t printable(const unsigned char *p, size_t n)
{
        size_t length = p[0] < 0x80 ? 1 : p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;

        if (p[0] < 0x80)
                return p[0] >= 0x20 && p[0] != 0x7f;
        if (p[0] < 0xc2 || p[0] > 0xf4 || length > n)
                return 0;
        for (size_t i = 1; i < length; i++)
                if ((p[i] & 0xc0) != 0x80)
                        return 0;
        return p[0] == 0xc2 && p[1] < 0xa0 ? 0 : length;
}

void ctl_put_bytes(FILE *f, const char *bytes, size_t n)
{
        const unsigned char *p = (const unsigned char *)bytes;

        for (size_t i = 0; i < n;) {
                size_t length = printable(p + i, n - i);

                if (length)
                        fwrite(p + i, 1, length, f);
                else
                        fprintf(f, "\\x%02x", p[i]);
                i += length ? length : 1;
        }
}

void ctl_put(FILE *f, const char *text)
{
        ctl_put_bytes(f, text, strlen(text));
}

static void put_line(FILE *f, unsigned indent, const char *line, size_t n)
{
        size_t column = CTL_COLUMNS;
        const char *end = line + n;

        for (const char *word = line; word < end;) {
                const char *blank = memchr(word, ' ', (size_t)(end - word));
                size_t length = (size_t)((blank ? blank : end) - word);

                if (column + 1 + length > CTL_COLUMNS - 1) {
                        column = (size_t)fprintf(f, "%s%*s", word == line ? "" : "\n", (int)indent,
                                                 "");
                } else {
                        fputc(' ', f);
                        column++;
                }
                ctl_put_bytes(f, word, length);
                column += length;
                word += length + 1;
        }
        fputc('\n', f);
}

void ctl_put_folded(FILE *f, unsigned indent, const char *text)
{
        while (*text) {
                size_t n = strcspn(text, "\n");

                put_line(f, indent, text, n);
                text += n + (text[n] == '\n');
        }
}

json_t *ctl_json_text(const char *bytes, size_t n)
{
        _cleanup_(buffer_done) struct buffer b = {0};
        json_t *value = json_stringn(bytes, n);

        if (value)
                return value;
        for (size_t i = 0; i < n; i++) {
                unsigned char c = (unsigned char)bytes[i];
                int r = c < 0x80 ? buffer_append(&b, &c, 1) : buffer_printf(&b, "\\x%02x", c);

                if (r < 0)
                        return NULL;
        }
        return json_stringn((const char *)b.data, b.len);
}
