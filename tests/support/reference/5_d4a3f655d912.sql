-- job_id and base_url under their first names.
CREATE TABLE webhook.crawl_sessions (
    id uuid PRIMARY KEY,
    crawl_id varchar(255) NOT NULL CONSTRAINT crawl_sessions_crawl_id_key UNIQUE,
    crawl_url varchar(500) NOT NULL,
    started_at timestamptz NOT NULL,
    completed_at timestamptz,
    status varchar(50) NOT NULL DEFAULT 'in_progress',
    success boolean,
    total_pages integer NOT NULL DEFAULT 0,
    pages_indexed integer NOT NULL DEFAULT 0,
    pages_failed integer NOT NULL DEFAULT 0,
    total_chunking_ms float8 NOT NULL DEFAULT '0',
    total_embedding_ms float8 NOT NULL DEFAULT '0',
    total_qdrant_ms float8 NOT NULL DEFAULT '0',
    total_bm25_ms float8 NOT NULL DEFAULT '0',
    duration_ms float8,
    initiated_at timestamptz,
    e2e_duration_ms float8,
    extra_metadata jsonb,
    error_message text,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_webhook_crawl_sessions_started_at ON webhook.crawl_sessions (started_at);
CREATE INDEX ix_webhook_crawl_sessions_status ON webhook.crawl_sessions (status);
UPDATE public.alembic_version SET version_num = 'd4a3f655d912';
