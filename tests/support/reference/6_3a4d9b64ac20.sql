ALTER TABLE webhook.operation_metrics ADD COLUMN crawl_id varchar(255);
CREATE INDEX ix_webhook_operation_metrics_crawl_id ON webhook.operation_metrics (crawl_id);
UPDATE public.alembic_version SET version_num = '3a4d9b64ac20';
