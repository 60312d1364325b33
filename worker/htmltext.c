/* htmltext: see htmltext.h. Three steps: bytes to UTF-8, libxml2's tree, a walk that writes text.
 * It owns which elements count and how they are laid out. The walk does not recurse: depth comes
 * from outside. */
#include "worker/htmltext.h"

#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <iconv.h>
#include <libxml/HTMLparser.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TITLE_CHARS       300
#define DESCRIPTION_CHARS 1000
#define META_SCAN         4096        /* bytes searched for <meta charset>; browsers look at 1024 */
#define MAIN_ENOUGH       200         /* bytes of text that make a main element worth preferring */
#define MAX_NAMES         (16 * 1024) /* bytes of tag and attribute names that one page may bring */

/* --- what the bytes are ------------------------------------------------------------------ */

enum kind { KIND_HTML, KIND_PLAIN, KIND_OTHER };

/* "text/html; charset=x": type in lower case, charset "" when there is none. */
struct content_type {
    char type[100];
    char charset[40];
};

/* Copies what stands up to one of stops, lower case; too long = cut. */
static void copy_lower(char *out, size_t size, const char *s, const char *end, const char *stops)
{
    size_t n = 0;
    for (; s < end && !strchr(stops, *s) && n + 1 < size; s++)
        out[n++] = *s >= 'A' && *s <= 'Z' ? (char)(*s + 32) : *s;
    out[n] = '\0';
}

/* The label behind the first "charset=" of [s, end), quoted or not. */
static void find_charset(const char *s, const char *end, char *out, size_t size)
{
    static const char key[] = "charset";
    const size_t n = sizeof(key) - 1;
    out[0] = '\0';
    for (; (size_t)(end - s) > n; s++) {
        if (strncasecmp(s, key, n) != 0)
            continue;
        const char *p = s + n;
        while (p < end && strchr(" \t\r\n", *p))
            p++;
        if (p == end || *p++ != '=')
            continue;
        while (p < end && strchr(" \t\r\n\"'", *p))
            p++;
        copy_lower(out, size, p, end, " \t\r\n\"';/>");
        return;
    }
}

static struct content_type parse_content_type(const char *header)
{
    struct content_type ct = {0};
    const char *end = header + strlen(header);
    header += strspn(header, " \t");
    copy_lower(ct.type, sizeof(ct.type), header, end, " \t;,");
    find_charset(header, end, ct.charset, sizeof(ct.charset));
    return ct;
}

static bool ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), t = strlen(tail);
    return n >= t && strcmp(s + n - t, tail) == 0;
}

static enum kind kind_of(const char *type)
{
    if (!*type || strcmp(type, "text/html") == 0 || strcmp(type, "application/xhtml+xml") == 0)
        return KIND_HTML;
    if (strncmp(type, "text/", 5) == 0 || strcmp(type, "application/json") == 0 ||
        strcmp(type, "application/xml") == 0 || ends_with(type, "+json") || ends_with(type, "+xml"))
        return strncmp(type, "image/", 6) == 0 ? KIND_OTHER : KIND_PLAIN; /* image/svg+xml */
    return KIND_OTHER;
}

/* --- to UTF-8 ---------------------------------------------------------------------------- */

/* Labels of the WHATWG Encoding Standard that pages use, and what iconv calls them. NULL is done
 * here. A list, not whatever iconv knows: the label comes from outside. */
