/* hooklinectl rejects: the webhooks that were refused. Their senders never repeat: who has mended what
 * was wrong posts them again from here. */
#include "worker/ctl/commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/timestamp.h"
#include "domain/rejects.h"
#include "worker/ctl/confirm.h"
#include "worker/ctl/listing.h"
#include "worker/ctl/post.h"
#include "worker/ctl/session.h"

enum { OPT_LIMIT = 1, OPT_BEFORE, OPT_BODY, OPT_URL, OPT_TIMEOUT };
enum { DEFAULT_LIMIT = 50, MAX_LIMIT = 1000, MAX_IDS = 1000, TIMEOUT_MS = 10000 };

/* clang-format off */
static const struct ctl_option list_options[] = {
    {OPT_LIMIT, "limit", "N", "at most N, the newest (default 50, at most 1000)"},
    {OPT_BEFORE, "before", "ID", "older than this entry"},
    CTL_READER_OPTIONS,
    {0},
};
static const struct ctl_option show_options[] = {CTL_JSON_OPTION, {0}};
static const struct ctl_option resubmit_options[] = {
    {OPT_BODY, "body", "FILE", "this body instead, - for standard input"},
    {OPT_URL, "url", "URL", "the producer (default http://127.0.0.1:<WEBHOOK_PORT>)"},
    {OPT_TIMEOUT, "timeout", "DURATION", "for each exchange (default 10s)"},
    CTL_WRITER_OPTIONS,
    {0},
};
/* clang-format on */

static ctl_run_fn run_list, run_show, run_resubmit;

static const struct ctl_command list = {
    .name = "rejects list",
    .summary = "list the last webhooks that were refused",
    .about = "Lists the last webhooks that were refused (WEBHOOK_REJECTS_KEPT of them), without\n"
             "credentials; the newest first.\n",
    .examples =
        "hooklinectl rejects list --limit 10\n"
        "hooklinectl rejects list --watch\n"
        "hooklinectl rejects list --json | jq -r '.rejects[] | select(.status==401).peer'\n",
    .options = list_options,
    .run = run_list,
};

static const struct ctl_command show = {
    .name = "rejects show",
    .summary = "show one of them, with the first 4 kB of its body",
    .words = "ID",
    .about = "Shows a webhook that was refused: the request without credentials, why it was\n"
             "refused, and the first 4 kB of its body. Exits with 2 when there is no such entry.\n",
    .examples = "hooklinectl rejects show 1763926852000-0\n",
    .options = show_options,
    .run = run_show,
};

static const struct ctl_command resubmit = {
    .name = "rejects resubmit",
    .summary = "post some of them again",
    .words = "ID...",
    .about =
        "Posts those again whose signature or token had been right: signed with WEBHOOK_SECRET,\n"
        "or with WEBHOOK_INTAKE_TOKEN where they had come with the token and it is set here,\n"
        "under the key that their sender gave them. The entries stay. Exits with 2 when there\n"
        "is no such entry; the first that fails gives the exit code.\n",
    .examples = "hooklinectl rejects resubmit --dry-run 1763926852000-0\n"
                "hooklinectl rejects resubmit --yes --body mended.json 1763926852000-0\n",
    .options = resubmit_options,
    .run = run_resubmit,
};

static const struct ctl_command *const actions[] = {&list, &show, &resubmit, NULL};

const struct ctl_command cmd_rejects = {
    .name = "rejects",
    .summary = "the webhooks that were refused: list, show, resubmit",
    .about =
        "The webhooks that were refused. Senders seldom repeat: who has mended what was wrong\n"
        "posts them again from here.\n",
    .actions = actions,
};

/* An entry, copied. */
struct entry {
    char *id, *source, *method, *path, *query, *peer, *request_id, *reason, *headers;
    int64_t at;
    int status;
    bool authenticated;
    struct buf body; /* as much as is kept */
    size_t len;      /* of the whole body */
};

