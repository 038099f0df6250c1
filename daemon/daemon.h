/* The composition: options, loop, manager and server, signals.  main.c calls it with the kernel's
 * I/O; fault tests call it with a table of their own. */
#pragma once

#include "io.h"

/* Runs until stopped; the exit code: 0 clean stop, 1 failure, 2 usage, 78 wrong settings. */
int daemon_main(int argc, char **argv, const struct io *io);