static const struct charset {
    const char *label, *iconv_name;
} charsets[] = {
    {"utf-8",          "UTF-8"      },
    {"utf8",           "UTF-8"      },
    {"windows-1252",   NULL         },
    {"cp1252",         NULL         },
    {"iso-8859-1",     NULL         },
    {"iso8859-1",      NULL         },
    {"latin1",         NULL         },
    {"us-ascii",       NULL         },
    {"ascii",          NULL         },
    {"windows-1250",   "CP1250"     },
    {"windows-1251",   "CP1251"     },
    {"cp1251",         "CP1251"     },
    {"windows-1253",   "CP1253"     },
    {"windows-1254",   "CP1254"     },
    {"iso-8859-9",     "CP1254"     },
    {"windows-1255",   "CP1255"     },
    {"windows-1256",   "CP1256"     },
    {"windows-1257",   "CP1257"     },
    {"windows-1258",   "CP1258"     },
    {"windows-874",    "CP874"      },
    {"tis-620",        "CP874"      },
    {"iso-8859-2",     "ISO-8859-2" },
    {"iso-8859-3",     "ISO-8859-3" },
    {"iso-8859-4",     "ISO-8859-4" },
    {"iso-8859-5",     "ISO-8859-5" },
    {"iso-8859-6",     "ISO-8859-6" },
    {"iso-8859-7",     "ISO-8859-7" },
    {"iso-8859-8",     "ISO-8859-8" },
    {"iso-8859-10",    "ISO-8859-10"},
    {"iso-8859-13",    "ISO-8859-13"},
    {"iso-8859-14",    "ISO-8859-14"},
    {"iso-8859-15",    "ISO-8859-15"},
    {"iso-8859-16",    "ISO-8859-16"},
    {"koi8-r",         "KOI8-R"     },
    {"koi8-u",         "KOI8-U"     },
    {"ibm866",         "CP866"      },
    {"macintosh",      "MACINTOSH"  },
    {"gb2312",         "GB18030"    },
    {"gbk",            "GB18030"    },
    {"gb18030",        "GB18030"    },
    {"big5",           "BIG5-HKSCS" },
    {"euc-jp",         "EUC-JP"     },
    {"shift_jis",      "CP932"      },
    {"shift-jis",      "CP932"      },
    {"iso-2022-jp",    "ISO-2022-JP"},
    {"euc-kr",         "CP949"      },
    {"ks_c_5601-1987", "CP949"      },
    {"utf-16",         "UTF-16LE"   },
    {"utf-16le",       "UTF-16LE"   },
    {"utf-16be",       "UTF-16BE"   },
};

static const struct charset *find_label(const char *label)
{
    for (size_t i = 0; i < sizeof(charsets) / sizeof(charsets[0]); i++)
        if (strcmp(charsets[i].label, label) == 0)
            return &charsets[i];
    return NULL;
}

static void put_code_point(struct buf *out, unsigned cp)
{
    if (cp < 0x80) {
        buf_putc(out, (char)cp);
    } else if (cp < 0x800) {
        buf_putc(out, (char)(0xc0 | cp >> 6));
        buf_putc(out, (char)(0x80 | (cp & 63)));
    } else {
        buf_putc(out, (char)(0xe0 | cp >> 12));
        buf_putc(out, (char)(0x80 | (cp >> 6 & 63)));
        buf_putc(out, (char)(0x80 | (cp & 63)));
    }
}

/* The encoding of pages that name none; done here so that it never depends on installed files. */
static void from_windows_1252(const char *s, size_t len, struct buf *out)
{
    static const uint16_t high[32] = {0x20ac, 0x81, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021,
        0x02c6, 0x2030, 0x0160, 0x2039, 0x0152, 0x8d, 0x017d, 0x8f, 0x90, 0x2018, 0x2019, 0x201c,
        0x201d, 0x2022, 0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0x9d, 0x017e,
        0x0178};
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c)
            put_code_point(out, c >= 0x80 && c < 0xa0 ? high[c - 0x80] : c);
    }
}

/* False when this system's iconv lacks the encoding. What does not convert becomes U+FFFD. */
static bool from_iconv(const char *name, const char *s, size_t len, struct buf *out)
{
    iconv_t cd = iconv_open("UTF-8", name);
    if (cd == (iconv_t)-1)
        return false;
    struct buf raw = {0};
    char *in = (char *)(uintptr_t)s; /* iconv's prototype lacks the const */
    while (len > 0) {
        char *to = buf_reserve(&raw, 4096), *start = to;
        size_t room = 4096;
        size_t rc = iconv(cd, &in, &len, &to, &room);
        raw.len += (size_t)(to - start);
        if (rc == (size_t)-1 && errno != E2BIG && len > 0) {
            buf_puts(&raw, "\xef\xbf\xbd");
            in++;
            len--;
        }
    }
    iconv_close(cd);
    text_append_utf8(out, buf_str(&raw), raw.len); /* drops NUL */
    buf_release(&raw);
    return true;
}

