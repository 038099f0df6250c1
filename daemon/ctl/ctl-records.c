#include "ctl-records.h"

#include "buffer.h"
#include "fds.h"
#include "io.h"
#include "limit.h"
#include "state-file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>

#define RECORDS ".ckptd/checkpoints"
#define STATE_FILE "checkpoint"

static int read_whole(int dirfd, const char *name, size_t max, struct buffer *ret)
{
        _cleanup_(closep) int fd = io_real.open(dirfd, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC, 0);

        return fd < 0 ? -errno : fds_read_all(fd, max, ret);
}

/* The file of a recorded checkpoint that is not in the listing: the index is last. */
static const char *record_file(const json_t *record)
{
        const json_t *files = json_object_get(record, "files");
        const json_t *last = json_array_get(files, json_array_size(files) - 1);
        const char *name = json_string_value(json_object_get(last, "name"));

        return name && !strchr(name, '/') ? name : NULL;
}

static int add_missing(struct ctl_directory *dir, const json_t *record, const char *name,
                       struct ctl_checkpoint **ret)
{
        const char *state = json_string_value(json_object_get(record, "state"));
        const char *file = record_file(record);
        struct ctl_checkpoint *c;

        if (!state || !file || (strcmp(state, "whole") != 0 && strcmp(state, "damaged") != 0))
                return 0;
        c = ctl_directory_add(dir, name, strlen(name));
        if (!c || !(c->file = strdup(file)))
                return -ENOMEM;
        *ret = c;
        return 0;
}

static int take_record(struct ctl_directory *dir, const json_t *record)
{
        const char *name = json_string_value(json_object_get(record, "name"));
        const char *state = json_string_value(json_object_get(record, "state"));
        const json_t *step = json_object_get(record, "step");
        struct ctl_checkpoint *c;
        int r = 0;

        if (!name || !state || !*name || strchr(name, '/'))
                return 0;
        c = ctl_directory_find(dir, name);
        if (!c)
                r = add_missing(dir, record, name, &c);
        if (!c)
                return r;
        free(c->state);
        c->state = strdup(state);
        if (json_is_integer(step))
                c->step = json_integer_value(step);
        c->sequence = json_integer_value(json_object_get(record, "sequence"));
        return c->state ? 0 : -ENOMEM;
}

static int read_record(struct ctl_directory *dir, int records, const char *file)
{
        _cleanup_(buffer_done) struct buffer text = {0};
        json_auto_t *record = NULL;

        if (read_whole(records, file, LIMIT_RECORD_BYTES, &text) < 0)
                return 0;
        record = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
        return json_is_object(record) ? take_record(dir, record) : 0;
}

static bool is_record(const char *name)
{
        size_t n = strlen(name);

        return name[0] != '.' && n > 5 && strcmp(name + n - 5, ".json") == 0;
}

int ctl_records_read(struct ctl_directory *dir)
{
        int fd = io_real.open(dir->fd, RECORDS, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        DIR *listing = fd < 0 ? NULL : fdopendir(fd);
        const struct dirent *e;
        int r = 0;

        if (!listing) {
                closep(&fd);
                return 0;
        }
        while (r == 0 && (e = readdir(listing)))
                if (is_record(e->d_name))
                        r = read_record(dir, dirfd(listing), e->d_name);
        closedir(listing);
        return r;
}

/* Paths in it are relative to its directory, or absolute: of the place where the directory was
 * when it was written, so that only the name counts. */
static const char *name_within(const char *path)
{
        const char *slash = strrchr(path, '/');

        if (!slash)
                return path;
        return path[0] == '/' ? slash + 1 : NULL;
}

static void list_one(struct ctl_directory *dir, const char *path, size_t place)
{
        const char *name = path ? name_within(path) : NULL;
        struct ctl_checkpoint *c = name ? ctl_directory_find(dir, name) : NULL;

        if (c && c->listed > place)
                c->listed = place;
}

int ctl_state_file_read(struct ctl_directory *dir)
{
        _cleanup_(buffer_done) struct buffer text = {0};
        struct state_file f = {0};
        int r = read_whole(dir->fd, STATE_FILE, LIMIT_STATE_FILE_BYTES, &text);

        if (r == 0)
                r = state_file_parse((const char *)text.data, text.len, &f, NULL);
        if (r < 0)
                return r == -ENOMEM ? r : 0;
        list_one(dir, f.newest, 1);
        for (size_t i = 0; i < f.n; i++)
                list_one(dir, f.paths[i], 1 + f.n - i);
        state_file_done(&f);
        return 0;
}
