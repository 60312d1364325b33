/* config: every setting of every program, from one table (config_table.h): names, aliases, default,
 * bounds, help. Sources, first wins: environment, --config FILE, .env in the working directory
 * (their form: envfile.h). Within a source the first alias present wins, even if empty; any
 * NAME_FILE twin gives the value in a file. Names in any case; unknown ones are ignored.
 * Reference contract section 6. */
#ifndef HL_BASE_CONFIG_H
#define HL_BASE_CONFIG_H

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"

#include <stdbool.h>
#include <stdint.h>

/* Which programs use a setting; a program demands and checks only its own. */
enum { CFG_PRODUCER = 1, CFG_WORKER = 2, CFG_CTL = 4, CFG_ALL = 7 };

enum cfg_ack { ACK_BOTH, ACK_QUEUE };
enum cfg_scraper { SCRAPER_FIRECRAWL, SCRAPER_DIRECT };
enum cfg_index { INDEX_POSTGRES, INDEX_NONE };

/* Strings are owned by the config; durations in ms, sizes in bytes. One field per table row. */
struct config {
    char *host;
    int64_t port;
    char *webhook_secret;          /* NULL when not given */
    char *webhook_secret_previous; /* NULL = none */
    char *intake_token;            /* NULL = off */
    char *api_secret;              /* NULL: the API is closed */
    char *api_secret_readonly;     /* NULL = none */
    bool dashboard;
    char *admin_host;
    int64_t admin_port;          /* 0 = none */
    int64_t producer_admin_port; /* 0 = on port */
    char *otlp_endpoint;         /* NULL: no spans */
    char *otlp_headers;
    char *otel_service_name;
    int64_t log_burst; /* 0 = no limit */
    char *redis_url;
    char *database_url; /* +asyncpg and the like already stripped */
    int64_t log_level;  /* enum log_level */
    int64_t log_format; /* enum log_format */
    bool test_mode;
    int64_t producers; /* processes; 0 = one per core */
    int64_t workers;
    char *cors_origins; /* JSON array, list with commas, or "*"; "" = none given */
    int64_t rate_limit; /* requests a minute; 0 = no limit */
    int64_t read_connections;
    int64_t read_timeout_ms;
    int64_t metrics_buffer; /* records; 0 = no metrics */
    int64_t metrics_sample; /* millionths */
    int64_t rejects_kept;   /* 0 = none */
    int64_t crawl_concurrency;
    bool crawl_reconcile;
    int64_t crawl_quiet_ms;
    int64_t retention_every_ms, crawl_retention_days;
    int64_t retention_days, event_retention_days, document_retention_days; /* 0 = for ever */
    int64_t concurrency;
    int64_t ack;     /* enum cfg_ack */
    int64_t scraper; /* enum cfg_scraper */
    int64_t index;   /* enum cfg_index */
    char *firecrawl_api_url;
    char *firecrawl_api_key;
    char *firecrawl_schema; /* NULL = nuq, then public */
    char *firecrawl_proxy;  /* "" leaves the field out of the request */
    bool direct_allow_private;
    int64_t direct_max_bytes;
    int64_t scrape_timeout_ms;
    int64_t lease_ms;
    int64_t watchdog_ms; /* 0 = off */
    int64_t job_timeout_ms;
    int64_t max_attempts;
    int64_t max_starts;
    int64_t retry_base_ms;
    int64_t retry_max_ms;
    bool supersede;
    int64_t breaker_failures; /* 0 = no breaker */
    int64_t breaker_pause_ms;
    int64_t direct_per_host;
    int64_t ready_timeout_ms; /* 0 = off */
    int64_t max_jobs;         /* 0 = no limit */
    int64_t max_rss;          /* bytes; 0 = no limit */
    int64_t drain_timeout_ms;
    int64_t drain_delay_ms;       /* 0 = none */
    int64_t termination_grace_ms; /* 0 = not known */
    char *spool_dir;
    int64_t spool_max_bytes;
    int64_t dedup_window_ms; /* 0 = off */
    char *receipts_dir;      /* NULL = none */
    int64_t db_pool_size;
    int64_t db_max_overflow;
    int64_t db_pool_timeout_ms;
    int64_t db_pre_ping_after_ms;
    int64_t db_max_age_ms;
    int64_t db_connect_timeout_ms;
    int64_t db_statement_timeout_ms;
    bool db_prepared;
    char *queue_prefix;
    int64_t max_body_bytes;
    int64_t crawl_max_body_bytes;
    int64_t max_buffered_bytes;
    int64_t max_header_bytes;
    int64_t max_connections;
    int64_t header_timeout_ms;
    int64_t body_timeout_ms;
    int64_t idle_timeout_ms;

    char **origins; /* config.c's own: where the value of each row came from */
};

/* What the command line said besides settings. */
struct config_args {
    bool help, version, print_config;
    const char *config_file; /* NULL = none; borrowed from argv */
    int rest;                /* index of the first argument that config did not take */
};

/* Parses the common options: --help/-h, --version/-V, --print-config, --config FILE/--config=FILE.
 * Stops at the first argument it does not know (a verb, a verb's flag): args->rest. */
enum hl_rc config_args(int argc, char **argv, struct config_args *args, struct hl_err *err);

/* Fills *cfg for `program` (one CFG_ bit); settings of other programs get their defaults. On
 * trouble returns HL_FATAL, leaves nothing to release and appends one line per fault to `faults`:
 * variable and where it was given, what is wrong with its value (secrets never shown), what is
 * allowed. Several faults are reported together. env: NULL-terminated like environ. */
enum hl_rc config_load(
    struct config *cfg, int program, const char *config_file, char **env, struct buf *faults);
/* For whoever looks at settings and does not work by them: what is faulty is as if it were not given,
 * what is needed may be missing. *cfg is to be released either way; HL_FATAL: there are faults. */
enum hl_rc config_look(
    struct config *cfg, int program, const char *config_file, char **env, struct buf *faults);
void config_release(struct config *cfg);

/* Table of the settings of `program` for --help: name, aliases, default, range, meaning. */
void config_help(int program, struct buf *out);
/* NAME=value lines of `program`'s settings, secrets and passwords in URLs masked, each with where
 * its value came from as a comment. */
void config_print(const struct config *cfg, int program, struct buf *out);
/* One setting; all texts are borrowed during the callback. */
struct config_item {
    const char *group, *name, *aliases; /* aliases: separated by blanks, "" = none */
    const char *value;                  /* as config_print has it; NULL = not set */
    const char *origin;                 /* where it was given, or "default"; NULL = not set */
    const char *def, *allowed, *help;   /* def: NULL = none */
    int users;                          /* CFG_ bits */
    bool hidden;                        /* its value is a secret */
};
typedef void config_each_fn(const struct config_item *item, void *ctx);
/* Every setting of `program`, in the order of the table. */
void config_each(const struct config *cfg, int program, config_each_fn *each, void *ctx);
/* The annotated sample file: every setting commented out with its default and help. */
void config_sample(struct buf *out);

/* One duration ("250ms", "90", "15m", "1h"; a bare number is seconds) to ms; false when malformed.
 * One size ("1048576", "512k", "1m", "2g"; binary multiples) to bytes. Exposed for flags. */
bool config_duration(const char *s, int64_t *ms);
bool config_size(const char *s, int64_t *bytes);

#endif