static bool convert(const struct charset *cs, const char *s, size_t len, struct buf *out)
{
    if (!cs->iconv_name)
        from_windows_1252(s, len, out);
    else if (strcmp(cs->iconv_name, "UTF-8") == 0)
        text_append_utf8(out, s, len);
    else
        return from_iconv(cs->iconv_name, s, len, out);
    return true;
}

/* The charset a <meta> tag names near the beginning; UTF-16 there cannot be true. */
static const struct charset *meta_charset(const char *s, size_t len)
{
    const char *end = s + (len < META_SCAN ? len : META_SCAN);
    for (; end - s > 5; s++) {
        if (*s != '<' || strncasecmp(s, "<meta", 5) != 0)
            continue;
        char label[40];
        const char *close = memchr(s, '>', (size_t)(end - s));
        find_charset(s, close ? close : end, label, sizeof(label));
        if (*label)
            return find_label(strncmp(label, "utf-16", 6) == 0 ? "utf-8" : label);
    }
    return NULL;
}

static const struct charset *bom_charset(const char *s, size_t len, size_t *skip)
{
    static const struct {
        const char *bytes;
        size_t n;
        const char *label;
    } boms[] = {
        {"\xef\xbb\xbf", 3, "utf-8"   },
        {"\xfe\xff",     2, "utf-16be"},
        {"\xff\xfe",     2, "utf-16le"}
    };
    for (size_t i = 0; i < sizeof(boms) / sizeof(boms[0]); i++) {
        if (len >= boms[i].n && memcmp(s, boms[i].bytes, boms[i].n) == 0) {
            *skip = boms[i].n;
            return find_label(boms[i].label);
        }
    }
    *skip = 0;
    return NULL;
}

/* BOM, then header, then <meta>, then UTF-8 if it is that, then windows-1252. */
static void to_utf8(
    const char *s, size_t len, const char *header_charset, bool html, struct buf *out)
{
    size_t skip;
    const struct charset *cs = bom_charset(s, len, &skip);
    s += skip;
    len -= skip;
    if (!cs)
        cs = find_label(header_charset);
    if (!cs && html)
        cs = meta_charset(s, len);
    if (cs && convert(cs, s, len, out))
        return;
    convert(find_label(text_utf8_valid(s, len) ? "utf-8" : "windows-1252"), s, len, out);
}

/* --- layout ------------------------------------------------------------------------------ */

/* Writes text with blanks collapsed; line ends and prefixes wait until text comes behind them. */
struct layout {
    struct buf *out;
    int lines;        /* line ends due before the next text: 0, 1, or 2 for an empty line */
    bool blank;       /* a blank is due */
    bool cell;        /* a cell separator is due */
    char prefix[40];  /* "## ", "  - " */
    int lists;        /* depth of ul, ol */
    int preformatted; /* depth of pre */
    char held[80];    /* blanks within a preformatted line */
    size_t held_len;
};

static void layout_break(struct layout *l, int lines)
{
    if (lines > l->lines)
        l->lines = lines;
    l->blank = l->cell = false;
}

/* Writes what is due before text. */
static void layout_flush(struct layout *l)
{
    bool fresh = l->out->len == 0;
    if (!fresh && l->lines > 0)
        buf_puts(l->out, l->lines > 1 ? "\n\n" : "\n");
    else if (!fresh && l->cell)
        buf_puts(l->out, " | ");
    else if (!fresh && l->blank && !*l->prefix)
        buf_putc(l->out, ' ');
    buf_puts(l->out, l->prefix);
    l->prefix[0] = '\0';
    l->lines = 0;
    l->blank = l->cell = false;
}

/* Bytes of the white space character at s, 0 when it is none. */
static size_t space_at(const char *s)
{
    if (strchr(" \t\r\n\f", *s) && *s)
        return 1;
    return strncmp(s, "\xc2\xa0", 2) == 0 ? 2 : 0; /* no-break space */
}

static void layout_text(struct layout *l, const char *s)
{
    while (*s) {
        size_t space = space_at(s);
        if (space) {
            l->blank = true;
            s += space;
            continue;
        }
        const char *end = s;
        while (*end && !space_at(end))
            end++;
        layout_flush(l);
        buf_append(l->out, s, (size_t)(end - s));
        s = end;
    }
}

