/* hooklinectl bench: loads a producer and says how it bore it. Owns the command line, what may be
 * loaded at all, and the report. */
#include "worker/ctl/commands.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/url.h"
#include "worker/ctl/bench_wait.h"
#include "worker/ctl/listing.h"
#include "worker/ctl/post.h"

enum {
    DEFAULT_RATE = 100,
    DEFAULT_DURATION_MS = 10000,
    DEFAULT_WARMUP_MS = 1000,
    DEFAULT_TIMEOUT_MS = 10000,
    DEFAULT_WAIT_MS = 60000,
    DEFAULT_CONNECTIONS = 64,
    MAX_CONNECTIONS = 10000,
    DEFAULT_MAX = 1000000,
    HARD_MAX = 100000000,
    MAX_PADDING = 1 << 20,
    MAX_TIME_MS = 7 * 24 * 3600 * 1000,
    OTHER_FILES = 64, /* beside the connections */
    LATE_US = 2000,   /* from then on the sender's own delay spoils the numbers */
};

enum {
    OPT_RATE = 1,
    OPT_DURATION,
    OPT_RAMP,
    OPT_WARMUP,
    OPT_CONNECTIONS,
    OPT_FRESH,
    OPT_SOURCE,
    OPT_URLS,
    OPT_SITE,
    OPT_PAGES,
    OPT_SIZE,
    OPT_TOKEN,
    OPT_TO,
    OPT_TIMEOUT,
    OPT_WAIT,
    OPT_MAX,
    OPT_PROGRESS,
};

/* clang-format off */
static const struct ctl_option options[] = {
    {OPT_RATE, "rate", "N", "events a second (default 100)"},
    {OPT_DURATION, "duration", "DURATION", "how long is measured (default 10s)"},
    {OPT_RAMP, "ramp", "DURATION", "before that the rate grows for so long (default 0)"},
    {OPT_WARMUP, "warmup", "DURATION", "then it is kept for so long, unmeasured (default 1s)"},
    {OPT_CONNECTIONS, "connections", "N", "how many at most (default 64)"},
    {OPT_FRESH, "fresh", NULL, "a new one for each event, as changedetection.io makes"},
    {OPT_SOURCE, "source", "WORD", "whose events: changedetection (default) or firecrawl"},
    {OPT_URLS, "urls", "FILE", "addresses of pages, one a line, taken in turn; - for standard input"},
    {OPT_SITE, "site", "URL", "without a list they are below this (default http://bench.invalid)"},
    {OPT_PAGES, "pages", "N", "so many different ones (default: each event has one of its own)"},
    {OPT_SIZE, "size", "BYTES", "of the text in each event (default 100)"},
    {OPT_TOKEN, "token", NULL, "show WEBHOOK_INTAKE_TOKEN instead of signing"},
    {OPT_TO, "to", "URL", "default: http://127.0.0.1:<WEBHOOK_PORT>/api/webhook/<source>"},
    {OPT_TIMEOUT, "timeout", "DURATION", "for each answer (default 10s)"},
    {OPT_WAIT, "wait", "[=DURATION]", "wait until they are completed (at most 60s, or as told)"},
    {OPT_MAX, "max", "N", "refuse to send more than so many (default 1000000)"},
    {OPT_PROGRESS, "progress", NULL, "a line each second, where standard error is no terminal, too"},
    {CTL_YES, "yes", NULL, "load a machine that is not this one"},
    {CTL_DRY_RUN, "dry-run", NULL, "show what would be sent, send nothing"},
    CTL_JSON_OPTION,
    {0},
};
/* clang-format on */

static ctl_run_fn run;

const struct ctl_command cmd_bench = {
    .name = "bench",
    .summary = "load a producer and measure how it bears it",
    .about =
        "Sends signed events at a fixed rate, whether answers come or not, and tells how long "
        "they\n"
        "took: p50 to p99.9 from the moment at which each was due (response), so that what waited\n"
        "for a free connection counts, and from when it was sent (service). With --wait also "
        "until\n"
        "it was completed, by PostgreSQL's clock, whose difference from this one is measured.\n\n"
        "The events are real: they are stored, and workers ask for their pages, which by default\n"
        "have addresses that do not exist. They stay; their watch_id (or crawl) is the run's "
        "name.\n"
        "Another machine is loaded with --yes only.\n",
    .examples =
        "hooklinectl bench --rate 1000 --duration 30\n"
        "hooklinectl bench --rate 50 --site http://127.0.0.1:8080 --pages 200 --wait=2m\n"
        "hooklinectl bench --rate 5000 --ramp 10 --connections 256 --json | jq .response_ms\n"
        "hooklinectl bench --source firecrawl --size 20000 --rate 20\n",
    .options = options,
    .run = run,
};

