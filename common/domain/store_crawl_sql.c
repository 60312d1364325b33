/* store_crawl_sql: the statements of store_crawl.c. Whoever writes about a crawl holds its advisory
 * lock, so that each sees what the one before did; documents, which crawls share with each other
 * and with T3b, are locked in the order of their URLs. */
#include "domain/store_sql.h"

#include "base/mutant.h"

/* A crawl may take days; Firecrawl keeps its results for one after the last. */
#define ASKABLE_FOR "interval '7 days'"
#define KEPT_FOR    "interval '1 day'"
/* After its end: what was sent last has arrived. */
#define SETTLED_IN "interval '30 seconds'"
/* No index of the replaced service's takes longer ones. */
#define MAX_INDEXED_URL "2600"

#define TERMINAL(status) status " IN ('completed', 'failed', 'cancelled')"
#define MOMENT(us)       "'epoch'::timestamptz + " us " * interval '1 microsecond'"
#define CRAWL_KEY(id)    "hashtextextended(" id ", 1)"

/* An operator wants nothing taken in. */
#define FENCED "EXISTS (SELECT FROM webhook.queues WHERE name = 'crawl' AND fenced_at IS NOT NULL)"

/* clang-format off */

/* Crawl, first third: whoever has events of one crawl takes turns (events of no crawl: of one id),
 * $1; crawls $2 that have no session get one, which the last third fills. One row. */
STMT(crawl_lock, "crawl", ROWS_ONE, 2,
    "WITH locks AS MATERIALIZED ("
    "  SELECT " MUTANT_CRAWL_LOCK "(key) FROM ("
    "    SELECT DISTINCT " CRAWL_KEY("key") " AS key FROM unnest($1::text[]) AS j (key)"
    "    ORDER BY key) k"
    "), made AS ("
    "  INSERT INTO webhook.crawl_sessions (id, job_id, base_url, started_at, status,"
    "    operation_type)"
    "  SELECT gen_random_uuid(), j.id, 'unknown', 'infinity', 'in_progress', ''"
    "  FROM (SELECT DISTINCT id FROM unnest($2::text[]) AS i (id)"
    "    WHERE (SELECT count(*) FROM locks) > 0 AND id IS NOT NULL ORDER BY id) j"
    "  ON CONFLICT (job_id) DO NOTHING"
    ") SELECT count(*) FROM locks");

/* Crawl, second third: the rows of events $1-$13 and of their pages $14-$29 (n: the event's place).
 * What each was is left for the last third to tell: known before, how many contents were new. */
