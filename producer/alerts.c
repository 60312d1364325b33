/* alerts: see alerts.h. One row for each thing there is to tell: when, how bad, and in what words. */
#include "producer/alerts.h"

#include "base/json.h"

#include <stddef.h>

enum {
    LATE_MS = 60 * 1000,           /* due for so long: it does not keep up */
    VERY_LATE_MS = 15 * 60 * 1000, /* and somebody has to do something */
    ORPHANED_MS = 5 * 60 * 1000,   /* the janitor takes events back much sooner */
    SOME_FETCHES = 10,             /* fewer tell nothing */
    BAD_SHARE = 10,
    WORSE_SHARE = 50, /* of fetches that failed, in % */
    SOME_REFUSED = 10,
};

enum level { NONE, INFO, WARN, ERROR };
static const char *const level_names[] = {[INFO] = "info", [WARN] = "warn", [ERROR] = "error"};

/* --- words ------------------------------------------------------------------------------- */

/* "1,234" */
static void put_number(struct buf *b, int64_t n)
{
    if (n >= 1000) {
        put_number(b, n / 1000);
        buf_printf(b, ",%03d", (int)(n % 1000));
    } else {
        buf_printf(b, "%d", (int)n);
    }
}

/* "1 event", "2 events", "20,000 events or more" */
static void put_count(struct buf *b, int64_t n, int64_t most, const char *one, const char *many)
{
    put_number(b, n);
    buf_printf(b, " %s%s", n == 1 ? one : many, most && n >= most ? " or more" : "");
}

static void put_events(struct buf *b, const struct fleet_facts *f, int64_t n)
{
    put_count(b, n, f->counted_to, "event", "events");
}

static void put_age(struct buf *b, int64_t ms)
{
    static const struct {
        int64_t ms;
        const char *unit;
    } units[] = {
        {86400000, "d"  },
        {3600000,  "h"  },
        {60000,    "min"},
        {1000,     "s"  }
    };
    size_t i = 0;
    while (i < 3 && ms < 2 * units[i].ms)
        i++;
    buf_printf(b, "%lld %s", (long long)(ms / units[i].ms), units[i].unit);
}

static void put_bytes(struct buf *b, int64_t n)
{
    if (n < 10000)
        put_count(b, n, 0, "byte", "bytes");
    else if (n < 10000000)
        buf_printf(b, "%lld kB", (long long)(n / 1000));
    else
        buf_printf(b, "%lld MB", (long long)(n / 1000000));
}

/* "2.5 a second" */
static void put_rate(struct buf *b, int64_t in_a_minute)
{
    if (in_a_minute >= 60)
        buf_printf(b, "%.1f a second", (double)in_a_minute / 60);
    else
        buf_printf(b, "%lld a minute", (long long)in_a_minute);
}

static const char *or_unknown(const char *s)
{
    return s && *s ? s : "unknown";
}

static bool paused(const struct fleet_facts *f)
{
    return f->queue[ALERTS_CHANGE].paused_ms >= 0;
}

/* --- is it keeping up? -------------------------------------------------------------------- */

static enum level no_worker(const struct fleet_facts *f, struct buf *b)
{
    if (f->workers)
        return NONE;
    buf_puts(b, "No worker process is alive");
    if (f->silent_workers) {
        buf_puts(b, " (");
        put_count(b, f->silent_workers, 0, "is silent", "are silent");
        buf_putc(b, ')');
    }
    if (!f->due) {
        buf_puts(b, ": what comes in will wait.");
        return WARN;
    }
    buf_puts(b, ", and ");
    put_events(b, f, f->due);
    buf_puts(b, f->due == 1 ? " is due." : " are due.");
    return ERROR;
}

static enum level all_quiet(const struct fleet_facts *f, struct buf *b)
{
    if (!f->workers || f->quiet_workers < f->workers)
        return NONE;
    buf_puts(b, "Every worker process was told to be quiet: nothing new is started, and ");
    put_events(b, f, f->due);
    buf_puts(b, f->due == 1 ? " is due." : " are due.");
    return f->due ? ERROR : WARN;
}

