#include "memory-limit.h"

#include "fds.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#define FILE_MAX_BYTES ((size_t)4 * 1024 * 1024)

/* The names that the two versions give to the same things. */
struct version {
        const char *limit, *usage;
        const char *files[2]; /* page cache that gives way, in memory.stat */
};

static const struct version version_1 = {"memory.limit_in_bytes",
                                         "memory.usage_in_bytes",
                                         {"total_inactive_file ", "total_active_file "}};
static const struct version version_2 = {
        "memory.max", "memory.current", {"inactive_file ", "active_file "}};

struct mount { /* of a hierarchy with the memory controller */
        char root[PATH_MAX], at[PATH_MAX];
};

static char *read_text(const char *root, const char *path, const char *name)
{
        _cleanup_(buffer_done) struct buffer text = {0};
        char full[3 * PATH_MAX];

        snprintf(full, sizeof(full), "%s%s/%s", root, path, name);
        if (fds_read_file(full, FILE_MAX_BYTES, &text) < 0)
                return NULL;
        return buffer_take(&text);
}

/* The number behind `key` at the start of a line (key "": of the text); UINT64_MAX: none, or
 * "max". */
static uint64_t find_number(const char *text, const char *key)
{
        unsigned long long n;
        const char *line = text;

        while (line && strncmp(line, key, strlen(key)) != 0) {
                line = strchr(line, '\n');
                line = line ? line + 1 : NULL;
        }
        return line && sscanf(line + strlen(key), "%llu", &n) == 1 ? n : UINT64_MAX;
}

static uint64_t read_number(const char *root, const char *path, const char *name, const char *key)
{
        _cleanup_(freep) char *text = read_text(root, path, name);

        return text ? find_number(text, key) : UINT64_MAX;
}

/* ---- one level ---- */

static uint64_t reclaimable(const char *root, const char *path, const struct version *v)
{
        _cleanup_(freep) char *text = read_text(root, path, "memory.stat");
        uint64_t sum = 0;

        for (size_t i = 0; text && i < 2; i++) {
                uint64_t n = find_number(text, v->files[i]);

                sum += n == UINT64_MAX ? 0 : n;
        }
        return sum;
}

static void apply_level(const char *root, const char *path, const struct version *v,
                        struct memory_limit *l)
{
        uint64_t limit = read_number(root, path, v->limit, "");
        uint64_t used = read_number(root, path, v->usage, "");
        uint64_t files;

        if (limit == UINT64_MAX || used == UINT64_MAX)
                return;
        files = reclaimable(root, path, v);
        used -= files < used ? files : used;
        if (limit < l->total)
                l->total = limit;
        if (limit <= used)
                l->room = 0;
        else if (limit - used < l->room)
                l->room = limit - used;
}

/* ---- the tree ---- */

/* "36 35 0:30 ROOT AT options … - TYPE source SUPER_OPTIONS" */
static bool parse_mount(const char *line, bool is_2, struct mount *ret)
{
        const char *dash = strstr(line, " - ");
        char type[32], options[1024];

        if (!dash || sscanf(dash, " - %31s %*s %1023s", type, options) != 2)
                return false;
        if (strcmp(type, is_2 ? "cgroup2" : "cgroup") != 0)
                return false;
        if (!is_2 && !strstr(options, "memory"))
                return false;
        return sscanf(line, "%*d %*d %*s %4095s %4095s", ret->root, ret->at) == 2;
}

static bool find_mount(const char *root, bool is_2, struct mount *ret)
{
        _cleanup_(freep) char *text = read_text(root, "/proc/self", "mountinfo");
        char *rest = text, *line;

        while ((line = strsep(&rest, "\n")))
                if (parse_mount(line, is_2, ret))
                        return true;
        return false;
}

/* In a container the mount shows a subtree, whose root is a part of the group's path. */
static void walk_up(const char *root, const struct version *v, const char *group,
                    struct memory_limit *l)
{
        struct mount mount;
        char path[2 * PATH_MAX];
        size_t length, skip;

        if (!find_mount(root, v == &version_2, &mount))
                return;
        skip = strcmp(mount.root, "/") == 0 ? 0 : strlen(mount.root);
        if (strncmp(group, mount.root, skip) != 0)
                skip = 0;
        length = strlen(mount.at);
        snprintf(path, sizeof(path), "%s%s", mount.at, group + skip);
        for (;;) {
                char *slash;

                apply_level(root, path, v, l);
                slash = strrchr(path, '/');
                if (!slash || (size_t)(slash - path) < length)
                        return;
                *slash = '\0';
        }
}

/* Lines "ID:CONTROLLERS:PATH"; version 2 has ID 0 and no controllers. */
static void apply_group(const char *root, char *line, struct memory_limit *l)
{
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;

        if (!group)
                return;
        *group++ = '\0';
        if (strncmp(line, "0::", 3) == 0 || strcmp(line, "0:") == 0)
                walk_up(root, &version_2, group, l);
        else if (strstr(controllers, "memory"))
                walk_up(root, &version_1, group, l);
}

void memory_limit_read(const char *root, struct memory_limit *ret)
{
        _cleanup_(freep) char *groups = read_text(root, "/proc/self", "cgroup");
        uint64_t total = read_number(root, "/proc", "meminfo", "MemTotal:");
        uint64_t free_kib = read_number(root, "/proc", "meminfo", "MemAvailable:");
        char *rest = groups, *line;

        ret->total = total < UINT64_MAX / 1024 ? total * 1024 : UINT64_MAX;
        ret->room = free_kib < UINT64_MAX / 1024 ? free_kib * 1024 : UINT64_MAX;
        while ((line = strsep(&rest, "\n")))
                apply_group(root, line, ret);
}
