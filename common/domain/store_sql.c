/* store_sql: see store_sql.h. Rows are locked in the order of their ids wherever a statement locks
 * several, so that two of them cannot deadlock; where that cannot be had they skip what is locked.
 */
#include "domain/store_sql.h"

#include "base/mutant.h"

#define STORE_STMT_ADDRESS(name) &stmt_##name,
const struct store_stmt *const store_stmts[] = {STORE_STMTS(STORE_STMT_ADDRESS) NULL};

/* Columns of an event, as store_event reads them. */
#define EVENT_COLUMNS(t)                                                                           \
    t ".event_id, " t ".watch_id, " t ".watch_url, "                                               \
      "(extract(epoch FROM " t ".detected_at) * 1000000)::bigint, " t ".diff_summary, " t          \
      ".snapshot_url, coalesce(" t ".metadata, '{}'::jsonb)::text, encode(" t                      \
      ".body_digest, 'hex')"

/* Since when a queued row c may be claimed; the index change_events_due_idx is in this order. */
#define DUE_SINCE "coalesce(c.next_attempt_at, c.created_at, '-infinity'::timestamptz)"

/* How long a row that is claimed now has been due. */
#define WAITED_MS(not_before, created)                                                             \
    "greatest(0, extract(epoch FROM clock_timestamp() - coalesce(" not_before ", " created         \
    ")) * 1000)::bigint"

/* Nothing is claimed while the queue is paused. */
#define NOT_PAUSED                                                                                 \
    "NOT EXISTS (SELECT FROM webhook.queues q WHERE q.name = 'change' AND q.paused_at IS NOT "     \
    "NULL)"

/* Another event of row c's URL is in progress. By its URL: see OURS. */
#define URL_BUSY                                                                                   \
    "EXISTS (SELECT FROM webhook.change_events o"                                                  \
    "  WHERE o.url_key = c.url_key AND o.watch_url = c.watch_url"                                  \
    "    AND o.rescrape_status IN ('queued', 'in_progress')"                                       \
    "    AND o.rescrape_status IS NOT DISTINCT FROM 'in_progress' AND o.id <> c.id)"

/* The beat of the owner in that parameter. Three of them make a lease. */
#define BEAT_OF(owner) "(SELECT beat FROM webhook.workers WHERE id = " owner ")"

/* Of a row c: whoever claimed it is dead or gone. */
#define NO_LIVING_OWNER                                                                            \
    "NOT EXISTS (SELECT FROM webhook.workers w WHERE w.id = c.claimed_by AND w.dead_at IS NULL)"

/* Of a row c: it was in flight when a process crashed, twice. A solo process runs it, alone. */
#define SUSPECT "coalesce(c.suspect, 0) >= 2"

/* T0. One row per event asked for; id NULL: another transaction inserted it after our snapshot. Of
 * several with one id the first in the flush is the new one. A row of the replaced service has no
 * digest, and no conflicts. */
STMT(accept, "T0", ROWS_EACH, 8,
    "WITH job AS ("
    "  SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::text[],"
    "    $6::text[], $7::text[], $8::text[]) WITH ORDINALITY"
    "  AS j (event_id, watch_id, watch_url, detected, diff, snapshot, metadata, digest, n)"
    "), new AS ("
    "  INSERT INTO webhook.change_events (event_id, watch_id, watch_url, url_key, detected_at,"
    "    diff_summary, snapshot_url, rescrape_job_id, rescrape_status, metadata, body_digest,"
    "    accept_seq)"
    "  SELECT event_id, watch_id, watch_url, sha256(convert_to(watch_url, 'UTF8')),"
    "    'epoch'::timestamptz + detected * interval '1 microsecond', diff, snapshot,"
    "    event_id::text, 'queued', metadata::jsonb, decode(digest, 'hex'),"
    "    nextval('webhook.scrape_clock')"
    "  FROM job j ORDER BY j.event_id, j.n" /* the same order everywhere: no deadlock */
    "  ON CONFLICT (event_id) DO NOTHING RETURNING id, event_id, body_digest"
    ") "
    "SELECT j.n, coalesce(new.id, old.id),"
    "    new.id IS NULL OR j.n > min(j.n) OVER (PARTITION BY j.event_id),"
    "    coalesce(coalesce(new.body_digest, old.body_digest) <> decode(j.digest, 'hex'), false)"
    "  FROM job j"
    "  LEFT JOIN new USING (event_id)"
    "  LEFT JOIN webhook.change_events old ON old.event_id = j.event_id");

/* T1, first half: whoever claims events of one URL takes turns, so that the second half, which has
 * a later snapshot, sees the other's claim. One row. */
STMT(lock_urls, "T1", ROWS_ONE, 1,
    "SELECT count(pg_advisory_xact_lock(key)) FROM ("
    "  SELECT DISTINCT hashtextextended(url, 0) AS key FROM unnest($1::text[]) AS j (url)"
    "  ORDER BY key) k");

/* T1, second half. One row per event asked for. Suspects ($2 = 0) are left to a solo process. A job of
 * another body ($3) than the row's is a conflict that Redis could not know of: not for this row. What
 * is not ours already stays where it is while the queue is paused; its job comes back in five seconds,
 * or later. */