static enum level not_keeping_up(const struct fleet_facts *f, struct buf *b)
{
    if (f->oldest_due_ms < LATE_MS || !f->workers || paused(f) || !f->minute_done)
        return NONE;
    put_events(b, f, f->due);
    buf_puts(b, f->due == 1 ? " is due, for " : " are due, the oldest for ");
    put_age(b, f->oldest_due_ms);
    buf_puts(b, ": ");
    put_rate(b, f->minute_accepted);
    buf_puts(b, " came in the last minute, ");
    put_rate(b, f->minute_done);
    buf_puts(b, " were done");
    if (f->minute_done > f->minute_accepted && f->due < f->counted_to) {
        buf_puts(b, "; at this pace the rest takes ");
        put_age(b, f->due * 60000 / (f->minute_done - f->minute_accepted));
        buf_putc(b, '.');
        return f->oldest_due_ms >= VERY_LATE_MS ? WARN : INFO;
    }
    buf_puts(b, f->minute_done > f->minute_accepted ? "." : ": the backlog grows.");
    return f->oldest_due_ms >= VERY_LATE_MS ? ERROR : WARN;
}

static bool stands_still(const struct fleet_facts *f)
{
    return f->oldest_due_ms >= LATE_MS && !f->minute_done && !f->eased && !paused(f);
}

/* Who has just begun has done nothing yet; what waits for an upstream is circuit_open's. */
static enum level nothing_done(const struct fleet_facts *f, struct buf *b)
{
    if (!stands_still(f) || !f->workers || f->quiet_workers == f->workers ||
        f->worker_ms < LATE_MS || f->fresh || f->circuits)
        return NONE;
    buf_puts(b, "Nothing was done in the last minute, while ");
    put_events(b, f, f->due);
    buf_puts(b, f->due == 1 ? " has been due for " : " are due, the oldest for ");
    put_age(b, f->oldest_due_ms);
    buf_puts(b, "; ");
    put_count(b, f->in_progress, f->counted_to, "is", "are");
    buf_puts(b, " in progress.");
    return ERROR;
}

/* --- is anything stuck? -------------------------------------------------------------------- */

static enum level put_paused(const struct fleet_facts *f, int queue, struct buf *b)
{
    if (f->queue[queue].paused_ms < 0)
        return NONE;
    buf_printf(b, "%s has been paused by %s for ",
        queue == ALERTS_CHANGE ? "The queue of change events" : "The queue of Firecrawl's events",
        or_unknown(f->queue[queue].paused_by));
    put_age(b, f->queue[queue].paused_ms);
    buf_puts(b, ": nothing of it is started");
    if (queue == ALERTS_CHANGE && f->due) {
        buf_puts(b, ", and ");
        put_events(b, f, f->due);
        buf_puts(b, f->due == 1 ? " is due" : " are due");
    }
    buf_putc(b, '.');
    return WARN;
}

static enum level change_paused(const struct fleet_facts *f, struct buf *b)
{
    return put_paused(f, ALERTS_CHANGE, b);
}

static enum level crawl_paused(const struct fleet_facts *f, struct buf *b)
{
    return put_paused(f, ALERTS_CRAWL, b);
}

static enum level put_fenced(const struct fleet_facts *f, int queue, struct buf *b)
{
    if (f->queue[queue].fenced_ms < 0)
        return NONE;
    buf_printf(b, "%s have been refused at intake for ",
        queue == ALERTS_CHANGE ? "Change events" : "Firecrawl's events");
    put_age(b, f->queue[queue].fenced_ms);
    buf_printf(b, ": fenced by %s.", or_unknown(f->queue[queue].fenced_by));
    return WARN;
}

static enum level change_fenced(const struct fleet_facts *f, struct buf *b)
{
    return put_fenced(f, ALERTS_CHANGE, b);
}

static enum level crawl_fenced(const struct fleet_facts *f, struct buf *b)
{
    return put_fenced(f, ALERTS_CRAWL, b);
}

static enum level redis_away(const struct fleet_facts *f, struct buf *b)
{
    if (f->redis)
        return NONE;
    buf_puts(b, "Redis does not answer: workers take change events straight from their rows, and "
                "Firecrawl's events wait on producers' disks.");
    return ERROR;
}

