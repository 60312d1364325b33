/* store_orders: see store_orders.h. */
#include "domain/store_orders.h"

#include "domain/store_private.h"

/* Whether that is said of a queue: 'paused_at', 'fenced_at'. */
#define IS(what, queue)                                                                            \
    "EXISTS (SELECT FROM webhook.queues WHERE name = '" queue "' AND " what " IS NOT NULL)"

#define MICROSECONDS(time) "(extract(epoch FROM " time ") * 1000000)::bigint"
#define MS_SINCE(time)     "(extract(epoch FROM clock_timestamp() - " time ") * 1000)::bigint"

/* What the log is to say, and for how long yet; NULLs: as everybody's settings have it. */
#define LEVEL_HOLDS "FROM webhook.log_level WHERE until > clock_timestamp()"
#define LOG_LEVEL                                                                                  \
    "(SELECT level " LEVEL_HOLDS "),"                                                              \
    " (SELECT ceil(extract(epoch FROM until - clock_timestamp()) * 1000)::bigint " LEVEL_HOLDS ")"

/* --- workers ----------------------------------------------------------------------------- */

STMT(orders, "orders", ROWS_ONE, 2,
    "WITH told AS ("
    "  UPDATE webhook.workers SET status = $2::jsonb WHERE id = $1 AND $2::jsonb IS NOT NULL"
    ") "
    "SELECT " IS("paused_at", "change") ", " IS(
        "paused_at", "crawl") ","
                              "  (SELECT orders FROM webhook.workers WHERE id = $1), " LOG_LEVEL);

void store_orders(struct store *s, const char *worker, const char *status, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_orders, ORDERS_TIMEOUT_MS, cb, ctx, (const char *[]){worker, status});
}

/* --- producers --------------------------------------------------------------------------- */

#define FENCES IS("fenced_at", "change") ", " IS("fenced_at", "crawl")

STMT(attend, "attendance", ROWS_ONE, 5,
    "WITH told AS ("
    "  INSERT INTO webhook.producers AS p (id, host, pid, fenced, status)"
    "  VALUES ($1, $2, $3::integer, $4::text[], $5::jsonb)"
    "  ON CONFLICT (id) DO UPDATE SET fenced = excluded.fenced, status = excluded.status,"
    "    seen_at = now()"
    ") SELECT " FENCES ", " LOG_LEVEL);

STMT(fences, "attendance", ROWS_ONE, 0, "SELECT " FENCES ", " LOG_LEVEL);

STMT(producer_left, "attendance", ROWS_NONE, 1, "DELETE FROM webhook.producers WHERE id = $1");

STMT(neighbours, "attendance", ROWS_ANY, 2,
    "SELECT id, pid, status->>'place', " MS_SINCE(
        "seen_at") " FROM webhook.producers"
                   " WHERE host = $1 AND status->>'folder' = $2 LIMIT 1000");

STMT(forget_producers, "attendance", ROWS_NONE, 0,
    "DELETE FROM webhook.producers WHERE seen_at < now() - interval '7 days'");

void store_attend(struct store *s, const struct store_producer *p, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_attend, ORDERS_TIMEOUT_MS, cb, ctx,
        (const char *[]){p->id, p->host, store_number(p->pid).text, p->fenced, p->status});
}

void store_fences(struct store *s, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_fences, ORDERS_TIMEOUT_MS, cb, ctx, NULL);
}

void store_producer_left(struct store *s, const char *id, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_producer_left, ORDERS_TIMEOUT_MS, cb, ctx, (const char *[]){id});
}

void store_neighbours(
    struct store *s, const char *host, const char *folder, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_neighbours, ORDERS_TIMEOUT_MS, cb, ctx, (const char *[]){host, folder});
}

void store_forget_producers(struct store *s, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_forget_producers, ORDERS_TIMEOUT_MS, cb, ctx, NULL);
}

/* --- operators --------------------------------------------------------------------------- */

STMT(queue_orders, "reader", ROWS_ANY, 0,
    "SELECT name, " MICROSECONDS("paused_at") ", paused_by, " MICROSECONDS(
        "fenced_at") ", fenced_by"
                     " FROM webhook.queues ORDER BY name");

