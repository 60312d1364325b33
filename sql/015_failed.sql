-- no-transaction
-- Built CONCURRENTLY: the table may be large and in use. What an interrupted build left behind goes
-- first.

DO $$
BEGIN
    PERFORM set_config('lock_timeout', '3s', true);
    IF EXISTS (SELECT FROM pg_index
        WHERE indexrelid = to_regclass('webhook.change_events_failed_idx') AND NOT indisvalid) THEN
        DROP INDEX webhook.change_events_failed_idx;
    END IF;
END
$$;

-- Failed events, the latest first: who looks at the dashboard asks how many there are and why. Nobody
-- else pays for it: a row enters when it fails. With what it is made of, so that they are counted from
-- the index alone.
CREATE INDEX CONCURRENTLY IF NOT EXISTS change_events_failed_idx
    ON webhook.change_events ((coalesce(finished_at, created_at)))
    INCLUDE (finished_at, created_at)
    WHERE starts_with(rescrape_status, 'failed');
