/* store_failed: see store_failed.h. Owns the statements of what operators do with failed events. */
#include "domain/store_failed.h"

#include "domain/store_private.h"

/* clang-format off */

#define TEXT(n)    #n
#define AS_TEXT(n) TEXT(n)
#define LOOK       AS_TEXT(FAILED_LOOK)

#define US(time)   "(extract(epoch FROM " time ") * 1000000)::bigint"
#define TIME(us)   "(timestamptz 'epoch' + " us "::bigint * interval '1 microsecond')"

#define IS_FAILED   "starts_with(c.rescrape_status, 'failed')"
#define FAILED_TIME "coalesce(c.finished_at, c.created_at)"
#define REASON      "coalesce(c.metadata->>'error', c.rescrape_status)"

/* What is asked of an event c: url, watch, since, until, a part of the error. */
#define MATCHES(url, watch, since, until, error)                                                   \
    IS_FAILED " AND (" url "::text IS NULL OR c.watch_url = " url ")"                              \
    " AND (" watch "::text IS NULL OR c.watch_id = " watch ")"                                     \
    " AND (" since "::bigint IS NULL OR " FAILED_TIME " >= " TIME(since) ")"                       \
    " AND (" until "::bigint IS NULL OR " FAILED_TIME " < " TIME(until) ")"                        \
    " AND (" error "::text IS NULL OR position(lower(" error ") IN lower(c.metadata->>'error')) > 0"\
    "   OR position(lower(" error ") IN lower(c.rescrape_status)) > 0)"

/* --- listed ------------------------------------------------------------------------------------- */

/* There is no index of failed events: a walk along the ids, which ends after so many. The rows are
 * fetched by their ids, once it is known which. */
STMT(failed, "operator", ROWS_ANY, 7,
    "WITH looked AS MATERIALIZED ("
    "  SELECT c.id, " MATCHES("$3", "$4", "$5", "$6", "$7") " AS hit"
    "  FROM webhook.change_events c WHERE c.id < $1::bigint ORDER BY c.id DESC LIMIT " LOOK
    "), page AS MATERIALIZED ("
    "  SELECT id FROM looked WHERE hit ORDER BY id DESC LIMIT $2::integer"
    ") "
    "SELECT e.edge, p.id, c.event_id, coalesce(c.claim_epoch, 0), " US(FAILED_TIME) ", c.watch_url,"
    "  c.watch_id, coalesce(c.attempts, 0), left(" REASON ", 4096)"
    " FROM (SELECT CASE WHEN count(*) = " LOOK " THEN min(id) END AS edge FROM looked) e"
    " LEFT JOIN page p ON true LEFT JOIN LATERAL ("
    "   SELECT * FROM webhook.change_events c WHERE c.id = p.id OFFSET 0) c ON true"
    " ORDER BY p.id DESC");

STMT(failed_known, "operator", ROWS_ANY, 1,
    "SELECT c.event_id, c.rescrape_status FROM unnest($1::uuid[]) WITH ORDINALITY a (id, place)"
    " CROSS JOIN LATERAL (SELECT * FROM webhook.change_events c WHERE c.event_id = a.id OFFSET 0) c"
    " ORDER BY a.place");

/* Why the newest of them failed, the most frequent reason first. */
#define DEAD_REASON                                                                                \
    "coalesce(nullif(ltrim(substr(c.rescrape_status, 7), ': '), ''),"                              \
    " left(c.metadata->>'error', 200), 'failed')"
STMT(failed_groups, "view", ROWS_ANY, 3,
    "WITH looked AS MATERIALIZED ("
    "  SELECT " DEAD_REASON " AS reason, c.rescrape_status, c.watch_url, " FAILED_TIME " AS at"
    "  FROM webhook.change_events c WHERE " IS_FAILED " AND " FAILED_TIME " > '-infinity'"
    "  ORDER BY " FAILED_TIME " DESC LIMIT " AS_TEXT(FAILED_GROUPED)
    "), hit AS MATERIALIZED ("
    "  SELECT * FROM looked"
    "  WHERE ($1::text IS NULL OR position(lower($1) IN lower(rescrape_status)) > 0)"
    "    AND ($2::bigint IS NULL OR at >= " TIME("$2") ") AND ($3::bigint IS NULL OR at < " TIME("$3") ")"
    ") "
    "SELECT g.reason, g.events, g.urls, " US("g.newest") ", " US("g.oldest") ", t.counted,"
    "  (SELECT count(*) FROM looked) < " AS_TEXT(FAILED_GROUPED)
    " FROM (SELECT count(*) AS counted FROM hit) t LEFT JOIN ("
    "   SELECT reason, count(*) AS events, count(DISTINCT watch_url) AS urls, max(at) AS newest,"
    "     min(at) AS oldest FROM hit GROUP BY reason ORDER BY 2 DESC, 1 LIMIT 100) g ON true"
    " ORDER BY g.events DESC, g.reason");

