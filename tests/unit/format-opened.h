/* The checkpoints of a fixture, opened and verified as their readers do it.  Owner: the test. */
#pragma once

#include "format-fixture.h"
#include "stored.h"

static inline struct stored_check fixture_check(const struct fixture *f)
{
        return (struct stored_check){.io = &io_real, .dirfd = f->dirfd};
}

/* Opens; fails the test with the text unless it is whole. */
static inline struct stored *fixture_open(const struct fixture *f, const char *name)
{
        _cleanup_(diag_done) struct diag d = {0};
        struct stored *s = NULL;
        int r = stored_open(&io_real, f->dirfd, name, &s, &d);

        if (r < 0)
                fail_msg("%s: %s", name, diag_text(&d, r));
        return s;
}

/* stored_open and stored_verify: 0, or the first's error, or the second's. */
static inline int fixture_verify(const struct fixture *f, const char *name, struct diag *d)
{
        _cleanup_(stored_freep) struct stored *s = NULL;
        struct stored_check how = fixture_check(f);
        int r = stored_open(&io_real, f->dirfd, name, &s, d);

        return r < 0 ? r : stored_verify(s, &how, d);
}
