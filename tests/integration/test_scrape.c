/* Both ways of scraping, over real sockets: Firecrawl against the stand-in program, direct against
 * pages of the test's own. */
#include "worker/scrape.h"

#include "base/mem.h"
#include "tests/support/canned.h"
#include "tests/support/harness.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct loop *loop;
static struct scraper *scraper;
static struct config cfg;
static struct test_proc *standin;
static int standin_port;
static char release_file[300];

struct outcome {
    bool done;
    struct scrape_result res; /* taken */
};

static void record(struct scrape_result *res, void *ctx)
{
    struct outcome *o = ctx;
    cr_assert_not(o->done, "the callback runs once");
    o->done = true;
    o->res = *res;
    res->text = res->title = res->description = res->language = NULL;
    res->final_url = res->detail = NULL;
}

static void forget(struct outcome *o)
{
    free(o->res.text);
    free(o->res.title);
    free(o->res.description);
    free(o->res.language);
    free(o->res.final_url);
    free(o->res.detail);
    *o = (struct outcome){0};
}

static void stop_loop(void *ctx)
{
    loop_stop(ctx);
}

static bool turn_until(const bool *flag)
{
    struct timer t = {0};
    timer_init(loop, &t, stop_loop, loop);
    timer_start(&t, 10);
    loop_run(loop);
    timer_stop(&t);
    return *flag;
}

static struct outcome scrape(const char *url)
{
    struct outcome o = {0};
    scrape_start(scraper, url, record, &o);
    cr_assert_not(o.done, "the callback never runs inside scrape_start");
    WAIT_FOR(turn_until(&o.done), 20000);
    return o;
}

static void open_scraper(enum cfg_scraper kind, int64_t timeout_ms)
{
    struct hl_err err;
    signal(SIGPIPE, SIG_IGN);
    cfg.scraper = kind;
    cfg.scrape_timeout_ms = timeout_ms;
    cfg.direct_max_bytes = 100000;
    loop = loop_new(&err);
    scraper = scraper_new(loop, &cfg, &err);
    cr_assert(loop && scraper);
}

static void close_scraper(void)
{
    scraper_free(scraper);
    loop_free(loop);
    free(cfg.firecrawl_api_url);
    free(cfg.firecrawl_api_key);
}

/* --- Firecrawl --------------------------------------------------------------------------- */

static void open_standin(int64_t timeout_ms)
{
    char program[300];
    snprintf(program, sizeof(program), "%s/tests/firecrawl", harness_build());
    snprintf(release_file, sizeof(release_file), "%s/release", harness_dir());
    int fd = harness_listen(&standin_port);
    const char *const argv[] = {program, "--key", "fc-key", "--release", release_file, NULL};
    standin = test_proc_start(argv, NULL, fd);
    close(fd);
    cfg.firecrawl_api_url = mem_printf("http://127.0.0.1:%d", standin_port);
    cfg.firecrawl_api_key = mem_strdup("fc-key");
    cfg.firecrawl_proxy = (char *)"basic";
    open_scraper(SCRAPER_FIRECRAWL, timeout_ms);
}

static void close_standin(void)
{
    close_scraper();
    test_proc_signal(standin, SIGTERM);
    cr_expect_eq(test_proc_wait(standin, 10000), 0, "%s", test_proc_log(standin));
}

Test(scrape_firecrawl, brings_the_page_and_what_is_known_about_it)
{
    open_standin(10000);
    for (int i = 1; i <= 2; i++) {
        char line[100];
        struct outcome o = scrape("https://site.example/ok/é");
        cr_assert_eq(o.res.rc, HL_OK, "%s", o.res.err.msg);
        snprintf(line, sizeof(line), "Scrape %d of https://site.example/ok/é\n", i);
        cr_expect(strstr(o.res.text, line), "%s", o.res.text);
        cr_expect_str_eq(o.res.title, "Stand-in page");
        cr_expect_str_eq(o.res.description, "A page of the stand-in");
        cr_expect_str_eq(o.res.language, "en");
        cr_expect_str_eq(o.res.final_url, "https://site.example/ok/é");
        cr_expect_eq(o.res.target_status, 200);
        cr_expect_eq(o.res.retry_after_ms, -1);
        forget(&o);
    }
    close_standin();
}

