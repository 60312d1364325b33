/* The dashboard, in a real browser, as its users know it. Every page must leave the console empty: no
 * error, no failed request, no violation of the Content-Security-Policy. Screenshots land in
 * build/screenshots/. */
#include "tests/support/browser.h"
#include "tests/support/fleet.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

TestSuite(dashboard, .timeout = 120);

static struct rig rig;
static struct browser *b;

/* --- the way in -------------------------------------------------------------------------- */

static bool start(void)
{
    b = browser_start();
    if (!b)
        return false;
    rig_start(&rig);
    return true;
}

#define START()                                                                                    \
    do {                                                                                           \
        if (!start())                                                                              \
            cr_skip_test("there is no Chromium here: make deps-test");                             \
    } while (0)

static void sign_in(const char *secret, const char *where)
{
    browser_open(b, "http://127.0.0.1:%d/dashboard%s", rig.producer_port, where);
    browser_type(b, "#secret", secret);
    browser_click(b, "#sign-in");
    browser_await_gone(b, "#secret");
}

static void no_complaints(const char *where)
{
    const char *said = browser_complaints(b);
    cr_assert_str_eq(said, "", "%s: %s", where, said);
}

static void finish(void)
{
    no_complaints("at the end");
    browser_stop(b);
}

static void go(const char *where)
{
    browser_js(b, harness_text("location.hash = '%s'", where));
}

static const char *row_of(struct rig_id id)
{
    return harness_text("main[data-view=events] tr[data-id='%s']", id.text);
}

static const char *badge_of(struct rig_id id, const char *status)
{
    return harness_text("%s .badge[data-status=%s]", row_of(id), status);
}

static struct rig_id failed_event(const char *path)
{
    struct rig_id id = rig_post(&rig, "%s", path);
    WAIT_FOR(strstr(rig_row(&rig, id, "rescrape_status"), "failed"), 30000);
    return id;
}

/* --- signing in -------------------------------------------------------------------------- */

static void a_wrong_secret_is_refused(void)
{
    browser_open(b, "http://127.0.0.1:%d/dashboard", rig.producer_port);
    browser_type(b, "#secret", "not-the-secret-of-this-installation-at-all");
    browser_click(b, "#sign-in");
    browser_await_text(b, "main [role=alert]", "Invalid credentials");
    cr_assert(strstr(browser_complaints(b), "401"), "the browser tells of the refusal itself");
    browser_await(b, "#sign-in:enabled");
    browser_shot(b, "sign-in");
}

static void a_session_outlives_a_reload_and_no_script_sees_it(void)
{
    browser_type(b, "#secret", RIG_API_SECRET);
    browser_click(b, "#sign-in");
    browser_await(b, "main[data-view=overview]");
    cr_assert_str_eq(browser_js(b, "return document.cookie"), "\"\"");
    cr_assert_str_eq(browser_js(b, "return localStorage.length + sessionStorage.length"), "0");
    browser_open(b, "http://127.0.0.1:%d/dashboard#/workers", rig.producer_port);
    browser_await(b, "main[data-view=workers]");
    no_complaints("signed in");
}

static void a_session_that_ends_leads_back_to_where_one_was(void)
{
    browser_forget(b);
    go("#/sources");
    browser_await(b, "#secret");
    cr_assert(strstr(browser_complaints(b), "401"), "the stream's refusal");
    browser_type(b, "#secret", RIG_API_SECRET);
    browser_click(b, "#sign-in");
    browser_await(b, "main[data-view=sources]");
}

Test(dashboard, only_the_secret_opens_it_and_only_as_long_as_one_is_signed_in)
{
    START();
    a_wrong_secret_is_refused();
    a_session_outlives_a_reload_and_no_script_sees_it();
    a_session_that_ends_leads_back_to_where_one_was();
    browser_click(b, "[data-action=sign-out]");
    browser_await(b, "#secret");
    browser_open(b, "http://127.0.0.1:%d/dashboard#/workers", rig.producer_port);
    browser_await(b, "#secret");
    finish();
}

/* --- events ------------------------------------------------------------------------------ */