STMT(claim, "T1", ROWS_EACH, 4,
    "WITH job AS ("
    "  SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[]) WITH ORDINALITY"
    "  AS j (event_id, alone, digest, n)"
    "), seen AS ("
    "  SELECT j.n, c.id, c.watch_url, c.url_key, c.next_attempt_at, c.created_at, CASE"
    "    WHEN c.rescrape_status IN ('queued', 'in_progress')"
    "      AND c.body_digest <> decode(j.digest, 'hex') THEN 'held'"
    "    WHEN c.rescrape_status IN ('queued', 'in_progress') AND " SUSPECT
    "      AND j.alone = 0 AND c.claimed_by IS DISTINCT FROM $4 THEN 'held'"
    "    WHEN c.rescrape_status = 'queued' AND c.next_attempt_at > now() THEN 'early'"
    "    WHEN c.rescrape_status = 'queued' THEN CASE WHEN " NOT_PAUSED
    " THEN 'free' ELSE 'paused' END"
    "    WHEN c.rescrape_status <> 'in_progress' THEN 'done'"
    "    WHEN c.claimed_by = $4 THEN 'free'"    /* our own unsure claim */
    "    WHEN c.claimed_by IS NULL THEN 'held'" /* by the replaced service, until it is reaped */
    "    WHEN NOT " NO_LIVING_OWNER " THEN 'held'"
    "    WHEN " NOT_PAUSED " THEN 'free' ELSE 'paused' END AS state"
    "  FROM job j JOIN webhook.change_events c ON c.event_id = j.event_id"
    "  ORDER BY c.id FOR UPDATE OF c"
    "), pick AS (" /* one event per URL, none while another of it is in progress */
    "  SELECT DISTINCT ON (s.watch_url) s.id FROM seen s"
    "  WHERE s.state = 'free'"
    "    AND EXISTS (SELECT FROM webhook.workers WHERE id = $4 AND dead_at IS NULL)"
    "    AND NOT EXISTS (SELECT FROM webhook.change_events o"
    "      WHERE o.url_key = s.url_key AND o.watch_url = s.watch_url"
    "        AND o.rescrape_status IN ('queued', 'in_progress')" /* by its URL: see OURS */
    "        AND o.rescrape_status IS NOT DISTINCT FROM 'in_progress' AND o.id <> s.id)"
    "  ORDER BY s.watch_url, s.id"
    "), mine AS ("
    "  UPDATE webhook.change_events c SET rescrape_status = 'in_progress',"
    "    rescrape_job_id = c.event_id::text, claim_epoch = coalesce(c.claim_epoch, 0) + 1,"
    "    starts = coalesce(c.starts, 0)"
    "      + CASE WHEN c.claimed_by = $4 AND c.rescrape_status = 'in_progress' THEN 0 ELSE 1 END,"
    "    claimed_by = $4, claimed_at = clock_timestamp(), claimed_beat = " BEAT_OF(
        "$4") ","
              "    next_attempt_at = NULL,"
              "    scrape_seq = nextval('webhook.scrape_clock')"
              "  FROM pick WHERE c.id = pick.id AND c.rescrape_status IN ('queued', 'in_progress')"
              "  RETURNING c.id, c.claim_epoch, c.starts, coalesce(c.attempts, 0) AS attempts"
              ") "
              "SELECT j.n, CASE WHEN mine.id IS NOT NULL THEN 'ours' WHEN s.id IS NULL THEN "
              "'missing'"
              "    WHEN s.state = 'free' THEN 'busy' WHEN s.state = 'paused' THEN 'early'"
              "    ELSE s.state END,"
              "  s.id, mine.claim_epoch, mine.starts, mine.attempts,"
              "  greatest(CASE WHEN s.state = 'paused' THEN 5000 ELSE 0 END,"
              "    extract(epoch FROM s.next_attempt_at - now()) * 1000)::bigint,"
              "  " WAITED_MS(
                  "s.next_attempt_at", "s.created_at") "  FROM job j LEFT JOIN seen s USING (n) "
                                                       "LEFT JOIN mine ON mine.id = s.id");

/* T1 without Redis, first half: of the $4 rows that have been due longest, behind row $2 due since
 * $1, at most $3 whose URLs nobody works on and nobody else is about to claim. Their URLs are locked,
 * their ids and the place where the walk ended are left for the second half, whose later snapshot
 * sees what the previous holder of each lock did. A lock that is taken is not waited for. One row. */
STMT(lock_due, "T1", ROWS_ONE, 4,
    "WITH page AS MATERIALIZED ("
    "  SELECT c.id, c.event_id, c.watch_url, c.url_key, c.suspect, " DUE_SINCE " AS due"
    "  FROM webhook.change_events c"
    "  WHERE c.rescrape_status = 'queued' AND " DUE_SINCE " <= now()"
    "    AND (" DUE_SINCE ", c.id) > ($1::timestamptz, $2::bigint) AND " NOT_PAUSED
    "  ORDER BY " DUE_SINCE ", c.id LIMIT $4::integer"
    "), free AS MATERIALIZED (" /* one event per URL, none while another of it is in progress */
    "  SELECT DISTINCT ON (c.watch_url) c.id, c.due, hashtextextended(c.watch_url, 0) AS key"
    "  FROM page c WHERE c.event_id IS NOT NULL AND coalesce(c.suspect, 0) < 2 AND NOT " URL_BUSY
    "  ORDER BY c.watch_url, c.due, c.id"
    "), mine AS MATERIALIZED ("
    "  SELECT id FROM (SELECT id, key FROM free ORDER BY due, id OFFSET 0) f"
    "  WHERE pg_try_advisory_xact_lock(f.key) LIMIT $3::integer"
    "), place AS ("
    "  SELECT count(*) OVER () AS looked, due, id FROM page ORDER BY due DESC, id DESC LIMIT 1"
    ") "
    "SELECT set_config('hookline.due', (SELECT coalesce(array_agg(id), '{}')::text FROM mine), "
    "true),"
    "  set_config('hookline.looked', coalesce((SELECT looked FROM place), 0)::text, true),"
    "  set_config('hookline.due_to', coalesce((SELECT due FROM place)::text, ''), true),"
    "  set_config('hookline.id_to', coalesce((SELECT id FROM place), 0)::text, true)");

/* T1 without Redis, second half. A row for each event claimed, or one without: columns of an event,
 * epoch, starts, attempts; how many rows the first half looked at, and the last of them; how long
 * the row was due. */
