#include "ctl.h"

#include <errno.h>
#include <string.h>

const struct ctl_command *const ctl_commands[] = {
        &ctl_status,  &ctl_list,   &ctl_history, &ctl_save,   &ctl_latest,
        &ctl_inspect, &ctl_verify, &ctl_check,   &ctl_reload, NULL,
};

static const char *const later_commands[] = {
        "show",    "wait",   "pause",    "resume",     "plan",   "pin",
        "unpin",   "remove", "register", "unregister", "policy", "diff",
        "convert", "code",   "health",   "monitor",    NULL,
};

/* What people type for it elsewhere. */
static const struct {
        const char *typed, *meant;
} kin[] = {
        {"prune", "plan"},        {"forget", "plan"},  {"gc", "plan"},     {"rm", "remove"},
        {"delete", "remove"},     {"ls", "list"},      {"log", "history"}, {"logs", "history"},
        {"snapshots", "list"},    {"stat", "status"},  {"ps", "status"},   {"backup", "save"},
        {"restore", "latest"},    {"fsck", "verify"},  {"lint", "check"},  {"add", "register"},
        {"cat", "inspect"},       {"dump", "inspect"}, {"info", "show"},   {"top", "monitor"},
        {"version", "--version"},
};

const struct ctl_command *ctl_command_find(const char *name)
{
        for (const struct ctl_command *const *p = ctl_commands; *p; p++)
                if (strcmp((*p)->name, name) == 0)
                        return *p;
        return NULL;
}

static bool is_later(const char *name)
{
        for (const char *const *p = later_commands; *p; p++)
                if (strcmp(*p, name) == 0)
                        return true;
        return false;
}

/* One letter too many, too few, another, or two swapped? */
static bool is_near(const char *a, const char *b)
{
        size_t n = 0, a_length, b_length;

        while (a[n] && a[n] == b[n])
                n++;
        a += n;
        b += n;
        a_length = strlen(a);
        b_length = strlen(b);
        if (a_length == b_length && a_length >= 2 && a[0] == b[1] && a[1] == b[0])
                return strcmp(a + 2, b + 2) == 0;
        return strcmp(a + (a_length >= b_length && *a), b + (b_length >= a_length && *b)) == 0;
}

static const char *find_kin(const char *name)
{
        for (size_t i = 0; i < ARRAY_SIZE(kin); i++)
                if (strcmp(kin[i].typed, name) == 0)
                        return kin[i].meant;
        for (const struct ctl_command *const *p = ctl_commands; *p; p++)
                if (is_near(name, (*p)->name))
                        return (*p)->name;
        for (const char *const *p = later_commands; *p; p++)
                if (is_near(name, *p))
                        return *p;
        return NULL;
}

int ctl_command_unknown(const char *name, struct diag *d)
{
        const char *meant;

        if (is_later(name))
                return diag_set(d, -EINVAL, "%s: not in this version", name);
        meant = find_kin(name);
        if (!meant)
                return diag_set(d, -EINVAL, "unknown command %s", name);
        return diag_set(d, -EINVAL, "unknown command %s; did you mean %s?%s", name, meant,
                        is_later(meant) ? " (not in this version)" : "");
}
