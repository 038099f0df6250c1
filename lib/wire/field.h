/* JSON objects to structs and back, by table: every parameter struct of every method has one.
 * Decoding is strict: an unknown member, a wrong type, a value out of range or a missing
 * required one is refused by its name.  Strings and objects are borrowed from the JSON value. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum field_type {
        FIELD_STRING, /* const char *; refused with an embedded NUL */
        FIELD_INT,    /* int64_t */
        FIELD_FLOAT,  /* double; integers are taken too; never NaN or infinite */
        FIELD_BOOL,   /* bool */
        FIELD_OBJECT, /* json_t * */
        FIELD_ARRAY,  /* json_t * */
        FIELD_FD,     /* int64_t: the index of a descriptor, 0 … 252 */
};

enum field_flags { FIELD_REQUIRED = 1 << 0, FIELD_NOT_NEGATIVE = 1 << 1, FIELD_NOT_EMPTY = 1 << 2 };

struct field {
        const char *name;
        enum field_type type;
        unsigned flags;
        size_t offset;  /* of the value in the struct */
        size_t present; /* of a bool "has_x" in it, never its first member; 0: not wanted */
};

#define FIELD(type_, struct_, member_, flags_)                                                     \
        {                                                                                          \
#member_, type_, flags_, offsetof(struct_, member_), 0                             \
        }
#define FIELD_END                                                                                  \
        {                                                                                          \
                NULL, FIELD_STRING, 0, 0, 0                                                        \
        }

/* Absent optional members leave the struct's zero (FIELD_FD: -1).  0; -EINVAL and the name of
 * the bad member (static, or borrowed from the object).  object may be NULL (no parameters). */
int field_decode(const struct field *table, json_t *object, void *ret, const char **ret_bad);
/* Required members always, others when not zero/NULL/false/-1.  New reference. */
json_t *field_encode(const struct field *table, const void *from);
