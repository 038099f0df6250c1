/* Who decides the policy of one directory: model_dirs, then `register --policy`, then the job's
 * wish, then normal; over it the job's own values. */
#include "buffer.h"
#include "scalar.h"
#include "settings.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct choice {
        const struct policy *policy;
        const struct settings_dir *dir; /* model_dirs decided, or NULL */
        const char *by;
};

static void tell_unknown(const struct settings *s, const char *who, const char *name,
                         struct diag *messages)
{
        _cleanup_(buffer_done) struct buffer known = {0};
        char shown[SCALAR_TEXT_MAX];

        for (size_t i = 0; i < s->n_policies; i++)
                buffer_printf(&known, "%s%s", i ? ", " : "", s->policies[i]->name);
        diag_add(messages, 0, "%s: no policy %s; known: %s", who, scalar_show(name, shown),
                 known.data ? (const char *)known.data : "");
}

static struct choice choose(const struct settings *s, const struct settings_wish *w,
                            struct diag *messages)
{
        const struct settings_dir *dir = settings_dir_for(s, w->real_path);
        const struct policy *registered = w->registered ? settings_policy(s, w->registered) : NULL;
        const struct policy *wished = w->policy ? settings_policy(s, w->policy) : NULL;

        if (w->registered && !registered)
                tell_unknown(s, "register --policy", w->registered, messages);
        if (w->policy && !wished)
                tell_unknown(s, "the job's policy", w->policy, messages);
        if (dir)
                return (struct choice){dir->policy, dir, "model_dirs"};
        if (registered)
                return (struct choice){registered, NULL, "register"};
        if (wished)
                return (struct choice){wished, NULL, "the job"};
        return (struct choice){settings_policy(s, POLICY_NAME_DEFAULT), NULL, "default"};
}

/* "model_dirs at FILE:LINE; the job asked for normal" */
static char *describe(const struct choice *c, const struct settings_wish *w)
{
        bool other = w->policy && strcmp(w->policy, c->policy->name) != 0;
        char shown[SCALAR_TEXT_MAX] = "", *text;

        if (other)
                scalar_show(w->policy, shown);
        if (asprintf(&text, "%s%s%s%s%s", c->by, c->dir ? " at " : "", c->dir ? c->dir->place : "",
                     other ? "; the job asked for " : "", shown) < 0)
                return NULL;
        return text;
}

static bool may_set(const struct settings_dir *dir, const char *key)
{
        if (!dir->jobs_may_set)
                return strcmp(key, "checkpoint_name") == 0 || strcmp(key, "format") == 0;
        for (char *const *allowed = dir->jobs_may_set; *allowed; allowed++)
                if (strcmp(*allowed, key) == 0)
                        return true;
        return false;
}

/* The key if the job's value of it counts; else NULL, and why not. */
static const struct policy_key *accept_key(const struct choice *c, const char *name,
                                           struct diag *messages)
{
        const struct policy_key *k = policy_key_find(name);
        struct diag why = {0};

        if (!k) {
                policy_key_unknown(name, &why);
                diag_add(messages, 0, "the job's value is ignored: %s", diag_text(&why, -ENOMEM));
                diag_done(&why);
                return NULL;
        }
        if (c->dir && !may_set(c->dir, name)) {
                diag_add(messages, 0,
                         "the job's %s is ignored: policy %s at %s decides (jobs_may_set)", name,
                         c->policy->name, c->dir->place);
                return NULL;
        }
        return k;
}

/* The job's first schedule key drops the schedule that it found, but only if its value is a good
 * one. */
static int lay_over(const struct choice *c, const struct settings_wish *w, struct policy *p,
                    struct diag *messages)
{
        _cleanup_(policy_freep) struct policy *probe = NULL;
        bool cleared = false;
        int r = w->n_values ? policy_copy(&probe, p) : 0;

        for (size_t i = 0; i < w->n_values && r >= 0; i++) {
                const struct policy_key *k = accept_key(c, w->keys[i], messages);
                const char *text = w->values[i] ? w->values[i] : "";
                struct diag why = {0};

                if (!k)
                        continue;
                r = policy_set(probe, k, text, !w->values[i], &why);
                if (r == -EINVAL) {
                        diag_add(messages, 0, "the job's value is ignored: %s", diag_text(&why, r));
                        r = 0;
                } else if (r == 0) {
                        if ((k->flags & POLICY_SCHEDULE) && !cleared)
                                policy_clear_schedule(p);
                        cleared |= k->flags & POLICY_SCHEDULE;
                        r = policy_set(p, k, text, !w->values[i], NULL);
                }
                diag_done(&why);
        }
        return r;
}

int settings_effective(const struct settings *s, const struct settings_wish *w, struct policy **ret,
                       char **ret_chosen_by, struct diag *messages)
{
        struct choice c = choose(s, w, messages);
        _cleanup_(policy_freep) struct policy *p = NULL;
        _cleanup_(freep) char *by = describe(&c, w);
        int r;

        if (!by)
                return -ENOMEM;
        if (c.dir && w->registered)
                diag_add(messages, 0, "register --policy %s is not used: model_dirs at %s decides",
                         w->registered, c.dir->place);
        r = policy_copy(&p, c.policy);
        if (r == 0)
                r = lay_over(&c, w, p, messages);
        if (r < 0)
                return r;
        *ret = take_ptr(p);
        *ret_chosen_by = take_ptr(by);
        return 0;
}