Test(scrape_firecrawl, tells_passing_failures_from_final_ones)
{
    static const struct {
        const char *path;
        enum hl_rc rc;
        const char *reason;
        int64_t retry_after_ms;
    } cases[] = {
        {"/fail/402",                   HL_FATAL, "Firecrawl answered 402",                  -1  },
        {"/fail/429",                   HL_RETRY, "Firecrawl answered 429",                  2000},
        {"/fail/500/SCRAPE_SITE_ERROR", HL_RETRY, "target cannot be loaded",                 -1  },
        {"/fail/503",                   HL_RETRY, "Firecrawl answered 503",                  -1  },
        {"/fail/408/SCRAPE_TIMEOUT",    HL_RETRY, "Scrape timed out",                        -1  },
        {"/fail/302",                   HL_FATAL, "Firecrawl answered 302",                  -1  },
        {"/success-false",              HL_RETRY, "Firecrawl reported a failure",            -1  },
        {"/target/404",                 HL_FATAL, "target answered 404",                     -1  },
        {"/target/503",                 HL_RETRY, "target answered 503",                     -1  },
        {"/empty",                      HL_RETRY, "no text in Firecrawl's answer",           -1  },
        {"/nojson",                     HL_RETRY, "Firecrawl's answer is not JSON",          -1  },
        {"/close",                      HL_RETRY, "Firecrawl: connection closed, no answer", -1  },
        {"/flaky/1",                    HL_RETRY, "Firecrawl answered 500",                  -1  },
    };
    open_standin(10000);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char url[100];
        snprintf(url, sizeof(url), "http://site.example%s", cases[i].path);
        struct outcome o = scrape(url);
        cr_expect_eq(o.res.rc, cases[i].rc, "%s: %s", url, hl_rc_name(o.res.rc));
        cr_expect_str_eq(o.res.err.msg, cases[i].reason, "%s: %s", url, o.res.err.msg);
        cr_expect_leq(strlen(o.res.err.msg), 42);
        cr_expect_eq(o.res.retry_after_ms, cases[i].retry_after_ms, "%s", url);
        cr_expect_null(o.res.text);
        forget(&o);
    }
    struct outcome o = scrape("http://site.example/flaky/1");
    cr_expect_eq(o.res.rc, HL_OK, "the second attempt succeeds");
    forget(&o);
    close_standin();
}

Test(scrape_firecrawl, a_wrong_key_is_final)
{
    open_standin(10000);
    free(cfg.firecrawl_api_key);
    cfg.firecrawl_api_key = mem_strdup("other");
    struct outcome o = scrape("http://site.example/ok");
    cr_expect_eq(o.res.rc, HL_FATAL);
    cr_expect_str_eq(o.res.err.msg, "Firecrawl answered 401");
    cr_expect_not(strstr(o.res.detail, "other"));
    forget(&o);
    close_standin();
}

Test(scrape_firecrawl, gives_up_at_its_deadline)
{
    open_standin(400);
    struct outcome o = scrape("http://site.example/hang");
    cr_expect_eq(o.res.rc, HL_RETRY);
    cr_expect_eq(o.res.err.why, HL_WHY_TIMEOUT);
    cr_expect_str_eq(o.res.err.msg, "Firecrawl: timed out");
    cr_expect_eq(o.res.sign, UPSTREAM_FAILS);
    forget(&o);
    close_standin();
}

Test(scrape_firecrawl, a_server_that_is_down_may_come_back)
{
    cfg.firecrawl_api_url = mem_printf("http://127.0.0.1:%d", harness_free_port());
    open_scraper(SCRAPER_FIRECRAWL, 5000);
    struct outcome o = scrape("http://site.example/ok");
    cr_expect_eq(o.res.rc, HL_RETRY);
    cr_expect_eq(o.res.err.why, HL_WHY_UNREACHABLE);
    cr_expect_str_eq(o.res.err.msg, "Firecrawl: connection failed");
    cr_expect_eq(o.res.sign, UPSTREAM_DOWN);
    cr_expect(strstr(o.res.detail, "127.0.0.1"), "%s", o.res.detail);
    forget(&o);
    close_scraper();
}