STMT(crawl_keep, "crawl", ROWS_ONE, 29,
    "WITH ev AS MATERIALIZED ("
    "  SELECT n, event_id, crawl_id, type, kind, " MOMENT("received") " AS received_at,"
    "    success <> 0 AS success, error, documents::integer, metadata::jsonb,"
    "    CASE WHEN initiated <> 0 THEN " MOMENT("initiated") " END AS initiated_at,"
    "    reconciled <> 0 AS reconciled, base_url, source"
    "  FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[],"
    "    $7::text[], $8::bigint[], $9::text[], $10::bigint[], $11::bigint[], $12::text[],"
    "    $13::text[]) WITH ORDINALITY AS e (event_id, crawl_id, type, kind, received, success,"
    "    error, documents, metadata, initiated, reconciled, base_url, source, n)"
    "), old AS MATERIALIZED ("
    "  SELECT c.event_id FROM webhook.crawl_events c WHERE c.event_id = ANY ($1::uuid[])"
    "), kept AS ("
    "  INSERT INTO webhook.crawl_events AS c (event_id, crawl_id, type, kind, received_at,"
    "    success, error, documents, metadata, initiated_at, reconciled, base_url)"
    "  SELECT DISTINCT ON (event_id) event_id, crawl_id, type, kind,"
    "    min(received_at) OVER (PARTITION BY event_id), success, error, documents, metadata,"
    "    initiated_at, reconciled, base_url"
    "  FROM ev ORDER BY event_id, reconciled, received_at, n"
    "  ON CONFLICT (event_id) DO UPDATE SET"
    "    received_at = least(c.received_at, EXCLUDED.received_at),"
    "    (success, error, metadata, initiated_at, base_url, reconciled) = (SELECT k.success,"
    "      k.error, k.metadata, k.initiated_at, k.base_url, k.reconciled"
    "      FROM (VALUES (EXCLUDED.success, EXCLUDED.error, EXCLUDED.metadata,"
    "          EXCLUDED.initiated_at, EXCLUDED.base_url, EXCLUDED.reconciled, 1),"
    "        (c.success, c.error, c.metadata, c.initiated_at, c.base_url, c.reconciled, 0))"
    "      AS k (success, error, metadata, initiated_at, base_url, reconciled, later)"
    "      ORDER BY k.reconciled, k.later LIMIT 1)"
    "  WHERE EXCLUDED.received_at < c.received_at OR c.reconciled AND NOT EXCLUDED.reconciled"
    "), doc AS MATERIALIZED (" /* the clock around the words: a select list is run in its order */
    "  SELECT m, e.n, e.crawl_id, e.event_id, e.received_at, left(e.source, 50) AS source, p.url,"
    "    CASE WHEN e.reconciled THEN least(e.received_at, (SELECT s.started_at"
    "      FROM webhook.crawl_sessions s WHERE s.job_id = e.crawl_id)) ELSE e.received_at END"
    "      AS fetched_at," /* asked for: some time after the crawl began */
    "    sha256(convert_to(p.url, 'UTF8')) AS url_key, source_url, scrape_id, status_code,"
    "    p.error, markdown, html, p.metadata::jsonb,"
    "    encode(sha256(convert_to(coalesce(markdown, ''), 'UTF8')), 'hex') AS hash,"
    "    canonical, doc_url, title, description, language, body, clock_timestamp() AS began,"
    "    CASE WHEN body IS NOT NULL THEN setweight(to_tsvector('simple', coalesce(title, '')), 'A')"
    "      || setweight(to_tsvector('simple', coalesce(description, '')), 'B')"
    "      || setweight(to_tsvector('simple', coalesce(searched, body)), 'C') END AS search,"
    "    clock_timestamp() AS done"
    "  FROM unnest($14::bigint[], $15::text[], $16::text[], $17::text[], $18::bigint[],"
    "    $19::text[], $20::text[], $21::text[], $22::text[], $23::text[], $24::text[], $25::text[],"
    "    $26::text[], $27::text[], $28::text[], $29::text[]) WITH ORDINALITY"
    "  AS p (n, url, source_url, scrape_id, status_code, error, markdown, html, metadata,"
    "    canonical, doc_url, title, description, language, body, searched, m)"
    "  JOIN ev e USING (n) WHERE e.crawl_id IS NOT NULL"
    "), page AS ("
    "  INSERT INTO webhook.crawl_pages AS c (crawl_id, url_key, url, scrape_id, status_code,"
    "    indexed, error, event_id, received_at, bm25_ms)"
    "  SELECT DISTINCT ON (crawl_id, url_key) crawl_id, url_key, url, scrape_id,"
    "    status_code::integer, error IS NULL, error, event_id, received_at,"
    "    CASE WHEN search IS NULL THEN 0 ELSE extract(epoch FROM done - began) * 1000 END"
    "  FROM doc ORDER BY crawl_id, url_key, received_at DESC, event_id DESC, m"
    "  ON CONFLICT (crawl_id, url_key) DO UPDATE SET scrape_id = EXCLUDED.scrape_id,"
    "    status_code = EXCLUDED.status_code, indexed = EXCLUDED.indexed, error = EXCLUDED.error,"
    "    event_id = EXCLUDED.event_id, received_at = EXCLUDED.received_at,"
    "    bm25_ms = EXCLUDED.bm25_ms"
    "  WHERE (EXCLUDED.received_at, EXCLUDED.event_id) > (c.received_at, c.event_id)"
    "), fresh AS MATERIALIZED (" /* a unique constraint is not in every adopted database */
    "  SELECT DISTINCT ON (crawl_id, url, hash) * FROM doc d"
    "  WHERE (markdown IS NOT NULL OR html IS NOT NULL)"
    "    AND octet_length(url) <= " MAX_INDEXED_URL " AND NOT EXISTS ("
    "    SELECT FROM webhook.scraped_content s"
    "    WHERE s.crawl_session_id = d.crawl_id AND s.url = d.url AND s.content_hash = d.hash)"
    "  ORDER BY crawl_id, url, hash, received_at DESC, event_id DESC, m"
    "), content AS ("
    "  INSERT INTO webhook.scraped_content (crawl_session_id, url, source_url, content_source,"
    "    markdown, html, links, metadata, content_hash, scraped_at)"
    "  SELECT crawl_id, url, source_url, source, markdown, html, 'null'::jsonb,"
    "    coalesce(metadata, '{}'::jsonb), hash, received_at"
    "  FROM fresh ON CONFLICT DO NOTHING RETURNING crawl_session_id, url, content_hash"
    "), stored AS ("
    "  SELECT f.n, count(*) AS stored FROM content c"
    "  JOIN fresh f ON f.crawl_id = c.crawl_session_id AND f.url = c.url"
    "    AND f.hash = c.content_hash"
    "  GROUP BY f.n"
    "), document AS (" /* scrape_seq stays: a rescrape that was claimed later wins */
    "  INSERT INTO webhook.documents AS d (url_key, canonical_url, url, title, description,"
    "    language, text, content_hash, search, event_id, scrape_seq, scraped_at, changed_at)"
    "  SELECT DISTINCT ON (canonical) sha256(convert_to(canonical, 'UTF8')), canonical, doc_url,"
    "    title, description, language, body, sha256(convert_to(body, 'UTF8')), search, event_id,"
    "    0, fetched_at, fetched_at"
    "  FROM doc WHERE body IS NOT NULL"
    "  ORDER BY canonical, fetched_at DESC, event_id DESC, m"
    "  ON CONFLICT (url_key) DO UPDATE SET url = EXCLUDED.url, title = EXCLUDED.title,"
    "    description = EXCLUDED.description, language = EXCLUDED.language, text = EXCLUDED.text,"
    "    content_hash = EXCLUDED.content_hash, search = EXCLUDED.search,"
    "    event_id = EXCLUDED.event_id, claim_epoch = NULL, scraped_at = EXCLUDED.scraped_at,"
    "    changed_at = CASE WHEN d.content_hash = EXCLUDED.content_hash THEN d.changed_at"
    "      ELSE EXCLUDED.changed_at END"
    "  WHERE (EXCLUDED.scraped_at, EXCLUDED.event_id)"
    "    > (d.scraped_at, coalesce(d.event_id, '00000000-0000-0000-0000-000000000000'))"
    "), told AS ("
    "  SELECT e.n, coalesce(s.stored, 0) AS stored, e.event_id IN (SELECT event_id FROM old)"
    "    OR e.n > min(e.n) OVER (PARTITION BY e.event_id) AS known"
    "  FROM ev e LEFT JOIN stored s USING (n)"
    ") SELECT set_config('hookline.known', array_agg(known ORDER BY n)::text, true),"
    "  set_config('hookline.stored', array_agg(stored ORDER BY n)::text, true) FROM told");

