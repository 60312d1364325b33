-- no-transaction
-- Built CONCURRENTLY: the table may be large and in use. What an interrupted build left behind goes
-- first.

DO $$
BEGIN
    PERFORM set_config('lock_timeout', '3s', true);
    IF EXISTS (SELECT FROM pg_index
        WHERE indexrelid = to_regclass('webhook.change_events_suspect_idx') AND NOT indisvalid) THEN
        DROP INDEX webhook.change_events_suspect_idx;
    END IF;
END
$$;

-- Unfinished events that were in flight when a process crashed, twice: the solo process of each
-- supervisor looks for them all the time. Nearly always empty.
CREATE INDEX CONCURRENTLY IF NOT EXISTS change_events_suspect_idx
    ON webhook.change_events (id)
    WHERE suspect >= 2 AND rescrape_status IN ('queued', 'in_progress');