/* Blanks of a preformatted line, due when more text follows on it. */
static void hold_blanks(struct layout *l, const char *s, size_t n)
{
    size_t room = sizeof(l->held) - l->held_len;
    n = n < room ? n : room;
    memcpy(l->held + l->held_len, s, n);
    l->held_len += n;
}

/* Line by line, blanks kept but for those at the end. */
static void layout_preformatted(struct layout *l, const char *s)
{
    while (*s) {
        size_t n = strcspn(s, "\r\n"), shown = n;
        while (shown > 0 && strchr(" \t", s[shown - 1]))
            shown--;
        if (shown > 0) {
            layout_flush(l);
            buf_append(l->out, l->held, l->held_len);
            buf_append(l->out, s, shown);
            l->held_len = 0;
        }
        hold_blanks(l, s + shown, n - shown);
        s += n;
        if (*s) {
            l->held_len = 0;
            l->lines = l->lines ? 2 : 1;
            s += s[0] == '\r' && s[1] == '\n' ? 2 : 1;
        }
    }
}

/* --- elements ---------------------------------------------------------------------------- */

enum role {
    ROLE_INLINE,    /* what the table does not name */
    ROLE_SKIP,      /* left out with everything in it */
    ROLE_BLOCK,     /* own line */
    ROLE_PARAGRAPH, /* empty line around */
    ROLE_HEADING,
    ROLE_LIST,
    ROLE_ITEM,
    ROLE_CELL,
    ROLE_BREAK,
    ROLE_PRE,
};

static const struct element {
    const char *name;
    enum role role;
} elements[] = {
    {"script",     ROLE_SKIP     },
    {"style",      ROLE_SKIP     },
    {"noscript",   ROLE_SKIP     },
    {"template",   ROLE_SKIP     },
    {"head",       ROLE_SKIP     },
    {"title",      ROLE_SKIP     },
    {"svg",        ROLE_SKIP     },
    {"canvas",     ROLE_SKIP     },
    {"iframe",     ROLE_SKIP     },
    {"noframes",   ROLE_SKIP     },
    {"object",     ROLE_SKIP     },
    {"applet",     ROLE_SKIP     },
    {"audio",      ROLE_SKIP     },
    {"video",      ROLE_SKIP     },
    {"nav",        ROLE_SKIP     },
    {"header",     ROLE_SKIP     },
    {"footer",     ROLE_SKIP     },
    {"aside",      ROLE_SKIP     },
    {"input",      ROLE_SKIP     },
    {"button",     ROLE_SKIP     },
    {"select",     ROLE_SKIP     },
    {"datalist",   ROLE_SKIP     },
    {"textarea",   ROLE_SKIP     },
    {"address",    ROLE_BLOCK    },
    {"article",    ROLE_PARAGRAPH},
    {"blockquote", ROLE_PARAGRAPH},
    {"body",       ROLE_BLOCK    },
    {"caption",    ROLE_BLOCK    },
    {"center",     ROLE_BLOCK    },
    {"dd",         ROLE_BLOCK    },
    {"details",    ROLE_BLOCK    },
    {"dialog",     ROLE_BLOCK    },
    {"div",        ROLE_BLOCK    },
    {"dl",         ROLE_PARAGRAPH},
    {"dt",         ROLE_BLOCK    },
    {"fieldset",   ROLE_BLOCK    },
    {"figcaption", ROLE_BLOCK    },
    {"figure",     ROLE_PARAGRAPH},
    {"form",       ROLE_BLOCK    },
    {"hgroup",     ROLE_BLOCK    },
    {"hr",         ROLE_PARAGRAPH},
    {"legend",     ROLE_BLOCK    },
    {"main",       ROLE_BLOCK    },
    {"option",     ROLE_BLOCK    },
    {"p",          ROLE_PARAGRAPH},
    {"section",    ROLE_PARAGRAPH},
    {"summary",    ROLE_BLOCK    },
    {"table",      ROLE_PARAGRAPH},
    {"tr",         ROLE_BLOCK    },
    {"h1",         ROLE_HEADING  },
    {"h2",         ROLE_HEADING  },
    {"h3",         ROLE_HEADING  },
    {"h4",         ROLE_HEADING  },
    {"h5",         ROLE_HEADING  },
    {"h6",         ROLE_HEADING  },
    {"ul",         ROLE_LIST     },
    {"ol",         ROLE_LIST     },
    {"menu",       ROLE_LIST     },
    {"li",         ROLE_ITEM     },
    {"td",         ROLE_CELL     },
    {"th",         ROLE_CELL     },
    {"br",         ROLE_BREAK    },
    {"pre",        ROLE_PRE      },
    {"listing",    ROLE_PRE      },
    {"xmp",        ROLE_PRE      },
};

