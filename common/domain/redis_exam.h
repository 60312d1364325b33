/* redis_exam: what `hooklinectl doctor` asks Redis about itself. */
#ifndef HL_DOMAIN_REDIS_EXAM_H
#define HL_DOMAIN_REDIS_EXAM_H

#include "io/redis.h"

enum { EXAM_TIMES = 9 };

/* One look at a clock elsewhere: ours before and after, all in microseconds since 1970. */
struct clock_look {
    int64_t before, there, after;
};

/* Zero-initialised but for done and ctx; borrowed until done has run, once, from the loop. */
struct redis_exam {
    void (*done)(struct redis_exam *e, enum hl_rc rc, const struct hl_err *err);
    void *ctx;

    /* The answers, when it went well. Texts are "" and numbers -1 where Redis does not say. */
    struct clock_look looks[EXAM_TIMES];
    char version[24], role[16], policy[24];
    char appendfsync[16]; /* where CONFIG may be asked */
    bool aof_enabled, aof_broken, snapshot_broken;
    int64_t memory, max_memory; /* bytes; max_memory 0 = no limit */
    int64_t clients, max_clients;
    int64_t evicted; /* keys, since it started */

    struct redis *redis; /* private */
    int asked;
};
void redis_exam(struct redis *r, struct redis_exam *e);

#endif
