/* A settings file of anybody: it is read or refused with a place, and what was read is usable. */
#include "path-pattern.h"
#include "settings.h"

#include <errno.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
        if (!condition)
                __builtin_trap();
}

static void check_policy(const struct settings *s, const struct policy *p)
{
        require(p->name[0] && settings_policy(s, p->name) == p);
        for (const struct policy_key *k = policy_keys; k->name; k++) {
                _cleanup_(freep) char *text = policy_get(p, k);

                require(text && text[0]);
        }
}

static void check_dir(const struct settings *s, const struct settings_dir *dir)
{
        require(dir->path[0] == '/' && dir->place);
        require(settings_policy(s, dir->policy->name) == dir->policy);
        require(path_pattern_covers(dir->path, dir->path));
        require(settings_dir_for(s, dir->path));
}

/* The job asks for the last policy and for the first byte's worth of values. */
static void check_effective(const struct settings *s)
{
        static const char *const keys[] = {"save_checkpoints_steps", "nosuch"};
        static const char *const values[] = {"7", "8"};
        _cleanup_(policy_freep) struct policy *p = NULL;
        _cleanup_(diag_done) struct diag messages = {0};
        _cleanup_(freep) char *by = NULL;
        struct settings_wish w = {.real_path = "/m/x",
                                  .policy = s->policies[s->n_policies - 1]->name,
                                  .n_values = 2,
                                  .keys = keys,
                                  .values = values};

        require(settings_effective(s, &w, &p, &by, &messages) == 0 && by && p);
        require(messages.text && strstr(messages.text, "nosuch"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(settings_freep) struct settings *s = NULL;
        _cleanup_(diag_done) struct diag d = {0};
        int r = settings_parse("f", (const char *)data, size, &s, &d);

        require(r == 0 || (r == -EINVAL && !s));
        if (r < 0) {
                require(d.text && strncmp(d.text, "f:", 2) == 0);
                return 0;
        }
        require(settings_policy(s, "normal") && settings_policy(s, "short") &&
                settings_policy(s, "long"));
        for (size_t i = 0; i < s->n_policies; i++)
                check_policy(s, s->policies[i]);
        for (size_t i = 0; i < s->n_dirs; i++)
                check_dir(s, &s->dirs[i]);
        check_effective(s);
        return 0;
}