static bool is_named(const xmlNode *n, const char *name)
{
    return n->type == XML_ELEMENT_NODE && strcmp((const char *)n->name, name) == 0;
}

static enum role role_of(const xmlNode *n)
{
    for (size_t i = 0; i < sizeof(elements) / sizeof(elements[0]); i++)
        if (strcmp(elements[i].name, (const char *)n->name) == 0)
            return elements[i].role;
    return ROLE_INLINE;
}

/* Value of an attribute, borrowed from the tree; "" when it has none, NULL when it is absent. */
static const char *attribute(const xmlNode *n, const char *name)
{
    for (const xmlAttr *a = n->properties; a; a = a->next)
        if (strcmp((const char *)a->name, name) == 0)
            return a->children && a->children->content ? (const char *)a->children->content : "";
    return NULL;
}

static bool attribute_is(const xmlNode *n, const char *name, const char *value)
{
    const char *v = attribute(n, name);
    return v && strcasecmp(v, value) == 0;
}

/* "display: none" anywhere in a style, blanks or not. */
static bool style_hides(const char *style)
{
    for (; *style; style++) {
        if (strncasecmp(style, "display", 7) != 0)
            continue;
        const char *p = style + 7;
        p += strspn(p, " \t\r\n");
        if (*p++ != ':')
            continue;
        p += strspn(p, " \t\r\n");
        if (strncasecmp(p, "none", 4) == 0)
            return true;
    }
    return false;
}

static bool is_hidden(const xmlNode *n)
{
    if (!n->properties)
        return false;
    const char *style = attribute(n, "style");
    return attribute(n, "hidden") || attribute_is(n, "aria-hidden", "true") ||
           (style && style_hides(style));
}

/* --- the walk ---------------------------------------------------------------------------- */

static void open_element(struct layout *l, const xmlNode *n, enum role role)
{
    switch (role) {
    case ROLE_INLINE:
    case ROLE_SKIP: return;
    case ROLE_BLOCK: layout_break(l, 1); return;
    case ROLE_PARAGRAPH: layout_break(l, *l->prefix || l->lists ? 1 : 2); return;
    case ROLE_HEADING:
        layout_break(l, 2);
        snprintf(l->prefix, sizeof(l->prefix), "%.*s ", n->name[1] - '0', "######");
        return;
    case ROLE_LIST:
        layout_break(l, l->lists ? 1 : 2);
        l->lists++;
        return;
    case ROLE_ITEM:
        layout_break(l, 1);
        snprintf(l->prefix, sizeof(l->prefix), "%*s- ",
            l->lists > 1 ? 2 * ((l->lists > 16 ? 16 : l->lists) - 1) : 0, "");
        return;
    case ROLE_CELL: l->cell = l->lines == 0; return;
    case ROLE_BREAK: layout_break(l, l->lines ? 2 : 1); return;
    case ROLE_PRE:
        layout_break(l, 2);
        l->preformatted++;
        return;
    }
}

static void close_element(struct layout *l, enum role role)
{
    switch (role) {
    case ROLE_INLINE:
    case ROLE_SKIP:
    case ROLE_CELL:
    case ROLE_BREAK: return;
    case ROLE_BLOCK: layout_break(l, 1); return;
    case ROLE_PARAGRAPH: layout_break(l, l->lists ? 1 : 2); return;
    case ROLE_HEADING:
        l->prefix[0] = '\0'; /* an empty one leaves nothing */
        layout_break(l, 2);
        return;
    case ROLE_LIST:
        l->lists--;
        layout_break(l, l->lists ? 1 : 2);
        return;
    case ROLE_ITEM:
        l->prefix[0] = '\0';
        layout_break(l, 1);
        return;
    case ROLE_PRE:
        l->preformatted--;
        l->held_len = 0;
        layout_break(l, 2);
        return;
    }
}

