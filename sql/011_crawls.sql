-- Firecrawl's events. A session (webhook.crawl_sessions) is a function of what is kept here: the
-- events that came and what became of each page. Whatever the order in which they come, and however
-- often, the same rows remain, and so the same session.

-- --- one row per event of Firecrawl's ------------------------------------------------------------

-- Of two deliveries of one event the earlier received_at counts, and what was sent before what was
-- asked for.
CREATE TABLE IF NOT EXISTS webhook.crawl_events (
    event_id     uuid        NOT NULL, -- of the delivery: the same for each repetition
    crawl_id     varchar(255),         -- NULL: the event named none
    type         text        NOT NULL, -- as sent: 'crawl.page', 'batch_scrape.started', ...
    kind         text        NOT NULL, -- started, page, completed, failed, cancelled, other
    received_at  timestamptz NOT NULL, -- at intake
    success      boolean,
    error        text,
    documents    integer     NOT NULL DEFAULT 0,
    metadata     jsonb,                -- what the job was started with
    base_url     text,                 -- metadata.url
    initiated_at timestamptz,          -- metadata.initiated_at, where it is a time
    reconciled   boolean     NOT NULL DEFAULT false, -- asked for, not sent
    CONSTRAINT crawl_events_pkey PRIMARY KEY (event_id)
);
-- The events of one crawl, the first of them, and retention with its session.
CREATE INDEX IF NOT EXISTS crawl_events_crawl_id_idx
    ON webhook.crawl_events (crawl_id, received_at);
-- Those that start and end a crawl: a few beside its thousands of pages.
CREATE INDEX IF NOT EXISTS crawl_events_turns_idx
    ON webhook.crawl_events (crawl_id) WHERE kind <> 'page';
-- Those that tell what the crawl is of; in many crawls none does.
CREATE INDEX IF NOT EXISTS crawl_events_telling_idx
    ON webhook.crawl_events (crawl_id, received_at)
    WHERE base_url IS NOT NULL OR initiated_at IS NOT NULL;

-- --- one row per page of a crawl -----------------------------------------------------------------

-- Of two deliveries of one page the later one counts (received_at, then event_id).
CREATE TABLE IF NOT EXISTS webhook.crawl_pages (
    crawl_id     varchar(255) NOT NULL,
    url_key      bytea        NOT NULL, -- SHA-256 of url
    url          text         NOT NULL,
    scrape_id    text,                  -- Firecrawl's id of the fetch
    status_code  integer,               -- the page's own
    indexed      boolean      NOT NULL, -- false: failed
    error        text,                  -- why it is not indexed
    event_id     uuid         NOT NULL,
    received_at  timestamptz  NOT NULL,
    chunking_ms  double precision NOT NULL DEFAULT 0,
    embedding_ms double precision NOT NULL DEFAULT 0,
    qdrant_ms    double precision NOT NULL DEFAULT 0,
    bm25_ms      double precision NOT NULL DEFAULT 0, -- making its words searchable
    CONSTRAINT crawl_pages_pkey PRIMARY KEY (crawl_id, url_key)
);

-- --- contents ------------------------------------------------------------------------------------

-- Databases that the replaced service made from its models lack uq_content_per_session_url: the
-- look for a content that is there already needs an index all the same.
DO $$
BEGIN
    IF to_regclass('webhook.uq_content_per_session_url') IS NULL THEN
        CREATE INDEX IF NOT EXISTS scraped_content_session_hash_idx
            ON webhook.scraped_content (crawl_session_id, content_hash);
    END IF;
END
$$;

-- --- what Hookline adds to a session -------------------------------------------------------------

ALTER TABLE webhook.crawl_sessions
    ADD COLUMN IF NOT EXISTS reported_urls   integer,     -- total, as Firecrawl said when asked
    ADD COLUMN IF NOT EXISTS reconcile_at    timestamptz, -- when to ask Firecrawl next
    ADD COLUMN IF NOT EXISTS reconcile_tries integer NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS reconciled_at   timestamptz; -- asked for the last time
-- Sessions whose turn to be asked about has come; hardly any at a time.
CREATE INDEX IF NOT EXISTS crawl_sessions_reconcile_idx
    ON webhook.crawl_sessions (reconcile_at) WHERE reconcile_at IS NOT NULL;
-- Sessions that nobody has asked about; only the youngest of them are looked at.
CREATE INDEX IF NOT EXISTS crawl_sessions_unasked_idx
    ON webhook.crawl_sessions (started_at) WHERE reconcile_at IS NULL AND reconciled_at IS NULL;
-- Ended sessions by age: retention.
CREATE INDEX IF NOT EXISTS crawl_sessions_ended_idx
    ON webhook.crawl_sessions (completed_at) WHERE completed_at IS NOT NULL;

INSERT INTO webhook.queues (name) VALUES ('crawl') ON CONFLICT (name) DO NOTHING;
