/* live: see live.h. Owns targets (a question, and its newest answer, for all who watch it) and viewers
 * (one stream each). */
#include "producer/live.h"

#include "base/clock.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/meter.h"
#include "base/text.h"
#include "base/url.h"
#include "producer/api_query.h"
#include "producer/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TARGET_MAX = 2000,        /* bytes of a target */
    ANSWER_MAX = 1 << 20,     /* bytes of an answer: what is larger is no view of a page */
    SMALL_ANSWER = 64 * 1024, /* bytes that are always sent ... */
    UNSENT_MAX = 64 << 20,    /* ... others while no more wait for all clients together */
    SLOWEST_MS = 10000,       /* between two questions, whatever goes wrong */
    RETRY_MS = 2000,          /* a browser comes again so much after the end, and ... */
    RETRY_SPREAD_MS = 2000,   /* ... so much more at most: many that ended together come apart */
    CONNECTION_SHARE = 4,     /* of the server's connections, one in so many may be a stream */
    QUESTION_SHARE = 2,       /* the same of the read API's connections to PostgreSQL */
    DIGEST_BYTES = 8,
    MARK_LEN = 2 * DIGEST_BYTES, /* names an answer */
};

struct live_pace live_pace = {.question_ms = 1000, .comment_ms = 15000};

struct target {
    struct live *l;
    struct list_node node; /* in live.targets */
    struct list_node turn; /* in live.due */
    struct list watchers;
    struct timer again;
    char *text;
    bool asking;
    int failures; /* in a row */
    int64_t asked_ms;
    bool trouble;
    struct buf data;         /* the newest answer, as an event says it, behind its {"of":0, */
    char mark[MARK_LEN + 1]; /* "" = there is none yet */
};

struct watching {
    struct target *target;
    struct viewer *viewer;
    struct list_node node;   /* in target.watchers */
    char seen[MARK_LEN + 1]; /* what the client was told last */
};

struct viewer {
    struct live *l;
    struct list_node node; /* in live.viewers */
    struct httpd_req *req; /* lives as long as the stream */
    struct httpd_stream *st;
    struct timer pulse;
    struct defer pump;
    char client[CLIENT_LEN + 1];
    int n_of;
    struct watching of[LIVE_OF_MAX];
};

struct live {
    struct stores *s;
    struct list targets, viewers;
    struct list due; /* targets that wait to be asked, the longest first */
    struct defer ask;
    int asking, asking_max;
    size_t viewers_max;
    bool stopped;
};

/* --- targets ----------------------------------------------------------------------------- */

static void ask_due(void *ctx);

static void target_due(void *ctx)
{
    struct target *t = ctx;
    list_push(&t->l->due, &t->turn);
    loop_defer(t->l->s->loop, &t->l->ask, ask_due, t->l);
}

static struct target *target_for(struct live *l, const char *text)
{
    LIST_EACH(&l->targets, n)
    {
        struct target *have = LIST_OF(n, struct target, node);
        if (strcmp(have->text, text) == 0)
            return have;
    }
    struct target *t = mem_new(struct target);
    t->l = l;
    t->text = mem_strdup(text);
    list_init(&t->watchers);
    list_push(&l->targets, &t->node);
    timer_init(l->s->loop, &t->again, target_due, t);
    target_due(t);
    return t;
}

static void target_free(struct target *t)
{
    if (list_linked(&t->turn))
        list_remove(&t->l->due, &t->turn);
    list_remove(&t->l->targets, &t->node);
    timer_stop(&t->again);
    buf_release(&t->data);
    free(t->text);
    free(t);
}

/* Nobody watches it any more: it goes, once no question is under way. */
static void target_release(struct target *t)
{
    if (!t->watchers.len && !t->asking)
        target_free(t);
}

/* --- what a client is told --------------------------------------------------------------- */

/* Everything this client knows: of each `of` the answer it was told last. */
static void put_id(struct buf *b, const struct viewer *v)
{
    buf_puts(b, "id: ");
    for (int i = 0; i < v->n_of; i++)
        buf_printf(b, "%s%s", i ? "." : "", *v->of[i].seen ? v->of[i].seen : "-");
}

