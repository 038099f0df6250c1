#include "places.h"
#include "cleanup.h"

#include <stdio.h>
#include <string.h>

static char *join(const char *base, const char *rest)
{
        char *path;

        return asprintf(&path, "%s%s", base, rest) < 0 ? NULL : path;
}

/* $VARIABLE, else $HOME and the XDG default below it. */
static char *xdg(const char *variable, const char *below_home, const char *rest)
{
        const char *base = getenv(variable), *home = getenv("HOME");
        _cleanup_(freep) char *fallback = join(home ? home : "", below_home);

        return join(base && *base == '/' ? base : fallback ? fallback : "", rest);
}

void places_default(struct places *p)
{
        char runtime[64];

        snprintf(runtime, sizeof(runtime), "/run/user/%u", geteuid());
        if (geteuid() == 0) {
                p->config = strdup("/etc/ckptd/ckptd.yaml");
                p->state = strdup("/var/lib/ckptd");
                p->socket = strdup("/run/ckptd/ckptd.sock");
                return;
        }
        p->config = xdg("XDG_CONFIG_HOME", "/.config", "/ckptd/ckptd.yaml");
        p->state = xdg("XDG_STATE_HOME", "/.local/state", "/ckptd");
        if (getenv("XDG_RUNTIME_DIR"))
                p->socket = join(getenv("XDG_RUNTIME_DIR"), "/ckptd/ckptd.sock");
        else
                p->socket = join(runtime, "/ckptd/ckptd.sock");
}

bool places_set(struct places *p, int option, const char *value)
{
        char **place = option == 'c' ? &p->config : option == 's' ? &p->state : &p->socket;

        free(*place);
        *place = strdup(value);
        return *place;
}

void places_done(struct places *p)
{
        free(p->config);
        free(p->state);
        free(p->socket);
}
