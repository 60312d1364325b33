-- The tables of the service that Hookline replaces, under the names, types, defaults and indexes it
-- gave them (reference contract section 3.1), so that whatever reads them today goes on reading.
-- Columns and indexes of our own are in the files that follow.
--
-- Two deliberate differences, both in the metrics tables: they are partitioned by day, so that
-- retention is a DROP TABLE and not a DELETE of millions of rows; and no foreign key leads into or
-- out of them. Metrics arrive in batches and out of order, and a key would drop a measurement whose
-- partner is late or lost. PostgreSQL wants the partition column in every unique constraint, so
-- "timestamp" is part of them.
--
-- Everything is IF NOT EXISTS: a table that is there already stays as it is. public.alembic_version
-- belongs to the reference and is never made here.

-- Not CREATE SCHEMA IF NOT EXISTS: that asks for the right to make schemas even where it has
-- nothing to do.
DO $$
BEGIN
    IF to_regnamespace('webhook') IS NULL THEN
        CREATE SCHEMA webhook;
    END IF;
END
$$;

-- --- one row per change notification, and the state of its rescrape ------------------------------

CREATE TABLE IF NOT EXISTS webhook.change_events (
    id              serial,
    watch_id        varchar(255) NOT NULL,
    watch_url       text         NOT NULL,
    detected_at     timestamptz  NOT NULL DEFAULT now(),
    diff_summary    text,
    snapshot_url    text,
    rescrape_job_id varchar(255),
    rescrape_status varchar(50),
    indexed_at      timestamptz,
    metadata        jsonb,
    created_at      timestamptz  NOT NULL DEFAULT now(),
    CONSTRAINT change_events_pkey PRIMARY KEY (id)
);
-- History of one watch, newest first: the list of events filtered by watch_id.
CREATE INDEX IF NOT EXISTS idx_change_events_watch_id ON webhook.change_events (watch_id);
-- Latest changes over all watches, and retention by age.
CREATE INDEX IF NOT EXISTS idx_change_events_detected_at ON webhook.change_events (detected_at);

-- --- one row per Firecrawl job -------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS webhook.crawl_sessions (
    id                 uuid             NOT NULL,
    job_id             varchar(255)     NOT NULL,
    base_url           varchar(500)     NOT NULL,
    started_at         timestamptz      NOT NULL,
    completed_at       timestamptz,
    status             varchar(50)      NOT NULL DEFAULT 'in_progress',
    success            boolean,
    total_pages        integer          NOT NULL DEFAULT 0,
    pages_indexed      integer          NOT NULL DEFAULT 0,
    pages_failed       integer          NOT NULL DEFAULT 0,
    total_chunking_ms  double precision NOT NULL DEFAULT '0',
    total_embedding_ms double precision NOT NULL DEFAULT '0',
    total_qdrant_ms    double precision NOT NULL DEFAULT '0',
    total_bm25_ms      double precision NOT NULL DEFAULT '0',
    duration_ms        double precision,
    initiated_at       timestamptz,
    e2e_duration_ms    double precision,
    extra_metadata     jsonb,
    error_message      text,
    created_at         timestamptz      NOT NULL DEFAULT now(),
    operation_type     varchar(50)      NOT NULL,
    total_urls         integer          NOT NULL DEFAULT 0,
    completed_urls     integer          NOT NULL DEFAULT 0,
    failed_urls        integer          NOT NULL DEFAULT 0,
    auto_index         boolean          NOT NULL DEFAULT true,
    expires_at         timestamptz,
    updated_at         timestamptz      NOT NULL DEFAULT now(),
    CONSTRAINT crawl_sessions_pkey PRIMARY KEY (id),
    -- The column was once crawl_id; the constraint kept that name, and so do we.
    CONSTRAINT crawl_sessions_crawl_id_key UNIQUE (job_id)
);
-- The list of sessions, newest first.
CREATE INDEX IF NOT EXISTS ix_webhook_crawl_sessions_started_at
    ON webhook.crawl_sessions (started_at);
-- Sessions by state ("what is running?").
CREATE INDEX IF NOT EXISTS ix_webhook_crawl_sessions_status ON webhook.crawl_sessions (status);

-- --- one row per stored version of a crawled page ------------------------------------------------

CREATE TABLE IF NOT EXISTS webhook.scraped_content (
    id               bigserial,
    crawl_session_id varchar(255) NOT NULL,
    url              text         NOT NULL,
    source_url       text,
    content_source   varchar(50)  NOT NULL,
    markdown         text,
    html             text,
    links            jsonb,
    screenshot       text,
    metadata         jsonb        NOT NULL DEFAULT '{}',
    content_hash     varchar(64)  NOT NULL,
    scraped_at       timestamptz  NOT NULL DEFAULT now(),
    created_at       timestamptz  NOT NULL DEFAULT now(),
    updated_at       timestamptz  NOT NULL DEFAULT now(),
    CONSTRAINT scraped_content_pkey PRIMARY KEY (id),
    CONSTRAINT uq_content_per_session_url UNIQUE (crawl_session_id, url, content_hash),
    CONSTRAINT fk_scraped_content_crawl_session FOREIGN KEY (crawl_session_id)
        REFERENCES webhook.crawl_sessions (job_id) ON DELETE CASCADE
);
-- The reference's own readers: versions of a URL, pages of a session, look-up by hash, retention by
-- age, newest version of a URL.
CREATE INDEX IF NOT EXISTS idx_scraped_content_url     ON webhook.scraped_content (url);
CREATE INDEX IF NOT EXISTS idx_scraped_content_session
    ON webhook.scraped_content (crawl_session_id);
