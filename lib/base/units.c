#include "units.h"

#include "cleanup.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define SECOND_MS INT64_C(1000)
#define MINUTE_MS (60 * SECOND_MS)
#define HOUR_MS (60 * MINUTE_MS)
#define DAY_MS (24 * HOUR_MS)

/* From here on days say more than hours do. */
#define DAYS_FROM_MS (2 * DAY_MS)

struct unit {
        const char *name;
        uint64_t factor;
};

/* Longest first, as units_format_interval wants them. */
static const struct unit duration_units[] = {
        {"d", DAY_MS},
        {"h", HOUR_MS},
        {"m", MINUTE_MS},
        {"s", SECOND_MS},
};

static const struct unit size_units[] = {
        {"", 1},
        {"B", 1},
        {"KiB", UINT64_C(1) << 10},
        {"MiB", UINT64_C(1) << 20},
        {"GiB", UINT64_C(1) << 30},
        {"TiB", UINT64_C(1) << 40},
        {"kB", UINT64_C(1000)},
        {"MB", UINT64_C(1000000)},
        {"GB", UINT64_C(1000000000)},
        {"TB", UINT64_C(1000000000000)},
};

/* A decimal number without a sign; fraction in [0, 1). */
struct number {
        uint64_t whole;
        double fraction;
        bool has_fraction;
};

static int parse_whole(const char **at, uint64_t *ret)
{
        uint64_t n = 0;
        bool too_big = false;

        if (!isdigit((unsigned char)**at) || (**at == '0' && isdigit((unsigned char)(*at)[1])))
                return -EINVAL;
        for (; isdigit((unsigned char)**at); (*at)++)
                too_big |= __builtin_mul_overflow(n, 10, &n) ||
                           __builtin_add_overflow(n, (uint64_t)(**at - '0'), &n);
        *ret = n;
        return too_big ? -ERANGE : 0;
}

/* Digits, then perhaps a point and more digits; *at is left behind them.  -EINVAL, -ERANGE. */
static int parse_number(const char **at, struct number *ret)
{
        double scale = 0.1;
        int r = parse_whole(at, &ret->whole);

        ret->fraction = 0;
        ret->has_fraction = **at == '.';
        if (r == -EINVAL || !ret->has_fraction)
                return r;
        (*at)++;
        if (!isdigit((unsigned char)**at))
                return -EINVAL;
        for (; isdigit((unsigned char)**at); (*at)++, scale /= 10)
                ret->fraction += (**at - '0') * scale;
        return r;
}

static int multiply(const struct number *n, uint64_t factor, uint64_t *ret)
{
        uint64_t whole;
        /* Less than 2^53 for every unit here; half rounds up. */
        uint64_t part = (uint64_t)(n->fraction * (double)factor + 0.5);

        if (__builtin_mul_overflow(n->whole, factor, &whole) ||
            __builtin_add_overflow(whole, part, &whole))
                return -ERANGE;
        *ret = whole;
        return 0;
}

static const struct unit *unit_find(const struct unit *units, size_t n, const char *name)
{
        for (size_t i = 0; i < n; i++)
                if (strcmp(units[i].name, name) == 0)
                        return &units[i];
        return NULL;
}

int units_parse_duration(const char *text, int64_t unit_ms, int64_t *ret_ms)
{
        const struct unit *u;
        struct number n;
        uint64_t ms = 0;
        int r = parse_number(&text, &n);

        if (r == -EINVAL)
                return r;
        u = unit_find(duration_units, ARRAY_SIZE(duration_units), text);
        if (!u && *text)
                return -EINVAL;
        if (r == 0)
                r = multiply(&n, u ? u->factor : (uint64_t)unit_ms, &ms);
        if (r < 0)
                return r;
        if (ms > INT64_MAX)
                return -ERANGE;
        *ret_ms = (int64_t)ms;
        return 0;
}

