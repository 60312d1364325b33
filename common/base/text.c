/* text: see text.h. It owns the UTF-8 decoder and the two tables of code points: white space and
 * what is not printable. */
#include "base/text.h"

#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

struct range {
    uint32_t first, last;
};

/* str.isspace() of Python: White_Space plus the four information separators 1c-1f. */
static const struct range space_ranges[] = {
    {0x0009, 0x000d},
    {0x001c, 0x0020},
    {0x0085, 0x0085},
    {0x00a0, 0x00a0},
    {0x1680, 0x1680},
    {0x2000, 0x200a},
    {0x2028, 0x2029},
    {0x202f, 0x202f},
    {0x205f, 0x205f},
    {0x3000, 0x3000},
};

/* Categories Cc, Cf, Co of Unicode 15.1; noncharacters that end a plane are tested apart. Zl and Zp
 * are white space, surrogates are not UTF-8. */
static const struct range unprintable_ranges[] = {
    {0x0000,  0x001f  },
    {0x007f,  0x009f  },
    {0x00ad,  0x00ad  },
    {0x0600,  0x0605  },
    {0x061c,  0x061c  },
    {0x06dd,  0x06dd  },
    {0x070f,  0x070f  },
    {0x0890,  0x0891  },
    {0x08e2,  0x08e2  },
    {0x180e,  0x180e  },
    {0x200b,  0x200f  },
    {0x202a,  0x202e  },
    {0x2060,  0x2064  },
    {0x2066,  0x206f  },
    {0xe000,  0xf8ff  },
    {0xfdd0,  0xfdef  },
    {0xfeff,  0xfeff  },
    {0xfff9,  0xfffb  },
    {0x110bd, 0x110bd },
    {0x110cd, 0x110cd },
    {0x13430, 0x1343f },
    {0x1bca0, 0x1bca3 },
    {0x1d173, 0x1d17a },
    {0xe0001, 0xe0001 },
    {0xe0020, 0xe007f },
    {0xf0000, 0x10ffff},
};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static bool in_ranges(uint32_t cp, const struct range *r, size_t n)
{
    size_t low = 0;
    while (n > 0) {
        size_t half = n / 2;
        if (cp < r[low + half].first) {
            n = half;
        } else if (cp > r[low + half].last) {
            low += half + 1;
            n -= half + 1;
        } else {
            return true;
        }
    }
    return false;
}

static bool is_space(uint32_t cp)
{
    return in_ranges(cp, space_ranges, COUNT(space_ranges));
}

static bool is_control(uint32_t cp)
{
    return cp < 0x20 || (cp >= 0x7f && cp <= 0x9f);
}

static bool is_printable(uint32_t cp)
{
    if (cp >= 0x20 && cp < 0x7f)
        return true;
    return (cp & 0xfffe) != 0xfffe && !in_ranges(cp, unprintable_ranges, COUNT(unprintable_ranges));
}

/* What a first byte promises: how many bytes follow and what the second one may be (RFC 3629
 * section 4), which rules out overlong forms, surrogates and code points above 10ffff. */
struct lead {
    int more;
    uint8_t low, high;
};

static struct lead lead_of(uint8_t c)
{
    if (c < 0x80)
        return (struct lead){0, 0, 0};
    if (c >= 0xc2 && c <= 0xdf)
        return (struct lead){1, 0x80, 0xbf};
    if (c >= 0xe0 && c <= 0xef)
        return (struct lead){2, c == 0xe0 ? 0xa0 : 0x80, c == 0xed ? 0x9f : 0xbf};
    if (c >= 0xf0 && c <= 0xf4)
        return (struct lead){3, c == 0xf0 ? 0x90 : 0x80, c == 0xf4 ? 0x8f : 0xbf};
    return (struct lead){-1, 0, 0};
}

struct step {
    size_t n; /* bytes read, at least 1 */
    bool valid;
    uint32_t cp;
};

/* Reads one code point; invalid: n is the length of what one U+FFFD stands for. len > 0. */
static struct step decode(const char *s, size_t len)
{
    static const uint8_t first_bits[] = {0x7f, 0x1f, 0x0f, 0x07};
    const uint8_t *p = (const uint8_t *)s;
    struct lead lead = lead_of(p[0]);
    if (lead.more < 0)
        return (struct step){.n = 1};

    uint32_t cp = p[0] & first_bits[lead.more];
    for (int i = 1; i <= lead.more; i++) {
        uint8_t low = i == 1 ? lead.low : 0x80, high = i == 1 ? lead.high : 0xbf;
        if ((size_t)i >= len || p[i] < low || p[i] > high)
            return (struct step){.n = (size_t)i};
        cp = cp << 6 | (p[i] & 0x3f);
    }
    return (struct step){.n = (size_t)lead.more + 1, .valid = true, .cp = cp};
}