struct bench {
    struct bench_plan plan;
    struct bench_load load;
    struct bench_wait wait;
    const struct config *cfg;
    const char *to, *urls;
    int64_t duration_ms, warmup_ms, wait_ms;
    int max, pages, size;
    bool json, yes, dry_run;
    char *target, *host, *path, *padding, *list; /* list: what the URLs point into */
    char **pages_of;
    char run[32];
};

/* --- the command line -------------------------------------------------------------------- */

static bool take_rate(struct bench *b, struct ctl_args *args)
{
    if (pace_rate(args->value, &b->plan.pace.rate))
        return true;
    args->done = ctl_usage_error(
        &cmd_bench, "--rate takes a number from %g to %d", PACE_MIN_RATE, PACE_MAX_RATE);
    return false;
}

static bool take_source(struct bench *b, struct ctl_args *args)
{
    if (payload_source(args->value, &b->plan.request.source))
        return true;
    args->done = ctl_usage_error(&cmd_bench, "--source %s: expected " PAYLOAD_SOURCES, args->value);
    return false;
}

static bool take_time(struct ctl_args *args, const char *option, int64_t *ms)
{
    if (!ctl_duration(args, option, ms))
        return false;
    if (*ms <= MAX_TIME_MS)
        return true;
    args->done = ctl_usage_error(&cmd_bench, "--%s takes at most a week", option);
    return false;
}

static bool take_ramp(struct bench *b, struct ctl_args *args)
{
    int64_t ms = 0;
    bool ok = take_time(args, "ramp", &ms);
    b->plan.pace.ramp_us = ms * 1000;
    return ok;
}

static bool take_wait(struct bench *b, struct ctl_args *args)
{
    b->plan.keep_ids = true;
    return !args->value || take_time(args, "wait", &b->wait_ms);
}

static bool take(struct bench *b, struct ctl_args *args, int key)
{
    switch (key) {
    case OPT_RATE: return take_rate(b, args);
    case OPT_DURATION: return take_time(args, "duration", &b->duration_ms);
    case OPT_RAMP: return take_ramp(b, args);
    case OPT_WARMUP: return take_time(args, "warmup", &b->warmup_ms);
    case OPT_CONNECTIONS:
        return ctl_count(args, "connections", MAX_CONNECTIONS, &b->plan.connections);
    case OPT_FRESH: b->plan.target.fresh = true; return true;
    case OPT_SOURCE: return take_source(b, args);
    case OPT_URLS: b->urls = args->value; return true;
    case OPT_SITE: b->plan.request.site = args->value; return true;
    case OPT_PAGES: return ctl_count(args, "pages", HARD_MAX, &b->pages);
    case OPT_SIZE: return ctl_count(args, "size", MAX_PADDING, &b->size);
    case OPT_TOKEN: b->plan.request.token = true; return true;
    case OPT_TO: b->to = args->value; return true;
    case OPT_TIMEOUT: return take_time(args, "timeout", &b->plan.timeout_ms);
    case OPT_WAIT: return take_wait(b, args);
    case OPT_MAX: return ctl_count(args, "max", HARD_MAX, &b->max);
    default: b->plan.progress = true; return true;
    }
}

static int check(struct bench *b)
{
    struct bench_plan *p = &b->plan;
    int64_t before_us = p->pace.ramp_us + b->warmup_ms * 1000;
    p->first = pace_count(&p->pace, before_us);
    p->total = pace_count(&p->pace, before_us + b->duration_ms * 1000);
    p->request.n_urls = (size_t)b->pages;
    if (b->duration_ms <= 0 || p->timeout_ms <= 0)
        return ctl_usage_error(&cmd_bench, "--duration and --timeout must be more than 0");
    if (p->total == p->first)
        return ctl_usage_error(
            &cmd_bench, "nothing would be measured: at that --rate none is due within --duration");
    if (p->total > b->max)
        return ctl_usage_error(&cmd_bench,
            "that would be %lld events, and at most %d are sent: --max allows more",
            (long long)p->total, b->max);
    if (p->keep_ids && p->request.source == PAYLOAD_CRAWL)
        return ctl_usage_error(&cmd_bench, "--wait is for changes: Firecrawl's events leave no row "
                                           "that becomes completed");
    if (b->urls && b->pages)
        return ctl_usage_error(
            &cmd_bench, "--urls says how many pages there are: leave --pages out");
    if (!url_is_web(p->request.site) || strlen(p->request.site) > 400)
        return ctl_usage_error(&cmd_bench, "--site takes an http address of at most 400 bytes");
    return -1;
}

