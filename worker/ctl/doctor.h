/* doctor: what the checks of `hooklinectl doctor` share. A check looks at one thing and says what it
 * found; cmd_doctor.c has their table, and why each matters. */
#ifndef HL_WORKER_CTL_DOCTOR_H
#define HL_WORKER_CTL_DOCTOR_H

#include "domain/redis_exam.h"
#include "worker/ctl/listing.h"
#include "worker/ctl/session.h"

enum doctor_level { DOCTOR_OK, DOCTOR_WARNING, DOCTOR_ERROR, DOCTOR_LEVELS };

struct doctor {
    const char *config_file;
    struct config cfg; /* of all programs; what is given and faulty has its default */
    bool asks;         /* the stores may be asked: our own settings are fine, and session is open */
    struct session session;
    struct redis_exam redis; /* what Redis says, unless redis_err */
    struct hl_err redis_err, db_err;
    struct answer server, fleet; /* store_doctor_server, _fleet, unless db_err */
    struct clock_look db_looks[EXAM_TIMES];
    int schema; /* the newest migration that is applied; -1 = there is no schema */

    int producers, workers; /* replicas that are planned; 0 and 0: nobody asked */

    const char *check, *why; /* of the check that runs */
    struct listing findings;
    int found[DOCTOR_LEVELS];
};

/* One finding. todo: what to do; NULL = nothing. */
void doctor_say(struct doctor *d, enum doctor_level level, const char *todo, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Asks both stores all that the checks want to know. */
void doctor_ask(struct doctor *d);
void doctor_release_answers(struct doctor *d);

typedef void doctor_check(struct doctor *d);
/* doctor_settings.c */
doctor_check doctor_settings, doctor_secrets;
/* doctor_stores.c */
doctor_check doctor_redis, doctor_durability, doctor_redis_memory, doctor_postgres, doctor_schema,
    doctor_connections, doctor_latency, doctor_clocks, doctor_fleet;
/* doctor_host.c */
doctor_check doctor_firecrawl, doctor_spool, doctor_disk, doctor_files, doctor_memory;

#endif
