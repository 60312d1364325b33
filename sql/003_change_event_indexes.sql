-- no-transaction
-- Our indexes on change_events. In a file of their own, built CONCURRENTLY, because the table may
-- be large and in use. A build that was interrupted leaves an invalid index behind, which IF NOT
-- EXISTS would take for the real one; so such leftovers go first, and the file can be run again at
-- any time.

DO $$
DECLARE
    broken regclass;
BEGIN
    -- Dropping blocks writers, and so does waiting to drop: hence not for long.
    PERFORM set_config('lock_timeout', '3s', true);
    FOR broken IN
        SELECT indexrelid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
        WHERE indrelid = 'webhook.change_events'::regclass AND NOT indisvalid
            AND relname IN ('change_events_event_id_key', 'change_events_open_url_idx',
                'change_events_claimed_by_idx', 'change_events_queued_idx')
    LOOP
        EXECUTE format('DROP INDEX %s', broken);
    END LOOP;
END
$$;

-- One event, one row: the insert of an accepted event says ON CONFLICT (event_id), and claim,
-- completion and read-back find their row by it.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS change_events_event_id_key
    ON webhook.change_events (event_id);

-- One scrape per URL at a time, and superseding: the claim looks for an in_progress row of the same
-- URL, a completion for queued rows of it. Only unfinished rows are indexed, so history costs
-- nothing.
CREATE INDEX CONCURRENTLY IF NOT EXISTS change_events_open_url_idx
    ON webhook.change_events (url_key) WHERE rescrape_status IN ('queued', 'in_progress');

-- Zombies and hand-backs: rows in_progress by owner, joined with workers; as small as the work in
-- flight.
CREATE INDEX CONCURRENTLY IF NOT EXISTS change_events_claimed_by_idx
    ON webhook.change_events (claimed_by) WHERE rescrape_status = 'in_progress';

-- The backlog, oldest first: claims straight from the table while Redis is away, the reconciler
-- that publishes lost jobs again, and the count of what waits.
CREATE INDEX CONCURRENTLY IF NOT EXISTS change_events_queued_idx
    ON webhook.change_events (id) WHERE rescrape_status = 'queued';
