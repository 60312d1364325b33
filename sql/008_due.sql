-- no-transaction
-- Work without Redis, and rebuilding it: the queue in the order in which events became due.

-- Whether Redis has ever been told its generation: before that, a Redis without one has forgotten
-- nothing.
ALTER TABLE webhook.queues ADD COLUMN IF NOT EXISTS announced_at timestamptz;

-- Built CONCURRENTLY: the table may be large and in use. What an interrupted build left behind goes
-- first.
DO $$
BEGIN
    PERFORM set_config('lock_timeout', '3s', true);
    IF EXISTS (SELECT FROM pg_index
        WHERE indexrelid = to_regclass('webhook.change_events_due_idx') AND NOT indisvalid) THEN
        DROP INDEX webhook.change_events_due_idx;
    END IF;
END
$$;

-- A retry is due at next_attempt_at, everything else since it was accepted. Who looks for work in
-- this order meets no row whose time has not come, however many of them wait.
CREATE INDEX CONCURRENTLY IF NOT EXISTS change_events_due_idx
    ON webhook.change_events
        ((coalesce(next_attempt_at, created_at, '-infinity'::timestamptz)), id)
    WHERE rescrape_status = 'queued';
