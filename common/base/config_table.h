/* config_table: every setting, one row each. The only place that knows a setting's names, default,
 * bounds, kind, users and meaning; config*.c turn it into parsing, --help, --print-config and the
 * sample file.
 *
 *     GROUP(title)
 *     ROW(field, kind, names, default, min, max, users, help)
 *
 * field    member of struct config
 * kind     how text becomes a value, and whether it may be shown (kind_... in config_value.c)
 * names    separated by blanks: the one we use first, then the aliases; the first present wins
 * default  as one would write it; NULL = not set
 * min, max characters of a text, otherwise the value
 * users    the programs that read it; NEEDED_BY(p) for those that cannot start without it
 *
 * Rows are read in this order, and secrets are judged by test_mode: it comes before them. */
#ifndef HL_BASE_CONFIG_TABLE_H
#define HL_BASE_CONFIG_TABLE_H

#include "base/config.h"

#define NEEDED_BY(programs) ((programs) << 8)

#define MS_SECOND INT64_C(1000)
#define MS_MINUTE (60 * MS_SECOND)
#define MS_HOUR   (60 * MS_MINUTE)
#define KIB       INT64_C(1024)
#define MIB       (1024 * KIB)
#define GIB       (1024 * MIB)

#define P CFG_PRODUCER
#define W CFG_WORKER
#define C CFG_CTL

/* clang-format off */
#define CONFIG_TABLE(GROUP, ROW)                                                                   \
GROUP("General")                                                                                   \
ROW(test_mode, bool, "WEBHOOK_TEST_MODE SEARCH_BRIDGE_TEST_MODE", "false", 0, 1, P | W | C,        \
    "Accept weak secrets. For tests only.")                                                        \
ROW(log_level, log_level, "WEBHOOK_LOG_LEVEL SEARCH_BRIDGE_LOG_LEVEL", "info", 0, 0, P | W | C,    \
    "Log lines of this level and above.")                                                          \
ROW(log_format, log_format, "WEBHOOK_LOG_FORMAT", "auto", 0, 0, P | W | C,                         \
    "Form of the log; auto is text on a terminal and json otherwise.")                             \
                                                                                                   \
GROUP("Stores")                                                                                    \
ROW(redis_url, redis_url, "WEBHOOK_REDIS_URL REDIS_URL SEARCH_BRIDGE_REDIS_URL",                   \
    "redis://localhost:52101", 1, 2048, P | W | C,                                                 \
    "Redis that carries the queues.")                                                              \
ROW(database_url, database_url,                                                                    \
    "WEBHOOK_DATABASE_URL DATABASE_URL SEARCH_BRIDGE_DATABASE_URL",                                \
    "postgresql+asyncpg://fc_bridge:changeme@localhost:5432/fc_bridge", 1, 2048, P | W | C,        \
    "PostgreSQL that owns the events; +driver after the scheme is dropped.")                       \
ROW(firecrawl_schema, text, "WEBHOOK_FIRECRAWL_SCHEMA", NULL, 1, 63, C,                            \
    "PostgreSQL schema of Firecrawl's own queue, for looking; not set: nuq, then public.")         \
ROW(queue_prefix, key_prefix, "WEBHOOK_QUEUE_PREFIX", "hookline", 1, 64, P | W | C,                \
    "What every Redis key begins with. The same for all programs of one installation.")            \
                                                                                                   \
GROUP("Intake")                                                                                    \
ROW(host, text, "WEBHOOK_HOST SEARCH_BRIDGE_HOST", "0.0.0.0", 1, 255, P | C,                       \
    "Address the intake listens on.")                                                              \
ROW(port, number, "WEBHOOK_PORT SEARCH_BRIDGE_PORT", "52100", 0, 65535, P | C,                     \
    "Port the intake listens on; 0 takes any free one.")                                           \
ROW(webhook_secret, secret, "WEBHOOK_SECRET SEARCH_BRIDGE_WEBHOOK_SECRET", NULL, 16, 256,          \
    P | C | NEEDED_BY(P),                                                                          \
    "Key of the signature that senders put on a webhook.")                                         \
