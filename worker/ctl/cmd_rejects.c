/* hooklinectl rejects: the webhooks that were refused. Their senders never repeat: who has mended what
 * was wrong posts them again from here. */
#include "worker/ctl/commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/timestamp.h"
#include "domain/rejects.h"
#include "worker/ctl/post.h"
#include "worker/ctl/session.h"

enum {
    OPT_LIMIT = 1,
    OPT_BEFORE,
    OPT_JSON,
    OPT_BODY,
    OPT_URL,
    OPT_TIMEOUT,
    OPT_DRY_RUN,
    OPT_YES,
    N_OPTIONS
};
enum { DEFAULT_LIMIT = 50, MAX_LIMIT = 1000, MAX_IDS = 1000, TIMEOUT_MS = 10000 };

/* clang-format off */
static const struct ctl_option options[] = {
    {OPT_LIMIT, "limit", "N", "list: at most N, the newest (default 50, at most 1000)"},
    {OPT_BEFORE, "before", "ID", "list: older than this entry"},
    {OPT_JSON, "json", NULL, "list, show: print one JSON object"},
    {OPT_BODY, "body", "FILE", "resubmit: this body instead, - for standard input"},
    {OPT_URL, "url", "URL", "resubmit: the producer (default http://127.0.0.1:<WEBHOOK_PORT>)"},
    {OPT_TIMEOUT, "timeout", "SECONDS", "resubmit: for each exchange (default 10)"},
    {OPT_DRY_RUN, "dry-run", NULL, "resubmit: only say what would be posted"},
    {OPT_YES, "yes", NULL, "resubmit: do not ask"},
    {0},
};
/* clang-format on */

static ctl_run_fn run;

