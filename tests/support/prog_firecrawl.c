/* A stand-in Firecrawl: POST /v2/scrape with the real one's manners, strict about what it is asked.
 * What happens is chosen by the path of the URL to be scraped:
 *
 *   /ok.. and anything else   a page whose text names the URL and how often it has been scraped
 *   /slow/MS                  the same after MS milliseconds
 *   /hold..                   the same once the file named by --release exists
 *   /flaky/N..                500 for the first N scrapes of this URL, then the page
 *   /big/BYTES                a page of that size
 *   /hang                     no answer, ever
 *   /close                    the server crashes and is back at once: every connection is closed
 *   /fail/STATUS[/CODE]       Firecrawl's own failure
 *   /success-false            a failure reported with 200
 *   /target/STATUS            the target's error page, as Firecrawl hands it over: a success
 *   /empty, /nojson           an answer without text, an answer that is not JSON
 *   any#slow/MS               as /slow/MS: one page under several addresses, each with its own pace
 *
 * --log FILE: a line "start N MICROSECONDS URL" for each scrape asked for, and "end N MICROSECONDS
 * STATUS" when it is answered; by the wall clock, N counts.
 * GET /count?url=.. and GET /counts tell how often URLs were asked for, GET /total how often at all.
 * POST /crawls takes what GET /v2/crawl/{id} and GET /v2/batch/scrape/{id} tell: an object of crawls by
 * id, {"batch": false, "status": "completed", "completed": N, "total": N, "per_page": 100, "data": [..]},
 * or {"fail": STATUS}; with "circle": true its last page leads back to the first; what was there before is forgotten. How often one was asked for is counted
 * under "/v2/crawl/ID"; several pages of one answer are several times.
 * GET /mode?STATUS/SECONDS makes every scrape fail with that status and, unless it is negative, that
 * Retry-After; /mode?0/0 ends it. */
#include "base/clock.h"
#include "base/json.h"
#include "base/list.h"
#include "base/mem.h"
#include "io/httpd.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { POLL_MS = 20, MAX_BIG = 64 * 1024 * 1024 };

static struct {
    struct loop *loop;
    struct httpd *httpd;
    int listen_fd;
    const char *key, *release;
    int log_fd; /* -1 = none */
    intptr_t logged;
    json_t *counts; /* URL -> scrapes */
    json_int_t total;
    json_t *crawls;       /* id -> what is told of it; NULL = none */
    int mode, mode_after; /* every scrape fails so; 0 = as its URL says */
    struct list held;
    struct defer crash;
} self;

/* A scrape whose answer comes later, or never. */
struct held {
    struct list_node node;
    struct timer timer;
    struct httpd_req *req;
    char *url;
    const char *release; /* file to wait for; NULL = answer when the timer runs out */
    bool forever;
};

/* --- answers ----------------------------------------------------------------------------- */

static void reply_json(struct httpd_req *req, int status, json_t *answer)
{
    char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
    if (!text)
        abort();
    httpd_reply(req, status, "application/json; charset=utf-8", text, strlen(text));
    free(text);
    json_decref(answer);
}

static void reply_failure(struct httpd_req *req, int status, const char *code, const char *error)
{
    json_t *answer = json_pack("{s:b, s:s}", "success", 0, "error", error);
    if (code)
        json_object_set_new(answer, "code", json_string(code));
    reply_json(req, status, answer);
}

static void reply_bad(struct httpd_req *req, const char *key, const char *fault)
{
    reply_json(req, 400,
        json_pack("{s:b, s:s, s:s, s:[{s:s, s:[s], s:s}]}", "success", 0, "code", "BAD_REQUEST",
            "error", "Bad Request", "details", "code", "custom", "path", key, "message", fault));
}

static json_int_t count_of(const char *url)
{
    return json_integer_value(json_object_get(self.counts, url));
}

