#include "format.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

const struct format *const formats[] = {&format_tensorbundle, &format_safetensors, NULL};

const struct format *format_by_name(const char *name)
{
        for (size_t i = 0; formats[i]; i++)
                if (strcmp(formats[i]->name, name) == 0)
                        return formats[i];
        return NULL;
}

int format_check_name(const struct format *f, const char *path, struct diag *d)
{
        const char *bad;

        if (!*path)
                return diag_set(d, -EINVAL, "a checkpoint's name cannot be empty");
        if (strlen(path) >= PATH_MAX)
                return diag_set(d, -ENAMETOOLONG, "%.64s…: the name is too long", path);
        if (!f->state_file)
                return 0;
        bad = strpbrk(path, "*?[]\\");
        if (bad)
                return diag_set(d, -EINVAL,
                                "%s: TensorFlow takes '%c' in a checkpoint's path for a pattern",
                                path, *bad);
        return 0;
}
