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

/* content_type: the header's value ("" ok). Encoding: BOM, else its charset, else <meta charset>,
 * else UTF-8 if the bytes are that, else windows-1252. HTML and XHTML are laid out; text, JSON and
 * XML types are taken as they are. HL_FATAL: a type that is not text (names it), or nothing
 * readable in it. Scripts, styles, templates, hidden elements, nav, header, footer, aside and
 * forms' controls are left out. Elements nested deeper than libxml2 allows (256) end the page
 * there. Never loads anything from outside; no entity expansion beyond HTML's own. *out is empty
 * unless HL_OK. */
enum hl_rc htmltext_extract(const char *body, size_t len, const char *content_type,
    struct htmltext *out, struct hl_err *err);
void htmltext_release(struct htmltext *h);

#endif