static void reply_page(
    struct httpd_req *req, const char *url, int target_status, json_t *markdown, const char *title)
{
    json_t *metadata = json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:s, s:s, s:i}", "title", title,
        "description", "A page of the stand-in", "language", "en", "sourceURL", url, "url", url,
        "statusCode", target_status, "contentType", "text/html; charset=utf-8", "proxyUsed",
        "basic", "creditsUsed", 1);
    reply_json(req, 200,
        json_pack("{s:b, s:{s:o, s:s, s:o}}", "success", 1, "data", "markdown", markdown, "html",
            "<main>the same as HTML</main>", "metadata", metadata));
}

static void reply_ok(struct httpd_req *req, const char *url)
{
    json_t *markdown = json_sprintf(
        "# Stand-in page\n\nScrape %lld of %s\n\nBody text, café.", (long long)count_of(url), url);
    reply_page(req, url, 200, markdown, "Stand-in page");
}

/* --- answers that wait ------------------------------------------------------------------- */

static void held_free(struct held *w)
{
    timer_stop(&w->timer);
    list_remove(&self.held, &w->node);
    free(w->url);
    free(w);
}

static void held_check(void *ctx)
{
    struct held *w = ctx;
    bool ready = !w->forever && (!w->release || access(w->release, F_OK) == 0);
    if (!ready && !httpd_client_gone(w->req)) {
        timer_start(&w->timer, POLL_MS);
        return;
    }
    reply_ok(w->req, w->url);
    held_free(w);
}

static struct held *hold(struct httpd_req *req, const char *url, int64_t ms)
{
    struct held *w = mem_new(struct held);
    w->req = req;
    w->url = mem_strdup(url);
    list_push(&self.held, &w->node);
    timer_init(self.loop, &w->timer, held_check, w);
    timer_start(&w->timer, ms);
    return w;
}

/* --- behaviours -------------------------------------------------------------------------- */

static const struct httpd_conf conf;

static void crash(void *ctx)
{
    (void)ctx;
    for (struct list_node *n; (n = list_first(&self.held));)
        held_free(LIST_OF(n, struct held, node));
    httpd_free(self.httpd);
    self.httpd = httpd_new(self.loop, self.listen_fd, &conf);
    if (!self.httpd)
        abort();
}

static void do_slow(struct httpd_req *req, const char *url, const char *arg)
{
    hold(req, url, atol(arg));
}

static void do_hold(struct httpd_req *req, const char *url, const char *arg)
{
    (void)arg;
    struct held *w = hold(req, url, 0);
    w->release = self.release;
    w->forever = !self.release;
}

static void do_hang(struct httpd_req *req, const char *url, const char *arg)
{
    (void)arg;
    hold(req, url, 0)->forever = true;
}

static void do_close(struct httpd_req *req, const char *url, const char *arg)
{
    (void)req;
    (void)url;
    (void)arg;
    loop_defer(self.loop, &self.crash, crash, NULL);
}

static void do_flaky(struct httpd_req *req, const char *url, const char *arg)
{
    if (count_of(url) <= atol(arg))
        reply_failure(req, 500, "UNKNOWN_ERROR", "the stand-in fails the first times");
    else
        reply_ok(req, url);
}

static void do_big(struct httpd_req *req, const char *url, const char *arg)
{
    long size = atol(arg);
    if (size < 0 || size > MAX_BIG) {
        reply_bad(req, "url", "/big takes 0 to 67108864 bytes");
        return;
    }
    char *text = mem_alloc((size_t)size + 1);
    for (long i = 0; i < size; i++)
        text[i] = i % 8 == 7 ? ' ' : (char)('a' + i % 8);
    text[size] = '\0';
    reply_page(req, url, 200, json_stringn(text, (size_t)size), "Big page");
    free(text);
}

static void do_fail(struct httpd_req *req, const char *url, const char *arg)
{
    const char *code = strchr(arg, '/');
    int status = atoi(arg);
    (void)url;
    if (status < 200 || status > 599)
        reply_bad(req, "url", "/fail takes a status from 200 to 599");
    else if (status == 429)
        reply_failure(req, 429, code ? code + 1 : NULL, "Rate limit, please retry after 2s");
    else
        reply_failure(req, status, code ? code + 1 : NULL, "the stand-in fails as asked");
}

