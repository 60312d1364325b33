/* document: what a scrape brought, made ready for the index: canonical URL, tidy text. Pure. */
#ifndef HL_WORKER_DOCUMENT_H
#define HL_WORKER_DOCUMENT_H

#include "base/err.h"
#include "domain/store.h"

struct document {
    char *canonical_url, *url, *title, *description, *language, *text; /* owned; NULL = none */
};

/* Copies; `text` loses what is not printable text but keeps its lines. HL_FATAL when nothing is
 * left ("No content after cleaning", reference contract section 5.1). */
enum hl_rc document_init(struct document *d, const char *url, const char *title,
    const char *description, const char *language, const char *text, struct hl_err *err);
void document_release(struct document *d);
/* The view that T3b writes; borrowed from d. */
struct store_document document_view(const struct document *d);

#endif
