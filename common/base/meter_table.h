/* meter_table: every Prometheus metric that a process counts or measures, one row each: the only place
 * that knows its name, labels, buckets and meaning. Names by Prometheus' conventions: base units,
 * _total, _seconds, _bytes. Labels are closed lists: never a URL, an id or a host.
 *
 *     COUNTER(id, who, name, label a, label b, help)
 *     GAUGE(id, who, name, label a, label b, how, help)
 *     HISTOGRAM(id, who, name, label a, label b, buckets, help)
 *
 * who    the programs that have it: P, W or PW
 * how    SUM or MAX of the processes, or EACH: one series a process, labelled process="worker-0"
 * A histogram is told microseconds, or units where its buckets say so.
 *
 * A label is NONE or the name of a list of METER_LABELS. Counters and histograms go on when a process
 * is replaced; gauges are those of living processes. */
#ifndef HL_BASE_METER_TABLE_H
#define HL_BASE_METER_TABLE_H

/* LABEL(list, its label's name, values): meters are addressed by enum { list_value, ... }. */
/* clang-format off */
#define METER_LABELS(LABEL)                                                                        \
LABEL(NONE, "", V(NONE, none, ""))                                                                 \
LABEL(SOURCE, "source",                                                                            \
    V(SOURCE, CHANGE, "change") V(SOURCE, CRAWL, "crawl"))                                         \
LABEL(REASON, "reason",                                                                            \
    V(REASON, CREDENTIALS, "credentials") V(REASON, SIGNATURE, "signature")                        \
    V(REASON, TOKEN, "token") V(REASON, TIMESTAMP, "timestamp") V(REASON, PAYLOAD, "payload")      \
    V(REASON, CONFLICT, "conflict") V(REASON, TOO_LARGE, "too_large")                              \
    V(REASON, SLOW, "slow") V(REASON, PROTOCOL, "protocol") V(REASON, FENCED, "fenced")            \
    V(REASON, BUSY, "busy") V(REASON, UNAVAILABLE, "unavailable") V(REASON, OTHER, "other"))       \
LABEL(SAFE, "safe_in",                                                                             \
    V(SAFE, ROW, "row") V(SAFE, SPOOL, "spool") V(SAFE, REDIS, "redis"))                           \
LABEL(OUTCOME, "outcome",                                                                          \
    V(OUTCOME, COMPLETED, "completed") V(OUTCOME, RETRIED, "retried")                              \
    V(OUTCOME, FAILED, "failed") V(OUTCOME, RELEASED, "released") V(OUTCOME, LOST, "lost")         \
    V(OUTCOME, NOTHING, "nothing_to_do"))                                                          \
LABEL(CRAWLED, "outcome",                                                                          \
    V(CRAWLED, DONE, "done") V(CRAWLED, DEAD, "dead") V(CRAWLED, RETURNED, "returned"))            \
LABEL(PHASE, "phase",                                                                              \
    V(PHASE, WAIT, "wait") V(PHASE, CLAIM, "claim") V(PHASE, SCRAPE, "scrape")                     \
    V(PHASE, INDEX, "index") V(PHASE, COMPLETE, "complete") V(PHASE, FAIL, "fail")                 \
    V(PHASE, SETTLE, "settle"))                                                                    \
LABEL(FETCH, "outcome",                                                                            \
    V(FETCH, OK, "ok") V(FETCH, THROTTLED, "throttled") V(FETCH, UPSTREAM, "upstream_error")       \
    V(FETCH, TIMEOUT, "timeout") V(FETCH, CONNECTION, "connection") V(FETCH, PAGE, "page_error")   \
    V(FETCH, REFUSED, "refused"))                                                                  \
LABEL(STATEMENT, "kind",                                                                           \
    V(STATEMENT, ACCEPT, "accept") V(STATEMENT, CLAIM, "claim")                                    \
    V(STATEMENT, COMPLETE, "complete") V(STATEMENT, SETTLE, "settle")                              \
    V(STATEMENT, PUBLISH, "publish") V(STATEMENT, REQUEUE, "requeue") V(STATEMENT, ACK, "ack")     \
    V(STATEMENT, BURY, "bury") V(STATEMENT, METRICS, "metrics") V(STATEMENT, SPOOL, "spool")       \
    V(STATEMENT, CRAWL, "crawl"))                                                                  \
LABEL(POOL, "pool",                                                                                \
    V(POOL, WORK, "work") V(POOL, READS, "reads") V(POOL, LEASE, "lease"))                         \
LABEL(USE, "state",                                                                                \
    V(USE, BUSY, "busy") V(USE, IDLE, "idle") V(USE, WAITING, "waiting"))                          \