struct rejects_verb {
    struct ctl_args *args;
    struct session session;
    struct rejects *rejects;
    struct entry *entries;
    size_t n;
    const char *before, *body, *producer; /* borrowed from argv; NULL = not given */
    int limit;
    int64_t timeout_ms;
    char **ids; /* borrowed from argv */
    int nids;
    char *url; /* of the producer, without a path */
    const struct config *cfg;
    int code;
};

/* --- asking Redis ------------------------------------------------------------------------ */

static struct entry entry_copy(const struct reject_entry *e)
{
    const struct reject *r = &e->reject;
    struct entry out = {.id = mem_strdup(e->id),
        .source = mem_strdup(r->source),
        .method = mem_strdup(r->method),
        .path = mem_strdup(r->path),
        .query = mem_strdup(r->query),
        .peer = mem_strdup(r->peer),
        .request_id = mem_strdup(r->request_id),
        .reason = mem_strdup(r->reason),
        .headers = mem_strdup(r->headers),
        .at = r->at,
        .status = r->status,
        .authenticated = r->authenticated,
        .len = r->len};
    buf_append(&out.body, r->body, e->kept);
    return out;
}

static void entry_release(struct entry *e)
{
    char *const texts[] = {e->id, e->source, e->method, e->path, e->query, e->peer, e->request_id,
        e->reason, e->headers};
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        free(texts[i]);
    buf_release(&e->body);
}

static void got_entries(enum hl_rc rc, const struct reject_entry *entries, size_t n,
    const struct hl_err *err, void *ctx)
{
    struct rejects_verb *v = ctx;
    if (rc != HL_OK && v->code == CTL_OK)
        v->code = ctl_fail_err(err);
    v->entries = mem_grow(v->entries, (v->n + n + 1) * sizeof(*v->entries));
    for (size_t i = 0; i < n; i++)
        v->entries[v->n++] = entry_copy(&entries[i]);
    session_answered(&v->session);
}

static void forget(struct rejects_verb *v)
{
    for (size_t i = 0; i < v->n; i++)
        entry_release(&v->entries[i]);
    v->n = 0;
}

/* The entries of v->ids, or the list where there are none; false after saying what is wrong. */
static bool fetch(struct rejects_verb *v)
{
    forget(v);
    v->code = CTL_OK;
    if (!v->nids) {
        session_asked(&v->session);
        rejects_list(v->rejects, v->before, v->limit, got_entries, v);
    }
    for (int i = 0; i < v->nids; i++) {
        session_asked(&v->session);
        rejects_get(v->rejects, v->ids[i], got_entries, v);
    }
    session_wait(&v->session);
    return v->code == CTL_OK;
}

static bool is_here(const struct rejects_verb *v, const char *id)
{
    for (size_t i = 0; i < v->n; i++)
        if (strcmp(v->entries[i].id, id) == 0)
            return true;
    return false;
}

static bool are_all_here(struct rejects_verb *v)
{
    for (int i = 0; i < v->nids; i++)
        if (!is_here(v, v->ids[i]))
            v->code = ctl_fail(CTL_NOT_EMPTY,
                "there is no entry %s among the rejects; 'hooklinectl rejects list' shows them",
                v->ids[i]);
    return v->code == CTL_OK;
}

/* --- bodies ------------------------------------------------------------------------------ */

static bool is_text(const struct buf *body)
{
    return strlen(buf_str(body)) == body->len && text_utf8_valid(buf_str(body), body->len);
}

static void put_hex(struct buf *b, const struct buf *body)
{
    for (size_t i = 0; i < body->len; i++)
        buf_printf(b, "%02x", (unsigned char)body->data[i]);
}

/* --- the list ---------------------------------------------------------------------------- */