/* A backlog that is full: connections are neither taken nor refused. */
Test(scrape_firecrawl, a_server_that_takes_no_connection_is_down)
{
    int port, fds[4], n = 0, fd = harness_listen(&port);
    struct sockaddr_in at = {.sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    cr_assert_eq(listen(fd, 0), 0);
    for (; n < 4; n++) {
        fds[n] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)!connect(fds[n], (struct sockaddr *)&at, sizeof(at));
    }
    cfg.firecrawl_api_url = mem_printf("http://127.0.0.1:%d", port);
    open_scraper(SCRAPER_FIRECRAWL, 500);
    struct outcome o = scrape("http://site.example/ok");
    cr_expect_str_eq(o.res.err.msg, "Firecrawl: timed out");
    cr_expect_eq(o.res.sign, UPSTREAM_DOWN, "not one that leaves a page unanswered");
    forget(&o);
    while (n > 0)
        close(fds[--n]);
    close(fd);
    close_scraper();
}

Test(scrape_firecrawl, takes_big_pages_up_to_its_bound)
{
    open_standin(20000);
    struct outcome o = scrape("http://site.example/big/8000000");
    cr_expect_eq(o.res.rc, HL_OK, "%s", o.res.err.msg);
    cr_expect_eq(strlen(o.res.text), 8000000);
    forget(&o);
    o = scrape("http://site.example/big/33554432");
    cr_expect_eq(o.res.rc, HL_FATAL);
    cr_expect_str_eq(o.res.err.msg, "Firecrawl: answer too large");
    forget(&o);
    close_standin();
}

static int asked(const char *url)
{
    char path[200];
    snprintf(path, sizeof(path), "/count?url=%s", url);
    struct test_reply r = test_http(standin_port, "GET", path, NULL, NULL, 0);
    int n = -1;
    sscanf(r.body, "{\"count\":%d}", &n);
    return n;
}

static void must_not_run(struct scrape_result *res, void *ctx)
{
    (void)res;
    (void)ctx;
    cr_assert(false, "a cancelled scrape has no callback");
}

