-- What the fleet tells itself and its operators about the things that go wrong. All of it is small:
-- a row per queue, per upstream host, per spool segment, per crash.

-- --- queues: the truth behind what Redis only mirrors --------------------------------------------

-- generation names the contents of Redis: its copy there is gone or different when Redis lost them.
CREATE TABLE IF NOT EXISTS webhook.queues (
    name       text        NOT NULL, -- 'change'
    generation uuid        NOT NULL DEFAULT gen_random_uuid(),
    paused_at  timestamptz,          -- NULL = jobs are claimed
    paused_by  text,
    changed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT queues_pkey PRIMARY KEY (name)
);
INSERT INTO webhook.queues (name) VALUES ('change') ON CONFLICT (name) DO NOTHING;

-- --- upstreams: circuit breakers that the whole fleet shares -------------------------------------

CREATE TABLE IF NOT EXISTS webhook.upstreams (
    host       text        NOT NULL, -- host:port as asked
    state      text        NOT NULL, -- 'closed', 'open', 'half_open'
    failures   integer     NOT NULL DEFAULT 0,
    open_until timestamptz,          -- when one job may try again
    probe_by   text,                 -- the worker that tries, while half open
    last_error text,
    changed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT upstreams_pkey PRIMARY KEY (host)
) WITH (fillfactor = 50);

-- --- spools: events that are safe on a producer's disk only --------------------------------------

-- One row per segment that is not empty, written by the process that holds it: that is how a drain
-- or an audit on another host knows of it. The row of a host that is gone stays, as a warning.
CREATE TABLE IF NOT EXISTS webhook.spools (
    segment    text        NOT NULL, -- file name, unique in the world: HOST-PID-NONCE.seg
    host       text        NOT NULL,
    folder     text        NOT NULL,
    holder     text        NOT NULL, -- the process that works it off
    bytes      bigint      NOT NULL,
    seen_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT spools_pkey PRIMARY KEY (segment)
) WITH (fillfactor = 50);

-- --- crashes -------------------------------------------------------------------------------------

-- One row per process that did not end by itself, with what it held.
CREATE TABLE IF NOT EXISTS webhook.worker_crashes (
    id         bigserial,
    worker     text        NOT NULL, -- instance id
    host       text        NOT NULL,
    pid        integer     NOT NULL,
    role       text        NOT NULL, -- 'worker', 'solo'
    signal     integer,
    exit_code  integer,
    cause      text        NOT NULL, -- for people: 'signal 11', 'out of memory', 'hung', ...
    blamed     boolean     NOT NULL, -- its jobs are suspect
    max_rss_kb bigint,
    lived_ms   bigint,
    held       jsonb       NOT NULL DEFAULT '[]', -- [{"event_id": ..., "step": ...}]
    crashed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT worker_crashes_pkey PRIMARY KEY (id)
);
-- The newest crashes, and retention by age.
CREATE INDEX IF NOT EXISTS worker_crashes_crashed_at_idx ON webhook.worker_crashes (crashed_at);
