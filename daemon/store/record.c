#include "record.h"

#include "field.h"
#include "limit.h"
#include "small-file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define RECORD_VERSION 1
#define RECORD_SUFFIX ".json"
#define SECTOR_BYTES 512 /* what every disk writes whole */

struct record { /* strings and values borrowed */
        int64_t version, step, sequence, run, save_id, published_ms, bytes;
        const char *name, *state, *origin, *format, *published, *replaces;
        json_t *files, *pin;
        bool preserved;
};

static const struct field record_fields[] = {
        FIELD(FIELD_INT, struct record, version, FIELD_REQUIRED | FIELD_NOT_NEGATIVE),
        FIELD(FIELD_STRING, struct record, name, FIELD_REQUIRED | FIELD_NOT_EMPTY),
        FIELD(FIELD_STRING, struct record, state, FIELD_REQUIRED),
        FIELD(FIELD_INT, struct record, step, FIELD_REQUIRED | FIELD_NOT_NEGATIVE),
        FIELD(FIELD_INT, struct record, sequence, FIELD_REQUIRED | FIELD_NOT_NEGATIVE),
        FIELD(FIELD_INT, struct record, run, FIELD_REQUIRED | FIELD_NOT_NEGATIVE),
        FIELD(FIELD_INT, struct record, save_id, FIELD_REQUIRED | FIELD_NOT_NEGATIVE),
        FIELD(FIELD_STRING, struct record, origin, FIELD_REQUIRED),
        FIELD(FIELD_STRING, struct record, format, FIELD_REQUIRED),
        FIELD(FIELD_STRING, struct record, published, FIELD_REQUIRED),
        FIELD(FIELD_INT, struct record, published_ms, FIELD_REQUIRED),
        FIELD(FIELD_INT, struct record, bytes, FIELD_REQUIRED | FIELD_NOT_NEGATIVE),
        FIELD(FIELD_ARRAY, struct record, files, FIELD_REQUIRED),
        FIELD(FIELD_BOOL, struct record, preserved, 0),
        FIELD(FIELD_OBJECT, struct record, pin, 0),
        FIELD(FIELD_STRING, struct record, replaces, FIELD_NOT_EMPTY),
        FIELD_END,
};

struct record_pin {
        const char *by, *reason;
};

static const struct field pin_fields[] = {
        FIELD(FIELD_STRING, struct record_pin, by, FIELD_REQUIRED | FIELD_NOT_EMPTY),
        FIELD(FIELD_STRING, struct record_pin, reason, 0),
        FIELD_END,
};

struct record_item {
        const char *name;
        int64_t bytes;
};

static const struct field file_fields[] = {
        FIELD(FIELD_STRING, struct record_item, name, FIELD_REQUIRED | FIELD_NOT_EMPTY),
        FIELD(FIELD_INT, struct record_item, bytes, FIELD_REQUIRED | FIELD_NOT_NEGATIVE),
        FIELD_END,
};

bool record_is_plain_name(const char *name)
{
        if (!*name || *name == '.')
                return false;
        for (const char *c = name; *c; c++)
                if (*c == '/' || (unsigned char)*c < ' ' || *c == 0x7f)
                        return false;
        return true;
}

static void files_free(struct checkpoint_file *files, size_t n)
{
        for (size_t i = 0; i < n; i++)
                free(files[i].name);
        free(files);
}

int record_take_files(const struct stored *s, struct checkpoint_file **ret, size_t *ret_n)
{
        struct checkpoint_file *files = calloc(s->n_files + 1, sizeof(*files));
        int r = files ? 0 : -ENOMEM;
        size_t n = 0;

        for (; r == 0 && n < s->n_files; n++) {
                const struct stored_file *from = &s->files[(n + 1) % s->n_files];

                r = record_is_plain_name(from->name) ? 0 : -EINVAL;
                files[n] = (struct checkpoint_file){strdup(from->name), from->bytes};
                if (!files[n].name)
                        r = -ENOMEM;
        }
        if (r < 0) {
                files_free(files, n);
                return r;
        }
        *ret = files;
        *ret_n = n;
        return 0;
}

int record_file_name(char out[static RECORD_FILE_MAX], const char *name)
{
        if (!record_is_plain_name(name) || strlen(name) > RECORD_NAME_MAX_BYTES)
                return -EINVAL;
        snprintf(out, RECORD_FILE_MAX, "%s" RECORD_SUFFIX, name);
        return 0;
}

/* ---- to text ---- */

static void format_time(char out[static 40], int64_t ms)
{
        time_t seconds = (time_t)(ms / 1000);
        char day[32];
        struct tm utc;

        gmtime_r(&seconds, &utc);
        strftime(day, sizeof(day), "%FT%T", &utc);
        snprintf(out, 40, "%s.%03dZ", day, (int)(ms % 1000 < 0 ? 0 : ms % 1000));
}