Test(scrape_firecrawl, others_go_on_when_one_is_held_or_cancelled)
{
    bool never = false;
    struct outcome held = {0};
    open_standin(20000);
    struct scrape *dropped =
        scrape_start(scraper, "http://site.example/hang/1", must_not_run, NULL);
    scrape_start(scraper, "http://site.example/hold", record, &held);
    WAIT_FOR(turn_until(&never) || asked("http://site.example/hang/1") == 1, 10000);
    WAIT_FOR(turn_until(&never) || asked("http://site.example/hold") == 1, 10000);
    scrape_cancel(dropped);

    struct outcome o = scrape("http://site.example/slow/50");
    cr_expect_eq(o.res.rc, HL_OK);
    cr_expect_not(held.done);
    forget(&o);

    close(open(release_file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    WAIT_FOR(turn_until(&held.done), 10000);
    cr_expect_eq(held.res.rc, HL_OK);
    forget(&held);
    close_standin();
}

static void free_scraper(struct scrape_result *res, void *ctx)
{
    scraper_free(scraper);
    scraper = NULL;
    cr_expect_eq(res->rc, HL_OK);
    *(bool *)ctx = true;
}

Test(scrape_firecrawl, the_scraper_may_be_freed_with_scrapes_under_way)
{
    bool freed = false;
    open_standin(20000);
    scrape_start(scraper, "http://site.example/hang", must_not_run, NULL);
    scrape_start(scraper, "http://site.example/ok", free_scraper, &freed);
    WAIT_FOR(turn_until(&freed), 10000);
    close_standin();
}

/* --- the stand-in's own manners ---------------------------------------------------------- */

Test(standin_firecrawl, is_as_strict_as_the_real_one)
{
#define AUTH     "Authorization: Bearer fc-key\r\n"
#define OK(more) "{\"url\":\"http://e/ok\"" more "}"
#define JSON     "Content-Type: application/json\r\n"
    static const struct {
        const char *headers, *body;
        int status;
        const char *says;
    } cases[] = {
        {JSON AUTH,                    OK(""),                             200, "true"        },
        {JSON,                         OK(""),                             401, "Unauthorized"},
        {JSON "Authorization: x\r\n",  OK(""),                             401, "Unauthorized"},
        {AUTH,                         OK(""),                             400, "Content-Type"},
        {AUTH "Content-Type: x/y\r\n", OK(""),                             400, "Content-Type"},
        {JSON AUTH,                    "{\"url\":",                        400, "INVALID_JSON"},
        {JSON AUTH,                    "{}",                               400, "url"         },
        {JSON AUTH,                    OK(",\"maxage\":0"),                400, "maxage"      },
        {JSON AUTH,                    OK(",\"timeout\":0"),               400, "timeout"     },
        {JSON AUTH,                    OK(",\"formats\":[1]"),             400, "formats"     },
        {JSON AUTH,                    OK(",\"proxy\":\"none\""),          400, "proxy"       },
        {JSON AUTH,                    "{\"url\":\"ftp://e/ok\"}",         400, "url"         },
        {JSON AUTH,                    OK(",\"timeout\":9,\"waitFor\":5"), 400, "waitFor"     },
    };
    open_standin(1000);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct test_reply r = test_http(standin_port, "POST", "/v2/scrape", cases[i].headers,
            cases[i].body, strlen(cases[i].body));
        cr_expect_eq(r.status, cases[i].status, "%s: %d", cases[i].body, r.status);
        cr_expect(strstr(r.body, cases[i].says), "%s: %s", cases[i].body, r.body);
    }
    struct test_reply r = test_http(standin_port, "GET", "/counts", NULL, NULL, 0);
    cr_expect_str_eq(r.body, "{\"http://e/ok\":1}");
    close_standin();
}

/* --- direct ------------------------------------------------------------------------------ */

static bool page(const struct canned_request *r)
{
    if (canned_path_is(r, "/moved"))
        canned_answer(r, 301, "Location: /page\r\n", "");
    else if (canned_path_is(r, "/page"))
        canned_answer(r, 200, "Content-Type: text/html; charset=utf-8\r\n",
            "<html lang=en><head><title>A page</title><meta name=description content='About it'>"
            "</head><body><main><p>Readable text.</p><script>no()</script></main></body></html>");
    else if (canned_path_is(r, "/headers"))
        canned_answer(r, 200, "Content-Type: text/plain\r\n", r->text);
    else if (canned_path_is(r, "/busy"))
        canned_answer(r, 503, "Retry-After: 7\r\n", "later");
    else if (canned_path_is(r, "/nowhere"))
        canned_answer(r, 304, "", "");
    else if (canned_path_is(r, "/zip"))
        canned_answer(r, 200, "Content-Type: application/zip\r\n", "PK");
    else if (canned_path_is(r, "/big"))
        canned_printf(r, "HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n%0100001d", 0);
    else if (canned_path_is(r, "/hang"))
        return true;
    else
        canned_answer(r, 404, "Content-Type: text/html\r\n", "<p>Not here</p>");
    return true;
}

static struct canned *open_direct(bool allow_private, int64_t timeout_ms)
{
    cfg.direct_allow_private = allow_private;
    open_scraper(SCRAPER_DIRECT, timeout_ms);
    return canned_start("127.0.0.1", page, NULL);
}

static struct outcome scrape_at(struct canned *c, const char *path)
{
    char url[100];
    snprintf(url, sizeof(url), "http://127.0.0.1:%d%s", canned_port(c), path);
    return scrape(url);
}

Test(scrape_direct, brings_the_text_of_a_page_behind_a_redirect)
{
    struct canned *c = open_direct(true, 10000);
    struct outcome o = scrape_at(c, "/moved");
    cr_assert_eq(o.res.rc, HL_OK, "%s", o.res.err.msg);
    cr_expect(strstr(o.res.text, "Readable text."), "%s", o.res.text);
    cr_expect_not(strstr(o.res.text, "no()"));
    cr_expect_str_eq(o.res.title, "A page");
    cr_expect_str_eq(o.res.description, "About it");
    cr_expect_str_eq(o.res.language, "en");
    cr_expect(strstr(o.res.final_url, "/page"), "%s", o.res.final_url);
    cr_expect_eq(o.res.target_status, 200);
    forget(&o);
    close_scraper();
    canned_stop(c);
}

Test(scrape_direct, says_who_it_is)
{
    struct canned *c = open_direct(true, 10000);
    struct outcome o = scrape_at(c, "/headers");
    cr_assert_eq(o.res.rc, HL_OK, "%s", o.res.err.msg);
    cr_expect(strstr(o.res.text, "Hookline/" HOOKLINE_VERSION " (+webhook bridge)"));
    cr_expect(strstr(o.res.text, "Accept: text/html"));
    forget(&o);
    close_scraper();
    canned_stop(c);
}

Test(scrape_direct, tells_passing_failures_from_final_ones)
{
    static const struct {
        const char *path;
        enum hl_rc rc;
        const char *reason;
        long target_status;
        int64_t retry_after_ms;
    } cases[] = {
        {"/gone",    HL_FATAL, "target answered 404", 404, -1  },
        {"/busy",    HL_RETRY, "target answered 503", 503, 7000},
        {"/nowhere", HL_FATAL, "target answered 304", 304, -1  },
        {"/big",     HL_FATAL, "answer too large",    0,   -1  },
        {"/hang",    HL_RETRY, "timed out",           0,   -1  },
        {"/zip",     HL_FATAL, NULL,                  200, -1  },
    };
    struct canned *c = open_direct(true, 1000);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct outcome o = scrape_at(c, cases[i].path);
        cr_expect_eq(o.res.rc, cases[i].rc, "%s: %s", cases[i].path, o.res.err.msg);
        if (cases[i].reason)
            cr_expect_str_eq(
                o.res.err.msg, cases[i].reason, "%s: %s", cases[i].path, o.res.err.msg);
        cr_expect(o.res.err.msg[0]);
        cr_expect_eq(o.res.target_status, cases[i].target_status);
        cr_expect_eq(o.res.retry_after_ms, cases[i].retry_after_ms);
        cr_expect_null(o.res.text);
        forget(&o);
    }
    close_scraper();
    canned_stop(c);
}

