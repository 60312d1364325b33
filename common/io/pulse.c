/* pulse: see pulse.h. */
#include "io/pulse.h"

#include "base/clock.h"
#include "base/meter.h"

#include <stdio.h>
#include <unistd.h>

enum { MEMORY_EVERY = 10 /* beats */ };

int64_t pulse_rss(void)
{
    long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f)
        return 0;
    if (fscanf(f, "%*s %lld", &pages) != 1)
        pages = 0;
    fclose(f);
    return pages * sysconf(_SC_PAGESIZE);
}

void pulse_beat(struct pulse *p, int64_t next_ms)
{
    int64_t now = clock_mono_us();
    if (p->due_us)
        meter_observe(M_LOOP_LAG, 0, now > p->due_us ? now - p->due_us : 0);
    p->due_us = now + next_ms * 1000;
    if (p->beats++ % MEMORY_EVERY == 0)
        meter_set(M_RSS, 0, 0, pulse_rss());
}