static void it_appears_and_completes_before_ones_eyes(void)
{
    browser_await_text(b, "main[data-view=events]", "No events yet");
    browser_shot(b, "events-empty");
    browser_js(b, "window.sameDocument = true");
    struct rig_id id = rig_post(&rig, "/hold/harbour");
    browser_await(b, badge_of(id, "in_progress"));
    rig_release(&rig);
    browser_await(b, badge_of(id, "completed"));
    cr_assert_str_eq(browser_js(b, "return window.sameDocument"), "true", "it was not reloaded");

    browser_click(b, row_of(id));
    browser_await_text(b, "main[data-view=event]", RIG_SITE "/hold/harbour");
    browser_await(b, "main[data-view=event] .badge[data-status=completed]");
    browser_await_text(b, ".timeline", "Completed");
    browser_await_text(b, "main", "Stand-in page"); /* the document's title */
    browser_shot(b, "event");
    no_complaints("an event");
}

static void it_is_found_by_address_id_and_status(void)
{
    struct rig_id bad = failed_event("/target/404");
    struct rig_id good = rig_post(&rig, "/ok/lighthouse");
    struct rig_id other = rig_post(&rig, "/ok/windmill");
    go("#/events");
    browser_await(b, row_of(bad));
    browser_await(b, badge_of(other, "completed"));
    browser_await(b, badge_of(good, "completed"));
    browser_shot(b, "events");

    browser_type(b, "[name=search]", "LightHouse");
    browser_await_gone(b, row_of(other));
    browser_await(b, row_of(good));
    browser_await_gone(b, row_of(bad));
    browser_type(b, "[name=search]", other.text);
    browser_await(b, row_of(other));
    browser_await_gone(b, row_of(good));

    go("#/events?status=failed");
    browser_await_gone(b, row_of(other));
    browser_await_text(b, row_of(bad), "404");
    browser_type(b, "[name=search]", "nowhere to be found");
    browser_await_text(b, "main", "No event is like that");
}

static void it_is_tried_again_when_it_has_failed(void)
{
    struct rig_id id = failed_event("/flaky/1/quay");
    go(harness_text("#/events/%s", id.text));
    browser_await(b, "main[data-view=event] .badge[data-status=failed]");
    browser_shot(b, "event-failed");
    browser_click(b, "[data-action=retry]");
    browser_await(b, "main[data-view=event] .badge[data-status=completed]");
    browser_await_gone(b, "[data-action=retry]");
    cr_assert(rig_status_is(&rig, id, "completed"));
    cr_assert_eq(sql_int(rig.db, "SELECT count(*) FROM webhook.operator_log"), 1);
}

static void it_is_reached_by_keys_alone(void)
{
    browser_press(b, "ge");
    browser_await(b, "main[data-view=events] tr[data-id]");
    browser_await_text(b, "tr[aria-rowindex='3']", "windmill"); /* below the one that failed last */
    browser_press(b, "jj" BROWSER_ENTER);
    browser_await_text(b, "main[data-view=event] h1", "/ok/windmill");
    browser_press(b, "/");
    browser_await(b, "main[data-view=events] [name=search]:focus");
    browser_press(b, "harbour" BROWSER_ESCAPE);
    browser_await_text(b, "main", "1 shown");
    browser_press(b, "?");
    browser_await(b, "dialog[open]");
    browser_press(b, BROWSER_ESCAPE);
    browser_await_gone(b, "dialog[open]");
    browser_press(b, "gw");
    browser_await(b, "main[data-view=workers]");
    browser_js(b, "document.querySelector('.skip').focus()");
    browser_press(b, BROWSER_ENTER);
    browser_await(b, "main[data-view=workers] h1:focus"); /* the address has not changed */
}

Test(dashboard, an_event_is_followed_found_and_tried_again)
{
    START();
    rig_fleet(&rig, 1, RIG_ENV("WEBHOOK_MAX_ATTEMPTS=1", "WEBHOOK_BREAKER_FAILURES=0"));
    sign_in(RIG_API_SECRET, "#/events");
    it_appears_and_completes_before_ones_eyes();
    it_is_found_by_address_id_and_status();
    it_is_tried_again_when_it_has_failed();
    it_is_reached_by_keys_alone();
    finish();
}

