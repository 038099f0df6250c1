/* The names in a folder, sorted, with a mark on each that somebody claims.  Owner: who loads it. */
#pragma once

#include "fs-call.h"

struct scan_name {
        char *text;
        bool is_regular, is_claimed;
};

struct scan {
        size_t n, cap;
        struct scan_name *names;
};

/* Without "." and "..". */
int scan_load(const struct io *io, int dirfd, struct scan *ret);
void scan_done(struct scan *s);
struct scan_name *scan_find(const struct scan *s, const char *name);
