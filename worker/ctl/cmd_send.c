/* hooklinectl send: posts one change event to a producer, signed as its sender would, and shows the
 * answer. What is sent is built from options, or is a file byte for byte. */
#include "worker/ctl/ctl.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/timestamp.h"
#include "io/http.h"

#define PATH               "/api/webhook/changedetection"
#define DEFAULT_TIMEOUT_MS 10000
#define MAX_BODY           (16 << 20)
#define MAX_KEY            255 /* the producer's limit */
#define MAX_ANSWER         (1 << 20)

/* The first six are members of the payload, in the order of payload_names. */
enum {
    OPT_WATCH_ID = 1,
    OPT_URL,
    OPT_TITLE,
    OPT_DETECTED_AT,
    OPT_DIFF_URL,
    OPT_SNAPSHOT,
    OPT_FILE,
    OPT_KEY,
    OPT_TO,
    OPT_TIMEOUT,
    OPT_JSON,
    N_OPTIONS
};

static const char *const payload_names[] = {[OPT_WATCH_ID] = "watch_id",
    [OPT_URL] = "watch_url",
    [OPT_TITLE] = "watch_title",
    [OPT_DETECTED_AT] = "detected_at",
    [OPT_DIFF_URL] = "diff_url",
    [OPT_SNAPSHOT] = "snapshot"};

/* clang-format off */
static const struct ctl_option options[] = {
    {OPT_URL, "url", "URL", "the page that changed (required without --file)"},
    {OPT_WATCH_ID, "watch-id", "ID", "the watch that noticed (default: hooklinectl)"},
    {OPT_TITLE, "title", "TEXT", "title of the watch"},
    {OPT_DETECTED_AT, "detected-at", "TIME", "ISO 8601, as 2026-01-31T12:00:00Z (default: now)"},
    {OPT_DIFF_URL, "diff-url", "URL", "where the difference can be seen"},
    {OPT_SNAPSHOT, "snapshot", "TEXT", "the changed text"},
    {OPT_FILE, "file", "FILE", "send this file as it is, - for standard input"},
    {OPT_KEY, "key", "KEY", "Idempotency-Key: however often it is sent under it, it is one event"},
    {OPT_TO, "to", "URL", "default: http://127.0.0.1:<WEBHOOK_PORT>" PATH},
    {OPT_TIMEOUT, "timeout", "SECONDS", "for the whole exchange (default 10)"},
    {OPT_JSON, "json", NULL, "print the answer as it came"},
    {0},
};
/* clang-format on */

static const struct ctl_usage usage = {
    .verb = "send",
    .about = "Signs a change event with WEBHOOK_SECRET and posts it to a producer: to try an\n"
             "installation, or to deliver again what a sender lost.\n",
    .options = options,
};

struct send {
    const char *given[N_OPTIONS]; /* by key; borrowed from argv */
    int64_t timeout_ms;
    char *to;
    struct buf body;
    struct loop *loop;
    int exit_code;
};

/* --- the command line -------------------------------------------------------------------- */

/* What a header may hold anywhere. */
static bool is_key(const char *text)
{
    size_t len = strlen(text), visible = 0;
    while (text[visible] > ' ' && text[visible] <= '~')
        visible++;
    return len > 0 && len <= MAX_KEY && visible == len;
}

/* -1: go on; else the exit code. */
static int parse(struct send *s, struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&usage, ctl, argc, argv);
    int key;
    while ((key = ctl_next(&args)) != 0) {
        s->given[key] = args.value ? args.value : "";
        if (key == OPT_TIMEOUT && !ctl_duration(&args, "timeout", &s->timeout_ms))
            break;
    }
    if (args.done >= 0)
        return args.done;
    for (int i = OPT_WATCH_ID; i <= OPT_SNAPSHOT; i++) {
        if (s->given[i] && s->given[OPT_FILE])
            return ctl_usage_error(&usage,
                "--file sends a payload as it is; it takes no %s from "
                "other options",
                payload_names[i]);
        if (s->given[i] && !text_utf8_valid(s->given[i], strlen(s->given[i])))
            return ctl_usage_error(&usage, "%s is not valid UTF-8", payload_names[i]);
    }
    if (!s->given[OPT_URL] && !s->given[OPT_FILE])
        return ctl_usage_error(&usage, "give --url, or --file");
    if (s->given[OPT_KEY] && !is_key(s->given[OPT_KEY]))
        return ctl_usage_error(&usage, "--key takes 1 to %d visible ASCII characters", MAX_KEY);
    if (s->timeout_ms <= 0)
        return ctl_usage_error(&usage, "--timeout must be more than 0");
    return -1;
}

