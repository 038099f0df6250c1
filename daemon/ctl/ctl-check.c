#include "ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define PROGRAM "ckptd"

/* From the folder of ckptctl: an installation, one with its own prefix, the build tree. */
static const char *const beside[] = {PROGRAM, "../sbin/" PROGRAM, "../libexec/" PROGRAM,
                                     "../lib/ckptd/" PROGRAM, "../" PROGRAM};

static bool is_program(const char *path)
{
        struct stat st;

        return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

static void run_beside(char **argv)
{
        char self[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
        char *slash;

        if (n <= 0)
                return;
        self[n] = '\0';
        slash = strrchr(self, '/');
        if (!slash)
                return;
        slash[1] = '\0';
        for (size_t i = 0; i < ARRAY_SIZE(beside); i++) {
                _cleanup_(freep) char *path = NULL;

                if (asprintf(&path, "%s%s", self, beside[i]) < 0)
                        path = NULL;
                else if (is_program(path))
                        execv(path, argv);
        }
}

/* The settings' parser is the daemon's: it looks, its output and exit code are ours. */
static int check_run(struct ctl *c)
{
        char *with_file[] = {PROGRAM, "--check", "--config", c->args[0], NULL};
        char *without[] = {PROGRAM, "--check", NULL};
        char **argv = c->n_args ? with_file : without;

        fflush(stdout);
        run_beside(argv);
        execvp(PROGRAM, argv);
        return ctl_fail(CTL_FAILED, "check: cannot run %s: %s", PROGRAM, strerror(errno));
}

const struct ctl_command ctl_check = {
        .name = "check",
        .arguments = "[FILE]",
        .summary = "Checks the settings, without a daemon",
        .text = "FILE is another ckptd.yaml than the instance's own. Each mistake is one line,\n"
                "FILE:LINE:COLUMN: what is wrong; exit 1.",
        .max_args = 1,
        .no_json = true,
        .run = check_run,
};