static json_t *files_to_json(const struct checkpoint *c)
{
        json_t *files = json_array();

        for (size_t i = 0; files && i < c->n_files; i++) {
                struct record_item item = {c->files[i].name, (int64_t)c->files[i].bytes};

                if (json_array_append_new(files, field_encode(file_fields, &item)) < 0) {
                        json_decref(files);
                        return NULL;
                }
        }
        return files;
}

static json_t *record_to_json(const struct checkpoint *c)
{
        _cleanup_(json_decrefp) json_t *files = files_to_json(c);
        _cleanup_(json_decrefp) json_t *pin = NULL;
        char published[40];
        struct record record = {
                .version = RECORD_VERSION,
                .name = c->name,
                .state = checkpoint_state_names[c->state],
                .step = c->step,
                .sequence = c->sequence,
                .run = c->run,
                .save_id = c->save_id,
                .origin = checkpoint_origin_names[c->origin],
                .format = c->format ? c->format : "",
                .published = published,
                .published_ms = c->published_ms,
                .bytes = (int64_t)c->bytes,
                .files = files,
                .preserved = c->preserved,
                .replaces = c->replaces,
        };

        if (!files)
                return NULL;
        format_time(published, c->published_ms);
        if (c->pin_by) {
                struct record_pin by = {c->pin_by, c->pin_reason ? c->pin_reason : ""};

                pin = field_encode(pin_fields, &by);
                if (!pin)
                        return NULL;
                record.pin = pin;
        }
        return field_encode(record_fields, &record);
}

int record_format(const struct checkpoint *c, struct buffer *ret)
{
        _cleanup_(json_decrefp) json_t *json = record_to_json(c);
        _cleanup_(freep) char *text = NULL;

        if (!json)
                return -EINVAL; /* a name that is no UTF-8 */
        text = json_dumps(json, JSON_INDENT(2));
        return text ? buffer_printf(ret, "%s\n", text) : -ENOMEM;
}

/* ---- from text ---- */

static int name_number(const char *const *names, const char *name)
{
        for (int i = 0; names[i]; i++)
                if (strcmp(names[i], name) == 0)
                        return i;
        return -1;
}

static int parse_file(json_t *json, struct checkpoint_file *ret)
{
        struct record_item item = {0};
        const char *bad;

        if (!json_is_object(json) || field_decode(file_fields, json, &item, &bad) < 0)
                return -EBADMSG;
        if (!record_is_plain_name(item.name) || strlen(item.name) >= RECORD_FILE_MAX)
                return -EBADMSG;
        ret->bytes = (uint64_t)item.bytes;
        ret->name = strdup(item.name);
        return ret->name ? 0 : -ENOMEM;
}

static int parse_files(const json_t *files, struct checkpoint *c, struct diag *d)
{
        size_t n = json_array_size(files);
        int r;

        if (n == 0)
                return diag_set(d, -EBADMSG, "it names no file");
        c->files = calloc(n, sizeof(*c->files));
        if (!c->files)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                r = parse_file(json_array_get(files, i), &c->files[i]);
                if (r == -EBADMSG)
                        return diag_set(d, r, "file %zu is no name and size within the directory",
                                        i);
                if (r < 0)
                        return r;
                c->n_files++;
        }
        return 0;
}

static int parse_pin(json_t *json, struct checkpoint *c, struct diag *d)
{
        struct record_pin pin = {0};
        const char *bad;

        if (!json)
                return 0;
        if (field_decode(pin_fields, json, &pin, &bad) < 0)
                return diag_set(d, -EBADMSG, "bad member pin.%s", bad);
        c->pin_by = strdup(pin.by);
        c->pin_reason = strdup(pin.reason ? pin.reason : "");
        return c->pin_by && c->pin_reason ? 0 : -ENOMEM;
}

static int parse_names(const struct record *record, struct checkpoint *c, struct diag *d)
{
        char file[RECORD_FILE_MAX];
        int state = name_number(checkpoint_state_names, record->state);
        int origin = name_number(checkpoint_origin_names, record->origin);

        if (state < 0 || origin < 0)
                return diag_set(d, -EBADMSG, "unknown %s", state < 0 ? "state" : "origin");
        if (record_file_name(file, record->name) < 0 ||
            (record->replaces && !record_is_plain_name(record->replaces)))
                return diag_set(d, -EBADMSG, "its name is none within the directory");
        c->state = (enum checkpoint_state)state;
        c->origin = (enum checkpoint_origin)origin;
        c->name = strdup(record->name);
        c->format = strdup(record->format);
        c->replaces = record->replaces ? strdup(record->replaces) : NULL;
        return c->name && c->format && (c->replaces || !record->replaces) ? 0 : -ENOMEM;
}