static void put_event(struct buf *b, struct viewer *v, int i)
{
    const struct target *t = v->of[i].target;
    memcpy(v->of[i].seen, t->mark, sizeof(t->mark));
    put_id(b, v);
    buf_printf(b, "\nevent: %s\ndata: {\"of\":%d,", t->trouble ? "trouble" : "answer", i);
    buf_append(b, t->data.data, t->data.len);
    buf_puts(b, "\n\n");
}

/* Clients that do not read cannot fill the memory. */
static bool has_room(const struct live *l, size_t len)
{
    size_t unsent = len;
    LIST_EACH(&l->viewers, n)
    unsent += httpd_stream_unsent(LIST_OF(n, struct viewer, node)->st);
    return unsent <= UNSENT_MAX;
}

/* At the end of a turn, so that answers which came together go together. Who has not taken everything
 * is passed over, and for whom there is no room, and finds the newest with the next answer, changed or
 * not. */
static void pump(void *ctx)
{
    struct viewer *v = ctx;
    struct buf b = {0};
    if (httpd_stream_unsent(v->st))
        return;
    for (int i = 0; i < v->n_of; i++) {
        const struct target *t = v->of[i].target;
        bool is_news = *t->mark && strcmp(t->mark, v->of[i].seen) != 0;
        if (is_news && (t->data.len <= SMALL_ANSWER || has_room(v->l, b.len + t->data.len)))
            put_event(&b, v, i);
    }
    httpd_stream_write(v->st, b.data, b.len);
    buf_release(&b);
}

static void tell_watchers(struct target *t)
{
    LIST_EACH(&t->watchers, n)
    {
        struct viewer *v = LIST_OF(n, struct watching, node)->viewer;
        loop_defer(t->l->s->loop, &v->pump, pump, v);
    }
}

/* --- asking ------------------------------------------------------------------------------ */

/* JSON has no line ends but between its tokens. */
static void on_one_line(struct buf *b)
{
    for (size_t i = 0; i < b->len; i++)
        if (b->data[i] == '\n' || b->data[i] == '\r')
            b->data[i] = ' ';
}

static void mark_answer(struct target *t)
{
    uint8_t digest[DIGEST_LEN];
    struct buf whole = {0};
    buf_append(&whole, t->text, strlen(t->text) + 1);
    buf_append(&whole, t->data.data, t->data.len);
    digest_sha256(whole.data, whole.len, digest);
    digest_hex(digest, DIGEST_BYTES, t->mark);
    buf_release(&whole);
}

static void take_answer(struct target *t, int status, const char *body, size_t len)
{
    buf_clear(&t->data);
    t->trouble = status != 200 || len > ANSWER_MAX;
    if (status == 200 && t->trouble) {
        buf_printf(&t->data,
            "\"status\":422,\"detail\":\"The answer has %zu bytes; what is watched may have %d: ask"
            " for less\"}",
            len, ANSWER_MAX);
    } else if (t->trouble) {
        bool says = len > 2 && *body == '{'; /* {"detail":...}: its members follow */
        buf_printf(&t->data, "\"status\":%d%s", status, says ? "," : "}");
        buf_append(&t->data, body + 1, says ? len - 1 : 0);
    } else {
        buf_puts(&t->data, "\"answer\":");
        buf_append(&t->data, body, len);
        buf_putc(&t->data, '}');
    }
    on_one_line(&t->data);
    mark_answer(t);
}