/* The node after n in document order within top, not below n; calls close for each end passed. */
static const xmlNode *next_beyond(const xmlNode *n, const xmlNode *top, struct layout *l)
{
    while (n != top && !n->next) {
        n = n->parent;
        if (l)
            close_element(l, role_of(n));
    }
    return n == top ? NULL : n->next;
}

static bool is_left_out(const xmlNode *n)
{
    return n->type != XML_ELEMENT_NODE || role_of(n) == ROLE_SKIP || is_hidden(n);
}

static void write_text(const xmlNode *top, struct buf *out)
{
    struct layout l = {.out = out};
    for (const xmlNode *n = top; n;) {
        if (n->type == XML_TEXT_NODE && n->content) {
            const char *s = (const char *)n->content;
            if (l.preformatted)
                layout_preformatted(&l, s);
            else
                layout_text(&l, s);
        } else if (n == top || !is_left_out(n)) {
            open_element(&l, n, role_of(n));
            if (n->children) {
                n = n->children;
                continue;
            }
            close_element(&l, role_of(n));
        }
        n = next_beyond(n, top, &l);
    }
}

/* What the page says about itself; everything borrowed from the tree. */
struct page {
    const xmlNode *body, *title;
    const xmlNode *main, *article;
    size_t articles;
    const char *og_title, *description, *og_description;
};

static void note_meta(struct page *page, const xmlNode *n)
{
    const char *content = attribute(n, "content");
    if (!content || !*content)
        return;
    if (!page->description && attribute_is(n, "name", "description"))
        page->description = content;
    if (!page->og_title && attribute_is(n, "property", "og:title"))
        page->og_title = content;
    if (!page->og_description && attribute_is(n, "property", "og:description"))
        page->og_description = content;
}

static struct page survey(const xmlNode *root)
{
    struct page page = {.body = root};
    for (const xmlNode *n = root; n;) {
        if (is_named(n, "title") && !page.title)
            page.title = n;
        else if (is_named(n, "meta"))
            note_meta(&page, n);
        bool below = n->children && !is_named(n, "svg") && n->type == XML_ELEMENT_NODE;
        n = below ? n->children : next_beyond(n, root, NULL);
    }
    for (const xmlNode *n = root; n;) {
        bool seen = n == root || !is_left_out(n);
        if (seen && is_named(n, "body") && page.body == root)
            page.body = n;
        if (seen && !page.main && (is_named(n, "main") || attribute_is(n, "role", "main")))
            page.main = n;
        if (seen && is_named(n, "article") && page.articles++ == 0)
            page.article = n;
        n = seen && n->children ? n->children : next_beyond(n, root, NULL);
    }
    return page;
}

/* The main element, or the only article, if it holds most of the page or simply enough. */
static void write_content(const struct page *page, struct buf *out)
{
    const xmlNode *inner = page->main ? page->main : page->articles == 1 ? page->article : NULL;
    struct buf part = {0};
    write_text(page->body, out);
    if (!inner)
        return;
    write_text(inner, &part);
    if (part.len >= MAIN_ENOUGH || part.len * 2 >= out->len) {
        buf_release(out);
        *out = part;
    } else {
        buf_release(&part);
    }
}

static void write_title(const struct page *page, struct buf *out)
{
    struct buf whole = {0};
    for (const xmlNode *n = page->title ? page->title->children : NULL; n; n = n->next)
        if (n->content)
            buf_puts(&whole, (const char *)n->content);
    text_one_line(buf_str(&whole), TITLE_CHARS, out);
    if (out->len == 0 && page->og_title)
        text_one_line(page->og_title, TITLE_CHARS, out);
    buf_release(&whole);
}