/* -1: go on; else the exit code. */
static int parse(struct bench *b, struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&cmd_bench, ctl, argc, argv);
    int key;
    while ((key = ctl_next(&args)) != 0 && take(b, &args, key))
        ;
    if (args.done >= 0)
        return args.done;
    b->json = args.shared.json;
    b->yes = args.shared.yes;
    b->dry_run = args.shared.dry_run;
    b->plan.progress |= isatty(STDERR_FILENO);
    return check(b);
}

/* --- where to ---------------------------------------------------------------------------- */

static bool is_loopback(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >> 24 == 127;
    return a->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr);
}

/* Whether somebody listens there; the loop is not needed yet. */
static bool answers(const struct addrinfo *a, int64_t timeout_ms)
{
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), fault = -1;
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    socklen_t len = sizeof(fault);
    if (fd < 0)
        return false;
    if (connect(fd, a->ai_addr, a->ai_addrlen) == 0)
        fault = 0;
    else if (errno == EINPROGRESS && poll(&p, 1, (int)timeout_ms) == 1)
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &fault, &len);
    close(fd);
    return fault == 0;
}

/* The first that answers, as clients do it: localhost is ::1 and 127.0.0.1. */
static const struct addrinfo *choose(const struct addrinfo *found, int64_t timeout_ms)
{
    const struct addrinfo *a = found->ai_next ? found : NULL;
    while (a && !answers(a, timeout_ms))
        a = a->ai_next;
    return a ? a : found;
}

static bool all_loopback(const struct addrinfo *a)
{
    while (a && is_loopback(a->ai_addr))
        a = a->ai_next;
    return !a;
}

static int look_up(struct bench *b, const char *host, int port)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    char service[8];
    snprintf(service, sizeof(service), "%d", port);
    int fault = getaddrinfo(host, service, &hints, &found);
    if (fault)
        return ctl_fail(CTL_UNREACHABLE, "%s is not found: %s", host, gai_strerror(fault));
    bool allowed = b->yes || b->dry_run || all_loopback(found);
    if (allowed) {
        const struct addrinfo *one = b->dry_run ? found : choose(found, b->plan.timeout_ms);
        b->plan.target.len = one->ai_addrlen;
        memcpy(&b->plan.target.address, one->ai_addr, one->ai_addrlen);
    }
    freeaddrinfo(found);
    return allowed ? -1
                   : ctl_fail(CTL_ERROR,
                         "%s is another machine: nothing was sent; give --yes if it is yours to "
                         "load",
                         b->target);
}

static int aim(struct bench *b)
{
    struct url_parts u;
    enum payload_source source = b->plan.request.source;
    if (!(b->target = payload_target(source, b->cfg, b->to)))
        return CTL_ERROR;
    if (!url_is_web(b->target) || !url_parse(b->target, &u))
        return ctl_usage_error(&cmd_bench, "--to takes an http address");
    if (u.user || u.password) {
        url_parts_release(&u);
        return ctl_usage_error(&cmd_bench, "--to takes no user or password: events are signed");
    }
    bool plain = strcmp(u.scheme, "http") == 0;
    bool ipv6 = strchr(u.host, ':') != NULL;
    int port = u.port ? u.port : 80;
    b->host = mem_printf(ipv6 ? "[%s]:%d" : "%s:%d", u.host, port);
    b->path = mem_printf("%s%s%s", u.path && u.path[1] ? u.path : payload_route(source),
        u.query ? "?" : "", u.query ? u.query : "");
    int code = plain ? look_up(b, u.host, port)
                     : ctl_usage_error(&cmd_bench,
                           "producers speak http: give --to the address of the producer itself, "
                           "not that of a proxy with TLS");
    url_parts_release(&u);
    b->plan.request.host = b->host;
    b->plan.request.path = b->path;
    return code;
}

