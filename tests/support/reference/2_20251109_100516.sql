-- The metrics tables move to schema webhook; their indexes keep their names.
CREATE SCHEMA webhook;
ALTER TABLE public.request_metrics SET SCHEMA webhook;
ALTER TABLE public.operation_metrics SET SCHEMA webhook;
UPDATE public.alembic_version SET version_num = '20251109_100516';
