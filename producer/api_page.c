/* api_page: see api_page.h. */
#include "producer/api_page.h"

#include "base/json.h"
#include "base/uuid.h"
#include "domain/store_view.h"

#include <stdlib.h>
#include <string.h>

/* A 422 in the shape of the others. ctx: members, NULL = none. Ends the call. */
static void refuse(
    struct api_call *call, int param, const char *type, const char *msg, const struct buf *expected)
{
    struct buf *b = &call->out;
    buf_printf(b, "{\"detail\":[{\"type\":\"%s\",\"loc\":[\"query\",\"%s\"]", type,
        call->entry->route->params[param].name);
    json_put_key(b, "msg");
    json_put_string(b, msg);
    json_put_key(b, "input");
    if (call->values[param].text)
        json_put_string(b, call->values[param].text);
    else
        buf_puts(b, "null");
    if (expected) {
        buf_puts(b, ",\"ctx\":{\"expected\":");
        json_put_string(b, buf_str(expected));
        buf_putc(b, '}');
    }
    buf_puts(b, "}]}");
    api_reply(call, 422);
}

bool api_page_word(struct api_call *call, int param, const char *const *words)
{
    struct buf list = {0}, msg = {0};
    const char *given = call->values[param].text;
    for (int i = 0; words[i]; i++) {
        if (!given || strcmp(words[i], given) == 0) {
            buf_release(&list);
            return true;
        }
        buf_printf(&list, "%s'%s'", i == 0 ? "" : words[i + 1] ? ", " : " or ", words[i]);
    }
    buf_printf(&msg, "Input should be %s", buf_str(&list));
    refuse(call, param, "enum", msg.data, &list);
    buf_release(&list);
    buf_release(&msg);
    return false;
}

/* Digits, more than 0, at most 18 of them; the end of them, or NULL. */
static const char *read_place(const char *s, int64_t *place)
{
    size_t n = strspn(s, "0123456789");
    if (n == 0 || n > 18)
        return NULL;
    *place = strtoll(s, NULL, 10);
    return *place > 0 ? s + n : NULL;
}

void api_page_fault(struct api_call *call, int param, const char *msg)
{
    refuse(call, param, "value_error", msg, NULL);
}

bool api_page_event(const char *text, struct view_key *key)
{
    struct uuid parsed;
    size_t digits = strspn(text, "0123456789");
    *key = (struct view_key){0};
    if (uuid_parse(text, &parsed))
        key->event_id = text;
    else if (!digits || text[digits] || digits > 18)
        return false;
    else
        key->row_id = strtoll(text, NULL, 10);
    return true;
}

void api_page_refuse(struct api_call *call, int param)
{
    api_page_fault(call, param, "Value error, must be what `next` of the page before said");
}

const int64_t *api_page_time(const struct api_value *v)
{
    return v->given ? &v->n : NULL;
}

bool api_page_after(struct api_call *call, int param, int64_t *place, const char **id)
{
    struct uuid parsed;
    const char *given = call->values[param].text;
    if (!given)
        return true;
    const char *rest = read_place(given, place);
    if (rest && !id && !*rest)
        return true;
    if (rest && id && *rest == '-' && uuid_parse(rest + 1, &parsed)) {
        *id = rest + 1;
        return true;
    }
    api_page_refuse(call, param);
    return false;
}

void api_page_item(struct api_call *call)
{
    struct buf *b = &call->out;
    if (b->data[b->len - 1] != '[')
        buf_putc(b, ',');
    buf_putc(b, '{');
}

void api_page_end(struct api_call *call, bool more, const char *place, const char *id)
{
    struct buf *b = &call->out;
    if (more)
        buf_printf(b, "],\"next\":\"%s%s%s\"}", place, id ? "-" : "", id ? id : "");
    else
        buf_puts(b, "],\"next\":null}");
    api_reply(call, 200);
}

void api_page_rows(struct api_call *call, const struct api_page *page, const PGresult *rows)
{
    int limit = (int)call->values[page->limit].n, n = PQntuples(rows);
    bool full = n > limit; /* the one row more says that there is more */
    int last = full ? limit - 1 : 0;
    int place = full ? page->place : page->edge, id = full ? page->place_id : page->edge_id;
    buf_printf(&call->out, "{\"%s\":[", page->key);
    for (int row = 0; row < (full ? limit : n) && !PQgetisnull(rows, row, page->id); row++) {
        api_page_item(call);
        page->put(call, rows, row);
        buf_putc(&call->out, '}');
    }
    api_page_end(call, !PQgetisnull(rows, last, place), db_text(rows, last, place),
        id >= 0 ? db_text(rows, last, id) : NULL);
}