static int from_json(json_t *json, struct checkpoint *c, struct diag *d)
{
        struct record record = {0};
        const char *bad = "?";
        json_int_t version = json_integer_value(json_object_get(json, "version"));
        int r;

        if (version > RECORD_VERSION)
                return diag_set(d, -EPROTONOSUPPORT, "written by a newer ckptd (version %lld)",
                                (long long)version);
        if (!json_is_object(json))
                return diag_set(d, -EBADMSG, "not an object");
        if (field_decode(record_fields, json, &record, &bad) < 0)
                return diag_set(d, -EBADMSG, "bad member %s", bad);
        if (record.version != RECORD_VERSION)
                return diag_set(d, -EBADMSG, "bad member version");
        c->step = record.step;
        c->sequence = record.sequence;
        c->run = record.run;
        c->save_id = record.save_id;
        c->published_ms = record.published_ms;
        c->bytes = (uint64_t)record.bytes;
        c->preserved = record.preserved;
        r = parse_names(&record, c, d);
        if (r == 0)
                r = parse_files(record.files, c, d);
        return r < 0 ? r : parse_pin(record.pin, c, d);
}

int record_parse(const char *text, size_t length, struct checkpoint **ret, struct diag *d)
{
        _cleanup_(checkpoint_freep) struct checkpoint *c = calloc(1, sizeof(*c));
        _cleanup_(json_decrefp) json_t *json = NULL;
        json_error_t e;
        int r;

        if (!c)
                return -ENOMEM;
        json = json_loadb(text, length, JSON_REJECT_DUPLICATES, &e);
        if (!json)
                return diag_set(d, -EBADMSG, "line %d: %s", e.line, e.text);
        r = from_json(json, c, d);
        if (r < 0)
                return r;
        *ret = take_ptr(c);
        return 0;
}

/* ---- on disk ---- */

int record_load(const struct io *io, struct place at, struct checkpoint **ret, struct diag *d)
{
        _cleanup_(buffer_done) struct buffer text = {0};
        _cleanup_(checkpoint_freep) struct checkpoint *c = NULL;
        char file[RECORD_FILE_MAX];
        int r = small_file_read(io, at, LIMIT_RECORD_BYTES, &text);

        if (r == -EFBIG || r == -EBADMSG)
                return diag_set(d, -EBADMSG, "too large, or not a regular file");
        if (r < 0)
                return r;
        r = record_parse((const char *)text.data, text.len, &c, d);
        if (r < 0)
                return r;
        if (record_file_name(file, c->name) < 0 || strcmp(file, at.name) != 0)
                return diag_set(d, -EBADMSG, "it is the record of %s", c->name);
        *ret = take_ptr(c);
        return 0;
}

int record_write(struct store_dir *d, int dirfd, const struct checkpoint *c)
{
        _cleanup_(buffer_done) struct buffer text = {0};
        char file[RECORD_FILE_MAX], scratch[TEMPORARY_MAX];
        int r = record_file_name(file, c->name);

        if (r == 0)
                r = record_format(c, &text);
        if (r < 0)
                return r;
        directory_scratch(d, scratch);
        return small_file_replace(d->io, (struct place){dirfd, scratch}, file, &text);
}

int record_claim(struct store_dir *d, const struct checkpoint *c, int *ret_fd)
{
        _cleanup_(buffer_done) struct buffer text = {0};
        char file[RECORD_FILE_MAX];
        int r = record_file_name(file, c->name);

        if (r == 0)
                r = record_format(c, &text);
        return r < 0 ? r
                     : small_file_create(d->io, (struct place){d->records, file}, &text, ret_fd);
}

int record_mark_whole(struct store_dir *d, const struct checkpoint *c, int fd)
{
        static const char publishing[] = "\"publishing\"", whole[] = "\"whole\"     ";
        _cleanup_(buffer_done) struct buffer text = {0};
        const char *at;
        size_t offset;
        int r = record_format(c, &text);

        _Static_assert(sizeof(publishing) == sizeof(whole), "one takes the other's place");
        if (r < 0)
                return r;
        at = strstr((const char *)text.data, publishing);
        offset = at ? (size_t)(at - (const char *)text.data) : SECTOR_BYTES;
        if (offset + sizeof(whole) > SECTOR_BYTES)
                return -ERANGE;
        return io_write_all(d->io, fd, whole, sizeof(whole) - 1, (off_t)offset);
}

int record_remove(const struct store_dir *d, int dirfd, const char *name)
{
        char file[RECORD_FILE_MAX];
        int r = record_file_name(file, name);

        if (r == 0)
                r = call_unlink(d->io, (struct place){dirfd, file});
        if (r < 0)
                return r;
        return call_fsync(d->io, dirfd);
}