static enum level silent_producer(const struct fleet_facts *f, struct buf *b)
{
    if (!f->silent_producer)
        return NONE;
    buf_printf(b, "Producer %s on %s has not been heard of for ", f->silent_producer,
        or_unknown(f->silent_host));
    put_age(b, f->silent_ms);
    buf_puts(b, " and holds ");
    put_bytes(b, f->silent_bytes);
    buf_puts(b, " of events in its spool: start it again there, or read its folder with "
                "`hooklinectl spool`.");
    return ERROR;
}

static enum level spool_not_empty(const struct fleet_facts *f, struct buf *b)
{
    if (!f->spool_bytes)
        return NONE;
    put_bytes(b, f->spool_bytes);
    buf_puts(b, " of change events are on the disks of ");
    put_count(b, f->spool_hosts, 0, "host", "hosts");
    buf_puts(b, " only, and not in PostgreSQL yet.");
    return WARN;
}

static enum level stuck(const struct fleet_facts *f, struct buf *b)
{
    if (!f->orphans)
        return NONE;
    put_events(b, f, f->orphans);
    buf_printf(b, " %s in progress with worker processes that are dead, gone or silent",
        f->orphans == 1 ? "is" : "are");
    if (f->orphan_ms >= 0) {
        buf_puts(b, ", the longest for ");
        put_age(b, f->orphan_ms);
    }
    bool late = f->orphan_ms >= ORPHANED_MS;
    buf_puts(b, late ? ": no janitor takes them back." : "; the janitor takes them back.");
    return late ? ERROR : WARN;
}

static enum level suspects(const struct fleet_facts *f, struct buf *b)
{
    if (!f->suspects)
        return NONE;
    put_events(b, f, f->suspects);
    buf_printf(b, " %s in flight when worker processes crashed: %s alone, by a process of its own.",
        f->suspects == 1 ? "was" : "were", f->suspects == 1 ? "it runs" : "they run");
    return WARN;
}

static enum level crashes(const struct fleet_facts *f, struct buf *b)
{
    if (!f->crashes)
        return NONE;
    put_count(b, f->crashes, 0, "worker process", "worker processes");
    buf_printf(b, " crashed in the last hour, the last one by: %s.", or_unknown(f->crash_cause));
    return WARN;
}

static enum level silent_workers(const struct fleet_facts *f, struct buf *b)
{
    if (!f->silent_workers || !f->workers)
        return NONE;
    put_number(b, f->silent_workers);
    buf_puts(b, " of ");
    put_count(b, f->workers + f->silent_workers, 0, "worker process", "worker processes");
    buf_printf(b, " %s not been heard of for two leases.", f->silent_workers == 1 ? "has" : "have");
    return WARN;
}

/* --- what is failing, and why? -------------------------------------------------------------- */

static enum level circuit_open(const struct fleet_facts *f, struct buf *b)
{
    if (!f->circuits)
        return NONE;
    buf_printf(b, "%s is left alone after failures (%s)", or_unknown(f->circuit_host),
        or_unknown(f->circuit_error));
    if (f->circuit_ms > 0) {
        buf_puts(b, ", to be tried in ");
        put_age(b, f->circuit_ms);
    } else {
        buf_puts(b, "; the next event tries it again");
    }
    if (f->circuits > 1) {
        buf_puts(b, "; so ");
        put_count(b, f->circuits - 1, 0, "other host is", "other hosts are");
    }
    if (stands_still(f)) {
        buf_puts(b, ". Nothing was done in the last minute, and ");
        put_events(b, f, f->due);
        buf_puts(b, f->due == 1 ? " is due" : " are due");
    }
    buf_putc(b, '.');
    return stands_still(f) ? ERROR : f->circuit_ms <= 0 && !f->retrying ? INFO : WARN;
}

static enum level upstream_errors(const struct fleet_facts *f, struct buf *b)
{
    int64_t share = f->fetches ? f->fetch_errors * 100 / f->fetches : 0;
    if (f->fetches < SOME_FETCHES || share < BAD_SHARE)
        return NONE;
    put_number(b, f->fetch_errors);
    buf_puts(b, " of ");
    put_count(b, f->fetches, 0, "fetch", "fetches");
    buf_printf(b,
        " since the last hour began failed by the fault of the upstream (%d %%), most at"
        " %s: %s.",
        (int)share, or_unknown(f->fetch_host), or_unknown(f->fetch_outcome));
    return share >= WORSE_SHARE ? ERROR : WARN;
}