/* What is so already is left as it is, with the name of who did it. */
#define ORDER_QUEUES(at, by)                                                                       \
    "UPDATE webhook.queues SET " at " = CASE WHEN $2::boolean THEN now() END,"                     \
    "  " by " = CASE WHEN $2::boolean THEN $3::text END, changed_at = now()"                       \
    " WHERE name = ANY ($1::text[]) AND (" at " IS NOT NULL) <> $2::boolean RETURNING name"
STMT(pause, "operator", ROWS_ANY, 3, ORDER_QUEUES("paused_at", "paused_by"));
STMT(fence, "operator", ROWS_ANY, 3, ORDER_QUEUES("fenced_at", "fenced_by"));

STMT(fleet, "reader", ROWS_ANY, 0,
    "SELECT w.id, w.host, w.pid, CASE WHEN w.dead_at IS NULL THEN 'alive' ELSE 'dead' END,"
    "  " MICROSECONDS("w.started_at") ", " MICROSECONDS("w.seen_at") ", " MS_SINCE(
        "w.seen_at") ","
                     "  w.orders, w.status->>'phase', w.status->>'jobs', w.status->>'crawls',"
                     "  nullif(w.status->>'oldest_ms', '0'), w.status->'pool'->>'open', "
                     "w.status->'pool'->>'busy',"
                     "  w.status->'pool'->>'max', (w.status->>'rss_kb')::bigint * 1024, "
                     "w.status->>'done',"
                     "  w.status->>'restarts', coalesce(w.status->'paused' ? 'change', false),"
                     "  coalesce(w.status->'paused' ? 'crawl', false), w.status->>'orders',"
                     "  (SELECT count(*) FROM webhook.change_events c"
                     "   WHERE c.claimed_by = w.id AND c.rescrape_status = 'in_progress')"
                     " FROM webhook.workers w ORDER BY w.started_at, w.id LIMIT 10000");

STMT(give_order, "operator", ROWS_ANY, 2,
    "UPDATE webhook.workers SET orders = $2::text"
    " WHERE id = ANY ($1::text[]) AND dead_at IS NULL RETURNING id");

STMT(producers, "reader", ROWS_ANY, 0,
    "SELECT id, host, pid, " MS_SINCE(
        "seen_at") ", 'change' = ANY (fenced), 'crawl' = ANY (fenced)"
                   " FROM webhook.producers ORDER BY host, id LIMIT 10000");

STMT(log_level, "attendance", ROWS_ONE, 0, "SELECT " LOG_LEVEL);

STMT(log_order, "reader", ROWS_ANY, 0,
    "SELECT level, " MICROSECONDS("until") ", set_by " LEVEL_HOLDS);

STMT(set_log_level, "operator", ROWS_ANY, 3,
    "INSERT INTO webhook.log_level AS l (level, until, set_by)"
    " VALUES ($1, clock_timestamp() + $2::bigint * interval '1 millisecond', $3)"
    " ON CONFLICT (one) DO UPDATE SET level = excluded.level, until = excluded.until,"
    "  set_by = excluded.set_by RETURNING level, " MICROSECONDS("until") ", set_by");

STMT(end_log_level, "operator", ROWS_ANY, 0,
    "DELETE FROM webhook.log_level WHERE one RETURNING level");

void store_log_level(struct store *s, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_log_level, ORDERS_TIMEOUT_MS, cb, ctx, NULL);
}

void store_log_order(struct store *s, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_log_order, cb, ctx, NULL);
}

void store_set_log_level(
    struct store *s, const char *level, int64_t ms, const char *by, store_cb *cb, void *ctx)
{
    if (level)
        store_ask(
            s, &stmt_set_log_level, cb, ctx, (const char *[]){level, store_number(ms).text, by});
    else
        store_ask(s, &stmt_end_log_level, cb, ctx, NULL);
}

void store_queue_orders(struct store *s, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_queue_orders, cb, ctx, NULL);
}

void store_pause(
    struct store *s, const char *queues, bool on, const char *by, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_pause, cb, ctx, (const char *[]){queues, on ? "t" : "f", by});
}

void store_fence(
    struct store *s, const char *queues, bool on, const char *by, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_fence, cb, ctx, (const char *[]){queues, on ? "t" : "f", by});
}

void store_fleet(struct store *s, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_fleet, cb, ctx, NULL);
}

void store_order(struct store *s, const char *workers, const char *order, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_give_order, cb, ctx, (const char *[]){workers, order});
}

void store_producers(struct store *s, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_producers, cb, ctx, NULL);
}
