/* firecrawl: asks a Firecrawl server for a page, POST /v2/scrape (reference contract section 4.2),
 * and reads its answers. A 200 is no success by itself: failures come as 200 with "success":false,
 * and the error page of a target comes as content, with only metadata.statusCode telling. */
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "worker/scrape_kind.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    MAX_ANSWER = 32 * 1024 * 1024,
    MAX_MARGIN_MS = 10000,
    MAX_DETAIL_CHARS = 500,
    MAX_RETRY_AFTER_S = 30 * 24 * 3600,
};

/* --- request ----------------------------------------------------------------------------- */

/* Firecrawl must give up before we do: without a limit of its own it goes on working, and asking
 * the target, for pages nobody waits for any more. */
static int64_t server_timeout_ms(int64_t total_ms)
{
    int64_t margin = total_ms / 10 < MAX_MARGIN_MS ? total_ms / 10 : MAX_MARGIN_MS;
    return total_ms - margin > 1 ? total_ms - margin : 1;
}

static void put_body(const struct config *cfg, const char *url, struct buf *b)
{
    buf_puts(b, "{\"url\":");
    json_put_string(b, url);
    buf_puts(b, ",\"formats\":[\"markdown\",\"html\"],\"onlyMainContent\":true");
    buf_printf(b, ",\"timeout\":%lld", (long long)server_timeout_ms(cfg->scrape_timeout_ms));
    buf_puts(b, ",\"maxAge\":0"); /* the page has just changed: no cached copy will do */
    if (cfg->firecrawl_proxy && cfg->firecrawl_proxy[0]) {
        buf_puts(b, ",\"proxy\":");
        json_put_string(b, cfg->firecrawl_proxy);
    }
    buf_putc(b, '}');
}

static enum hl_rc prepare(
    const struct config *cfg, const char *url, struct scrape_request *req, struct hl_err *err)
{
    if (!text_utf8_valid(url, strlen(url)))
        return hl_fail(err, HL_FATAL, "not a web address");
    size_t base = strlen(cfg->firecrawl_api_url), n = 0;
    while (base > 0 && cfg->firecrawl_api_url[base - 1] == '/')
        base--;
    req->url = mem_printf("%.*s/v2/scrape", (int)base, cfg->firecrawl_api_url);
    req->headers[n++] = mem_strdup("Content-Type: application/json");
    req->headers[n++] = mem_strdup("Accept: application/json");
    if (cfg->firecrawl_api_key && cfg->firecrawl_api_key[0])
        req->headers[n++] = mem_printf("Authorization: Bearer %s", cfg->firecrawl_api_key);
    put_body(cfg, url, &req->body);

    req->http.method = "POST";
    req->http.max_body = MAX_ANSWER;
    return HL_OK;
}

/* --- failures ---------------------------------------------------------------------------- */

/* One line of bounded length; NULL for NULL and for nothing. Returned, caller frees. */
static char *one_line(const char *text)
{
    struct buf line = {0};
    text_one_line(text ? text : "", MAX_DETAIL_CHARS, &line);
    if (line.len > 0)
        return buf_detach(&line);
    buf_release(&line);
    return NULL;
}

/* code, error text and the messages of details[]; as one_line. */
static char *explanation(const json_t *root)
{
    struct buf all = {0};
    const char *code = json_get_string(root, "code"), *error = json_get_string(root, "error");
    buf_printf(&all, "%s%s%s", code ? code : "", code && error ? ": " : "", error ? error : "");
    const json_t *details = json_object_get(root, "details");
    for (size_t i = 0; i < json_array_size(details); i++) {
        const char *message = json_get_string(json_array_get(details, i), "message");
        if (message)
            buf_printf(&all, "; %s", message);
    }
    char *line = one_line(buf_str(&all));
    buf_release(&all);
    return line;
}

static int64_t seconds_in_text(const char *error)
{
    static const char phrase[] = "retry after ";
    const char *at = error ? strcasestr(error, phrase) : NULL;
    if (!at)
        return -1;
    at += strlen(phrase);
    if (*at < '0' || *at > '9')
        return -1;
    int64_t seconds = 0;
    for (; *at >= '0' && *at <= '9' && seconds < MAX_RETRY_AFTER_S; at++)
        seconds = seconds * 10 + (*at - '0');
    return *at == 's' ? seconds : -1;
}