/* Of a crawl i: what the first event says that says it. */
#define FIRST_OF(value, condition)                                                                 \
    "(SELECT " value " FROM webhook.crawl_events e WHERE e.crawl_id = i.id" condition              \
    "  ORDER BY e.received_at, e.event_id LIMIT 1)"
#define OF_STARTED " AND e.kind <> 'page' AND e.kind = 'started'"

/* Crawl, last third: the sessions of $1 as functions of their events and pages; what an event does
 * not tell stays as an existing session has it. No pages of ours: its counters as well. A row for
 * each event: its place; known before; contents that were new. */
STMT(crawl_sum, "crawl", ROWS_EACH, 1,
    "WITH i AS (SELECT DISTINCT id FROM unnest($1::text[]) AS j (id) WHERE id IS NOT NULL"
    "), seen AS MATERIALIZED ("
    "  SELECT s.id AS session, s.status AS had, t.*, p.*, s.extra_metadata AS kept,"
    "    least(s.started_at, (SELECT min(e.received_at) FROM webhook.crawl_events e"
    "      WHERE e.crawl_id = i.id)) AS started_at,"
    "    left(coalesce(" FIRST_OF("e.base_url", OF_STARTED " AND e.base_url IS NOT NULL") ","
    "      " FIRST_OF("e.base_url", " AND e.base_url IS NOT NULL") ", s.base_url), 500)"
    "      AS base_url,"
    "    coalesce(" FIRST_OF("e.initiated_at", OF_STARTED " AND e.initiated_at IS NOT NULL") ","
    "      " FIRST_OF("e.initiated_at", " AND e.initiated_at IS NOT NULL") ", s.initiated_at)"
    "      AS initiated_at,"
    "    left(" FIRST_OF("replace(split_part(e.type, '.', 1), 'batch_scrape', 'scrape_batch')", "")
    "      , 50) AS operation_type,"
    "    " FIRST_OF("e.metadata", OF_STARTED " AND e.metadata IS NOT NULL") " AS extra"
    "  FROM i JOIN webhook.crawl_sessions s ON s.job_id = i.id"
    "  CROSS JOIN LATERAL ("
    "    SELECT CASE WHEN bool_or(e.kind = 'failed' OR e.kind = 'completed' AND NOT e.success)"
    "        THEN 'failed' WHEN bool_or(e.kind = 'cancelled') THEN 'cancelled'"
    "        WHEN bool_or(e.kind = 'completed') THEN 'completed' END AS status,"
    "      bool_and(e.success AND e.kind <> 'failed') FILTER (WHERE " TERMINAL("e.kind")
    "        ) AS success,"
    "      min(e.received_at) FILTER (WHERE " TERMINAL("e.kind") ") AS ended_at,"
    "      (array_agg(e.error ORDER BY e.received_at, e.event_id)"
    "        FILTER (WHERE " TERMINAL("e.kind") " AND e.error IS NOT NULL))[1] AS error,"
    "      bool_or(e.kind = 'started' AND e.metadata = s.extra_metadata) AS extra_ours"
    "    FROM webhook.crawl_events e WHERE e.crawl_id = i.id AND e.kind <> 'page') t"
    "  CROSS JOIN LATERAL ("
    "    SELECT count(*)::integer AS pages, count(*) FILTER (WHERE g.indexed)::integer AS indexed,"
    "      sum(g.chunking_ms) AS chunking, sum(g.embedding_ms) AS embedding,"
    "      sum(g.qdrant_ms) AS qdrant, sum(g.bm25_ms) AS bm25"
    "    FROM webhook.crawl_pages g WHERE g.crawl_id = i.id) p"
    "), next AS MATERIALIZED ("
    "  SELECT s.id, v.base_url, v.started_at, coalesce(v.ended_at, s.completed_at) AS completed_at,"
    "    coalesce(v.status, s.status) AS status, coalesce(v.success, s.success) AS success,"
    "    CASE WHEN v.pages > 0 THEN v.pages ELSE s.total_pages END AS total_pages,"
    "    CASE WHEN v.pages > 0 THEN v.indexed ELSE s.pages_indexed END AS pages_indexed,"
    "    CASE WHEN v.pages > 0 THEN v.pages - v.indexed ELSE s.pages_failed END AS pages_failed,"
    "    coalesce(v.chunking, s.total_chunking_ms) AS total_chunking_ms,"
    "    coalesce(v.embedding, s.total_embedding_ms) AS total_embedding_ms,"
    "    coalesce(v.qdrant, s.total_qdrant_ms) AS total_qdrant_ms,"
    "    coalesce(v.bm25, s.total_bm25_ms) AS total_bm25_ms,"
    "    CASE WHEN v.ended_at IS NULL THEN s.duration_ms"
    "      ELSE extract(epoch FROM v.ended_at - v.started_at) * 1000 END AS duration_ms,"
    "    v.initiated_at, CASE WHEN v.ended_at IS NULL OR v.initiated_at IS NULL"
    "      THEN s.e2e_duration_ms ELSE extract(epoch FROM v.ended_at - v.initiated_at) * 1000"
    "      END AS e2e_duration_ms,"
    "    CASE WHEN v.kept IS NULL OR v.extra_ours THEN v.extra ELSE v.kept END AS extra_metadata,"
    "    coalesce(v.error, s.error_message) AS error_message,"
    "    coalesce(nullif(v.operation_type, ''), s.operation_type) AS operation_type,"
    "    CASE WHEN v.pages > 0 THEN greatest(s.reported_urls, v.pages) ELSE s.total_urls END"
    "      AS total_urls,"
    "    CASE WHEN v.pages > 0 THEN v.indexed ELSE s.completed_urls END AS completed_urls,"
    "    CASE WHEN v.pages > 0 THEN v.pages - v.indexed ELSE s.failed_urls END AS failed_urls,"
    "    v.status IS NOT NULL AND NOT " TERMINAL("v.had") " AS just_ended"
    "  FROM seen v JOIN webhook.crawl_sessions s ON s.id = v.session"
    "), done AS ("
    "  UPDATE webhook.crawl_sessions s SET base_url = x.base_url, started_at = x.started_at,"
    "    completed_at = x.completed_at, status = x.status, success = x.success,"
    "    total_pages = x.total_pages, pages_indexed = x.pages_indexed,"
    "    pages_failed = x.pages_failed, total_chunking_ms = x.total_chunking_ms,"
    "    total_embedding_ms = x.total_embedding_ms, total_qdrant_ms = x.total_qdrant_ms,"
    "    total_bm25_ms = x.total_bm25_ms, duration_ms = x.duration_ms,"
    "    initiated_at = x.initiated_at, e2e_duration_ms = x.e2e_duration_ms,"
    "    extra_metadata = x.extra_metadata, error_message = x.error_message,"
    "    operation_type = x.operation_type, total_urls = x.total_urls,"
    "    completed_urls = x.completed_urls, failed_urls = x.failed_urls, updated_at = now(),"
    "    reconcile_tries = CASE WHEN x.just_ended THEN 0 ELSE s.reconcile_tries END,"
    "    reconcile_at = CASE WHEN x.just_ended AND s.reconcile_at IS NOT NULL"
    "      THEN least(s.reconcile_at, now() + " SETTLED_IN ") ELSE s.reconcile_at END"
    "  FROM next x WHERE s.id = x.id AND (s.base_url, s.started_at, s.completed_at, s.status,"
    "    s.success, s.total_pages, s.pages_indexed, s.pages_failed, s.total_chunking_ms,"
    "    s.total_embedding_ms, s.total_qdrant_ms, s.total_bm25_ms, s.duration_ms,"
    "    s.initiated_at, s.e2e_duration_ms, s.extra_metadata, s.error_message, s.operation_type,"
    "    s.total_urls, s.completed_urls, s.failed_urls) IS DISTINCT FROM (x.base_url,"
    "    x.started_at, x.completed_at, x.status, x.success, x.total_pages, x.pages_indexed,"
    "    x.pages_failed, x.total_chunking_ms, x.total_embedding_ms, x.total_qdrant_ms,"
    "    x.total_bm25_ms, x.duration_ms, x.initiated_at, x.e2e_duration_ms, x.extra_metadata,"
    "    x.error_message, x.operation_type, x.total_urls, x.completed_urls, x.failed_urls)"
    ") SELECT r.n, r.known, r.stored FROM unnest("
    "  nullif(current_setting('hookline.known', true), '')::boolean[],"
    "  nullif(current_setting('hookline.stored', true), '')::bigint[])"
    "  WITH ORDINALITY AS r (known, stored, n)");

