#include "json-write.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

static int append(struct buffer *b, const char *text)
{
        return buffer_append(b, text, strlen(text));
}

/* Quotes, backslashes and control characters: the only ones that UTF-8 in JSON must not hold. */
static bool must_escape(uint8_t byte)
{
        return byte < ' ' || byte == '"' || byte == '\\';
}

static int write_escaped(struct buffer *b, uint8_t byte)
{
        static const char *const shorts[] = {
                ['"'] = "\\\"", ['\\'] = "\\\\", ['\b'] = "\\b", ['\f'] = "\\f",
                ['\n'] = "\\n", ['\r'] = "\\r",  ['\t'] = "\\t",
        };

        if (shorts[byte])
                return append(b, shorts[byte]);
        return buffer_printf(b, "\\u%04X", byte);
}

static int write_string(struct buffer *b, const char *text, size_t n)
{
        const uint8_t *p = (const uint8_t *)text;
        size_t from = 0;
        int r = buffer_append(b, "\"", 1);

        for (size_t i = 0; i < n && r == 0; i++) {
                if (!must_escape(p[i]))
                        continue;
                r = buffer_append(b, p + from, i - from);
                if (r == 0)
                        r = write_escaped(b, p[i]);
                from = i + 1;
        }
        if (r == 0)
                r = buffer_append(b, p + from, n - from);
        return r < 0 ? r : buffer_append(b, "\"", 1);
}

static int write_integer(struct buffer *b, json_int_t value)
{
        char digits[24], *p = digits + sizeof(digits);
        uint64_t rest = value < 0 ? -(uint64_t)value : (uint64_t)value;

        do
                *--p = (char)('0' + rest % 10);
        while (rest /= 10);
        if (value < 0)
                *--p = '-';
        return buffer_append(b, p, (size_t)(digits + sizeof(digits) - p));
}

/* Rare, and their shortest form is an art of its own. */
static int write_real(struct buffer *b, const json_t *value)
{
        char digits[64];
        size_t n = json_dumpb(value, digits, sizeof(digits), JSON_ENCODE_ANY | JSON_COMPACT);

        return n == 0 || n > sizeof(digits) ? -EINVAL : buffer_append(b, digits, n);
}

static int write_array(struct buffer *b, const json_t *array)
{
        size_t n = json_array_size(array);
        int r = buffer_append(b, "[", 1);

        for (size_t i = 0; i < n && r == 0; i++) {
                if (i > 0)
                        r = buffer_append(b, ",", 1);
                if (r == 0)
                        r = json_write(b, json_array_get(array, i));
        }
        return r < 0 ? r : buffer_append(b, "]", 1);
}

static int write_object(struct buffer *b, const json_t *object)
{
        json_t *o = (json_t *)object; /* walking changes nothing */
        int r = buffer_append(b, "{", 1);

        for (void *at = json_object_iter(o); at && r == 0; at = json_object_iter_next(o, at)) {
                if (b->data[b->len - 1] != '{')
                        r = buffer_append(b, ",", 1);
                if (r == 0)
                        r = write_string(b, json_object_iter_key(at), json_object_iter_key_len(at));
                if (r == 0)
                        r = buffer_append(b, ":", 1);
                if (r == 0)
                        r = json_write(b, json_object_iter_value(at));
        }
        return r < 0 ? r : buffer_append(b, "}", 1);
}

int json_write(struct buffer *b, const json_t *value)
{
        switch (json_typeof(value)) {
        case JSON_OBJECT:
                return write_object(b, value);
        case JSON_ARRAY:
                return write_array(b, value);
        case JSON_STRING:
                return write_string(b, json_string_value(value), json_string_length(value));
        case JSON_INTEGER:
                return write_integer(b, json_integer_value(value));
        case JSON_REAL:
                return write_real(b, value);
        case JSON_TRUE:
                return append(b, "true");
        case JSON_FALSE:
                return append(b, "false");
        default:
                return append(b, "null");
        }
}