/* --- what -------------------------------------------------------------------------------- */

static int read_urls(struct bench *b)
{
    struct buf text = {0};
    size_t n = 0;
    int code = post_read_file(b->urls, &text);
    if (code >= 0) {
        buf_release(&text);
        return code;
    }
    char *save = NULL, *line = b->list = buf_detach(&text);
    for (line = strtok_r(line, "\r\n", &save); line; line = strtok_r(NULL, "\r\n", &save)) {
        if (!url_is_web(line))
            return ctl_fail(CTL_ERROR, "%s: its address %zu is not of the form http://host/page",
                b->urls, n + 1);
        b->pages_of = mem_grow(b->pages_of, (n + 1) * sizeof(*b->pages_of));
        b->pages_of[n++] = line;
    }
    if (n == 0)
        return ctl_fail(CTL_ERROR, "%s holds no address", b->urls);
    b->plan.request.urls = b->pages_of;
    b->plan.request.n_urls = n;
    return -1;
}

/* As many files as there are connections may be open; -1, or the exit code. */
static int make_room(const struct bench *b)
{
    rlim_t needed = (rlim_t)b->plan.connections + OTHER_FILES;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= needed)
        return -1;
    if (limit.rlim_max < needed)
        return ctl_fail(CTL_ERROR,
            "%d connections need %llu open files, and %llu are allowed: fewer --connections, or "
            "raise ulimit -Hn",
            b->plan.connections, (unsigned long long)needed, (unsigned long long)limit.rlim_max);
    limit.rlim_cur = needed;
    setrlimit(RLIMIT_NOFILE, &limit);
    return -1;
}

static int prepare(struct bench *b)
{
    struct bench_request *r = &b->plan.request;
    struct uuid id = uuid_v4();
    snprintf(b->run, sizeof(b->run), "bench-%02x%02x%02x%02x", id.b[0], id.b[1], id.b[2], id.b[3]);
    b->padding = mem_alloc((size_t)b->size + 1);
    for (int i = 0; i < b->size; i++)
        b->padding[i] = i % 8 == 7 ? ' ' : (char)('a' + i % 26);
    b->padding[b->size] = '\0';
    r->run = b->run;
    r->cfg = b->cfg;
    r->padding = b->padding;
    int code = payload_can_sign(b->cfg, r->token);
    if (code < 0)
        code = make_room(b);
    if (code < 0)
        code = aim(b);
    return code >= 0 || !b->urls ? code : read_urls(b);
}

static void announce(const struct bench *b)
{
    const struct bench_plan *p = &b->plan;
    fprintf(stderr,
        "%s: %lld events of %s, %g a second, %lld of them measured, by %d connections to %s\n",
        b->run, (long long)p->total, payload_source_name(p->request.source), p->pace.rate,
        (long long)(p->total - p->first), p->connections, b->target);
}

/* --- the report -------------------------------------------------------------------------- */

static const char *const end_names[] = {[BENCH_NO_CONNECTION] = "connect",
    [BENCH_CLOSED] = "closed",
    [BENCH_TIMEOUT] = "timeout",
    [BENCH_UNREADABLE] = "unreadable"};

static double accepted_rate(const struct bench_load *l)
{
    return l->span_us > 0 ? (double)l->accepted * 1e6 / (double)l->span_us : 0;
}

/* Calls put for each kind of error that there was. */
static void each_error(
    const struct bench_load *l, void (*put)(struct buf *, const char *, int64_t), struct buf *out)
{
    char name[24];
    for (int i = BENCH_ANSWERED + 1; i < BENCH_ENDS; i++)
        if (l->ends[i])
            put(out, end_names[i], l->ends[i]);
    for (int i = 0; i < 600; i++) {
        snprintf(name, sizeof(name), "http_%d", i);
        if (l->statuses[i])
            put(out, name, l->statuses[i]);
    }
}

static const struct {
    const char *key, *title;
    double percent;
} percentiles[] = {
    {"p50",   "P50",   50  },
    {"p90",   "P90",   90  },
    {"p99",   "P99",   99  },
    {"p99_9", "P99.9", 99.9},
    {"max",   "MAX",   100 },
};
enum { N_PERCENTILES = sizeof(percentiles) / sizeof(percentiles[0]) };

