/* store, the plans: how PostgreSQL would run every statement of the store on a database with a
 * history, a million events of which few are unfinished. Whatever runs for an event, a beat or a
 * sweep must reach its rows by an index, and must not read more because the table is large: with
 * a plan made for the values at hand as well as with the generic one, to which PostgreSQL turns
 * when a prepared statement has been run a few times and which knows no value at all. */
#include "base/buf.h"
#include "base/mem.h"
#include "domain/store_sql.h"
#include "tests/support/harness.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static PGconn *db;
static const char *url;

/* --- the data ---------------------------------------------------------------------------- */

/* Not logged, and indexed afterwards: a tenth of the time, and the same plans. Events: ids 1 to
 * 1000 were written by the replaced service, 50 of them are unfinished; the last 30500 are the
 * backlog and what is in progress, most of it in the hands of worker-1. */
static const char *const data[] = {
    "SET maintenance_work_mem = '256MB'",
    "CREATE TEMP TABLE saved AS SELECT indexrelid::regclass::text AS name,"
    "  pg_get_indexdef(indexrelid) AS def FROM pg_index WHERE NOT indisprimary AND indrelid IN"
    "  ('webhook.change_events'::regclass, 'webhook.documents'::regclass)",
    "DO $$ DECLARE n text; BEGIN FOR n IN SELECT name FROM saved LOOP"
    "  EXECUTE 'DROP INDEX ' || n; END LOOP; END $$",
    "ALTER TABLE webhook.change_events DROP CONSTRAINT change_events_pkey",
    "ALTER TABLE webhook.change_events SET UNLOGGED",
    "ALTER TABLE webhook.documents SET UNLOGGED",
    "INSERT INTO webhook.change_events (id, event_id, watch_id, watch_url, url_key, detected_at,"
    "  created_at, diff_summary, rescrape_job_id, rescrape_status, metadata, body_digest,"
    "  accept_seq, claim_epoch, claimed_by, claimed_at, scrape_seq, starts, next_attempt_at,"
    "  finished_at, indexed_at)"
    " SELECT i, event_id, 'watch-' || i % 5000, url,"
    "  CASE WHEN NOT legacy THEN sha256(convert_to(url, 'UTF8')) END, at, at, 'price changed',"
    "  event_id::text, status, '{\"event_source\": \"changedetection\"}', sha256(int8send(i)),"
    "  CASE WHEN NOT legacy THEN i * 2 END, (status <> 'queued')::int,"
    "  CASE WHEN status = 'in_progress' AND NOT legacy"
    "    THEN 'worker-' || CASE WHEN i / 61 % 5 < 3 THEN 1 ELSE i % 200 END END,"
    "  CASE WHEN status <> 'queued' AND NOT legacy THEN at END,"
    "  CASE WHEN status <> 'queued' THEN i * 2 + 1 END, (status = 'in_progress')::int,"
    "  CASE WHEN status = 'queued' AND i % 10 = 3 THEN now() + interval '1 hour' END,"
    "  CASE WHEN status NOT IN ('queued', 'in_progress') THEN at END,"
    "  CASE WHEN status = 'completed' THEN at END"
    " FROM generate_series(1::bigint, 1000000) i"
    " CROSS JOIN LATERAL (SELECT i <= 1000 AS legacy, md5(i::text) AS h,"
    "   now() - (1000000 - i) * interval '2.5 s' AS at) a"
    " CROSS JOIN LATERAL (SELECT CASE WHEN NOT legacy THEN (lpad(to_hex("
    "   (extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(h, 1, 3) || 'a'"
    "   || substr(h, 5, 15))::uuid END AS event_id) e"
    " CROSS JOIN LATERAL (SELECT 'https://shop.example.com/catalogue/' || i % 20000 AS url) u"
    " CROSS JOIN LATERAL (SELECT CASE"
    "   WHEN legacy AND i % 100 = 0 THEN 'in_progress' WHEN legacy AND i % 20 = 0 THEN 'queued'"
    "   WHEN i > 969500 AND i % 61 = 0 THEN 'in_progress' WHEN i > 969500 THEN 'queued'"
    "   WHEN i % 50 = 0 THEN 'failed: HTTP 503' WHEN i % 20 = 1 THEN 'superseded'"
    "   ELSE 'completed' END AS status) s",
    "SELECT setval('webhook.scrape_clock', 3000000),"
    "  setval('webhook.change_events_id_seq', 1000000)",
    "INSERT INTO webhook.documents (url_key, canonical_url, url, title, text, content_hash, search,"
    "  claim_epoch, scrape_seq, scraped_at)"
    " SELECT sha256(convert_to(url, 'UTF8')), url, url, 'Page ' || i, body,"
    "  sha256(convert_to(body, 'UTF8')), to_tsvector('simple', body), 1, i,"
    "  now() - i % 100 * interval '1 day'"
    " FROM generate_series(1, 50000) i CROSS JOIN LATERAL ("
    "   SELECT 'https://shop.example.com/catalogue/' || i AS url, 'article number ' || i"
    "     || ' in colour ' || i % 97 || ' costs ' || i % 1009 AS body) t",
    "ALTER TABLE webhook.change_events ADD CONSTRAINT change_events_pkey PRIMARY KEY (id)",
    "DO $$ DECLARE d text; BEGIN FOR d IN SELECT def FROM saved LOOP EXECUTE d; END LOOP; END $$",
    "INSERT INTO webhook.workers (id, host, pid, dead_at)"
    " SELECT 'worker-' || i, 'host', i, CASE WHEN i % 20 = 0 THEN now() END"
    " FROM generate_series(0, 199) i",
    "INSERT INTO webhook.spools (segment, host, folder, holder, bytes)"
    " SELECT 'host-' || i || '-abc.seg', 'host-' || i, '/spool', 'host-' || i, i"
    " FROM generate_series(1, 2000) i",
    "INSERT INTO webhook.upstreams (host, state, open_until, probe_by, changed_at)"
    " SELECT 'host-' || i || ':80', (ARRAY['closed', 'open', 'half_open'])[i % 3 + 1], now(),"
    "  'worker-' || i, now() - i * interval '1 minute' FROM generate_series(1, 200) i",
    "INSERT INTO webhook.producers (id, host, pid, seen_at)"
    " SELECT 'producer-' || i, 'host', i, now() - i * interval '1 minute'"
    " FROM generate_series(1, 200) i",
    "INSERT INTO webhook.operator_log (operator, command, at) SELECT 'me@host', 'dead retry',"
    "  now() - i * interval '1 minute' FROM generate_series(1, 5000) i",
    "INSERT INTO webhook.redrives (token, planned_by, total)"
    " SELECT 'token-' || i, 'me@host', 100 FROM generate_series(1, 500) i",
    "INSERT INTO webhook.redrive_items (token, n, row_id, claim_epoch)"
    " SELECT 'token-' || i, n, 500000 + i * 100 + n, 1"
    " FROM generate_series(1, 500) i, generate_series(1, 100) n",
    "INSERT INTO webhook.samples (at, accepted, completed, latency)"
    " SELECT to_timestamp(floor(extract(epoch FROM now()) / 5) * 5 - i * 5), i, i,"
    "  '{0,0,1,2,3,2,1,0,0,0,0,0,0,0,0,0,0}' FROM generate_series(0, 150000) i",
    "INSERT INTO webhook.tallies (hour, kind, name, outcome, n)"
    " SELECT date_trunc('hour', now()) - h * interval '1 hour', 'upstream', 'host-' || i || ':80', "
    "o, i"
    " FROM generate_series(0, 200) h, generate_series(1, 100) i, unnest(ARRAY['ok', 'timeout']) o",
    "INSERT INTO webhook.tallies (hour, kind, name, outcome, n)"
    " SELECT date_trunc('hour', now()) - h * interval '1 hour', 'source', s, o, 1"
    " FROM generate_series(0, 200) h, unnest(ARRAY['change', 'crawl']) s,"
    "  unnest(ARRAY['accepted', 'duplicate', 'signature']) o",
    "SELECT webhook.metrics_partitions(0)",
    "ALTER TABLE webhook.request_metrics_default SET UNLOGGED",
    "ALTER TABLE webhook.operation_metrics_default SET UNLOGGED",
    "INSERT INTO webhook.request_metrics (id, \"timestamp\", method, path, status_code,"
    "  duration_ms, request_id, created_at)"
    " SELECT md5('r' || i)::uuid, at, 'POST', '/api/webhook/changedetection', 202, i % 100,"
    "  'r' || i, at"
    " FROM generate_series(1, 200000) i,"
    "  LATERAL (SELECT now() - (200000 - i) * interval '2.16 s' AS at) t",
    "INSERT INTO webhook.operation_metrics (id, \"timestamp\", operation_type, operation_name,"
    "  duration_ms, success, request_id, job_id, created_at)"
    " SELECT md5('o' || i)::uuid, at, 'scrape', 'fetch', i % 100, true, 'r' || i, 'j' || i, at"
    " FROM generate_series(1, 200000) i,"
    "  LATERAL (SELECT now() - (200000 - i) * interval '2.16 s' AS at) t",
    "INSERT INTO webhook.crawl_sessions (id, job_id, base_url, started_at, status, operation_type,"
    "  completed_at, updated_at, reconciled_at, reconcile_at)"
    " SELECT md5('c' || i)::uuid, 'crawl-' || i, 'https://shop.example.com/', at, 'completed',"
    "  'crawl', at, at, CASE WHEN i > 60 THEN at END,"
    "  CASE WHEN i < 20 THEN now() - interval '1 minute' END"
    " FROM generate_series(1, 50000) i, LATERAL (SELECT now() - i * interval '1 minute' AS at) t",
    /* One crawl has ten thousand pages, twenty have a thousand, most have ten. */
    "CREATE TEMP TABLE seen AS SELECT 'crawl-' || c AS crawl, i,"
    "  'https://shop.example.com/' || c || '/' || i AS url, now() - c * interval '1 minute' AS at,"
    "  md5(c || '-' || i)::uuid AS id FROM generate_series(1, 9000) c,"
    "  LATERAL generate_series(1, CASE WHEN c = 1 THEN 10000 WHEN c < 22 THEN 1000 ELSE 10 END) i",
    "INSERT INTO webhook.crawl_events (event_id, crawl_id, type, kind, received_at, success,"
    "  documents, metadata) SELECT id, crawl, 'crawl.page', 'page', at, true, 1, '{}' FROM seen",
    "INSERT INTO webhook.crawl_events (event_id, crawl_id, type, kind, received_at, success,"
    "  metadata) SELECT md5(c::text)::uuid, 'crawl-' || c, 'crawl.started', 'started', now(),"
    "  true, '{\"a\": 1}' FROM generate_series(1, 50000) c",
    "INSERT INTO webhook.crawl_events (event_id, type, kind, received_at)"
    " SELECT md5('none' || i)::uuid, 'monitor.page', 'page', now() - i * interval '1 minute'"
    " FROM generate_series(1, 5000) i",
    "INSERT INTO webhook.crawl_pages (crawl_id, url_key, url, scrape_id, status_code, indexed,"
    "  event_id, received_at) SELECT crawl, sha256(convert_to(url, 'UTF8')), url, id::text, 200,"
    "  true, id, at FROM seen",
    "INSERT INTO webhook.scraped_content (crawl_session_id, url, content_source, markdown,"
    "  content_hash) SELECT crawl, url, 'firecrawl_crawl', 'text of ' || url, md5(url) FROM seen",
    "UPDATE webhook.change_events SET suspect = 2 WHERE id BETWEEN 990000 AND 990050",
    "INSERT INTO webhook.worker_crashes (worker, host, pid, role, cause, blamed, crashed_at)"
    " SELECT 'crashed-' || i, 'host', i, 'worker', 'signal 11', true,"
    "  now() - (20000 - i) * interval '5 minutes' FROM generate_series(1, 20000) i",
    "ANALYZE",
    /* For the parameters below. */
    "CREATE VIEW free AS SELECT id, event_id, watch_url, body_digest FROM webhook.change_events"
    " WHERE id BETWEEN 980000 AND 981000 AND rescrape_status = 'queued' AND next_attempt_at IS NULL"
    " ORDER BY id",
    "CREATE VIEW news AS SELECT gen_random_uuid() AS event_id, 'crawl-' || 2 + i % 20 AS crawl,"
    "  'https://shop.example.com/' || 2 + i % 20 || '/' || i AS url, i"
    " FROM generate_series(900, 1500) i",
    "CREATE VIEW held AS SELECT event_id, watch_url FROM webhook.change_events"
    " WHERE claimed_by = 'worker-1' AND rescrape_status = 'in_progress' ORDER BY id",
    NULL,
};