static void do_success_false(struct httpd_req *req, const char *url, const char *arg)
{
    (void)url;
    (void)arg;
    reply_failure(req, 200, NULL, "the stand-in reports a failure with 200");
}

static void do_target(struct httpd_req *req, const char *url, const char *arg)
{
    reply_page(req, url, atoi(arg), json_string("# Error page"), "Error page");
}

static void do_empty(struct httpd_req *req, const char *url, const char *arg)
{
    (void)arg;
    reply_page(req, url, 200, json_null(), "Empty page");
}

static void do_nojson(struct httpd_req *req, const char *url, const char *arg)
{
    static const char page[] = "<html>A gateway's page</html>";
    (void)url;
    (void)arg;
    httpd_reply(req, 200, "text/html", page, strlen(page));
}

static const struct behaviour {
    const char *prefix;
    void (*run)(struct httpd_req *req, const char *url, const char *arg); /* arg: after prefix */
} behaviours[] = {
    {"/slow/",         do_slow         },
    {"/hold",          do_hold         },
    {"/hang",          do_hang         },
    {"/close",         do_close        },
    {"/flaky/",        do_flaky        },
    {"/big/",          do_big          },
    {"/fail/",         do_fail         },
    {"/success-false", do_success_false},
    {"/target/",       do_target       },
    {"/empty",         do_empty        },
    {"/nojson",        do_nojson       },
};

static void behave(struct httpd_req *req, const char *url)
{
    const char *slow = strstr(url, "#slow/");
    if (slow) {
        do_slow(req, url, slow + strlen("#slow/"));
        return;
    }
    const char *host = strstr(url, "://"), *path = host ? strchr(host + 3, '/') : NULL;
    for (size_t i = 0; path && i < sizeof(behaviours) / sizeof(behaviours[0]); i++) {
        size_t len = strlen(behaviours[i].prefix);
        if (strncmp(path, behaviours[i].prefix, len) == 0) {
            behaviours[i].run(req, url, path + len);
            return;
        }
    }
    reply_ok(req, url);
}

/* --- the request's rules ----------------------------------------------------------------- */

static bool is_text(const json_t *v)
{
    return json_is_string(v);
}

static bool is_flag(const json_t *v)
{
    return json_is_boolean(v);
}

static bool is_list(const json_t *v)
{
    return json_is_array(v);
}

static bool is_map(const json_t *v)
{
    return json_is_object(v);
}

static bool is_web_url(const json_t *v)
{
    const char *url = json_string_value(v);
    return url && (strncmp(url, "http://", 7) == 0 || strncmp(url, "https://", 8) == 0);
}

static bool is_positive(const json_t *v)
{
    return json_is_integer(v) && json_integer_value(v) > 0;
}

static bool is_natural(const json_t *v)
{
    return json_is_integer(v) && json_integer_value(v) >= 0;
}

static bool in_words(const json_t *v, const char *words)
{
    char word[40];
    if (!json_is_string(v))
        return false;
    snprintf(word, sizeof(word), " %s ", json_string_value(v));
    return strstr(words, word) != NULL;
}

static bool is_proxy(const json_t *v)
{
    return in_words(v, " basic stealth auto enhanced ");
}

static bool is_formats(const json_t *v)
{
    static const char names[] =
        " markdown html rawHtml links summary json screenshot changeTracking ";
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *f = json_array_get(v, i);
        if (!in_words(json_is_object(f) ? json_object_get(f, "type") : f, names))
            return false;
    }
    return json_array_size(v) > 0;
}

static const struct rule {
    const char *key;
    bool (*fits)(const json_t *value);
} rules[] = {
    {"url",                 is_web_url },
    {"formats",             is_formats },
    {"onlyMainContent",     is_flag    },
    {"includeTags",         is_list    },
    {"excludeTags",         is_list    },
    {"headers",             is_map     },
    {"timeout",             is_positive},
    {"waitFor",             is_natural },
    {"maxAge",              is_natural },
    {"storeInCache",        is_flag    },
    {"mobile",              is_flag    },
    {"blockAds",            is_flag    },
    {"fastMode",            is_flag    },
    {"removeBase64Images",  is_flag    },
    {"skipTlsVerification", is_flag    },
    {"proxy",               is_proxy   },
    {"parsers",             is_list    },
    {"actions",             is_list    },
    {"location",            is_map     },
    {"origin",              is_text    },
    {"integration",         is_text    },
    {"zeroDataRetention",   is_flag    },
};

