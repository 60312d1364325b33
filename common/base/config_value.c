/* config_value: see config_value.h. */
#include "base/config_value.h"

#include "base/config_table.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/url.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MILLION    INT64_C(1000000)
#define SECRET_MIN 32 /* characters, outside test mode */

/* --- durations, sizes, numbers ----------------------------------------------------------- */

/* Largest first, for writing. */
static const struct config_unit time_units[] = {
    {"h",  MS_HOUR  },
    {"m",  MS_MINUTE},
    {"s",  MS_SECOND},
    {"ms", 1        },
    {"",   MS_SECOND},
    {NULL, 0        },
};
static const struct config_unit size_units[] = {
    {"g",  GIB},
    {"m",  MIB},
    {"k",  KIB},
    {"",   1  },
    {NULL, 0  },
};
static const struct config_unit no_units[] = {
    {"",   1},
    {NULL, 0},
};
static const struct config_unit fraction[] = {
    {"",   1},
    {NULL, 0},
};

/* "0.25", in millionths; up to six digits behind the point. */
static bool read_fraction(const char *s, int64_t *out)
{
    size_t whole = strspn(s, "0123456789"), part = 0;
    if (whole == 0 || whole > 6)
        return false;
    *out = strtoll(s, NULL, 10) * MILLION;
    if (s[whole] == '.')
        part = strspn(s + whole + 1, "0123456789");
    if (s[whole] != '\0' && (part == 0 || part > 6 || s[whole + 1 + part] != '\0'))
        return false;
    int64_t unit = MILLION;
    for (size_t i = 0; i < part; i++)
        *out += (s[whole + 1 + i] - '0') * (unit /= 10);
    return true;
}

static void write_fraction(int64_t v, struct buf *out)
{
    char digits[16];
    snprintf(digits, sizeof(digits), "%06lld", (long long)(v % MILLION));
    size_t len = strlen(digits);
    while (len > 1 && digits[len - 1] == '0')
        len--;
    buf_printf(out, "%lld.%.*s", (long long)(v / MILLION), (int)len, digits);
}

/* Digits and one of the units, nothing else. */
static bool read_units(const char *s, const struct config_unit *units, int64_t *out)
{
    if (units == fraction)
        return read_fraction(s, out);
    size_t digits = strspn(s, "0123456789");
    if (digits == 0 || digits > 18)
        return false;
    int64_t n = strtoll(s, NULL, 10);
    for (; units->suffix; units++)
        if (strcasecmp(s + digits, units->suffix) == 0)
            return !__builtin_mul_overflow(n, units->factor, out);
    return false;
}

static void write_units(int64_t v, const struct config_unit *units, struct buf *out)
{
    if (units == fraction) {
        write_fraction(v, out);
        return;
    }
    while (units[1].suffix && (v == 0 || v % units->factor != 0))
        units++;
    buf_printf(out, "%lld%s", (long long)(v / units->factor), units->suffix);
}

bool config_duration(const char *s, int64_t *ms)
{
    return read_units(s, time_units, ms);
}

bool config_size(const char *s, int64_t *bytes)
{
    return read_units(s, size_units, bytes);
}

/* --- kinds ------------------------------------------------------------------------------- */

static bool starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

static const char *check_key_prefix(const struct config *cfg, const char *text)
{
    (void)cfg;
    for (const char *p = text; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("_.:-", *p))
            return "holds other characters";
    return NULL;
}

static const char *check_redis_url(const struct config *cfg, const char *text)
{
    (void)cfg;
    if (starts(text, "rediss://"))
        return "asks for TLS, which is left to a proxy such as stunnel";
    return starts(text, "redis://") || starts(text, "unix://") ? NULL : "has another form";
}

static const char *check_database_url(const struct config *cfg, const char *text)
{
    (void)cfg;
    return starts(text, "postgresql://") || starts(text, "postgres://") ? NULL : "has another form";
}

static const char *check_web_url(const struct config *cfg, const char *text)
{
    (void)cfg;
    return url_is_web(text) ? NULL : "has another form";
}

