/* hooklinectl audit against real stores: each kind of discrepancy, made by hand, is named; a fleet
 * at work is none; and after a clean run everything is at its end. */
#include "tests/support/fleet.h"

#include "base/event.h"
#include "base/json.h"
#include "base/mem.h"
#include "io/spool_file.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(ctl_audit, .timeout = 120);

enum { PATIENCE_MS = 60000, SOON = 20000, CLEAN = 0, FAULT = 1, WRONG = 3, TIMED_OUT = 124 };

/* --- an installation without programs ---------------------------------------------------- */

struct stage {
    const char *db, *receipts, *spool;
    struct test_redis *redis;
};

static const char *folder(const char *name)
{
    const char *path = harness_text("%s/%s", harness_dir(), name);
    cr_assert_eq(mkdir(path, 0700), 0);
    return path;
}

static struct stage stage_new(void)
{
    struct stage s = {.db = harness_database(true), .redis = test_redis_start()};
    s.receipts = folder("receipts");
    s.spool = folder("spool");
    return s;
}

static int audit(const struct stage *s, const char *const *args, const char **out)
{
    const char *argv[16] = {harness_text("%s/hooklinectl", harness_build()), "audit"};
    const char *env[] = {harness_text("WEBHOOK_DATABASE_URL=%s", s->db),
        harness_text("WEBHOOK_REDIS_URL=%s", test_redis_url(s->redis)),
        harness_text("WEBHOOK_SPOOL_DIR=%s", s->spool), NULL};
    for (int i = 0; args[i]; i++)
        argv[i + 2] = args[i];
    struct test_proc *p = test_proc_start(argv, env, -1);
    int code = test_proc_wait(p, PATIENCE_MS);
    *out = test_proc_log(p);
    return code;
}

#define ARGS(...)                                                                                  \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

/* --- events, by number ------------------------------------------------------------------- */

static const char *id_of(int n)
{
    return harness_text("00000000-0000-4000-8000-%012d", n);
}