ROW(webhook_secret_previous, secret, "WEBHOOK_SECRET_PREVIOUS", NULL, 16, 256, P,                  \
    "The key before a change of WEBHOOK_SECRET; accepted beside it.")                              \
ROW(intake_token, secret, "WEBHOOK_INTAKE_TOKEN", NULL, 32, 4096, P | C,                       \
    "Bearer token for senders that cannot sign; without it they are refused.")                     \
ROW(api_secret, secret, "WEBHOOK_API_SECRET SEARCH_BRIDGE_API_SECRET", NULL, 1, 4096, P,           \
    "Bearer token, and password of the dashboard, for those who may look and change things.")      \
ROW(api_secret_readonly, secret, "WEBHOOK_API_SECRET_READONLY", NULL, 1, 4096, P,                  \
    "Bearer token, and password of the dashboard, for those who may look but change nothing.")     \
ROW(ack, ack, "WEBHOOK_ACK", "both", 0, 0, P,                                                      \
    "What a 202 waits for: both (row and queue) or queue (the row follows).")                      \
ROW(dedup_window_ms, time_or_off, "WEBHOOK_DEDUP_WINDOW", "10m", MS_SECOND, 168 * MS_HOUR, P,      \
    "How long Redis remembers a delivery; 0: bytes alone never make two deliveries one.")          \
ROW(producers, number, "WEBHOOK_PRODUCERS", "0", 0, 256, P,                                        \
    "Intake processes; 0 is one for each core that the cgroup's quota leaves.")                    \
ROW(max_body_bytes, size, "WEBHOOK_MAX_BODY_BYTES", "1m", KIB, 32 * MIB, P,                    \
    "Largest request body.")                                                                       \
ROW(crawl_max_body_bytes, size, "WEBHOOK_CRAWL_MAX_BODY_BYTES", "32m", KIB, 128 * MIB, P,          \
    "Largest body of an event of Firecrawl's.")                                                    \
ROW(max_buffered_bytes, size, "WEBHOOK_MAX_BUFFERED_BYTES", "256m", MIB, 64 * GIB, P,              \
    "Request bodies that one process holds in memory; beyond it large ones get 503.")              \
ROW(max_header_bytes, size, "WEBHOOK_MAX_HEADER_BYTES", "16k", KIB, 256 * KIB, P,              \
    "Largest request head.")                                                                       \
ROW(max_connections, number, "WEBHOOK_MAX_CONNECTIONS", "4096", 1, 65536, P,                   \
    "Connections that one process keeps open to clients.")                                         \
ROW(header_timeout_ms, time, "WEBHOOK_HEADER_TIMEOUT", "10s", MS_SECOND, 5 * MS_MINUTE, P,     \
    "Time for a request head to arrive.")                                                          \
ROW(body_timeout_ms, time, "WEBHOOK_BODY_TIMEOUT", "20s", MS_SECOND, 10 * MS_MINUTE, P,        \
    "Time for a request body to arrive.")                                                          \
ROW(idle_timeout_ms, time, "WEBHOOK_IDLE_TIMEOUT", "75s", MS_SECOND, MS_HOUR, P,               \
    "How long a connection without a request stays open.")                                         \
ROW(spool_dir, text, "WEBHOOK_SPOOL_DIR", "/var/lib/hookline/spool", 1, 4000, P | C,         \
    "Folder for events taken in while PostgreSQL is away; made with mode 0700.")                   \
ROW(spool_max_bytes, size, "WEBHOOK_SPOOL_MAX_BYTES", "1g", MIB, 1024 * GIB, P,            \
    "Size of the spool beyond which intake answers 503.")                                          \
ROW(receipts_dir, text, "WEBHOOK_RECEIPTS_DIR", NULL, 1, 4000, P | C,                              \
    "Folder for a journal of every event answered 202, for `hooklinectl audit`; not set: none.")   \
                                                                                                   \
GROUP("API and metrics")                                                                           \
ROW(cors_origins, origins, "WEBHOOK_CORS_ORIGINS SEARCH_BRIDGE_CORS_ORIGINS",                      \
    "http://localhost:3000", 0, 8192, P,                                                           \
    "Origins that browsers may call from.")                                                        \