/* Where an answer says when to come back, if its header did not. */
static int64_t retry_after_ms(const json_t *root)
{
    const json_t *fields[] = {json_object_get(root, "retry_after_seconds"),
        json_object_get(json_object_get(root, "details"), "retryAfterSeconds")};
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        double seconds = json_is_number(fields[i]) ? json_number_value(fields[i]) : -1;
        if (seconds >= 0)
            return (int64_t)((seconds < MAX_RETRY_AFTER_S ? seconds : MAX_RETRY_AFTER_S) * 1000);
    }
    int64_t seconds = seconds_in_text(json_get_string(root, "error"));
    if (seconds < 0)
        return -1;
    return (seconds < MAX_RETRY_AFTER_S ? seconds : MAX_RETRY_AFTER_S) * 1000;
}

static void read_failure(long status, const json_t *root, struct scrape_result *out)
{
    const char *code = json_get_string(root, "code");
    char *detail = explanation(root);
    scrape_fail(out, scrape_outcome(SAID_FIRECRAWL, status, code), detail, "Firecrawl answered %ld",
        status);
    free(detail);
    if (out->retry_after_ms < 0)
        out->retry_after_ms = retry_after_ms(root);
}

/* --- pages ------------------------------------------------------------------------------- */

/* Without the NUL characters a page may hold. Returned, caller frees; NULL when value is no
 * string. */
static char *text_of(const json_t *value)
{
    struct buf text = {0};
    if (!json_is_string(value))
        return NULL;
    text_append_utf8(&text, json_string_value(value), json_string_length(value));
    return buf_detach(&text);
}

/* Metadata is copied from the page's <meta> elements: a value may be a string or, when an element
 * occurs twice, an array of them. Returned, caller frees; NULL when there is none. */
static char *first_string(const json_t *metadata, const char *key)
{
    const json_t *value = json_object_get(metadata, key);
    if (json_is_string(value))
        return text_of(value);
    for (size_t i = 0; i < json_array_size(value); i++)
        if (json_is_string(json_array_get(value, i)))
            return text_of(json_array_get(value, i));
    return NULL;
}

/* "success", but without the page's text. */
static void read_empty(const json_t *data, struct scrape_result *out)
{
    const char *error = json_get_string(json_object_get(data, "metadata"), "error");
    char *detail = one_line(error ? error : json_get_string(data, "warning"));
    if (out->target_status >= 400)
        scrape_fail_target(out, SAID_REPORTED, out->target_status, detail);
    else
        scrape_fail(out, scrape_outcome(SAID_NO_TEXT, 0, NULL), detail, "no text");
    free(detail);
}

static void read_page(const json_t *data, struct scrape_result *out)
{
    const json_t *metadata = json_object_get(data, "metadata");
    const json_t *status = json_object_get(metadata, "statusCode");
    const json_t *markdown = json_object_get(data, "markdown");

    out->target_status = json_is_integer(status) ? (long)json_integer_value(status) : 200;
    if (out->target_status >= 400 || !json_is_string(markdown)) {
        read_empty(data, out);
        return;
    }
    out->rc = HL_OK;
    out->text = text_of(markdown);
    out->title = first_string(metadata, "title");
    out->description = first_string(metadata, "description");
    out->language = first_string(metadata, "language");
    out->final_url = first_string(metadata, "url");
    if (!out->final_url)
        out->final_url = first_string(metadata, "sourceURL");
}

void firecrawl_parse(
    long status, int64_t retry_after, const char *body, size_t len, struct scrape_result *out)
{
    struct hl_err fault;
    bool success = status >= 200 && status <= 299;
    json_t *root = json_parse_with_nul(body, len, &fault);

    out->retry_after_ms = retry_after;
    if (success && !json_is_object(root))
        scrape_fail(
            out, scrape_outcome(SAID_BROKEN, status, NULL), root ? NULL : fault.msg, "not JSON");
    else if (success && json_is_true(json_object_get(root, "success")))
        read_page(json_object_get(root, "data"), out);
    else
        read_failure(status, root, out);
    json_decref(root);
}

static void read_answer(const struct http_response *res, struct scrape_result *out)
{
    if (res->rc != HL_OK)
        scrape_fail_call(out, res, "Firecrawl: ");
    else
        firecrawl_parse(res->status, res->retry_after_ms, res->body, res->body_len, out);
}

const struct scrape_kind scrape_firecrawl = {.prepare = prepare, .read = read_answer};