static const struct column columns[] = {
    {"id",            "ID",          COLUMN_TEXT, 0 },
    {"at",            "TIME",        COLUMN_TIME, 0 },
    {"source",        "SOURCE",      COLUMN_TEXT, 0 },
    {"method",        NULL,          COLUMN_TEXT, 0 },
    {"path",          NULL,          COLUMN_TEXT, 0 },
    {"query",         NULL,          COLUMN_TEXT, 0 },
    {"status",        "STATUS",      COLUMN_INT,  0 },
    {NULL,            "CREDENTIALS", COLUMN_TEXT, 0 },
    {"authenticated", NULL,          COLUMN_BOOL, 0 },
    {"peer",          "PEER",        COLUMN_TEXT, 0 },
    {"request_id",    NULL,          COLUMN_TEXT, 0 },
    {"headers",       NULL,          COLUMN_JSON, 0 },
    {"length",        "BYTES",       COLUMN_INT,  0 },
    {"kept",          NULL,          COLUMN_INT,  0 },
    {"reason",        "REASON",      COLUMN_TEXT, 20},
    {"body",          NULL,          COLUMN_TEXT, 0 },
    {"body_hex",      NULL,          COLUMN_TEXT, 0 }, /* of what is no text */
};

struct digits {
    char text[24];
};

static struct digits digits(int64_t n)
{
    struct digits d;
    snprintf(d.text, sizeof(d.text), "%lld", (long long)n);
    return d;
}

static void add_entry(struct listing *l, const struct entry *e)
{
    const struct digits at = digits(e->at), status = digits(e->status);
    const struct digits len = digits((int64_t)e->len), kept = digits((int64_t)e->body.len);
    struct buf hex = {0};
    bool text = is_text(&e->body);
    if (!text)
        put_hex(&hex, &e->body);
    listing_add(l, (const char *[]){e->id, at.text, e->source, e->method, e->path, e->query,
                       status.text, e->authenticated ? "right" : NULL, e->authenticated ? "t" : "f",
                       e->peer, e->request_id, e->headers, len.text, kept.text, e->reason,
                       text ? buf_str(&e->body) : NULL, text ? NULL : buf_str(&hex)});
    buf_release(&hex);
}

static void print_list(const struct rejects_verb *v)
{
    struct listing l = {.columns = columns, .n = sizeof(columns) / sizeof(columns[0])};
    struct buf b = {0};
    for (size_t i = 0; i < v->n; i++)
        add_entry(&l, &v->entries[i]);
    if (v->args->shared.json) {
        buf_puts(&b, "{\"version\":1,\"rejects\":");
        listing_put_json(&l, &b);
        buf_putc(&b, '}');
        print_line(&b);
    } else if (v->n) {
        listing_print(&l);
    } else {
        puts("Nothing was refused.");
    }
    buf_release(&b);
    listing_release(&l);
}

/* --- one of them ------------------------------------------------------------------------- */

static const struct column fact_columns[] = {
    {NULL, "WHAT",  COLUMN_TEXT, 0},
    {NULL, "VALUE", COLUMN_TEXT, 0},
};

#define ROW(name, value) listing_add(t, (const char *[]){(name), (value)})

static void add_headers(struct listing *t, const char *text)
{
    struct hl_err err;
    json_t *headers = text ? json_parse(text, strlen(text), &err) : NULL, *value;
    const char *name;
    json_object_foreach(headers, name, value)
    {
        char *label = mem_printf("header %s", name);
        ROW(label, json_string_value(value));
        free(label);
    }
    json_decref(headers);
}

static void add_facts(struct listing *t, const struct entry *e)
{
    char at[TIMESTAMP_ISO_LEN + 1], status[16], bytes[64];
    timestamp_iso(e->at, at);
    snprintf(status, sizeof(status), "%d", e->status);
    snprintf(bytes, sizeof(bytes), e->len > e->body.len ? "%zu, of which %zu are kept" : "%zu",
        e->len, e->body.len);
    ROW("id", e->id);
    ROW("time", at);
    ROW("source", e->source);
    ROW("method", e->method);
    ROW("path", e->path);
    ROW("query", e->query);
    ROW("peer", e->peer);
    ROW("request id", e->request_id);
    ROW("status", status);
    ROW("reason", e->reason);
    ROW("credentials", e->authenticated ? "right" : "not right, or not looked at");
    add_headers(t, e->headers);
    ROW("body bytes", bytes);
}

