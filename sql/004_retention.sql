-- Retention of the metrics tables by whole days, and vacuum settings for the tables that grow.

-- --- partitions by day ---------------------------------------------------------------------------

-- Makes the partitions of today and the days ahead, and drops those older than keep_days (0: none).
-- Runs as the owner of the tables, so that the role of the workers needs no right to create or drop
-- anything. Called every hour by whoever is a janitor; one at a time, the others get 0 and 0.
--
-- A day whose rows are in the default partition already gets no partition of its own (PostgreSQL
-- would refuse it): its rows stay there, and are deleted there when their time has come. Nothing to
-- do for a table that was adopted and is not partitioned.
--
-- PostgreSQL locks the parent for both, in ACCESS EXCLUSIVE mode, for moments: whoever is in the
-- way longer than lock_timeout makes this fail, and the next call tries again.
CREATE OR REPLACE FUNCTION webhook.metrics_partitions(keep_days integer,
    OUT made integer, OUT dropped integer)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '2s'
SET timezone = 'UTC'
AS $$
DECLARE
    days_ahead CONSTANT integer := 3;
    parent text;
    child text;
    day date;
    taken boolean;
BEGIN
    made := 0;
    dropped := 0;
    IF NOT pg_try_advisory_xact_lock(hashtextextended('webhook.metrics_partitions', 0)) THEN
        RETURN;
    END IF;
    FOREACH parent IN ARRAY ARRAY['request_metrics', 'operation_metrics'] LOOP
        CONTINUE WHEN (SELECT relkind FROM pg_class
            WHERE oid = to_regclass(format('webhook.%I', parent))) IS DISTINCT FROM 'p';
        FOR day IN SELECT current_date + n FROM generate_series(0, days_ahead) n LOOP
            child := parent || to_char(day, '_YYYYMMDD');
            CONTINUE WHEN to_regclass(format('webhook.%I', child)) IS NOT NULL;
            EXECUTE format('SELECT EXISTS (SELECT FROM webhook.%I'
                ' WHERE "timestamp" >= $1 AND "timestamp" < $2)', parent || '_default')
                INTO taken USING day::timestamptz, (day + 1)::timestamptz;
            CONTINUE WHEN taken;
            EXECUTE format('CREATE TABLE webhook.%I PARTITION OF webhook.%I'
                ' FOR VALUES FROM (%L) TO (%L)',
                child, parent, day::timestamptz, (day + 1)::timestamptz);
            made := made + 1;
        END LOOP;
        CONTINUE WHEN coalesce(keep_days, 0) <= 0;
        -- Only what this function made: partitions of the parent, named after it and their day.
        FOR child IN
            SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent = format('webhook.%I', parent)::regclass
                AND c.relname ~ ('^' || parent || '_[0-9]{8}$')
                AND right(c.relname, 8) < to_char(current_date - keep_days, 'YYYYMMDD')
            ORDER BY 1
        LOOP
            EXECUTE format('DROP TABLE webhook.%I', child);
            dropped := dropped + 1;
        END LOOP;
    END LOOP;
END
$$;

SELECT webhook.metrics_partitions(0);

-- --- vacuum --------------------------------------------------------------------------------------

-- Every event leaves two or three dead versions behind. The default, a fifth of the table, means
-- that a table with a history of millions is vacuumed rarely and then for long; and its statistics
-- decide whether the planner knows that hardly any row is queued.
ALTER TABLE webhook.change_events SET (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
    autovacuum_analyze_scale_factor = 0.02, autovacuum_analyze_threshold = 1000);

-- A rescrape replaces its document, text and all: dead versions are large, and most of them live in
-- the TOAST table.
ALTER TABLE webhook.documents SET (
    autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_vacuum_scale_factor = 0.05);
