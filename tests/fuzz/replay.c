/* Stands in for libFuzzer where the compiler has none: replay FOLDER [N [SEED]] gives each file
 * of the folder to the target once, then N mutations of them, the same ones for the same seed. */
#include "cleanup.h"

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define INPUTS_MAX 1000
#define INPUT_BYTES_MAX (1 << 20)
#define GROWTH_BYTES 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
        uint8_t *data;
        size_t size;
};

/* xorshift64*: the same numbers everywhere. */
static uint64_t next_random(uint64_t *state)
{
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        return *state * UINT64_C(2685821657736338717);
}

static size_t below(uint64_t *state, size_t n)
{
        return n > 0 ? (size_t)(next_random(state) % n) : 0;
}

static int read_input(const char *folder, const char *name, struct input *ret)
{
        char path[4096];
        struct stat st;
        FILE *f;

        snprintf(path, sizeof path, "%s/%s", folder, name);
        f = fopen(path, "rb");
        if (!f || fstat(fileno(f), &st) < 0 || !S_ISREG(st.st_mode) ||
            st.st_size > INPUT_BYTES_MAX) {
                if (f)
                        fclose(f);
                return -1;
        }
        ret->data = malloc((size_t)st.st_size + 1);
        ret->size = ret->data ? fread(ret->data, 1, (size_t)st.st_size, f) : 0;
        fclose(f);
        return ret->data ? 0 : -1;
}

static size_t read_folder(const char *folder, struct input *ret)
{
        struct dirent **names = NULL;
        int count = scandir(folder, &names, NULL, alphasort);
        size_t n = 0;

        for (int i = 0; i < count; i++) {
                if (n < INPUTS_MAX && read_input(folder, names[i]->d_name, &ret[n]) == 0)
                        n++;
                free(names[i]);
        }
        free(names);
        return n;
}

static const uint8_t interesting[] = {0,   1,   0x7f, 0x80, 0xff, 0xfe, 0xfd,
                                      '"', '{', '}',  '[',  '-',  '9',  '\\'};

/* One small change in place; the data has GROWTH_BYTES of room behind it. */
static void change(uint8_t *data, size_t *size, size_t room, uint64_t *state)
{
        size_t at = below(state, *size);
        size_t n = 1 + below(state, *size - at < 16 ? *size - at : 16);

        switch (*size > 0 ? next_random(state) % 5 : 4) {
        case 0:
                data[at] ^= (uint8_t)(1 << below(state, 8));
                break;
        case 1:
                data[at] = interesting[below(state, sizeof interesting)];
                break;
        case 2: /* some go */
                memmove(data + at, data + at + n, *size - at - n);
                *size -= n;
                break;
        case 3: /* some come twice */
                if (*size + n > room)
                        break;
                memmove(data + at + n, data + at, *size - at);
                *size += n;
                break;
        default: /* one more */
                if (*size < room)
                        data[(*size)++] = (uint8_t)next_random(state);
                break;
        }
}

static void run_mutation(const struct input *from, uint64_t *state)
{
        _cleanup_(freep) uint8_t *work = malloc(from->size + GROWTH_BYTES);
        _cleanup_(freep) uint8_t *exact = NULL;
        size_t size = from->size;

        if (!work)
                return;
        memcpy(work, from->data, size);
        for (size_t n = 1 + below(state, 6); n > 0; n--)
                change(work, &size, from->size + GROWTH_BYTES, state);
        exact = malloc(size); /* so that a read behind the end is seen */
        if (exact && size > 0)
                memcpy(exact, work, size);
        LLVMFuzzerTestOneInput(exact, size);
}

int main(int argc, char *argv[])
{
        struct input *inputs = calloc(INPUTS_MAX, sizeof *inputs);
        size_t n = argc > 1 && inputs ? read_folder(argv[1], inputs) : 0;
        unsigned long count = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
        uint64_t state = argc > 3 ? strtoull(argv[3], NULL, 10) | 1 : 1;

        if (n == 0) {
                fprintf(stderr, "usage: replay FOLDER [N [SEED]]: no file in the folder\n");
                return 2;
        }
        for (size_t i = 0; i < n; i++)
                LLVMFuzzerTestOneInput(inputs[i].data, inputs[i].size);
        for (unsigned long i = 0; i < count; i++)
                run_mutation(&inputs[below(&state, n)], &state);
        for (size_t i = 0; i < n; i++)
                free(inputs[i].data);
        free(inputs);
        printf("%zu files, %lu mutations\n", n, count);
        return 0;
}