/* Nothing that steers a terminal. */
static bool is_printable(const struct buf *body)
{
    for (size_t i = 0; i < body->len; i++) {
        unsigned char c = (unsigned char)body->data[i];
        bool c1 = c == 0xc2 && i + 1 < body->len && (unsigned char)body->data[i + 1] < 0xa0;
        if ((c < ' ' && !strchr("\n\r\t", c)) || c == 0x7f || c1)
            return false;
    }
    return is_text(body);
}

static void print_entry(const struct entry *e)
{
    struct listing t = {.columns = fact_columns, .n = 2};
    struct buf hex = {0};
    add_facts(&t, e);
    listing_print(&t);
    listing_release(&t);
    if (!e->body.len)
        return;
    bool text = is_printable(&e->body);
    if (!text)
        put_hex(&hex, &e->body);
    printf("\nThe body%s%s:\n%s\n", e->len > e->body.len ? "'s beginning" : "",
        text ? "" : ", in hex", buf_str(text ? &e->body : &hex));
    buf_release(&hex);
}

/* --- list, show -------------------------------------------------------------------------- */

static int show_list(void *ctx)
{
    struct rejects_verb *v = ctx;
    if (fetch(v))
        print_list(v);
    return v->code;
}

static void do_list(struct rejects_verb *v)
{
    v->code = ctl_watch(&v->args->shared, show_list, v);
}

static void do_show(struct rejects_verb *v)
{
    if (!fetch(v) || !are_all_here(v))
        return;
    if (v->args->shared.json)
        print_list(v);
    else
        print_entry(&v->entries[0]);
}

/* --- resubmit ---------------------------------------------------------------------------- */

static int refuse_entry(const struct entry *e, const char *why)
{
    return ctl_fail(CTL_ERROR, "%s cannot be posted again: %s", e->id, why);
}

/* CTL_OK, or after saying what is in the way. */
static int check_entry(const struct entry *e, bool has_body)
{
    if (!e->authenticated)
        return refuse_entry(e, "neither signature nor token had been right, so nobody knows who "
                               "had sent it ('hooklinectl send --file' posts what you trust)");
    if (e->len > e->body.len && !has_body)
        return refuse_entry(e, "only the first bytes of its body are kept; give all of it with "
                               "--body");
    if (!e->source || !e->path || e->path[0] != '/' || strpbrk(e->path, " \r\n"))
        return refuse_entry(e, "it names no route");
    return CTL_OK;
}

static bool check_entries(struct rejects_verb *v)
{
    for (size_t i = 0; i < v->n; i++) {
        int code = check_entry(&v->entries[i], v->body != NULL);
        v->code = code ? code : v->code;
    }
    return v->code == CTL_OK;
}

static bool is_crawl(const struct entry *e)
{
    return strcmp(e->source, "firecrawl") == 0;
}

static char *target(const struct rejects_verb *v, const struct entry *e)
{
    bool query = e->query && *e->query;
    return mem_printf("%s%s%s%s", v->url, e->path, query ? "?" : "", query ? e->query : "");
}

static void announce(const struct rejects_verb *v)
{
    static const struct column goes[] = {
        {NULL, "ID",              COLUMN_TEXT, 0 },
        {NULL, "BYTES",           COLUMN_INT,  0 },
        {NULL, "WAS REFUSED FOR", COLUMN_TEXT, 20},
        {NULL, "GOES TO",         COLUMN_TEXT, 0 },
    };
    struct listing t = {.columns = goes, .n = sizeof(goes) / sizeof(goes[0])};
    for (size_t i = 0; i < v->n; i++) {
        const struct entry *e = &v->entries[i];
        const struct digits bytes = digits((int64_t)e->body.len);
        char *to = target(v, e);
        listing_add(&t, (const char *[]){e->id, bytes.text, e->reason, to});
        free(to);
    }
    listing_print(&t);
    listing_release(&t);
}

static bool is_visible(const char *text)
{
    while (*text >= ' ' && *text <= '~')
        text++;
    return !*text;
}