/* --- the body ---------------------------------------------------------------------------- */

static void build_payload(struct send *s)
{
    char now[TIMESTAMP_ISO_LEN + 1];
    timestamp_iso(clock_wall_us(), now);
    if (!s->given[OPT_WATCH_ID])
        s->given[OPT_WATCH_ID] = "hooklinectl";

    buf_putc(&s->body, '{');
    for (int i = OPT_WATCH_ID; i <= OPT_SNAPSHOT; i++) {
        const char *value = s->given[i];
        if (!value && i == OPT_DETECTED_AT)
            value = now;
        if (!value)
            continue;
        json_put_key(&s->body, payload_names[i]);
        json_put_string(&s->body, value);
    }
    buf_putc(&s->body, '}');
}

/* -1: go on; else the exit code. */
static int read_file(struct send *s, const char *name)
{
    bool standard = strcmp(name, "-") == 0;
    FILE *f = standard ? stdin : fopen(name, "re");
    if (!f)
        return ctl_fail(CTL_ERROR, "cannot read %s: %s", name, strerror(errno));

    size_t n;
    do {
        n = fread(buf_reserve(&s->body, 65536), 1, 65536, f);
        s->body.len += n;
    } while (n > 0 && s->body.len <= MAX_BODY);
    int fault = ferror(f) ? errno : 0;
    if (!standard)
        fclose(f);
    if (fault)
        return ctl_fail(CTL_ERROR, "cannot read %s: %s", name, strerror(fault));
    if (s->body.len > MAX_BODY)
        return ctl_fail(
            CTL_ERROR, "%s is larger than %d bytes; no producer takes that", name, MAX_BODY);
    return -1;
}

/* --- the answer -------------------------------------------------------------------------- */

/* What to do about a status. */
static const struct {
    int from, to;
    const char *advice;
} advices[] = {
    {200, 299,     "only 202 means accepted: is --to the path " PATH " of a producer?"   },
    {300, 399,     "redirects are not followed: give the final URL with --to"            },
    {400, 400,     "correct the payload and send it again"                               },
    {401, 403,     "WEBHOOK_SECRET must be the same here and at the producer"            },
    {404, 405,     "is --to the path " PATH " of a producer?"                            },
    {409, 409,     "give another event another --key"                                    },
    {413, 413,     "shorten the payload, or raise WEBHOOK_MAX_BODY_BYTES at the producer"},
    {429, 429,     "wait a little and send it again"                                     },
    {503, 503,     "the producer cannot store it now: wait a little and send it again"   },
    {500, 599,     "the producer is in trouble: its log says why"                        },
    {0,   INT_MAX, "the producer's log may say why"                                      },
};

static const char *advice(long status)
{
    size_t i = 0;
    while (status < advices[i].from || status > advices[i].to)
        i++;
    return advices[i].advice;
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

static int show_refusal(const struct http_response *res)
{
    struct buf detail = {0};
    append_detail(&detail, res);
    ctl_fail(CTL_ERROR, "refused with HTTP %ld%s%s", res->status, detail.len ? ": " : "",
        buf_str(&detail));
    if (res->retry_after_ms >= 0)
        fprintf(stderr, "It asks to come back in %lld s.\n",
            (long long)((res->retry_after_ms + 999) / 1000));
    fprintf(stderr, "What to do: %s.\n", advice(res->status));
    buf_release(&detail);
    return CTL_ERROR;
}

#define ROW(name, value) ((const char *const[]){(name), (value)})
#define NO_ROW_YET       "none yet: the row follows when the database is back"

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

    struct ctl_table t = {.columns = 2};
    ctl_table_row(&t, ROW("status", json_get_string(answer, "status")));
    ctl_table_row(&t, ROW("job id", json_get_string(answer, "job_id")));
    ctl_table_row(&t, ROW("event id", json_is_integer(id) ? number : NO_ROW_YET));
    ctl_table_row(&t, ROW("url", json_get_string(answer, "url")));
    ctl_table_print(&t);
    json_decref(answer);
}

