#include "scalar.h"

#include "cleanup.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool is_one_of(const char *text, const char *const *names)
{
        for (; *names; names++)
                if (strcmp(text, *names) == 0)
                        return true;
        return false;
}

bool scalar_is_null(const char *text)
{
        static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};

        return is_one_of(text, nulls);
}

int scalar_parse_bool(const char *text, bool *ret)
{
        static const char *const yes[] = {"true", "True", "TRUE", NULL};
        static const char *const no[] = {"false", "False", "FALSE", NULL};
        bool is_yes = is_one_of(text, yes);

        if (!is_yes && !is_one_of(text, no))
                return -EINVAL;
        *ret = is_yes;
        return 0;
}

int scalar_parse_count(const char *text, int64_t *ret)
{
        int64_t n = 0;
        bool too_big = false;

        if (!*text || (text[0] == '0' && text[1]))
                return -EINVAL;
        for (; *text; text++) {
                if (!isdigit((unsigned char)*text))
                        return -EINVAL;
                too_big |= __builtin_mul_overflow(n, 10, &n) ||
                           __builtin_add_overflow(n, *text - '0', &n);
        }
        if (too_big)
                return -ERANGE;
        *ret = n;
        return 0;
}

static bool same_letters(const char *a, const char *b)
{
        while (*a && tolower((unsigned char)*a) == tolower((unsigned char)*b))
                a++, b++;
        return !*a && !*b;
}

static size_t count_digits(const char *text)
{
        return strspn(text, "0123456789");
}

static void hint_bool(const char *text, char *out)
{
        static const char *const yes[] = {"yes", "on", "y", "1", NULL};
        static const char *const no[] = {"no", "off", "n", "0", NULL};

        for (size_t i = 0; yes[i]; i++)
                if (same_letters(text, yes[i]))
                        strcpy(out, "; write true");
                else if (same_letters(text, no[i]))
                        strcpy(out, "; write false");
}

static void hint_leading_zero(const char *text, char *out)
{
        size_t zeros = strspn(text, "0"), digits = count_digits(text);

        if (zeros == 0 || digits < 2)
                return;
        if (zeros == digits)
                zeros--;
        snprintf(out, SCALAR_TEXT_MAX, "; write %.64s", text + zeros);
}

static void hint_underscore(const char *text, char *out)
{
        char plain[SCALAR_SHOWN_BYTES + 1];
        size_t n = 0;

        if (!isdigit((unsigned char)*text) || !strchr(text, '_') ||
            strlen(text) > SCALAR_SHOWN_BYTES)
                return;
        for (; *text; text++)
                if (*text != '_')
                        plain[n++] = *text;
        plain[n] = '\0';
        snprintf(out, SCALAR_TEXT_MAX, "; write %s", plain);
}

static void hint_sixties(const char *text, char *out)
{
        size_t n = count_digits(text);

        if (n > 0 && text[n] == ':' && text[n + 1] &&
            text[n + 1 + strspn(text + n + 1, "0123456789:")] == '\0')
                strcpy(out, "; 10:00 is no number in YAML 1.2, ten minutes are 10m");
}

/* 8G, 8Gi, 8g: is that a power of 1024 or of 1000? */
static void hint_size(const char *text, char *out)
{
        size_t n = strspn(text, "0123456789.");
        const char *unit = text + n;
        char letter = (char)toupper((unsigned char)*unit);

        if (n == 0 || n > 20 || !letter || !strchr("KMGT", letter) ||
            (unit[1] && !same_letters(unit + 1, "i") && !same_letters(unit + 1, "ib") &&
             !same_letters(unit + 1, "b")))
                return;
        snprintf(out, SCALAR_TEXT_MAX, "; write %.*s%ciB or %.*s%cB", (int)n, text, letter, (int)n,
                 text, letter == 'K' ? 'k' : letter);
}

const char *scalar_hint(const char *text, enum scalar_kind kind, char out[static SCALAR_TEXT_MAX])
{
        static const struct {
                unsigned kinds;
                void (*hint)(const char *text, char *out);
        } hints[] = {
                {SCALAR_BOOL, hint_bool},
                {SCALAR_COUNT | SCALAR_DURATION, hint_sixties},
                {SCALAR_COUNT | SCALAR_DURATION | SCALAR_SIZE, hint_leading_zero},
                {SCALAR_COUNT | SCALAR_DURATION | SCALAR_SIZE, hint_underscore},
                {SCALAR_SIZE, hint_size},
        };

        out[0] = '\0';
        for (size_t i = 0; i < ARRAY_SIZE(hints) && !out[0]; i++)
                if (hints[i].kinds & kind)
                        hints[i].hint(text, out);
        return out;
}

const char *scalar_show(const char *text, char out[static SCALAR_TEXT_MAX])
{
        size_t length = strlen(text), n = 0;

        if (length == 0)
                return strcpy(out, "nothing");
        if (length > SCALAR_SHOWN_BYTES)
                /* Back to the first byte of a UTF-8 character. */
                for (length = SCALAR_SHOWN_BYTES;
                     length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80;)
                        length--;
        for (; n < length; n++)
                out[n] = (unsigned char)text[n] < ' ' || text[n] == 0x7f ? '?' : text[n];
        strcpy(out + n, text[length] ? "..." : "");
        return out;
}
