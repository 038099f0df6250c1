#include "ctl.h"

#include "ctl-text.h"

#include <linux/limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int ctl_fail(int exit_code, const char *format, ...)
{
        _cleanup_(freep) char *text = NULL;
        char *rest;
        va_list args;

        va_start(args, format);
        if (vasprintf(&text, format, args) < 0)
                text = NULL;
        va_end(args);
        fflush(stdout);
        fputs("ckptctl: ", stderr);
        rest = text;
        for (char *line; (line = strsep(&rest, "\n"));) {
                ctl_put(stderr, line);
                fputc('\n', stderr);
        }
        return exit_code;
}

int ctl_print_json(json_t *value)
{
        if (!value)
                return ctl_fail(CTL_FAILED, "out of memory");
        json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
        putchar('\n');
        json_decref(value);
        return CTL_DONE;
}

/* Of a path that is not there: its own text, made absolute. */
static char *absolute_text(const char *path)
{
        char cwd[PATH_MAX], *out;

        if (path[0] == '/' || !getcwd(cwd, sizeof(cwd)))
                return strdup(path);
        return asprintf(&out, "%s/%s", cwd, path) < 0 ? NULL : out;
}

char *ctl_absolute(const char *path)
{
        char *real = realpath(path, NULL);

        return real ? real : absolute_text(path);
}
