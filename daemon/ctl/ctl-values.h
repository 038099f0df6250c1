/* The values of one tensor, as people read them: all of them up to CTL_VALUES_MAX, else the
 * first and last few. Filled from a stream of its bytes, so that a tensor of any size can be
 * looked at.  Owned by the command. */
#pragma once

#include "dtype.h"
#include "stored.h"

#include <jansson.h>
#include <stdio.h>

#define CTL_VALUES_MAX 1000   /* printed whole */
#define CTL_VALUES_EDGE 50    /* else so many at either end */
#define CTL_VALUE_TEXT_MAX 96 /* bytes of one value's text, NUL included */

struct ctl_values {
        const struct stored_tensor *tensor;
        uint64_t n;    /* elements in all */
        uint64_t edge; /* elements kept at either end; n: all are kept */
        uint64_t at;   /* bytes seen */
        struct buffer first, last;
        uint64_t *lengths; /* of strings, which are all in `first` */
};

void ctl_values_done(struct ctl_values *v);
/* As stored_stream and stored_strings. */
int ctl_values_read(struct ctl_values *v, const struct stored *s, const struct stored_check *how,
                    const struct stored_tensor *t, struct diag *d);
/* One line an innermost row, behind its place where there are several dimensions. */
void ctl_values_print(FILE *f, const struct ctl_values *v);
/* Row-major, flat; NULL: too many, or no memory. */
json_t *ctl_values_json(const struct ctl_values *v);
/* One element as text: shortest decimals that read back the same. */
const char *ctl_value_text(char out[static CTL_VALUE_TEXT_MAX], const struct dtype *t,
                           const void *p);