/* What a stranger can put into an event is text, wherever it is shown. */
static void markup_from_outside_is_only_text(void)
{
    sql_exec(rig.db,
        "INSERT INTO webhook.change_events (event_id, watch_id, watch_url, detected_at,"
        "  diff_summary, rescrape_job_id, rescrape_status, metadata, finished_at)"
        " VALUES ('0b9d3c52-86c1-4d5a-a0a3-000000000001', '<img src=x onerror=alert(1)>',"
        "  'http://x/<img src=x onerror=alert(1)>', now(), '<script>alert(1)</script>', 'x',"
        "  'failed: <b>bold</b>', '{\"error\": \"<svg onload=alert(1)>\","
        "  \"watch_title\": \"</script><script>alert(1)</script>\"}', now())");
    browser_await_text(b, "main", "<img src=x onerror=alert(1)>");
    browser_click(b, "tr[data-id='0b9d3c52-86c1-4d5a-a0a3-000000000001']");
    browser_await_text(b, "main[data-view=event]", "<svg onload=alert(1)>");
    browser_await_text(b, "main[data-view=event]", "No document is indexed for this page");
    cr_assert_eq(browser_count(b, "main img, main script, main b:not([class])[onerror]"), 0);
    no_complaints("markup");
}

#define SCROLL(to) "const v = document.querySelector('.virtual'); v.scrollTop = " to ";"

static void all_of_them_can_be_reached(void)
{
    browser_await_text(b, "main", "/article/10000");
    int64_t end = harness_now_ms() + 60000;
    while (!strstr(browser_text(b, "main"), "/article/1\n") && harness_now_ms() < end) {
        browser_js(b, SCROLL("v.scrollHeight"));
        usleep(20000);
    }
    browser_await_text(b, "main .virtual", "/article/1\n");
    cr_assert_lt(browser_count(b, "main *"), 2000, "only what can be seen is in the document");
}

/* The stream tells of the newest hundred only. */
static void one_far_down_completes_before_ones_eyes(void)
{
    browser_js(b, SCROLL("v.querySelector('tr[data-id]').offsetHeight * 5000"));
    browser_await_text(b, "main .virtual", "/article/5000\n");
    browser_await(b, "main tr .badge[data-status=queued]");
    sql_exec(rig.db,
        "UPDATE webhook.change_events SET rescrape_status = 'completed', finished_at = now()"
        " WHERE watch_url LIKE '%%/article/5000'");
    browser_await_gone(b, "main tr .badge[data-status=queued]");
    browser_await_text(b, "main .virtual", "/article/5000\n"); /* nothing has moved */
    browser_js(b, SCROLL("0"));
    browser_await_text(b, "main", "/article/10000");
}

Test(dashboard, ten_thousand_events_are_a_list_like_any_other)
{
    START();
    sign_in(RIG_API_SECRET, "#/events");
    markup_from_outside_is_only_text();
    sql_exec(rig.db,
        "INSERT INTO webhook.change_events (event_id, watch_id, watch_url, detected_at,"
        "  rescrape_job_id, rescrape_status, finished_at)"
        " SELECT gen_random_uuid(), 'w', 'http://shop.test/article/' || i, now(), 'x',"
        "  CASE i WHEN 5000 THEN 'queued' ELSE 'completed' END,"
        "  CASE i WHEN 5000 THEN NULL ELSE now() END FROM generate_series(1, 10000) i");
    go("#/events");
    all_of_them_can_be_reached();
    one_far_down_completes_before_ones_eyes();
    finish();
}

/* --- operators --------------------------------------------------------------------------- */

#define CRAWL "0c0ffee0-0000-4000-8000-000000000001"

static void post_crawl(const char *type, const char *rest)
{
    const char *body =
        harness_text("{\"success\":true,\"type\":\"crawl.%s\",\"id\":\"" CRAWL "\"%s}", type, rest);
    const char *headers = harness_text("Content-Type: application/json\r\n"
                                       "X-Firecrawl-Signature: sha256=%s\r\n",
        test_sign(RIG_SECRET, body, strlen(body)));
    struct test_reply reply =
        test_http(rig.producer_port, "POST", "/api/webhook/firecrawl", headers, body, strlen(body));
    cr_assert_eq(reply.status / 100, 2, "%d %s", reply.status, reply.body);
}

