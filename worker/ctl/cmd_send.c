/* hooklinectl send: posts events to a producer as their sender would: one, whose answer is shown, or
 * many one after the other, which are counted. What is sent is built from options, or is a file
 * byte for byte, or its lines. For load see cmd_bench.c. */
#include "worker/ctl/commands.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/timestamp.h"
#include "base/uuid.h"
#include "worker/ctl/listing.h"
#include "worker/ctl/pace.h"
#include "worker/ctl/payload.h"
#include "worker/ctl/post.h"

enum {
    DEFAULT_TIMEOUT_MS = 10000,
    MAX_KEY = 255, /* the producer's limit */
    MAX_LINE = 16 << 20,
    MAX_REPEAT = 1000000,
    FAULTS_SHOWN = 5,
};

/* Those before OPT_SOURCE make a payload. */
enum {
    OPT_URL = 1,
    OPT_WATCH_ID,
    OPT_TITLE,
    OPT_DETECTED_AT,
    OPT_DIFF_URL,
    OPT_SNAPSHOT,
    OPT_TYPE,
    OPT_CRAWL,
    OPT_SOURCE,
    OPT_FILE,
    OPT_LINES,
    OPT_KEY,
    OPT_TOKEN,
    OPT_REPEAT,
    OPT_RATE,
    OPT_TO,
    OPT_TIMEOUT,
    N_OPTIONS
};

/* clang-format off */
static const struct ctl_option options[] = {
    {OPT_SOURCE, "source", "WORD", "whose event: changedetection (default) or firecrawl"},
    {OPT_URL, "url", "URL", "the page that changed, or was crawled (required without --file)"},
    {OPT_WATCH_ID, "watch-id", "ID", "the watch that noticed (default: hooklinectl)"},
    {OPT_TITLE, "title", "TEXT", "title of the watch, or of the page"},
    {OPT_DETECTED_AT, "detected-at", "TIME", "ISO 8601, as 2026-01-31T12:00:00Z (default: now)"},
    {OPT_DIFF_URL, "diff-url", "URL", "where the difference can be seen"},
    {OPT_SNAPSHOT, "snapshot", "TEXT", "the changed text; with firecrawl the page, as Markdown"},
    {OPT_TYPE, "type", "TYPE", "of Firecrawl's event (default: crawl.page)"},
    {OPT_CRAWL, "crawl", "ID", "of Firecrawl's crawl (default: hooklinectl)"},
    {OPT_FILE, "file", "FILE", "send this file as it is, - for standard input"},
    {OPT_LINES, "lines", NULL, "each line of the file is an event (JSON lines)"},
    {OPT_KEY, "key", "KEY", "Idempotency-Key: however often it is sent under it, it is one event"},
    {OPT_TOKEN, "token", NULL, "show WEBHOOK_INTAKE_TOKEN instead of signing"},
    {OPT_REPEAT, "repeat", "N", "send it N times, one after the other"},
    {OPT_RATE, "rate", "N", "at most so many a second, as 0.5 or 20"},
    {OPT_TO, "to", "URL", "default: http://127.0.0.1:<WEBHOOK_PORT>/api/webhook/<source>"},
    {OPT_TIMEOUT, "timeout", "DURATION", "for each exchange (default 10s)"},
    CTL_JSON_OPTION,
    {0},
};
/* clang-format on */

static ctl_run_fn run;

const struct ctl_command cmd_send = {
    .name = "send",
    .summary = "sign events and post them to a producer",
    .about =
        "Signs an event with WEBHOOK_SECRET, as changedetection.io or Firecrawl would, and posts\n"
        "it to a producer: to try an installation, or to deliver again what a sender lost.\n\n"
        "Of one event the answer is shown, with --json as it came. Of several (--repeat, --lines)\n"
        "a summary is; what is refused is told, and sending goes on; where nobody answers it "
        "ends.\n"
        "Each that --repeat builds is an event of its own; a file is sent as it is, and the same\n"
        "bytes with a time of day in them are one event.\n",
    .examples =
        "hooklinectl send --url https://example.com/ --title Example\n"
        "hooklinectl send --url https://example.com/ --repeat 100 --rate 5\n"
        "hooklinectl send --file event.json --to "
        "https://hooks.example.com/api/webhook/changedetection\n"
        "zcat lost.jsonl.gz | hooklinectl send --file - --lines --rate 20\n"
        "hooklinectl send --source firecrawl --url https://example.com/ --snapshot '# Hi'\n",
    .options = options,
    .run = run,
};

