/* pulse: what each process shows of itself with its heartbeat, whatever its work is: how late its loop
 * runs timers, and its memory. */
#ifndef HL_IO_PULSE_H
#define HL_IO_PULSE_H

#include <stdint.h>

/* Zero-initialised, embedded in whoever has the heartbeat. */
struct pulse {
    int64_t due_us; /* when the next beat is to come; 0 = none was announced */
    int beats;
};
/* The heartbeat's timer has run, and will be started for next_ms from now. */
void pulse_beat(struct pulse *p, int64_t next_ms);

int64_t pulse_rss(void); /* bytes of memory this process occupies; 0 when the kernel does not say */

#endif
