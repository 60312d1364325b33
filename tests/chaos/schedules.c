/* schedules: see chaos.h. Each brings about, step by step, the one situation in which its guarantee
 * matters; with the guarantee switched off (make chaos-mutants) the checks must find a violation.
 * A schedule that did not come to its situation says so: then it has shown nothing. */
#include "tests/chaos/chaos.h"

#include <fcntl.h>
#include <libpq-fe.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SOON_MS = 30000, QUIET_MS = 20000, NEVER_MS = 500 };

static const char *const one_worker[] = {"WEBHOOK_WORKERS=1", "WEBHOOK_PRODUCERS=1",
    "WEBHOOK_WATCHDOG_SECONDS=0", "WEBHOOK_DB_PRE_PING_AFTER=60", "WEBHOOK_DB_STATEMENT_TIMEOUT=1",
    "WEBHOOK_SCRAPE_TIMEOUT=10", "WEBHOOK_DB_CONNECT_TIMEOUT=1", NULL};

static const char *const as_usual[] = {"WEBHOOK_CONCURRENCY=16", NULL};

static void begin(struct stack *s, const char *const *settings)
{
    stack_start(s, 1, settings);
    for (int i = 0; i < HOSTS; i++)
        stack_producer(s, i)->restart_at = stack_fleet(s, i)->restart_at = INT64_MAX;
    stack_start_unit(s, stack_producer(s, 0));
    stack_start_unit(s, stack_fleet(s, 0));
}

static pid_t the_worker(struct stack *s, int host)
{
    pid_t pid;
    if (unit_children(stack_fleet(s, host), "worker", &pid, 1) != 1)
        harness_fail("the fleet has no worker");
    return pid;
}

static const char *post(struct stack *s, const char *path)
{
    struct answer a = load_post(stack_producer(s, 0)->port, path, path, "it changed");
    if (a.status != 202)
        harness_fail("%s is answered %d", path, a.status);
    return harness_text("%s", a.event);
}

static int scrapes(struct stack *s, const char *path)
{
    char *text = harness_slurp(s->scrapes, 1 << 20), *wanted = mem_printf("page.test%s\n", path);
    int n = 0;
    for (const char *at = text; (at = strstr(at, wanted)); at++)
        n++;
    free(wanted);
    free(text);
    return n;
}

static bool has_status(struct stack *s, const char *event, const char *status)
{
    return sql_int(s->db,
               "SELECT count(*) FROM webhook.change_events WHERE event_id = '%s'"
               " AND rescrape_status = '%s'",
               event, status) == 1;
}

static void expect_quiet(struct stack *s, struct verdict *v)
{
    int64_t end = harness_now_ms() + QUIET_MS;
    while (!stack_quiet(s) && harness_now_ms() < end)
        harness_pause(20);
    if (!stack_quiet(s))
        verdict_add(v, "not quiet within %d s", QUIET_MS / 1000);
}

/* --- one for each guarantee -------------------------------------------------------------- */

/* A worker sleeps through its lease; its event is fetched by another. It wakes with its own answer
 * in hand while the other still fetches. */
static void claim_guard(struct stack *s, struct verdict *v)
{
    static const char path[] = "/slow/1500/guarded";
    begin(s, one_worker);
    post(s, path);
    WAIT_FOR(scrapes(s, path) == 1, SOON_MS);
    pid_t sleeper = the_worker(s, 0);
    kill(sleeper, SIGSTOP);
    stack_start_unit(s, stack_fleet(s, 1));
    WAIT_FOR(scrapes(s, path) == 2, SOON_MS);
    kill(sleeper, SIGCONT);
    expect_quiet(s, v);
}

/* Two addresses of one page: the first fetch is slow and ends last. */
static void scrape_seq(struct stack *s, struct verdict *v)
{
    begin(s, one_worker);
    const char *slow = post(s, "/ok/page#slow/2000");
    WAIT_FOR(scrapes(s, "/ok/page#slow/2000") == 1, SOON_MS);
    const char *fast = post(s, "/ok/page#slow/0");
    WAIT_FOR(has_status(s, fast, "completed"), SOON_MS);
    if (!has_status(s, slow, "in_progress"))
        verdict_add(v, "the schedule did not come about: the slow fetch was not the last");
    expect_quiet(s, v);
}