struct send {
    const char *given[N_OPTIONS]; /* by key; borrowed from argv */
    const struct config *cfg;
    enum payload_source source;
    int64_t timeout_ms;
    int repeat;
    struct pace pace; /* rate 0 = as fast as it goes */
    bool json, many;
    char *to;
    struct postbox *box;
    struct buf body;
    /* of many: */
    int64_t started_us, sent, accepted, refused;
    int64_t slip_us; /* how much later than planned all that follows is due */
    int64_t line;    /* of the file, from 1; 0 = none */
    int exit_code;   /* of the first that failed */
    bool unanswered;
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

static bool take(struct send *s, struct ctl_args *args, int key)
{
    s->given[key] = args->value ? args->value : "";
    switch (key) {
    case OPT_TIMEOUT: return ctl_duration(args, "timeout", &s->timeout_ms);
    case OPT_REPEAT: return ctl_count(args, "repeat", MAX_REPEAT, &s->repeat);
    case OPT_RATE:
        if (!pace_rate(args->value, &s->pace.rate))
            args->done = ctl_usage_error(
                &cmd_send, "--rate takes a number from %g to %d", PACE_MIN_RATE, PACE_MAX_RATE);
        return args->done < 0;
    case OPT_SOURCE:
        if (!payload_source(args->value, &s->source))
            args->done =
                ctl_usage_error(&cmd_send, "--source %s: expected " PAYLOAD_SOURCES, args->value);
        return args->done < 0;
    default: return true;
    }
}

static const char *name_of(int key)
{
    const struct ctl_option *o = options;
    while (o->key != key)
        o++;
    return o->name;
}

/* Options that say something of the other source only. */
static int check_source(const struct send *s)
{
    static const int of_change[] = {OPT_WATCH_ID, OPT_DETECTED_AT, OPT_DIFF_URL, OPT_KEY, 0},
                     of_crawl[] = {OPT_TYPE, OPT_CRAWL, 0};
    const int *others = s->source == PAYLOAD_CHANGE ? of_crawl : of_change;
    for (; *others; others++)
        if (s->given[*others])
            return ctl_usage_error(&cmd_send, "--%s is nothing that %s sends", name_of(*others),
                payload_source_name(s->source));
    return -1;
}

static int check_payload(const struct send *s)
{
    for (int i = OPT_URL; i < OPT_SOURCE; i++) {
        if (s->given[i] && s->given[OPT_FILE])
            return ctl_usage_error(&cmd_send,
                "--file sends a payload as it is; it takes no --%s beside it", name_of(i));
        if (s->given[i] && !text_utf8_valid(s->given[i], strlen(s->given[i])))
            return ctl_usage_error(&cmd_send, "--%s is not valid UTF-8", name_of(i));
    }
    if (!s->given[OPT_URL] && !s->given[OPT_FILE])
        return ctl_usage_error(&cmd_send, "give --url, or --file");
    return -1;
}

static int check(const struct send *s)
{
    int code = check_source(s);
    if (code < 0)
        code = check_payload(s);
    if (code >= 0)
        return code;
    if (s->given[OPT_LINES] && (!s->given[OPT_FILE] || s->repeat > 1 || s->given[OPT_KEY]))
        return ctl_usage_error(
            &cmd_send, "--lines needs --file, and goes with neither --repeat nor --key");
    if (s->given[OPT_KEY] && !is_key(s->given[OPT_KEY]))
        return ctl_usage_error(&cmd_send, "--key takes 1 to %d visible ASCII characters", MAX_KEY);
    if (s->timeout_ms <= 0)
        return ctl_usage_error(&cmd_send, "--timeout must be more than 0");
    return -1;
}

/* -1: go on; else the exit code. */
static int parse(struct send *s, struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&cmd_send, ctl, argc, argv);
    int key;
    while ((key = ctl_next(&args)) != 0 && take(s, &args, key))
        ;
    if (args.done >= 0)
        return args.done;
    s->json = args.shared.json;
    s->many = s->repeat > 1 || s->given[OPT_LINES];
    return check(s);
}

/* --- the body ---------------------------------------------------------------------------- */

static const char *given_or(const struct send *s, int key, const char *otherwise)
{
    return s->given[key] ? s->given[key] : otherwise;
}

static void build_change(struct send *s)
{
    char now[TIMESTAMP_ISO_LEN + 1];
    timestamp_iso(clock_wall_us(), now);
    payload_put_change(&s->body, &(struct payload_change){
                                     .watch_id = given_or(s, OPT_WATCH_ID, "hooklinectl"),
                                     .url = s->given[OPT_URL],
                                     .title = s->given[OPT_TITLE],
                                     .detected_at = given_or(s, OPT_DETECTED_AT, now),
                                     .diff_url = s->given[OPT_DIFF_URL],
                                     .snapshot = s->given[OPT_SNAPSHOT],
                                 });
}

