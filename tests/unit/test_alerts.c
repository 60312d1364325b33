/* alerts: what is told of a fleet, from what is known of it: case by case the alert that is expected, its
 * level and what its sentence must name; of a fleet that is well nothing is told. */
#include "producer/alerts.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <string.h>

TestSuite(alerts);

enum { MINUTE = 60 * 1000, HOUR = 60 * MINUTE };

/* A fleet that is well: busy, and nothing to tell. */
static struct fleet_facts well(void)
{
    return (struct fleet_facts){
        .counted_to = 20000,
        .failed_to = 1000,
        .due = 3,
        .oldest_due_ms = 900,
        .in_progress = 8,
        .orphan_ms = -1,
        .minute_accepted = 600,
        .minute_done = 600,
        .workers = 4,
        .worker_ms = HOUR,
        .queue = {{.paused_ms = -1, .fenced_ms = -1}, {.paused_ms = -1, .fenced_ms = -1}},
        .redis = true,
        .circuit_ms = -1,
        .fetches = 1000,
        .fetch_errors = 3,
        .refused = 2,
    };
}

static json_t *alerts_of(const struct fleet_facts *f)
{
    struct buf b = {0};
    alerts_put(f, &b);
    json_t *list = json_loads(buf_str(&b), 0, NULL);
    cr_assert(json_is_array(list), "%s", buf_str(&b));
    buf_release(&b);
    return list;
}

static const char *member(const json_t *alert, const char *key)
{
    const char *text = json_string_value(json_object_get(alert, key));
    cr_assert_not_null(text, "%s", key);
    return text;
}

static const json_t *find(const json_t *list, const char *what)
{
    size_t i;
    json_t *one;
    json_array_foreach(list, i, one) if (strcmp(member(one, "what"), what) == 0) return one;
    return NULL;
}

Test(alerts, of_a_fleet_that_is_well_nothing_is_told)
{
    const struct fleet_facts f = well();
    json_t *list = alerts_of(&f);
    cr_expect_eq(json_array_size(list), 0, "%s", json_dumps(list, 0));
    json_decref(list);
}

/* --- one thing is wrong ------------------------------------------------------------------ */