static PGresult *query(const char *sql, ExecStatusType expected)
{
    PGresult *r = PQexec(db, sql);
    if (PQresultStatus(r) != expected && PQresultStatus(r) != PGRES_COMMAND_OK)
        cr_assert_fail("%s%s", PQerrorMessage(db), sql);
    return r;
}

static void run(const char *sql)
{
    PQclear(query(sql, PGRES_TUPLES_OK));
}

static void load(void)
{
    url = harness_database(true);
    db = PQconnectdb(url);
    cr_assert_eq(PQstatus(db), CONNECTION_OK);
    for (int i = 0; data[i]; i++)
        run(data[i]);
}

/* Half a gigabyte: not kept until the suite ends. */
static void drop(void)
{
    const char *name = sql_text(url, "SELECT current_database()");
    const char *admin = getenv("HOOKLINE_TEST_PG");
    PQfinish(db);
    if (admin && *admin)
        sql_exec(admin, "DROP DATABASE %s WITH (FORCE)", name);
}

TestSuite(store_plans, .init = load, .fini = drop, .timeout = 180);

/* --- what each statement is asked -------------------------------------------------------- */

/* A batch of :n rows of a view, as the arrays that the program sends. */
#define BATCH(columns, view) "SELECT " columns " FROM (SELECT * FROM " view " LIMIT :n) b"
#define ALL(expression)      "array_agg(" expression ")"

