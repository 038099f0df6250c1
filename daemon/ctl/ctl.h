/* ckptctl: what every command shares.  A command is one file with one `const struct
 * ctl_command`; the table of them is in ctl-commands.c, and options, help and usage come from
 * its entries.  Commands print and return an exit code; failures are told once, by ctl_fail.
 * Knows the wire and the formats, and nothing of the daemon's inside. */
#pragma once

#include "cleanup.h"
#include "ctl-options.h"
#include "diag.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum ctl_exit {
        CTL_DONE = 0,
        CTL_FAILED = 1, /* or the answer is no */
        CTL_USAGE = 2,
        CTL_NO_DAEMON = 3,
        CTL_NONE_WHOLE = 4,
        CTL_TIMED_OUT = 5,
};

struct ctl;

struct ctl_command {
        const char *name;
        const char *arguments;            /* "[DIR]"; NULL: takes none */
        const char *summary;              /* one line of `ckptctl --help` */
        const char *text;                 /* more for `ckptctl NAME --help`; may be NULL */
        const struct ctl_option *options; /* name NULL at the end; may be NULL */
        size_t options_bytes;             /* of the struct that they fill; 0: none */
        size_t min_args, max_args;
        bool no_json;
        int (*run)(struct ctl *c); /* enum ctl_exit */
};

struct ctl {
        bool json, help, version;
        const char *socket; /* --socket, or NULL */
        bool color;         /* standard output is a terminal that may be coloured */
        const struct ctl_command *command;
        void *options; /* zeroed, then filled by the command's options */
        size_t n_args;
        char **args; /* borrowed texts */
};

extern const struct ctl_command *const ctl_commands[]; /* NULL at the end */
const struct ctl_command *ctl_command_find(const char *name);
/* Why there is no such command: its kin, or that it is of a later version.  -EINVAL. */
int ctl_command_unknown(const char *name, struct diag *d);

extern const struct ctl_command ctl_check, ctl_history, ctl_inspect, ctl_latest, ctl_list,
        ctl_reload, ctl_save, ctl_status, ctl_verify;

/* "ckptctl: …" on standard error; returns the exit code.  Control characters are shown as \xHH. */
int ctl_fail(int exit_code, const char *format, ...) _printf_(2, 3);
/* JSON to standard output; steals value.  CTL_DONE, or CTL_FAILED for NULL (no memory). */
int ctl_print_json(json_t *value);
/* The path as the daemon names it: absolute, links resolved where it exists.  malloc'ed; NULL:
 * no memory. */
char *ctl_absolute(const char *path);
