/* crawl_event: see crawl_event.h. Types are coerced, and faults worded, as the reference contract's
 * service does (pydantic); each field is one row of a table. */
#include "base/crawl_event.h"

#include "base/mem.h"
#include "base/text.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_PROBLEMS = 20, INPUT_KEPT = 200 };

/* --- what is wrong, and where ------------------------------------------------------------ */

/* Where we are: in the envelope, in a document, or in its metadata. */
struct checker {
    struct buf *out;
    int problems;
    ssize_t document; /* place in data; -1 = in the envelope */
    bool in_metadata;
};

static int until_full(const char *data, size_t len, void *ctx)
{
    struct buf *text = ctx;
    buf_append(text, data, len);
    return text->len > INPUT_KEPT ? -1 : 0; /* the rest is not even written */
}

/* As it came, or the beginning of that, as a string. */
static void put_input(struct buf *out, const json_t *v)
{
    struct buf text = {0};
    const char *s = json_string_value(v);
    bool whole = s ? strlen(s) <= INPUT_KEPT
                   : json_dump_callback(v, until_full, &text, JSON_COMPACT | JSON_ENCODE_ANY) == 0;
    if (!s && whole) {
        buf_append(out, text.data, text.len);
    } else {
        const char *from = s ? s : buf_str(&text);
        char *cut = mem_strndup(from, text_prefix_bytes(from, INPUT_KEPT));
        json_put_string(out, cut);
        free(cut);
    }
    buf_release(&text);
}

static void put_loc(const struct checker *c, const char *name)
{
    const char *comma = "";
    buf_puts(c->out, ",\"loc\":[");
    if (c->document >= 0) {
        buf_printf(c->out, "\"data\",%zd", c->document);
        comma = ",";
    }
    if (c->in_metadata)
        buf_puts(c->out, ",\"metadata\"");
    if (name) {
        buf_puts(c->out, comma);
        json_put_string(c->out, name);
    }
    buf_putc(c->out, ']');
}

/* name NULL: the document itself. False, so that a check can end in it. */
static bool problem(
    struct checker *c, const char *name, const json_t *input, const char *type, const char *msg)
{
    if (c->problems++ >= MAX_PROBLEMS)
        return false;
    buf_puts(c->out, c->out->len ? "," : "[");
    buf_printf(c->out, "{\"type\":\"%s\"", type);
    put_loc(c, name);
    json_put_key(c->out, "msg");
    json_put_string(c->out, msg);
    json_put_key(c->out, "input");
    put_input(c->out, input);
    buf_putc(c->out, '}');
    return false;
}

static bool missing(struct checker *c, const char *name, const json_t *object)
{
    return problem(c, name, object, "missing", "Field required");
}

static bool too_long(struct checker *c, const char *name, const json_t *v, long max, const char *of)
{
    char msg[80];
    snprintf(msg, sizeof(msg), "String should have at most %ld %s", max, of);
    return problem(c, name, v, "string_too_long", msg);
}

/* --- values ------------------------------------------------------------------------------ */

static bool take_bool(struct checker *c, const char *name, const json_t *v, bool *to)
{
    static const char *const words[] = {
        "true", "1", "t", "y", "yes", "on", "false", "0", "f", "n", "no", "off"};
    const char *s = json_string_value(v);

    *to = json_is_true(v) || (json_is_number(v) && json_number_value(v) == 1);
    if (json_is_boolean(v) || *to || (json_is_number(v) && json_number_value(v) == 0))
        return true;
    for (size_t i = 0; s && i < sizeof(words) / sizeof(*words); i++) {
        if (strcasecmp(s, words[i]) == 0) {
            *to = i < 6;
            return true;
        }
    }
    if (s || json_is_number(v))
        return problem(c, name, v, "bool_parsing",
            "Input should be a valid boolean, unable to interpret input");
    return problem(c, name, v, "bool_type", "Input should be a valid boolean");
}

/* Digits of a 32-bit number, with a sign and blanks around. */
static bool parse_int(const char *s, double *n)
{
    char *end;
    s += strspn(s, " \t\r\n");
    if (strspn(s + (*s == '-' || *s == '+'), "0123456789") == 0)
        return false;
    *n = (double)strtoll(s, &end, 10);
    return end[strspn(end, " \t\r\n")] == '\0';
}