static void on_answer(const struct http_response *res, void *ctx)
{
    struct send *s = ctx;
    loop_stop(s->loop);
    if (res->rc != HL_OK) {
        s->exit_code = ctl_fail_err(res->err);
        if (s->exit_code == CTL_ERROR && res->rc == HL_RETRY)
            s->exit_code = CTL_UNREACHABLE; /* no answer, for whatever reason */
        if (s->exit_code == CTL_UNREACHABLE)
            fputs("Is a producer running there? --to gives another address.\n", stderr);
        return;
    }
    bool accepted = res->status == 202;
    if (s->given[OPT_JSON]) {
        fwrite(res->body, 1, res->body_len, stdout);
        putchar('\n');
    } else if (accepted) {
        show_accepted(res);
    }
    s->exit_code = accepted ? CTL_OK : show_refusal(res);
}

/* --- the request ------------------------------------------------------------------------- */

static void post(struct send *s, struct http *http, const char *secret)
{
    uint8_t mac[DIGEST_LEN];
    char signature[sizeof("X-Signature: sha256=") + DIGEST_HEXLEN] = "X-Signature: sha256=";
    digest_hmac(secret, buf_str(&s->body), s->body.len, mac);
    digest_hex(mac, sizeof(mac), signature + strlen(signature));
    char key[sizeof("Idempotency-Key: ") + MAX_KEY] = "";
    if (s->given[OPT_KEY])
        snprintf(key, sizeof(key), "Idempotency-Key: %s", s->given[OPT_KEY]);
    const char *const headers[] = {
        "Content-Type: application/json", signature, *key ? key : NULL, NULL};

    http_start(http,
        &(struct http_request){.method = "POST",
            .url = s->to,
            .headers = headers,
            .body = buf_str(&s->body),
            .body_len = s->body.len,
            .connect_timeout_ms = s->timeout_ms,
            .timeout_ms = s->timeout_ms,
            .max_body = MAX_ANSWER},
        on_answer, s);
    loop_run(s->loop);
}

static int exchange(struct send *s, const char *secret)
{
    struct hl_err err;
    s->loop = loop_new(&err);
    if (!s->loop)
        return ctl_fail(CTL_ERROR, "%s", err.msg);
    struct http *http = http_new(s->loop, "hooklinectl/" HOOKLINE_VERSION, &err);
    if (http)
        post(s, http, secret);
    else
        s->exit_code = ctl_fail(CTL_ERROR, "%s", err.msg);
    http_free(http);
    loop_free(s->loop);
    return s->exit_code;
}

static int sign_and_send(struct send *s, const struct config *cfg)
{
    if (!cfg->webhook_secret || !*cfg->webhook_secret)
        return ctl_fail(CTL_ERROR, "WEBHOOK_SECRET is not set: give the secret of the producer");
    if (!s->given[OPT_TO] && cfg->port == 0)
        return ctl_fail(
            CTL_ERROR, "WEBHOOK_PORT is 0, which means any: give the address with --to");
    if (s->given[OPT_TO])
        s->to = mem_strdup(s->given[OPT_TO]);
    else
        s->to = mem_printf("http://127.0.0.1:%lld" PATH, (long long)cfg->port);

    int code = -1;
    if (s->given[OPT_FILE])
        code = read_file(s, s->given[OPT_FILE]);
    else
        build_payload(s);
    return code >= 0 ? code : exchange(s, cfg->webhook_secret);
}

int cmd_send(struct ctl *ctl, int argc, char **argv)
{
    struct send s = {.timeout_ms = DEFAULT_TIMEOUT_MS};
    struct config cfg;
    int code = parse(&s, ctl, argc, argv);
    if (code >= 0)
        return code;
    if (!ctl_config(ctl, &cfg))
        return CTL_ERROR;
    code = sign_and_send(&s, &cfg);
    config_release(&cfg);
    buf_release(&s.body);
    free(s.to);
    return code;
}
