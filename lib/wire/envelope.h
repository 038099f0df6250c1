/* The varlink envelope: calls and replies around their parameters.  Pure: JSON in, struct out.
 * Source of the rules: varlink (UAPI.20); our choices where it is silent are in the comments. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

struct wire_call {
        const char *method; /* "io.ckptd.Jobs.Attach"; borrowed from the message */
        json_t *parameters; /* borrowed; NULL when absent, null or {} */
        bool oneway, more, upgrade;
};

struct wire_reply {
        const char *error;  /* borrowed; NULL: success */
        json_t *parameters; /* borrowed; may be NULL */
        bool continues;
};

/* -EBADMSG where the connection must be closed: no method, unknown member without a ".", a flag
 * that is no boolean, more than one flag, parameters that are no object. */
int wire_call_parse(json_t *message, struct wire_call *ret);
int wire_reply_parse(json_t *message, struct wire_reply *ret);
/* New references; parameters are stolen and may be NULL.  NULL on lack of memory. */
json_t *wire_call_format(const char *method, json_t *parameters,
                         const char *flag /* "more", "oneway" or NULL */);
json_t *wire_reply_format(const char *error, json_t *parameters, bool continues);
