-- no-transaction
-- Built CONCURRENTLY: on an adopted database the table is large and in use. What an interrupted
-- build left behind goes first.

DO $$
BEGIN
    PERFORM set_config('lock_timeout', '3s', true);
    IF EXISTS (SELECT FROM pg_index
        WHERE indexrelid = to_regclass('webhook.change_events_unidentified_idx')
            AND NOT indisvalid) THEN
        DROP INDEX webhook.change_events_unidentified_idx;
    END IF;
END
$$;

-- Unfinished rows that the replaced service wrote: every sweep of a janitor looks for them, to give
-- them event ids. Nearly always empty, so it costs nothing; without it the search would read the
-- whole backlog.
CREATE INDEX CONCURRENTLY IF NOT EXISTS change_events_unidentified_idx
    ON webhook.change_events (id)
    WHERE event_id IS NULL AND rescrape_status IN ('queued', 'in_progress');