const struct ctl_command cmd_rejects = {
    .name = "rejects",
    .summary = "the webhooks that were refused, to be posted again",
    .words = "list | show ID | resubmit ID...",
    .about =
        "Shows the last webhooks that were refused (WEBHOOK_REJECTS_KEPT of them), with the\n"
        "first 4 kB of their bodies, without credentials; the newest first. resubmit posts\n"
        "those again whose signature or token had been right: signed with WEBHOOK_SECRET, or\n"
        "with WEBHOOK_INTAKE_TOKEN where they had come with the token and it is set here,\n"
        "under the key that their sender gave them. Exits with 2 when there is no such entry.\n",
    .examples = "hooklinectl rejects list\n",
    .options = options,
    .run = run,
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
    struct session session;
    struct rejects *rejects;
    struct entry *entries;
    size_t n;
    const char *given[N_OPTIONS]; /* borrowed from argv; "" = without a value */
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

/* The entries of v->ids, or the list where there are none; false after saying what is wrong. */
static bool fetch(struct rejects_verb *v)
{
    struct hl_err err;
    if (session_open(&v->session, v->cfg, &err) != HL_OK) {
        v->code = ctl_fail_err(&err);
        return false;
    }
    v->rejects = rejects_new(v->session.redis, v->cfg->queue_prefix, 1);
    if (!v->nids) {
        session_asked(&v->session);
        rejects_list(v->rejects, v->given[OPT_BEFORE], v->limit, got_entries, v);
    }
    for (int i = 0; i < v->nids; i++) {
        session_asked(&v->session);
        rejects_get(v->rejects, v->ids[i], got_entries, v);
    }
    session_wait(&v->session);
    session_close(&v->session);
    rejects_free(v->rejects);
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

/* --- JSON -------------------------------------------------------------------------------- */

static bool is_text(const struct buf *body)
{
    return strlen(buf_str(body)) == body->len && text_utf8_valid(buf_str(body), body->len);
}

static void put_hex(struct buf *b, const struct buf *body)
{
    for (size_t i = 0; i < body->len; i++)
        buf_printf(b, "%02x", (unsigned char)body->data[i]);
}

/* The text, or the bytes in hex and no text. */
static void put_body(struct buf *b, const struct buf *body)
{
    if (is_text(body)) {
        json_put_text(b, "body", buf_str(body));
        return;
    }
    json_put_text(b, "body", NULL);
    json_put_key(b, "body_hex");
    buf_putc(b, '"');
    put_hex(b, body);
    buf_putc(b, '"');
}

static void put_entry(struct buf *b, const struct entry *e)
{
    char at[TIMESTAMP_ISO_LEN + 1];
    timestamp_iso(e->at, at);
    buf_putc(b, '{');
    json_put_text(b, "id", e->id);
    json_put_text(b, "at", at);
    json_put_text(b, "source", e->source);
    json_put_text(b, "method", e->method);
    json_put_text(b, "path", e->path);
    json_put_text(b, "query", e->query);
    json_put_text(b, "peer", e->peer);
    json_put_text(b, "request_id", e->request_id);
    buf_printf(b, ",\"status\":%d", e->status);
    json_put_text(b, "reason", e->reason);
    buf_printf(b, ",\"authenticated\":%s,\"headers\":%s,\"length\":%zu,\"kept\":%zu",
        e->authenticated ? "true" : "false", e->headers ? e->headers : "null", e->len, e->body.len);
    put_body(b, &e->body);
    buf_putc(b, '}');
}

static void print_json(const struct rejects_verb *v)
{
    struct buf b = {0};
    buf_puts(&b, "{\"version\":1,\"rejects\":[");
    for (size_t i = 0; i < v->n; i++) {
        if (i)
            buf_putc(&b, ',');
        put_entry(&b, &v->entries[i]);
    }
    buf_puts(&b, "]}");
    puts(buf_str(&b));
    buf_release(&b);
}

/* --- for people -------------------------------------------------------------------------- */

static void print_list(const struct rejects_verb *v)
{
    struct ctl_table t = {.columns = 8};
    ctl_table_row(&t, (const char *[]){"ID", "TIME", "SOURCE", "STATUS", "CREDENTIALS", "PEER",
                          "BYTES", "REASON"});
    for (size_t i = 0; i < v->n; i++) {
        const struct entry *e = &v->entries[i];
        char at[TIMESTAMP_ISO_LEN + 1], status[16], bytes[24];
        timestamp_iso(e->at / 1000000 * 1000000, at);
        snprintf(status, sizeof(status), "%d", e->status);
        snprintf(bytes, sizeof(bytes), "%zu", e->len);
        ctl_table_row(&t, (const char *[]){e->id, at, e->source, status,
                              e->authenticated ? "right" : "-", e->peer, bytes, e->reason});
    }
    ctl_table_print(&t);
}

#define ROW(name, value) ctl_table_row(t, (const char *[]){(name), (value)})

static void add_headers(struct ctl_table *t, const char *text)
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

static void add_facts(struct ctl_table *t, const struct entry *e)
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
    struct ctl_table t = {.columns = 2};
    struct buf hex = {0};
    add_facts(&t, e);
    ctl_table_print(&t);
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

static void list(struct rejects_verb *v)
{
    if (!fetch(v))
        return;
    if (v->given[OPT_JSON])
        print_json(v);
    else if (v->n)
        print_list(v);
    else
        puts("Nothing was refused.");
}

static void show(struct rejects_verb *v)
{
    if (!fetch(v) || !are_all_here(v))
        return;
    if (v->given[OPT_JSON])
        print_json(v);
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
        int code = check_entry(&v->entries[i], v->given[OPT_BODY] != NULL);
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
    struct ctl_table t = {.columns = 4};
    ctl_table_row(&t, (const char *[]){"ID", "BYTES", "WAS REFUSED FOR", "GOES TO"});
    for (size_t i = 0; i < v->n; i++) {
        const struct entry *e = &v->entries[i];
        char bytes[24], *to = target(v, e);
        snprintf(bytes, sizeof(bytes), "%zu", e->body.len);
        ctl_table_row(&t, (const char *[]){e->id, bytes, e->reason, to});
        free(to);
    }
    ctl_table_print(&t);
}

static bool agreed(const struct rejects_verb *v)
{
    char answer[16];
    printf("Post %s? [y/N] ", v->n == 1 ? "it" : "them");
    fflush(stdout);
    return fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y');
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
    if (!v->given[OPT_URL] && v->cfg->port == 0)
        return ctl_fail(
            CTL_ERROR, "WEBHOOK_PORT is 0, which means any: give the address with --url");
    if (v->given[OPT_URL])
        v->url = mem_strdup(v->given[OPT_URL]);
    else
        v->url = mem_printf("http://127.0.0.1:%lld", (long long)v->cfg->port);
    for (size_t n = strlen(v->url); n > 0 && v->url[n - 1] == '/'; n--)
        v->url[n - 1] = '\0';
    if (!v->given[OPT_BODY])
        return -1;
    buf_clear(&v->entries[0].body);
    return post_read_file(v->given[OPT_BODY], &v->entries[0].body);
}

/* Each is tried; the first that fails gives the exit code. */
static void resubmit(struct rejects_verb *v)
{
    if (!fetch(v) || !are_all_here(v) || !check_entries(v))
        return;
    int code = prepare(v);
    if (code >= 0) {
        v->code = code;
        return;
    }
    announce(v);
    if (v->given[OPT_DRY_RUN])
        return;
    if (!v->given[OPT_YES] && !agreed(v)) {
        v->code = ctl_fail(CTL_ERROR, "nothing was posted");
        return;
    }
    for (size_t i = 0; i < v->n && v->code != CTL_UNREACHABLE; i++) {
        code = post_entry(v, &v->entries[i]);
        v->code = v->code ? v->code : code;
    }
}

/* --- the verb ---------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*run)(struct rejects_verb *v);
    int min, max; /* ids */
    unsigned takes;
} actions[] = {
    {"list",     list,     0, 0,       1U << OPT_LIMIT | 1U << OPT_BEFORE | 1U << OPT_JSON },
    {"show",     show,     1, 1,       1U << OPT_JSON                                      },
    {"resubmit", resubmit, 1, MAX_IDS,
     1U << OPT_BODY | 1U << OPT_URL | 1U << OPT_TIMEOUT | 1U << OPT_DRY_RUN | 1U << OPT_YES},
};
enum { LIST, SHOW, RESUBMIT, N_ACTIONS };

/* -1: go on; else the exit code. */
static int check_resubmit(const struct rejects_verb *v)
{
    if (v->given[OPT_BODY] && v->nids > 1)
        return ctl_usage_error(
            &cmd_rejects, "--body is the body of one entry: give one ID with it");
    bool asks = !v->given[OPT_YES] && !v->given[OPT_DRY_RUN];
    bool answers =
        isatty(STDIN_FILENO) && !(v->given[OPT_BODY] && !strcmp(v->given[OPT_BODY], "-"));
    if (asks && !answers)
        return ctl_usage_error(&cmd_rejects,
            "resubmit asks before it posts, and nobody is there to answer: give --yes");
    if (v->timeout_ms <= 0)
        return ctl_usage_error(&cmd_rejects, "--timeout must be more than 0");
    return -1;
}

static int check_words(const struct rejects_verb *v, int action)
{
    for (int i = 0; options[i].key; i++)
        if (v->given[options[i].key] && !(actions[action].takes & 1U << options[i].key))
            return ctl_usage_error(
                &cmd_rejects, "%s takes no --%s", actions[action].name, options[i].name);
    if (v->nids < actions[action].min || v->nids > actions[action].max)
        return ctl_usage_error(&cmd_rejects, "say: rejects %s", cmd_rejects.words);
    for (int i = 0; i < v->nids; i++)
        if (!rejects_is_id(v->ids[i]))
            return ctl_usage_error(
                &cmd_rejects, "'%s' is no ID of an entry, as 'rejects list' shows them", v->ids[i]);
    const char *before = v->given[OPT_BEFORE];
    if (before && !rejects_is_id(before))
        return ctl_usage_error(&cmd_rejects, "--before takes the ID of an entry");
    return action == RESUBMIT ? check_resubmit(v) : -1;
}

/* *action is set where -1 is returned; else the exit code. */
static int parse(struct rejects_verb *v, struct ctl *ctl, int argc, char **argv, int *action)
{
    struct ctl_args args = CTL_ARGS(&cmd_rejects, ctl, argc, argv);
    int key;
    while ((key = ctl_next(&args)) != 0) {
        v->given[key] = args.value ? args.value : "";
        if (key == OPT_LIMIT && !ctl_count(&args, "limit", MAX_LIMIT, &v->limit))
            break;
        if (key == OPT_TIMEOUT && !ctl_duration(&args, "timeout", &v->timeout_ms))
            break;
    }
    if (args.done >= 0)
        return args.done;
    const char *word = args.rest < argc ? argv[args.rest] : "";
    for (*action = 0; *action < N_ACTIONS && strcmp(word, actions[*action].name) != 0;)
        ++*action;
    if (*action == N_ACTIONS)
        return ctl_usage_error(&cmd_rejects, "say what to do: rejects %s", cmd_rejects.words);
    v->ids = argv + args.rest + 1;
    v->nids = argc - args.rest - 1;
    return check_words(v, *action);
}

static int run(struct ctl *ctl, int argc, char **argv)
{
    struct rejects_verb v = {.limit = DEFAULT_LIMIT, .timeout_ms = TIMEOUT_MS};
    struct config cfg;
    int action, code = parse(&v, ctl, argc, argv, &action);
    if (code >= 0)
        return code;
    if (!ctl_config(ctl, &cfg))
        return CTL_ERROR;
    v.cfg = &cfg;
    actions[action].run(&v);
    for (size_t i = 0; i < v.n; i++)
        entry_release(&v.entries[i]);
    free(v.entries);
    free(v.url);
    config_release(&cfg);
    return v.code;
}