CREATE INDEX IF NOT EXISTS idx_scraped_content_hash    ON webhook.scraped_content (content_hash);
CREATE INDEX IF NOT EXISTS idx_scraped_content_created ON webhook.scraped_content (created_at);
CREATE INDEX IF NOT EXISTS idx_scraped_content_url_created
    ON webhook.scraped_content (url, created_at DESC);

-- --- one row per HTTP request --------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS webhook.request_metrics (
    id             uuid             NOT NULL,
    "timestamp"    timestamptz      NOT NULL,
    method         varchar(10)      NOT NULL,
    path           varchar(500)     NOT NULL,
    status_code    integer          NOT NULL,
    duration_ms    double precision NOT NULL,
    request_id     varchar(100),
    client_ip      varchar(50),
    user_agent     varchar(500),
    extra_metadata jsonb,
    created_at     timestamptz      NOT NULL,
    CONSTRAINT request_metrics_pkey PRIMARY KEY (id, "timestamp"),
    CONSTRAINT uq_request_metrics_request_id UNIQUE (request_id, "timestamp")
) PARTITION BY RANGE ("timestamp");
-- The filters of GET /api/metrics/requests and the sums of /api/metrics/summary: by time, method,
-- path, status and duration; request_id joins a request with its operations.
CREATE INDEX IF NOT EXISTS ix_request_metrics_timestamp
    ON webhook.request_metrics ("timestamp");
CREATE INDEX IF NOT EXISTS ix_request_metrics_method      ON webhook.request_metrics (method);
CREATE INDEX IF NOT EXISTS ix_request_metrics_path        ON webhook.request_metrics (path);
CREATE INDEX IF NOT EXISTS ix_request_metrics_status_code ON webhook.request_metrics (status_code);
CREATE INDEX IF NOT EXISTS ix_request_metrics_duration_ms ON webhook.request_metrics (duration_ms);
CREATE INDEX IF NOT EXISTS ix_request_metrics_request_id  ON webhook.request_metrics (request_id);

-- --- one row per timed pipeline step -------------------------------------------------------------

CREATE TABLE IF NOT EXISTS webhook.operation_metrics (
    id             uuid             NOT NULL,
    "timestamp"    timestamptz      NOT NULL,
    operation_type varchar(50)      NOT NULL,
    operation_name varchar(100)     NOT NULL,
    duration_ms    double precision NOT NULL,
    success        boolean          NOT NULL,
    error_message  text,
    request_id     varchar(100),
    job_id         varchar(100),
    document_url   varchar(500),
    extra_metadata jsonb,
    created_at     timestamptz      NOT NULL,
    crawl_id       varchar(255),
    CONSTRAINT operation_metrics_pkey PRIMARY KEY (id, "timestamp")
) PARTITION BY RANGE ("timestamp");
-- The filters of GET /api/metrics/operations: by time, type, name, duration, outcome, request, job
-- and document; crawl_id adds up the operations of a session when it completes.
CREATE INDEX IF NOT EXISTS ix_operation_metrics_timestamp
    ON webhook.operation_metrics ("timestamp");
CREATE INDEX IF NOT EXISTS ix_operation_metrics_operation_type
    ON webhook.operation_metrics (operation_type);
CREATE INDEX IF NOT EXISTS ix_operation_metrics_operation_name
    ON webhook.operation_metrics (operation_name);
CREATE INDEX IF NOT EXISTS ix_operation_metrics_duration_ms
    ON webhook.operation_metrics (duration_ms);
CREATE INDEX IF NOT EXISTS ix_operation_metrics_success    ON webhook.operation_metrics (success);
CREATE INDEX IF NOT EXISTS ix_operation_metrics_request_id
    ON webhook.operation_metrics (request_id);
CREATE INDEX IF NOT EXISTS ix_operation_metrics_job_id     ON webhook.operation_metrics (job_id);
CREATE INDEX IF NOT EXISTS ix_operation_metrics_document_url
    ON webhook.operation_metrics (document_url);
CREATE INDEX IF NOT EXISTS ix_webhook_operation_metrics_crawl_id
    ON webhook.operation_metrics (crawl_id);

-- The default partitions take every row whose day has no partition of its own, so that an insert
-- never fails for want of one. Skipped where the table was there before and is a plain one.
DO $$
DECLARE
    parent text;
BEGIN
    FOREACH parent IN ARRAY ARRAY['request_metrics', 'operation_metrics'] LOOP
        IF (SELECT relkind FROM pg_class
            WHERE oid = format('webhook.%I', parent)::regclass) = 'p' THEN
            EXECUTE format('CREATE TABLE IF NOT EXISTS webhook.%I PARTITION OF webhook.%I DEFAULT',
                parent || '_default', parent);
        END IF;
    END LOOP;
END
$$;