static int64_t max_ms(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Once a second; a question that takes long is put for at most half of the time, one that fails ever
 * less often. */
static int64_t pause_ms(const struct target *t)
{
    int64_t took = clock_mono_ms() - t->asked_ms;
    int64_t pause = max_ms(max_ms(live_pace.question_ms - took, took), 0);
    if (t->failures)
        pause =
            max_ms(pause, (int64_t)live_pace.question_ms << (t->failures < 4 ? t->failures : 4));
    return pause < SLOWEST_MS ? pause : SLOWEST_MS;
}

static void answered(int status, const char *body, size_t len, void *ctx)
{
    struct target *t = ctx;
    struct live *l = t->l;
    t->asking = false;
    l->asking--;
    if (!l->stopped)
        loop_defer(l->s->loop, &l->ask, ask_due, l);
    if (!t->watchers.len) {
        target_free(t);
        return;
    }
    take_answer(t, status, body, len);
    t->failures = t->trouble ? t->failures + 1 : 0;
    timer_start(&t->again, pause_ms(t));
    tell_watchers(t);
}

/* Of all that is due as much as leaves the read API its share of connections. */
static void ask_due(void *ctx)
{
    static const char none[] = "{\"detail\":\"Not Found\"}";
    struct live *l = ctx;
    while (l->asking < l->asking_max && l->due.len) {
        struct target *t = LIST_OF(list_pop(&l->due), struct target, turn);
        t->asking = true;
        t->asked_ms = clock_mono_ms();
        l->asking++;
        if (!api_ask(l->s, t->text, answered, t))
            answered(404, none, sizeof(none) - 1, t);
    }
}

/* --- viewers ----------------------------------------------------------------------------- */

static void viewer_free(struct viewer *v)
{
    struct live *l = v->l;
    timer_stop(&v->pulse);
    loop_defer_cancel(l->s->loop, &v->pump);
    for (int i = 0; i < v->n_of; i++) {
        list_remove(&v->of[i].target->watchers, &v->of[i].node);
        target_release(v->of[i].target);
    }
    list_remove(&l->viewers, &v->node);
    free(v);
    meter_set(M_STREAMS, 0, 0, (int64_t)l->viewers.len);
}

static void viewer_end(struct viewer *v)
{
    httpd_stream_end(v->st);
    viewer_free(v);
}

static void closed(void *ctx)
{
    viewer_free(ctx);
}

/* A comment shows proxies and the client that we are there; and whoever may read no more goes. */
static void pulse(void *ctx)
{
    struct viewer *v = ctx;
    if (!api_may_read(v->l->s, v->req)) {
        viewer_end(v);
        return;
    }
    if (!httpd_stream_unsent(v->st))
        httpd_stream_write(v->st, ":\n\n", 3);
    timer_start(&v->pulse, live_pace.comment_ms);
}

/* What does not look like an id of ours, for so many targets, says nothing. */
static void resume(struct viewer *v)
{
    const char *at = httpd_header(v->req, "Last-Event-ID");
    for (int i = 0; at && i < v->n_of; i++) {
        size_t len = strcspn(at, ".");
        if (len == MARK_LEN)
            memcpy(v->of[i].seen, at, len);
        at = at[len] ? at + len + 1 : NULL;
    }
}

static void begin(struct viewer *v)
{
    char hello[64];
    unsigned retry = RETRY_MS + arc4random() % RETRY_SPREAD_MS;
    int len = snprintf(hello, sizeof(hello), "retry: %u\n\n", retry);
    httpd_add_header(v->req, "Cache-Control", "no-store");
    httpd_add_header(v->req, "X-Accel-Buffering", "no"); /* nginx would hold events back */
    v->st = httpd_stream_begin(v->req, "text/event-stream", closed, v);
    httpd_stream_write(v->st, hello, (size_t)len);
    loop_defer(v->l->s->loop, &v->pump, pump, v); /* there may be answers already */
}

static void viewer_new(
    struct live *l, struct httpd_req *req, char *const targets[LIVE_OF_MAX], int n)
{
    struct viewer *v = mem_new(struct viewer);
    v->l = l;
    v->req = req;
    v->n_of = n;
    client_address(req, v->client);
    list_push(&l->viewers, &v->node);
    for (int i = 0; i < n; i++) {
        v->of[i].viewer = v;
        v->of[i].target = target_for(l, targets[i]);
        list_push(&v->of[i].target->watchers, &v->of[i].node);
    }
    resume(v);
    timer_init(l->s->loop, &v->pulse, pulse, v);
    timer_start(&v->pulse, live_pace.comment_ms);
    begin(v);
    meter_set(M_STREAMS, 0, 0, (int64_t)l->viewers.len);
}

/* --- the route --------------------------------------------------------------------------- */

struct wanted {
    int n;
    char *targets[LIVE_OF_MAX];
};

static void wanted_release(struct wanted *w)
{
    for (int i = 0; i < w->n; i++)
        free(w->targets[i]);
}

/* NULL: it can be watched. text has len bytes. */
static const char *fault_of(const char *text, size_t len)
{
    if (len > TARGET_MAX)
        return "Value error, is longer than 2000 bytes";
    for (size_t i = 0; i < len; i++)
        if (text[i] <= ' ' || text[i] > '~' || text[i] == '#')
            return "Value error, holds a character that a path and query must have as %XX";
    if (strncmp(text, "/api/", 5) != 0 || !api_can_ask(text))
        return "Value error, is no GET route under /api/ that can be watched";
    return NULL;
}

static void want(struct wanted *w, const char *raw, size_t raw_len, struct buf *faults)
{
    char *text = mem_strndup(raw, raw_len);
    size_t len = url_decode(text, true);
    const char *fault = fault_of(text, len);
    if (w->n == LIVE_OF_MAX)
        fault = "Value error, is one more than the 4 that a stream can have";
    if (fault) {
        struct buf shown = {0};
        text_append_utf8(&shown, text, len < TARGET_MAX ? len : TARGET_MAX);
        api_query_fault(faults, "of", "value_error", fault, buf_str(&shown));
        buf_release(&shown);
        free(text);
        return;
    }
    w->targets[w->n++] = text;
}

static void read_wanted(struct wanted *w, const char *query, struct buf *faults)
{
    for (size_t len; *query; query += len + (query[len] == '&')) {
        len = strcspn(query, "&");
        if (len > 3 && strncmp(query, "of=", 3) == 0)
            want(w, query + 3, len - 3, faults);
    }
    if (!w->n && !faults->len)
        api_query_fault(faults, "of", "missing", "Field required", NULL);
}

static int streams_of(const struct live *l, const struct httpd_req *req)
{
    char client[CLIENT_LEN + 1];
    int n = 0;
    client_address(req, client);
    LIST_EACH(&l->viewers, node)
    n += strcmp(LIST_OF(node, struct viewer, node)->client, client) == 0;
    return n;
}

static void refuse(struct api_call *call, int status, const char *why)
{
    api_header(call, "Retry-After", "10");
    api_detail(call, status, "%s", why);
}

static void watch(struct api_call *call)
{
    struct live *l = call->stores->live;
    struct wanted w = {0};
    struct buf faults = {0};
    read_wanted(&w, call->query, &faults);
    if (faults.len) {
        buf_printf(&call->out, "{\"detail\":[%s]}", faults.data);
        api_reply(call, 422);
    } else if (l->stopped || l->viewers.len >= l->viewers_max) {
        refuse(call, 503, "Too many live streams here; ask for the answers themselves");
    } else if (streams_of(l, call->req) >= LIVE_PER_CLIENT) {
        refuse(call, 429, "Too many live streams of this client; close some");
    } else {
        viewer_new(l, api_take(call), w.targets, w.n);
    }
    wanted_release(&w);
    buf_release(&faults);
}

const struct api_route live_watch = {.streams = true, .go = watch};

/* --- life -------------------------------------------------------------------------------- */

static int share(int64_t whole, int part)
{
    return whole > part ? (int)(whole / part) : 1;
}

struct live *live_new(struct stores *s)
{
    struct live *l = mem_new(struct live);
    int connections = share(s->cfg->max_connections, CONNECTION_SHARE);
    l->s = s;
    l->asking_max = share(s->cfg->read_connections, QUESTION_SHARE);
    l->viewers_max = (size_t)(connections < LIVE_MAX ? connections : LIVE_MAX);
    list_init(&l->targets);
    list_init(&l->viewers);
    list_init(&l->due);
    return l;
}

void live_stop(struct live *l)
{
    if (!l)
        return;
    l->stopped = true;
    while (l->viewers.len)
        viewer_end(LIST_OF(list_first(&l->viewers), struct viewer, node));
    loop_defer_cancel(l->s->loop, &l->ask);
}

void live_free(struct live *l)
{
    if (!l)
        return;
    while (l->targets.len)
        target_free(LIST_OF(list_first(&l->targets), struct target, node));
    free(l);
}