static void build_crawl(struct send *s)
{
    char scrape[UUID_STRLEN + 1];
    struct uuid id = uuid_v4();
    uuid_format(&id, scrape);
    payload_put_crawl(&s->body, &(struct payload_crawl){
                                    .type = given_or(s, OPT_TYPE, "crawl.page"),
                                    .crawl = given_or(s, OPT_CRAWL, "hooklinectl"),
                                    .url = s->given[OPT_URL],
                                    .title = s->given[OPT_TITLE],
                                    .markdown = s->given[OPT_SNAPSHOT],
                                    .scrape_id = scrape,
                                });
}

/* Under a key it is the same each time. */
static void build(struct send *s)
{
    if (s->body.len && s->given[OPT_KEY])
        return;
    buf_clear(&s->body);
    if (s->source == PAYLOAD_CHANGE)
        build_change(s);
    else
        build_crawl(s);
}

/* --- one request ------------------------------------------------------------------------- */

static int exchange(
    struct send *s, const void *body, size_t len, enum post_manner manner, bool *answered)
{
    char *credential =
        payload_credential(s->source, s->cfg, s->given[OPT_TOKEN] != NULL, body, len);
    char key[sizeof("Idempotency-Key: ") + MAX_KEY] = "";
    if (s->given[OPT_KEY])
        snprintf(key, sizeof(key), "Idempotency-Key: %s", s->given[OPT_KEY]);
    char *check = mem_printf("is --to the path %s of a producer?", payload_route(s->source));
    const char *const headers[] = {
        "Content-Type: application/json", credential, *key ? key : NULL, NULL};
    int code = postbox_send(s->box,
        &(struct post){.url = s->to,
            .headers = headers,
            .body = body,
            .len = len,
            .timeout_ms = s->timeout_ms,
            .manner = manner,
            .json = s->json,
            .events = s->source == PAYLOAD_CRAWL,
            .option = "--to",
            .check = check},
        answered);
    free(check);
    free(credential);
    return code;
}

static int send_one(struct send *s)
{
    bool answered;
    return exchange(s, buf_str(&s->body), s->body.len, POST_TELL, &answered);
}

/* --- many -------------------------------------------------------------------------------- */

static volatile sig_atomic_t ended;

static void on_signal(int signo)
{
    (void)signo;
    ended = 1;
}

/* Until the next one is due; false when it is to end. What is late is not made up for by a burst: "at
 * most so many a second" holds after a slow answer, too. */
static bool wait_turn(struct send *s)
{
    if (s->pace.rate > 0) {
        int64_t due = s->started_us + s->slip_us + pace_due_us(&s->pace, s->sent);
        int64_t us = due - clock_mono_us();
        const struct timespec t = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
        if (us < 0)
            s->slip_us -= us;
        else if (nanosleep(&t, NULL) != 0)
            ended = 1; /* nothing interrupts it but the signals that end us */
    }
    return !ended;
}

static void tell_which(const struct send *s)
{
    if (s->line)
        fprintf(stderr, "That was line %lld.\n", (long long)s->line);
    if (s->refused == FAULTS_SHOWN)
        fputs("Further refusals are counted, and not shown.\n", stderr);
}

/* False: go no further. */
static bool send_next(struct send *s, const void *body, size_t len)
{
    bool answered;
    int code =
        exchange(s, body, len, s->refused < FAULTS_SHOWN ? POST_FAULTS : POST_NOTHING, &answered);
    s->sent++;
    s->accepted += code == CTL_OK;
    s->refused += code != CTL_OK && answered;
    s->unanswered = !answered;
    if (code == CTL_OK)
        return true;
    if (s->exit_code == CTL_OK || !answered)
        s->exit_code = code;
    if (!answered || s->refused <= FAULTS_SHOWN)
        tell_which(s);
    return answered;
}

static void repeat(struct send *s)
{
    do {
        if (!s->given[OPT_FILE])
            build(s);
    } while (send_next(s, buf_str(&s->body), s->body.len) && s->sent < s->repeat && wait_turn(s));
}

static bool is_blank(const char *line, size_t len)
{
    size_t i = 0;
    while (i < len && strchr(" \t\r", line[i]) && line[i])
        i++;
    return i == len;
}

enum lines { LINE_READ, LINE_TOO_LONG, LINES_OVER };

/* The next line without its end. Of one that is too long no more is kept than shows that it is. */
static enum lines read_line(FILE *f, struct buf *line)
{
    int c = EOF;
    buf_clear(line);
    while (line->len <= MAX_LINE && (c = getc(f)) != EOF && c != '\n')
        buf_putc(line, (char)c);
    if (line->len > MAX_LINE)
        return LINE_TOO_LONG;
    return c == EOF && (line->len == 0 || ferror(f)) ? LINES_OVER : LINE_READ;
}