struct ask {
    const char *stmt;
    const char *params; /* SELECT of one row, a column for each; NULL: it has none */
    int sizes[4];       /* what :n is to be, in turn */
    int fixed, per_row; /* it may touch fixed + per_row * n blocks */
    const char *scans;  /* why it may read whole tables; NULL: it may not */
};

/* clang-format off */
static const char accept_params[] =
    "SELECT " ALL("gen_random_uuid()") ", " ALL("'watch-' || i") ", "
    ALL("'https://shop.example.com/new/' || i") ", " ALL("1700000000000000 + i") ", "
    ALL("'price changed'::text") ", " ALL("NULL::text") ", " ALL("'{}'::text") ", "
    ALL("repeat('ab', 32)") " FROM generate_series(1, :n) i";

static const char complete_params[] = BATCH("'worker-1', " ALL("event_id") ", " ALL("1") ", "
    ALL("'{\"a\": 1}'::text") ", " ALL("watch_url") ", " ALL("watch_url") ", "
    ALL("'Page'::text") ", " ALL("NULL::text") ", " ALL("'en'::text") ", "
    ALL("'body of ' || watch_url") ", " ALL("NULL::text") ", " ALL("0"), "held");

static const char crash_params[] = BATCH("'worker-1', 'host', 1, 'worker', 11, 1,"
    " 'signal 11', true, 1000, 1000, '[]'::text, " ALL("event_id"), "held");