/* The first rule broken, as the text of a 400; NULL when all is well. */
static const char *fault_of(const json_t *body, const char **key)
{
    const json_t *value;
    const char *name;
    json_object_foreach((json_t *)body, name, value)
    {
        size_t i = 0, n = sizeof(rules) / sizeof(rules[0]);
        while (i < n && strcmp(rules[i].key, name) != 0)
            i++;
        *key = name;
        if (i == n)
            return "Unrecognized key in body";
        if (!rules[i].fits(value))
            return "Invalid value";
    }
    *key = "url";
    if (!json_object_get(body, "url"))
        return "URL is required";
    *key = "waitFor";
    const json_t *timeout = json_object_get(body, "timeout");
    json_int_t wait = json_integer_value(json_object_get(body, "waitFor"));
    return timeout && wait * 2 > json_integer_value(timeout) ? "waitFor is over timeout/2" : NULL;
}

static void reply_mode(struct httpd_req *req)
{
    char seconds[16];
    snprintf(seconds, sizeof(seconds), "%d", self.mode_after);
    if (self.mode_after >= 0)
        httpd_add_header(req, "Retry-After", seconds);
    reply_failure(req, self.mode, NULL, "the stand-in fails everything");
}

static bool authorized(struct httpd_req *req)
{
    const char *given = httpd_header(req, "Authorization");
    size_t scheme = strlen("Bearer ");
    if (!self.key)
        return true;
    return given && strncmp(given, "Bearer ", scheme) == 0 && strcmp(given + scheme, self.key) == 0;
}

static void log_start(struct httpd_req *req, const char *url)
{
    if (self.log_fd < 0)
        return;
    httpd_set_user(req, (void *)++self.logged); /* NOLINT(performance-no-int-to-ptr) */
    dprintf(
        self.log_fd, "start\t%ld\t%lld\t%s\n", (long)self.logged, (long long)clock_wall_us(), url);
}

static void log_end(struct httpd_req *req, int status, void *ctx)
{
    intptr_t n = (intptr_t)httpd_user(req);
    (void)ctx;
    if (n && self.log_fd >= 0)
        dprintf(self.log_fd, "end\t%ld\t%lld\t%d\n", (long)n, (long long)clock_wall_us(), status);
}

static void on_scrape(struct httpd_req *req, void *ctx)
{
    size_t len;
    struct hl_err err;
    const char *data = httpd_body(req, &len), *key = "url";
    const char *type = httpd_header(req, "Content-Type");
    (void)ctx;
    if (!authorized(req)) {
        reply_failure(req, 401, NULL, "Unauthorized: Invalid token");
        return;
    }
    if (!type || strncmp(type, "application/json", strlen("application/json")) != 0) {
        reply_bad(req, key, "no JSON body: Content-Type must be application/json");
        return;
    }
    json_t *body = json_parse(data, len, &err);
    const char *fault = json_is_object(body) ? fault_of(body, &key) : NULL;
    if (!json_is_object(body)) {
        reply_failure(req, 400, "BAD_REQUEST_INVALID_JSON", "Bad request, malformed JSON");
    } else if (fault) {
        reply_bad(req, key, fault);
    } else {
        const char *url = json_get_string(body, "url");
        json_object_set_new(self.counts, url, json_integer(count_of(url) + 1));
        log_start(req, url);
        self.total++;
        if (self.mode)
            reply_mode(req);
        else
            behave(req, url);
    }
    json_decref(body);
}

/* --- crawls ------------------------------------------------------------------------------ */