/* --- put back ----------------------------------------------------------------------------------- */

/* Of items t (row_id, claim_epoch) those that are as they were seen, locked in the order of t; and
 * queued again, as if they had never been tried. Due now and not since they were accepted: the janitor,
 * which looks for what became due since it looked last, is to see them. */
#define FOUND(t, order)                                                                            \
    "found AS MATERIALIZED ("                                                                      \
    "  SELECT c.id FROM (SELECT * FROM " t " ORDER BY " order ") t CROSS JOIN LATERAL ("           \
    "    SELECT c.id FROM webhook.change_events c WHERE c.id = t.row_id"                           \
    "      AND coalesce(c.claim_epoch, 0) = t.claim_epoch AND " IS_FAILED " FOR UPDATE) c"         \
    ")"
#define AGAIN(by, jitter_ms)                                                                       \
    "again AS ("                                                                                   \
    "  UPDATE webhook.change_events c SET rescrape_status = 'queued', starts = 0, attempts = 0,"   \
    "    suspect = 0, claim_epoch = coalesce(c.claim_epoch, 0) + 1, claimed_by = NULL,"            \
    "    finished_at = NULL,"                                                                      \
    "    next_attempt_at = now() + random() * " jitter_ms "::bigint * interval '1 ms',"            \
    "    metadata = coalesce(c.metadata, '{}'::jsonb) || jsonb_build_object("                      \
    "      'retried_by', " by "::text,"                                                            \
    "      'retried_at', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'))"  \
    "  WHERE c.id = ANY (ARRAY(SELECT id FROM found)) AND " IS_FAILED                              \
    "  RETURNING c.*"                                                                              \
    ")"
#define PUT_BACK                                                                                   \
    "a.event_id, a.watch_id, a.watch_url, " US("a.detected_at") ", a.diff_summary, a.snapshot_url,"\
    " coalesce(a.metadata, '{}'::jsonb)::text, encode(a.body_digest, 'hex'), a.id,"                \
    " greatest(0, extract(epoch FROM a.next_attempt_at - now()) * 1000)::bigint"

STMT(failed_again, "operator", ROWS_ANY, 2,
    "WITH t AS (SELECT * FROM unnest($1::bigint[], $2::bigint[]) u (row_id, claim_epoch)), "
    FOUND("t", "row_id") ", " AGAIN("'hooklinectl'", "0")
    " SELECT " PUT_BACK " FROM again a ORDER BY a.id");

/* --- redrives ----------------------------------------------------------------------------------- */

/* Whoever was making it was killed. */
#define IS_ABANDONED(r)                                                                            \
    "(" r ".state = 'planning' AND " r ".changed_at < now() - " AS_TEXT(REDRIVE_PLAN_S) " * interval '1 s')"

STMT(redrive_begin, "operator", ROWS_NONE, 4,
    "WITH old AS (DELETE FROM webhook.redrives WHERE token IN (SELECT token FROM webhook.redrives"
    "    WHERE changed_at < now() - " AS_TEXT(REDRIVE_DAYS) " * interval '1 day' OR " IS_ABANDONED("redrives")
    "    ORDER BY changed_at LIMIT 5))"
    "INSERT INTO webhook.redrives (token, planned_by, reason, filter, total, state)"
    " VALUES ($1, $2, $3, $4::jsonb, 0, 'planning')");

STMT(redrive_add, "operator", ROWS_ONE, 9,
    "WITH looked AS MATERIALIZED ("
    "  SELECT c.id, c.claim_epoch, " MATCHES("$5", "$6", "$7", "$8", "$9") " AS hit"
    "  FROM webhook.change_events c WHERE c.id > $2::bigint ORDER BY c.id LIMIT " LOOK
    "), alive AS ("
    "  UPDATE webhook.redrives SET changed_at = now() WHERE token = $1"
    "), put AS ("
    "  INSERT INTO webhook.redrive_items (token, n, row_id, claim_epoch)"
    "  SELECT $1, $3::integer + row_number() OVER (ORDER BY id), id, coalesce(claim_epoch, 0)"
    "  FROM (SELECT * FROM looked WHERE hit ORDER BY id LIMIT $4::integer) h RETURNING n"
    ") "
    "SELECT (SELECT max(id) FROM looked), (SELECT count(*) FROM put)");