static bool is_origin(const char *s, size_t len)
{
    size_t scheme = starts(s, "https://") ? 8 : starts(s, "http://") ? 7 : 0;
    return scheme && len > scheme && !memchr(s + scheme, '/', len - scheme);
}

static const char *check_origin_array(const char *text)
{
    struct hl_err ignored;
    json_t *array = json_parse(text, strlen(text), &ignored), *v;
    const char *wrong = json_is_array(array) ? NULL : "is no JSON array";
    size_t i;
    json_array_foreach(array, i, v)
    {
        const char *s = json_string_value(v);
        if (!s || !(strcmp(s, "*") == 0 || is_origin(s, strlen(s))))
            wrong = "holds something else";
    }
    json_decref(array);
    return wrong;
}

/* Reference contract section 6, "CORS value": what its code meant to accept. */
static const char *check_origins(const struct config *cfg, const char *text)
{
    (void)cfg;
    text += strspn(text, " ");
    if (*text == '\0' || strcmp(text, "*") == 0)
        return NULL;
    if (*text == '[')
        return check_origin_array(text);
    for (const char *p = text; *p; p += strspn(p, ", ")) {
        size_t len = strcspn(p, ", ");
        if (!is_origin(p, len))
            return "holds something else";
        p += len;
    }
    return NULL;
}

/* Reference contract section 6, "Secret rules". */
static const char *check_secret(const struct config *cfg, const char *text)
{
    static const char *const published[] = {"dev-unsafe-api-secret-change-in-production",
        "dev-unsafe-hmac-secret-change-in-production", "your-api-key-here", "changeme", "secret"};
    if (isspace((unsigned char)text[0]) || isspace((unsigned char)text[strlen(text) - 1]))
        return "begins or ends with a blank";
    if (cfg->test_mode)
        return NULL;
    for (size_t i = 0; i < sizeof(published) / sizeof(*published); i++)
        if (strcmp(text, published[i]) == 0)
            return "is a published example; make one with: openssl rand -hex 32";
    if (text_chars(text) < SECRET_MIN)
        return "is too short to be safe; make one with: openssl rand -hex 32";
    return NULL;
}

/* clang-format off */
#define BOOL_WORDS                                                                                 \
    {"true", 1}, {"false", 0}, {"1", 1}, {"0", 0}, {"yes", 1}, {"no", 0}, {"on", 1}, {"off", 0},   \
    {"t", 1}, {"f", 0}, {"y", 1}, {"n", 0}, {NULL, 0}
static const struct config_word bool_words[] = {BOOL_WORDS};
static const struct config_word on_off_words[] = {{"on", 1}, {"off", 0}, BOOL_WORDS};
static const struct config_word level_words[] = {
    {"debug", LOG_DEBUG}, {"info", LOG_INFO}, {"warn", LOG_WARN}, {"error", LOG_ERROR},
    {"warning", LOG_WARN}, {"critical", LOG_ERROR}, {NULL, 0}};
static const struct config_word format_words[] = {
    {"auto", LOG_AUTO}, {"text", LOG_TEXT}, {"json", LOG_JSON}, {NULL, 0}};
static const struct config_word ack_words[] = {{"both", ACK_BOTH}, {"queue", ACK_QUEUE}, {NULL, 0}};
static const struct config_word scraper_words[] = {
    {"firecrawl", SCRAPER_FIRECRAWL}, {"direct", SCRAPER_DIRECT}, {NULL, 0}};
static const struct config_word index_words[] = {
    {"postgres", INDEX_POSTGRES}, {"none", INDEX_NONE}, {NULL, 0}};

static const struct config_kind kind_number = {.noun = "a whole number", .units = no_units};
static const struct config_kind kind_fraction = {.noun = "a fraction", .units = fraction};
static const struct config_kind kind_time = {
    .noun = "a duration (ms, s, m, h; s if bare)", .units = time_units};
static const struct config_kind kind_time_or_off = {
    .noun = "0 (off) or a duration (ms, s, m, h; s if bare)", .units = time_units,
    .zero_is_off = true};