static const char requests_params[] =
    "SELECT " ALL("gen_random_uuid()") ", " ALL("1700000000000000 + i") ", " ALL("1500") ", "
    ALL("202") ", " ALL("'POST'::text") ", " ALL("'/api/webhook/changedetection'::text") ", "
    ALL("'new-r' || i") ", " ALL("'192.0.2.7'::text") ", " ALL("'sender/1'::text") ", "
    ALL("'{}'::text") " FROM generate_series(1, :n) i";

static const char operations_params[] =
    "SELECT " ALL("gen_random_uuid()") ", " ALL("1700000000000000 + i") ", " ALL("1500") ", "
    ALL("1") ", " ALL("'rescrape'::text") ", " ALL("'scrape'::text") ", " ALL("NULL::text") ", "
    ALL("'new-r' || i") ", " ALL("'new-j' || i") ", " ALL("NULL::text") ", "
    ALL("'https://shop.example.com/new/' || i") ", " ALL("'{}'::text")
    " FROM generate_series(1, :n) i";

/* New events of crawls that are there, a page each, some of them known. */
static const char crawl_params[] = BATCH(ALL("event_id") ", " ALL("crawl") ", "
    ALL("'crawl.page'::text") ", " ALL("'page'::text") ", " ALL("1700000000000000") ", " ALL("1")
    ", " ALL("NULL::text") ", " ALL("1") ", " ALL("'{}'::text") ", " ALL("0") ", " ALL("0") ", "
    ALL("NULL::text") ", " ALL("'firecrawl_crawl'::text") ", array_agg(i - 899), " ALL("url") ", "
    ALL("url") ", " ALL("event_id::text") ", " ALL("200") ", " ALL("NULL::text") ", "
    ALL("'body of ' || url") ", " ALL("NULL::text") ", " ALL("'{}'::text") ", " ALL("url") ", "
    ALL("url") ", " ALL("'Page'::text") ", " ALL("NULL::text") ", " ALL("NULL::text") ", "
    ALL("'body of ' || url") ", " ALL("NULL::text"), "news");

static const char settle_params[] = BATCH("'worker-1', " ALL("event_id") ", " ALL("1") ", "
    ALL("'queued'::text") ", " ALL("1") ", " ALL("5000") ", "
    ALL("'{\"error\": \"no\"}'::text"), "held");

/* A new row goes into eight indexes, a new version of one as well: a status is in the condition of
 * some of them. Each costs three or four blocks. `renew` gives back what is not among :n of 300. */
