/* TensorFlow's `checkpoint` state file: CheckpointState in protobuf text format, as
 * tensorflow/python/checkpoint/checkpoint_management.py writes and reads it.  Pure. */
#pragma once

#include "buffer.h"
#include "diag.h"

struct state_file {
        char *newest; /* model_checkpoint_path */
        size_t n;
        char **paths;          /* all_model_checkpoint_paths, oldest first */
        double *timestamps;    /* as many as paths, or NULL */
        double last_preserved; /* 0: none */
};

void state_file_done(struct state_file *f);
/* -EBADMSG with line and reason.  Accepts all of protobuf's text format that TensorFlow accepts. */
int state_file_parse(const char *text, size_t length, struct state_file *ret, struct diag *d);
int state_file_format(const struct state_file *f, struct buffer *ret);