ROW(rate_limit, number, "WEBHOOK_RATE_LIMIT", "100", 0, 1000000, P,                                \
    "Requests a minute of one client to one path, of metrics, / and /health; 0 = any number.")     \
ROW(read_connections, number, "WEBHOOK_READ_CONNECTIONS", "4", 1, 100, P,                          \
    "PostgreSQL connections that one process keeps for the API, apart from intake's.")             \
ROW(read_timeout_ms, time, "WEBHOOK_READ_TIMEOUT", "5s", 100, 5 * MS_MINUTE, P,                    \
    "Time for answering a question of the API; beyond it 503.")                                    \
ROW(metrics_buffer, number, "WEBHOOK_METRICS_BUFFER", "65536", 0, 16777216, P | W,                 \
    "Measurements that wait in memory for PostgreSQL; 0 = none are taken.")                        \
ROW(metrics_sample, fraction, "WEBHOOK_METRICS_SAMPLE", "1.0", 0, 1000000, P,                      \
    "Share of the requests without an error that are measured.")                                   \
ROW(rejects_kept, number, "WEBHOOK_REJECTS_KEPT", "1000", 0, 100000, P,                            \
    "Refused webhooks that Redis keeps for people to see; 0 = none.")                              \
                                                                                                   \
ROW(dashboard, on_off, "WEBHOOK_DASHBOARD", "on", 0, 1, P,                                         \
    "Serve the dashboard at /dashboard.")                                                          \
                                                                                                   \
GROUP("Health, metrics and traces for monitoring")                                                 \
ROW(admin_host, text, "WEBHOOK_ADMIN_HOST", "0.0.0.0", 1, 255, P | W | C,                          \
    "Address of the ports for monitoring.")                                                        \
ROW(admin_port, number, "WEBHOOK_ADMIN_PORT", "52110", 0, 65535, W | C,                            \
    "Port of the worker's /metrics, /livez, /readyz, /startupz; 0 = none.")                        \
ROW(producer_admin_port, number, "WEBHOOK_PRODUCER_ADMIN_PORT", "0", 0, 65535, P | C,              \
    "Port of the producer's; 0: they are on WEBHOOK_PORT, /metrics with the API's secret.")        \
ROW(otlp_endpoint, web_url, "OTEL_EXPORTER_OTLP_ENDPOINT", NULL, 1, 2048, P | W,           \
    "OpenTelemetry collector that gets spans over HTTP; not set: none are made.")                  \
ROW(otlp_headers, api_key, "OTEL_EXPORTER_OTLP_HEADERS", "", 0, 8192, P | W,                       \
    "Headers for it: name=value, with commas between, values percent-encoded.")                    \
ROW(otel_service_name, text, "OTEL_SERVICE_NAME", "hookline", 1, 255, P | W,                       \
    "What traces call this installation.")                                                         \
ROW(log_burst, number, "WEBHOOK_LOG_BURST", "200", 0, 1000000, P | W,                              \
    "Log lines of one event and process in ten seconds; further ones are counted; 0 = any number.")\
                                                                                                   \
GROUP("Work")                                                                                      \
ROW(workers, number, "WEBHOOK_WORKERS", "0", 0, 256, W,                                            \
    "Worker processes; 0 is one for each core that the cgroup's quota leaves.")                    \
ROW(concurrency, number, "WEBHOOK_CONCURRENCY", "64", 1, 16384, W,                                 \
    "Jobs that one worker process has in hand.")                                                   \
ROW(scraper, scraper, "WEBHOOK_SCRAPER", "firecrawl", 0, 0, W,                                 \
    "Who fetches a changed page: Firecrawl, or the worker itself.")                                \
ROW(index, index, "WEBHOOK_INDEX", "postgres", 0, 0, W,                                    \
    "Where fetched pages are indexed.")                                                            \
ROW(firecrawl_api_url, web_url, "WEBHOOK_FIRECRAWL_API_URL FIRECRAWL_API_URL",                     \
    "http://firecrawl:3002", 1, 2048, W,                                                       \
    "Firecrawl's address.")                                                                        \
ROW(firecrawl_api_key, api_key, "WEBHOOK_FIRECRAWL_API_KEY FIRECRAWL_API_KEY",                     \
    "self-hosted-no-auth", 0, 4096, W,                                                         \
    "Firecrawl's key.")                                                                            \