Test(scrape_direct, refuses_private_addresses_unless_allowed)
{
    struct canned *c = open_direct(false, 10000);
    struct outcome o = scrape_at(c, "/page");
    cr_expect_eq(o.res.rc, HL_FATAL);
    cr_expect_str_eq(o.res.err.msg, "address is private");
    cr_expect_eq(canned_connections(c), 0);
    forget(&o);
    close_scraper();
    canned_stop(c);
}

Test(scrape_direct, refuses_what_is_no_web_address_and_can_be_cancelled_before_saying_so)
{
    struct canned *c = open_direct(true, 10000);
    scrape_cancel(scrape_start(scraper, "ftp://x/", must_not_run, NULL));
    struct outcome o = scrape("ftp://127.0.0.1/x");
    cr_expect_eq(o.res.rc, HL_FATAL);
    cr_expect_str_eq(o.res.err.msg, "not a web address");
    forget(&o);
    close_scraper();
    canned_stop(c);
}

/* --- direct, several at once -------------------------------------------------------------- */

enum { SCRAPES = 8, AT_ONCE = 2, EACH_MS = 250 };

static atomic_int running, most;

static bool take_a_while(const struct canned_request *r)
{
    int now = atomic_fetch_add(&running, 1) + 1;
    for (int seen = atomic_load(&most); now > seen;)
        if (atomic_compare_exchange_weak(&most, &seen, now))
            break;
    usleep(EACH_MS * 1000); /* how long a page takes is the subject */
    atomic_fetch_sub(&running, 1);
    canned_answer(r, 200, "Content-Type: text/plain\r\n", "Readable text.");
    return true;
}

static bool all_done(const struct outcome *o)
{
    bool done = true;
    for (int i = 0; i < SCRAPES; i++)
        done = done && o[i].done;
    turn_until(&done);
    return done;
}

static void start_all(const char *host, int port, struct outcome *o)
{
    for (int i = 0; i < SCRAPES; i++) {
        char url[100];
        snprintf(url, sizeof(url), "http://%s:%d/%d", host, port, i);
        scrape_start(scraper, url, record, &o[i]);
    }
}