/* --- asking Firecrawl -------------------------------------------------------------------- */

/* Recrawl. Of the sessions that nobody has asked about: the ended ones' turn comes soon after their
 * end, the silent ones' after $1 ms. How many. */
STMT(crawl_due, "recrawl", ROWS_ONE, 1,
    "WITH due AS ("
    "  SELECT s.id, CASE WHEN " TERMINAL("s.status") " THEN s.updated_at + " SETTLED_IN
    "    ELSE now() END AS at"
    "  FROM webhook.crawl_sessions s"
    "  WHERE s.reconcile_at IS NULL AND s.reconciled_at IS NULL"
    "    AND s.started_at > now() - " ASKABLE_FOR
    "    AND s.updated_at > now() - " KEPT_FOR
    "    AND s.operation_type IN ('crawl', 'scrape_batch')"
    "    AND (" TERMINAL("s.status")
    "      OR s.updated_at < now() - $1::bigint * interval '1 millisecond')"
    "  ORDER BY s.started_at LIMIT 500 FOR UPDATE OF s SKIP LOCKED"
    "), set AS ("
    "  UPDATE webhook.crawl_sessions s SET reconcile_at = due.at FROM due WHERE s.id = due.id"
    "  RETURNING 1"
    ") SELECT count(*) FROM set");

