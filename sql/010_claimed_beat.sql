-- How old a claim is, told by the beats of its owner and no clock of anybody: a database whose clock
-- is set neither reaps what is young nor keeps what is old.
ALTER TABLE webhook.change_events
    ADD COLUMN IF NOT EXISTS claimed_beat bigint; -- workers.beat of the owner when it claimed