STMT(claim_due, "T1", ROWS_ANY, 1,
    "WITH due AS ("
    "  SELECT c.id, c.next_attempt_at AS not_before FROM webhook.change_events c"
    "  WHERE c.id = ANY (nullif(current_setting('hookline.due', true), '')::bigint[])"
    "    AND c.rescrape_status IS NOT DISTINCT FROM 'queued' AND " DUE_SINCE " <= now()"
    "    AND coalesce(c.suspect, 0) < 2 AND " NOT_PAUSED " AND NOT " URL_BUSY
    "    AND EXISTS (SELECT FROM webhook.workers WHERE id = $1 AND dead_at IS NULL)"
    "  ORDER BY c.id FOR UPDATE OF c SKIP LOCKED"
    "), mine AS ("
    "  UPDATE webhook.change_events c SET rescrape_status = 'in_progress',"
    "    rescrape_job_id = c.event_id::text, claim_epoch = coalesce(c.claim_epoch, 0) + 1,"
    "    starts = coalesce(c.starts, 0) + 1, claimed_by = $1, claimed_at = clock_timestamp(),"
    "    claimed_beat = " BEAT_OF(
        "$1") ", next_attempt_at = NULL, scrape_seq = nextval('webhook.scrape_clock')"
              "  FROM due WHERE c.id = due.id AND c.rescrape_status IS NOT DISTINCT FROM 'queued'"
              "  RETURNING c.*, due.not_before"
              ") "
              "SELECT " EVENT_COLUMNS(
                  "m") ", m.claim_epoch, m.starts, coalesce(m.attempts, 0),"
                       "  current_setting('hookline.looked', true), "
                       "current_setting('hookline.due_to', true),"
                       "  current_setting('hookline.id_to', true), " WAITED_MS("m.not_before",
                           "m.created_at") "  FROM (SELECT) one LEFT JOIN mine m ON true");

/* Whether T3 counted: c is the row as this statement's snapshot has it, w the row updated. NULL:
 * ours in the snapshot, yet not updated: another transaction was faster, perhaps our own first try
 * that had not committed; the next snapshot tells.
 *
 * IS NOT DISTINCT FROM, because no index serves it: rows are to be found by their ids. Statistics
 * know little of the few rows in progress; with an equals sign the planner takes all that are ours
 * for one, and reads every one of them for each of the batch. */
#define OURS                                                                                       \
    "c.rescrape_status IS NOT DISTINCT FROM 'in_progress' AND (c.claim_epoch = f.epoch"            \
    "  AND c.claimed_by IS NOT DISTINCT FROM $1" MUTANT_ANY_OWNER ")"

/* First step of both T3: the rows still ours, locked. */
#define LOCK_CLAIMS                                                                                \
    "held AS ("                                                                                    \
    "  SELECT c.id, f.n FROM fin f JOIN webhook.change_events c ON c.event_id = f.event_id"        \
    "  WHERE " OURS " ORDER BY c.id FOR UPDATE OF c)"

#define T3_WON                                                                                     \
    "CASE WHEN w.id IS NOT NULL THEN true WHEN " OURS " THEN NULL"                                 \
    "  ELSE "

/* T3b. One row per event asked for. Document and superseding hang on the guarded update: when the
 * claim is not ours any more nothing at all is written. */
STMT(complete, "T3b", ROWS_EACH, 12,
    "WITH fin AS ("
    "  SELECT * FROM unnest($2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::text[],"
    "    $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::bigint[])"
    "  WITH ORDINALITY AS f (event_id, epoch, metadata, canonical, url, title, description,"
    "    language, body, searched, keep_older, n)"
    "), " LOCK_CLAIMS ", won AS ("
    "  UPDATE webhook.change_events c SET rescrape_status = 'completed', indexed_at = now(),"
    "    finished_at = now(), starts = 0, suspect = 0,"
    "    metadata = coalesce(c.metadata, '{}'::jsonb) || f.metadata::jsonb"
    "  FROM held h JOIN fin f USING (n) WHERE c.id = h.id AND " OURS
    "  RETURNING f.n, c.id, c.event_id, c.watch_url, c.url_key, c.scrape_seq, c.claim_epoch,"
    "    f.keep_older"
    "), doc AS (" /* two events of one page in one flush: the later scrape only */
    "  INSERT INTO webhook.documents AS d (url_key, canonical_url, url, title, description,"
    "    language, text, content_hash, search, event_id, claim_epoch, scrape_seq)"
    "  SELECT DISTINCT ON (f.canonical) sha256(convert_to(f.canonical, 'UTF8')), f.canonical,"
    "    f.url, f.title, f.description, f.language, f.body, sha256(convert_to(f.body, 'UTF8')),"
    "    setweight(to_tsvector('simple', coalesce(f.title, '')), 'A')"
    "      || setweight(to_tsvector('simple', coalesce(f.description, '')), 'B')"
    "      || setweight(to_tsvector('simple', coalesce(f.searched, f.body)), 'C'),"
    "    w.event_id, w.claim_epoch, w.scrape_seq"
    "  FROM won w JOIN fin f USING (n) WHERE f.body IS NOT NULL"
    "  ORDER BY f.canonical, w.scrape_seq DESC"
    "  ON CONFLICT (url_key) DO UPDATE SET url = EXCLUDED.url, title = EXCLUDED.title,"
    "    description = EXCLUDED.description, language = EXCLUDED.language, text = EXCLUDED.text,"
    "    content_hash = EXCLUDED.content_hash, search = EXCLUDED.search,"
    "    event_id = EXCLUDED.event_id, claim_epoch = EXCLUDED.claim_epoch,"
    "    scrape_seq = EXCLUDED.scrape_seq, scraped_at = now(),"
    "    changed_at = CASE WHEN d.content_hash = EXCLUDED.content_hash THEN d.changed_at"
    "      ELSE now() END"
    "  WHERE d.scrape_seq < EXCLUDED.scrape_seq" MUTANT_ANY_FETCH /* an older fetch never replaces a newer text */
    "), older AS (" /* accepted before this scrape began: it has seen their change too */
    "  SELECT q.id, w.event_id AS by FROM won w JOIN webhook.change_events q"
    "    ON q.url_key = w.url_key AND q.watch_url = w.watch_url"
    "  WHERE q.rescrape_status = 'queued' AND q.accept_seq < w.scrape_seq AND w.keep_older = 0"
    "  ORDER BY q.id FOR UPDATE OF q SKIP LOCKED" /* locked = being claimed: let it run */
    "), superseded AS ("
    "  UPDATE webhook.change_events c SET rescrape_status = 'superseded', finished_at = now(),"
    "    next_attempt_at = NULL, metadata = coalesce(c.metadata, '{}'::jsonb)"
    "      || jsonb_build_object('superseded_by', older.by)"
    "  FROM older WHERE c.id = older.id AND c.rescrape_status = 'queued' RETURNING older.by"
    "), answered AS (SELECT by, count(*) AS events FROM superseded GROUP BY by"
    ") "
    "SELECT f.n, " T3_WON "coalesce(c.rescrape_status = 'completed'"
    "    AND c.claim_epoch = f.epoch AND c.claimed_by = $1, false) END, c.id IS NULL,"
    "  coalesce(a.events, 0), (extract(epoch FROM now() - c.created_at) * 1000000)::bigint"
    "  FROM fin f LEFT JOIN won w USING (n) LEFT JOIN answered a ON a.by = w.event_id"
    "  LEFT JOIN webhook.change_events c ON c.event_id = f.event_id");

