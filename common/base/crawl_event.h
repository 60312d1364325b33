/* crawl_event: what Firecrawl posts, read and checked. Pure; may run in a helper thread. Reference
 * contract section 2.2 for the envelope, the documents and what is refused; events that later
 * versions of Firecrawl send ("crawl.cancelled", anything else with a dot in it) are accepted. */
#ifndef HL_BASE_CRAWL_EVENT_H
#define HL_BASE_CRAWL_EVENT_H

#include "base/buf.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CRAWL_MAX_DOCUMENTS 1000 /* of one event */
#define CRAWL_MAX_ID        255  /* characters: the column's width */
#define CRAWL_MAX_TYPE      100  /* bytes */
#define CRAWL_MAX_URL       8192 /* bytes */

/* By what stands behind the first dot of its type. Pages are those of crawls and batches: what is a
 * page elsewhere ("monitor.page") need not look like one. */
enum crawl_kind {
    CRAWL_STARTED,
    CRAWL_PAGE,
    CRAWL_COMPLETED,
    CRAWL_FAILED,
    CRAWL_CANCELLED,
    CRAWL_OTHER, /* recorded, nothing else */
};

/* All borrowed from the event; NULL = absent or null. */
struct crawl_document {
    const char *url, *source_url; /* metadata.url (never NULL), metadata.sourceURL */
    const char *markdown, *html;
    const char *title, *description, *language, *scrape_id;
    int64_t status_code; /* of the page itself */
    const json_t *metadata;
};

/* Strings are borrowed from tree. */
struct crawl_event {
    json_t *tree;
    bool success;
    const char *type, *id, *webhook_id, *error; /* NULL = absent; type and id are not in CRAWL_OK;
                                                   they keep to their limits, or are NULL */
    enum crawl_kind kind;
    const json_t *metadata;           /* object; NULL = absent */
    struct crawl_document *documents; /* owned; of CRAWL_PAGE only */
    size_t ndocuments;
};

enum crawl_verdict {
    CRAWL_OK,
    CRAWL_UNSUCCESSFUL, /* "success": false: only recorded; type and id as far as they are there */
    CRAWL_NOT_JSON,     /* no JSON object: 400; err says where */
    CRAWL_INVALID,      /* of another shape: 422; problems is set */
};
/* body is NUL-terminated after len. \u0000 in what a document says is dropped, elsewhere, and in what
 * names a document, it is CRAWL_NOT_JSON. *ev is to be released unless CRAWL_NOT_JSON. problems: gets the
 * JSON array of validation_errors ({"type","loc","msg","input"}...; at most 20 of them, an input
 * longer than 200 bytes is cut), empty otherwise. */
enum crawl_verdict crawl_event_read(
    const char *body, size_t len, struct crawl_event *ev, struct buf *problems, struct hl_err *err);
void crawl_event_release(struct crawl_event *ev);

/* Appends what names the event among all others, for identity_of("firecrawl", IDENTITY_ID, ...): its
 * crawl, its type, and of a page its scrapeId, else its webhookId, else, where a crawl may have
 * several of the type, the digest of its body. Whoever finds a page of a crawl by asking Firecrawl
 * makes the same key of it. */
void crawl_event_key(
    const struct crawl_event *ev, const uint8_t digest[DIGEST_LEN], struct buf *out);

/* "crawl", "batch_scrape", "extract", ...: what stands before the dot; cut to size. */
void crawl_event_family(const struct crawl_event *ev, char *out, size_t size);

#endif
