-- All tables as the replaced service's models declare them (reference contract section 3.4): no
-- alembic_version, no server defaults on events and sessions, no keys out of the metrics, other names.
CREATE SCHEMA webhook;
CREATE TABLE webhook.request_metrics (
    id uuid PRIMARY KEY,
    "timestamp" timestamptz NOT NULL,
    method varchar(10) NOT NULL,
    path varchar(500) NOT NULL,
    status_code integer NOT NULL,
    duration_ms float8 NOT NULL,
    request_id varchar(100),
    client_ip varchar(50),
    user_agent varchar(500),
    extra_metadata jsonb,
    created_at timestamptz NOT NULL
);
CREATE INDEX ix_webhook_request_metrics_timestamp ON webhook.request_metrics ("timestamp");
CREATE INDEX ix_webhook_request_metrics_request_id ON webhook.request_metrics (request_id);
CREATE TABLE webhook.operation_metrics (
    id uuid PRIMARY KEY,
    "timestamp" timestamptz NOT NULL,
    operation_type varchar(50) NOT NULL,
    operation_name varchar(100) NOT NULL,
    duration_ms float8 NOT NULL,
    success boolean NOT NULL,
    error_message text,
    request_id varchar(100),
    crawl_id varchar(255),
    job_id varchar(100),
    document_url varchar(500),
    extra_metadata jsonb,
    created_at timestamptz NOT NULL
);
CREATE INDEX ix_webhook_operation_metrics_timestamp ON webhook.operation_metrics ("timestamp");
CREATE INDEX ix_webhook_operation_metrics_crawl_id ON webhook.operation_metrics (crawl_id);
CREATE TABLE webhook.change_events (
    id serial PRIMARY KEY,
    watch_id varchar(255) NOT NULL,
    watch_url text NOT NULL,
    detected_at timestamptz NOT NULL,
    diff_summary text,
    snapshot_url text,
    rescrape_job_id varchar(255),
    rescrape_status varchar(50),
    indexed_at timestamptz,
    metadata jsonb,
    created_at timestamptz NOT NULL
);
CREATE INDEX ix_webhook_change_events_watch_id ON webhook.change_events (watch_id);
CREATE INDEX ix_webhook_change_events_detected_at ON webhook.change_events (detected_at);
CREATE TABLE webhook.crawl_sessions (
    id uuid PRIMARY KEY,
    job_id varchar(255) NOT NULL CONSTRAINT crawl_sessions_job_id_key UNIQUE,
    base_url varchar(500) NOT NULL,
    operation_type varchar(50) NOT NULL,
    started_at timestamptz NOT NULL,
    completed_at timestamptz,
    status varchar(50) NOT NULL,
    success boolean,
    total_urls integer NOT NULL,
    completed_urls integer NOT NULL,
    failed_urls integer NOT NULL,
    total_pages integer NOT NULL,
    pages_indexed integer NOT NULL,
    pages_failed integer NOT NULL,
    total_chunking_ms float8 NOT NULL,
    total_embedding_ms float8 NOT NULL,
    total_qdrant_ms float8 NOT NULL,
    total_bm25_ms float8 NOT NULL,
    duration_ms float8,
    initiated_at timestamptz,
    e2e_duration_ms float8,
    auto_index boolean NOT NULL,
    expires_at timestamptz,
    extra_metadata jsonb,
    error_message text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX ix_webhook_crawl_sessions_started_at ON webhook.crawl_sessions (started_at);
CREATE INDEX ix_webhook_crawl_sessions_status ON webhook.crawl_sessions (status);
CREATE TABLE webhook.scraped_content (
    id bigserial PRIMARY KEY,
    crawl_session_id varchar(255) NOT NULL REFERENCES webhook.crawl_sessions (job_id) ON DELETE CASCADE,
    url text NOT NULL,
    source_url text,
    content_source varchar(50) NOT NULL,
    markdown text,
    html text,
    links jsonb,
    screenshot text,
    metadata jsonb NOT NULL DEFAULT '{}',
    content_hash varchar(64) NOT NULL,
    scraped_at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_webhook_scraped_content_url ON webhook.scraped_content (url);