/* T3a, and giving work back. One row per event asked for. A repeat finds its own epoch with its own
 * status: whoever takes the row next raises the epoch. */
STMT(settle, "T3a", ROWS_EACH, 7,
    "WITH fin AS ("
    "  SELECT * FROM unnest($2::uuid[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[],"
    "    $7::text[]) WITH ORDINALITY AS f (event_id, epoch, status, charge, delay_ms, metadata, n)"
    "), " LOCK_CLAIMS ", won AS ("
    "  UPDATE webhook.change_events c SET rescrape_status = f.status, starts = 0,"
    "    attempts = coalesce(c.attempts, 0) + f.charge::integer,"
    "    suspect = CASE WHEN f.charge > 0 THEN 0 ELSE c.suspect END," /* a result; a release is none */
    "    claimed_by = CASE WHEN f.status = 'queued' THEN NULL ELSE c.claimed_by END,"
    "    finished_at = CASE WHEN f.status = 'queued' THEN NULL ELSE now() END,"
    "    next_attempt_at = CASE WHEN f.delay_ms > 0"
    "      THEN now() + f.delay_ms * interval '1 millisecond' END,"
    "    metadata = coalesce(c.metadata, '{}'::jsonb) || f.metadata::jsonb"
    "  FROM held h JOIN fin f USING (n) WHERE c.id = h.id AND " OURS "  RETURNING f.n, c.id"
    ") "
    "SELECT f.n, " T3_WON "coalesce(c.rescrape_status = f.status"
    "    AND c.claim_epoch = f.epoch, false) END, c.id IS NULL"
    "  FROM fin f LEFT JOIN won w USING (n)"
    "  LEFT JOIN webhook.change_events c ON c.event_id = f.event_id");

/* Lease. No row expected. */
STMT(register, "lease", ROWS_NONE, 3,
    "INSERT INTO webhook.workers (id, host, pid) VALUES ($1, $2, $3::integer)"
    " ON CONFLICT (id) DO NOTHING");

/* Lease. No row: declared dead. Otherwise one row per row given back, or one of NULLs. A claim
 * younger than the lease may have been committed after `held` was written down: it is left alone.
 */
STMT(renew, "lease", ROWS_ANY, 3,
    "WITH beat AS ("
    "  UPDATE webhook.workers SET beat = beat + 1, seen_at = now()"
    "  WHERE id = $1 AND dead_at IS NULL RETURNING beat"
    "), stray AS ("
    "  SELECT c.id FROM webhook.change_events c"
    "  WHERE c.claimed_by = $1 AND c.rescrape_status = 'in_progress'"
    "    AND c.event_id <> ALL ($2::uuid[])" MUTANT_NO_STRAYS
    "    AND CASE WHEN c.claimed_beat IS NOT NULL THEN (SELECT beat FROM beat) > c.claimed_beat + 3"
    "      ELSE c.claimed_at < clock_timestamp() - $3::bigint * interval '1 millisecond' END"
    "  ORDER BY c.id FOR UPDATE OF c"
    "), freed AS ("
    "  UPDATE webhook.change_events c SET rescrape_status = 'queued', claimed_by = NULL,"
    "    claim_epoch = coalesce(c.claim_epoch, 0) + 1,"
    "    starts = greatest(coalesce(c.starts, 0) - 1, 0)"
    "  FROM beat, stray WHERE c.id = stray.id AND c.claimed_by IS NOT DISTINCT FROM $1"
    "    AND c.rescrape_status IS NOT DISTINCT FROM 'in_progress'" /* by the id: see OURS */
    "  RETURNING c.*"
    ") "
    "SELECT " EVENT_COLUMNS("f") " FROM beat LEFT JOIN freed f ON true");

STMT(resign, "lease", ROWS_NONE, 1, "DELETE FROM webhook.workers WHERE id = $1");

/* Janitor. */
STMT(workers, "janitor", ROWS_ANY, 0, "SELECT id, beat FROM webhook.workers WHERE dead_at IS NULL");

STMT(declare_dead, "janitor", ROWS_ANY, 3,
    "UPDATE webhook.workers SET dead_at = now(), cause = $3"
    " WHERE id = $1 AND dead_at IS NULL AND ($2::bigint < 0 OR beat = $2::bigint) RETURNING id");

STMT(dead_workers, "janitor", ROWS_ANY, 0,
    "SELECT id FROM webhook.workers WHERE dead_at IS NOT NULL ORDER BY dead_at LIMIT 100");

STMT(forget_worker, "janitor", ROWS_ANY, 1,
    "DELETE FROM webhook.workers w WHERE w.id = $1 AND w.dead_at IS NOT NULL AND NOT EXISTS ("
    "  SELECT FROM webhook.change_events c"
    "  WHERE c.claimed_by = w.id AND c.rescrape_status = 'in_progress') RETURNING id");

/* Janitor. A zombie is judged by its owner's life and by the beats of that life since it began,
 * never by the sender's detected_at, and by a clock only where there are no beats: a row of the
 * replaced service. Any number of janitors may run: SKIP LOCKED. At most $3 rows. */
