/* job: one rescrape in flight in a worker process. Steps the table of jobstate.h: on entering a
 * state the step is started, its answer becomes an event, the event chooses the next state. */
#ifndef HL_WORKER_JOB_H
#define HL_WORKER_JOB_H

#include "base/config.h"
#include "domain/metrics.h"
#include "domain/queue.h"
#include "domain/sampler.h"
#include "domain/spans.h"
#include "domain/store.h"
#include "worker/breaker.h"
#include "worker/jobstate.h"
#include "worker/scrape.h"

struct job;

/* What a job needs from its process; borrowed for the job's life. */
struct job_env {
    struct loop *loop;
    const struct config *cfg;
    const char *instance; /* this process, for what is measured */
    struct store *store;
    struct queue *queue;
    struct scraper *scraper;     /* its guard is job_may_ask */
    struct breaker *breaker;     /* NULL = none */
    struct metrics *metrics;     /* NULL: none are taken */
    struct spans *spans;         /* NULL: none are made */
    struct sampler *sampler;     /* is told of fetches; NULL: nobody is */
    bool alone;                  /* the process runs nothing beside it: may claim suspects */
    bool (*may_work)(void *ctx); /* our lease is good */
    void (*moved)(struct job *j, void *ctx); /* entered a new state */
    void (*done)(struct job *j, void *ctx);  /* reached DONE; freed right after */
    /* A dead letter that Redis could not take; both borrowed. NULL: nobody cares. */
    void (*unburied)(const struct change_event *ev, const char *reason, void *ctx);
    void *ctx;
};

/* Takes *ev (its strings). entry: the stream entry that brought it, "" = none; copied. Starts at
 * once: T1. */
struct job *job_start(const struct job_env *env, struct change_event *ev, const char *entry);
/* The same for an event that is claimed already, from its row (store_claim_due): starts with the
 * scrape, from the loop. waited_ms: since it was due. */
struct job *job_start_claimed(const struct job_env *env, struct change_event *ev, int64_t epoch,
    int64_t attempts, int64_t waited_ms);
/* Let go soon: a scrape is cancelled and the row given back; a transaction under way is waited
 * for. */
void job_abort(struct job *j);

/* Its upstream may still be asked. For scraper_guard. */
bool job_may_ask(void *job);

const struct uuid *job_id(const struct job *j);
const char *job_entry(const struct job *j); /* "" = none */
enum job_state job_state(const struct job *j);
int64_t job_age_ms(const struct job *j); /* since job_start */

/* The owner's: its lists, and marks of its own. */
struct job_link {
    struct list_node all, bucket;
    int mark;
    bool ran;   /* it came to a result */
    bool again; /* an entry of it is still ours: another one, or one Redis did not hear of */
};
struct job_link *job_link(struct job *j);
struct job *job_of(struct job_link *link);

#endif