STMT(redrive_planned, "operator", ROWS_NONE, 2,
    "UPDATE webhook.redrives SET state = 'planned', total = $2::integer, changed_at = now()"
    " WHERE token = $1 AND state = 'planning'");

STMT(redrive_drop, "operator", ROWS_NONE, 1, "DELETE FROM webhook.redrives WHERE token = $1");

STMT(redrives, "operator", ROWS_ANY, 3,
    "SELECT r.token, CASE WHEN " IS_ABANDONED("r") " THEN 'abandoned' ELSE r.state END, r.total, i.left_over, i.queued, i.changed, CASE WHEN $1 IS NOT NULL THEN"
    "   (SELECT count(*) FROM (SELECT DISTINCT c.watch_url FROM (SELECT i.row_id"
    "        FROM webhook.redrive_items i WHERE i.token = r.token AND i.outcome IS NULL"
    "        ORDER BY i.n LIMIT $3::integer) i"
    "      CROSS JOIN LATERAL (SELECT c.watch_url FROM webhook.change_events c"
    "        WHERE c.id = i.row_id OFFSET 0) c) u) END, "
    US("r.planned_at") ", " US("r.changed_at") ", r.planned_by, r.reason, r.filter::text"
    " FROM (SELECT * FROM webhook.redrives r WHERE $1::text IS NULL OR r.token = $1"
    "   ORDER BY r.planned_at DESC, r.token LIMIT $2::integer) r"
    " CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE outcome IS NULL) AS left_over,"
    "   count(*) FILTER (WHERE outcome = 'queued') AS queued,"
    "   count(*) FILTER (WHERE outcome = 'changed') AS changed"
    "   FROM webhook.redrive_items i WHERE i.token = r.token) i"
    " ORDER BY r.planned_at DESC, r.token");

STMT(redrive_errors, "operator", ROWS_ANY, 2,
    "SELECT c.rescrape_status, count(*), count(DISTINCT c.watch_url)"
    " FROM (SELECT i.row_id FROM webhook.redrive_items i WHERE i.token = $1 AND i.outcome IS NULL"
    "   ORDER BY i.n LIMIT $2::integer) i"
    " CROSS JOIN LATERAL (SELECT c.rescrape_status, c.watch_url"
    "   FROM webhook.change_events c WHERE c.id = i.row_id AND " IS_FAILED " OFFSET 0) c"
    " GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 20");

STMT(redrive_items, "operator", ROWS_ANY, 2,
    "SELECT i.n, i.row_id, c.event_id, c.watch_id, c.watch_url,"
    "  CASE WHEN " IS_FAILED " THEN left(" REASON ", 4096) END, i.outcome, c.rescrape_status"
    " FROM (SELECT * FROM webhook.redrive_items WHERE token = $1 ORDER BY n LIMIT $2::integer) i"
    " LEFT JOIN LATERAL (SELECT * FROM webhook.change_events c WHERE c.id = i.row_id OFFSET 0) c"
    "   ON true ORDER BY i.n");

/* 'done' is true only where nothing is left; what is stopped was being applied. */
STMT(redrive_state, "operator", ROWS_ANY, 2,
    "UPDATE webhook.redrives r SET state = $2, changed_at = now() WHERE r.token = $1 AND CASE $2"
    "  WHEN 'done' THEN r.state = 'applying' AND NOT EXISTS (SELECT FROM webhook.redrive_items i"
    "    WHERE i.token = r.token AND i.outcome IS NULL)"
    "  WHEN 'stopped' THEN r.state = 'applying'"
    "  ELSE r.state IN ('planned', 'stopped', 'applying') END RETURNING r.state");

/* Whoever applied it has not touched it for so long: it was killed, or cannot reach PostgreSQL. */
STMT(redrive_take, "operator", ROWS_ANY, 1,
    "UPDATE webhook.redrives r SET state = 'applying', changed_at = now() WHERE r.token = $1"
    " AND (r.state IN ('planned', 'stopped') OR (r.state = 'applying'"
    "   AND r.changed_at < now() - " AS_TEXT(REDRIVE_SILENT_S) " * interval '1 s'))"
    " RETURNING r.state");