STMT(reap, "janitor", ROWS_ANY, 4,
    "WITH running AS MATERIALIZED (" /* on its own: by id, they stand behind the whole history */
    "  SELECT c.id, c.claim_epoch,"
    "    c.claimed_by IS NOT NULL AND (w.id IS NULL OR w.dead_at IS NOT NULL) AS orphan,"
    "    CASE WHEN c.claimed_beat IS NOT NULL"
    "      THEN (w.beat - c.claimed_beat) * ($4::bigint / 3) > $1::bigint + $4::bigint"
    "      ELSE c.claimed_at < now() - ($1::bigint + $4::bigint) * interval '1 millisecond' END"
    "      AS late"
    "  FROM webhook.change_events c LEFT JOIN webhook.workers w ON w.id = c.claimed_by"
    "  WHERE c.rescrape_status = 'in_progress' AND c.event_id IS NOT NULL"
    "), seen AS MATERIALIZED ("
    "  SELECT id, claim_epoch, orphan FROM running WHERE orphan OR late"
    "  ORDER BY id LIMIT $3::integer"
    "), zombie AS (" /* as it was seen: who claims meanwhile raises the epoch */
    "  SELECT c.id, s.orphan FROM seen s JOIN webhook.change_events c ON c.id = s.id"
    "  WHERE c.rescrape_status IS NOT DISTINCT FROM 'in_progress'" /* by the id: see OURS */
    "    AND c.claim_epoch IS NOT DISTINCT FROM s.claim_epoch"
    "  ORDER BY c.id FOR UPDATE OF c SKIP LOCKED"
    "), reaped AS ("
    "  UPDATE webhook.change_events c SET claim_epoch = coalesce(c.claim_epoch, 0) + 1,"
    "    claimed_by = NULL,"
    "    rescrape_status = CASE WHEN coalesce(c.starts, 0) < $2::integer THEN 'queued'"
    "      WHEN z.orphan THEN 'failed: worker died ' || c.starts || ' times'"
    "      ELSE 'failed: job timeout after ' || ($1::bigint / 60000) || ' minutes' END,"
    "    finished_at = CASE WHEN coalesce(c.starts, 0) < $2::integer THEN NULL ELSE now() END,"
    "    metadata = coalesce(c.metadata, '{}'::jsonb)"
    "      || jsonb_build_object('zombie_cleanup_at', now(), 'original_detected_at', c.detected_at)"
    "  FROM zombie z WHERE c.id = z.id RETURNING c.*"
    ") "
    "SELECT " EVENT_COLUMNS("c") ", c.rescrape_status, " SUSPECT " FROM reaped c ORDER BY c.id");

/* Janitor. Rows of the replaced service that are not finished get what ours have: an event id,
 * always the same one for a row; a place in the order of scrapes; and, in progress, the time they
 * were first seen, from which the job limit counts. Ids of the rows done. */
STMT(identify, "janitor", ROWS_ANY, 1,
    "WITH legacy AS ("
    "  SELECT c.id, substring(sha256(convert_to('webhook.change_events/' || c.id, 'UTF8'))"
    "    FROM 1 FOR 16) AS hash FROM webhook.change_events c"
    "  WHERE c.event_id IS NULL AND c.rescrape_status IN ('queued', 'in_progress')"
    "  ORDER BY c.id LIMIT $1::integer FOR UPDATE OF c SKIP LOCKED"
    ") "
    "UPDATE webhook.change_events c SET"
    "  event_id = encode(set_byte(set_byte(hash, 6, get_byte(hash, 6) & 15 | 128)," /* RFC 9562 */
    "    8, get_byte(hash, 8) & 63 | 128), 'hex')::uuid,"                           /* version 8 */
    "  url_key = sha256(convert_to(c.watch_url, 'UTF8')),"
    "  accept_seq = coalesce(c.accept_seq, nextval('webhook.scrape_clock')),"
    "  claimed_at = CASE WHEN c.rescrape_status = 'in_progress' THEN clock_timestamp() END"
    " FROM legacy WHERE c.id = legacy.id RETURNING c.id");

/* Janitor. Queued rows that may have no job in Redis, in the order in which they became due, behind
 * row $2 due since $1; publishing them is idempotent. Columns of an event, the row's place (due
 * since, id), and how far the search went where this is all. None found: one row with that alone. */
STMT(unpublished, "janitor", ROWS_ANY, 4,
    "WITH upto AS (SELECT now() - $3::bigint * interval '1 millisecond' AS time"
    "), page AS ("
    "  SELECT c.*, " DUE_SINCE " AS due FROM webhook.change_events c"
    "  WHERE c.rescrape_status = 'queued' AND c.event_id IS NOT NULL"
    "    AND NOT " SUSPECT /* those run alone, from their rows */
    "    AND (" DUE_SINCE ", c.id) > ($1::timestamptz, $2::bigint)"
    "    AND " DUE_SINCE " <= now() - $3::bigint * interval '1 millisecond'"
    "  ORDER BY " DUE_SINCE ", c.id LIMIT $4::integer"
    ") "
    "SELECT " EVENT_COLUMNS("p") ", p.due::text, p.id, upto.time::text"
                                 "  FROM upto LEFT JOIN page p ON true ORDER BY p.due, p.id");

/* Janitor. What Redis should know: its generation, and whether it was ever told. */
STMT(generation, "janitor", ROWS_ANY, 0,
    "SELECT generation::text, announced_at IS NOT NULL FROM webhook.queues WHERE name = 'change'");

STMT(announced, "janitor", ROWS_NONE, 0,
    "UPDATE webhook.queues SET announced_at = now() WHERE name = 'change'"
    " AND announced_at IS NULL");

/* Janitor. A process that our supervisor saw die: its dossier, once; its death; and when it crashed
 * ($8), who is to blame. The events it worked on ($12) are suspects, be they still its own or reaped
 * meanwhile, but not when another has them in hand by now: that one's fate decides. Everything it
 * held gets its start back, since the crash is counted instead. A solo process worked on one event
 * alone: twice so, and that one has failed. A row for each event that failed, or one with event_id
 * NULL; then rescrape_status, how many are suspected, and how many of them a solo process will run.
 * All of it was done before: a row only for each event that has failed, since nobody may have seen
 * the answer. */