/* "Name: value" of a header that came with it and has to come again; NULL = there was none. */
static char *header_again(const json_t *headers, const char *name)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)headers, key, value)
    {
        const char *text = json_string_value(value);
        if (strcasecmp(key, name) == 0 && text && *text && is_visible(text))
            return mem_printf("%s: %s", name, text);
    }
    return NULL;
}

static bool was_signed(const json_t *headers)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)headers, key, value)
    {
        if (strcasestr(key, "signature"))
            return true;
    }
    return false;
}

/* As it had come: a signed query does not count, and with a token more is understood. */
static char *credential(const struct rejects_verb *v, const struct entry *e, const json_t *headers)
{
    const struct config *cfg = v->cfg;
    bool token = cfg->intake_token && *cfg->intake_token;
    if (token && !was_signed(headers))
        return mem_printf("X-Webhook-Token: %s", cfg->intake_token);
    return post_signature(is_crawl(e) ? "X-Firecrawl-Signature" : "X-Signature",
        cfg->webhook_secret, buf_str(&e->body), e->body.len);
}

static int post_entry(const struct rejects_verb *v, const struct entry *e)
{
    static const char *const again[] = {"Content-Type", "Idempotency-Key", "webhook-id"};
    enum { N_AGAIN = sizeof(again) / sizeof(*again) };
    struct hl_err err;
    json_t *kept = e->headers ? json_parse(e->headers, strlen(e->headers), &err) : NULL;
    char *headers[N_AGAIN + 2] = {credential(v, e, kept)}, *to = target(v, e);
    int n = 1;

    for (int i = 0; i < N_AGAIN; i++)
        if ((headers[n] = header_again(kept, again[i])))
            n++;
    printf("%s:\n", e->id);
    fflush(stdout);
    int code = post_send(&(struct post){.url = to,
        .headers = (const char *const *)headers,
        .body = buf_str(&e->body),
        .len = e->body.len,
        .timeout_ms = v->timeout_ms,
        .events = is_crawl(e),
        .option = "--url",
        .check = "is --url the address of a producer?"});
    while (n > 0)
        free(headers[--n]);
    free(to);
    json_decref(kept);
    return code;
}

/* -1: go on; else the exit code. */
static int prepare(struct rejects_verb *v)
{
    if (!v->cfg->webhook_secret || !*v->cfg->webhook_secret)
        return ctl_fail(CTL_ERROR, "WEBHOOK_SECRET is not set: give the secret of the producer");
    if (!v->producer && v->cfg->port == 0)
        return ctl_fail(
            CTL_ERROR, "WEBHOOK_PORT is 0, which means any: give the address with --url");
    if (v->producer)
        v->url = mem_strdup(v->producer);
    else
        v->url = mem_printf("http://127.0.0.1:%lld", (long long)v->cfg->port);
    for (size_t n = strlen(v->url); n > 0 && v->url[n - 1] == '/'; n--)
        v->url[n - 1] = '\0';
    if (!v->body)
        return -1;
    buf_clear(&v->entries[0].body);
    return post_read_file(v->body, &v->entries[0].body);
}

/* Each is tried; the first that fails gives the exit code. */
static void post_all(struct rejects_verb *v)
{
    struct oplog log;
    struct buf detail = {0};
    int64_t posted = 0;

    buf_puts(&detail, "{\"ids\":[");
    for (size_t i = 0; i < v->n; i++) {
        buf_puts(&detail, i ? "," : "");
        json_put_string(&detail, v->entries[i].id);
    }
    buf_putc(&detail, ']');
    json_put_text(&detail, "url", v->url);
    buf_putc(&detail, '}');
    v->code = oplog_begin(&v->session, v->args, buf_str(&detail), &log);
    buf_release(&detail);
    if (v->code != CTL_OK)
        return;
    for (size_t i = 0; i < v->n && v->code != CTL_UNREACHABLE; i++) {
        int code = post_entry(v, &v->entries[i]);
        posted += code == CTL_OK;
        v->code = v->code ? v->code : code;
    }
    int code =
        oplog_end(&v->session, &log, posted, v->code ? "not all of them were taken" : "done");
    v->code = v->code ? v->code : code;
}

