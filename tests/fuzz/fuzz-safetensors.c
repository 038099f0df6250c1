/* The header of a safetensors file: the input is 4 bytes (little-endian) of how much data
 * follows it, and the JSON. Bit 31 pads the header as ours are, bit 30 also makes its own sum
 * right. */
#include "crc32c.h"
#include "safetensors.h"
#include "stored-build.h"
#include "varint.h"

#include <string.h>

#define PADDED (1u << 31)
#define MENDED (1u << 30)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
        if (!condition)
                abort();
}

static void mend(uint8_t *head, size_t n)
{
        static const char before[] = "\"head_crc32c\":\"";
        uint8_t *at = memmem(head, n, before, strlen(before));
        char digits[9];

        if (!at || n - (size_t)(at - head) < strlen(before) + 8)
                return;
        at += strlen(before);
        snprintf(digits, sizeof(digits), "%08x", safetensors_own_sum(head, n, (size_t)(at - head)));
        memcpy(at, digits, 8);
}

static void check(const struct stored *s, uint64_t file_bytes)
{
        uint64_t sum = 0;

        for (size_t i = 0; i < s->n_tensors; i++) {
                const struct stored_tensor *t = &s->tensors[i];

                require(t->n_parts == 1 && t->parts[0].bytes == t->bytes);
                sum += t->bytes;
        }
        require(sum <= file_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(stored_freep) struct stored *s = NULL;
        _cleanup_(damage_done) struct damage damage = {0};
        _cleanup_(diag_done) struct diag d = {0};
        _cleanup_(freep) uint8_t *head = NULL;
        struct safetensors_source source;
        uint32_t control;
        size_t n, file;

        if (size < 4)
                return 0;
        control = fixed32_get(data);
        n = 8 + size - 4;
        if (control & PADDED)
                n = (n + SAFETENSORS_ALIGNMENT - 1) / SAFETENSORS_ALIGNMENT * SAFETENSORS_ALIGNMENT;
        head = malloc(n);
        require(head != NULL);
        memset(head, ' ', n);
        fixed64_put(head, n - 8);
        memcpy(head + 8, data + 4, size - 4);
        if (control & MENDED)
                mend(head, n);
        source = (struct safetensors_source){head, n, n + (control & 0xffffff)};
        require(stored_new(&format_safetensors, "m", &s) == 0);
        require(stored_add_file(s, "m.safetensors", &file) == 0);
        if (safetensors_parse(&source, s, file, &damage, &d) == 0 && damage.n == 0 &&
            s->files[0].needed == source.file_bytes)
                check(s, source.file_bytes);
        return 0;
}
