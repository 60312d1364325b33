-- What charts show: how much went through, and how it stood. And how much is written to the logs.

-- Five seconds of the whole fleet: each process adds what it did since it last did so. Numbers of
-- events, but for those that say otherwise.
CREATE TABLE IF NOT EXISTS webhook.samples (
    at            timestamptz NOT NULL,            -- begin of the five seconds
    accepted      bigint NOT NULL DEFAULT 0,       -- change events, answered 202 the first time
    crawl_accepted bigint NOT NULL DEFAULT 0,      -- events of Firecrawl's, likewise
    refused       bigint NOT NULL DEFAULT 0,       -- webhooks of both kinds
    completed     bigint NOT NULL DEFAULT 0,
    superseded    bigint NOT NULL DEFAULT 0,
    retried       bigint NOT NULL DEFAULT 0,       -- attempts that failed and are tried again
    failed        bigint NOT NULL DEFAULT 0,       -- for good
    crawl_done    bigint NOT NULL DEFAULT 0,
    in_flight     bigint NOT NULL DEFAULT 0,       -- jobs that workers had in hand
    depth         bigint,                          -- jobs of change events in Redis; NULL = not known
    crawl_depth   bigint,
    oldest_ms     bigint,                          -- age of what has been due longest; NULL = nothing was
    latency       bigint[] NOT NULL DEFAULT '{}',  -- completed events by time from acceptance to completion,
                                                   -- in the buckets of hookline_event_seconds
    CONSTRAINT samples_pkey PRIMARY KEY (at)
) WITH (fillfactor = 50);

-- What happened how often within an hour: 'source': webhooks by source and outcome; 'upstream': fetches
-- by host and outcome.
CREATE TABLE IF NOT EXISTS webhook.tallies (
    hour    timestamptz NOT NULL,
    kind    text        NOT NULL,
    name    text        NOT NULL,
    outcome text        NOT NULL,
    n       bigint      NOT NULL,
    took_ms bigint      NOT NULL DEFAULT 0, -- all of them together; 0 where that means nothing
    CONSTRAINT tallies_pkey PRIMARY KEY (hour, kind, name, outcome)
) WITH (fillfactor = 50);

-- What operators tell every process about its log, until it has been so for long enough. At most one row.
CREATE TABLE IF NOT EXISTS webhook.log_level (
    one     boolean     NOT NULL DEFAULT true CHECK (one),
    level   text        NOT NULL CHECK (level IN ('debug', 'info', 'warn', 'error')),
    until   timestamptz NOT NULL,
    set_by  text        NOT NULL,
    CONSTRAINT log_level_pkey PRIMARY KEY (one)
);
