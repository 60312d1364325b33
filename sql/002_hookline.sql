-- What Hookline adds to the reference's schema: who owns an event and how often it was tried, the
-- worker leases, the clock that orders scrapes, and the embedded full-text index.

-- --- the clock that orders scrapes ---------------------------------------------------------------

-- An accepted event draws accept_seq, a claim draws scrape_seq, and "was this event accepted before
-- that fetch began?" is a comparison of the two. CACHE 1 is essential: with a larger cache each
-- session hands out numbers from a block of its own, and an earlier draw could get the higher
-- number.
CREATE SEQUENCE IF NOT EXISTS webhook.scrape_clock AS bigint CACHE 1;

-- --- change_events: identity, ownership, counters ------------------------------------------------

-- All are nullable or have constant defaults: adding them rewrites nothing, and a program that
-- knows only the reference's columns can still insert.
ALTER TABLE webhook.change_events
    ADD COLUMN IF NOT EXISTS event_id        uuid,              -- the event's id, and the job's
    ADD COLUMN IF NOT EXISTS body_digest     bytea,             -- SHA-256 of the request body
    ADD COLUMN IF NOT EXISTS url_key         bytea,             -- SHA-256 of watch_url
    ADD COLUMN IF NOT EXISTS accept_seq      bigint,            -- scrape_clock when accepted
    ADD COLUMN IF NOT EXISTS claim_epoch     bigint DEFAULT 0,  -- raised by claims and hand-backs
    ADD COLUMN IF NOT EXISTS claimed_by      text,              -- workers.id while in_progress
    ADD COLUMN IF NOT EXISTS claimed_at      timestamptz,
    ADD COLUMN IF NOT EXISTS scrape_seq      bigint,            -- scrape_clock at the latest claim
    ADD COLUMN IF NOT EXISTS starts          integer DEFAULT 0, -- claims since the last result
    ADD COLUMN IF NOT EXISTS attempts        integer DEFAULT 0, -- results so far, bounds retries
    ADD COLUMN IF NOT EXISTS suspect         integer DEFAULT 0, -- crashes while this was in flight
    ADD COLUMN IF NOT EXISTS next_attempt_at timestamptz,       -- not before; NULL = at once
    ADD COLUMN IF NOT EXISTS finished_at     timestamptz;       -- when it became terminal

-- A row is updated two or three times soon after its insert (claim, result, supersede): room on its
-- page keeps the old and the new version together and lets pruning reclaim the old one without a
-- vacuum.
ALTER TABLE webhook.change_events SET (fillfactor = 80);

-- --- worker leases -------------------------------------------------------------------------------

-- One row per living worker process; a sweeper that sees the same beat for a whole lease on its own
-- monotonic clock sets dead_at. The timestamps are for people, nothing is decided by them.
--
-- Every row is updated every few seconds and no indexed column ever changes, so with plenty of room
-- on the page each beat is a HOT update whose predecessor is pruned on the spot. The table stays a
-- few pages small, and autovacuum needs no settings of its own.
CREATE TABLE IF NOT EXISTS webhook.workers (
    id         text        NOT NULL,
    host       text        NOT NULL,
    pid        integer     NOT NULL,
    beat       bigint      NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now(),
    dead_at    timestamptz,
    cause      text,
    CONSTRAINT workers_pkey PRIMARY KEY (id)
) WITH (fillfactor = 20);

-- --- the embedded index --------------------------------------------------------------------------

-- The newest text of each page. A write wins only with a higher scrape_seq, so an older fetch that
-- finishes late changes nothing. The key is a digest because URLs outgrow what a btree entry can
-- hold.
CREATE TABLE IF NOT EXISTS webhook.documents (
    url_key       bytea       NOT NULL, -- SHA-256 of canonical_url
    canonical_url text        NOT NULL,
    url           text        NOT NULL,
    title         text,
    description   text,
    language      text,
    text          text        NOT NULL,
    content_hash  bytea       NOT NULL,
    search        tsvector    NOT NULL,
    event_id      uuid,
    claim_epoch   bigint,
    scrape_seq    bigint      NOT NULL,
    scraped_at    timestamptz NOT NULL DEFAULT now(),
    changed_at    timestamptz NOT NULL DEFAULT now(), -- when the text last became different
    created_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT documents_pkey PRIMARY KEY (url_key)
);
-- Full-text search: WHERE search @@ websearch_to_tsquery(...).
CREATE INDEX IF NOT EXISTS documents_search_idx ON webhook.documents USING gin (search);