STMT(crash, "janitor", ROWS_ANY, 12,
    "WITH crash AS ("
    "  INSERT INTO webhook.worker_crashes (worker, host, pid, role, signal, exit_code, cause,"
    "    blamed, max_rss_kb, lived_ms, held)"
    "  VALUES ($1, $2, $3::integer, $4, $5::integer, $6::integer, $7, $8::boolean, $9::bigint,"
    "    $10::bigint, $11::jsonb)"
    "  ON CONFLICT (worker) DO NOTHING RETURNING id"
    "), dead AS ("
    "  UPDATE webhook.workers SET dead_at = now(), cause = $7"
    "  WHERE id = $1 AND dead_at IS NULL RETURNING id"
    "), touched AS ("
    "  SELECT c.id FROM webhook.change_events c"
    "  WHERE $8::boolean AND c.claimed_by = $1 AND c.rescrape_status = 'in_progress'"
    "  UNION"
    "  SELECT c.id FROM unnest($12::uuid[]) AS h (event_id)"
    "  JOIN webhook.change_events c ON c.event_id = h.event_id"
    "  WHERE $8::boolean AND c.rescrape_status IS NOT DISTINCT FROM 'queued'" /* by the id */
    "), judged AS ("
    "  SELECT c.id, coalesce(c.suspect, 0) AS suspect,"
    "    c.event_id IN (SELECT unnest($12::uuid[])) AS guilty"
    "  FROM crash CROSS JOIN webhook.change_events c WHERE c.id = ANY (ARRAY(SELECT id FROM "
    "touched))"
    "  ORDER BY c.id FOR UPDATE OF c"
    "), verdict AS ("
    "  SELECT id, guilty, guilty AND $4 = 'solo' AND suspect >= 3 AS final FROM judged"
    "), blamed AS ("
    "  UPDATE webhook.change_events c SET starts = greatest(coalesce(c.starts, 0) - 1, 0),"
    "    suspect = coalesce(c.suspect, 0) + v.guilty::integer,"
    "    rescrape_status = CASE WHEN v.final"
    "      THEN 'failed: crashed its worker ' || coalesce(c.suspect, 0) + 1 || ' times'"
    "      ELSE c.rescrape_status END,"
    "    claim_epoch = coalesce(c.claim_epoch, 0) + v.final::integer,"
    "    claimed_by = CASE WHEN NOT v.final THEN c.claimed_by END,"
    "    next_attempt_at = CASE WHEN NOT v.final THEN c.next_attempt_at END,"
    "    finished_at = CASE WHEN v.final THEN now() END,"
    "    metadata = CASE WHEN v.final THEN coalesce(c.metadata, '{}'::jsonb)"
    "      || jsonb_build_object('error', 'the process that ran it alone crashed: ' || $7)"
    "      ELSE c.metadata END"
    "  FROM verdict v WHERE c.id = v.id AND (c.rescrape_status IS NOT DISTINCT FROM 'queued'"
    "    OR c.rescrape_status IS NOT DISTINCT FROM 'in_progress'"
    "      AND c.claimed_by IS NOT DISTINCT FROM $1)"
    "  RETURNING c.*, v.guilty, v.final"
    ") "
    "SELECT " EVENT_COLUMNS(
        "c") ", c.rescrape_status,"
             "  (SELECT count(*) FROM blamed WHERE guilty),"
             "  (SELECT count(*) FROM blamed WHERE guilty AND NOT final AND suspect >= 2),"
             "  (SELECT count(*) FROM dead)"
             "  FROM crash LEFT JOIN blamed c ON c.final"
             " UNION ALL "
             "SELECT " EVENT_COLUMNS(
                 "c") ", c.rescrape_status, 0, 0, 0"
                      "  FROM unnest($12::uuid[]) AS h (event_id)"
                      "  JOIN webhook.change_events c ON c.event_id = h.event_id"
                      "  WHERE $4 = 'solo' AND $8::boolean AND NOT EXISTS (SELECT FROM crash)"
                      "    AND starts_with(c.rescrape_status, 'failed: crashed its worker ')");

/* Solo. The oldest suspect that may run now; its URL not in progress elsewhere, the queue not
 * paused. Nearly always none: read from the index of the suspects, which is empty. */
STMT(next_suspect, "solo", ROWS_ANY, 0,
    "SELECT " EVENT_COLUMNS("c") ", c.suspect FROM webhook.change_events c"
                                 " WHERE c.suspect >= 2 AND c.rescrape_status IN ('queued', "
                                 "'in_progress')" /* the index's words */
                                 "   AND c.rescrape_status IS NOT DISTINCT FROM 'queued' AND "
                                 "c.event_id IS NOT NULL"
                                 "   AND (c.next_attempt_at IS NULL OR c.next_attempt_at <= now())"
                                 "   AND NOT EXISTS (SELECT FROM webhook.change_events o"
                                 "     WHERE o.url_key = c.url_key AND o.watch_url = c.watch_url"
                                 "       AND o.rescrape_status IN ('queued', 'in_progress')"
                                 "       AND o.rescrape_status IS NOT DISTINCT FROM 'in_progress' "
                                 "AND o.id <> c.id)"
                                 "   AND NOT EXISTS (SELECT FROM webhook.queues"
                                 "     WHERE name = 'change' AND paused_at IS NOT NULL)"
                                 " ORDER BY c.id LIMIT 1");

/* Retention. Partitions of the metrics tables made ahead and dropped after $1 days (0: none): see
 * the function. How many of each; 0 and 0 while another janitor is at it. */
STMT(partitions, "retention", ROWS_ONE, 1,
    "SELECT made, dropped FROM webhook.metrics_partitions($1::integer)");

/* Retention. At most $2 rows older than $1 days of a metrics table: all of them where it was
 * adopted and has no partitions, otherwise those of the default partition. How many.
 *
 * Here and below an array, not a join: a plan that does not know the LIMIT's value expects a tenth
 * of the table, and would read all of it to join them. */
#define PRUNE_METRICS(table)                                                                       \
    "WITH old AS ("                                                                                \
    "  SELECT id FROM webhook." table                                                              \
    "  WHERE \"timestamp\" < now() - $1::integer * interval '1 day'"                               \
    "  ORDER BY \"timestamp\" LIMIT $2::integer FOR UPDATE SKIP LOCKED"                            \
    "), gone AS ("                                                                                 \
    "  DELETE FROM webhook." table " m"                                                            \
    "  WHERE m.id = ANY (ARRAY(SELECT id FROM old))"                                               \
    "    AND m.\"timestamp\" < now() - $1::integer * interval '1 day' RETURNING 1"                 \
    ") SELECT count(*) FROM gone"
STMT(prune_requests, "retention", ROWS_ONE, 2, PRUNE_METRICS("request_metrics"));
STMT(prune_operations, "retention", ROWS_ONE, 2, PRUNE_METRICS("operation_metrics"));