/* The last one begins when the time of a scrape has passed already. */
Test(scrape_direct, so_many_of_a_host_at_once_and_waiting_costs_no_time_of_the_scrape)
{
    struct outcome o[SCRAPES] = {0};
    cfg.direct_allow_private = true;
    cfg.direct_per_host = AT_ONCE;
    open_scraper(SCRAPER_DIRECT, (SCRAPES / AT_ONCE - 1) * EACH_MS);
    struct canned *c = canned_start("127.0.0.1", take_a_while, NULL);
    start_all("127.0.0.1", canned_port(c), o);
    WAIT_FOR(all_done(o), 20000);
    for (int i = 0; i < SCRAPES; i++) {
        cr_expect_eq(o[i].res.rc, HL_OK, "%d: %s", i, o[i].res.err.msg);
        forget(&o[i]);
    }
    cr_expect_eq(atomic_load(&most), AT_ONCE);
    close_scraper();
    canned_stop(c);
}

Test(scrape_direct, a_host_that_is_full_does_not_hold_up_another)
{
    struct outcome o[SCRAPES] = {0}, other = {0};
    char url[100];
    cfg.direct_allow_private = true;
    cfg.direct_per_host = 1;
    open_scraper(SCRAPER_DIRECT, 10000);
    struct canned *c = canned_start("127.0.0.1", take_a_while, NULL);
    start_all("127.0.0.1", canned_port(c), o);
    snprintf(url, sizeof(url), "http://LOCALHOST:%d/other", canned_port(c));
    scrape_start(scraper, url, record, &other);
    WAIT_FOR(turn_until(&other.done), 20000);
    cr_expect_not(o[SCRAPES - 1].done);
    forget(&other);
    for (int i = 0; i < SCRAPES; i++)
        forget(&o[i]);
    scraper_free(scraper); /* with some running and some waiting */
    loop_free(loop);
    canned_stop(c);
}

static bool may_not_ask(void *ctx)
{
    return ctx == NULL;
}

Test(scrape_direct, whose_turn_comes_is_asked_whether_it_still_should)
{
    struct outcome o[SCRAPES] = {0};
    cfg.direct_allow_private = true;
    cfg.direct_per_host = AT_ONCE;
    open_scraper(SCRAPER_DIRECT, 10000);
    scraper_guard(scraper, may_not_ask);
    struct canned *c = canned_start("127.0.0.1", take_a_while, NULL);
    start_all("127.0.0.1", canned_port(c), o);
    WAIT_FOR(all_done(o), 20000);
    for (int i = 0; i < SCRAPES; i++) {
        cr_expect_eq(o[i].res.held_off, i >= AT_ONCE, "%d", i);
        cr_expect_eq(o[i].res.rc, i >= AT_ONCE ? HL_RETRY : HL_OK, "%d", i);
        cr_expect_eq(o[i].res.sign, i >= AT_ONCE ? UPSTREAM_SILENT : UPSTREAM_WORKS, "%d", i);
        forget(&o[i]);
    }
    cr_expect_eq(canned_requests(c), AT_ONCE);
    close_scraper();
    canned_stop(c);
}

Test(scrape_direct, the_server_asked_has_a_name_for_its_circuit)
{
    static const struct {
        const char *url, *host;
    } cases[] = {
        {"http://Example.ORG/x?y#z",     "example.org:80"  },
        {"https://user:pw@example.org/", "example.org:443" },
        {"http://example.org:8080",      "example.org:8080"},
        {"http://[2001:DB8::1]:81/",     "[2001:db8::1]:81"},
        {"not a url",                    NULL              },
        {NULL,                           NULL              },
    };
    cfg.scraper = SCRAPER_DIRECT;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *host = scrape_upstream(&cfg, cases[i].url);
        cr_expect_eq(!host, !cases[i].host);
        cr_expect(!host || strcmp(host, cases[i].host) == 0, "%s: %s", cases[i].url, host);
        free(host);
    }
    cfg.scraper = SCRAPER_FIRECRAWL;
    cfg.firecrawl_api_url = (char *)"http://fc/base/";
    char *host = scrape_upstream(&cfg, "http://e/");
    cr_expect_str_eq(host, "fc:80");
    free(host);
}
