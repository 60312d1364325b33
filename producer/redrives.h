/* redrives: the plans that this process makes or applies, for those who asked through the API: in the
 * background, one bounded statement after the other, whether who asked is still there or not. The truth is
 * in PostgreSQL: a plan that is broken off, also by a kill, is applied to its end by whoever is asked next,
 * and no event is put back twice. Each run completes its row of webhook.operator_log. */
#ifndef HL_PRODUCER_REDRIVES_H
#define HL_PRODUCER_REDRIVES_H

#include "domain/redrive.h"
#include "producer/stores.h"

#define REDRIVES_AT_ONCE 8 /* in one process */

struct redrives *redrives_new(struct stores *s);
/* Every run ends with its next step: what was being applied is 'stopped', what was being planned is
 * forgotten. They count as intakes until then. */
void redrives_drain(struct redrives *r);
void redrives_free(struct redrives *r); /* NULL ok; all runs have ended */
/* Whether another run may begin. */
bool redrives_free_place(const struct redrives *r);

enum planned { PLANNED_DONE, PLANNED_NOTHING, PLANNED_INTERRUPTED, PLANNED_FAILED };
/* err: of PLANNED_FAILED, else NULL. */
typedef void redrives_planned_cb(enum planned how, const struct hl_err *err, void *ctx);

/* Makes a plan; all texts are copied. cb runs from the loop when it is made, or cannot be, or has no event
 * (then it is gone), unless redrives_leave came first. log_id: of the operator's log. */
void redrives_plan(struct redrives *r, const struct redrive *plan, const struct failed_filter *f,
    int64_t log_id, redrives_planned_cb *cb, void *ctx);
/* Nobody waits for this plan any more; it is made nevertheless. */
void redrives_leave(struct redrives *r, const char *token);

/* Puts the events of a plan back whose state is 'applying' since store_redrive_take. */
void redrives_apply(struct redrives *r, const char *token, double per_second, int64_t log_id);

#endif
