#include "idl.h"

#include <ctype.h>
#include <string.h>

const struct wire_interface *wire_interface_find(const char *name, size_t name_length)
{
        for (const struct wire_interface *i = wire_interfaces; i->name; i++)
                if (strlen(i->name) == name_length && memcmp(i->name, name, name_length) == 0)
                        return i;
        return NULL;
}

/* Members begin a line in our texts.  Finds the next one of this kind behind *p and moves *p
 * there. */
static bool next_member(const char **p, const char *kind, const char **ret_name, size_t *ret_length)
{
        size_t k = strlen(kind);

        for (const char *line = *p; *line; line += *line == '\n') {
                if (strncmp(line, kind, k) == 0 && line[k] == ' ') {
                        const char *name = line + k + 1;

                        *ret_name = name;
                        for (*p = name; isalnum((unsigned char)**p); ++*p)
                                ;
                        *ret_length = (size_t)(*p - name);
                        return true;
                }
                line += strcspn(line, "\n");
        }
        return false;
}

bool wire_interface_declares(const struct wire_interface *i, const char *kind, const char *name)
{
        const char *p = i->text, *found;
        size_t length;

        while (next_member(&p, kind, &found, &length))
                if (strlen(name) == length && memcmp(name, found, length) == 0)
                        return true;
        return false;
}

int wire_interface_each_method(const struct wire_interface *i,
                               int (*fn)(const char *name, size_t length, void *user), void *user)
{
        const char *p = i->text, *name;
        size_t length;
        int r = 0;

        while (r == 0 && next_member(&p, "method", &name, &length))
                r = fn(name, length, user);
        return r;
}
