-- What the replaced service writes, with its own columns only and every value supplied, 300 rows of each
-- kind. The word run marks the rows; it is set by the one who loads this.
INSERT INTO webhook.crawl_sessions (id, job_id, base_url, operation_type, started_at, status, success,
        total_urls, completed_urls, failed_urls, total_pages, pages_indexed, pages_failed, total_chunking_ms,
        total_embedding_ms, total_qdrant_ms, total_bm25_ms, auto_index, created_at, updated_at)
    SELECT gen_random_uuid(), current_setting('test.run') || n, 'http://site/', 'crawl', now(), 'completed',
        true, n, n, 0, n, n, 0, 1.5, n / 7.0, 0, 0, true, now(), now()
    FROM generate_series(1, 300) n;
INSERT INTO webhook.request_metrics (id, "timestamp", method, path, status_code, duration_ms, request_id,
        created_at)
    SELECT gen_random_uuid(), now(), 'POST', '/api/' || n, 202, n / 3.0, current_setting('test.run') || n, now()
    FROM generate_series(1, 300) n;
INSERT INTO webhook.operation_metrics (id, "timestamp", operation_type, operation_name, duration_ms, success,
        request_id, crawl_id, extra_metadata, created_at)
    SELECT gen_random_uuid(), now(), 'embedding', 'batch', n / 3.0, true, current_setting('test.run') || n,
        current_setting('test.run') || n, jsonb_build_object('n', n), now()
    FROM generate_series(1, 300) n;
INSERT INTO webhook.change_events (watch_id, watch_url, detected_at, diff_summary, rescrape_job_id,
        rescrape_status, metadata, created_at)
    SELECT current_setting('test.run') || n, 'http://site/' || n, now(), repeat('x', n), 'job' || n,
        (ARRAY['queued', 'in_progress', 'completed', 'failed: timeout'])[1 + n % 4],
        jsonb_build_object('n', n), now()
    FROM generate_series(1, 300) n;
UPDATE webhook.change_events SET rescrape_status = 'completed', indexed_at = now()
    WHERE watch_id = current_setting('test.run') || 1;
DO $$
BEGIN
    IF to_regclass('webhook.scraped_content') IS NOT NULL THEN
        INSERT INTO webhook.scraped_content (crawl_session_id, url, content_source, markdown, links, metadata,
                content_hash)
            SELECT current_setting('test.run') || n, 'http://site/' || n, 'firecrawl', repeat('text ', n),
                'null', '{}', md5(n::text)
            FROM generate_series(1, 300) n;
    END IF;
END
$$;
