-- What the replaced service makes for itself when it starts (reference contract section 3.3).
CREATE TABLE webhook.scrape_cache (
    id bigserial PRIMARY KEY,
    url text NOT NULL,
    url_hash text NOT NULL CONSTRAINT scrape_cache_url_hash_key UNIQUE,
    raw_content text,
    source varchar(50) NOT NULL,
    scraped_at timestamptz NOT NULL DEFAULT now(),
    cache_key text NOT NULL CONSTRAINT scrape_cache_cache_key_key UNIQUE,
    access_count integer NOT NULL DEFAULT 0
);
INSERT INTO webhook.scrape_cache (url, url_hash, source, cache_key)
    SELECT 'http://site/' || n, md5(n::text), 'firecrawl', 'key' || n FROM generate_series(1, 300) n;
