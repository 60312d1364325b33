/* api_body: see api_body.h. The faults have the shapes, and the words, of pydantic's. */
#include "producer/api_body.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/timestamp.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { TEXT_CHARS = 4096 };

/* --- faults ------------------------------------------------------------------------------ */

struct fault {
    const char *type, *msg;
};

/* path: "filter.url"; "" = the body itself. */
static void put_fault(
    struct buf *out, const char *path, const json_t *input, const struct fault *fault)
{
    char *given = input ? json_dumps(input, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    buf_puts(out, out->len ? ",{" : "{");
    json_put_text(out, "type", fault->type);
    buf_puts(out, ",\"loc\":[\"body\"");
    for (size_t n; *path; path += n + (path[n] == '.')) {
        n = strcspn(path, ".");
        char *step = mem_strndup(path, n);
        buf_putc(out, ',');
        json_put_string(out, step);
        free(step);
    }
    buf_putc(out, ']');
    json_put_text(out, "msg", fault->msg);
    json_put_key(out, "input");
    buf_puts(out, given ? given : "null");
    buf_putc(out, '}');
    free(given);
}

static void put_bound(struct buf *out, const char *path, const json_t *input, const char *type,
    const char *fmt, long long bound)
{
    char *msg = mem_printf(fmt, bound);
    put_fault(out, path, input, &(struct fault){type, msg});
    free(msg);
}

/* --- values ------------------------------------------------------------------------------ */

static void read_int(
    const struct api_member *m, const json_t *given, struct api_value *v, struct buf *faults)
{
    static const struct fault no_int = {"int_type", "Input should be a valid integer"};
    if (!json_is_integer(given)) {
        put_fault(faults, m->name, given, &no_int);
        return;
    }
    v->n = json_integer_value(given);
    if (v->n < m->min)
        put_bound(faults, m->name, given, "greater_than_equal",
            "Input should be greater than or equal to %lld", m->min);
    else if (m->max && v->n > m->max)
        put_bound(faults, m->name, given, "less_than_equal",
            "Input should be less than or equal to %lld", m->max);
}

/* Which are the words is part of the message. */
static void check_word(
    const struct api_member *m, const json_t *given, const char *text, struct buf *faults)
{
    struct buf msg = {0};
    buf_puts(&msg, "Input should be ");
    for (int i = 0; m->words[i]; i++) {
        if (strcmp(m->words[i], text) == 0) {
            buf_release(&msg);
            return;
        }
        buf_printf(&msg, "%s'%s'", i == 0 ? "" : m->words[i + 1] ? ", " : " or ", m->words[i]);
    }
    put_fault(faults, m->name, given, &(struct fault){"enum", buf_str(&msg)});
    buf_release(&msg);
}

static void read_text(
    const struct api_member *m, const json_t *given, struct api_value *v, struct buf *faults)
{
    static const struct fault no_text = {"string_type", "Input should be a valid string"};
    const char *text = json_string_value(given);
    int64_t most = m->max ? m->max : TEXT_CHARS;
    if (!text) {
        put_fault(faults, m->name, given, &no_text);
        return;
    }
    v->given = *text;
    v->text = *text ? mem_strdup(text) : NULL;
    if ((int64_t)text_chars(text) > most)
        put_bound(faults, m->name, NULL, "string_too_long",
            "String should have at most %lld characters", most);
    else if (m->words)
        check_word(m, given, text, faults);
}

static void read_time(
    const struct api_member *m, const json_t *given, struct api_value *v, struct buf *faults)
{
    static const struct fault no_time = {
        "datetime_parsing", "Input should be a valid datetime, ISO 8601 like 2026-01-02T03:04:05Z"};
    const char *text = json_string_value(given);
    v->given = text && *text;
    if (!text || (*text && !timestamp_parse_iso(text, &v->n)))
        put_fault(faults, m->name, given, &no_time);
}

static void read_member(
    const struct api_member *m, const json_t *given, struct api_value *v, struct buf *faults)
{
    v->given = true;
    if (m->type == API_INT)
        read_int(m, given, v, faults);
    else if (m->type == API_TIME)
        read_time(m, given, v, faults);
    else
        read_text(m, given, v, faults);
}

/* --- the object -------------------------------------------------------------------------- */

/* What stands under "filter.url"; *key: its last step. */
static const json_t *object_of(const json_t *body, const char *name, const char **key)
{
    const char *dot = strchr(name, '.');
    *key = dot ? dot + 1 : name;
    if (!dot)
        return body;
    char *step = mem_strndup(name, (size_t)(dot - name));
    const json_t *inner = json_object_get(body, step);
    free(step);
    return inner;
}

static void read_members(
    const struct api_member *m, const json_t *body, struct api_value *values, struct buf *faults)
{
    static const struct fault missing = {"missing", "Field required"};
    for (; m->name; m++, values++) {
        const char *key;
        const json_t *given = object_of(body, m->name, &key);
        given = json_object_get(given, key);
        *values = (struct api_value){.n = m->def};
        if (given && !json_is_null(given))
            read_member(m, given, values, faults);
        else if (!given && m->required)
            put_fault(faults, m->name, NULL, &missing);
    }
}

/* Whether path is a member, or (inner) an object that has some. */
static bool is_known(const struct api_member *m, const char *path, bool *inner)
{
    size_t len = strlen(path);
    for (*inner = false; m->name; m++) {
        if (strcmp(m->name, path) == 0)
            return true;
        *inner |= strncmp(m->name, path, len) == 0 && m->name[len] == '.';
    }
    return *inner;
}

/* A member that nobody knows is a word misspelt: it would be ignored in silence. */
static void check_keys(
    const struct api_member *members, json_t *object, const char *prefix, struct buf *faults)
{
    static const struct fault extra = {"extra_forbidden", "Extra inputs are not permitted"};
    static const struct fault no_object = {"dict_type", "Input should be a valid dictionary"};
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        bool inner;
        char *path = mem_printf("%s%s", prefix, key);
        if (strchr(key, '.') || !is_known(members, path, &inner)) {
            put_fault(faults, path, value, &extra);
        } else if (inner && json_is_object(value)) {
            char *deeper = mem_printf("%s.", path);
            check_keys(members, value, deeper, faults);
            free(deeper);
        } else if (inner && !json_is_null(value)) {
            put_fault(faults, path, value, &no_object);
        }
        free(path);
    }
}