static const struct ask asks[] = {
    {"accept", accept_params, {1, 64, 256}, 100, 60, NULL},
    {"lock_urls", BATCH(ALL("watch_url"), "free"), {1, 64, 256}, 20, 1, NULL},
    {"claim", BATCH(ALL("event_id") ", " ALL("0") ", " ALL("encode(body_digest, 'hex')") ", 'worker-1'",
     "free"), {1, 64, 256}, 100, 60, NULL},
    {"lock_due", "SELECT '-infinity', 0, 100, :n", {10, 500, 2000}, 100, 12, NULL},
    {"claim_due", "SELECT 'worker-1' FROM (SELECT array_agg(id)::text AS ids FROM"
     " (SELECT id FROM free LIMIT :n) b) f WHERE set_config('hookline.due', ids, false) <> ''",
     {1, 64, 100}, 200, 60, NULL},
    {"complete", complete_params, {1, 64, 256}, 100, 60, NULL},
    {"settle", settle_params, {1, 64, 256}, 100, 60, NULL},
    {"register", "SELECT 'worker-new', 'host', 1", {1}, 50, 0, NULL},
    {"renew", BATCH("'worker-1', " ALL("event_id") ", 30000", "held"), {1, 64, 256}, 12000, 0,
     NULL},
    {"resign", "SELECT 'worker-1'", {1}, 50, 0, NULL},
    {"workers", NULL, {1}, 100, 0, NULL},
    {"declare_dead", "SELECT 'worker-1', 0, 'silent'", {1}, 100, 0, NULL},
    {"dead_workers", NULL, {1}, 100, 0, NULL},
    {"forget_worker", "SELECT 'worker-20'", {1}, 100, 0, NULL},
    {"reap", "SELECT 900000, 3, :n, 30000", {10, 500}, 1500, 60, NULL},
    {"identify", "SELECT :n", {10, 500}, 1000, 60, NULL},
    {"unpublished", "SELECT '-infinity', 0, 60000, :n", {10, 500}, 1000, 10, NULL},
    {"crash", crash_params, {1, 64, 256}, 12000, 60, NULL},
    {"next_suspect", NULL, {1}, 1000, 0, NULL},
    {"prune_crashes", "SELECT 2, :n", {10, 1000}, 500, 60, NULL},
    {"generation", NULL, {1}, 10, 0, NULL},
    {"announced", NULL, {1}, 20, 0, NULL},
    {"partitions", "SELECT 30", {1}, 3000, 0, NULL},
    {"prune_requests", "SELECT 2, :n", {10, 1000}, 1000, 60, NULL},
    {"prune_operations", "SELECT 2, :n", {10, 1000}, 1000, 60, NULL},
    {"prune_events", "SELECT 1, 500000, :n", {10, 1000}, 1000, 60, NULL},
    {"prune_documents", "SELECT 1, repeat('40', 32), :n", {10, 1000}, 1000, 60, NULL},
    {"retention_hold", "SELECT 'janitor-1', 60000, 3600000", {1}, 20, 0, NULL},
    {"retention_done", "SELECT 'janitor-1'", {1}, 20, 0, NULL},
    {"spool_note", "SELECT 'host-1-abc.seg', 'host', '/spool', 'host-1', 100", {1}, 50, 0, NULL},
    {"spool_gone", "SELECT 'host-1-def.seg'", {1}, 50, 0, NULL},
    {"list_spools", NULL, {1}, 0, 0, "a row for each segment that is not empty"},
    {"upstreams", "SELECT 'worker-1'", {1}, 500, 0, NULL},
    {"upstream_open", "SELECT 'host-1:80', 5, 30000, 'no'", {1}, 50, 0, NULL},
    {"upstream_probe", "SELECT 'host-2:80', 'worker-1', 150000", {1}, 50, 0, NULL},
    {"upstream_result", "SELECT 'host-3:80', 'worker-1', 'closed', 0, 0, NULL::text", {1}, 50, 0,
     NULL},
    {"forget_upstreams", NULL, {1}, 100, 0, NULL},
    {"list_upstreams", NULL, {1}, 100, 0, NULL},
    {"schema_version", NULL, {1}, 20, 0, NULL},
    {"metrics_manners", NULL, {1}, 0, 0, NULL},
    {"metrics_requests", requests_params, {1, 64, 1000}, 300, 40, NULL},
    {"metrics_requests_again", requests_params, {1, 64, 1000}, 300, 40, NULL},
    {"metrics_operations_again", operations_params, {1, 64, 1000}, 300, 50, NULL},
    {"metrics_operations", operations_params, {1, 64, 1000}, 300, 50, NULL},
    {"ping", NULL, {1}, 0, 0, NULL},
    {"count_by_status", NULL, {1}, 0, 0, "it counts every event, when somebody asks for it"},
    {"list_workers", NULL, {1}, 3000, 0, NULL},
    {"search", "SELECT 'number 4711', :n", {10}, 500, 10, NULL},
    {"read_requests", "SELECT 1, :n, 0, NULL::text, NULL::text, NULL::float8", {10, 1000}, 1000, 1,
     NULL},
    {"read_operations", "SELECT 1, :n, 0, NULL::text, NULL::text, NULL::text, NULL::boolean",
     {10, 1000}, 1000, 1, NULL},
    {"read_summary", "SELECT :n", {1, 4}, 500, 200, NULL},
    {"read_crawl", "SELECT 'crawl-4711'", {1}, 20, 0, NULL},
    {"read_crawl_steps", "SELECT 'crawl-4711', :n", {10}, 50, 5, NULL},
    {"audit_rows", BATCH("30000, " ALL("event_id"), "free"), {1, 64, 1000}, 3100, 6, NULL},
    {"audit_queued", "SELECT 980000, :n", {10, 1000}, 1000, 10, NULL},
    {"audit_in_progress", "SELECT 30000", {1}, 3000, 0, NULL},
    {"audit_work", "SELECT :n", {10, 1000}, 3000, 10, NULL},
    {"crawl_lock", BATCH(ALL("crawl") ", " ALL("'new-' || i"), "news"), {1, 64, 256}, 100, 40, NULL},
    {"crawl_keep", crawl_params, {1, 64, 256}, 200, 150, NULL},
    {"crawl_sum", "SELECT array_agg('crawl-' || i) FROM generate_series(2, 1 + :n) i", {1, 5, 20},
     500, 4000, NULL},
    {"crawl_due", "SELECT 600000", {1}, 3000, 0, NULL},
    {"crawl_take", "SELECT 60000", {1}, 300, 0, NULL},
    {"crawl_missing", "SELECT 'crawl-2', array_agg(md5('2-' || i)), array_agg("
     "'https://shop.example.com/2/' || i + 500) FROM generate_series(500, 499 + :n) i",
     {1, 10, 100}, 3000, 10, NULL},
    {"crawl_asked", "SELECT 'crawl-77', 100, 60000", {1}, 100, 0, NULL},
    {"prune_crawls", "SELECT 1, :n", {10, 100}, 1000, 60, NULL},
    {"view_events", "SELECT 900000, NULL::bigint, NULL::bigint, 'failed', NULL::text, NULL::text, :n,"
     " NULL::text, NULL::text, NULL::uuid", {10, 1000}, 6000, 10, NULL},
    {"view_queued", "SELECT NULL::bigint, 1, 4102444800000000, 'queued', 'https://nowhere.example.com/',"
     " NULL::text, :n, 'no such text', 'shop', NULL::uuid", {10}, 30000, 10, NULL},
    {"view_held", "SELECT NULL::bigint, NULL::bigint, NULL::bigint, 'in_progress', NULL::text,"
     " NULL::text, :n, NULL::text, 'SHOP', NULL::uuid", {10, 1000}, 4000, 10, NULL},
    {"view_watch", "SELECT NULL::bigint, NULL::bigint, NULL::bigint, NULL::text, NULL::text,"
     " 'watch-17', :n, NULL::text, NULL::text, NULL::uuid", {10, 1000}, 1000, 10, NULL},
    {"retry_events", "SELECT array_agg(id)::text, array_agg((extract(epoch FROM finished_at) * 1000000)"
     "::bigint)::text, 'operator' FROM (SELECT * FROM webhook.change_events WHERE id > 500000 AND"
     " rescrape_status LIKE 'failed%' ORDER BY id LIMIT :n) b", {1, 100}, 100, 60, NULL},
    {"trace", "SELECT event_id, NULL::bigint, 'https://shop.example.com/' FROM free LIMIT 1", {1}, 2000,
     0, NULL},
    {"zombies", "SELECT 900000, 30000, :n", {10, 1000}, 5000, 10, NULL},
    {"view_event", "SELECT event_id, NULL::bigint FROM free LIMIT 1", {1}, 50, 0, NULL},
    {"view_timeline", "SELECT NULL::uuid, 500000", {1}, 1500, 0, NULL},
    {"retry", "SELECT NULL::uuid, (SELECT id FROM webhook.change_events WHERE id > 500000 AND"
     " rescrape_status LIKE 'failed%' ORDER BY id LIMIT 1)", {1}, 100, 0, NULL},
    {"view_crawls", "SELECT NULL::bigint, NULL::uuid, 'failed', :n", {10, 1000}, 3000, 10, NULL},
    {"view_queues", NULL, {1}, 100, 0, NULL},
    {"view_spools", NULL, {1}, 0, 0, "a row for each segment that is not empty"},
    {"view_workers", NULL, {1}, 3000, 0, NULL},
    {"view_crashes", NULL, {1}, 100, 0, NULL},
    {"view_search", "SELECT 'number 4711', :n", {10}, 500, 10, NULL},
    {"view_document", "SELECT 'https://shop.example.com/catalogue/4711'", {1}, 100, 0, NULL},
    {"clock", NULL, {1}, 0, 0, NULL},
    {"finished", BATCH(ALL("event_id"), "free"), {1, 64, 1000}, 3100, 6, NULL},
    {"operator_begin", "SELECT 'me@host', 'drain', NULL::text, '{}'", {1}, 50, 0, NULL},
    {"operator_end", "SELECT 1, 4711, 'done'", {1}, 50, 0, NULL},
    {"orders", "SELECT 'worker-1', '{\"jobs\": 1}'", {1}, 100, 0, NULL},
    {"attend", "SELECT 'producer-1', 'host', 1, '{change}', '{\"place\": \"x\"}'", {1}, 100, 0, NULL},
    {"fences", NULL, {1}, 20, 0, NULL},
    {"log_level", NULL, {1}, 20, 0, NULL},
    {"log_order", NULL, {1}, 20, 0, NULL},
    {"set_log_level", "SELECT 'debug', 600000, 'me@host'", {1}, 50, 0, NULL},
    {"end_log_level", NULL, {1}, 20, 0, "at most one row"},
    {"producer_left", "SELECT 'producer-1'", {1}, 50, 0, NULL},
    {"neighbours", "SELECT 'host', 'x'", {1}, 100, 0, NULL},
    {"forget_producers", NULL, {1}, 100, 0, NULL},
    {"queue_orders", NULL, {1}, 20, 0, NULL},
    {"pause", "SELECT '{change}', true, 'me@host'", {1}, 50, 0, NULL},
    {"fence", "SELECT '{change}', true, 'me@host'", {1}, 50, 0, NULL},
    {"fleet", NULL, {1}, 3000, 0, NULL},
    {"give_order", "SELECT array_agg('worker-' || i), 'quiet' FROM generate_series(1, :n) i", {1, 50}, 300, 20,
     NULL},
    {"producers", NULL, {1}, 100, 0, NULL},
    {"census", NULL, {1}, 0, 0, "it counts all unfinished events, for a drain"},
    {"census_fleet", NULL, {1}, 0, 0, "a row for each segment that is not empty"},
    {"census_names", "SELECT :n", {20}, 4000, 10, NULL},
    {"hasten", "SELECT :n", {10, 1000}, 1000, 60, NULL},
    {"failed", "SELECT 900000, :n, NULL::text, NULL::text, NULL::bigint, NULL::bigint, 'http 5'",
     {10, 1000}, 3000, 10, NULL},
    {"failed_groups", "SELECT 'http', 1, NULL::bigint", {1}, 15000, 0, NULL},
    {"failed_known", BATCH(ALL("event_id"), "free"), {1, 64, 1000}, 3100, 6, NULL},
    {"failed_again", "SELECT array_agg(id), array_agg(claim_epoch) FROM (SELECT id, claim_epoch FROM"
     " webhook.change_events WHERE id > 500000 AND rescrape_status LIKE 'failed%' ORDER BY id"
     " LIMIT :n) f", {1, 64, 500}, 100, 70, NULL},
    {"redrive_begin", "SELECT 'token-new', 'me@host', NULL::text, '{}'", {1}, 0, 0,
     "the plans are few"},
    {"redrive_add", "SELECT 'token-7', 500000, 1000, :n, NULL::text, NULL::text, NULL::bigint,"
     " NULL::bigint, 'HTTP 5'", {10, 1000}, 4000, 20, NULL},
    {"redrive_planned", "SELECT 'token-7', 100", {1}, 20, 0, NULL},
    {"redrive_drop", "SELECT 'token-7'", {1}, 500, 0, NULL},
    {"redrives", "SELECT NULL::text, :n, 10000", {10, 50}, 0, 0, "the plans are few"},
    {"redrive_errors", "SELECT 'token-7', 10000", {1}, 1000, 0, NULL},
    {"redrive_items", "SELECT 'token-7', :n", {10, 100}, 100, 6, NULL},
    {"redrive_state", "SELECT 'token-7', 'applying'", {1}, 50, 0, NULL},
    {"redrive_take", "SELECT 'token-7'", {1}, 50, 0, NULL},
    {"redrive_apply", "WITH x AS (UPDATE webhook.redrives SET state = 'applying' WHERE token ="
     " 'token-7') SELECT 'token-7', 0, :n, 1000", {10, 100}, 1000, 80, NULL},
    {"top_queues", NULL, {1}, 100, 0, NULL},
    {"top_workers", "SELECT 30000", {1}, 3000, 0, NULL},
    {"samples_add", "SELECT 1, 1, 1, 1, 1, 1, 1, 1, 1, 5, 5, 5, '{1,2,3}', array_agg('upstream'::text),"
     " array_agg('host-' || i || ':80'), array_agg('ok'::text), array_agg(1), array_agg(10)"
     " FROM generate_series(1, :n) i", {1, 100}, 100, 20, NULL},
    {"prune_samples", "SELECT :n", {10, 1000}, 500, 10, NULL},
    {"prune_tallies", "SELECT :n", {10, 1000}, 500, 10, NULL},
    {"series", "SELECT :n, 5", {5, 60}, 100, 3, NULL},
    {"rates", NULL, {1}, 100, 0, NULL},
    {"sources", "SELECT :n", {1, 24}, 200, 10, NULL},
    {"upstreams_seen", "SELECT :n", {1, 24}, 500, 220, NULL},
    {"system", "SELECT 30000", {1}, 0, 0, "a row for each process, each migration, some segments"},
    {"set_log_level", "SELECT 'debug', 10, 'me@host'", {1}, 100, 0, NULL},
    {"glance", "SELECT 30000", {1}, 25000, 0, NULL},
    {"glance_fleet", "SELECT 30000", {1}, 3000, 0, "a row for each segment that is not empty"},
    {"glance_troubles", NULL, {1}, 6000, 0, NULL},
    {"doctor_server", NULL, {1}, 0, 0, "a row for each database, role and backend"},
    {"doctor_fleet", "SELECT 60000", {1}, 0, 0, "a row for each process and each segment"},
    {"transfer_state", NULL, {1}, 3000, 0, "a row for each segment that is not empty"},
    {"transfer_finished", "SELECT (SELECT array_agg(event_id) FROM (SELECT event_id FROM free"
     " LIMIT :n) f)", {1, 64, 256}, 100, 20, NULL},
};
/* clang-format on */