LABEL(REFUSAL, "reason",                                                                           \
    V(REFUSAL, EXHAUSTED, "exhausted") V(REFUSAL, UNREACHABLE, "unreachable")                      \
    V(REFUSAL, REFUSED, "refused") V(REFUSAL, READ_ONLY, "read_only")                              \
    V(REFUSAL, TIMED_OUT, "timed_out"))                                                            \
LABEL(STATE, "state",                                                                              \
    V(STATE, OPEN, "open") V(STATE, HALF_OPEN, "half_open"))                                       \
LABEL(QUEUED, "queue",                                                                             \
    V(QUEUED, CHANGE, "change") V(QUEUED, CRAWL, "crawl"))                                         \
LABEL(PLACE, "place",                                                                              \
    V(PLACE, UNDELIVERED, "undelivered") V(PLACE, DELIVERED, "delivered")                          \
    V(PLACE, LATER, "later"))                                                                      \
LABEL(FATE, "fate",                                                                                \
    V(FATE, WRITTEN, "written") V(FATE, DROPPED, "dropped") V(FATE, REFUSED, "refused"))           \
LABEL(LEVEL, "level",                                                                              \
    V(LEVEL, DEBUG, "debug") V(LEVEL, INFO, "info") V(LEVEL, WARN, "warn") V(LEVEL, ERROR, "error"))

/* BUCKETS(name, scale, bounds...): scale: of one unit observed, in units of the bounds. */
#define METER_BUCKETS(BUCKETS)                                                                     \
BUCKETS(QUICK, 1e-6, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)              \
BUCKETS(PHASES, 1e-6, 0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)               \
BUCKETS(LATENCY, 1e-6, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600, 14400)    \
BUCKETS(SIZES, 1, 1, 2, 4, 8, 16, 32, 64, 128, 256)

#define METERS(COUNTER, GAUGE, HISTOGRAM)                                                          \
COUNTER(ACCEPTED, P, "hookline_webhooks_accepted_total", SOURCE, SAFE,                             \
    "Webhooks answered 202 the first time, and where they were safe by then.")                     \
COUNTER(DUPLICATES, P, "hookline_webhooks_duplicate_total", SOURCE, NONE,                          \
    "Webhooks answered 2xx that had come before.")                                                 \
COUNTER(REFUSED, P, "hookline_webhooks_refused_total", SOURCE, REASON,                             \
    "Webhooks answered with an error, by reason.")                                                 \
HISTOGRAM(ACCEPT, P, "hookline_webhook_accept_seconds", SOURCE, NONE, QUICK,                       \
    "Time from the first byte of a webhook to its 2xx: by then it is safe.")                       \
COUNTER(REQUESTS, P, "hookline_http_requests_total", NONE, NONE,                                   \
    "Requests answered, of any kind.")                                                             \
GAUGE(CONNECTIONS, P, "hookline_http_connections", NONE, NONE, SUM,                                \
    "Connections open to clients.")                                                                \
GAUGE(STREAMS, P, "hookline_live_streams", NONE, NONE, SUM,                                        \
    "Pages of the dashboard that are shown live.")                                                 \
GAUGE(IN_MEMORY, P, "hookline_webhooks_in_memory", SOURCE, NONE, SUM,                              \
    "Webhooks taken in and not answered, or not yet where they belong.")                           \
GAUGE(CAN_ACCEPT, P, "hookline_intake_can_accept", NONE, NONE, EACH,                               \
    "1: this process can take an event in durably now.")                                           \
GAUGE(SPOOL_BYTES, P, "hookline_spool_bytes", SOURCE, NONE, MAX,                                   \
    "Bytes of events in the spool folder that wait for their way home.")                           \
GAUGE(SPOOL_OLDEST, P, "hookline_spool_oldest_seconds", SOURCE, NONE, MAX,                         \
    "For how long the spool has held records without a break; 0 when it is empty.")                \
GAUGE(QUEUE_JOBS, PW, "hookline_queue_jobs", QUEUED, PLACE, MAX,                                   \
    "Jobs in Redis, by where they stand; as one process of this fleet last saw it.")               \
GAUGE(DEAD_LETTERS, PW, "hookline_dead_letters", NONE, NONE, MAX,                                  \
    "Dead letters in Redis, of both queues; as one process of this fleet last saw them.")          \
GAUGE(QUEUE_OLDEST, PW, "hookline_queue_oldest_seconds", QUEUED, NONE, MAX,                        \
    "How long the event has been due that has been due longest.")                                  \
GAUGE(QUEUE_PAUSED, PW, "hookline_queue_paused", QUEUED, NONE, MAX,                                \
    "1: an operator has paused the queue.")                                                        \
