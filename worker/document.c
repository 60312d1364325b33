/* document: see document.h. */
#include "worker/document.h"

#include "base/mem.h"
#include "base/text.h"
#include "base/url.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_TITLE_CHARS = 1000, MAX_DESCRIPTION_CHARS = 5000, MAX_LANGUAGE_CHARS = 35 };

static char *canonical(const char *url)
{
    struct buf b = {0};
    if (!url_canonical(url, &b)) {
        buf_clear(&b);
        buf_puts(&b, url);
    }
    return buf_detach(&b);
}

/* NULL for nothing: an absent title is NULL in the row, not an empty string. */
static char *one_line(const char *s, size_t max_chars)
{
    struct buf b = {0};
    if (s)
        text_one_line(s, max_chars, &b);
    if (b.len)
        return buf_detach(&b);
    buf_release(&b);
    return NULL;
}

/* Each line cleaned on its own, at most one empty line in a row, none at the ends. */
static char *tidy(const char *text)
{
    struct buf out = {0}, line = {0}, valid = {0};
    size_t blank = 0;

    text_append_utf8(&valid, text, strlen(text));
    for (const char *p = buf_str(&valid); *p;) {
        size_t n = strcspn(p, "\n");
        char *raw = mem_strndup(p, n);
        buf_clear(&line);
        text_clean(raw, &line);
        free(raw);
        p += n + (p[n] == '\n');
        if (!line.len) {
            blank++;
            continue;
        }
        if (out.len)
            buf_puts(&out, blank ? "\n\n" : "\n");
        blank = 0;
        buf_append(&out, line.data, line.len);
    }
    buf_release(&line);
    buf_release(&valid);
    return buf_detach(&out);
}

enum hl_rc document_init(struct document *d, const char *url, const char *title,
    const char *description, const char *language, const char *text, struct hl_err *err)
{
    *d = (struct document){.text = tidy(text ? text : "")};
    if (!*d->text) {
        document_release(d);
        return hl_fail(err, HL_FATAL, "Indexing failed: No content after cleaning");
    }
    d->canonical_url = canonical(url);
    d->url = mem_strdup(url);
    d->title = one_line(title, MAX_TITLE_CHARS);
    d->description = one_line(description, MAX_DESCRIPTION_CHARS);
    d->language = one_line(language, MAX_LANGUAGE_CHARS);
    return HL_OK;
}

void document_release(struct document *d)
{
    free(d->canonical_url);
    free(d->url);
    free(d->title);
    free(d->description);
    free(d->language);
    free(d->text);
    *d = (struct document){0};
}

struct store_document document_view(const struct document *d)
{
    return (struct store_document){
        .canonical_url = d->canonical_url,
        .url = d->url,
        .title = d->title,
        .description = d->description,
        .language = d->language,
        .text = d->text,
    };
}