static void no_worker(struct fleet_facts *f)
{
    f->workers = 0;
    f->silent_workers = 2;
    f->due = 1234;
}
static void no_worker_idle(struct fleet_facts *f)
{
    f->workers = 0;
    f->due = 0;
}
static void all_quiet(struct fleet_facts *f)
{
    f->quiet_workers = 4;
}
static void behind(struct fleet_facts *f)
{
    f->due = 20000;
    f->oldest_due_ms = 20 * MINUTE;
    f->minute_accepted = 1200;
}
static void a_little_behind(struct fleet_facts *f)
{
    f->due = 4000;
    f->oldest_due_ms = 5 * MINUTE;
    f->minute_accepted = 700;
}
static void catching_up(struct fleet_facts *f)
{
    f->due = 1000;
    f->oldest_due_ms = 5 * MINUTE;
    f->minute_accepted = 100;
}
static void nothing_done(struct fleet_facts *f)
{
    f->due = 7;
    f->oldest_due_ms = 3 * MINUTE;
    f->minute_done = 0;
}
static void change_paused(struct fleet_facts *f)
{
    f->queue[ALERTS_CHANGE].paused_ms = 3 * HOUR;
    f->queue[ALERTS_CHANGE].paused_by = "ann@host";
    f->due = 12;
    f->oldest_due_ms = 3 * HOUR;
    f->minute_done = 0;
}
static void crawl_paused(struct fleet_facts *f)
{
    f->queue[ALERTS_CRAWL].paused_ms = 30 * MINUTE;
    f->queue[ALERTS_CRAWL].paused_by = "bob@host";
}
static void change_fenced(struct fleet_facts *f)
{
    f->queue[ALERTS_CHANGE].fenced_ms = 90 * 1000;
    f->queue[ALERTS_CHANGE].fenced_by = "cid@host";
}
static void redis_away(struct fleet_facts *f)
{
    f->redis = false;
    f->letters = -1;
}
static void orphans(struct fleet_facts *f)
{
    f->orphans = 3;
    f->orphan_ms = 20 * 1000;
}
static void old_orphan(struct fleet_facts *f)
{
    f->orphans = 1;
    f->orphan_ms = 2 * HOUR;
}
static void silent_producer(struct fleet_facts *f)
{
    f->silent_producer = "web7-12-ab";
    f->silent_host = "web7";
    f->silent_bytes = 25000000;
    f->silent_ms = 50 * HOUR;
}
static void spool(struct fleet_facts *f)
{
    f->spool_bytes = 1;
    f->spool_hosts = 2;
}
static void circuits(struct fleet_facts *f)
{
    f->circuits = 3;
    f->circuit_host = "shop.test:443";
    f->circuit_error = "HTTP 503";
    f->circuit_ms = 12000;
}
static void circuit_in_the_way(struct fleet_facts *f)
{
    circuits(f);
    f->minute_done = 0;
    f->oldest_due_ms = 3 * MINUTE;
}
static void circuit_of_the_past(struct fleet_facts *f)
{
    circuits(f);
    f->circuits = 1;
    f->circuit_ms = 0;
    f->due = 0;
    f->oldest_due_ms = -1;
}
static void some_errors(struct fleet_facts *f)
{
    f->fetch_errors = 200;
    f->fetch_host = "fire:3002";
    f->fetch_outcome = "timeout";
}
static void most_errors(struct fleet_facts *f)
{
    some_errors(f);
    f->fetch_errors = 900;
}
static void failing(struct fleet_facts *f)
{
    f->failed = 1000;
    f->error = "target answered 404";
    f->error_n = 31;
}
static void one_failed(struct fleet_facts *f)
{
    f->failed = f->error_n = 1;
    f->error = "host \"x\" refused";
}
static void retrying(struct fleet_facts *f)
{
    f->retrying = 2;
    f->retry_error = "connection failed";
}
static void letters(struct fleet_facts *f)
{
    f->letters = 1;
}
static void suspects(struct fleet_facts *f)
{
    f->suspects = 2;
}
static void crashes(struct fleet_facts *f)
{
    f->crashes = 1;
    f->crash_cause = "signal 11";
}
static void silent_worker(struct fleet_facts *f)
{
    f->silent_workers = 1;
}
static void refused(struct fleet_facts *f)
{
    f->refused = 4321;
    f->refused_reason = "signature";
}

/* clang-format off */
static const struct {
    void (*wrong)(struct fleet_facts *f);
    const char *what, *level, *view;
    const char *says[4];
} cases[] = {
    {no_worker, "no_worker", "error", "workers",
     {"No worker process", "2 are silent", "1,234 events are due"}},
    {no_worker_idle, "no_worker", "warn", "workers", {"will wait"}},
    {all_quiet, "all_quiet", "error", "workers", {"quiet", "3 events are due"}},
    {behind, "not_keeping_up", "error", "events",
     {"20,000 events or more are due", "oldest for 20 min", "20.0 a second came", "10.0 a second were"}},
    {a_little_behind, "not_keeping_up", "warn", "events", {"4,000 events", "5 min", "backlog grows"}},
    {catching_up, "not_keeping_up", "info", "events", {"1,000 events are due", "the rest takes 2 min"}},
    {nothing_done, "stuck", "error", "events",
     {"Nothing was done", "7 events", "3 min", "8 are in progress"}},
    {change_paused, "paused", "warn", "system", {"change events", "ann@host", "3 h", "12 events are due"}},
    {crawl_paused, "paused", "warn", "system", {"Firecrawl's", "bob@host", "30 min"}},
    {change_fenced, "fenced", "warn", "system", {"Change events", "cid@host", "90 s"}},
    {redis_away, "redis_away", "error", "system", {"Redis does not answer"}},
    {orphans, "orphans", "warn", "workers", {"3 events are", "20 s", "the janitor takes them back"}},
    {old_orphan, "orphans", "error", "workers", {"1 event is", "2 h", "no janitor"}},
    {silent_producer, "silent_producer", "error", "system", {"web7-12-ab", "on web7", "2 d", "25 MB"}},
    {spool, "spool_not_empty", "warn", "system", {"1 byte of", "2 hosts"}},
    {circuits, "circuit_open", "warn", "upstreams", {"shop.test:443", "HTTP 503", "12 s", "2 other hosts"}},
    {circuit_in_the_way, "circuit_open", "error", "upstreams",
     {"shop.test:443", "12 s", "Nothing was done in the last minute, and 3 events are due"}},
    {circuit_of_the_past, "circuit_open", "info", "upstreams", {"the next event tries it again"}},
    {some_errors, "upstream_errors", "warn", "upstreams",
     {"200 of 1,000 fetches", "20 %", "fire:3002", "timeout"}},
    {most_errors, "upstream_errors", "error", "upstreams", {"90 %"}},
    {failing, "failing", "warn", "dead", {"1,000 events or more", "31 times", "target answered 404"}},
    {one_failed, "failing", "warn", "dead", {"1 event failed", "last hour: host \"x\" refused."}},
    {retrying, "retrying", "info", "events", {"2 events", "connection failed"}},
    {letters, "dead_letters", "warn", "dead", {"1 dead letter waits"}},
    {suspects, "suspects", "warn", "workers", {"2 events were", "they run alone"}},
    {crashes, "crashes", "warn", "workers", {"1 worker process crashed", "signal 11"}},
    {silent_worker, "silent_workers", "warn", "workers", {"1 of 5 worker processes has"}},
    {refused, "refused", "warn", "sources", {"4,321 webhooks", "signature"}},
};
/* clang-format on */
enum { NCASES = sizeof(cases) / sizeof(*cases) };

