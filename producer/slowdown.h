/* slowdown: who has failed lately, by address, and how long each of them has to wait: twice as long
 * with every failure. Bounded: the address that failed longest ago makes room. Pure. */
#ifndef HL_PRODUCER_SLOWDOWN_H
#define HL_PRODUCER_SLOWDOWN_H

#include "producer/client.h"

#include <stdint.h>

#define SLOWDOWN_FIRST_MS   250
#define SLOWDOWN_LONGEST_MS 4000
#define SLOWDOWN_FORGET_MS  (15 * 60 * 1000)
#define SLOWDOWN_CLIENTS    256

struct slowdown { /* all zeros: nobody */
    struct slowdown_row {
        char client[CLIENT_LEN + 1]; /* "" = free */
        int n;                       /* failures */
        int64_t at_ms, until_ms;     /* the last one; when the next may be */
    } rows[SLOWDOWN_CLIENTS];
};

/* How long until this client may try again; 0 = it may. Times are clock_mono_ms(), above 0. */
int64_t slowdown_wait_ms(const struct slowdown *s, const char *client, int64_t now_ms);
/* It has failed: how long its answer, and its next attempt, have to wait. */
int64_t slowdown_failed(struct slowdown *s, const char *client, int64_t now_ms);
/* It has not failed. */
void slowdown_forgive(struct slowdown *s, const char *client);

#endif
