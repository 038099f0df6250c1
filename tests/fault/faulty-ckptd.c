/* The daemon with one I/O call that fails: CKPTD_FAULT="KIND N", KIND a number of enum fault; N
 * counts the calls on model directories from the start of the process.  Says at its end whether
 * there was one. */
#include "daemon.h"
#include "fault-io.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
        const char *text = getenv("CKPTD_FAULT");
        unsigned kind, n;
        int r;

        if (text && sscanf(text, "%u %u", &kind, &n) == 2)
                fault_arm((enum fault)kind, n);
        r = daemon_main(argc, argv, &fault_io);
        if (fault_disarm())
                fprintf(stderr, "the fault was met\n");
        return r;
}