static void on_set_crawls(struct httpd_req *req, void *ctx)
{
    size_t len;
    struct hl_err err;
    const char *data = httpd_body(req, &len);
    (void)ctx;
    json_t *crawls = json_parse_with_nul(data, len, &err);
    if (!json_is_object(crawls)) {
        reply_failure(req, 400, NULL, "an object of crawls is wanted");
        json_decref(crawls);
        return;
    }
    json_decref(self.crawls);
    self.crawls = crawls;
    reply_json(req, 200, json_pack("{s:i}", "crawls", (int)json_object_size(crawls)));
}

/* "" or "skip=N"; -1: anything else. */
static long long skip_of(const char *query)
{
    const char *digits = strncmp(query, "skip=", 5) == 0 ? query + 5 : NULL;
    if (!*query)
        return 0;
    if (!digits || !*digits || strlen(digits) > 9 || digits[strspn(digits, "0123456789")])
        return -1;
    return atoll(digits);
}

/* As many documents as a page has. `next` names the address that Firecrawl takes for its own, and is
 * there for as long as more may come. */
static void reply_crawl(struct httpd_req *req, const json_t *crawl, long long skip)
{
    const json_t *data = json_object_get(crawl, "data");
    const char *status = json_get_string(crawl, "status");
    json_int_t per_page = json_integer_value(json_object_get(crawl, "per_page"));
    size_t all = json_array_size(data), from = (size_t)skip < all ? (size_t)skip : all;
    size_t to = from + (size_t)(per_page ? per_page : 100) < all
                    ? from + (size_t)(per_page ? per_page : 100)
                    : all;
    json_t *part = json_array();
    for (size_t i = from; i < to; i++)
        json_array_append(part, json_array_get(data, i));
    json_t *answer = json_pack("{s:b, s:s, s:O, s:O, s:i, s:s, s:o}", "success", 1, "status",
        status, "completed", json_object_get(crawl, "completed"), "total",
        json_object_get(crawl, "total"), "creditsUsed", (int)all, "expiresAt",
        "2036-11-24T05:17:15.000Z", "data", part);
    if (to == all && json_is_true(json_object_get(crawl, "circle")))
        to = 0;
    if (to < all || strcmp(status, "scraping") == 0)
        json_object_set_new(answer, "next",
            json_sprintf("https://no-such-host.invalid:1%s?skip=%zu", httpd_path(req), to));
    reply_json(req, 200, answer);
}

static void on_crawl(struct httpd_req *req, bool batch)
{
    const json_t *crawl = json_object_get(self.crawls, httpd_param(req, "id"));
    bool known = crawl && json_is_true(json_object_get(crawl, "batch")) == batch;
    json_int_t fail = json_integer_value(json_object_get(crawl, "fail"));
    long long skip = skip_of(httpd_query(req));
    size_t len;

    httpd_body(req, &len);
    json_object_set_new(self.counts, httpd_path(req), json_integer(count_of(httpd_path(req)) + 1));
    if (!authorized(req))
        reply_failure(req, 401, NULL, "Unauthorized: Invalid token");
    else if (skip < 0 || len > 0)
        reply_bad(req, "skip", "nothing but skip=N is understood");
    else if (self.mode)
        reply_mode(req);
    else if (fail)
        reply_failure(req, (int)fail, NULL, "the stand-in fails as asked");
    else if (!known)
        reply_failure(req, 404, NULL, "Job not found");
    else
        reply_crawl(req, crawl, skip);
}

static void on_crawl_status(struct httpd_req *req, void *ctx)
{
    (void)ctx;
    on_crawl(req, false);
}

static void on_batch_status(struct httpd_req *req, void *ctx)
{
    (void)ctx;
    on_crawl(req, true);
}

/* --- counters and the program ------------------------------------------------------------ */

/* url=.. as it stands: tests use URLs that need no escapes. */
static void on_count(struct httpd_req *req, void *ctx)
{
    const char *query = httpd_query(req);
    (void)ctx;
    json_int_t n = strncmp(query, "url=", 4) == 0 ? count_of(query + 4) : 0;
    reply_json(req, 200, json_pack("{s:I}", "count", n));
}

