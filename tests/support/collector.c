/* collector: see collector.h. */
#include "tests/support/collector.h"

#include "base/mem.h"
#include "tests/support/canned.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct collector {
    struct canned *server;
    pthread_mutex_t lock; /* the rest */
    int status, retry_after_s;
    int requests;
    size_t largest;
    json_t *spans, *ids;
    struct buf faults, told;
};

/* --- the rules --------------------------------------------------------------------------- */

static void fault(struct collector *c, const char *what, const json_t *where)
{
    char *text = where ? json_dumps(where, JSON_ENCODE_ANY) : NULL;
    buf_printf(&c->faults, "%s: %s\n", what, text ? text : "absent");
    free(text);
}

static bool is_hex(const json_t *v, size_t len)
{
    const char *s = json_string_value(v);
    return s && strlen(s) == len && strspn(s, "0123456789abcdef") == len && strspn(s, "0") < len;
}

static bool is_number(const json_t *v)
{
    const char *s = json_string_value(v);
    return s && *s && s[strspn(s, "0123456789")] == '\0';
}

static void check_members(
    struct collector *c, json_t *object, const char *const *allowed, const char *what)
{
    const char *key;
    json_t *value;
    if (!json_is_object(object))
        fault(c, what, object);
    json_object_foreach(object, key, value)
    {
        size_t i = 0;
        while (allowed[i] && strcmp(allowed[i], key) != 0)
            i++;
        if (!allowed[i])
            fault(c, key, object);
    }
}

static void check_attributes(struct collector *c, const json_t *attributes)
{
    size_t i;
    json_t *a;
    if (!json_is_array(attributes))
        fault(c, "attributes", attributes);
    json_array_foreach(attributes, i, a)
    {
        json_t *value = json_object_get(a, "value");
        const json_t *text = json_object_get(value, "stringValue");
        const json_t *number = json_object_get(value, "intValue");
        if (!json_get_string(a, "key") || json_object_size(a) != 2 || json_object_size(value) != 1)
            fault(c, "attribute", a);
        if (text ? !json_is_string(text) : !is_number(number))
            fault(c, "value of an attribute", a);
    }
}

static void check_times(struct collector *c, const json_t *span)
{
    const json_t *from = json_object_get(span, "startTimeUnixNano");
    const json_t *to = json_object_get(span, "endTimeUnixNano");
    if (!is_number(from) || !is_number(to) ||
        strtoll(json_string_value(from), NULL, 10) > strtoll(json_string_value(to), NULL, 10) ||
        strlen(json_string_value(from)) != strlen("1764000000000000000"))
        fault(c, "times", span);
}

static void check_span(struct collector *c, json_t *span)
{
    static const char *const members[] = {"traceId", "spanId", "parentSpanId", "flags", "name",
        "kind", "startTimeUnixNano", "endTimeUnixNano", "attributes", "status", NULL};
    const json_t *parent = json_object_get(span, "parentSpanId"),
                 *kind = json_object_get(span, "kind"), *status = json_object_get(span, "status"),
                 *code = json_object_get(status, "code");
    check_members(c, span, members, "span");
    if (!is_hex(json_object_get(span, "traceId"), 32))
        fault(c, "traceId", span);
    if (!is_hex(json_object_get(span, "spanId"), 16) || (parent && !is_hex(parent, 16)))
        fault(c, "spanId", span);
    if (!json_is_integer(kind) || json_integer_value(kind) < 1 || json_integer_value(kind) > 5)
        fault(c, "kind", span);
    if (!json_is_object(status) || (code && !json_is_integer(code)))
        fault(c, "status", span);
    check_times(c, span);
    check_attributes(c, json_object_get(span, "attributes"));
}

static void check_resource(struct collector *c, const json_t *resource)
{
    static const char *const needed[] = {
        "service.name", "service.version", "service.instance.id", "host.name", "process.pid", NULL};
    json_t *attributes = json_object_get(resource, "attributes");
    check_attributes(c, attributes);
    for (int i = 0; needed[i]; i++) {
        json_t *holder = json_pack("{s:O}", "attributes", attributes);
        if (!*collector_attribute(holder, needed[i]))
            fault(c, needed[i], resource);
        json_decref(holder);
    }
}

/* --- what comes -------------------------------------------------------------------------- */

/* A batch that is tried again may have come before. */
static bool seen(struct collector *c, const json_t *span)
{
    const char *id = json_get_string(span, "spanId");
    bool before = id && json_object_get(c->ids, id);
    if (id)
        json_object_set_new(c->ids, id, json_true());
    return before;
}

static size_t take_scope(struct collector *c, json_t *scope, bool keep)
{
    json_t *spans = json_object_get(scope, "spans"), *span;
    size_t i;
    if (!json_get_string(json_object_get(scope, "scope"), "name") || !json_array_size(spans))
        fault(c, "scopeSpans", scope);
    json_array_foreach(spans, i, span)
    {
        check_span(c, span);
        if (keep && !seen(c, span))
            json_array_append(c->spans, span);
    }
    return json_array_size(spans);
}

