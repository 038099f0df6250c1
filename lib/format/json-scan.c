#include "json-scan.h"

#include "utf8.h"

#include <errno.h>
#include <string.h>

int json_scan_fail(const struct json_scan *s, const char *why)
{
        unsigned line = 1, column = 1;

        for (const char *p = s->start; p < s->at; p++) {
                column++;
                if (*p == '\n') {
                        line++;
                        column = 1;
                }
        }
        return diag_set(s->d, -EINVAL, "%s: line %u column %u: %s", s->what, line, column, why);
}

static void skip_space(struct json_scan *s)
{
        while (s->at < s->end &&
               (*s->at == ' ' || *s->at == '\n' || *s->at == '\t' || *s->at == '\r'))
                s->at++;
}

bool json_scan_char(struct json_scan *s, char c)
{
        skip_space(s);
        if (s->at == s->end || *s->at != c)
                return false;
        s->at++;
        return true;
}

int json_scan_expect(struct json_scan *s, char c)
{
        char why[] = "'?' is expected";

        if (json_scan_char(s, c))
                return 0;
        why[1] = c;
        return json_scan_fail(s, why);
}

static int take_hex(struct json_scan *s, uint32_t *ret)
{
        uint32_t v = 0;

        if (s->end - s->at < 4)
                return json_scan_fail(s, "a string does not end");
        for (int i = 0; i < 4; i++, s->at++) {
                static const char digits[] = "0123456789abcdefABCDEF";
                const char *digit = *s->at ? strchr(digits, *s->at) : NULL;

                if (!digit)
                        return json_scan_fail(s, "bad escape in a string");
                v = v << 4 | (uint32_t)(digit - digits < 16 ? digit - digits : digit - digits - 6);
        }
        *ret = v;
        return 0;
}

static int take_unicode(struct json_scan *s, struct buffer *b)
{
        uint8_t bytes[UTF8_MAX_BYTES];
        uint32_t c, low;
        int r = take_hex(s, &c);

        if (r < 0)
                return r;
        if (c >= 0xd800 && c < 0xdc00) {
                if (s->end - s->at < 2 || s->at[0] != '\\' || s->at[1] != 'u')
                        return json_scan_fail(s, "half a surrogate pair in a string");
                s->at += 2;
                r = take_hex(s, &low);
                if (r < 0)
                        return r;
                if (low < 0xdc00 || low > 0xdfff)
                        return json_scan_fail(s, "half a surrogate pair in a string");
                c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        } else if (c >= 0xdc00 && c < 0xe000)
                return json_scan_fail(s, "half a surrogate pair in a string");
        if (c == 0)
                return json_scan_fail(s, "a zero byte in a string");
        return buffer_append(b, bytes, utf8_put(bytes, c));
}

static int take_escape(struct json_scan *s, struct buffer *b)
{
        static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
        const char *known;

        if (s->at == s->end)
                return json_scan_fail(s, "a string does not end");
        if (*s->at == 'u') {
                s->at++;
                return take_unicode(s, b);
        }
        known = *s->at ? strchr(names, *s->at) : NULL;
        if (!known)
                return json_scan_fail(s, "bad escape in a string");
        s->at++;
        return buffer_append(b, &values[known - names], 1);
}

/* How many bytes need no attention but copying; -EINVAL. */
static ssize_t plain_length(const struct json_scan *s)
{
        const uint8_t *p = (const uint8_t *)s->at, *end = (const uint8_t *)s->end;

        while (p < end && *p != '"' && *p != '\\') {
                size_t n = *p < 0x80 ? 1 : utf8_length(p, end);

                if (n == 0)
                        return json_scan_fail(s, "a string is not UTF-8");
                if (*p < 0x20)
                        return json_scan_fail(s, "a control character in a string");
                p += n;
        }
        return p - (const uint8_t *)s->at;
}

int json_scan_string(struct json_scan *s, struct buffer *b)
{
        int r;

        b->len = 0;
        if (!json_scan_char(s, '"'))
                return json_scan_fail(s, "a string is expected");
        for (;;) {
                ssize_t n = plain_length(s);

                r = n < 0 ? (int)n : buffer_append(b, s->at, (size_t)n);
                if (r < 0)
                        return r;
                s->at += n;
                if (s->at == s->end)
                        return json_scan_fail(s, "a string does not end");
                if (*s->at++ == '"')
                        return 0;
                r = take_escape(s, b);
                if (r < 0)
                        return r;
        }
}

int json_scan_integer(struct json_scan *s, int64_t *ret)
{
        bool negative = json_scan_char(s, '-');
        const char *first = s->at;
        int64_t v = 0;

        for (; s->at < s->end && *s->at >= '0' && *s->at <= '9'; s->at++) {
                int digit = negative ? '0' - *s->at : *s->at - '0';

                if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, digit, &v))
                        return json_scan_fail(s, "a number is too big");
        }
        if (s->at == first || (*first == '0' && s->at - first > 1) ||
            (s->at < s->end && (*s->at == '.' || *s->at == 'e' || *s->at == 'E')))
                return json_scan_fail(s, "an integer is expected");
        *ret = v;
        return 0;
}

bool json_scan_null(struct json_scan *s)
{
        skip_space(s);
        if (s->end - s->at < 4 || memcmp(s->at, "null", 4) != 0)
                return false;
        s->at += 4;
        return true;
}