/* Some of everything; the id of an event that failed, and completes at the next attempt. */
static struct rig_id busy_day(void)
{
    for (int i = 0; i < 8; i++)
        rig_post(&rig, "/ok/article/%d", i);
    failed_event("/target/404");
    struct rig_id id = failed_event("/flaky/1/quay");
    post_crawl("started", ",\"metadata\":{\"url\":\"https://docs.test/\"}");
    for (int i = 0; i < 4; i++)
        post_crawl("page", harness_text(",\"data\":[{\"markdown\":\"All about boats and harbours\","
                                        "\"metadata\":{\"url\":\"https://docs.test/%d\","
                                        "\"statusCode\":200,\"scrapeId\":\"s-%d\"}}]",
                               i, i));
    post_crawl("completed", "");
    test_http(rig.producer_port, "POST", "/api/webhook/changedetection",
        "Content-Type: application/json\r\nX-Signature: sha256=00\r\n", "{}", 2);
    rig_post(&rig, "/hold/market");
    return id;
}

static const struct {
    const char *name, *where, *says;
} views[] = {
    {"overview",  "#/overview",          "2 events failed for good"    },
    {"events",    "#/events",            "/ok/article/7"               },
    {"event",     "#/events/%s",         "the stand-in fails the first"},
    {"crawls",    "#/crawls",            "https://docs.test/"          },
    {"crawl",     "#/crawls/" CRAWL,     "https://docs.test/3"         },
    {"workers",   "#/workers",           "2 processes on 1 host"       },
    {"dead",      "#/dead",              "target answered 404"         },
    {"upstreams", "#/upstreams?hours=1", "127.0.0.1:"                  },
    {"sources",   "#/sources",           "Invalid signature"           },
    {"system",    "#/system",            "015_"                        },
};
enum { NVIEWS = sizeof(views) / sizeof(*views) };

static void open_view(int i, struct rig_id id)
{
    go(strstr(views[i].where, "%s") ? harness_text("#/events/%s", id.text) : views[i].where);
    browser_await(b, harness_text("main[data-view=%s]", views[i].name));
    browser_await_text(b, "main", views[i].says);
    no_complaints(views[i].name);
}

/* What is missing for those who do not see the page as it looks; "" = nothing. */
static const char unnamed[] =
    "const q = (s) => [...document.querySelectorAll(s)].filter((e) => e.checkVisibility());"
    "const text = (e) => (e.getAttribute('aria-label') || e.innerText || '').trim();"
    "const bad = (what, list) => list.map((e) => what + ': ' + e.outerHTML.slice(0, 120));"
    "return [...bad('no label', q('input, select, textarea').filter((e) =>"
    "    !e.labels.length && !e.hasAttribute('aria-label'))),"
    "  ...bad('no name', q('button, a').filter((e) => !text(e))),"
    "  ...bad('no caption', q('table').filter((e) => !e.caption?.textContent)),"
    "  ...bad('no scope', q('th:not([scope])')),"
    "  ...bad('no text', q('[role=img]:not([aria-label]), img:not([alt])')),"
    "  ...(q('h1').length === 1 ? [] : [q('h1').length + ' h1'])].join('\\n');";

/* Pairs of colours whose contrast (WCAG 2) is under 4.5, in the theme that is on. */
static const char faint[] =
    "const style = getComputedStyle(document.documentElement);"
    "const light = (name) => {"
    "  let hex = style.getPropertyValue('--' + name).trim().slice(1);"
    "  if (hex.length === 3) hex = hex.replace(/./g, '$&$&');"
    "  const [r, g, b] = hex.match(/../g).map((x) => parseInt(x, 16) / 255)"
    "    .map((x) => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);"
    "  return 0.2126 * r + 0.7152 * g + 0.0722 * b;"
    "};"
    "const grounds = {text: 'bg surface raised hover current ok-bg warn-bg bad-bg info-bg "
    "plain-bg',"
    "  dim: 'bg surface raised hover plain-bg', accent: 'bg surface raised warn-bg bad-bg info-bg',"
    "  ok: 'ok-bg', warn: 'warn-bg', bad: 'bad-bg surface', info: 'info-bg', 'on-accent': "
    "'accent'};"
    "const out = [];"
    "for (const [ink, names] of Object.entries(grounds)) for (const name of names.split(' ')) {"
    "  const [a, c] = [light(ink), light(name)].sort((x, y) => y - x);"
    "  const contrast = (a + 0.05) / (c + 0.05);"
    "  if (!(contrast >= 4.5)) out.push(ink + ' on ' + name + ': ' + contrast.toFixed(2));"
    "}"
    "return out.join(', ');";