static void put_ms(struct buf *out, const char *key, const struct histogram *h)
{
    json_put_key(out, key);
    buf_putc(out, '{');
    for (size_t i = 0; i < N_PERCENTILES; i++) {
        json_put_key(out, percentiles[i].key);
        buf_printf(
            out, h->n ? "%.3f" : "null", (double)histogram_at(h, percentiles[i].percent) / 1e3);
    }
    buf_putc(out, '}');
}

static void put_completed(struct buf *out, const struct bench *b)
{
    const struct bench_wait *w = &b->wait;
    json_put_key(out, "completed");
    if (!b->plan.keep_ids) {
        buf_puts(out, "null");
        return;
    }
    buf_putc(out, '{');
    json_put_int(out, "completed", w->completed);
    json_put_int(out, "superseded", w->superseded);
    json_put_int(out, "failed", w->failed);
    json_put_int(out, "unfinished", w->unfinished);
    json_put_key(out, "clock_offset_ms");
    buf_printf(out, "%.3f", (double)w->skew.ahead / 1e3);
    json_put_key(out, "clock_error_ms");
    buf_printf(out, "%.3f", (double)w->skew.unsure / 1e3);
    put_ms(out, "ms", &w->completed_us);
    buf_putc(out, '}');
}

static void report_json(const struct bench *b)
{
    const struct bench_load *l = &b->load;
    struct buf out = {0};
    buf_puts(&out, "{\"version\":1");
    json_put_text(&out, "run", b->run);
    json_put_text(&out, "source", payload_source_name(b->plan.request.source));
    json_put_text(&out, "target", b->target);
    json_put_int(&out, "connections", b->plan.connections);
    json_put_key(&out, "rate");
    buf_printf(&out, "%.10g", b->plan.pace.rate);
    json_put_key(&out, "seconds");
    buf_printf(&out, "%.3f", (double)b->duration_ms / 1e3);
    json_put_int(&out, "sent_all", l->sent_all);
    json_put_int(&out, "accepted_all", l->accepted_all);
    json_put_int(&out, "sent", l->sent);
    json_put_int(&out, "accepted", l->accepted);
    json_put_int(&out, "duplicates", l->duplicates);
    json_put_int(&out, "unsent", l->unsent);
    json_put_key(&out, "accepted_rate");
    buf_printf(&out, "%.1f", accepted_rate(l));
    json_put_key(&out, "errors");
    buf_putc(&out, '{');
    each_error(l, json_put_int, &out);
    buf_putc(&out, '}');
    put_ms(&out, "response_ms", &l->response);
    put_ms(&out, "service_ms", &l->service);
    put_ms(&out, "late_ms", &l->late);
    put_completed(&out, b);
    json_put_key(&out, "broken_off");
    buf_puts(&out, l->broken_off || b->wait.broken_off ? "true}" : "false}");
    print_line(&out);
    buf_release(&out);
}

static void add_row(struct listing *t, const char *what, const struct histogram *h)
{
    char texts[N_PERCENTILES][32];
    const char *cells[N_PERCENTILES + 1] = {what};
    for (size_t i = 0; i < N_PERCENTILES; i++) {
        snprintf(texts[i], sizeof(texts[i]), h->n ? "%.2f ms" : "-",
            (double)histogram_at(h, percentiles[i].percent) / 1e3);
        cells[i + 1] = texts[i];
    }
    listing_add(t, cells);
}

static void put_error(struct buf *out, const char *name, int64_t n)
{
    buf_printf(out, "%s%s %lld", out->len ? ", " : "", name, (long long)n);
}

static void report_text(const struct bench *b)
{
    const struct bench_load *l = &b->load;
    struct column columns[N_PERCENTILES + 1] = {
        {.title = "", .kind = COLUMN_TEXT}
    };
    struct listing t = {.columns = columns, .n = N_PERCENTILES + 1};
    struct buf errors = {0};
    for (size_t i = 0; i < N_PERCENTILES; i++)
        columns[i + 1] = (struct column){.title = percentiles[i].title, .kind = COLUMN_TEXT};
    add_row(&t, "response", &l->response);
    add_row(&t, "service", &l->service);
    if (b->wait.completed)
        add_row(&t, "completed", &b->wait.completed_us);

    printf(
        "%g/s asked, %.1f/s accepted: %lld sent, %lld accepted (%lld repetitions), %lld unsent\n",
        b->plan.pace.rate, accepted_rate(l), (long long)l->sent, (long long)l->accepted,
        (long long)l->duplicates, (long long)l->unsent);
    each_error(l, put_error, &errors);
    if (errors.len)
        printf("not accepted: %s\n", buf_str(&errors));
    listing_print(&t);
    if (b->plan.keep_ids)
        printf("%lld completed, %lld superseded, %lld failed, %lld not at an end; clocks differ by "
               "%.2f ms (known to %.2f ms)\n",
            (long long)b->wait.completed, (long long)b->wait.superseded, (long long)b->wait.failed,
            (long long)b->wait.unfinished, (double)b->wait.skew.ahead / 1e3,
            (double)b->wait.skew.unsure / 1e3);
    buf_release(&errors);
    listing_release(&t);
}

