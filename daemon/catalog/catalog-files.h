/* The files beside the catalog's own: its folder, the lock that says which daemon has it, the
 * reserve that is given up on a full disk, and what a broken catalog is renamed to.  Knows nothing
 * of SQLite but the names of its files. */
#pragma once

#include "diag.h"

#include <stdbool.h>
#include <stdint.h>

/* Makes the folder of path, and those above it, where they are missing. */
int catalog_files_make_folder(const char *path, struct diag *d);
/* The locked descriptor, >= 0; held until it is closed.  -EBUSY: the diag names the pid that has
 * it. */
int catalog_files_lock(const char *path, struct diag *d);
/* Makes the file with its mode, so that SQLite's own files get the same: 0640. */
int catalog_files_create(const char *path, struct diag *d);
/* Renames the file, its log and its index; ret_name: the new name of the first. */
int catalog_files_set_aside(const char *path, char **ret_name, struct diag *d);
/* Makes the reserve if the disk has room for it and as much again. */
int catalog_files_reserve(const char *path);
/* 1: there was one, and its space is free now; 0: there is none. */
int catalog_files_give_up_reserve(const char *path);
uint64_t catalog_files_bytes(const char *path); /* of the file and its log */