static void each_view_shows_what_there_is(struct rig_id id)
{
    for (int i = 0; i < NVIEWS; i++) {
        open_view(i, id);
        const char *missing = browser_js(b, unnamed);
        cr_expect_str_eq(missing, "\"\"", "%s: %s", views[i].name, missing);
        browser_shot(b, harness_text("light-%s", views[i].name));
    }
    cr_expect_str_eq(browser_js(b, faint), "\"\"", "light: %s", browser_js(b, faint));
    open_view(4, id);
    browser_await_text(b, "main .stacked", "keyword index");
    browser_await_js(b, "return document.querySelector('.stacked .part3').offsetWidth > 50");
}

#define GROUND "return getComputedStyle(document.body).backgroundColor === "
static void it_is_dark_for_whoever_likes_it_dark(struct rig_id id)
{
    browser_dark(b, true);
    browser_await_js(b, GROUND "'rgb(14, 19, 23)'");
    cr_expect_str_eq(browser_js(b, faint), "\"\"", "dark: %s", browser_js(b, faint));
    static const int some[] = {0, 2, 6};
    for (size_t i = 0; i < sizeof(some) / sizeof(*some); i++) {
        open_view(some[i], id);
        browser_shot(b, harness_text("dark-%s", views[some[i]].name));
    }
    browser_click(b, "[data-action=theme]");
    browser_await_js(b, GROUND "'rgb(245, 246, 248)'");
    browser_open(b, "http://127.0.0.1:%d/dashboard", rig.producer_port);
    browser_await_js(b, GROUND "'rgb(245, 246, 248)'"); /* that choice is kept */
    browser_dark(b, false);
}

static void on_a_narrow_screen_nothing_is_wider_than_it(struct rig_id id)
{
    browser_size(b, 400, 800);
    for (int i = 0; i < NVIEWS; i++) {
        open_view(i, id);
        browser_await_js(b, "return document.documentElement.scrollWidth === 400");
        browser_shot(b, harness_text("narrow-%s", views[i].name));
    }
    cr_assert(!browser_has(b, "#nav"));
    browser_click(b, "[data-action=menu]");
    browser_await(b, "#nav a");
    browser_shot(b, "narrow-menu");
    browser_click(b, "#nav a[href='#/workers']");
    browser_await(b, "main[data-view=workers]");
    browser_await_gone(b, "#nav");
    browser_size(b, 1280, 800);
}

static void dead_letters_are_put_back_after_a_look_at_them(struct rig_id id)
{
    go("#/dead");
    browser_type(b, "[name=url]", RIG_SITE "/flaky/1/quay");
    browser_await_gone(b, "tr[data-href] .cut[title$='/target/404']");
    browser_type(b, "[name=reason]", "the quay is back");
    browser_click(b, "[data-action=redrive-preview]");
    browser_await_text(b, "dialog", "1 failed event of 1 page would be queued again");
    browser_await_text(b, "dialog .sample", "/flaky/1/quay");
    browser_shot(b, "redrive-preview");
    cr_assert(rig_status_is(&rig, id, "failed: Firecrawl answered 500"),
        "nothing is done before one says so");
    browser_click(b, "[data-action=redrive-apply]");
    browser_await_gone(b, "dialog");
    browser_await_text(b, "main", "1 of 1");
    WAIT_FOR(rig_status_is(&rig, id, "completed"), 20000);
    browser_await_text(b, "main", "No failed event is like that");
    cr_assert_eq(sql_int(rig.db,
                     "SELECT count(*) FROM webhook.operator_log WHERE reason = 'the quay is back'"),
        1);
    no_complaints("a redrive");
}

