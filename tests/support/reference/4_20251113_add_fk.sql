ALTER TABLE webhook.request_metrics ADD CONSTRAINT uq_request_metrics_request_id UNIQUE (request_id);
ALTER TABLE webhook.operation_metrics ADD CONSTRAINT fk_operation_metrics_request_id
    FOREIGN KEY (request_id) REFERENCES webhook.request_metrics (request_id) ON DELETE SET NULL;
UPDATE public.alembic_version SET version_num = '20251113_add_fk';