static const struct config_kind kind_size = {
    .noun = "a size (k, m, g; bytes if bare)", .units = size_units};
static const struct config_kind kind_size_or_off = {
    .noun = "0 (off) or a size (k, m, g; bytes if bare)", .units = size_units,
    .zero_is_off = true};
static const struct config_kind kind_bool = {.words = bool_words};
static const struct config_kind kind_on_off = {.words = on_off_words};
static const struct config_kind kind_log_level = {.words = level_words};
static const struct config_kind kind_log_format = {.words = format_words};
static const struct config_kind kind_ack = {.words = ack_words};
static const struct config_kind kind_scraper = {.words = scraper_words};
static const struct config_kind kind_index = {.words = index_words};
static const struct config_kind kind_text = {.noun = "a text"};
static const struct config_kind kind_key_prefix = {
    .noun = "letters, digits and _ . : -", .check = check_key_prefix};
static const struct config_kind kind_api_key = {.noun = "a key", .show = CONFIG_HIDDEN};
static const struct config_kind kind_secret = {
    .noun = "a secret with no blank at either end, outside test mode of 32 characters or more",
    .show = CONFIG_HIDDEN, .check = check_secret};
static const struct config_kind kind_redis_url = {
    .noun = "redis://[user][:password]@host[:port][/db] or unix:///path",
    .show = CONFIG_SHOWN_AS_URL, .check = check_redis_url};
static const struct config_kind kind_database_url = {
    .noun = "postgresql://user[:password]@host[:port]/database", .show = CONFIG_SHOWN_AS_URL,
    .drop_driver = true, .check = check_database_url};
static const struct config_kind kind_origins = {
    .noun = "origins (http://host[:port]) as a JSON array or separated by commas, or *",
    .check = check_origins};
static const struct config_kind kind_web_url = {
    .noun = "http:// or https://, and a host", .show = CONFIG_SHOWN_AS_URL, .check = check_web_url};
/* clang-format on */

/* --- the table --------------------------------------------------------------------------- */

#define TYPE_OF(field)                                                                             \
    _Generic(((struct config *)0)->field, char * : CONFIG_TEXT, int64_t : CONFIG_NUMBER, bool      \
             : CONFIG_BOOL)

#define GROUP_ROW(title) {.group = (title)},
#define SETTING_ROW(f, k, names_, def_, min_, max_, users_, help_)                                 \
    {.offset = offsetof(struct config, f),                                                         \
        .type = TYPE_OF(f),                                                                        \
        .kind = &kind_##k,                                                                         \
        .names = (names_),                                                                         \
        .def = (def_),                                                                             \
        .min = (min_),                                                                             \
        .max = (max_),                                                                             \
        .users = (users_),                                                                         \
        .help = (help_)},
const struct config_row config_rows[] = {CONFIG_TABLE(GROUP_ROW, SETTING_ROW)};
const size_t config_nrows = sizeof(config_rows) / sizeof(*config_rows);

bool config_next_name(const char **names, char name[CONFIG_NAME_MAX])
{
    *names += strspn(*names, " ");
    size_t len = strcspn(*names, " ");
    if (len == 0 || len >= CONFIG_NAME_MAX)
        return false;
    memcpy(name, *names, len);
    name[len] = '\0';
    *names += len;
    return true;
}

const char *config_first_name(const struct config_row *r, char name[CONFIG_NAME_MAX])
{
    const char *names = r->names;
    name[0] = '\0';
    config_next_name(&names, name);
    return name;
}

char **config_text(const struct config *cfg, const struct config_row *r)
{
    return (char **)((char *)(uintptr_t)cfg + r->offset);
}

int64_t config_number(const struct config *cfg, const struct config_row *r)
{
    const char *at = (const char *)cfg + r->offset;
    return r->type == CONFIG_BOOL ? *(const bool *)at : *(const int64_t *)(const void *)at;
}

/* --- writing values ---------------------------------------------------------------------- */