static void workers_and_queues_do_as_they_are_told(void)
{
    go("#/workers");
    browser_click(b, "[data-action=quiet]");
    browser_await(b, ".badge[data-status=quiet]");
    browser_shot(b, "workers-quiet");
    browser_click(b, "[data-action=unquiet]");
    browser_await_gone(b, ".badge[data-status=quiet]");
    browser_click(b, "[data-action=pause][data-queue=change]");
    browser_type(b, "dialog [name=answer]", "the shop moves");
    browser_click(b, "[data-action=pause-apply]");
    browser_await(b, "[data-action=resume][data-queue=change]");
    go("#/overview");
    browser_await(b, ".alert[data-what=paused]");
    browser_click(b, ".alert[data-what=paused] a");
    browser_click(b, "main[data-view=system] [data-action=resume]");
    browser_await_gone(b, "[data-action=resume]");
    browser_click(b, "[data-action=log-level]");
    browser_click(b, "[data-action=log-level-end]");
    browser_await_gone(b, "[data-action=log-level-end]");
    no_complaints("orders");
}

/* The newest value of the line of that name, as the legend says it. */
static void the_charts_show_what_was_done(void)
{
    go("#/overview");
    browser_await(b, ".chart .plot canvas");
    browser_await_js(b, "return [...document.querySelectorAll('.chart')].every((c) =>"
                        "  c.querySelector('.nothing').hidden)");
    browser_await_js(b, "return Number.parseFloat(document.querySelector("
                        "  '.chart[aria-label=Latency] .keys b').textContent) > 0");
    browser_shot(b, "overview");
}

Test(dashboard, an_operator_sees_everything_and_sets_it_right)
{
    START();
    rig_fleet(&rig, 2,
        RIG_ENV("WEBHOOK_WORKERS=2", "WEBHOOK_MAX_ATTEMPTS=1", "WEBHOOK_BREAKER_FAILURES=0"));
    struct rig_id id = busy_day();
    sign_in(RIG_API_SECRET, "");
    each_view_shows_what_there_is(id);
    on_a_narrow_screen_nothing_is_wider_than_it(id);
    it_is_dark_for_whoever_likes_it_dark(id);
    the_charts_show_what_was_done();
    dead_letters_are_put_back_after_a_look_at_them(id);
    workers_and_queues_do_as_they_are_told();
    rig_release(&rig);
    finish();
}

/* --- who may only look, and old browsers ------------------------------------------------- */

static void nothing_there_writes(const char *where, const char *says)
{
    go(where);
    browser_await_text(b, "main", says);
    cr_assert_eq(browser_count(b, "main button[data-write]"), 0, "%s", where);
    cr_assert(!browser_has(b, "main [data-write]"), "%s", where);
    no_complaints(where);
}

Test(dashboard, who_may_only_look_is_shown_no_way_to_write_and_has_none)
{
    START();
    rig_fleet(&rig, 1, RIG_ENV("WEBHOOK_MAX_ATTEMPTS=1", "WEBHOOK_BREAKER_FAILURES=0"));
    struct rig_id id = failed_event("/target/404");
    /* A browser, or a proxy, that knows no event streams. */
    browser_prepare(b, "delete window.EventSource");
    sign_in(RIG_READ_SECRET, "");
    browser_await_text(b, "#top", "read only");
    nothing_there_writes("#/overview", "1 event failed for good");
    nothing_there_writes(harness_text("#/events/%s", id.text), "target answered 404");
    nothing_there_writes("#/dead", "target answered 404");
    nothing_there_writes("#/workers", "1 process on 1 host");
    nothing_there_writes("#/system", "015_");
    browser_shot(b, "read-only");
    cr_assert_str_eq(
        browser_js(b, "const who = await fetch('/dashboard/session').then((r) => r.json());"
                      "return fetch('/api/redrives', {method: 'POST', body: '{\"filter\":{}}',"
                      "  headers: {'Content-Type': 'application/json', 'X-CSRF-Token': who.csrf}})"
                      "  .then((r) => r.status);"),
        "403");
    cr_assert(strstr(browser_complaints(b), "403"), "the browser tells of the refusal itself");
    cr_assert(rig_status_is(&rig, id, "failed: target answered 404"));

    browser_await(b, ".live[data-state=polling]");
    go("#/events");
    browser_await(b, row_of(id));
    browser_await(b, badge_of(rig_post(&rig, "/ok/lighthouse"), "completed"));
    finish();
}