static void take(struct collector *c, const char *body, bool keep)
{
    static const char *const members[] = {"resourceSpans", NULL};
    struct hl_err err;
    json_t *root = json_parse(body, strlen(body), &err), *resource, *scope;
    size_t i, j, n = 0;
    if (!root)
        fault(c, err.msg, NULL);
    check_members(c, root, members, "request");
    json_array_foreach(json_object_get(root, "resourceSpans"), i, resource)
    {
        check_resource(c, json_object_get(resource, "resource"));
        json_array_foreach(json_object_get(resource, "scopeSpans"), j, scope)
        {
            n += take_scope(c, scope, keep);
        }
    }
    c->largest = n > c->largest ? n : c->largest;
    json_decref(root);
}

static void check_head(struct collector *c, const char *text)
{
    static const char *const needed[] = {
        "\r\ncontent-type: application/json\r\n", "\r\nx-tenant: one two\r\n", NULL};
    if (strncmp(text, "POST /v1/traces HTTP/1.1\r\n", 26) != 0)
        fault(c, "not POST /v1/traces", NULL);
    for (int i = 0; needed[i]; i++)
        if (!strcasestr(text, needed[i]))
            fault(c, needed[i], NULL);
    if (strcasestr(text, "refuse-me"))
        fault(c, "a header that is none", NULL);
}

static bool serve(const struct canned_request *r)
{
    struct collector *c = r->ctx;
    char after[48] = "";
    pthread_mutex_lock(&c->lock);
    int status = c->status, seconds = c->retry_after_s;
    c->requests++;
    check_head(c, r->text);
    take(c, strstr(r->text, "\r\n\r\n") + 4, status == 200);
    pthread_mutex_unlock(&c->lock);
    if (seconds >= 0)
        snprintf(after, sizeof(after), "Retry-After: %d\r\n", seconds);
    if (status)
        canned_answer(r, status, after, "{}");
    return true; /* silent, it waits for more */
}

/* --- for the test ------------------------------------------------------------------------ */

struct collector *collector_start(void)
{
    struct collector *c = mem_new(struct collector);
    pthread_mutex_init(&c->lock, NULL);
    c->spans = json_array();
    c->ids = json_object();
    c->status = 200;
    c->retry_after_s = -1;
    c->server = canned_start("127.0.0.1", serve, c);
    return c;
}

void collector_stop(struct collector *c)
{
    canned_stop(c->server);
    json_decref(c->spans);
    json_decref(c->ids);
    buf_release(&c->faults);
    buf_release(&c->told);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

int collector_port(struct collector *c)
{
    return canned_port(c->server);
}

void collector_answers(struct collector *c, int status, int retry_after_s)
{
    pthread_mutex_lock(&c->lock);
    c->status = status;
    c->retry_after_s = retry_after_s;
    pthread_mutex_unlock(&c->lock);
}

int collector_requests(struct collector *c)
{
    pthread_mutex_lock(&c->lock);
    int n = c->requests;
    pthread_mutex_unlock(&c->lock);
    return n;
}

int collector_largest(struct collector *c)
{
    pthread_mutex_lock(&c->lock);
    int n = (int)c->largest;
    pthread_mutex_unlock(&c->lock);
    return n;
}

const char *collector_faults(struct collector *c)
{
    pthread_mutex_lock(&c->lock);
    buf_clear(&c->told);
    buf_puts(&c->told, buf_str(&c->faults));
    pthread_mutex_unlock(&c->lock);
    return buf_str(&c->told);
}

json_t *collector_spans(struct collector *c, const char *trace_id)
{
    json_t *out = json_array(), *span;
    size_t i;
    pthread_mutex_lock(&c->lock);
    json_array_foreach(c->spans, i, span)
    {
        if (!trace_id || strcmp(json_get_string(span, "traceId"), trace_id) == 0)
            json_array_append_new(out, json_deep_copy(span));
    }
    pthread_mutex_unlock(&c->lock);
    return out;
}

json_t *collector_span(json_t *spans, const char *name)
{
    json_t *span, *found = NULL;
    size_t i;
    json_array_foreach(spans, i, span)
    {
        if (strcmp(json_get_string(span, "name"), name) != 0)
            continue;
        if (found)
            return NULL;
        found = span;
    }
    return found;
}

const char *collector_attribute(json_t *span, const char *key)
{
    size_t i;
    json_t *a;
    json_array_foreach(json_object_get(span, "attributes"), i, a)
    {
        const char *name = json_get_string(a, "key");
        if (!name || strcmp(name, key) != 0)
            continue;
        json_t *value = json_object_get(a, "value");
        const char *text = json_get_string(value, "stringValue");
        const char *number = json_get_string(value, "intValue");
        return text ? text : number ? number : "";
    }
    return "";
}