void config_write_number(const struct config_kind *k, int64_t v, struct buf *out)
{
    if (k->units) {
        write_units(v, k->units, out);
        return;
    }
    for (const struct config_word *w = k->words; w->word; w++) {
        if (w->value == v) {
            buf_puts(out, w->word);
            return;
        }
    }
}

static void write_words(const struct config_word *words, struct buf *out)
{
    unsigned seen = 0; /* bit per value: only its first word is listed */
    for (const struct config_word *w = words; w->word; w++) {
        if (seen & 1U << w->value)
            continue;
        buf_printf(out, "%s%s", seen ? ", " : "one of ", w->word);
        seen |= 1U << w->value;
    }
}

void config_write_allowed(const struct config_row *r, struct buf *out)
{
    const struct config_kind *k = r->kind;
    if (k->words) {
        write_words(k->words, out);
    } else if (k->units) {
        buf_printf(out, "%s from ", k->noun);
        write_units(r->min, k->units, out);
        buf_puts(out, " to ");
        write_units(r->max, k->units, out);
    } else {
        buf_printf(
            out, "%s; %lld to %lld characters", k->noun, (long long)r->min, (long long)r->max);
    }
}

/* --- reading values: each returns what is wrong with the text, or NULL ------------------- */

static const char *read_text(struct config *cfg, const struct config_row *r, const char *text)
{
    if (!text_utf8_valid(text, strlen(text)))
        return "is not valid UTF-8";
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return "holds a control character, such as a line end";
    int64_t chars = (int64_t)text_chars(text);
    if (chars == 0 && r->min > 0)
        return "is empty";
    if (chars < r->min)
        return "is too short";
    if (chars > r->max)
        return "is too long";
    const char *wrong = r->kind->check ? r->kind->check(cfg, text) : NULL;
    if (!wrong)
        *config_text(cfg, r) = mem_strdup(text);
    return wrong;
}

static bool read_word(const struct config_word *words, const char *text, int64_t *out)
{
    for (; words->word; words++) {
        if (strcasecmp(words->word, text) == 0) {
            *out = words->value;
            return true;
        }
    }
    return false;
}

static const char *read_number(const struct config_row *r, const char *text, int64_t *out)
{
    const struct config_kind *k = r->kind;
    if (*text == '\0')
        return "is empty";
    if (k->words)
        return read_word(k->words, text, out) ? NULL : "is not one of the words";
    if (!read_units(text, k->units, out))
        return "is malformed";
    if (*out == 0 && k->zero_is_off)
        return NULL;
    return *out < r->min || *out > r->max ? "is out of range" : NULL;
}

static const char *read_trimmed(struct config *cfg, const struct config_row *r, const char *text)
{
    text += strspn(text, " \t\r\n");
    size_t len = strlen(text);
    while (len > 0 && strchr(" \t\r\n", text[len - 1]))
        len--;
    char *copy = mem_strndup(text, len);
    int64_t v;
    const char *wrong = read_number(r, copy, &v);
    free(copy);
    if (wrong)
        return wrong;
    char *at = (char *)cfg + r->offset;
    if (r->type == CONFIG_BOOL)
        *(bool *)at = v != 0;
    else
        *(int64_t *)(void *)at = v;
    return NULL;
}

/* SQLAlchemy's "postgresql+asyncpg://" becomes "postgresql://"; other texts stay as they are. */
static char *without_driver(const char *url)
{
    size_t scheme = strspn(url, "abcdefghijklmnopqrstuvwxyz");
    size_t driver = url[scheme] == '+' ? strcspn(url + scheme, ":") : 0;
    if (!starts(url + scheme + driver, "://"))
        driver = 0;
    return mem_printf("%.*s%s", (int)scheme, url, url + scheme + driver);
}

const char *config_read(struct config *cfg, const struct config_row *r, const char *text)
{
    if (r->type != CONFIG_TEXT)
        return read_trimmed(cfg, r, text);
    if (!r->kind->drop_driver)
        return read_text(cfg, r, text);
    char *url = without_driver(text);
    const char *wrong = read_text(cfg, r, url);
    free(url);
    return wrong;
}
