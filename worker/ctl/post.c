/* post: see post.h. */
#include "worker/ctl/post.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "io/http.h"
#include "worker/ctl/ctl.h"
#include "worker/ctl/listing.h"

#define MAX_BODY   (16 << 20)
#define MAX_ANSWER (1 << 20)

/* --- the body ---------------------------------------------------------------------------- */

int post_read_file(const char *name, struct buf *body)
{
    bool standard = strcmp(name, "-") == 0;
    FILE *f = standard ? stdin : fopen(name, "re");
    if (!f)
        return ctl_fail(CTL_ERROR, "cannot read %s: %s", name, strerror(errno));

    size_t n;
    do {
        n = fread(buf_reserve(body, 65536), 1, 65536, f);
        body->len += n;
    } while (n > 0 && body->len <= MAX_BODY);
    int fault = ferror(f) ? errno : 0;
    if (!standard)
        fclose(f);
    if (fault)
        return ctl_fail(CTL_ERROR, "cannot read %s: %s", name, strerror(fault));
    if (body->len > MAX_BODY)
        return ctl_fail(
            CTL_ERROR, "%s is larger than %d bytes; no producer takes that", name, MAX_BODY);
    return -1;
}

/* --- the answer -------------------------------------------------------------------------- */

/* What to do about a status; check: what the caller says to look at follows. */
static const struct {
    int from, to;
    bool check;
    const char *advice;
} advices[] = {
    {200, 299,     true,  "only 202 means accepted: "                                           },
    {300, 399,     true,  "redirects are not followed: "                                        },
    {400, 400,     false, "correct the payload and send it again"                               },
    {401, 403,     false, "WEBHOOK_SECRET must be the same here and at the producer"            },
    {404, 405,     true,  ""                                                                    },
    {409, 409,     false, "give it a key of its own (hooklinectl send --key)"                   },
    {413, 413,     false, "shorten the payload, or raise WEBHOOK_MAX_BODY_BYTES at the producer"},
    {429, 429,     false, "wait a little and send it again"                                     },
    {503, 503,     false, "the producer cannot store it now: wait a little and send it again"   },
    {500, 599,     false, "the producer is in trouble: its log says why"                        },
    {0,   INT_MAX, false, "the producer's log may say why"                                      },
};

static void show_advice(const struct post *p, long status)
{
    size_t i = 0;
    while (status < advices[i].from || status > advices[i].to)
        i++;
    fprintf(stderr, "What to do: %s%s.\n", advices[i].advice, advices[i].check ? p->check : "");
}

/* The member "detail" as text, whatever its type; the whole answer where it has none. */
static void append_detail(struct buf *out, const struct http_response *res)
{
    struct hl_err err;
    json_t *answer = json_parse(res->body, res->body_len, &err);
    const char *text = json_get_string(answer, "detail");
    char *dump = text ? NULL : json_dumps(json_object_get(answer, "detail"), JSON_COMPACT);
    struct buf whole = {0};
    text_append_utf8(&whole, res->body, res->body_len);
    text_one_line(text ? text : dump ? dump : buf_str(&whole), 500, out);
    buf_release(&whole);
    free(dump);
    json_decref(answer);
}

static int show_refusal(const struct post *p, const struct http_response *res)
{
    struct buf detail = {0};
    append_detail(&detail, res);
    ctl_fail(CTL_ERROR, "refused with HTTP %ld%s%s", res->status, detail.len ? ": " : "",
        buf_str(&detail));
    if (res->retry_after_ms >= 0)
        fprintf(stderr, "It asks to come back in %lld s.\n",
            (long long)((res->retry_after_ms + 999) / 1000));
    show_advice(p, res->status);
    buf_release(&detail);
    return CTL_ERROR;
}

#define NO_ROW_YET "none yet: the row follows when the database is back"

static const struct column accepted_columns[] = {
    {"status",          "status", COLUMN_STATE, 0},
    {"job_id",          "event",  COLUMN_TEXT,  0},
    {"change_event_id", "row",    COLUMN_TEXT,  0},
    {"url",             "url",    COLUMN_TEXT,  0},
};
enum { N_ACCEPTED = sizeof(accepted_columns) / sizeof(accepted_columns[0]) };

static void show_accepted(const struct http_response *res)
{
    struct hl_err err;
    json_t *answer = json_parse(res->body, res->body_len, &err);
    if (!json_is_object(answer)) {
        puts("accepted, with an answer that is not a JSON object: is this a Hookline producer?");
        json_decref(answer);
        return;
    }
    json_t *id = json_object_get(answer, "change_event_id");
    char number[32];
    snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(id));

    struct listing l = {.columns = accepted_columns, .n = N_ACCEPTED};
    listing_add(
        &l, (const char *[]){json_get_string(answer, "status"), json_get_string(answer, "job_id"),
                json_is_integer(id) ? number : NO_ROW_YET, json_get_string(answer, "url")});
    listing_print_one(&l, 0);
    listing_release(&l);
    json_decref(answer);
}