/* Recrawl. The session whose turn came first: nobody else gets it for $1 ms. None behind a fence. */
STMT(crawl_take, "recrawl", ROWS_ANY, 1,
    "WITH due AS ("
    "  SELECT s.id FROM webhook.crawl_sessions s WHERE s.reconcile_at <= now() AND NOT " FENCED
    "  ORDER BY s.reconcile_at LIMIT 1 FOR UPDATE OF s SKIP LOCKED"
    ") UPDATE webhook.crawl_sessions s SET reconcile_tries = s.reconcile_tries + 1,"
    "  reconcile_at = now() + $1::bigint * interval '1 millisecond'"
    " FROM due WHERE s.id = due.id"
    " RETURNING s.job_id, s.operation_type, s.status, s.reconcile_tries");

/* Recrawl. Which documents (scrape ids $2, URLs $3) crawl $1 has no page of: their places. The first
 * row is 0 when none of them may be taken in now. */
STMT(crawl_missing, "recrawl", ROWS_ANY, 3,
    "WITH have AS MATERIALIZED ("
    "  SELECT g.scrape_id FROM webhook.crawl_pages g"
    "  WHERE g.crawl_id = $1 AND g.scrape_id IS NOT NULL"
    ") SELECT 0 AS n WHERE " FENCED
    " UNION ALL "
    "SELECT j.n FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS j (scrape_id, url, n)"
    " WHERE NOT EXISTS (SELECT FROM webhook.crawl_pages g WHERE g.crawl_id = $1"
    "     AND g.url_key = sha256(convert_to(j.url, 'UTF8')))"
    "   AND (j.scrape_id IS NULL OR j.scrape_id NOT IN (SELECT scrape_id FROM have))"
    " ORDER BY n");

