/* A manifest's JSON. The reader of text and the reader of jansson's tree must take the same
 * ones and read the same in them. */
#include "manifest.h"

#include "format.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
        if (!condition)
                abort();
}

static void lay_out(struct manifest *m)
{
        _cleanup_(diag_done) struct diag d = {0};
        uint64_t bytes = 0;

        for (size_t i = 0; i < m->n; i++)
                bytes += m->tensors[i].bytes;
        require(manifest_share(&m, 1, &d) == 0);
        for (size_t i = 0; formats[i]; i++)
                if (formats[i]->layout(m, 1, &d) == 0)
                        require(m->bytes >= bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(manifest_freep) struct manifest *a = NULL, *b = NULL;
        _cleanup_(diag_done) struct diag d = {0};
        json_t *json = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
        int r = manifest_parse((const char *)data, size, &a, &d);
        int k = json ? manifest_from_json(json, &b, NULL) : -1;

        json_decref(json);
        require(r == 0 || d.text);
        /* jansson overlooks a zero byte behind a number */
        require((r == 0) == (k == 0) || (k == 0 && memchr(data, 0, size)));
        if (r < 0)
                return 0;
        require(manifest_equal(a, b));
        for (size_t i = 0; i < a->n; i++)
                require(manifest_find(a, a->tensors[i].name) != NULL);
        lay_out(a);
        return 0;
}
