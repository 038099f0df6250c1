/* Records: .ckptd/checkpoints/NAME.json, one a checkpoint, which outlive the catalog.  Read as
 * untrusted text: a name or file outside the directory, an unknown member, a second version are
 * refused. */
#pragma once

#include "buffer.h"
#include "checkpoint.h"
#include "directory.h"
#include "stored.h"

#define RECORD_FILE_MAX 256       /* bytes of NAME.json, NUL included */
#define RECORD_NAME_MAX_BYTES 240 /* of NAME */

/* One plain name of the directory itself: no '/', no "..", no control character, not hidden. */
bool record_is_plain_name(const char *name);
/* The files of a checkpoint as a record lists them, the index last.  -EINVAL: not plain names. */
int record_take_files(const struct stored *s, struct checkpoint_file **ret, size_t *ret_n);
/* NAME.json; -EINVAL: not a plain name or too long. */
int record_file_name(char out[static RECORD_FILE_MAX], const char *name);

int record_format(const struct checkpoint *c, struct buffer *ret);
/* -EBADMSG, -EPROTONOSUPPORT (a newer version) with the reason. */
int record_parse(const char *text, size_t length, struct checkpoint **ret, struct diag *d);

/* The record of file name `file` in folder dirfd; its name must be the one it stands under. */
int record_load(const struct io *io, struct place at, struct checkpoint **ret, struct diag *d);
/* Writes it anew in folder dirfd: temporary, fsync, rename, fsync. */
int record_write(struct store_dir *d, int dirfd, const struct checkpoint *c);
/* A record that says `publishing`, under its own name, open for its sync: the claim of a save.
 * -EEXIST. */
int record_claim(struct store_dir *d, const struct checkpoint *c, int *ret_fd);
/* Turns the claim's `publishing` into `whole`, in place: these bytes lie in one sector of the disk,
 * so that a crash leaves either. */
int record_mark_whole(struct store_dir *d, const struct checkpoint *c, int fd);
/* Removes it and syncs the folder. */
int record_remove(const struct store_dir *d, int dirfd, const char *name);