static int report(const struct bench *b)
{
    const struct bench_load *l = &b->load;
    if (b->json)
        report_json(b);
    else
        report_text(b);
    if (histogram_at(&l->late, 99) > LATE_US)
        fprintf(stderr,
            "hooklinectl: the sender itself was late (p99 %.1f ms): what is measured here is this "
            "machine, too\n",
            (double)histogram_at(&l->late, 99) / 1e3);
    if (l->unsent)
        fprintf(stderr,
            "hooklinectl: %lld events were due and found no free connection: the rate is more than "
            "the producer takes, or --connections too few\n",
            (long long)l->unsent);
    if (b->wait.unfinished && !b->wait.broken_off)
        return ctl_fail(
            CTL_TIMEOUT, "%lld events were not at an end in time", (long long)b->wait.unfinished);
    bool fine = l->accepted == l->sent && !l->unsent && !l->broken_off && !b->wait.broken_off &&
                !b->wait.failed;
    return fine ? CTL_OK : CTL_ERROR;
}

/* --- the verb ---------------------------------------------------------------------------- */

static int load_it(struct bench *b)
{
    struct hl_err err;
    if (bench_load_run(&b->load, &b->plan, &err) == HL_OK)
        return CTL_OK;
    int code = ctl_fail_err(&err);
    if (code == CTL_UNREACHABLE)
        fputs("Is a producer running there? --to gives another address.\n", stderr);
    return code;
}

/* What was measured is told, whatever becomes of the waiting. */
static int load_and_wait(struct bench *b)
{
    struct session s;
    struct hl_err err;
    if (session_open(&s, b->cfg, &err) != HL_OK)
        return ctl_fail_err(&err);
    int code = bench_wait_clock(&s, &b->wait);
    if (code == CTL_OK)
        code = load_it(b);
    if (code == CTL_OK) {
        int waited = bench_wait_run(&s, &b->wait, &b->plan, &b->load, b->wait_ms);
        code = report(b);
        code = waited == CTL_OK ? code : waited;
    }
    session_close(&s);
    return code;
}

static int load_only(struct bench *b)
{
    int code = load_it(b);
    return code == CTL_OK ? report(b) : code;
}

static int bench(struct bench *b)
{
    int code = prepare(b);
    if (code >= 0)
        return code;
    announce(b);
    if (b->dry_run)
        return CTL_OK;
    return b->plan.keep_ids ? load_and_wait(b) : load_only(b);
}

static int run(struct ctl *ctl, int argc, char **argv)
{
    struct config cfg;
    struct bench *b = mem_new(struct bench);
    *b = (struct bench){
        .cfg = &cfg,
        .duration_ms = DEFAULT_DURATION_MS,
        .warmup_ms = DEFAULT_WARMUP_MS,
        .wait_ms = DEFAULT_WAIT_MS,
        .max = DEFAULT_MAX,
        .size = 100,
        .plan = {.pace = {.rate = DEFAULT_RATE},
                 .connections = DEFAULT_CONNECTIONS,
                 .timeout_ms = DEFAULT_TIMEOUT_MS,
                 .request = {.site = "http://bench.invalid"}}
    };
    int code = parse(b, ctl, argc, argv);
    if (code < 0 && !ctl_config(ctl, &cfg))
        code = CTL_ERROR;
    else if (code < 0) {
        code = bench(b);
        config_release(&cfg);
    }
    bench_load_release(&b->load);
    free(b->target);
    free(b->host);
    free(b->path);
    free(b->padding);
    free(b->list);
    free(b->pages_of);
    free(b);
    return code;
}