static bool continues(char c)
{
    return ((uint8_t)c & 0xc0) == 0x80;
}

bool text_utf8_valid(const char *s, size_t len)
{
    for (size_t i = 0; i < len;) {
        struct step step = decode(s + i, len - i);
        if (!step.valid)
            return false;
        i += step.n;
    }
    return true;
}

size_t text_chars(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += !continues(*s);
    return n;
}

size_t text_prefix_chars(const char *s, size_t max_chars)
{
    const char *p = s;
    for (; *p; p++)
        if (!continues(*p) && max_chars-- == 0)
            break;
    return (size_t)(p - s);
}

size_t text_prefix_bytes(const char *s, size_t max_bytes)
{
    size_t n = strnlen(s, max_bytes);
    if (n < max_bytes)
        return n;
    while (n > 0 && continues(s[n]))
        n--;
    return n;
}

void text_append_utf8(struct buf *out, const char *s, size_t len)
{
    size_t kept = 0; /* everything before it is in out */
    for (size_t i = 0; i < len;) {
        struct step step = decode(s + i, len - i);
        if (!step.valid || step.cp == 0) {
            buf_append(out, s + kept, i - kept);
            buf_puts(out, step.valid ? "" : REPLACEMENT);
            kept = i + step.n;
        }
        i += step.n;
    }
    buf_append(out, s + kept, len - kept);
}

char *text_utf8_copy(const char *s)
{
    struct buf b = {0};
    if (!s)
        return NULL;
    text_append_utf8(&b, s, strlen(s));
    return buf_detach(&b);
}

void text_trim(const char **s, size_t *len)
{
    while (*len > 0) {
        struct step step = decode(*s, *len);
        if (!step.valid || !is_space(step.cp))
            break;
        *s += step.n;
        *len -= step.n;
    }
    while (*len > 0) {
        size_t at = *len - 1;
        while (at > 0 && continues((*s)[at]))
            at--;
        struct step step = decode(*s + at, *len - at);
        if (!step.valid || at + step.n != *len || !is_space(step.cp))
            break;
        *len = at;
    }
}

/* The words are split before anything is dropped, so a word of unprintable characters only leaves
 * its blank behind, as in the reference. */
void text_clean(const char *s, struct buf *out)
{
    const char *end = s + strlen(s);
    size_t start = out->len;
    bool gap = false, word = false, content = false;

    while (s < end) {
        struct step step = decode(s, (size_t)(end - s));
        if (step.valid && is_space(step.cp)) {
            gap = word;
        } else {
            if (gap)
                buf_putc(out, ' ');
            gap = false;
            word = true;
            if (!step.valid || is_printable(step.cp)) {
                buf_append(out, step.valid ? s : REPLACEMENT, step.valid ? step.n : 3);
                content = true;
            }
        }
        s += step.n;
    }
    if (!content && out->len > start) {
        out->len = start;
        out->data[start] = '\0';
    }
}

void text_one_line(const char *s, size_t max_chars, struct buf *out)
{
    const char *end = s + strlen(s);
    bool gap = false;
    size_t chars = 0;

    while (s < end && chars < max_chars) {
        struct step step = decode(s, (size_t)(end - s));
        if (step.valid && (is_space(step.cp) || is_control(step.cp))) {
            gap = chars > 0;
        } else {
            if (gap && ++chars == max_chars)
                break;
            if (gap)
                buf_putc(out, ' ');
            gap = false;
            buf_append(out, step.valid ? s : REPLACEMENT, step.valid ? step.n : 3);
            chars++;
        }
        s += step.n;
    }
}

bool text_steers(uint32_t cp)
{
    static const struct range marks[] = {
        {0x061c, 0x061c},
        {0x200e, 0x200f},
        {0x202a, 0x202e},
        {0x2066, 0x2069},
    };
    return is_control(cp) || in_ranges(cp, marks, COUNT(marks));
}

size_t text_next(const char *s, size_t len, uint32_t *cp)
{
    struct step step = decode(s, len);
    *cp = step.valid ? step.cp : TEXT_INVALID;
    return step.n;
}

void text_tame(char *s, size_t len)
{
    for (size_t i = 0; i < len;) {
        struct step step = decode(s + i, len - i);
        if (!step.valid)
            memset(s + i, '?', step.n);
        else if (text_steers(step.cp) && step.cp != '\n' && step.cp != '\t')
            memset(s + i, ' ', step.n);
        i += step.n;
    }
}