/* Recrawl. Firecrawl said of crawl $1 that it has $2 pages (-1: nothing); it is asked again in
 * $3 ms (-1: never). */
STMT(crawl_asked, "recrawl", ROWS_NONE, 3,
    "UPDATE webhook.crawl_sessions s SET reconciled_at = now(),"
    "  reconcile_at = CASE WHEN $3::bigint >= 0"
    "    THEN now() + $3::bigint * interval '1 millisecond' END,"
    "  reported_urls = CASE WHEN $2::bigint < 0 THEN s.reported_urls ELSE $2::bigint::integer END,"
    "  total_urls = CASE WHEN $2::bigint < 0 THEN s.total_urls"
    "    ELSE greatest($2::bigint::integer, s.total_pages) END"
    " WHERE s.job_id = $1");

/* --- retention --------------------------------------------------------------------------- */

/* Retention. Up to $2 sessions that ended more than $1 days ago and have not changed since, those
 * first that ended first, and all that is kept of their crawls; contents go with their session. One
 * that is being written to is left for the next time. Up to $2 events of no crawl as old. How
 * many. */
STMT(prune_crawls, "retention", ROWS_ONE, 2,
    "WITH old AS MATERIALIZED ("
    "  SELECT s.job_id FROM webhook.crawl_sessions s"
    "  WHERE s.completed_at < now() - $1::integer * interval '1 day'"
    "    AND s.updated_at < now() - $1::integer * interval '1 day'"
    "  ORDER BY s.completed_at LIMIT $2::integer"
    "), ours AS MATERIALIZED ("
    "  SELECT job_id FROM old WHERE pg_try_advisory_xact_lock(" CRAWL_KEY("old.job_id") ")"
    "), gone AS MATERIALIZED ("
    "  SELECT s.id, s.job_id FROM webhook.crawl_sessions s"
    "  WHERE s.job_id = ANY (ARRAY(SELECT job_id FROM ours))"
    "    AND s.completed_at < now() - $1::integer * interval '1 day'"
    "    AND s.updated_at < now() - $1::integer * interval '1 day' FOR UPDATE SKIP LOCKED"
    "), events AS ("
    "  DELETE FROM webhook.crawl_events e"
    "  WHERE e.crawl_id = ANY (ARRAY(SELECT job_id FROM gone))"
    "), pages AS ("
    "  DELETE FROM webhook.crawl_pages g WHERE g.crawl_id = ANY (ARRAY(SELECT job_id FROM gone))"
    "), sessions AS ("
    "  DELETE FROM webhook.crawl_sessions s WHERE s.id = ANY (ARRAY(SELECT id FROM gone))"
    "  RETURNING 1"
    "), stray AS ("
    "  DELETE FROM webhook.crawl_events e WHERE e.event_id = ANY (ARRAY("
    "    SELECT o.event_id FROM webhook.crawl_events o WHERE o.crawl_id IS NULL"
    "      AND o.received_at < now() - $1::integer * interval '1 day'"
    "    ORDER BY o.received_at LIMIT $2::integer FOR UPDATE SKIP LOCKED)) RETURNING 1"
    ") SELECT (SELECT count(*) FROM sessions) + (SELECT count(*) FROM stray)");
/* clang-format on */