/* The result cannot be committed yet: Redis must not know of it. */
static void ack_before_t3(struct stack *s, struct verdict *v)
{
    begin(s, one_worker);
    const char *event = post(s, "/hold/acked");
    WAIT_FOR(scrapes(s, "/hold/acked") == 1, SOON_MS);
    PGconn *lock = PQconnectdb(s->db);
    char *sql = mem_printf(
        "BEGIN; SELECT FROM webhook.change_events WHERE event_id = '%s' FOR UPDATE", event);
    PQclear(PQexec(lock, sql));
    free(sql);
    close(open(s->release, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    WAIT_FOR(sql_int(s->db, "SELECT count(*) FROM pg_locks WHERE NOT granted") > 0, SOON_MS);
    for (int64_t end = harness_now_ms() + NEVER_MS; harness_now_ms() < end; harness_pause(10))
        if (redis_int(s->redis, "XLEN {hookline}:q:change") == 0) {
            verdict_add(v, "Redis was told before the result was committed");
            break;
        }
    PQfinish(lock);
    expect_quiet(s, v);
}

/* A claim is sent to a PostgreSQL that hangs, and given up for lost; Redis forgets the event; then
 * the claim commits after all. */
static void strays(struct stack *s, struct verdict *v)
{
    begin(s, one_worker);
    struct unit *fleet = stack_fleet(s, 0);
    const char *first = post(s, "/ok/warm");
    WAIT_FOR(has_status(s, first, "completed") && stack_quiet(s), SOON_MS);
    pid_t worker = the_worker(s, 0);
    kill(worker, SIGSTOP);
    const char *event = post(s, "/ok/stray");
    test_pg_pause(s->pg);
    kill(worker, SIGCONT);
    WAIT_FOR(test_proc_logged_with(fleet->proc, "job_step_repeats", "\"step\":\"CLAIM\"") &&
                 test_proc_logged(fleet->proc, "\"work_dropped\""),
        SOON_MS);
    WAIT_FOR(redis_int(s->redis, "EXISTS {hookline}:q:change") == 1 &&
                 *redis_text(s->redis, "XPENDING {hookline}:q:change workers") == '0',
        SOON_MS); /* the entry was given back */
    redis_text(s->redis, "FLUSHALL");
    test_pg_resume(s->pg);
    WAIT_FOR(!has_status(s, event, "queued"), SOON_MS);
    expect_quiet(s, v);
    if (sql_int(s->db,
            "SELECT count(*) FROM chaos.history WHERE event_id = '%s' AND status = 'in_progress'",
            event) == 0)
        verdict_add(v, "the schedule did not come about: the lost claim never committed");
}

/* --- crawls ------------------------------------------------------------------------------ */

static const char *const one_job[] = {"WEBHOOK_WORKERS=1", "WEBHOOK_PRODUCERS=1",
    "WEBHOOK_CRAWL_CONCURRENCY=1", "WEBHOOK_WATCHDOG_SECONDS=0", "WEBHOOK_CRAWL_RECONCILE=off",
    NULL};

#define CRAWL_EVENT(type, members)                                                                 \
    "{\"success\":true,\"type\":\"crawl." type "\",\"id\":\"crawl-1\"," members                    \
    "\"metadata\":{\"url\":\"http://crawl.test/\"}}"
#define CRAWL_PAGE(n)                                                                              \
    CRAWL_EVENT("page",                                                                            \
        "\"data\":[{\"markdown\":\"A page\",\"metadata\":{\"url\":"                                \
        "\"http://crawl.test/" n "\",\"scrapeId\":\"" n "\",\"statusCode\":200}}],")

static void post_to_crawl(struct stack *s, const char *body)
{
    int status = crawls_post(stack_producer(s, 0)->port, body);
    if (status != 200 && status != 202)
        harness_fail("%s is answered %d", body, status);
}

/* A crawl that has begun, whose session nobody can write until the lock is let go of. */
static PGconn *begin_crawl(struct stack *s)
{
    begin(s, one_job);
    post_to_crawl(s, CRAWL_EVENT("started", ""));
    WAIT_FOR(stack_quiet(s) && sql_int(s->db, "SELECT count(*) FROM webhook.crawl_sessions") == 1,
        SOON_MS);
    PGconn *lock = PQconnectdb(s->db);
    PQclear(PQexec(lock, "BEGIN; SELECT FROM webhook.crawl_sessions FOR NO KEY UPDATE"));
    return lock;
}

static bool waiting(struct stack *s, int n)
{
    return sql_int(s->db, "SELECT count(*) FROM pg_locks WHERE NOT granted") == n;
}

/* What the event leaves cannot be committed yet: it must stay in the queue. */
static void crawl_ack(struct stack *s, struct verdict *v)
{
    PGconn *lock = begin_crawl(s);
    post_to_crawl(s, CRAWL_PAGE("1"));
    WAIT_FOR(waiting(s, 1), SOON_MS);
    for (int64_t end = harness_now_ms() + NEVER_MS; harness_now_ms() < end; harness_pause(10))
        if (redis_int(s->redis, "XLEN {hookline}:q:crawl") == 0) {
            verdict_add(v, "Redis was told before the event was stored");
            break;
        }
    PQfinish(lock);
    expect_quiet(s, v);
}

/* Two workers store a page of one crawl each, at one time. */
static void crawl_turns(struct stack *s, struct verdict *v)
{
    PGconn *lock = begin_crawl(s);
    stack_start_unit(s, stack_fleet(s, 1));
    post_to_crawl(s, CRAWL_PAGE("1"));
    WAIT_FOR(waiting(s, 1), SOON_MS);
    post_to_crawl(s, CRAWL_PAGE("2"));
    WAIT_FOR(waiting(s, 2), SOON_MS);
    PQfinish(lock);
    expect_quiet(s, v);
    if (sql_int(s->db, "SELECT count(*) FROM webhook.crawl_pages") != 2)
        verdict_add(v, "the schedule did not come about: two pages were not stored");
}

/* --- recovery ---------------------------------------------------------------------------- */

/* The pid of the living worker that holds most; 0 = none holds anything. */
static pid_t busiest(struct stack *s)
{
    return (pid_t)sql_int(s->db,
        "SELECT coalesce((SELECT w.pid FROM webhook.workers w JOIN webhook.change_events c"
        " ON c.claimed_by = w.id AND c.rescrape_status = 'in_progress' WHERE w.dead_at IS NULL"
        " GROUP BY w.pid ORDER BY count(*) DESC LIMIT 1), 0)");
}

static void give_work(struct stack *s, int round)
{
    for (int i = 0; i < 8; i++)
        post(s, harness_text("/slow/600/r%d-%d", round, i));
    WAIT_FOR(busiest(s) > 0, SOON_MS);
}

static void kill_busiest(struct stack *s)
{
    pid_t pid = busiest(s);
    if (pid > 0 && kill(pid, SIGKILL) == 0)
        history_death(pid, "process");
}

static void kill_host(struct stack *s, int host)
{
    pid_t pids[WORKERS];
    int n = unit_children(stack_fleet(s, host), "worker", pids, WORKERS);
    for (int i = 0; i < n; i++)
        history_death(pids[i], "host");
    unit_kill(stack_fleet(s, host));
}

/* Workers die one at a time, then whole hosts, in a fleet that is otherwise well. */
static void recovery(struct stack *s, struct verdict *v)
{
    enum { PROCESSES = 12, HOSTS_KILLED = 4 };
    begin(s, as_usual);
    stack_start_unit(s, stack_fleet(s, 1));
    for (int round = 0; round < PROCESSES + HOSTS_KILLED; round++) {
        give_work(s, round);
        if (round < PROCESSES)
            kill_busiest(s);
        else
            kill_host(s, round % HOSTS);
        stack_start_unit(s, stack_fleet(s, 0));
        stack_start_unit(s, stack_fleet(s, 1));
        WAIT_FOR(stack_quiet(s), SOON_MS);
    }
    expect_quiet(s, v);
}

const struct schedule schedules[] = {
    {"claim_guard",   "what a worker sends that has lost its claim changes nothing",   claim_guard  },
    {"scrape_seq",    "an older fetch never replaces a newer document",                scrape_seq   },
    {"ack_before_t3", "Redis is told after the result has committed",                  ack_before_t3},
    {"strays",        "a claim that was given up and yet came through is handed back", strays       },
    {"crawl_ack",     "an event of a crawl is in the queue until it is stored",        crawl_ack    },
    {"crawl_turns",   "a session is the sum of all its events, also of those at once", crawl_turns  },
    {"recovery",      "the jobs of a dead worker run again within moments",            recovery     },
    {NULL,            NULL,                                                            NULL         },
};