/* A language tag (RFC 5646) or nothing. */
static void write_language(const xmlNode *root, struct buf *out)
{
    const char *lang = attribute(root, "lang");
    if (!lang)
        lang = attribute(root, "xml:lang");
    if (!lang)
        return;
    lang += strspn(lang, " \t\r\n");
    size_t n = strspn(lang, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-");
    if (n > 0 && n <= 35 && !lang[n + strspn(lang + n, " \t\r\n")])
        buf_append(out, lang, n);
}

/* libxml2 compares each attribute of a tag with all before it. The limit on names keeps a page with
 * a million different ones from costing hours; the names we look for are known beforehand. */
static void limit_names(htmlParserCtxtPtr ctxt)
{
    static const char *const ours[] = {"html", "meta", "title", "lang", "xml:lang", "hidden",
        "style", "aria-hidden", "role", "name", "property", "content"};
    for (size_t i = 0; i < sizeof(elements) / sizeof(elements[0]); i++)
        xmlDictLookup(ctxt->dict, (const xmlChar *)elements[i].name, -1);
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
        xmlDictLookup(ctxt->dict, (const xmlChar *)ours[i], -1);
    xmlDictSetLimit(ctxt->dict, MAX_NAMES);
}

static void extract_html(const struct buf *utf8, struct htmltext *out)
{
    const int options = HTML_PARSE_RECOVER | HTML_PARSE_NONET | HTML_PARSE_NOERROR |
                        HTML_PARSE_NOWARNING | HTML_PARSE_IGNORE_ENC | HTML_PARSE_COMPACT;
    htmlParserCtxtPtr ctxt = htmlNewParserCtxt();
    if (!ctxt)
        abort(); /* out of memory, see mem.h */
    limit_names(ctxt);
    htmlDocPtr doc = htmlCtxtReadMemory(ctxt, utf8->data, (int)utf8->len, NULL, "UTF-8", options);
    const xmlNode *root = doc ? xmlDocGetRootElement(doc) : NULL;
    if (root) {
        struct page page = survey(root);
        write_content(&page, &out->text);
        write_title(&page, &out->title);
        const char *about = page.description ? page.description : page.og_description;
        text_one_line(about ? about : "", DESCRIPTION_CHARS, &out->description);
        write_language(root, &out->language);
    }
    xmlFreeDoc(doc);
    htmlFreeParserCtxt(ctxt);
}

/* --- the way in -------------------------------------------------------------------------- */

static enum hl_rc refuse_type(const char *type, struct hl_err *err)
{
    struct buf shown = {0};
    text_one_line(type, 80, &shown);
    hl_fail(err, HL_FATAL, "content of type %s holds no text to index; watch an HTML or text page",
        buf_str(&shown));
    buf_release(&shown);
    return HL_FATAL;
}

/* Without a content type: NUL bytes or a PDF's beginning are no page. */
static bool looks_binary(const char *body, size_t len)
{
    size_t skip;
    if (bom_charset(body, len, &skip))
        return false;
    return memchr(body, '\0', len < 1024 ? len : 1024) ||
           (len >= 5 && memcmp(body, "%PDF-", 5) == 0);
}

static bool is_blank(const struct buf *b)
{
    const char *s = buf_str(b);
    size_t len = b->len;
    text_trim(&s, &len);
    return len == 0;
}

enum hl_rc htmltext_extract(const char *body, size_t len, const char *content_type,
    struct htmltext *out, struct hl_err *err)
{
    struct content_type ct = parse_content_type(content_type);
    enum kind kind = kind_of(ct.type);
    struct buf utf8 = {0};

    *out = (struct htmltext){0};
    if (kind == KIND_OTHER)
        return refuse_type(ct.type, err);
    if (!*ct.type && len > 0 && looks_binary(body, len))
        return refuse_type("unknown (binary, no Content-Type header)", err);
    if (len > INT_MAX / 4)
        return hl_fail(err, HL_FATAL, "the page has %zu bytes, more than can be parsed", len);
    to_utf8(len ? body : "", len, ct.charset, kind == KIND_HTML, &utf8);
    if (kind == KIND_PLAIN) {
        out->text = utf8;
    } else {
        extract_html(&utf8, out);
        buf_release(&utf8);
    }
    if (!is_blank(&out->text))
        return HL_OK;
    htmltext_release(out);
    return hl_fail(err, HL_FATAL, "no readable text in the page");
}

void htmltext_release(struct htmltext *h)
{
    buf_release(&h->text);
    buf_release(&h->title);
    buf_release(&h->description);
    buf_release(&h->language);
}
