/* store_sql: the statements of store.c, as data: what each is, which transaction of ARCHITECTURE.md
 * it belongs to, how many rows it answers. For store.c, and for the test that asks PostgreSQL how
 * it would run each of them. */
#ifndef HL_DOMAIN_STORE_SQL_H
#define HL_DOMAIN_STORE_SQL_H

#include "io/db.h"

enum store_rows {
    ROWS_NONE, /* nothing to read */
    ROWS_ONE,  /* exactly one */
    ROWS_EACH, /* one for each request of the flush */
    ROWS_ANY,  /* what there is, none included */
};

struct store_stmt {
    struct db_stmt db;
    const char *tx; /* T0, T1, T3a, T3b; or who runs it, as a transaction of its own */
    enum store_rows rows;
};

/* clang-format off */
#define STMT(name, transaction, expected, params, text)                                            \
    const struct store_stmt stmt_##name = {{#name, text, params}, transaction, expected}
/* clang-format on */

/* Ends with NULL. */
extern const struct store_stmt *const store_stmts[];

/* clang-format off */
#define STORE_STMTS(X)                                                                             \
    X(accept) X(lock_urls) X(claim) X(lock_due) X(claim_due) X(complete) X(settle)                 \
    X(audit_rows) X(audit_queued) X(audit_in_progress) X(audit_work)                               \
    X(register) X(renew) X(resign)                                                                 \
    X(workers) X(declare_dead) X(dead_workers) X(forget_worker) X(reap) X(identify) X(unpublished) \
    X(crash) X(next_suspect) X(prune_crashes) X(generation) X(announced)                           \
    X(partitions) X(prune_requests) X(prune_operations) X(prune_events) X(prune_documents)         \
    X(spool_note) X(spool_gone) X(list_spools)                                                     \
    X(upstreams) X(upstream_open) X(upstream_probe) X(upstream_result) X(forget_upstreams)         \
    X(schema_version) X(ping)                                                                      \
    X(metrics_manners) X(metrics_requests) X(metrics_requests_again)                               \
    X(metrics_operations) X(metrics_operations_again)                                              \
    X(count_by_status) X(list_workers) X(search) X(list_upstreams)                                 \
    X(read_requests) X(read_operations) X(read_summary) X(read_crawl) X(read_crawl_steps)          \
    X(crawl_lock) X(crawl_keep) X(crawl_sum) X(crawl_due) X(crawl_take) X(crawl_missing)           \
    X(crawl_asked) X(prune_crawls)                                                                 \
    X(view_events) X(view_queued) X(view_held) X(view_watch) X(view_event) X(view_timeline)        \
    X(retry) X(view_crawls) X(view_queues) X(view_spools) X(view_workers) X(view_crashes)          \
    X(view_search) X(view_document) X(retention_hold) X(retention_done)                                             \
    X(operator_begin) X(operator_end)                                                              \
    X(orders) X(attend) X(fences) X(producer_left) X(neighbours) X(forget_producers)               \
    X(queue_orders) X(pause) X(fence) X(fleet) X(give_order) X(producers)                          \
    X(log_level) X(log_order) X(set_log_level) X(end_log_level)                                    \
    X(census) X(census_fleet) X(census_names) X(hasten)                            \
    X(retry_events) X(zombies)                                                                     \
    X(failed) X(failed_groups) X(failed_known) X(failed_again)                                                      \
    X(redrive_begin) X(redrive_add) X(redrive_planned) X(redrive_drop) X(redrives)                 \
    X(redrive_errors) X(redrive_items) X(redrive_state) X(redrive_take) X(redrive_apply)                           \
    X(top_queues) X(top_workers)                                                                   \
    X(trace)                                                                                       \
    X(doctor_server) X(doctor_fleet)                                                               \
    X(transfer_state) X(transfer_finished)                                                         \
    X(samples_add) X(prune_samples) X(prune_tallies) X(series) X(rates) X(sources)                 \
    X(upstreams_seen) X(system) X(glance) X(glance_fleet) X(glance_troubles)      \
    X(clock) X(finished)
/* clang-format on */

#define STORE_STMT_DECLARE(name) extern const struct store_stmt stmt_##name;
STORE_STMTS(STORE_STMT_DECLARE)

#endif
