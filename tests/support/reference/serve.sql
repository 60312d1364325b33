-- What the replaced service does with its rows, statement by statement, in its own columns (reference
-- contract, sections 2 to 5). The word run begins every watch_id and id; it is set by the one who loads this.
-- Taken in: a row, then the id of its job. Left queued.
INSERT INTO webhook.change_events (watch_id, watch_url, detected_at, diff_summary, snapshot_url,
        rescrape_job_id, rescrape_status, indexed_at, metadata, created_at)
    SELECT current_setting('test.run') || '-' || n, 'http://page.test/' || current_setting('test.run') || n,
        now() - interval '1 hour', 'diff', NULL, NULL, 'queued', NULL, '{"raw_payload_version": "1.0"}', now()
    FROM unnest('{queued,held,done,failed,zombie}'::text[]) n;
UPDATE webhook.change_events SET rescrape_job_id = 'rq-' || watch_id
    WHERE watch_id LIKE current_setting('test.run') || '-%';
-- Begun: whatever its status was.
UPDATE webhook.change_events SET rescrape_job_id = 'rq-' || watch_id, rescrape_status = 'in_progress'
    WHERE watch_id LIKE current_setting('test.run') || '-%' AND watch_id NOT LIKE '%-queued';
-- Ended: well, badly, and by the clean-up.
UPDATE webhook.change_events SET rescrape_status = 'completed', indexed_at = now(),
        metadata = jsonb_build_object('document_id', watch_url, 'firecrawl_status', NULL)
    WHERE watch_id = current_setting('test.run') || '-done';
UPDATE webhook.change_events SET rescrape_status = 'failed: All connection attempts failed',
        metadata = '{"error": "All connection attempts failed", "failed_at": "10:04:05 PM | 01/01/2026"}'
    WHERE watch_id = current_setting('test.run') || '-failed';
UPDATE webhook.change_events SET rescrape_status = 'failed: job timeout after 15 minutes',
        metadata = metadata || '{"zombie_cleanup_at": "10:04:05 PM | 01/01/2026"}'
    WHERE rescrape_status = 'in_progress' AND detected_at < now() - interval '15 minutes'
        AND watch_id = current_setting('test.run') || '-zombie';
-- A crawl: started, a page of it stored twice, a step measured, completed with its sums.
INSERT INTO webhook.crawl_sessions (id, job_id, base_url, operation_type, started_at, initiated_at, status,
        total_urls, completed_urls, failed_urls, total_pages, pages_indexed, pages_failed, total_chunking_ms,
        total_embedding_ms, total_qdrant_ms, total_bm25_ms, extra_metadata, auto_index, created_at, updated_at)
    VALUES (gen_random_uuid(), current_setting('test.run') || '-crawl', 'http://site/', 'crawl', now(), NULL,
        'in_progress', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '{}', true, now(), now());
INSERT INTO webhook.operation_metrics (id, "timestamp", operation_type, operation_name, duration_ms, success,
        error_message, request_id, job_id, crawl_id, document_url, extra_metadata, created_at)
    VALUES (gen_random_uuid(), now(), 'worker', 'index_document', 12.5, true, NULL, NULL, 'j',
        current_setting('test.run') || '-crawl', 'http://site/a', '{}', now());
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_constraint WHERE conname = 'uq_content_per_session_url') THEN
        FOR n IN 1..2 LOOP
            INSERT INTO webhook.scraped_content (crawl_session_id, url, source_url, content_source, markdown,
                    links, metadata, content_hash)
                VALUES (current_setting('test.run') || '-crawl', 'http://site/a', 'http://site/a',
                    'firecrawl_crawl', 'text', 'null', '{}', md5('text'))
                ON CONFLICT ON CONSTRAINT uq_content_per_session_url DO NOTHING;
        END LOOP;
    END IF;
END
$$;
UPDATE webhook.crawl_sessions SET completed_at = now(), status = 'completed', success = true,
        duration_ms = extract(epoch FROM now() - started_at) * 1000, total_pages = (
            SELECT count(DISTINCT document_url) FROM webhook.operation_metrics
            WHERE crawl_id = current_setting('test.run') || '-crawl' AND operation_name = 'index_document'),
        pages_indexed = 1, updated_at = now()
    WHERE job_id = current_setting('test.run') || '-crawl';
-- A request measured; what is too old goes.
INSERT INTO webhook.request_metrics (id, "timestamp", method, path, status_code, duration_ms, request_id,
        client_ip, user_agent, extra_metadata, created_at)
    VALUES (gen_random_uuid(), now(), 'POST', '/api/webhook/changedetection', 202, 1.5,
        gen_random_uuid()::text, '127.0.0.1', 'x', '{"path_params": {}, "query_params": {}}', now());
DELETE FROM webhook.request_metrics WHERE "timestamp" < now() - interval '90 days';
DELETE FROM webhook.operation_metrics WHERE "timestamp" < now() - interval '90 days';
