-- Sessions of every kind of job. The unique constraint keeps the old name.
ALTER TABLE webhook.operation_metrics DROP CONSTRAINT fk_operation_metrics_crawl_id;
ALTER TABLE webhook.crawl_sessions RENAME COLUMN crawl_id TO job_id;
ALTER TABLE webhook.crawl_sessions RENAME COLUMN crawl_url TO base_url;
ALTER TABLE webhook.crawl_sessions
    ADD COLUMN operation_type varchar(50) NOT NULL DEFAULT 'crawl',
    ADD COLUMN total_urls integer NOT NULL DEFAULT 0,
    ADD COLUMN completed_urls integer NOT NULL DEFAULT 0,
    ADD COLUMN failed_urls integer NOT NULL DEFAULT 0,
    ADD COLUMN auto_index boolean NOT NULL DEFAULT true,
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now();
ALTER TABLE webhook.crawl_sessions ALTER COLUMN operation_type DROP DEFAULT;
ALTER TABLE webhook.operation_metrics ADD CONSTRAINT fk_operation_metrics_crawl_id
    FOREIGN KEY (crawl_id) REFERENCES webhook.crawl_sessions (job_id) ON DELETE SET NULL;
UPDATE public.alembic_version SET version_num = '413191e2eb2c';
