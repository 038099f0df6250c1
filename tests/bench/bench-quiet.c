#include "bench.h"

#include <stdio.h>
#include <string.h>

#define QUIET_S 0.1    /* so long nothing may happen */
#define GIVE_UP_S 1.0  /* a machine that is never quiet */
#define BUSY_SHARE 0.1 /* of all processors, is nothing */
#define DISK_SHARE 0.1 /* of the time with requests in flight, is nothing */
#define STAT_FIELDS 8
#define STAT_IDLE 3

struct activity {
        double idle, all; /* ticks of all processors */
        double disk_ms;   /* with requests in flight, the busiest disk */
};

static void read_processors(struct activity *a)
{
        unsigned long long t[STAT_FIELDS] = {0};
        FILE *f = fopen("/proc/stat", "re");

        if (!f)
                return;
        if (fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &t[0], &t[1], &t[2], &t[3],
                   &t[4], &t[5], &t[6], &t[7]) == STAT_FIELDS)
                for (int i = 0; i < STAT_FIELDS; i++)
                        a->all += (double)t[i];
        a->idle = (double)t[STAT_IDLE];
        fclose(f);
}

static void read_disks(struct activity *a)
{
        char line[512];
        FILE *f = fopen("/proc/diskstats", "re");

        while (f && fgets(line, sizeof(line), f)) {
                double ms;

                if (sscanf(line, "%*u %*u %*s %*u %*u %*u %*u %*u %*u %*u %*u %*u %lf", &ms) == 1 &&
                    ms > a->disk_ms)
                        a->disk_ms = ms;
        }
        if (f)
                fclose(f);
}

static bool is_quiet(void)
{
        struct activity before = {0}, after = {0};

        read_processors(&before);
        read_disks(&before);
        bench_sleep(QUIET_S);
        read_processors(&after);
        read_disks(&after);
        return after.all - before.all - (after.idle - before.idle) <=
                       (after.all - before.all) * BUSY_SHARE &&
               after.disk_ms - before.disk_ms <= QUIET_S * 1e3 * DISK_SHARE;
}

void bench_quiet(void)
{
        double end = bench_now() + GIVE_UP_S;

        while (!is_quiet() && bench_now() < end)
                ;
}
