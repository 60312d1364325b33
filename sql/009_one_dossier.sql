-- A process crashes once: a dossier that is written again, because nobody knows whether the first
-- time it was committed, changes nothing.
CREATE UNIQUE INDEX IF NOT EXISTS worker_crashes_worker_idx ON webhook.worker_crashes (worker);
