CREATE TABLE webhook.change_events (
    id serial PRIMARY KEY,
    watch_id varchar(255) NOT NULL,
    watch_url text NOT NULL,
    detected_at timestamptz NOT NULL DEFAULT now(),
    diff_summary text,
    snapshot_url text,
    rescrape_job_id varchar(255),
    rescrape_status varchar(50),
    indexed_at timestamptz,
    metadata jsonb,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_change_events_watch_id ON webhook.change_events (watch_id);
CREATE INDEX idx_change_events_detected_at ON webhook.change_events (detected_at);
UPDATE public.alembic_version SET version_num = '20251110_000000';
