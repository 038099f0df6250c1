#include "directory.h"
#include "field.h"
#include "limit.h"
#include "small-file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define IDENTITY_FILE "directory.json"
#define IDENTITY_VERSION 1
#define UUID_BYTES 16
#define UUID_LENGTH 36

struct identity { /* strings borrowed */
        int64_t version;
        const char *id, *path, *device, *created;
};

static const struct field identity_fields[] = {
        FIELD(FIELD_INT, struct identity, version, FIELD_REQUIRED),
        FIELD(FIELD_STRING, struct identity, id, FIELD_REQUIRED),
        FIELD(FIELD_STRING, struct identity, path, FIELD_REQUIRED),
        FIELD(FIELD_STRING, struct identity, device, FIELD_REQUIRED),
        FIELD(FIELD_STRING, struct identity, created, FIELD_REQUIRED),
        FIELD_END,
};

/* RFC 9562, version 4. */
static int make_uuid(char out[static UUID_LENGTH + 1])
{
        uint8_t b[UUID_BYTES];

        if (getrandom(b, sizeof(b), 0) != (ssize_t)sizeof(b))
                return -EIO;
        b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
        b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
        for (size_t i = 0, at = 0; i < UUID_BYTES; i++) {
                if (i == 4 || i == 6 || i == 8 || i == 10)
                        out[at++] = '-';
                at += (size_t)snprintf(out + at, UUID_LENGTH + 1 - at, "%02x", b[i]);
        }
        return 0;
}

static bool is_uuid(const char *text)
{
        if (strlen(text) != UUID_LENGTH || strspn(text, "0123456789abcdef-") != UUID_LENGTH)
                return false;
        return text[8] == '-' && text[13] == '-' && text[18] == '-' && text[23] == '-';
}

static int write_identity(struct store_dir *d, const char *created)
{
        _cleanup_(buffer_done) struct buffer text = {0};
        struct identity identity = {IDENTITY_VERSION, d->uuid, d->path, NULL, created};
        char device[24], scratch[TEMPORARY_MAX];
        json_t *json;
        char *dump;
        int r;

        snprintf(device, sizeof(device), "%016llx", (unsigned long long)d->device);
        identity.device = device;
        json = field_encode(identity_fields, &identity);
        dump = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
        json_decref(json);
        if (!dump)
                return -EILSEQ; /* the path is no UTF-8 */
        r = buffer_printf(&text, "%s\n", dump);
        free(dump);
        directory_scratch(d, scratch);
        if (r == 0)
                r = small_file_replace(d->io, (struct place){d->ckptd, scratch}, IDENTITY_FILE,
                                       &text);
        return r;
}

static int create_identity(struct store_dir *d, struct diag *diag)
{
        char created[32];
        time_t now = time(NULL);
        struct tm utc;
        int r = make_uuid(d->uuid);

        gmtime_r(&now, &utc);
        strftime(created, sizeof(created), "%FT%TZ", &utc);
        if (r == 0)
                r = write_identity(d, created);
        return r < 0 ? directory_failed(d, diag, r, "write .ckptd/directory.json") : 0;
}

static int damaged(const struct store_dir *d, struct diag *diag, const char *why)
{
        return diag_set(diag, -EBADMSG,
                        "%s/.ckptd/directory.json is damaged (%s); "
                        "move it away to give the directory a new id",
                        d->path, why);
}

/* On success the strings of *ret live as long as *ret_json. */
static int read_identity(const struct store_dir *d, struct identity *ret, json_t **ret_json,
                         struct diag *diag)
{
        _cleanup_(buffer_done) struct buffer text = {0};
        json_error_t e;
        const char *bad = NULL;
        json_t *json;
        int r = small_file_read(d->io, (struct place){d->ckptd, IDENTITY_FILE}, LIMIT_RECORD_BYTES,
                                &text);

        if (r < 0)
                return r;
        json = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, &e);
        if (!json)
                return damaged(d, diag, e.text);
        if (!json_is_object(json) || field_decode(identity_fields, json, ret, &bad) < 0)
                r = damaged(d, diag, bad ? bad : "no object");
        else if (ret->version != IDENTITY_VERSION)
                r = diag_set(diag, -EPROTONOSUPPORT, "%s was written by a newer ckptd", d->path);
        else if (!is_uuid(ret->id))
                r = damaged(d, diag, "id");
        if (r < 0)
                json_decref(json);
        else
                *ret_json = json;
        return r;
}

int identity_load(struct store_dir *d, struct store_open *o)
{
        struct identity identity = {0};
        json_t *json = NULL;
        int r = d->ckptd < 0 ? -ENOENT : read_identity(d, &identity, &json, &o->diag);

        if (r == -ENOENT && o->read_only)
                return 0;
        if (r == -ENOENT) {
                r = create_identity(d, &o->diag);
                o->is_new = r == 0;
        } else if (r == 0) {
                snprintf(d->uuid, sizeof(d->uuid), "%s", identity.id);
                o->recorded_path = strdup(identity.path);
                o->recorded_device = strtoull(identity.device, NULL, 16);
                json_decref(json);
                r = o->recorded_path ? 0 : -ENOMEM;
        } else if (!o->diag.text)
                directory_failed(d, &o->diag, r, "read .ckptd/directory.json");
        snprintf(o->uuid, sizeof(o->uuid), "%s", d->uuid);
        return r;
}

int store_dir_new_identity(struct store_dir *d, char ret_uuid[static 37], struct diag *diag)
{
        int r = d->is_read_only ? -EROFS : create_identity(d, diag);

        if (r == 0)
                snprintf(ret_uuid, UUID_LENGTH + 1, "%s", d->uuid);
        return r;
}

int store_dir_note_path(struct store_dir *d, struct diag *diag)
{
        struct identity identity = {0};
        json_t *json = NULL;
        int r = d->is_read_only ? -EROFS : read_identity(d, &identity, &json, diag);

        if (r < 0)
                return r;
        r = write_identity(d, identity.created);
        json_decref(json);
        return r < 0 ? directory_failed(d, diag, r, "write .ckptd/directory.json") : 0;
}
