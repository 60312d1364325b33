/* crawl_effects: see crawl_effects.h. */
#include "worker/crawl_effects.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/timestamp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- one page ---------------------------------------------------------------------------- */

/* The members of a document's metadata that are kept: reference contract section 2.2. */
static const char *const known_members[] = {
    "url",
    "statusCode",
    "title",
    "description",
    "contentType",
    "scrapeId",
    "sourceURL",
    "proxyUsed",
    "cacheState",
    "cachedAt",
    "creditsUsed",
    "language",
    "country",
};

static char *dump(const json_t *object)
{
    char *text = json_dumps(object, JSON_COMPACT);
    if (!text)
        abort(); /* out of memory, as in mem.c: what was parsed can be written */
    return text;
}

/* With nulls: reference contract section 7.2. */
static char *known_metadata(const json_t *metadata)
{
    json_t *out = json_object();
    for (size_t i = 0; i < sizeof(known_members) / sizeof(*known_members); i++) {
        json_t *value = json_object_get(metadata, known_members[i]);
        json_object_set_new(out, known_members[i], value ? json_incref(value) : json_null());
    }
    char *text = dump(out);
    json_decref(out);
    return text;
}

/* The indexer's words without its name. */
static void put_error(struct crawl_page *p, const char *msg)
{
    static const char prefix[] = "Indexing failed: ";
    if (strncmp(msg, prefix, sizeof(prefix) - 1) == 0)
        msg += sizeof(prefix) - 1;
    snprintf(
        p->error, sizeof(p->error), "%.*s", (int)text_prefix_bytes(msg, sizeof(p->error) - 1), msg);
}

static void prepare(const struct crawl_document *d, bool index, struct store_crawl_page *row,
    struct crawl_page *page)
{
    const char *url = d->source_url ? d->source_url : d->url;
    int64_t began = clock_mono_us();
    struct hl_err err;

    if (d->status_code >= 400)
        snprintf(page->error, sizeof(page->error), "HTTP %lld", (long long)d->status_code);
    else if (document_init(
                 &page->doc, url, d->title, d->description, d->language, d->markdown, &err))
        put_error(page, err.msg);
    page->metadata = known_metadata(d->metadata);
    *row = (struct store_crawl_page){.url = url,
        .source_url = url,
        .scrape_id = d->scrape_id,
        .status_code = d->status_code,
        .error = *page->error ? page->error : NULL,
        .markdown = d->markdown,
        .html = d->html,
        .metadata = page->metadata};
    if (!*page->error)
        row->doc = document_view(&page->doc);
    if (!index)
        row->doc.text = NULL;
    page->bytes = store_crawl_bytes(row);
    page->took_us = clock_mono_us() - began;
}

void crawl_effects_spoil(struct crawl_effects *e, size_t i, const char *error)
{
    struct store_crawl_page *row = &e->rows[i];
    put_error(&e->pages[i], error);
    *row = (struct store_crawl_page){.url = row->url,
        .scrape_id = row->scrape_id,
        .status_code = row->status_code,
        .error = e->pages[i].error};
}

/* --- the event --------------------------------------------------------------------------- */

/* Whoever took it in has checked it; a program of another age may think otherwise. */
static enum hl_rc read_event(struct crawl_effects *e, struct hl_err *err)
{
    struct buf problems = {0};
    struct hl_err why;
    enum crawl_verdict verdict = crawl_event_read(e->job.body, e->job.len, &e->ev, &problems, &why);

    buf_release(&problems);
    switch (verdict) {
    case CRAWL_OK:
    case CRAWL_UNSUCCESSFUL: return HL_OK;
    case CRAWL_NOT_JSON: return hl_fail(err, HL_FATAL, "not JSON: %.120s", why.msg);
    case CRAWL_INVALID: break;
    }
    crawl_event_release(&e->ev);
    return hl_fail(err, HL_FATAL, "not an event of Firecrawl's as this version knows them");
}

static void read_metadata(struct crawl_effects *e)
{
    const char *initiated = json_get_string(e->ev.metadata, "initiated_at");
    if (e->ev.metadata)
        e->metadata = dump(e->ev.metadata);
    if (initiated && !timestamp_parse_iso(initiated, &e->initiated_at))
        e->initiated_at = 0;
}

enum hl_rc crawl_effects_read(
    const void *job, size_t len, bool index, struct crawl_effects *e, struct hl_err *err)
{
    *e = (struct crawl_effects){0};
    enum hl_rc rc = crawl_job_decode(job, len, &e->job, err);
    if (rc != HL_OK)
        return rc;
    rc = read_event(e, err);
    if (rc != HL_OK) {
        crawl_job_release(&e->job);
        return rc;
    }
    free(e->job.body); /* the event has its own copy of what counts */
    e->job.body = NULL;
    e->job.len = 0;
    crawl_event_family(&e->ev, e->family, sizeof(e->family));
    read_metadata(e);
    e->npages = e->ev.ndocuments;
    e->rows = mem_array(e->npages, sizeof(*e->rows));
    e->pages = mem_array(e->npages, sizeof(*e->pages));
    for (size_t i = 0; i < e->npages; i++)
        prepare(&e->ev.documents[i], index, &e->rows[i], &e->pages[i]);
    return HL_OK;
}

void crawl_effects_release(struct crawl_effects *e)
{
    for (size_t i = 0; i < e->npages; i++) {
        document_release(&e->pages[i].doc);
        free(e->pages[i].metadata);
    }
    free(e->pages);
    free(e->rows);
    free(e->metadata);
    crawl_event_release(&e->ev);
    crawl_job_release(&e->job);
    *e = (struct crawl_effects){0};
}

struct store_crawl crawl_effects_view(const struct crawl_effects *e)
{
    return (struct store_crawl){.event_id = e->job.id,
        .crawl_id = e->ev.id,
        .type = e->ev.type ? e->ev.type : "unknown",
        .family = e->family,
        .kind = e->ev.kind,
        .received_at = e->job.received_at,
        .initiated_at = e->initiated_at,
        .success = e->ev.success,
        .reconciled = e->job.reconciled,
        .error = e->ev.error,
        .metadata = e->metadata,
        .base_url = json_get_string(e->ev.metadata, "url"),
        .documents = (int64_t)e->npages,
        .pages = e->rows,
        .npages = e->npages};
}
