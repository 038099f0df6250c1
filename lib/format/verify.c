#include "verify.h"

#include "part-read.h"
#include "region.h"
#include "string-tensor.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* "FILE: TENSOR (float32 [4096,1024], bytes A to B)"; NULL without memory. */
static char *describe(const struct stored *s, const struct stored_tensor *t,
                      const struct stored_part *part)
{
        _cleanup_(freep) char *shape =
                region_text(t->dtype, t->n_dims, part->length ? part->length : t->dims);
        char *text;

        if (asprintf(&text, "%s: %s (%s%s, bytes %" PRIu64 " to %" PRIu64 ")",
                     s->files[part->file].name, t->name, shape ? shape : "?",
                     part->start ? ", a slice" : "", part->offset, part->offset + part->bytes) < 0)
                return NULL;
        return text;
}

void verify_tell_sum(struct damage *g, const struct stored *s, const struct stored_tensor *t,
                     const struct stored_part *part, uint32_t crc32c)
{
        _cleanup_(freep) char *what = describe(s, t, part);

        damage_add(g, "%s: crc32c is %08" PRIx32 ", the index says %08" PRIx32,
                   what ? what : t->name, crc32c, part->crc32c);
}

static void tell_files(const struct stored *s, struct damage *g)
{
        for (size_t i = 0; i < s->n_files; i++) {
                const struct stored_file *f = &s->files[i];

                if (f->missing)
                        damage_add(g, "%s: No such file or directory", f->name);
                else if (f->bytes < f->needed)
                        damage_add(g, "%s: has %" PRIu64 " bytes, the index needs %" PRIu64,
                                   f->name, f->bytes, f->needed);
        }
}

struct verifying {
        const struct stored *s;
        const struct stored_check *how;
        struct damage *damage;
        struct diag *d;
};

/* Strings and variants: their sums are not of the bytes alone. */
static int verify_strings(const struct verifying *v, const struct stored_tensor *t,
                          const struct stored_part *part)
{
        _cleanup_(buffer_done) struct buffer raw = {0};
        _cleanup_(diag_done) struct diag why = {0};
        struct strings_view view = {0};
        uint64_t n = strings_count(t, part);
        int r = strings_load(v->s, v->how, part, &raw, v->d);

        if (r < 0)
                return r;
        if (t->dtype->number == DTYPE_STRING)
                r = strings_parse(raw.data, raw.len, n, &view, &why);
        else
                r = strings_sum_variants(raw.data, raw.len, n, &view.crc32c, &why);
        free(view.lengths);
        if (r == -EBADMSG) {
                _cleanup_(freep) char *what = describe(v->s, t, part);

                damage_add(v->damage, "%s: %s", what ? what : t->name, diag_text(&why, r));
                return 0;
        }
        if (r >= 0 && view.crc32c != part->crc32c)
                verify_tell_sum(v->damage, v->s, t, part, view.crc32c);
        return r;
}

/* The parts that can be summed as they are; returns how many. */
static size_t list_plain(const struct stored *s, struct part_read *ret)
{
        size_t n = 0;

        for (size_t i = 0; i < s->n_tensors; i++)
                for (size_t p = 0; p < s->tensors[i].n_parts; p++) {
                        const struct stored_part *part = &s->tensors[i].parts[p];

                        if (s->tensors[i].dtype->bytes > 0 && part_read_is_there(s, part))
                                ret[n++] =
                                        (struct part_read){.tensor = &s->tensors[i], .part = part};
                }
        return n;
}

static int verify_plain(const struct verifying *v)
{
        _cleanup_(freep) struct part_read *parts = NULL;
        struct part_reading reading = {.stored = v->s, .how = v->how};
        size_t n = 0;
        int r;

        for (size_t i = 0; i < v->s->n_tensors; i++)
                n += v->s->tensors[i].n_parts;
        parts = calloc(n + 1, sizeof(*parts));
        if (!parts)
                return -ENOMEM;
        reading.parts = parts;
        reading.n = list_plain(v->s, parts);
        r = part_read_run(&reading, v->d);
        for (size_t i = 0; i < reading.n && r >= 0; i++) {
                const struct part_read *p = &parts[i];

                if (p->part->has_crc && p->crc32c != p->part->crc32c)
                        verify_tell_sum(v->damage, v->s, p->tensor, p->part, p->crc32c);
        }
        return r;
}

static int verify_all_strings(const struct verifying *v)
{
        for (size_t i = 0; i < v->s->n_tensors; i++) {
                const struct stored_tensor *t = &v->s->tensors[i];

                for (size_t p = 0; p < t->n_parts && t->dtype->bytes == 0; p++) {
                        int r = 0;

                        if (part_read_is_there(v->s, &t->parts[p]))
                                r = verify_strings(v, t, &t->parts[p]);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

int stored_verify(const struct stored *s, const struct stored_check *how, struct diag *d)
{
        _cleanup_(damage_done) struct damage damage = {0};
        const struct verifying v = {s, how, &damage, d};
        int r;

        tell_files(s, &damage);
        r = verify_plain(&v);
        if (r >= 0)
                r = verify_all_strings(&v);
        return r < 0 ? r : damage_tell(&damage, d);
}