static const struct ask *ask_for(const struct store_stmt *stmt)
{
    for (size_t i = 0; i < sizeof(asks) / sizeof(*asks); i++)
        if (strcmp(asks[i].stmt, stmt->db.name) == 0)
            return &asks[i];
    return NULL;
}

/* "EXECUTE name('...', ...)" with the values that the question's SELECT answers for n. */
static void put_execute(struct buf *b, const struct ask *ask, int n)
{
    struct buf sql = {0};
    PGresult *r;
    const char *mark, *from = ask->params;
    buf_printf(b, "EXECUTE %s", ask->stmt);
    if (!from)
        return;
    for (; (mark = strstr(from, ":n")); from = mark + 2)
        buf_printf(&sql, "%.*s%d", (int)(mark - from), from, n);
    buf_printf(&sql, "%s", from);
    r = query(sql.data, PGRES_TUPLES_OK);
    cr_assert_eq(PQntuples(r), 1);
    for (int i = 0; i < PQnfields(r); i++) {
        char *literal = PQescapeLiteral(db, PQgetvalue(r, 0, i), (size_t)PQgetlength(r, 0, i));
        buf_printf(b, "%s%s", i ? ", " : "(", PQgetisnull(r, 0, i) ? "NULL" : literal);
        PQfreemem(literal);
    }
    buf_printf(b, ")");
    PQclear(r);
    buf_release(&sql);
}