ROW(firecrawl_proxy, text, "WEBHOOK_FIRECRAWL_PROXY", "basic", 0, 64, W,                           \
    "Firecrawl's choice of proxy; empty leaves it out of the request.")                            \
ROW(direct_allow_private, bool, "WEBHOOK_DIRECT_ALLOW_PRIVATE", "false", 0, 1, W,              \
    "Let the direct scraper fetch from private and loopback addresses.")                           \
ROW(direct_max_bytes, size, "WEBHOOK_DIRECT_MAX_BYTES", "5m", 64 * KIB, 64 * MIB, W,               \
    "Largest page the direct scraper takes.")                                                      \
ROW(scrape_timeout_ms, time, "WEBHOOK_SCRAPE_TIMEOUT", "2m", MS_SECOND, 15 * MS_MINUTE, W,         \
    "Time for fetching one page.")                                                                 \
ROW(job_timeout_ms, time, "WEBHOOK_JOB_TIMEOUT", "15m", 10 * MS_SECOND, 24 * MS_HOUR, W | C,   \
    "Age at which a job in progress is taken from its worker.")                                    \
ROW(max_attempts, number, "WEBHOOK_MAX_ATTEMPTS", "5", 1, 100, W,                              \
    "Failed attempts after which a job is a dead letter.")                                         \
ROW(max_starts, number, "WEBHOOK_MAX_STARTS", "5", 1, 100, W | C,                              \
    "Starts without a result after which a job is a dead letter.")                                 \
ROW(retry_base_ms, time, "WEBHOOK_RETRY_BASE", "5s", MS_SECOND, MS_HOUR, W,                    \
    "Pause before the first retry; it doubles with each.")                                         \
ROW(retry_max_ms, time, "WEBHOOK_RETRY_MAX", "15m", MS_SECOND, 24 * MS_HOUR, W,                \
    "Longest pause between retries.")                                                              \
ROW(supersede, on_off, "WEBHOOK_SUPERSEDE", "on", 0, 1, W,                                         \
    "One fetch answers all events of its page that were accepted before it began.")                \
ROW(breaker_failures, number, "WEBHOOK_BREAKER_FAILURES", "5", 0, 1000, W,                         \
    "Failures in a row after which an upstream host is left alone; 0 = never.")                    \
ROW(breaker_pause_ms, time, "WEBHOOK_BREAKER_PAUSE", "30s", MS_SECOND, MS_HOUR, W,                 \
    "How long it is left alone before one job tries it again.")                                    \
ROW(direct_per_host, number, "WEBHOOK_DIRECT_PER_HOST", "4", 1, 1024, W,                           \
    "Pages that one process fetches from one host at once (direct scraper).")                      \
                                                                                                   \
GROUP("Crawls")                                                                                    \
ROW(crawl_concurrency, number, "WEBHOOK_CRAWL_CONCURRENCY", "16", 1, 1024, W,                      \
    "Events of Firecrawl's that one worker process has in hand.")                                  \
ROW(crawl_reconcile, on_off, "WEBHOOK_CRAWL_RECONCILE", "on", 0, 1, W,                             \
    "Ask Firecrawl for pages of a crawl whose webhooks never came.")                               \
ROW(crawl_quiet_ms, time, "WEBHOOK_CRAWL_QUIET", "10m", MS_SECOND, 24 * MS_HOUR, W,                \
    "How long a crawl that has not ended may be silent before Firecrawl is asked.")                \
                                                                                                   \
GROUP("Retention")                                                                                 \
ROW(retention_every_ms, time, "WEBHOOK_RETENTION_EVERY", "1h", MS_MINUTE, 168 * MS_HOUR, W,        \
    "How often what is too old is deleted.")                                                       \
ROW(crawl_retention_days, number, "WEBHOOK_CRAWL_RETENTION_DAYS", "0", 0, 36500, W,                \
    "Days that ended crawls and their pages are kept; 0 = for ever.")                              \
ROW(retention_days, number, "WEBHOOK_RETENTION_DAYS", "90", 0, 36500, W,                           \
    "Days that metrics are kept; 0 = for ever.")                                                   \