static bool take_int(struct checker *c, const char *name, const json_t *v, int64_t *to)
{
    double n = json_is_boolean(v) ? json_is_true(v) : json_number_value(v);

    if (json_is_string(v) && !parse_int(json_string_value(v), &n))
        return problem(c, name, v, "int_parsing",
            "Input should be a valid integer, unable to parse string as an integer");
    if (!json_is_string(v) && !json_is_number(v) && !json_is_boolean(v))
        return problem(c, name, v, "int_type", "Input should be a valid integer");
    if (n > INT_MAX)
        return problem(
            c, name, v, "less_than_equal", "Input should be less than or equal to 2147483647");
    if (n < INT_MIN)
        return problem(c, name, v, "greater_than_equal",
            "Input should be greater than or equal to -2147483648");
    if (n != (double)(int64_t)n)
        return problem(c, name, v, "int_from_float",
            "Input should be a valid integer, got a number with a fractional part");
    *to = (int64_t)n;
    return true;
}

static bool has_control(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            return true;
    return false;
}

/* --- a document -------------------------------------------------------------------------- */

enum value { TEXT, NUMBER };
struct field {
    const char *name;
    enum value value;
    bool required; /* and not null, and not empty */
    size_t max;    /* bytes; 0 = any */
    ssize_t to;    /* offset in struct crawl_document; -1 = only looked at */
};

#define AT(member) ((ssize_t)offsetof(struct crawl_document, member))
/* clang-format off */
static const struct field content_fields[] = {
    {"markdown",    TEXT,   false, 0,             AT(markdown)},
    {"html",        TEXT,   false, 0,             AT(html)},
    {0},
};
static const struct field metadata_fields[] = {
    {"url",         TEXT,   true,  CRAWL_MAX_URL, AT(url)},
    {"statusCode",  NUMBER, true,  0,             AT(status_code)},
    {"title",       TEXT,   false, 0,             AT(title)},
    {"description", TEXT,   false, 0,             AT(description)},
    {"contentType", TEXT,   false, 0,             -1},
    {"scrapeId",    TEXT,   false, 0,             AT(scrape_id)},
    {"sourceURL",   TEXT,   false, CRAWL_MAX_URL, AT(source_url)},
    {"proxyUsed",   TEXT,   false, 0,             -1},
    {"cacheState",  TEXT,   false, 0,             -1},
    {"cachedAt",    TEXT,   false, 0,             -1},
    {"creditsUsed", NUMBER, false, 0,             -1},
    {"language",    TEXT,   false, 0,             AT(language)},
    {"country",     TEXT,   false, 0,             -1},
    {0},
};
/* clang-format on */

static bool check_text(struct checker *c, const struct field *f, const json_t *v)
{
    if (!json_is_string(v))
        return problem(c, f->name, v, "string_type", "Input should be a valid string");
    size_t len = json_string_length(v);
    if (f->required && len == 0)
        return problem(
            c, f->name, v, "string_too_short", "String should have at least 1 character");
    return !f->max || len <= f->max || too_long(c, f->name, v, (long)f->max, "bytes");
}

static void take_field(
    struct checker *c, const struct field *f, const json_t *object, struct crawl_document *d)
{
    const json_t *v = json_object_get(object, f->name);
    void *to = f->to < 0 ? NULL : (char *)d + f->to;
    int64_t number;

    if (!v && f->required)
        missing(c, f->name, object);
    if (!v || (json_is_null(v) && !f->required))
        return;
    if (f->value == NUMBER && take_int(c, f->name, v, &number) && to)
        *(int64_t *)to = number;
    if (f->value == TEXT && check_text(c, f, v) && to)
        *(const char **)to = json_string_value(v);
}

static void take_document(struct checker *c, const json_t *v, struct crawl_document *d)
{
    if (!json_is_object(v)) {
        problem(c, NULL, v, "dict_type", "Input should be a valid dictionary");
        return;
    }
    for (const struct field *f = content_fields; f->name; f++)
        take_field(c, f, v, d);
    d->metadata = json_object_get(v, "metadata");
    if (!d->metadata) {
        missing(c, "metadata", v);
    } else if (!json_is_object(d->metadata)) {
        problem(c, "metadata", d->metadata, "dict_type", "Input should be a valid dictionary");
    } else {
        c->in_metadata = true;
        for (const struct field *f = metadata_fields; f->name; f++)
            take_field(c, f, d->metadata, d);
        c->in_metadata = false;
    }
}

/* --- the envelope ------------------------------------------------------------------------ */

/* Letters, digits, _ and -, a dot in the middle, dots behind it. */
static bool is_type(const char *s)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
    const char *dot = strchr(s, '.');
    return dot && dot > s && dot[1] && s[strspn(s, allowed)] == '\0' && strlen(s) <= CRAWL_MAX_TYPE;
}

static bool is_id(const char *s)
{
    return *s && !has_control(s) && text_chars(s) <= CRAWL_MAX_ID;
}

