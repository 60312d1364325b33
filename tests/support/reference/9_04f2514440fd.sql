CREATE TABLE webhook.scraped_content (
    id bigserial PRIMARY KEY,
    crawl_session_id varchar(255) NOT NULL CONSTRAINT fk_scraped_content_crawl_session
        REFERENCES webhook.crawl_sessions (job_id) ON DELETE CASCADE,
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
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT uq_content_per_session_url UNIQUE (crawl_session_id, url, content_hash)
);
CREATE INDEX idx_scraped_content_url ON webhook.scraped_content (url);
CREATE INDEX idx_scraped_content_session ON webhook.scraped_content (crawl_session_id);
CREATE INDEX idx_scraped_content_hash ON webhook.scraped_content (content_hash);
CREATE INDEX idx_scraped_content_created ON webhook.scraped_content (created_at);
CREATE INDEX idx_scraped_content_url_created ON webhook.scraped_content (url, created_at DESC);
UPDATE public.alembic_version SET version_num = '04f2514440fd';