GAUGE(IN_FLIGHT, W, "hookline_jobs_in_flight", QUEUED, NONE, SUM,                                  \
    "Jobs that worker processes have in hand.")                                                    \
GAUGE(OLDEST_JOB, W, "hookline_job_oldest_seconds", NONE, NONE, MAX,                               \
    "Age of the oldest job in hand.")                                                              \
COUNTER(JOBS, W, "hookline_jobs_total", OUTCOME, NONE,                                             \
    "Ends of jobs of change events, by outcome.")                                                  \
COUNTER(SUPERSEDED, W, "hookline_events_superseded_total", NONE, NONE,                             \
    "Events answered by a later fetch of their page.")                                             \
COUNTER(CRAWL_JOBS, W, "hookline_crawl_jobs_total", CRAWLED, NONE,                                 \
    "Ends of jobs of Firecrawl's events, by outcome.")                                             \
COUNTER(CRAWL_PAGES, W, "hookline_crawl_pages_total", NONE, NONE,                                  \
    "Pages of crawls that were stored.")                                                           \
HISTOGRAM(PHASE, W, "hookline_job_phase_seconds", PHASE, NONE, PHASES,                             \
    "Time of the steps of jobs of change events; wait: from when it was due to its claim.")        \
HISTOGRAM(EVENT, W, "hookline_event_seconds", NONE, NONE, LATENCY,                                 \
    "Time from an event's acceptance to its completion.")                                          \
COUNTER(FETCHES, W, "hookline_fetches_total", FETCH, NONE,                                         \
    "Pages asked for, by what came of it.")                                                        \
COUNTER(FENCED_WRITES, W, "hookline_fenced_writes_total", NONE, NONE,                              \
    "Results refused because the event was no longer this worker's.")                              \
COUNTER(ZOMBIES, W, "hookline_zombies_recovered_total", NONE, NONE,                                \
    "Events taken back from workers that were dead, gone or too late.")                            \
COUNTER(DEAD_WORKERS, W, "hookline_workers_declared_dead_total", NONE, NONE,                       \
    "Worker processes that this fleet's janitor declared dead.")                                   \
COUNTER(REPUBLISHED, W, "hookline_jobs_republished_total", NONE, NONE,                             \
    "Jobs put into Redis again from their rows.")                                                  \
GAUGE(LEASE_AGE, W, "hookline_lease_age_seconds", NONE, NONE, EACH,                                \
    "Time since the worker process renewed its lease.")                                            \
HISTOGRAM(BATCH, PW, "hookline_batch_size", STATEMENT, NONE, SIZES,                                \
    "Requests that went out in one flush.")                                                        \
HISTOGRAM(FLUSH, PW, "hookline_batch_flush_seconds", STATEMENT, NONE, QUICK,                       \
    "Time of one flush, from sending it to its answer.")                                           \
GAUGE(POOL, PW, "hookline_pool_connections", POOL, USE, SUM,                                       \
    "Connections to PostgreSQL by what they do; and who waits for one.")                           \
GAUGE(POOL_MAX, PW, "hookline_pool_connections_max", POOL, NONE, SUM,                              \
    "Connections to PostgreSQL that may be open.")                                                 \
HISTOGRAM(POOL_WAIT, PW, "hookline_pool_wait_seconds", POOL, NONE, QUICK,                          \
    "How long a unit of work waited for its connection.")                                          \
COUNTER(POOL_REFUSED, PW, "hookline_pool_refused_total", POOL, REFUSAL,                            \
    "Units of work that got no connection, or no answer in time.")                                 \
GAUGE(BREAKER, W, "hookline_circuits", STATE, NONE, MAX,                                           \
    "Upstream hosts whose circuit is open, or half open.")                                         \
COUNTER(MEASUREMENTS, PW, "hookline_measurements_total", FATE, NONE,                               \
    "Rows for the metrics tables, by what became of them.")                                        \
COUNTER(SPANS, PW, "hookline_spans_total", FATE, NONE,                                             \
    "Spans for the collector, by what became of them.")                                            \
COUNTER(LOG_LINES, PW, "hookline_log_lines_total", LEVEL, NONE,                                    \
    "Log lines, those left out included.")                                                         \
HISTOGRAM(LOOP_LAG, PW, "hookline_loop_lag_seconds", NONE, NONE, QUICK,                            \
    "How late a timer of the event loop runs.")                                                    \
GAUGE(RSS, PW, "hookline_resident_bytes", NONE, NONE, EACH,                                        \
    "Memory that the process occupies.")
/* clang-format on */

#endif