static void send_lines(struct send *s, FILE *f)
{
    struct buf line = {0};
    enum lines what;
    while ((what = read_line(f, &line)) == LINE_READ) {
        s->line++;
        if (is_blank(buf_str(&line), line.len))
            continue;
        if (!wait_turn(s) || !send_next(s, line.data, line.len))
            break;
    }
    if (what == LINE_TOO_LONG)
        s->exit_code = ctl_fail(CTL_ERROR,
            "line %lld is longer than %d bytes; no producer takes that: it ends here",
            (long long)++s->line, MAX_LINE);
    else if (ferror(f) && !ended)
        s->exit_code = ctl_fail(
            CTL_ERROR, "cannot read on after line %lld: %s", (long long)s->line, strerror(errno));
    buf_release(&line);
}

static void send_file_lines(struct send *s)
{
    const char *name = s->given[OPT_FILE];
    bool standard = strcmp(name, "-") == 0;
    FILE *f = standard ? stdin : fopen(name, "re");
    if (!f) {
        s->exit_code = ctl_fail(CTL_ERROR, "cannot read %s: %s", name, strerror(errno));
        return;
    }
    send_lines(s, f);
    if (!standard)
        fclose(f);
}

static void summary_json(const struct send *s, double seconds)
{
    struct buf out = {0};
    buf_puts(&out, "{\"version\":1");
    json_put_int(&out, "sent", s->sent);
    json_put_int(&out, "accepted", s->accepted);
    json_put_int(&out, "refused", s->refused);
    json_put_int(&out, "unanswered", s->unanswered);
    json_put_key(&out, "seconds");
    buf_printf(&out, "%.3f", seconds);
    json_put_key(&out, "last_line");
    buf_printf(&out, s->line ? "%lld" : "null", (long long)s->line);
    json_put_key(&out, "broken_off");
    buf_puts(&out, ended || s->unanswered ? "true}" : "false}");
    print_line(&out);
    buf_release(&out);
}

static void summary(const struct send *s)
{
    double seconds = (double)(clock_mono_us() - s->started_us) / 1e6;
    if (s->json) {
        summary_json(s, seconds);
        return;
    }
    printf("%lld sent, %lld accepted, %lld refused%s, in %.1f s (%.1f/s)\n", (long long)s->sent,
        (long long)s->accepted, (long long)s->refused, s->unanswered ? ", 1 unanswered" : "",
        seconds, seconds > 0 ? (double)s->sent / seconds : 0.0);
    if (ended || s->unanswered)
        fprintf(stderr,
            s->line ? "hooklinectl: broken off at line %lld\n"
                    : "hooklinectl: broken off after %lld\n",
            (long long)(s->line ? s->line : s->sent));
}

static int send_many(struct send *s)
{
    const struct sigaction ends = {.sa_handler = on_signal};
    sigaction(SIGINT, &ends, NULL);
    sigaction(SIGTERM, &ends, NULL);
    s->started_us = clock_mono_us();
    if (s->given[OPT_LINES])
        send_file_lines(s);
    else
        repeat(s);
    if (s->sent || s->exit_code == CTL_OK)
        summary(s);
    return s->exit_code == CTL_OK && ended ? CTL_ERROR : s->exit_code;
}

/* --- the verb ---------------------------------------------------------------------------- */

static int send_all(struct send *s)
{
    int code = payload_can_sign(s->cfg, s->given[OPT_TOKEN] != NULL);
    if (code >= 0)
        return code;
    if (!(s->to = payload_target(s->source, s->cfg, s->given[OPT_TO])))
        return CTL_ERROR;
    if (s->given[OPT_FILE] && !s->given[OPT_LINES])
        code = post_read_file(s->given[OPT_FILE], &s->body);
    else if (!s->many)
        build(s);
    if (code >= 0 || !(s->box = postbox_new()))
        return code >= 0 ? code : CTL_ERROR;
    code = s->many ? send_many(s) : send_one(s);
    postbox_free(s->box);
    return code;
}

static int run(struct ctl *ctl, int argc, char **argv)
{
    struct send s = {.timeout_ms = DEFAULT_TIMEOUT_MS, .repeat = 1};
    struct config cfg;
    int code = parse(&s, ctl, argc, argv);
    if (code >= 0)
        return code;
    if (!ctl_config(ctl, &cfg))
        return CTL_ERROR;
    s.cfg = &cfg;
    code = send_all(&s);
    config_release(&cfg);
    buf_release(&s.body);
    free(s.to);
    return code;
}
