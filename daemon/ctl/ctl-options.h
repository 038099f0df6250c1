/* Options by table: a command's own and the global ones, before and after the command's name.
 * The same tables make the help.  Never exits, never prints: mistakes go into a diag. */
#pragma once

#include "diag.h"

#include <stddef.h>
#include <stdio.h>

enum ctl_option_type {
        CTL_OPTION_FLAG,     /* bool */
        CTL_OPTION_TEXT,     /* const char * */
        CTL_OPTION_COUNT,    /* int64_t, 1 or more */
        CTL_OPTION_DURATION, /* int64_t, ms; bare numbers are seconds */
        CTL_OPTION_SINCE,    /* int64_t, Unix ms: a duration ago, a time of day, a date, or both */
};

struct ctl_option {
        const char *name; /* without "--" */
        enum ctl_option_type type;
        const char *argument; /* "T"; NULL for flags */
        const char *help;
        size_t offset;
};

struct ctl;
struct ctl_command;

/* Fills c; frees nothing on failure (ctl_done does).  -EINVAL with the diag for people. */
int ctl_parse(struct ctl *c, int argc, char **argv, struct diag *d);
void ctl_done(struct ctl *c);
void ctl_help(FILE *f, const struct ctl_command *command); /* NULL: of ckptctl as a whole */
