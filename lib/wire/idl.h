/* The interface texts: embedded from the .varlink files, served by GetInterfaceDescription, and
 * checked at start against the handlers, so that documentation and code cannot part. */
#pragma once

#include "diag.h"

#include <stdbool.h>

struct wire_interface {
        const char *name; /* "io.ckptd.Jobs" */
        const char *text; /* the .varlink file, whole */
};

extern const struct wire_interface
        wire_interfaces[]; /* org.varlink.service first; ends with name NULL */

const struct wire_interface *wire_interface_find(const char *name, size_t name_length);
/* Does the text declare this method (`kind` "method") or error ("error")?  name without the
 * interface. */
bool wire_interface_declares(const struct wire_interface *i, const char *kind, const char *name);
/* Calls fn with each declared method's name. Stops when fn returns non-zero, and returns that. */
int wire_interface_each_method(const struct wire_interface *i,
                               int (*fn)(const char *name, size_t length, void *user), void *user);