int units_parse_size(const char *text, uint64_t *ret_bytes)
{
        const struct unit *u;
        struct number n;
        int r = parse_number(&text, &n);

        if (r == -EINVAL)
                return r;
        u = unit_find(size_units, ARRAY_SIZE(size_units), text);
        if (!u || (n.has_fraction && u->factor == 1))
                return -EINVAL;
        return r < 0 ? r : multiply(&n, u->factor, ret_bytes);
}

const char *units_format_duration(char out[static UNITS_TEXT_MAX], int64_t ms)
{
        if (ms < 0)
                ms = 0;
        if (ms > 0 && ms < 10)
                snprintf(out, UNITS_TEXT_MAX, "%" PRId64 "ms", ms);
        else if (ms < SECOND_MS)
                snprintf(out, UNITS_TEXT_MAX, "0.%02" PRId64 "s", ms / 10);
        else if (ms < 10 * SECOND_MS)
                snprintf(out, UNITS_TEXT_MAX, "%" PRId64 ".%" PRId64 "s", ms / SECOND_MS,
                         ms % SECOND_MS / 100);
        else if (ms < MINUTE_MS)
                snprintf(out, UNITS_TEXT_MAX, "%" PRId64 "s", ms / SECOND_MS);
        else if (ms < HOUR_MS)
                snprintf(out, UNITS_TEXT_MAX, "%" PRId64 "m %" PRId64 "s", ms / MINUTE_MS,
                         ms % MINUTE_MS / SECOND_MS);
        else if (ms < DAYS_FROM_MS)
                snprintf(out, UNITS_TEXT_MAX, "%" PRId64 "h %" PRId64 "m", ms / HOUR_MS,
                         ms % HOUR_MS / MINUTE_MS);
        else
                snprintf(out, UNITS_TEXT_MAX, "%" PRId64 " days", ms / DAY_MS);
        return out;
}

const char *units_format_us(char out[static UNITS_TEXT_MAX], int64_t us)
{
        if (us <= 0 || us >= 10000)
                return units_format_duration(out, us / 1000);
        if (us < 100)
                snprintf(out, UNITS_TEXT_MAX, "%" PRId64 "us", us);
        else
                snprintf(out, UNITS_TEXT_MAX, "%" PRId64 ".%" PRId64 "ms", us / 1000,
                         us % 1000 / 100);
        return out;
}

const char *units_format_size(char out[static UNITS_TEXT_MAX], uint64_t bytes)
{
        static const char *const names[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
        double value = (double)bytes / 1024;
        size_t i = 0;

        if (bytes < 1024) {
                snprintf(out, UNITS_TEXT_MAX, "%" PRIu64 " B", bytes);
                return out;
        }
        /* 1023.95 would be printed as 1024.0. */
        for (; value >= 1023.95 && i + 1 < ARRAY_SIZE(names); i++)
                value /= 1024;
        snprintf(out, UNITS_TEXT_MAX, "%.1f %s", value, names[i]);
        return out;
}

/* Seconds with as many decimals as the milliseconds need. */
static void format_seconds(char out[static UNITS_TEXT_MAX], int64_t ms)
{
        int n = snprintf(out, UNITS_TEXT_MAX - 1, "%" PRId64 ".%03" PRId64, ms / SECOND_MS,
                         ms % SECOND_MS);

        while (out[n - 1] == '0')
                n--;
        out[n] = 's';
        out[n + 1] = '\0';
}

const char *units_format_interval(char out[static UNITS_TEXT_MAX], int64_t ms)
{
        if (ms <= 0)
                return strcpy(out, "0s");
        for (size_t i = 0; i < ARRAY_SIZE(duration_units); i++)
                if (ms % (int64_t)duration_units[i].factor == 0) {
                        snprintf(out, UNITS_TEXT_MAX, "%" PRId64 "%s",
                                 ms / (int64_t)duration_units[i].factor, duration_units[i].name);
                        return out;
                }
        format_seconds(out, ms);
        return out;
}