static enum crawl_kind kind_of(const char *type)
{
    static const struct {
        const char *name;
        enum crawl_kind kind;
    } kinds[] = {
        {"started",   CRAWL_STARTED  },
        {"completed", CRAWL_COMPLETED},
        {"failed",    CRAWL_FAILED   },
        {"cancelled", CRAWL_CANCELLED},
    };
    const char *name = type ? strchr(type, '.') + 1 : "";
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
        if (strcmp(name, kinds[i].name) == 0)
            return kinds[i].kind;
    if (type && (strcmp(type, "crawl.page") == 0 || strcmp(type, "batch_scrape.page") == 0))
        return CRAWL_PAGE;
    return CRAWL_OTHER;
}

static void take_success(struct checker *c, struct crawl_event *ev)
{
    const json_t *v = json_object_get(ev->tree, "success");
    if (!v)
        missing(c, "success", ev->tree);
    else
        take_bool(c, "success", v, &ev->success);
}

static void take_type(struct checker *c, struct crawl_event *ev)
{
    const json_t *v = json_object_get(ev->tree, "type");
    const char *s = json_string_value(v);
    if (!v)
        missing(c, "type", ev->tree);
    else if (!s)
        problem(c, "type", v, "string_type", "Input should be a valid string");
    else if (strlen(s) > CRAWL_MAX_TYPE)
        too_long(c, "type", v, CRAWL_MAX_TYPE, "characters");
    else if (!is_type(s))
        problem(c, "type", v, "string_pattern_mismatch",
            "String should match pattern '^[A-Za-z0-9_-]+\\.[A-Za-z0-9_.-]+$'");
    else
        ev->type = s;
}

/* "id", else "jobId", which older versions send. */
static const char *id_name(const json_t *tree)
{
    const json_t *id = json_object_get(tree, "id");
    bool older = !id || json_is_null(id);
    return older && json_object_get(tree, "jobId") ? "jobId" : "id";
}

static void take_id(struct checker *c, struct crawl_event *ev)
{
    const char *name = id_name(ev->tree);
    const json_t *v = json_object_get(ev->tree, name);
    const char *s = json_string_value(v);
    if (!v)
        missing(c, name, ev->tree);
    else if (!s)
        problem(c, name, v, "string_type", "Input should be a valid string");
    else if (!*s)
        problem(c, name, v, "string_too_short", "String should have at least 1 character");
    else if (text_chars(s) > CRAWL_MAX_ID)
        too_long(c, name, v, CRAWL_MAX_ID, "characters");
    else if (has_control(s))
        problem(c, name, v, "string_pattern_mismatch", "String should hold no control characters");
    else
        ev->id = s;
}

/* What stands in the members that no event must have, as far as it is of use. */
static void take_rest(struct crawl_event *ev)
{
    const json_t *metadata = json_object_get(ev->tree, "metadata");
    const char *webhook_id = json_get_string(ev->tree, "webhookId");
    ev->metadata = json_is_object(metadata) ? metadata : NULL;
    ev->error = json_get_string(ev->tree, "error");
    ev->webhook_id = webhook_id && *webhook_id ? webhook_id : NULL;
}

static void check_rest(struct checker *c, const struct crawl_event *ev)
{
    const json_t *metadata = json_object_get(ev->tree, "metadata");
    const json_t *error = json_object_get(ev->tree, "error");
    if (metadata && !ev->metadata)
        problem(c, "metadata", metadata, "dict_type", "Input should be a valid dictionary");
    if (error && !ev->error && !json_is_null(error))
        problem(c, "error", error, "string_type", "Input should be a valid string");
}

static void take_documents(struct checker *c, const json_t *data, struct crawl_event *ev)
{
    ev->documents = mem_array(json_array_size(data), sizeof(*ev->documents));
    ev->ndocuments = json_array_size(data);
    for (size_t i = 0; i < ev->ndocuments && c->problems < MAX_PROBLEMS; i++) {
        c->document = (ssize_t)i;
        take_document(c, json_array_get(data, i), &ev->documents[i]);
    }
    c->document = -1;
}

static void check_objects(struct checker *c, const json_t *data)
{
    for (size_t i = 0; i < json_array_size(data) && c->problems < MAX_PROBLEMS; i++) {
        const json_t *v = json_array_get(data, i);
        c->document = (ssize_t)i;
        if (!json_is_object(v))
            problem(c, NULL, v, "dict_type", "Input should be a valid dictionary");
    }
    c->document = -1;
}

static void take_data(struct checker *c, struct crawl_event *ev)
{
    const json_t *data = json_object_get(ev->tree, "data");
    size_t n = json_array_size(data);
    char msg[100];

    if (!data)
        return;
    if (!json_is_array(data)) {
        problem(c, "data", data, "list_type", "Input should be a valid list");
    } else if (n > CRAWL_MAX_DOCUMENTS) {
        snprintf(msg, sizeof(msg), "List should have at most %d items after validation, not %zu",
            CRAWL_MAX_DOCUMENTS, n);
        problem(c, "data", data, "too_long", msg);
    } else if (ev->kind == CRAWL_PAGE) {
        take_documents(c, data, ev);
    } else {
        check_objects(c, data);
    }
}

