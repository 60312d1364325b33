/* hooklinectl send: posts one change event to a producer, signed as its sender would, and shows the
 * answer. What is sent is built from options, or is a file byte for byte. */
#include "worker/ctl/commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/timestamp.h"
#include "worker/ctl/post.h"

#define PATH               "/api/webhook/changedetection"
#define DEFAULT_TIMEOUT_MS 10000
#define MAX_KEY            255 /* the producer's limit */

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

static ctl_run_fn run;

const struct ctl_command cmd_send = {
    .name = "send",
    .summary = "sign an event and post it to a producer",
    .about = "Signs a change event with WEBHOOK_SECRET and posts it to a producer: to try an\n"
             "installation, or to deliver again what a sender lost.\n",
    .examples = "hooklinectl send --url https://example.com/ --title Example\n"
                "hooklinectl send --file event.json --to "
                "https://hooks.example.com/api/webhook/changedetection\n",
    .options = options,
    .run = run,
};

struct send {
    const char *given[N_OPTIONS]; /* by key; borrowed from argv */
    int64_t timeout_ms;
    char *to;
    struct buf body;
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
    struct ctl_args args = CTL_ARGS(&cmd_send, ctl, argc, argv);
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
            return ctl_usage_error(&cmd_send,
                "--file sends a payload as it is; it takes no %s from "
                "other options",
                payload_names[i]);
        if (s->given[i] && !text_utf8_valid(s->given[i], strlen(s->given[i])))
            return ctl_usage_error(&cmd_send, "%s is not valid UTF-8", payload_names[i]);
    }
    if (!s->given[OPT_URL] && !s->given[OPT_FILE])
        return ctl_usage_error(&cmd_send, "give --url, or --file");
    if (s->given[OPT_KEY] && !is_key(s->given[OPT_KEY]))
        return ctl_usage_error(&cmd_send, "--key takes 1 to %d visible ASCII characters", MAX_KEY);
    if (s->timeout_ms <= 0)
        return ctl_usage_error(&cmd_send, "--timeout must be more than 0");
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

/* --- the request ------------------------------------------------------------------------- */

static int exchange(struct send *s, const char *secret)
{
    char *signature = post_signature("X-Signature", secret, buf_str(&s->body), s->body.len);
    char key[sizeof("Idempotency-Key: ") + MAX_KEY] = "";
    if (s->given[OPT_KEY])
        snprintf(key, sizeof(key), "Idempotency-Key: %s", s->given[OPT_KEY]);
    const char *const headers[] = {
        "Content-Type: application/json", signature, *key ? key : NULL, NULL};
    int code = post_send(&(struct post){.url = s->to,
        .headers = headers,
        .body = buf_str(&s->body),
        .len = s->body.len,
        .timeout_ms = s->timeout_ms,
        .json = s->given[OPT_JSON] != NULL,
        .option = "--to",
        .check = "is --to the path " PATH " of a producer?"});
    free(signature);
    return code;
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
        code = post_read_file(s->given[OPT_FILE], &s->body);
    else
        build_payload(s);
    return code >= 0 ? code : exchange(s, cfg->webhook_secret);
}

static int run(struct ctl *ctl, int argc, char **argv)
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