/* Firecrawl's webhooks have answers of several forms. */
static void show_line(const struct http_response *res)
{
    struct buf text = {0}, line = {0};
    text_append_utf8(&text, res->body, res->body_len);
    put_cell(&line, buf_str(&text), 500);
    printf("accepted with HTTP %ld: %s\n", res->status, buf_str(&line));
    buf_release(&text);
    buf_release(&line);
}

struct exchange {
    const struct post *post;
    struct loop *loop;
    int exit_code;
    bool answered;
};

static int no_answer(const struct post *p, const struct http_response *res)
{
    const struct hl_err *err = res->err;
    int code = err->why == HL_WHY_TIMEOUT                              ? CTL_TIMEOUT
               : err->why == HL_WHY_UNREACHABLE || res->rc == HL_RETRY ? CTL_UNREACHABLE
                                                                       : CTL_ERROR;
    if (p->manner == POST_NOTHING)
        return code;
    ctl_fail(code, "%s", err->msg);
    if (code == CTL_UNREACHABLE)
        fprintf(stderr, "Is a producer running there? %s gives another address.\n", p->option);
    return code;
}

/* As it came, if it is what was asked for: anything else may hold escape sequences. */
static void show_json(const struct http_response *res)
{
    struct hl_err err;
    struct buf line = {0};
    json_t *answer = json_parse(res->body, res->body_len, &err);
    if (answer) {
        buf_append(&line, res->body, res->body_len);
        print_line(&line);
    } else {
        fputs("hooklinectl: the answer is no JSON: is this a Hookline producer?\n", stderr);
    }
    json_decref(answer);
}

static void show(const struct post *p, const struct http_response *res, bool accepted)
{
    if (p->manner != POST_TELL)
        return;
    if (p->json)
        show_json(res);
    else if (accepted && p->events)
        show_line(res);
    else if (accepted)
        show_accepted(res);
}

static void on_answer(const struct http_response *res, void *ctx)
{
    struct exchange *e = ctx;
    const struct post *p = e->post;
    loop_stop(e->loop);
    e->answered = res->rc == HL_OK;
    if (!e->answered) {
        e->exit_code = no_answer(p, res);
        return;
    }
    bool accepted = res->status == 202 || (p->events && res->status == 200);
    show(p, res, accepted);
    e->exit_code = accepted ? CTL_OK : p->manner == POST_NOTHING ? CTL_ERROR : show_refusal(p, res);
}

/* --- the request ------------------------------------------------------------------------- */

char *post_signature(const char *header, const char *secret, const void *body, size_t len)
{
    uint8_t mac[DIGEST_LEN];
    char hex[DIGEST_HEXLEN + 1];
    digest_hmac(secret, body, len, mac);
    digest_hex(mac, sizeof(mac), hex);
    return mem_printf("%s: sha256=%s", header, hex);
}

struct postbox {
    struct loop *loop;
    struct http *http;
};

struct postbox *postbox_new(void)
{
    struct hl_err err;
    struct postbox *box = mem_new(struct postbox);
    box->loop = loop_new(&err);
    box->http = box->loop ? http_new(box->loop, "hooklinectl/" HOOKLINE_VERSION, &err) : NULL;
    if (box->http)
        return box;
    ctl_fail(CTL_ERROR, "%s", err.msg);
    postbox_free(box);
    return NULL;
}

void postbox_free(struct postbox *box)
{
    if (!box)
        return;
    http_free(box->http);
    loop_free(box->loop);
    free(box);
}

int postbox_send(struct postbox *box, const struct post *p, bool *answered)
{
    struct exchange e = {.post = p, .loop = box->loop};
    http_start(box->http,
        &(struct http_request){.method = "POST",
            .url = p->url,
            .headers = p->headers,
            .body = p->body,
            .body_len = p->len,
            .connect_timeout_ms = p->timeout_ms,
            .timeout_ms = p->timeout_ms,
            .max_body = MAX_ANSWER},
        on_answer, &e);
    loop_run(box->loop);
    *answered = e.answered;
    return e.exit_code;
}

int post_send(const struct post *p)
{
    bool answered;
    struct postbox *box = postbox_new();
    int code = box ? postbox_send(box, p, &answered) : CTL_ERROR;
    postbox_free(box);
    return code;
}