/* --- reading ----------------------------------------------------------------------------- */

static enum crawl_verdict read_unsuccessful(struct crawl_event *ev)
{
    const char *type = json_get_string(ev->tree, "type");
    const char *id = json_get_string(ev->tree, id_name(ev->tree));
    ev->type = type && is_type(type) ? type : NULL;
    ev->id = id && is_id(id) ? id : NULL;
    ev->kind = kind_of(ev->type);
    take_rest(ev);
    return CRAWL_UNSUCCESSFUL;
}

/* Of an event that we know nothing of only the head is looked at. */
static enum crawl_verdict read_whole(struct crawl_event *ev, struct buf *problems)
{
    struct checker c = {.out = problems, .document = -1};
    take_success(&c, ev);
    take_type(&c, ev);
    take_id(&c, ev);
    take_rest(ev);
    ev->kind = kind_of(ev->type);
    if (!ev->type || ev->kind != CRAWL_OTHER) {
        check_rest(&c, ev);
        take_data(&c, ev);
    }
    if (!c.problems)
        return CRAWL_OK;
    buf_putc(problems, ']');
    return CRAWL_INVALID;
}

/* Members of a document by which it is known. */
static bool names_document(const char *key)
{
    return strcmp(key, "url") == 0 || strcmp(key, "sourceURL") == 0 || strcmp(key, "scrapeId") == 0;
}

static void document_drop_nul(json_t *document)
{
    const char *key, *name;
    json_t *member, *v;
    json_object_foreach(document, key, member)
    {
        if (strcmp(key, "metadata") != 0)
            json_drop_nul(member);
        json_object_foreach(member, name, v) if (!names_document(name)) json_drop_nul(v);
    }
}

/* Some pages hold NUL characters, and what is refused is sent no second time: they go. Anywhere else
 * they are a fault of the sender's. */
static json_t *parse(const char *body, size_t len, struct hl_err *err)
{
    static const char nul[] = "\\u0000";
    json_t *tree = json_parse_with_nul(body, len, err), *document;
    size_t i;

    if (!tree || !memmem(body, len, nul, strlen(nul)))
        return tree;
    json_array_foreach(json_object_get(tree, "data"), i, document) document_drop_nul(document);
    if (!json_has_nul(tree))
        return tree;
    json_decref(tree);
    return json_parse(body, len, err);
}

enum crawl_verdict crawl_event_read(
    const char *body, size_t len, struct crawl_event *ev, struct buf *problems, struct hl_err *err)
{
    *ev = (struct crawl_event){.kind = CRAWL_OTHER};
    buf_clear(problems);
    ev->tree = parse(body, len, err);
    if (!ev->tree)
        return CRAWL_NOT_JSON;
    if (json_is_false(json_object_get(ev->tree, "success")))
        return read_unsuccessful(ev);
    if (!json_is_object(ev->tree))
        hl_fail(err, HL_FATAL, "must be a JSON object");
    else if (json_is_null(json_object_get(ev->tree, "data")))
        hl_fail(err, HL_FATAL, "data: must be an array, not null");
    else
        return read_whole(ev, problems);
    crawl_event_release(ev);
    return CRAWL_NOT_JSON;
}

void crawl_event_release(struct crawl_event *ev)
{
    json_decref(ev->tree);
    free(ev->documents);
    *ev = (struct crawl_event){0};
}

/* --- names ------------------------------------------------------------------------------- */

static bool once_in_a_crawl(const struct crawl_event *ev)
{
    return ev->id && (ev->kind == CRAWL_STARTED || ev->kind == CRAWL_COMPLETED ||
                         ev->kind == CRAWL_FAILED || ev->kind == CRAWL_CANCELLED);
}

void crawl_event_key(
    const struct crawl_event *ev, const uint8_t digest[DIGEST_LEN], struct buf *out)
{
    const char *page = ev->ndocuments == 1 ? ev->documents[0].scrape_id : NULL;
    char hex[DIGEST_HEXLEN + 1];

    buf_printf(out, "%s\n%s\n", ev->id ? ev->id : "", ev->type ? ev->type : "");
    if (page && *page) {
        buf_puts(out, page);
    } else if (ev->webhook_id) {
        buf_puts(out, ev->webhook_id);
    } else if (!once_in_a_crawl(ev)) {
        digest_hex(digest, DIGEST_LEN, hex);
        buf_puts(out, hex);
    }
}

void crawl_event_family(const struct crawl_event *ev, char *out, size_t size)
{
    const char *type = ev->type ? ev->type : "";
    size_t len = strcspn(type, ".");
    snprintf(out, size, "%.*s", (int)len, type);
}