/* Retention. Walks the events in the order of their ids, which is about that of their age, $3 rows
 * a step from after id $2: deletes the finished ones among them that are older than $1 days. How
 * many; the last id looked at (NULL: there was none); whether a younger row was met. */
STMT(prune_events, "retention", ROWS_ONE, 3,
    "WITH page AS ("
    "  SELECT id, created_at < now() - $1::integer * interval '1 day' AS old"
    "  FROM webhook.change_events WHERE id > $2::bigint ORDER BY id LIMIT $3::integer"
    "), finished AS ("
    "  SELECT c.id FROM webhook.change_events c"
    "  WHERE c.id = ANY (ARRAY(SELECT id FROM page WHERE old)) "
    "    AND c.rescrape_status NOT IN ('queued', 'in_progress')"
    "    AND coalesce(c.finished_at, c.created_at) < now() - $1::integer * interval '1 day'"
    "  ORDER BY c.id FOR UPDATE OF c SKIP LOCKED"
    "), gone AS ("
    "  DELETE FROM webhook.change_events c WHERE c.id = ANY (ARRAY(SELECT id FROM finished))"
    "  RETURNING 1"
    ") "
    "SELECT (SELECT count(*) FROM gone), max(id), coalesce(bool_or(NOT old), false) FROM page");

/* Retention. The same for documents not scraped for $1 days, in the order of their keys, $3 rows a
 * step from after key $2 (hex). How many; the last key looked at (NULL: there was none). */
STMT(prune_documents, "retention", ROWS_ONE, 3,
    "WITH page AS ("
    "  SELECT url_key, scraped_at < now() - $1::integer * interval '1 day' AS old"
    "  FROM webhook.documents WHERE url_key > decode($2, 'hex') ORDER BY url_key LIMIT $3::integer"
    "), gone AS ("
    "  DELETE FROM webhook.documents d"
    "  WHERE d.url_key = ANY (ARRAY(SELECT url_key FROM page WHERE old))"
    "    AND d.scraped_at < now() - $1::integer * interval '1 day' RETURNING 1"
    ") "
    "SELECT (SELECT count(*) FROM gone),"
    "  (SELECT encode(url_key, 'hex') FROM page ORDER BY url_key DESC LIMIT 1)");

/* Retention. The oldest $2 dossiers of crashes more than $1 days ago. How many. */
STMT(prune_crashes, "retention", ROWS_ONE, 2,
    "WITH old AS ("
    "  SELECT id FROM webhook.worker_crashes"
    "  WHERE crashed_at < now() - $1::integer * interval '1 day'"
    "  ORDER BY crashed_at LIMIT $2::integer FOR UPDATE SKIP LOCKED"
    "), gone AS ("
    "  DELETE FROM webhook.worker_crashes WHERE id = ANY (ARRAY(SELECT id FROM old)) RETURNING 1"
    ") SELECT count(*) FROM gone");

/* Retention. $1 has it, or takes it, for $2 ms, when it was last done $3 ms ago: see the header. A
 * time that lies a lease too far ahead was written by a clock that was wrong; one a little ahead by who began
 * after us and was faster. */
STMT(retention_hold, "retention", ROWS_ANY, 3,
    "INSERT INTO webhook.duties AS d (name, holder, held_until)"
    " VALUES ('retention', $1, now() + $2::bigint * interval '1 ms')"
    " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, held_until = excluded.held_until"
    " WHERE d.holder = excluded.holder"
    "   OR ((d.holder IS NULL OR d.held_until < now()"
    "       OR d.held_until > excluded.held_until + $2::bigint * interval '1 ms')"
    "     AND (d.done_at IS NULL OR d.done_at <= now() - $3::bigint * interval '1 ms'"
    "       OR d.done_at > excluded.held_until)) "
    "RETURNING true");

STMT(retention_done, "retention", ROWS_NONE, 1,
    "UPDATE webhook.duties SET holder = NULL, held_until = NULL, done_at = now()"
    " WHERE name = 'retention' AND holder = $1");

/* What a producer has on its disk only. */
STMT(spool_note, "spools", ROWS_NONE, 5,
    "INSERT INTO webhook.spools AS s (segment, host, folder, holder, bytes)"
    " VALUES ($1, $2, $3, $4, $5::bigint)"
    " ON CONFLICT (segment) DO UPDATE SET host = excluded.host, folder = excluded.folder,"
    "  holder = excluded.holder, bytes = excluded.bytes, seen_at = now()");

STMT(spool_gone, "spools", ROWS_NONE, 1, "DELETE FROM webhook.spools WHERE segment = $1");

STMT(list_spools, "reader", ROWS_ANY, 0,
    "SELECT segment, host, folder, holder, bytes,"
    "  round(extract(epoch FROM now() - seen_at))::bigint"
    " FROM webhook.spools ORDER BY host, folder, segment");

/* --- circuits: one row for an upstream host that was in trouble; no row: closed ------------------ */

/* Of a row u, half open: who tries is dead or gone. */
#define NO_LIVING_PROBER                                                                           \
    "NOT EXISTS (SELECT FROM webhook.workers w WHERE w.id = u.probe_by AND w.dead_at IS NULL)"

/* Breaker. What is not closed: how long still, and whether $1 tries it. */
STMT(upstreams, "breaker", ROWS_ANY, 1,
    "SELECT u.host, CASE WHEN u.state = 'half_open' AND NOT " NO_LIVING_PROBER
    "    THEN 'half_open' ELSE 'open' END, u.failures,"
    "  CASE WHEN u.state = 'half_open' AND " NO_LIVING_PROBER " THEN 0 ELSE"
    "    greatest(0, extract(epoch FROM u.open_until - now()) * 1000)::bigint END,"
    "  u.probe_by IS NOT DISTINCT FROM $1"
    " FROM webhook.upstreams u WHERE u.state <> 'closed' ORDER BY u.host LIMIT 1000");

/* Breaker. Closed -> open, for $3 ms. No row: another was faster. */
STMT(upstream_open, "breaker", ROWS_ANY, 4,
    "INSERT INTO webhook.upstreams AS u (host, state, failures, open_until, last_error)"
    " VALUES ($1, 'open', $2::integer, now() + $3::bigint * interval '1 millisecond', $4)"
    " ON CONFLICT (host) DO UPDATE SET state = 'open', failures = EXCLUDED.failures,"
    "   open_until = EXCLUDED.open_until, probe_by = NULL, last_error = EXCLUDED.last_error,"
    "   changed_at = now()"
    " WHERE u.state = 'closed' RETURNING u.host");