static void read_object(struct api_call *call, json_t *body, struct buf *faults)
{
    static const struct fault no_object = {"dict_type", "Input should be a valid dictionary"};
    const struct api_member *members = call->entry->route->members;
    if (!json_is_object(body)) {
        put_fault(faults, "", body, &no_object);
        return;
    }
    check_keys(members, body, "", faults);
    read_members(members, body, call->members, faults);
}

/* --- the body ---------------------------------------------------------------------------- */

static bool is_json(const char *type)
{
    static const char want[] = "application/json";
    size_t n = type ? strcspn(type, "; \t") : 0;
    return n == sizeof(want) - 1 && strncasecmp(type, want, n) == 0;
}

/* NULL: the call has ended. */
static json_t *parse(struct api_call *call)
{
    size_t len;
    struct hl_err err;
    const char *body = httpd_body(call->req, &len);
    if (!len)
        return json_object();
    if (!is_json(httpd_header(call->req, "Content-Type"))) {
        api_detail(call, 415, "The body has to be JSON: send Content-Type: application/json");
        return NULL;
    }
    json_t *v = json_parse(body, len, &err);
    if (!v)
        api_detail(call, 400, "The body is not JSON: %s", err.msg);
    return v;
}

bool api_body_read(struct api_call *call)
{
    struct buf faults = {0};
    if (!call->req || !call->entry->route->members)
        return true;
    json_t *body = parse(call);
    if (!body)
        return false;
    read_object(call, body, &faults);
    json_decref(body);
    if (!faults.len)
        return true;
    buf_printf(&call->out, "{\"detail\":[%s]}", faults.data);
    buf_release(&faults);
    api_reply(call, 422);
    return false;
}
