-- What operators do, and what processes tell of themselves and are told.

-- --- what operators did --------------------------------------------------------------------------

-- A row is written before something is done, and completed afterwards: one without an end was broken
-- off.
CREATE TABLE IF NOT EXISTS webhook.operator_log (
    id         bigserial,
    at         timestamptz NOT NULL DEFAULT now(),
    operator   text        NOT NULL,              -- user@host
    command    text        NOT NULL,              -- 'dead retry'
    reason     text,
    detail     jsonb       NOT NULL DEFAULT '{}', -- what it was about
    affected   bigint,                            -- how many things were changed
    outcome    text,                              -- 'done', or what went wrong
    ended_at   timestamptz,
    CONSTRAINT operator_log_pkey PRIMARY KEY (id)
);
CREATE INDEX IF NOT EXISTS operator_log_at_idx ON webhook.operator_log (at);

-- --- orders --------------------------------------------------------------------------------------

-- A fenced queue takes nothing in: producers refuse its events. A paused one starts nothing. The rows
-- of queues that were never paused, or fenced, are made here.
ALTER TABLE webhook.queues
    ADD COLUMN IF NOT EXISTS fenced_at timestamptz,
    ADD COLUMN IF NOT EXISTS fenced_by text;
INSERT INTO webhook.queues (name) VALUES ('crawl') ON CONFLICT (name) DO NOTHING;

-- What a worker process is told ('quiet': it takes no new work; 'kick': it finishes and is replaced),
-- and what it tells of itself for people: phase, jobs, pool.
ALTER TABLE webhook.workers
    ADD COLUMN IF NOT EXISTS orders text,
    ADD COLUMN IF NOT EXISTS status jsonb;

-- One row per process that takes events in, while it does. Updated every few seconds, like
-- webhook.workers. A row that is not updated any more is a process that did not take its leave:
-- what it holds in its spool nobody else knows.
CREATE TABLE IF NOT EXISTS webhook.producers (
    id         text        NOT NULL,
    host       text        NOT NULL,
    pid        integer     NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now(),
    fenced     text[]      NOT NULL DEFAULT '{}', -- the queues that it takes nothing in for
    status     jsonb,
    CONSTRAINT producers_pkey PRIMARY KEY (id)
) WITH (fillfactor = 20);

-- --- redrives: failed events that are tried again, as planned ------------------------------------

CREATE TABLE IF NOT EXISTS webhook.redrives (
    token      text        NOT NULL,
    planned_at timestamptz NOT NULL DEFAULT now(),
    planned_by text        NOT NULL,
    reason     text,
    filter     jsonb       NOT NULL DEFAULT '{}',
    total      integer     NOT NULL,
    state      text        NOT NULL DEFAULT 'planned', -- 'applying', 'stopped', 'done'
    changed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT redrives_pkey PRIMARY KEY (token)
);
-- The events as they were when it was planned: one that was tried meanwhile has another epoch, and is
-- left alone.
CREATE TABLE IF NOT EXISTS webhook.redrive_items (
    token       text    NOT NULL REFERENCES webhook.redrives (token) ON DELETE CASCADE,
    n           integer NOT NULL,
    row_id      bigint  NOT NULL,
    claim_epoch bigint  NOT NULL,
    outcome     text,            -- 'queued', 'changed'; NULL = not looked at yet
    CONSTRAINT redrive_items_pkey PRIMARY KEY (token, n)
);