/* --- what is seen in a plan -------------------------------------------------------------- */

static const char *text_of(const json_t *node, const char *key)
{
    const char *v = json_string_value(json_object_get(node, key));
    return v ? v : "";
}

/* As large as the work in flight, not as the history; a whole scan of one is no harm. */
static bool is_small(const char *index)
{
    static const char *const small[] = {"change_events_claimed_by_idx", "change_events_queued_idx",
        "change_events_due_idx", "change_events_open_url_idx", "change_events_unidentified_idx",
        "change_events_suspect_idx", "queues_pkey", "workers_pkey", "schema_migrations_pkey",
        "upstreams_pkey", "duties_pkey", "producers_pkey", "log_level_pkey"};
    for (size_t i = 0; i < sizeof(small) / sizeof(*small); i++)
        if (strcmp(index, small[i]) == 0)
            return true;
    return false;
}

/* A partition of tomorrow, or of a day that has only begun (a whole day's has over 800 blocks): when
 * this runs soon after midnight, reading all there is of the last hour is right. */
static bool hardly_begun(const json_t *node, const char *table)
{
    json_int_t blocks = json_integer_value(json_object_get(node, "Shared Hit Blocks")) +
                        json_integer_value(json_object_get(node, "Shared Read Blocks"));
    return blocks == 0 || (blocks <= 128 && (strncmp(table, "request_metrics_2", 17) == 0 ||
                                                strncmp(table, "operation_metrics_2", 19) == 0));
}