/* Breaker. Open and due, or half open and given up -> half open, by $2. One row in the whole fleet.
 * Clocks differ a little: who measured the pause himself may come early. */
STMT(upstream_probe, "breaker", ROWS_ANY, 3,
    "UPDATE webhook.upstreams u SET state = 'half_open', probe_by = $2, changed_at = now(),"
    "   open_until = now() + $3::bigint * interval '1 millisecond'"
    " WHERE u.host = $1 AND u.state <> 'closed'"
    "   AND (u.open_until <= now() + interval '250 milliseconds'"
    "     OR u.state = 'half_open' AND (u.probe_by = $2 OR " NO_LIVING_PROBER "))"
    " RETURNING u.failures");

/* Breaker. Half open, tried by $2 -> closed, or open for $5 ms. */
STMT(upstream_result, "breaker", ROWS_ANY, 6,
    "UPDATE webhook.upstreams u SET state = $3, failures = $4::integer, probe_by = NULL,"
    "   open_until = CASE WHEN $3 = 'open' THEN now() + $5::bigint * interval '1 millisecond' END,"
    "   last_error = coalesce($6, u.last_error), changed_at = now()"
    " WHERE u.host = $1 AND u.state = 'half_open' AND u.probe_by = $2 RETURNING u.host");

/* Breaker. Hosts that nobody asked for a day. */
STMT(forget_upstreams, "breaker", ROWS_NONE, 0,
    "DELETE FROM webhook.upstreams u WHERE u.changed_at < now() - interval '1 day'"
    "   AND (u.open_until IS NULL OR u.open_until < now() - interval '1 day')");

STMT(schema_version, "start", ROWS_ONE, 0,
    "SELECT coalesce(max(version), 0) FROM webhook.schema_migrations");

STMT(ping, "health", ROWS_ONE, 0, "SELECT 1");

/* For people. */
STMT(count_by_status, "reader", ROWS_ANY, 0,
    "SELECT split_part(coalesce(rescrape_status, 'none'), ':', 1) AS status, count(*)"
    " FROM webhook.change_events GROUP BY 1 ORDER BY 1");

STMT(list_workers, "reader", ROWS_ANY, 0,
    "SELECT w.id, w.host, w.pid, CASE WHEN w.dead_at IS NULL THEN 'alive' ELSE 'dead' END,"
    "  w.started_at, round(extract(epoch FROM now() - w.seen_at))::bigint,"
    "  (SELECT count(*) FROM webhook.change_events c"
    "   WHERE c.claimed_by = w.id AND c.rescrape_status = 'in_progress')"
    " FROM webhook.workers w ORDER BY w.started_at, w.id");

/* Audit. In progress without an owner is a row of the replaced service: nobody can tell. An owner
 * that nobody has declared dead is silent after two leases of $1 ms: perhaps there is no janitor. */
#define AUDIT_STATE                                                                                \
    "CASE WHEN c.rescrape_status IS DISTINCT FROM 'in_progress'"                                   \
    "    THEN split_part(c.rescrape_status, ':', 1)"                                               \
    "  WHEN c.claimed_by IS NULL OR EXISTS (SELECT FROM webhook.workers w"                         \
    "    WHERE w.id = c.claimed_by AND w.dead_at IS NULL"                                          \
    "      AND w.seen_at > now() - 2 * $1::bigint * interval '1 millisecond') THEN 'held'"         \
    "  ELSE 'alone' END"

/* Audit. Which of the ids $2 have a row: their places in it, and the row's state. */
STMT(audit_rows, "audit", ROWS_ANY, 2,
    "SELECT j.n, " AUDIT_STATE " FROM unnest($2::uuid[]) WITH ORDINALITY AS j (event_id, n)"
    "  JOIN webhook.change_events c ON c.event_id = j.event_id");

/* Audit. All that is queued, $2 rows a step from after row $1. */
STMT(audit_queued, "audit", ROWS_ANY, 2,
    "SELECT id, event_id FROM webhook.change_events"
    " WHERE rescrape_status = 'queued' AND id > $1::bigint AND event_id IS NOT NULL"
    " ORDER BY id LIMIT $2::integer");

STMT(audit_in_progress, "audit", ROWS_ANY, 1,
    "SELECT event_id, " AUDIT_STATE " FROM webhook.change_events c"
    " WHERE c.rescrape_status = 'in_progress' AND c.event_id IS NOT NULL");

/* Audit. How many are queued and due, and in progress; counting stops at $1. */
STMT(audit_work, "audit", ROWS_ONE, 1,
    "SELECT (SELECT count(*) FROM (SELECT FROM webhook.change_events"
    "    WHERE rescrape_status = 'queued' AND (next_attempt_at IS NULL OR next_attempt_at <= now())"
    "    LIMIT $1::integer) q),"
    "  (SELECT count(*) FROM (SELECT FROM webhook.change_events"
    "    WHERE rescrape_status = 'in_progress' LIMIT $1::integer) p)");

STMT(search, "reader", ROWS_ANY, 2,
    "SELECT d.url, coalesce(d.title, ''), coalesce(d.description, ''),"
    "  ts_headline('simple', left(d.text, 100000), q, 'StartSel=«, StopSel=», MaxWords=30,"
    " MinWords=15, MaxFragments=1'),"
    "  ts_rank(d.search, q), (extract(epoch FROM d.scraped_at) * 1000000)::bigint"
    " FROM webhook.documents d, websearch_to_tsquery('simple', $1) q WHERE d.search @@ q"
    " ORDER BY ts_rank(d.search, q) DESC, d.scraped_at DESC LIMIT $2::integer");

STMT(list_upstreams, "reader", ROWS_ANY, 0,
    "SELECT u.host, u.state, u.failures,"
    "  greatest(0, ceil(extract(epoch FROM u.open_until - now())))::bigint, u.probe_by,"
    "  u.last_error, u.changed_at"
    " FROM webhook.upstreams u ORDER BY u.state = 'closed', u.host LIMIT 200");
