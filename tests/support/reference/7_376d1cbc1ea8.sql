ALTER TABLE webhook.operation_metrics ADD CONSTRAINT fk_operation_metrics_crawl_id
    FOREIGN KEY (crawl_id) REFERENCES webhook.crawl_sessions (crawl_id) ON DELETE SET NULL;
UPDATE public.alembic_version SET version_num = '376d1cbc1ea8';
