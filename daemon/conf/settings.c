#include "settings.h"

#include "buffer.h"
#include "fds.h"
#include "limit.h"
#include "path-pattern.h"
#include "reader.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static void strings_free(char **strings)
{
        for (size_t i = 0; strings && strings[i]; i++)
                free(strings[i]);
        free(strings);
}

void settings_free(struct settings *s)
{
        if (!s)
                return;
        for (size_t i = 0; i < s->n_policies; i++)
                policy_free(s->policies[i]);
        for (size_t i = 0; i < s->n_dirs; i++) {
                free(s->dirs[i].path);
                free(s->dirs[i].place);
                strings_free(s->dirs[i].jobs_may_set);
        }
        free(s->policies);
        free(s->dirs);
        free(s->path);
        free(s->kept);
        strings_free(s->warnings);
        free(s);
}

const struct policy *settings_policy(const struct settings *s, const char *name)
{
        for (size_t i = 0; i < s->n_policies; i++)
                if (strcmp(s->policies[i]->name, name) == 0)
                        return s->policies[i];
        return NULL;
}

const struct settings_dir *settings_dir_for(const struct settings *s, const char *real_path)
{
        for (size_t i = 0; i < s->n_dirs; i++)
                if (path_pattern_matches(s->dirs[i].path, real_path))
                        return &s->dirs[i];
        return NULL;
}

/* A file or directory that is there and cannot be read is a mistake of its own. */
static int add_unreadable(struct reader *r, const char *name, int error)
{
        int k = reader_add(r, name, false, "", 0);

        if (k == 0)
                mistakes_add(&r->mistakes, place_of_file(&r->sources[r->n_sources - 1]), "%s",
                             error == -EFBIG ? "longer than 1 MiB" : strerror(-error));
        return k;
}
_Static_assert(LIMIT_SETTINGS_BYTES == 1024 * 1024, "the text above says so");

/* Of each file in settings.kept: main or extra, bytes of its name and of its text; then both. */
#define KEPT_HEAD "#FILE %s %zu %zu\n"
#define KEPT_SCAN "#FILE %5s %zu %zu%n"

/* 1: read; 0: there is none, and none is needed. */
static int add_file(struct reader *r, const char *path, bool main, bool may_be_absent)
{
        _cleanup_(buffer_done) struct buffer text = {0};
        int k = fds_read_file(path, LIMIT_SETTINGS_BYTES, &text);

        if (k == -ENOENT && may_be_absent)
                return 0;
        if (k == -ENOMEM)
                return k;
        if (k < 0)
                return add_unreadable(r, path, k) < 0 ? -ENOMEM : 1;
        k = reader_add(r, path, main, text.data ? (const char *)text.data : "", text.len);
        if (k >= 0)
                k = buffer_printf(&r->kept, KEPT_HEAD "%s\n%s\n", main ? "main" : "extra",
                                  strlen(path), text.len, path,
                                  text.data ? (const char *)text.data : "");
        return k < 0 ? k : 1;
}

static int is_policy_file(const struct dirent *e)
{
        const char *dot = strrchr(e->d_name, '.');

        return e->d_name[0] != '.' && dot && strcmp(dot, ".yaml") == 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
        return strcmp((*a)->d_name, (*b)->d_name);
}

