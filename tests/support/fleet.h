/* fleet: a whole Hookline for one test: PostgreSQL, Redis, a stand-in Firecrawl, the real
 * producer, and as many worker fleets as the test starts. Events are posted over HTTP, as users
 * do; rows, queue and processes are looked at from outside. */
#ifndef HL_TESTS_FLEET_H
#define HL_TESTS_FLEET_H

#include "base/json.h"
#include "tests/support/harness.h"

#define RIG_SECRET      "a-secret-that-is-long-enough-for-everyone"
#define RIG_TOKEN       "a-token-for-senders-that-cannot-sign-webhooks"
#define RIG_API_SECRET  "an-api-secret-that-is-long-enough-for-all"
#define RIG_READ_SECRET "a-secret-that-is-long-enough-for-those-who-look"
#define RIG_SITE        "http://page.test" /* the pages' address; paths choose the stand-in's behaviour */

struct rig {
    const char *db;     /* URL of the database */
    struct test_pg *pg; /* NULL = in the suite's shared cluster */
    struct test_redis *redis;
    struct test_proc *firecrawl, *producer;
    int firecrawl_port, producer_port;
    const char *release; /* the file that lets held scrapes (/hold) go on */
    const char *netns;   /* worker fleets start in this network namespace; NULL = in ours */
};

struct rig_id {
    char text[40]; /* of an event */
};

void rig_start(struct rig *r);
void rig_start_on(struct rig *r, const char *db); /* on a database that is there, and migrated */
void rig_start_own_pg(struct rig *r);             /* with a cluster that can be killed: r->pg */

/* A worker fleet: one process, lease 2 s, retries after 1 s, no watchdog; `env` overrides. Waits
 * until every process (processes: as many as env says) has its lease. */
struct test_proc *rig_fleet(struct rig *r, int processes, const char *const *env);
#define RIG_ENV(...)                                                                               \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }
/* Any program with the settings of this rig, `env` overrides; argv[0] with its folder, or NAME of a
 * program of ours (rig_program). Waits for nothing. listen_fd: as test_proc_start. */
struct test_proc *rig_start_program(
    struct rig *r, const char *const *argv, const char *const *env, int listen_fd);
const char *rig_program(const char *name);
bool rig_serves(int port); /* a producer there answers and is healthy */
/* hooklinectl with these settings; its exit status and output. */
int rig_ctl(struct rig *r, const char *const *args, const char **out);
/* The JSON object in such output: the line that begins with one; what is for people stands beside it.
 * Fails the test when there is none, or its first member is not "version":1. Caller: json_decref. */
json_t *rig_json(const char *out);

/* Posts a signed event about RIG_SITE + path; fails the test unless it is accepted. */
struct rig_id rig_post(struct rig *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same without assertions, for forked posters; false unless accepted. */
bool rig_try_post(struct rig *r, const char *path, struct rig_id *id);

/* Columns of the event's row as text; "" for NULL and when there is no row. */
const char *rig_row(struct rig *r, struct rig_id id, const char *columns);
bool rig_status_is(struct rig *r, struct rig_id id, const char *status);
long rig_rows(struct rig *r, const char *where);
int rig_scrapes(struct rig *r, const char *path); /* how often the stand-in was asked */
void rig_release(struct rig *r);                  /* held scrapes go on */
int rig_asked(struct rig *r); /* scrapes that reached the stand-in, of any page */
/* Every scrape fails with this status and Retry-After (negative: none); 0, 0: none any more. */
void rig_firecrawl_fails(struct rig *r, int status, int retry_after_s);
void rig_firecrawl_kill(struct rig *r);    /* connections are refused */
void rig_firecrawl_restart(struct rig *r); /* on the same port; counts start from zero */

/* The process that holds most of the work now; 0 = none is alive. */
pid_t rig_worker(struct rig *r);
/* The newest process of a fleet's role ("solo", "janitor"), as its supervisor logged it. */
pid_t rig_child(struct test_proc *fleet, const char *role);
bool rig_gone(pid_t pid); /* dead, be it reaped or not */

/* Nothing is left in Redis: stream, pending entries, later, markers. */
bool rig_queue_empty(struct rig *r);
long rig_pending(struct rig *r); /* entries delivered and not acked */
/* "reason|bytes" of the event's dead letter ("-" = of entries that are no events); "" = none. */
const char *rig_dead_letter(struct rig *r, const char *id);
/* So many worker processes, no consumer besides: the dead are forgotten everywhere. */
bool rig_only_living(struct rig *r, int processes);

#endif