static bool reads_everything(const json_t *node)
{
    const char *type = text_of(node, "Node Type"), *table = text_of(node, "Relation Name");
    if (strcmp(type, "Seq Scan") == 0)
        return !hardly_begun(node, table) && strcmp(table, "workers") != 0 &&
               strcmp(table, "schema_migrations") != 0 && strcmp(table, "queues") != 0 &&
               strcmp(table, "upstreams") != 0 && strcmp(table, "duties") != 0 &&
               strcmp(table, "producers") != 0;
    return strstr(type, "Index") && !json_object_get(node, "Index Cond") &&
           !is_small(text_of(node, "Index Name"));
}

/* The first node of the plan that reads a large table from end to end; NULL when none does. */
static const json_t *whole_scan(const json_t *node)
{
    size_t i;
    json_t *child;
    if (reads_everything(node))
        return node;
    json_array_foreach(json_object_get(node, "Plans"), i, child)
    {
        const json_t *found = whole_scan(child);
        if (found)
            return found;
    }
    return NULL;
}

/* Pairs of rows that joins looked at in vain, in all their loops. */
static long long dropped_by_joins(const json_t *node)
{
    size_t i;
    json_t *child;
    double loops = json_number_value(json_object_get(node, "Actual Loops"));
    double each = json_number_value(json_object_get(node, "Rows Removed by Join Filter"));
    long long n = (long long)(loops * each);
    json_array_foreach(json_object_get(node, "Plans"), i, child) n += dropped_by_joins(child);
    return n;
}

/* The plan's root, run with ANALYZE and rolled back; owned by *whole. */
static const json_t *explain(const char *execute, json_t **whole)
{
    struct buf sql = {0};
    json_error_t err;
    buf_printf(&sql, "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) %s", execute);
    run("BEGIN");
    PGresult *r = query(sql.data, PGRES_TUPLES_OK);
    run("ROLLBACK");
    *whole = json_loads(PQgetvalue(r, 0, 0), 0, &err);
    cr_assert_not_null(*whole);
    PQclear(r);
    buf_release(&sql);
    return json_object_get(json_array_get(*whole, 0), "Plan");
}

static void check(const struct ask *ask, const char *mode, int n)
{
    struct buf execute = {0};
    json_t *whole;
    put_execute(&execute, ask, n);
    const json_t *plan = explain(execute.data, &whole);
    json_int_t blocks = json_integer_value(json_object_get(plan, "Shared Hit Blocks")) +
                        json_integer_value(json_object_get(plan, "Shared Read Blocks"));
    const json_t *scan = ask->scans ? NULL : whole_scan(plan);
    long long dropped = dropped_by_joins(plan);
    long long allowed = ask->fixed + (long long)ask->per_row * n;
    char *shown = json_dumps(plan, JSON_INDENT(1) | JSON_PRESERVE_ORDER);

    cr_log_info("%s, %s, %d: %lld blocks", ask->stmt, mode, n, (long long)blocks);
    cr_expect(!scan, "%s, %s, for %d, reads the whole of %s:\n%s", ask->stmt, mode, n,
        scan ? text_of(scan, "Relation Name") : "", shown);
    cr_expect(ask->scans || blocks <= allowed, "%s, %s, for %d, touches %lld blocks, not %lld:\n%s",
        ask->stmt, mode, n, (long long)blocks, allowed, shown);
    cr_expect(dropped <= 1000 + 4LL * n * n, "%s, %s, for %d, compares %lld pairs of rows:\n%s",
        ask->stmt, mode, n, dropped, shown);
    free(shown);
    json_decref(whole);
    buf_release(&execute);
}

/* --- the test ---------------------------------------------------------------------------- */

static void check_both(const struct store_stmt *stmt)
{
    static const char *const modes[] = {"force_custom_plan", "force_generic_plan"};
    const struct ask *ask = ask_for(stmt);
    PGresult *r;

    cr_expect_not_null(ask, "%s has no parameters here: what would its plan be?", stmt->db.name);
    if (!ask)
        return;
    r = PQprepare(db, stmt->db.name, stmt->db.sql, stmt->db.nparams, NULL);
    cr_assert_eq(PQresultStatus(r), PGRES_COMMAND_OK, "%s", PQerrorMessage(db));
    PQclear(r);
    for (int m = 0; m < 2; m++) {
        char sql[64];
        snprintf(sql, sizeof(sql), "SET plan_cache_mode = %s", modes[m]);
        run(sql);
        for (int i = 0; i < 4 && ask->sizes[i]; i++)
            check(ask, modes[m], ask->sizes[i]);
    }
    run("RESET plan_cache_mode");
}

Test(store_plans, no_statement_reads_the_whole_of_a_large_table)
{
    for (int i = 0; store_stmts[i]; i++)
        check_both(store_stmts[i]);
}