Test(alerts, what_is_wrong_is_told_alone_with_its_numbers_and_where_to_look)
{
    for (size_t i = 0; i < NCASES; i++) {
        struct fleet_facts f = well();
        cases[i].wrong(&f);
        json_t *list = alerts_of(&f);
        const json_t *alert = find(list, cases[i].what);
        cr_expect_eq(json_array_size(list), 1, "case %zu: %s", i, json_dumps(list, 0));
        cr_assert_not_null(alert, "case %zu: no %s", i, cases[i].what);
        cr_expect_str_eq(member(alert, "level"), cases[i].level, "case %zu", i);
        cr_expect_str_eq(member(alert, "view"), cases[i].view, "case %zu", i);
        for (int n = 0; n < 4 && cases[i].says[n]; n++)
            cr_expect(strstr(member(alert, "text"), cases[i].says[n]), "case %zu: no \"%s\" in: %s",
                i, cases[i].says[n], member(alert, "text"));
        json_decref(list);
    }
}

Test(alerts, when_everything_is_wrong_errors_come_first_and_notes_last)
{
    static const char *const order[] = {"error", "warn", "info"};
    struct fleet_facts f = well();
    size_t i, level = 0;
    json_t *one;
    redis_away(&f);
    circuits(&f);
    retrying(&f);
    failing(&f);
    no_worker(&f);
    json_t *list = alerts_of(&f);
    cr_expect_eq(json_array_size(list), 5);
    json_array_foreach(list, i, one)
    {
        while (level < 3 && strcmp(member(one, "level"), order[level]) != 0)
            level++;
        cr_expect_lt(level, 3, "alert %zu is out of order", i);
    }
    json_decref(list);
}

Test(alerts, who_has_just_begun_is_not_said_to_be_stuck)
{
    struct fleet_facts f = well();
    nothing_done(&f);
    f.worker_ms = 20 * 1000;
    json_t *list = alerts_of(&f);
    cr_expect_eq(json_array_size(list), 0);
    json_decref(list);
    nothing_done(&f);
    f.worker_ms = HOUR;
    f.fresh = 2;
    list = alerts_of(&f);
    cr_expect_eq(json_array_size(list), 0);
    json_decref(list);
    f.fresh = 0;
    f.eased = true;
    list = alerts_of(&f);
    cr_expect_eq(json_array_size(list), 0);
    json_decref(list);
}

Test(alerts, a_paused_queue_is_not_said_to_be_slow)
{
    struct fleet_facts f = well();
    behind(&f);
    change_paused(&f);
    json_t *list = alerts_of(&f);
    cr_expect_null(find(list, "not_keeping_up"));
    cr_expect_null(find(list, "stuck"));
    json_decref(list);
}
