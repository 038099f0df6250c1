/* One description of columns, two outputs: a table for people and JSON for programs.  Rows are
 * JSON objects, most of them as the daemon sent them.  The caller owns rows and columns; nothing
 * is kept. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/*                  in a row               in the table              in JSON */
enum ctl_type {
        CTL_TEXT,     /* string                 left                      string */
        CTL_STATE,    /* string                 left; red unless good     string */
        CTL_COUNT,    /* integer                right                     integer */
        CTL_RATE,     /* number                 right, three digits       number */
        CTL_SIZE,     /* integer, bytes         right, "78.2 GiB"         integer */
        CTL_TIME,     /* integer, Unix ms       left, local time          RFC 3339, UTC */
        CTL_DURATION, /* integer, ms            right, "3m 15s"           integer */
        CTL_BOOL,     /* boolean                left, yes or no           boolean */
        CTL_LIST,     /* array of strings       left, joined by ", "      array */
        CTL_SHAPE,    /* array of integers      left, "[4,3]"             array */
};

#define CTL_COLUMNS_MAX 32 /* in the table of a command */

struct ctl_column {
        const char *title; /* NULL: in JSON only */
        const char *key;   /* of the JSON output; NULL: in the table only */
        const char *from;  /* the row's member; NULL: as key */
        enum ctl_type type;
        /* The table's cell where the type alone does not make it.  malloc'ed; NULL: "-". */
        char *(*text)(const json_t *row);
        bool if_any; /* left out of the table where no row has a value */
};

struct ctl_table {
        const struct ctl_column *columns; /* title and key NULL at the end */
        const json_t *rows;               /* an array of objects */
        const char *without;              /* title of a column that the table leaves out, or NULL */
        bool color;
};

/* Absent and null members are absent in JSON and "-" in the table.  0 or -ENOMEM. */
int ctl_table_print(FILE *f, const struct ctl_table *t);
/* New references; NULL: no memory. */
json_t *ctl_table_json(const struct ctl_table *t);
json_t *ctl_table_row_json(const struct ctl_column *columns, const json_t *row);
/* "[4096,1024]" of an array of integers; malloc'ed. */
char *ctl_shape_text(const json_t *shape);
