/* htmltext: readable text, title and description of an HTML page, through libxml2. Pure. */
#ifndef HL_WORKER_HTMLTEXT_H
#define HL_WORKER_HTMLTEXT_H

#include "base/buf.h"
#include "base/err.h"

#include <stddef.h>

struct htmltext {
    struct buf text;        /* UTF-8; block elements separated by line ends, lists as "- item",
                               headings as "# ..", main content preferred over navigation */
    struct buf title;       /* <title>, else og:title; one line; empty when there is none */
    struct buf description; /* meta description, else og:description */
    struct buf language;    /* html lang, e.g. "en"; empty when unknown */
};

/* content_type: the header's value ("" ok): its charset wins over <meta>, a BOM over both; text/plain is taken as it is;
 * application/xhtml+xml as HTML. HL_FATAL: a type that is not text (names it), or nothing readable in it.
 * Scripts, styles, templates, hidden elements, nav, header, footer, aside and forms' controls are left out.
 * Never loads anything from outside; no entity expansion beyond HTML's own. */
enum hl_rc htmltext_extract(const char *body, size_t len, const char *content_type,
    struct htmltext *out, struct hl_err *err);
void htmltext_release(struct htmltext *h);

#endif