static void do_resubmit(struct rejects_verb *v)
{
    if (!fetch(v) || !are_all_here(v) || !check_entries(v))
        return;
    int code = prepare(v);
    if (code < 0) {
        announce(v);
        code = confirm(v->args, "Post %s?", v->n == 1 ? "it" : "them");
    }
    if (code < 0)
        post_all(v);
    else
        v->code = code;
}

/* --- the actions ------------------------------------------------------------------------- */

static int act(struct rejects_verb *v, void (*action)(struct rejects_verb *v))
{
    struct config cfg;
    struct hl_err err;
    if (!ctl_config(v->args->ctl, &cfg))
        return CTL_ERROR;
    v->cfg = &cfg;
    if (session_open(&v->session, &cfg, &err) == HL_OK) {
        v->rejects = rejects_new(v->session.redis, cfg.queue_prefix, 1);
        action(v);
        session_close(&v->session);
        rejects_free(v->rejects);
    } else {
        v->code = ctl_fail_err(&err);
    }
    forget(v);
    free(v->entries);
    free(v->url);
    config_release(&cfg);
    return v->code;
}

/* The IDs behind the options. -1: go on; else the exit code. */
static int take_ids(struct rejects_verb *v, int max)
{
    struct ctl_args *args = v->args;
    if (args->done >= 0)
        return args->done;
    v->ids = args->argv + args->rest;
    v->nids = args->argc - args->rest;
    if (v->nids < 1 || v->nids > max)
        return ctl_usage_error(
            args->command, max == 1 ? "name one entry by its ID" : "name 1 to %d entries", max);
    for (int i = 0; i < v->nids; i++)
        if (!rejects_is_id(v->ids[i]))
            return ctl_usage_error(args->command,
                "'%s' is no ID of an entry, as 'rejects list' shows them", v->ids[i]);
    return -1;
}

static int run_list(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&list, ctl, argc, argv);
    struct rejects_verb v = {.args = &args, .limit = DEFAULT_LIMIT};
    int key;
    while ((key = ctl_next(&args)) != 0) {
        if (key == OPT_BEFORE)
            v.before = args.value;
        else if (!ctl_count(&args, "limit", MAX_LIMIT, &v.limit))
            break;
    }
    if (args.done >= 0)
        return args.done;
    if (v.before && !rejects_is_id(v.before))
        return ctl_usage_error(&list, "--before takes the ID of an entry");
    return act(&v, do_list);
}

static int run_show(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&show, ctl, argc, argv);
    struct rejects_verb v = {.args = &args};
    ctl_parse(&args);
    int code = take_ids(&v, 1);
    return code >= 0 ? code : act(&v, do_show);
}

/* -1: go on; else the exit code. */
static int check_resubmit(const struct rejects_verb *v)
{
    const struct ctl_shared *s = &v->args->shared;
    if (v->body && v->nids > 1)
        return ctl_usage_error(&resubmit, "--body is the body of one entry: give one ID with it");
    if (v->timeout_ms <= 0)
        return ctl_usage_error(&resubmit, "--timeout must be more than 0");
    if (v->body && strcmp(v->body, "-") == 0 && !s->yes && !s->dry_run)
        return ctl_usage_error(&resubmit,
            "the body comes from standard input, where nobody can answer then: give --yes");
    return confirm_possible(v->args);
}

static int run_resubmit(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&resubmit, ctl, argc, argv);
    struct rejects_verb v = {.args = &args, .timeout_ms = TIMEOUT_MS};
    int key;
    while ((key = ctl_next(&args)) != 0) {
        if (key == OPT_BODY)
            v.body = args.value;
        else if (key == OPT_URL)
            v.producer = args.value;
        else if (!ctl_duration(&args, "timeout", &v.timeout_ms))
            break;
    }
    int code = take_ids(&v, MAX_IDS);
    if (code < 0)
        code = check_resubmit(&v);
    return code >= 0 ? code : act(&v, do_resubmit);
}
