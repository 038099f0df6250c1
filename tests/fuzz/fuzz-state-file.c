/* TensorFlow's `checkpoint` file.  What is read must survive being written and read again. */
#include "state-file.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
        if (!condition)
                abort();
}

static bool same_number(double a, double b)
{
        return memcmp(&a, &b, sizeof(a)) == 0 || (isnan(a) && isnan(b));
}

static void check_same(const struct state_file *a, const struct state_file *b)
{
        require(strcmp(a->newest, b->newest) == 0);
        require(a->n == b->n);
        for (size_t i = 0; i < a->n; i++) {
                require(strcmp(a->paths[i], b->paths[i]) == 0);
                require(!a->timestamps || same_number(a->timestamps[i], b->timestamps[i]));
        }
        require(same_number(a->last_preserved + 0.0, b->last_preserved + 0.0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(state_file_done) struct state_file f = {0}, again = {0};
        _cleanup_(buffer_done) struct buffer text = {0};
        _cleanup_(diag_done) struct diag d = {0};
        int r = state_file_parse((const char *)data, size, &f, &d);

        if (r < 0) {
                require(d.text && strncmp(d.text, "line ", 5) == 0);
                return 0;
        }
        require(state_file_format(&f, &text) == 0);
        require(state_file_parse((const char *)text.data, text.len, &again, NULL) == 0);
        check_same(&f, &again);
        return 0;
}
