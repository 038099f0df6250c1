/* Every limit of the project, in one place.  A number with a meaning of its own that is no limit
 * stands in its owner's header. */
#pragma once

#define LIMIT_MESSAGE_BYTES (1024 * 1024)    /* one varlink message */
#define LIMIT_MESSAGE_DEPTH 32               /* JSON nesting of a message */
#define LIMIT_MESSAGE_FDS 253                /* descriptors with one message (the kernel's own) */
#define LIMIT_OUTPUT_BYTES (8 * 1024 * 1024) /* waiting for a slow reader, before it is cut */
#define LIMIT_SESSIONS 4096                  /* connections in all */
#define LIMIT_SESSIONS_PER_UID 2048          /* connections of one user */
#define LIMIT_IDLE_MS (60 * 1000)            /* a connection that has sent half a message */
#define LIMIT_MANIFEST_BYTES (64 * 1024 * 1024) /* JSON text of one rank's manifest */
#define LIMIT_TENSORS 200000                    /* of one rank's manifest */
#define LIMIT_NAME_BYTES 4096                   /* a tensor's name */
#define LIMIT_RANK 254                        /* dimensions of a tensor (TensorFlow's own limit) */
#define LIMIT_STATE_BYTES (1LL << 46)         /* one rank's data file */
#define LIMIT_WORLD_SIZE 4096                 /* ranks of a job on one node */
#define LIMIT_MODEL_DIRS 100000               /* registered directories */
#define LIMIT_CHECKPOINTS 1000000             /* in one directory */
#define LIMIT_SETTINGS_BYTES (1024 * 1024)    /* one YAML file */
#define LIMIT_SETTINGS_DEPTH 16               /* nesting in YAML */
#define LIMIT_SETTINGS_NODES 100000           /* after aliases are followed */
#define LIMIT_INDEX_BYTES (512 * 1024 * 1024) /* a bundle's index, a safetensors header */
#define LIMIT_STATE_FILE_BYTES (16 * 1024 * 1024) /* TensorFlow's `checkpoint` */
#define LIMIT_RECORD_BYTES (1024 * 1024)          /* .ckptd/checkpoints/NAME.json */
#define LIMIT_CHECKPOINT_NAME_BYTES 200           /* a checkpoint's name, without step and suffix */
#define LIMIT_MISFITS 20                          /* listed in one message */
