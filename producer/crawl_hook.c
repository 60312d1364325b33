/* crawl_hook: see crawl_hook.h. */
#include "producer/crawl_hook.h"

#include "base/crawl_job.h"
#include "base/identity.h"
#include "base/json.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOURCE "firecrawl"

enum { ID_ECHOED = 1024 }; /* bytes of an id that is sent back */

/* --- refusals ---------------------------------------------------------------------------- */

static void put_detail(struct crawl_hooked *out, int status, const char *before)
{
    struct buf text = {0};
    out->status = status;
    buf_printf(&text, "%s%s", before, out->reason);
    buf_puts(&out->answer, "{\"detail\":");
    json_put_string(&out->answer, text.data);
    buf_putc(&out->answer, '}');
    buf_release(&text);
}

static void turn_away(struct crawl_hooked *out)
{
    static const struct {
        int status;
        const char *reason;
    } answers[] = {
        [GATE_MISSING] = {401, "Missing X-Firecrawl-Signature header"              },
        [GATE_BAD_SHAPE] = {400, "Invalid signature format, expected sha256=<digest>"},
        [GATE_BAD_SIGNATURE] = {401, "Invalid signature"                                 },
        [GATE_BAD_TOKEN] = {401, "Invalid token"                                     },
    };
    snprintf(out->reason, sizeof(out->reason), "%s", answers[out->gate].reason);
    put_detail(out, answers[out->gate].status, "");
}

/* The first problem: "data.0.metadata.url: Field required". */
static void put_reason(struct crawl_hooked *out, const struct buf *problems)
{
    struct hl_err ignored;
    struct buf text = {0};
    json_t *all = json_parse(problems->data, problems->len, &ignored);
    const json_t *first = json_array_get(all, 0), *loc = json_object_get(first, "loc");

    for (size_t i = 0; i < json_array_size(loc); i++) {
        const json_t *part = json_array_get(loc, i);
        buf_puts(&text, i ? "." : "");
        if (json_is_string(part))
            buf_puts(&text, json_string_value(part));
        else
            buf_printf(&text, "%lld", (long long)json_integer_value(part));
    }
    snprintf(
        out->reason, sizeof(out->reason), "%s: %s", buf_str(&text), json_get_string(first, "msg"));
    json_decref(all);
    buf_release(&text);
}

static void refuse_shape(struct crawl_hooked *out, const struct buf *problems)
{
    put_reason(out, problems);
    out->status = 422;
    buf_printf(&out->answer,
        "{\"detail\":{\"error\":\"Invalid webhook payload structure\",\"validation_errors\":%s,"
        "\"hint\":\"Check data array structure matches Firecrawl API spec\"}}",
        problems->data);
}

/* --- answers ----------------------------------------------------------------------------- */

static void answer_failed(struct crawl_hooked *out, const struct crawl_event *ev)
{
    const json_t *id = json_object_get(ev->tree, "id");
    bool echoed = json_is_number(id) || (json_is_string(id) && json_string_length(id) <= ID_ECHOED);
    char *text = echoed ? json_dumps(id, JSON_ENCODE_ANY) : NULL;

    out->status = 200;
    buf_printf(&out->answer,
        "{\"status\":\"acknowledged\",\"message\":\"Failed event received and logged\","
        "\"event_id\":%s}",
        text ? text : "null");
    free(text);
}

static void answer_page(struct crawl_hooked *out, const struct crawl_event *ev)
{
    out->status = ev->ndocuments ? 202 : 200;
    buf_printf(&out->answer, "{\"status\":\"%s\",\"queued_jobs\":%zu,\"job_ids\":[",
        ev->ndocuments ? "queued" : "no_documents", ev->ndocuments);
    for (size_t i = 0; i < ev->ndocuments; i++) {
        char id[UUID_STRLEN + 1];
        struct uuid job = crawl_document_id(&out->id, i);
        uuid_format(&job, id);
        buf_printf(&out->answer, "%s\"%s\"", i ? "," : "", id);
    }
    buf_puts(&out->answer, "]}");
}

static void answer(struct crawl_hooked *out, const struct crawl_event *ev, bool failed)
{
    if (failed) {
        answer_failed(out, ev);
    } else if (ev->kind == CRAWL_PAGE) {
        answer_page(out, ev);
    } else {
        out->status = 200; /* a type holds nothing that JSON would escape */
        buf_printf(&out->answer, "{\"status\":\"acknowledged\",\"event_type\":\"%s\"}", ev->type);
    }
}

/* --- the event --------------------------------------------------------------------------- */

static void name(struct crawl_hooked *out, const struct crawl_event *ev)
{
    struct buf key = {0};
    crawl_event_key(ev, out->digest, &key);
    out->id = identity_of(SOURCE, IDENTITY_ID, key.data).id;
    buf_release(&key);
    snprintf(out->type, sizeof(out->type), "%s", ev->type ? ev->type : "");
    out->crawl_id = mem_strdup(ev->id);
    if (ev->ndocuments == 1)
        out->document_url = mem_strdup(ev->documents[0].url);
}

static void encode(struct crawl_hooked *out, const struct crawl_request *in)
{
    struct crawl_job job = {.id = out->id,
        .received_at = in->creds.now,
        .request_id = (char *)in->request_id, /* all three are only read */
        .traceparent = (char *)in->traceparent,
        .body = (char *)in->creds.body,
        .len = in->creds.len};
    memcpy(job.digest, out->digest, sizeof(job.digest));
    crawl_job_encode(&job, &out->job);
}

static void take(struct crawl_hooked *out, const struct crawl_request *in,
    const struct crawl_event *ev, bool failed)
{
    out->accepted = true;
    digest_sha256(in->creds.body, in->creds.len, out->digest);
    name(out, ev);
    answer(out, ev, failed);
    encode(out, in);
}

void crawl_hook_read(const struct crawl_request *in, struct crawl_hooked *out)
{
    struct crawl_event ev;
    struct buf problems = {0};
    struct hl_err err;

    *out = (struct crawl_hooked){.gate = gate_check_firecrawl(&in->gate, &in->creds)};
    if (!gate_admits(out->gate)) {
        turn_away(out);
        return;
    }
    enum crawl_verdict read = crawl_event_read(in->creds.body, in->creds.len, &ev, &problems, &err);
    if (read == CRAWL_NOT_JSON) {
        snprintf(out->reason, sizeof(out->reason), "%s", err.msg);
        put_detail(out, 400, "Invalid payload: ");
    } else if (read == CRAWL_INVALID) {
        refuse_shape(out, &problems);
    } else {
        take(out, in, &ev, read == CRAWL_UNSUCCESSFUL);
    }
    if (read != CRAWL_NOT_JSON)
        crawl_event_release(&ev);
    buf_release(&problems);
}

void crawl_hooked_release(struct crawl_hooked *h)
{
    buf_release(&h->answer);
    buf_release(&h->job);
    free(h->crawl_id);
    free(h->document_url);
    *h = (struct crawl_hooked){0};
}