static void on_counts(struct httpd_req *req, void *ctx)
{
    (void)ctx;
    reply_json(req, 200, json_incref(self.counts));
}

static void on_total(struct httpd_req *req, void *ctx)
{
    (void)ctx;
    reply_json(req, 200, json_pack("{s:I}", "count", self.total));
}

static void on_mode(struct httpd_req *req, void *ctx)
{
    (void)ctx;
    bool fits = sscanf(httpd_query(req), "%d/%d", &self.mode, &self.mode_after) == 2;
    reply_json(req, fits ? 200 : 400, json_pack("{s:i}", "mode", self.mode));
}

static const struct httpd_route routes[] = {
    {.method = "POST",      .path = "/v2/scrape", .handler = on_scrape},
    {.method = "GET", .path = "/count", .handler = on_count},
    {.method = "GET",       .path = "/counts", .handler = on_counts},
    {.method = "GET",  .path = "/total", .handler = on_total},
    {.method = "POST",       .path = "/crawls", .handler = on_set_crawls},
    {.method = "GET", .path = "/v2/crawl/{id}", .handler = on_crawl_status},
    {.method = "GET",       .path = "/v2/batch/scrape/{id}", .handler = on_batch_status},
    {.method = "GET",  .path = "/mode", .handler = on_mode},
    {0     },
};

static const struct httpd_conf conf = {
    .routes = routes,
    .max_header = 65536,
    .max_body = 10 * 1024 * 1024,
    .max_connections = 4096,
    .header_timeout_ms = 10000,
    .body_timeout_ms = 10000,
    .idle_timeout_ms = 5000, /* as the real one: clients must bear it */
    .write_timeout_ms = 30000,
    .on_reply = log_end,
};

static void stop(void *ctx)
{
    loop_stop(ctx);
}

static int parse_options(int argc, char **argv)
{
    static const struct option options[] = {
        {"port",             required_argument, NULL, 'p'},
        {"key",              required_argument, NULL, 'k'},
        {"release",                  required_argument, NULL, 'r'},
        {"log",required_argument, NULL, 'l'},
        {0              },
    };
    int port = 0;
    const char *log_path = NULL;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'p': port = atoi(optarg); break;
        case 'k': self.key = optarg; break;
        case 'r': self.release = optarg; break;
        case 'l': log_path = optarg; break;
        default:
            fprintf(
                stderr, "usage: firecrawl [--port N] [--key KEY] [--release FILE] [--log FILE]\n");
            exit(2);
        }
    }
    self.log_fd = log_path ? open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -1;
    if (log_path && self.log_fd < 0) {
        fprintf(stderr, "stand-in Firecrawl: %s: %s\n", log_path, strerror(errno));
        exit(1);
    }
    return port;
}

int main(int argc, char **argv)
{
    struct hl_err err;
    struct sigwatch term = {0};
    int port = parse_options(argc, argv);

    signal(SIGPIPE, SIG_IGN);
    self.listen_fd = httpd_listen("127.0.0.1", port, 512, &port, &err);
    self.loop = self.listen_fd >= 0 ? loop_new(&err) : NULL;
    if (!self.loop) {
        fprintf(stderr, "stand-in Firecrawl: %s\n", err.msg);
        return 1;
    }
    self.counts = json_object();
    list_init(&self.held);
    self.httpd = httpd_new(self.loop, self.listen_fd, &conf);
    sigwatch_start(self.loop, &term, SIGTERM, stop, self.loop);
    fprintf(stderr, "stand-in Firecrawl listens on 127.0.0.1:%d\n", port);

    loop_run(self.loop);

    sigwatch_stop(&term);
    loop_defer_cancel(self.loop, &self.crash);
    for (struct list_node *n; (n = list_first(&self.held));)
        held_free(LIST_OF(n, struct held, node));
    httpd_free(self.httpd);
    loop_free(self.loop);
    json_decref(self.counts);
    json_decref(self.crawls);
    close(self.listen_fd);
    return 0;
}