/* The plan is locked first: whoever stops it waits for what is under way, and nothing follows. */
STMT(redrive_apply, "operator", ROWS_ANY, 4,
    "WITH plan AS ("
    "  UPDATE webhook.redrives SET changed_at = now() WHERE token = $1 AND state = 'applying'"
    "  RETURNING state"
    "), t AS MATERIALIZED ("
    "  SELECT i.n, i.row_id, i.claim_epoch FROM webhook.redrive_items i"
    "  WHERE i.token = $1 AND i.n > $2::integer AND i.outcome IS NULL AND EXISTS (SELECT FROM plan)"
    "  ORDER BY i.n LIMIT $3::integer FOR UPDATE SKIP LOCKED"
    "), " FOUND("t", "n") ", " AGAIN("'redrive ' || $1", "$4") ", marked AS ("
    "  UPDATE webhook.redrive_items i"
    "  SET outcome = CASE WHEN a.id IS NULL THEN 'changed' ELSE 'queued' END"
    "  FROM t LEFT JOIN again a ON a.id = t.row_id WHERE i.token = $1 AND i.n = t.n"
    ") "
    "SELECT " PUT_BACK ", a.id IS NOT NULL, t.n, p.state"
    " FROM (SELECT) x LEFT JOIN plan p ON true LEFT JOIN t ON true"
    "  LEFT JOIN again a ON a.id = t.row_id ORDER BY t.n");

/* clang-format on */

/* --- running them ------------------------------------------------------------------------ */

struct filter_values {
    struct number since, until;
    const char *all[5];
};

static void filter_values(const struct failed_filter *f, struct filter_values *v)
{
    v->since = store_number(f->since ? *f->since : 0);
    v->until = store_number(f->until ? *f->until : 0);
    v->all[0] = f->url;
    v->all[1] = f->watch;
    v->all[2] = f->since ? v->since.text : NULL;
    v->all[3] = f->until ? v->until.text : NULL;
    v->all[4] = f->error;
}

void store_failed(struct store *s, const struct failed_filter *f, int64_t before, int limit,
    store_cb *cb, void *ctx)
{
    struct filter_values v;
    filter_values(f, &v);
    store_ask(s, &stmt_failed, cb, ctx,
        (const char *[]){store_number(before ? before : INT64_MAX).text, store_number(limit).text,
            v.all[0], v.all[1], v.all[2], v.all[3], v.all[4]});
}

void store_failed_groups(struct store *s, const char *status, const int64_t *since,
    const int64_t *until, store_cb *cb, void *ctx)
{
    struct number from = store_number(since ? *since : 0), to = store_number(until ? *until : 0);
    store_ask(s, &stmt_failed_groups, cb, ctx,
        (const char *[]){status, since ? from.text : NULL, until ? to.text : NULL});
}

void store_failed_known(struct store *s, const char *ids, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_failed_known, cb, ctx, (const char *[]){ids});
}

void store_failed_again(
    struct store *s, const char *ids, const char *epochs, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_failed_again, cb, ctx, (const char *[]){ids, epochs});
}

void store_redrive_begin(struct store *s, const struct redrive *r, store_cb *cb, void *ctx)
{
    store_ask(
        s, &stmt_redrive_begin, cb, ctx, (const char *[]){r->token, r->by, r->reason, r->filter});
}

void store_redrive_add(struct store *s, const char *token, const struct failed_filter *f,
    int64_t after, int64_t n, int limit, store_cb *cb, void *ctx)
{
    struct filter_values v;
    filter_values(f, &v);
    store_ask(s, &stmt_redrive_add, cb, ctx,
        (const char *[]){token, store_number(after).text, store_number(n).text,
            store_number(limit).text, v.all[0], v.all[1], v.all[2], v.all[3], v.all[4]});
}

void store_redrive_planned(
    struct store *s, const char *token, int64_t total, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_redrive_planned, cb, ctx, (const char *[]){token, store_number(total).text});
}

void store_redrive_drop(struct store *s, const char *token, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_redrive_drop, cb, ctx, (const char *[]){token});
}

void store_redrives(
    struct store *s, const char *token, int limit, int look, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_redrives, cb, ctx,
        (const char *[]){token, store_number(limit).text, store_number(look).text});
}

void store_redrive_errors(struct store *s, const char *token, int look, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_redrive_errors, cb, ctx, (const char *[]){token, store_number(look).text});
}

void store_redrive_items(struct store *s, const char *token, int limit, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_redrive_items, cb, ctx, (const char *[]){token, store_number(limit).text});
}

void store_redrive_state(
    struct store *s, const char *token, const char *state, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_redrive_state, cb, ctx, (const char *[]){token, state});
}

void store_redrive_take(struct store *s, const char *token, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_redrive_take, cb, ctx, (const char *[]){token});
}

void store_redrive_apply(struct store *s, const char *token, int64_t after, int max,
    int64_t jitter_ms, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_redrive_apply, cb, ctx,
        (const char *[]){
            token, store_number(after).text, store_number(max).text, store_number(jitter_ms).text});
}