ROW(event_retention_days, number, "WEBHOOK_EVENT_RETENTION_DAYS", "0", 0, 36500, W | C,            \
    "Days that finished change events are kept; 0 = for ever.")                                    \
ROW(document_retention_days, number, "WEBHOOK_DOCUMENT_RETENTION_DAYS", "0", 0, 36500, W,          \
    "Days that a document is kept after its page was last fetched; 0 = for ever.")                 \
                                                                                                   \
GROUP("Processes")                                                                                 \
ROW(lease_ms, time, "WEBHOOK_LEASE_SECONDS", "30s", 2 * MS_SECOND, MS_HOUR, W | C,         \
    "A worker process silent for this long is dead.")                                              \
ROW(watchdog_ms, time_or_off, "WEBHOOK_WATCHDOG_SECONDS", "30s", MS_SECOND, MS_HOUR, P | W,        \
    "A process whose loop stands still for this long is killed; 0 = never.")                       \
ROW(ready_timeout_ms, time_or_off, "WEBHOOK_READY_TIMEOUT", "30s", MS_SECOND, MS_HOUR, P | W,      \
    "A new process whose loop does not run within this time is killed; 0 = never.")                \
ROW(max_jobs, number, "WEBHOOK_MAX_JOBS_PER_PROCESS", "0", 0, 1000000000, W,                       \
    "Jobs after which a worker process is replaced; 0 = never.")                                   \
ROW(max_rss, size_or_off, "WEBHOOK_MAX_RSS", "0", 16 * MIB, 1024 * GIB, W,                         \
    "Memory beyond which a worker process is replaced; 0 = never.")                                \
ROW(drain_timeout_ms, time, "WEBHOOK_DRAIN_TIMEOUT", "130s", 0, MS_HOUR, W,                    \
    "Time that work in hand gets after SIGTERM.")                                                  \
ROW(drain_delay_ms, time, "WEBHOOK_DRAIN_DELAY", "0", 0, 5 * MS_MINUTE, P,                         \
    "How long after SIGTERM a producer takes everything as before, not ready, until it drains.")   \
ROW(termination_grace_ms, time, "WEBHOOK_TERMINATION_GRACE", "0", 0, 2 * MS_HOUR, P | W,           \
    "What whoever stops us waits between SIGTERM and SIGKILL; too short warns; 0 = not known.")    \
                                                                                                   \
GROUP("PostgreSQL connections")                                                                    \
ROW(db_pool_size, number, "WEBHOOK_DB_POOL_SIZE", "20", 1, 1000, P | W,                        \
    "Connections that one process keeps.")                                                         \
ROW(db_max_overflow, number, "WEBHOOK_DB_MAX_OVERFLOW", "10", 0, 1000, P | W,                  \
    "Connections beyond that, under load.")                                                        \
ROW(db_pool_timeout_ms, time, "WEBHOOK_DB_POOL_TIMEOUT", "30s", 100, 10 * MS_MINUTE, P | W,    \
    "How long a statement waits for a free connection.")                                           \
ROW(db_pre_ping_after_ms, time, "WEBHOOK_DB_PRE_PING_AFTER", "5s", 0, MS_HOUR, P | W,          \
    "A connection idle for longer is tested before use; 0 = always.")                              \
ROW(db_max_age_ms, time, "WEBHOOK_DB_MAX_AGE", "1h", MS_SECOND, 168 * MS_HOUR, P | W,          \
    "Age at which a connection is replaced.")                                                      \
ROW(db_connect_timeout_ms, time, "WEBHOOK_DB_CONNECT_TIMEOUT", "5s", 100, 5 * MS_MINUTE,           \
    P | W | C,                                                                                     \
    "Time for connecting.")                                                                        \
ROW(db_statement_timeout_ms, time, "WEBHOOK_DB_STATEMENT_TIMEOUT", "30s", 100, MS_HOUR,            \
    P | W | C,                                                                                     \
    "Time for one transaction.")                                                                   \
ROW(db_prepared, on_off, "WEBHOOK_DB_PREPARED", "on", 0, 1, P | W,                             \
    "Prepare statements; off for PgBouncer before 1.21 in transaction mode.")
/* clang-format on */

#endif