/* Only files: opening a pipe would wait for its writer. */
static int add_extra(struct reader *r, const char *dir, const char *name)
{
        _cleanup_(freep) char *path = NULL;
        struct stat st;

        if (asprintf(&path, "%s/%s", dir, name) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        if (stat(path, &st) < 0)
                return errno == ENOENT ? 0 : add_unreadable(r, path, -errno);
        if (S_ISDIR(st.st_mode))
                return 0;
        return S_ISREG(st.st_mode) ? add_file(r, path, false, true)
                                   : add_unreadable(r, path, -EINVAL);
}

static int add_policies_d(struct reader *r, const char *settings_path)
{
        const char *slash = strrchr(settings_path, '/');
        _cleanup_(freep) char *dir = NULL;
        struct dirent **names = NULL;
        int n, k = 0;

        if (asprintf(&dir, "%.*spolicies.d", slash ? (int)(slash + 1 - settings_path) : 0,
                     settings_path) < 0) {
                dir = NULL;
                return -ENOMEM;
        }
        n = scandir(dir, &names, is_policy_file, by_name);
        if (n < 0)
                return errno == ENOENT ? 0 : add_unreadable(r, dir, -errno);
        for (int i = 0; i < n; i++) {
                if (k >= 0)
                        k = add_extra(r, dir, names[i]->d_name);
                free(names[i]);
        }
        free(names);
        return k < 0 ? k : 0;
}

/* Tells the mistakes; files are counted without the built-in policies, which hold none. */
static int finish(struct reader *r, struct settings **ret, struct settings_count *ret_count,
                  struct diag *d)
{
        size_t n_files = r->n_sources;
        int k = reader_finish(r, ret);

        *ret_count = (struct settings_count){r->mistakes.n, n_files, mistakes_files(&r->mistakes)};
        if (k == -EINVAL)
                mistakes_tell(&r->mistakes, d);
        reader_done(r);
        return k;
}

int settings_check(const char *path, bool may_be_absent, struct settings **ret,
                   struct settings_count *ret_count, struct diag *d)
{
        _cleanup_(settings_freep) struct settings *s = NULL;
        _cleanup_(freep) char *kept = NULL;
        struct reader r = {0};
        int has_main = add_file(&r, path, true, may_be_absent), k;

        *ret_count = (struct settings_count){0};
        k = has_main < 0 ? has_main : add_policies_d(&r, path);
        if (k < 0) {
                reader_done(&r);
                return k;
        }
        kept = r.kept.data ? buffer_take(&r.kept) : NULL;
        k = finish(&r, &s, ret_count, d);
        if (k < 0)
                return k;
        s->kept = take_ptr(kept);
        s->n_extra = ret_count->files - (size_t)has_main;
        s->path = has_main ? strdup(path) : NULL;
        if (has_main && !s->path)
                return -ENOMEM;
        *ret = take_ptr(s);
        return 0;
}

int settings_load(const char *path, bool may_be_absent, struct settings **ret, size_t *ret_mistakes,
                  struct diag *d)
{
        struct settings_count count;
        int k = settings_check(path, may_be_absent, ret, &count, d);

        if (ret_mistakes)
                *ret_mistakes = count.mistakes;
        return k;
}

int settings_parse(const char *name, const char *text, size_t length, struct settings **ret,
                   struct diag *d)
{
        struct settings_count count;
        struct reader r = {0};
        int k = reader_add(&r, name, true, text, length);

        if (k < 0) {
                reader_done(&r);
                return k;
        }
        return finish(&r, ret, &count, d);
}

/* One file of what was kept, which begins at *at; moves it on. */
static int add_kept(struct reader *r, const char **at)
{
        _cleanup_(freep) char *name = NULL;
        size_t name_bytes = 0, text_bytes = 0, left;
        char kind[6];
        int n = 0;

        if (sscanf(*at, KEPT_SCAN, kind, &name_bytes, &text_bytes, &n) != 3 || (*at)[n] != '\n')
                return -EBADMSG;
        *at += n + 1;
        left = strlen(*at);
        if (name_bytes > left || text_bytes > left || name_bytes + text_bytes + 2 > left)
                return -EBADMSG;
        name = strndup(*at, name_bytes);
        if (!name)
                return -ENOMEM;
        n = reader_add(r, name, strcmp(kind, "main") == 0, *at + name_bytes + 1, text_bytes);
        *at += name_bytes + text_bytes + 2;
        return n;
}

int settings_parse_kept(const char *kept, struct settings **ret, struct diag *d)
{
        struct settings_count count;
        struct reader r = {0};
        int k = 0;

        while (k >= 0 && *kept)
                k = add_kept(&r, &kept);
        if (k < 0) {
                reader_done(&r);
                return diag_set(d, k, "what was kept of the settings cannot be read");
        }
        return finish(&r, ret, &count, d);
}