static enum level failing(const struct fleet_facts *f, struct buf *b)
{
    if (!f->failed)
        return NONE;
    put_count(b, f->failed, f->failed_to, "event", "events");
    buf_puts(b, " failed for good in the last hour");
    if (f->error) {
        buf_puts(b, f->failed == 1 ? ": " : ", most often (");
        if (f->failed > 1) {
            put_number(b, f->error_n);
            buf_puts(b, f->error_n == 1 ? " time): " : " times): ");
        }
        buf_puts(b, f->error);
    }
    buf_putc(b, '.');
    return WARN;
}

static enum level retrying(const struct fleet_facts *f, struct buf *b)
{
    if (!f->retrying)
        return NONE;
    put_events(b, f, f->retrying);
    buf_printf(b, " failed and %s to be tried again", f->retrying == 1 ? "is" : "are");
    if (f->retry_error)
        buf_printf(b, "; of late most often: %s", f->retry_error);
    buf_putc(b, '.');
    return INFO;
}

static enum level dead_letters(const struct fleet_facts *f, struct buf *b)
{
    if (f->letters <= 0)
        return NONE;
    put_count(b, f->letters, 0, "dead letter waits", "dead letters wait");
    buf_puts(b, " in Redis for somebody to decide: retry or drop.");
    return WARN;
}

static enum level refused(const struct fleet_facts *f, struct buf *b)
{
    if (f->refused < SOME_REFUSED)
        return NONE;
    put_count(b, f->refused, 0, "webhook was", "webhooks were");
    buf_printf(b, " refused since the last hour began, most for this reason: %s.",
        or_unknown(f->refused_reason));
    return WARN;
}

/* --- all of them --------------------------------------------------------------------------- */

/* clang-format off */
static const struct alert {
    const char *what, *view;
    /* The sentence, when there is anything to tell; its level. */
    enum level (*tell)(const struct fleet_facts *f, struct buf *text);
} all[] = {
    {"no_worker",       "workers",   no_worker},
    {"all_quiet",       "workers",   all_quiet},
    {"redis_away",      "system",    redis_away},
    {"stuck",           "events",    nothing_done},
    {"not_keeping_up",  "events",    not_keeping_up},
    {"orphans",         "workers",   stuck},
    {"paused",          "system",    change_paused},
    {"paused",          "system",    crawl_paused},
    {"fenced",          "system",    change_fenced},
    {"fenced",          "system",    crawl_fenced},
    {"silent_producer", "system",    silent_producer},
    {"circuit_open",    "upstreams", circuit_open},
    {"upstream_errors", "upstreams", upstream_errors},
    {"failing",         "dead",      failing},
    {"dead_letters",    "dead",      dead_letters},
    {"spool_not_empty", "system",    spool_not_empty},
    {"suspects",        "workers",   suspects},
    {"crashes",         "workers",   crashes},
    {"silent_workers",  "workers",   silent_workers},
    {"refused",         "sources",   refused},
    {"retrying",        "events",    retrying},
};
/* clang-format on */
enum { NALERTS = sizeof(all) / sizeof(*all) };

static void put_level(const struct fleet_facts *f, enum level level, struct buf *json)
{
    struct buf text = {0};
    for (size_t i = 0; i < NALERTS; i++) {
        buf_clear(&text);
        if (all[i].tell(f, &text) != level)
            continue;
        buf_puts(json, json->data[json->len - 1] == '[' ? "{" : ",{");
        json_put_text(json, "level", level_names[level]);
        json_put_text(json, "what", all[i].what);
        json_put_text(json, "text", buf_str(&text));
        json_put_text(json, "view", all[i].view);
        buf_putc(json, '}');
    }
    buf_release(&text);
}

void alerts_put(const struct fleet_facts *f, struct buf *json)
{
    buf_putc(json, '[');
    for (enum level level = ERROR; level > NONE; level--)
        put_level(f, level, json);
    buf_putc(json, ']');
}