static void receipt(const struct stage *s, const char *file, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void receipt(const struct stage *s, const char *file, const char *fmt, ...)
{
    va_list ap;
    FILE *f = fopen(harness_text("%s/%s", s->receipts, file), "a");
    cr_assert(f);
    va_start(ap, fmt);
    vfprintf(f, fmt, ap);
    va_end(ap);
    fclose(f);
}

static void answered(const struct stage *s, int n)
{
    receipt(s, "host-1-abc.receipts", "%s 2026-11-23T12:00:00.000001Z row\n", id_of(n));
}

static void row(const struct stage *s, int n, const char *status, const char *owner)
{
    sql_exec(s->db,
        "INSERT INTO webhook.change_events (event_id, watch_id, watch_url, rescrape_status,"
        " claimed_by) VALUES ('%s', 'w', 'http://page.test/', '%s', %s)",
        id_of(n), status, owner);
}

static struct change_event event_of(int n)
{
    struct change_event ev = {.watch_id = "w", .watch_url = "http://page.test/", .metadata = "{}"};
    cr_assert(uuid_parse(id_of(n), &ev.id));
    return ev;
}

/* The job's bytes hold no blanks, quotes or zeros that redis_text's line could not carry: they go
 * through a script instead, as hex. */
static const char *job_hex(int n)
{
    struct buf job = {0}, hex = {0};
    struct change_event ev = event_of(n);
    event_encode(&ev, &job);
    digest_hex((const uint8_t *)job.data, job.len, buf_reserve(&hex, 2 * job.len + 1));
    const char *text = harness_text("%s", hex.data);
    buf_release(&job);
    buf_release(&hex);
    return text;
}

#define STREAM "{hookline}:q:change"
#define UNHEX  "(ARGV[1]:gsub('..',function(h)return(string.char(tonumber(h,16)))end))"

static const char *in_stream(const struct stage *s, int n)
{
    return redis_text(s->redis,
        "EVAL return(redis.call('XADD',KEYS[1],'*','id',ARGV[2],'job'," UNHEX ")) 1 " STREAM
        " %s %s",
        job_hex(n), id_of(n));
}

static void in_later(const struct stage *s, int n, bool job)
{
    redis_text(s->redis, "ZADD {hookline}:later 9999999999999 %s", id_of(n));
    if (job)
        redis_text(s->redis,
            "EVAL return(redis.call('HSET',KEYS[1],ARGV[2]," UNHEX ")) 1 "
            "{hookline}:later:jobs %s %s",
            job_hex(n), id_of(n));
}

/* What waits in the stream is given to a worker that never acks. */
static void deliver(const struct stage *s)
{
    redis_text(s->redis, "XGROUP CREATE " STREAM " workers 0 MKSTREAM");
    redis_text(s->redis, "XREADGROUP GROUP workers worker-x COUNT 100 STREAMS " STREAM " >");
}

static void in_spool(const struct stage *s, const char *segment, int n)
{
    struct buf b = {0}, job = {0};
    struct change_event ev = event_of(n);
    const char *path = harness_text("%s/%s", s->spool, segment);
    FILE *f = fopen(path, "a");
    cr_assert(f);
    if (ftell(f) == 0)
        buf_append(&b, SPOOL_MAGIC, SPOOL_START);
    event_encode(&ev, &job);
    spool_put_frame(&b, job.data, job.len);
    cr_assert_eq(fwrite(b.data, 1, b.len, f), b.len);
    fclose(f);
    buf_release(&b);
    buf_release(&job);
}

static void worker(const struct stage *s, const char *id, const char *dead_at, const char *seen_at)
{
    sql_exec(s->db,
        "INSERT INTO webhook.workers (id, host, pid, dead_at, seen_at)"
        " VALUES ('%s', 'h', 1, %s, %s)",
        id, dead_at, seen_at);
}

static void spool_row(const struct stage *s, const char *segment, const char *seen_at)
{
    sql_exec(s->db,
        "INSERT INTO webhook.spools (segment, host, folder, holder, bytes, seen_at)"
        " VALUES ('%s', 'far', '/spool', 'far-1-x', 100, %s)",
        segment, seen_at);
}

/* --- what it says ------------------------------------------------------------------------ */

static json_t *parsed(const char *text)
{
    struct hl_err err;
    const char *at = strchr(text, '{');
    cr_assert(at, "%s", text);
    json_t *root = json_parse(at, strlen(at), &err);
    cr_assert(root, "%s: %s", err.msg, text);
    cr_expect_eq(json_integer_value(json_object_get(root, "version")), 1);
    return root;
}

static long member(const json_t *root, const char *object, const char *key)
{
    const json_t *at = object ? json_object_get(root, object) : root;
    cr_assert(json_is_integer(json_object_get(at, key)), "%s.%s", object ? object : "", key);
    return (long)json_integer_value(json_object_get(at, key));
}

/* "WHAT: WHERE" of the event among the discrepancies; "" = it is not named. */
static const char *named(const json_t *root, int n)
{
    size_t i;
    json_t *d;
    json_array_foreach(json_object_get(root, "discrepancies"), i, d)
    {
        if (strcmp(json_get_string(d, "event_id"), id_of(n)) == 0)
            return harness_text("%s: %s", json_get_string(d, "what"), json_get_string(d, "where"));
    }
    return "";
}

/* --- discrepancies ----------------------------------------------------------------------- */

Test(ctl_audit, every_kind_of_discrepancy_is_named_and_nothing_else)
{
    struct stage s = stage_new();
    const char *out;
    worker(&s, "alive", "NULL", "now()");
    worker(&s, "dead", "now()", "now()");
    worker(&s, "silent", "NULL", "now() - interval '10 minutes'");
    for (int n = 1; n <= 16; n++)
        answered(&s, n);
    row(&s, 1, "completed", "'alive'");
    row(&s, 2, "failed: target answered 404", "'alive'");
    row(&s, 3, "superseded", "NULL");
    row(&s, 4, "queued", "NULL");
    row(&s, 5, "queued", "NULL");
    in_later(&s, 5, true);
    row(&s, 6, "in_progress", "'alive'");
    row(&s, 7, "in_progress", "'dead'");
    row(&s, 8, "in_progress", "'gone'");
    row(&s, 9, "in_progress", "'silent'");
    in_stream(&s, 10);
    in_spool(&s, "host-1-abc.seg", 11);
    row(&s, 12, "queued", "NULL");
    in_stream(&s, 12);
    in_stream(&s, 12);
    row(&s, 13, "completed", "'alive'");
    in_spool(&s, "host-1-abc.seg", 13);
    in_later(&s, 14, false);
    redis_text(s.redis, "SET {hookline}:job:%s later", id_of(15));
    redis_text(s.redis, "XADD {hookline}:dead * id %s reason refused job x", id_of(16));

    cr_expect_eq(audit(&s, ARGS("--json", "--receipts", s.receipts), &out), WRONG, "%s", out);
    json_t *root = parsed(out);
    static const struct {
        int n;
        const char *named;
    } cases[] = {
        {7,  "stuck: row in progress without a living owner"},
        {8,  "stuck: row in progress without a living owner"},
        {9,  "stuck: row in progress without a living owner"},
        {12, "doubled: row queued, stream (waiting) 2 times"},
        {14, "stuck: later, without its job"                },
        {15, "missing: marker"                              },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        cr_expect_str_eq(named(root, cases[i].n), cases[i].named, "%s", out);
    cr_expect_eq(json_array_size(json_object_get(root, "discrepancies")), 6, "%s", out);
    static const char *const found[] = {"completed", "failed", "superseded", "unpublished",
        "queued", "in_progress", "redis_only", "spool_only", "leaving", "buried"};
    for (size_t i = 0; i < sizeof(found) / sizeof(*found); i++)
        cr_expect_eq(member(root, "events", found[i]), 1, "%s: %s", found[i], out);
    cr_expect_eq(member(root, "receipts", "events"), 16, "%s", out);
    cr_expect_eq(member(root, NULL, "wrong"), 6, "%s", out);
    cr_expect(json_is_null(json_object_get(root, "quiet")), "%s", out);
    json_decref(root);
}

Test(ctl_audit, what_a_finished_event_left_behind_is_wrong_once_it_had_its_time)
{
    struct stage s = stage_new();
    const char *out;
    for (int n = 1; n <= 4; n++)
        row(&s, n, "completed", "NULL");
    in_stream(&s, 1);
    deliver(&s);
    in_stream(&s, 2);
    in_spool(&s, "host-1-abc.seg", 3);
    in_later(&s, 4, true);
    cr_expect_eq(audit(&s, ARGS("--json"), &out), CLEAN, "%s", out);
    json_t *root = parsed(out);
    cr_expect_eq(member(root, "events", "leaving"), 4, "%s", out);
    json_decref(root);

    cr_expect_eq(audit(&s, ARGS("--json", "--wait=300ms"), &out), WRONG, "%s", out);
    root = parsed(out);
    cr_expect_str_eq(named(root, 1), "two_places: row completed, stream (delivered)");
    cr_expect_str_eq(named(root, 2), "two_places: row completed, stream (waiting)");
    cr_expect_str_eq(named(root, 3), "two_places: row completed, spool");
    cr_expect_str_eq(named(root, 4), "two_places: row completed, later");
    cr_expect(json_is_false(json_object_get(root, "quiet")));
    json_decref(root);
}

Test(ctl_audit, a_spool_that_a_living_producer_works_off_is_given_its_time)
{
    struct stage s = stage_new();
    const char *out;
    row(&s, 1, "completed", "NULL");
    in_spool(&s, "host-1-abc.seg", 1);
    in_spool(&s, "host-1-abc.seg", 2);
    spool_row(&s, "host-1-abc.seg", "now() + interval '1 minute'");
    cr_expect_eq(audit(&s, ARGS("--json", "--wait=300ms"), &out), TIMED_OUT, "%s", out);
    json_t *root = parsed(out);
    cr_expect_eq(member(root, "events", "leaving"), 1, "%s", out);
    cr_expect_eq(member(root, "events", "spool_only"), 1, "%s", out);
    json_decref(root);
}

Test(ctl_audit, people_get_a_table_a_limit_and_a_count)
{
    struct stage s = stage_new();
    const char *out;
    for (int n = 1; n <= 5; n++)
        answered(&s, n);
    row(&s, 3, "completed", "NULL");
    cr_expect_eq(audit(&s, ARGS("--receipts", s.receipts, "--limit", "2"), &out), WRONG, "%s", out);
    cr_expect(strstr(out, harness_text("%s  missing  nowhere\n", id_of(1))), "%s", out);
    cr_expect(strstr(out, harness_text("%s  missing  nowhere\n", id_of(2))), "%s", out);
    cr_expect_not(strstr(out, id_of(4)), "%s", out);
    cr_expect(strstr(out, "... and 2 more\n"), "%s", out);
    cr_expect(strstr(out, "\ncompleted        1  "), "%s", out);
    cr_expect(strstr(out, "\nmissing          4  "), "%s", out);
    cr_expect(
        strstr(out, "5 events with a receipt: 1 at an end, 0 under way, 4 wrong\n"), "%s", out);
}

Test(ctl_audit, without_receipts_it_says_that_it_cannot_know_of_lost_ones)
{
    struct stage s = stage_new();
    const char *out;
    row(&s, 1, "queued", "NULL");
    in_stream(&s, 1);
    cr_expect_eq(audit(&s, ARGS("--limit", "1"), &out), CLEAN, "%s", out);
    cr_expect(strstr(out, "nothing can be said of lost events"), "%s", out);
    cr_expect(strstr(out, "\nqueued           1  "), "%s", out);
}

/* --- journals ---------------------------------------------------------------------------- */

Test(ctl_audit, journals_are_read_with_their_rotated_parts_and_torn_or_damaged_lines)
{
    struct stage s = stage_new();
    const char *out, *more = folder("more");
    static const char journal[] = "host-1-abc.receipts", rotated[] = "host-1-abc.receipts.1";
    for (int n = 1; n <= 3; n++)
        row(&s, n, "completed", "NULL");
    receipt(&s, rotated, "%s 2026-11-23T12:00:00.000001Z row\n", id_of(1));
    receipt(&s, journal, "%s 2026-11-23T12:00:00.000001Z spool\n", id_of(2));
    receipt(&s, journal, "%s 2026-11-23T12:00:00.000002Z redis\n", id_of(2));
    receipt(&s, journal, "garbage\n\n%s\n", id_of(8));
    receipt(&s, journal, "%s 2026-11-23T12:00:00", id_of(9));
    struct stage other = s;
    other.receipts = more;
    receipt(&other, "host-2-def.receipts", "%s 2026-11-23T12:00:00.000001Z row\n", id_of(3));
    cr_expect_eq(audit(&s, ARGS("--json", "--receipts", s.receipts, "--receipts", more), &out),
        CLEAN, "%s", out);
    json_t *root = parsed(out);
    cr_expect_eq(member(root, "receipts", "files"), 3, "%s", out);
    cr_expect_eq(member(root, "receipts", "lines"), 7, "%s", out);
    cr_expect_eq(member(root, "receipts", "events"), 3, "%s", out);
    cr_expect_eq(member(root, "receipts", "damaged"), 3, "%s", out);
    json_decref(root);

    cr_expect_eq(audit(&s, ARGS("--receipts", "/nowhere/at/all"), &out), FAULT, "%s", out);
    cr_expect(strstr(out, "/nowhere/at/all"), "%s", out);
    cr_expect_eq(audit(&s, ARGS("--spool", "/nowhere/at/all"), &out), FAULT, "%s", out);
}

Test(ctl_audit, receipts_older_than_rows_are_kept_are_passed_over)
{
    struct stage s = stage_new();
    const char *out, *conf = harness_text("%s/conf", harness_dir());
    FILE *f = fopen(conf, "w");
    fputs("WEBHOOK_EVENT_RETENTION_DAYS=30\n", f);
    fclose(f);
    receipt(&s, "host-1-abc.receipts", "%s 2020-01-31T12:00:00.000001Z row\n", id_of(1));
    receipt(&s, "host-1-abc.receipts", "%s 2999-01-31T12:00:00.000001Z row\n", id_of(2));
    receipt(&s, "host-1-abc.receipts", "%s 2999-01-31T12:00:00.000001Z again\n", id_of(1));
    row(&s, 2, "completed", "NULL");
    cr_expect_eq(audit(&s, ARGS("--receipts", s.receipts), &out), WRONG, "%s", out);
    cr_expect(strstr(out, id_of(1)), "%s", out);
    cr_expect_eq(
        audit(&s, ARGS("--receipts", s.receipts, "--config", conf), &out), CLEAN, "%s", out);
    cr_expect(strstr(out, "Note: 2 receipts may be older than"), "%s", out);
}

Test(ctl_audit, ten_thousand_receipts_and_jobs_are_accounted_for_in_batches)
{
    struct stage s = stage_new();
    const char *out;
    FILE *f = fopen(harness_text("%s/host-1-abc.receipts", s.receipts), "w");
    cr_assert(f);
    for (int n = 0; n < 10001; n++)
        fprintf(f, "00000000-0000-4000-8000-%012d 2026-11-23T12:00:00.000001Z row\n", n);
    fclose(f);
    sql_exec(s.db,
        "INSERT INTO webhook.change_events (event_id, watch_id, watch_url, rescrape_status)"
        " SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, 'w', 'http://p/',"
        "  CASE WHEN n %% 2 = 0 THEN 'completed' ELSE 'queued' END"
        " FROM generate_series(0, 9999) n");
    redis_text(s.redis,
        "EVAL local\tj=" UNHEX "for\tn=1,1999,2\tdo\tredis.call('XADD',KEYS[1],'*','id',"
        "string.format('00000000-0000-4000-8000-%%012d',n),'job',j)end 1 " STREAM " %s",
        job_hex(1));
    cr_expect_eq(audit(&s, ARGS("--json", "--receipts", s.receipts), &out), WRONG, "%s", out);
    json_t *root = parsed(out);
    cr_expect_eq(member(root, "events", "completed"), 5000, "%s", out);
    cr_expect_eq(member(root, "events", "queued"), 1000, "%s", out);
    cr_expect_eq(member(root, "events", "unpublished"), 4000, "%s", out);
    cr_expect_eq(member(root, "events", "missing"), 1, "%s", out);
    cr_expect_str_eq(named(root, 10000), "missing: nowhere");
    json_decref(root);
}

/* --- other hosts, other bytes ------------------------------------------------------------ */

Test(ctl_audit, what_is_not_found_may_be_in_the_spool_of_a_living_producer_elsewhere)
{
    struct stage s = stage_new();
    const char *out;
    answered(&s, 1);
    spool_row(&s, "far-1-x.seg", "now() + interval '1 minute'");
    cr_expect_eq(audit(&s, ARGS("--json", "--receipts", s.receipts), &out), CLEAN, "%s", out);
    json_t *root = parsed(out);
    cr_expect_eq(member(root, "events", "elsewhere"), 1, "%s", out);
    json_t *far = json_array_get(json_object_get(root, "unread_spools"), 0);
    cr_expect_str_eq(json_get_string(far, "segment"), "far-1-x.seg");
    json_decref(root);

    sql_exec(s.db, "UPDATE webhook.spools SET seen_at = now() - interval '1 hour'");
    cr_expect_eq(audit(&s, ARGS("--receipts", s.receipts), &out), WRONG, "%s", out);
    cr_expect(strstr(out, "far-1-x.seg of host far"), "%s", out);
    cr_expect(strstr(out, "  missing  nowhere\n"), "%s", out);
    cr_expect_eq(audit(&s, ARGS("--wait=100ms"), &out), TIMED_OUT, "%s", out);
    cr_expect(strstr(out, "Not quiet in time: 100 bytes or more in spools\n"), "%s", out);
}

Test(ctl_audit, bytes_that_are_no_job_are_counted)
{
    struct stage s = stage_new();
    const char *out;
    redis_text(s.redis, "XADD " STREAM " * job no-job");
    redis_text(s.redis, "XADD " STREAM " * id %s job no-job", id_of(1));
    redis_text(s.redis, "XADD {hookline}:dead * id - reason x job no-job");
    in_spool(&s, "host-1-abc.seg", 2);
    FILE *f = fopen(harness_text("%s/host-1-abc.seg", s.spool), "a");
    struct buf frame = {0};
    spool_put_frame(&frame, "no job", 6);
    fwrite(frame.data, 1, frame.len, f);
    fputs("torn", f);
    fclose(f);
    buf_release(&frame);
    cr_expect_eq(audit(&s, ARGS("--json"), &out), CLEAN, "%s", out);
    json_t *root = parsed(out);
    cr_expect_eq(member(root, "no_jobs", "stream"), 2, "%s", out);
    cr_expect_eq(member(root, "no_jobs", "dead"), 1, "%s", out);
    cr_expect_eq(member(root, "no_jobs", "spool"), 1, "%s", out);
    cr_expect_eq(member(root, "no_jobs", "spool_damaged"), 1, "%s", out);
    cr_expect_eq(member(root, "events", "spool_only"), 1, "%s", out);
    json_decref(root);
}

/* --- exit codes -------------------------------------------------------------------------- */

Test(ctl_audit, stores_that_cannot_be_reached_are_69_and_wrong_usage_is_64)
{
    struct stage s = stage_new();
    const char *out;
    cr_expect_eq(audit(&s, ARGS("--wait=soon"), &out), 64, "%s", out);
    cr_expect_eq(audit(&s, ARGS("--limit", "0"), &out), 64, "%s", out);
    cr_expect_eq(audit(&s, ARGS("now"), &out), 64, "%s", out);
    cr_expect_eq(audit(&s, ARGS("--receipts"), &out), 64, "%s", out);
    test_redis_kill(s.redis);
    cr_expect_eq(audit(&s, ARGS("--json"), &out), 69, "%s", out);
    cr_expect_eq(audit(&s, ARGS("--wait=100ms"), &out), 69, "%s", out);
    test_redis_restart(s.redis);
    s.db = harness_text("postgresql://127.0.0.1:%d/x", harness_free_port());
    cr_expect_eq(audit(&s, ARGS("--json"), &out), 69, "%s", out);
}

/* --- a real fleet ------------------------------------------------------------------------ */

Test(ctl_audit, a_fleet_that_has_done_everything_is_quiet_and_clean)
{
    enum { EVENTS = 40 };
    struct rig r;
    const char *out;
    rig_start(&r);
    struct stage s = {.db = r.db, .redis = r.redis, .receipts = folder("receipts")};
    const char *args[] = {"audit", "--json", "--wait=30", "--receipts", s.receipts, NULL};
    for (int i = 0; i < EVENTS; i++)
        receipt(&s, "host-1-abc.receipts", "%s 2026-11-23T12:00:00.000001Z row\n",
            rig_post(&r, i % 10 ? "/ok/%d" : "/hold/%d", i).text);

    /* On a busy machine the producer may have answered some from its spool, and brings them home. */
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'queued'") == EVENTS, SOON);

    /* Nobody works yet: all under way, nothing wrong. */
    cr_expect_eq(
        rig_ctl(&r, ARGS("audit", "--json", "--receipts", s.receipts), &out), CLEAN, "%s", out);
    json_t *root = parsed(out);
    cr_expect_eq(member(root, "events", "queued"), EVENTS, "%s", out);
    json_decref(root);

    rig_fleet(&r, 1, NULL);
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'completed'") == EVENTS - 4, SOON);
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'in_progress'") == 4, SOON);
    args[2] = "--wait=500ms";
    cr_expect_eq(rig_ctl(&r, args, &out), TIMED_OUT, "%s", out);
    root = parsed(out);
    cr_expect_eq(member(root, "events", "in_progress"), 4, "%s", out);
    cr_expect_eq(member(root, NULL, "wrong"), 0, "%s", out);
    json_decref(root);

    rig_release(&r);
    args[2] = "--wait=30";
    cr_expect_eq(rig_ctl(&r, args, &out), CLEAN, "%s", out);
    root = parsed(out);
    cr_expect_eq(member(root, "events", "completed"), EVENTS, "%s", out);
    cr_expect_eq(member(root, "receipts", "events"), EVENTS, "%s", out);
    cr_expect(json_is_true(json_object_get(root, "quiet")), "%s", out);
    json_decref(root);
    sql_exec(r.db, "DELETE FROM webhook.change_events WHERE id ="
                   " (SELECT min(id) FROM webhook.change_events)");
    cr_expect_eq(rig_ctl(&r, args, &out), WRONG, "%s", out);
}

Test(ctl_audit, events_under_way_through_a_fleet_at_work_are_never_accused)
{
    enum { EVENTS = 120 };
    struct rig r;
    const char *out;
    rig_start(&r);
    struct stage s = {.db = r.db, .redis = r.redis, .receipts = folder("receipts")};
    rig_fleet(&r, 1, NULL);
    for (int i = 0; i < EVENTS; i++) {
        receipt(&s, "host-1-abc.receipts", "%s 2026-11-23T12:00:00.000001Z row\n",
            rig_post(&r, "/ok/%d", i % 7).text);
        if (i % 20 == 0)
            cr_expect_eq(
                rig_ctl(&r, ARGS("audit", "--receipts", s.receipts), &out), CLEAN, "%s", out);
    }
    cr_expect_eq(
        rig_ctl(&r, ARGS("audit", "--wait=30", "--receipts", s.receipts), &out), CLEAN, "%s", out);
}
