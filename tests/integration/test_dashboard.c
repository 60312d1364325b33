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

static void finish(void)
{
    cr_assert_str_eq(browser_complaints(b), "");
    browser_stop(b);
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

Test(dashboard, only_the_secret_opens_it_and_the_session_outlives_a_reload)
{
    START();
    browser_open(b, "http://127.0.0.1:%d/dashboard", rig.producer_port);
    browser_type(b, "#secret", "not-the-secret-of-this-installation-at-all");
    browser_click(b, "#sign-in");
    browser_await_text(b, "main [role=alert]", "Invalid credentials");
    cr_assert(strstr(browser_complaints(b), "401"), "the browser tells of the refusal itself");
    browser_await(b, "#sign-in:enabled");
    browser_shot(b, "sign-in");
    browser_type(b, "#secret", RIG_API_SECRET);
    browser_click(b, "#sign-in");
    browser_await(b, "main[data-view=overview]");
    cr_assert_str_eq(browser_js(b, "return document.cookie"), "\"\"", "scripts see no session");
    browser_open(b, "http://127.0.0.1:%d/dashboard#/events", rig.producer_port);
    browser_await(b, "main[data-view=events]");
    cr_assert_str_eq(browser_js(b, "return localStorage.length + sessionStorage.length"), "0");
    browser_click(b, "[data-action=sign-out]");
    browser_await(b, "#secret");
    browser_open(b, "http://127.0.0.1:%d/dashboard#/workers", rig.producer_port);
    browser_await(b, "#secret");
    finish();
}

Test(dashboard, a_session_that_ends_leads_to_the_sign_in_and_back_to_where_one_was)
{
    START();
    sign_in(RIG_API_SECRET, "#/workers");
    browser_await(b, "main[data-view=workers]");
    browser_forget(b);
    browser_js(b, "location.hash = '#/sources'");
    browser_await(b, "#secret");
    browser_type(b, "#secret", RIG_API_SECRET);
    browser_click(b, "#sign-in");
    browser_await(b, "main[data-view=sources]");
    browser_stop(b);
}

/* --- events ------------------------------------------------------------------------------ */

Test(dashboard, an_event_appears_and_completes_before_ones_eyes)
{
    START();
    rig_fleet(&rig, 1, NULL);
    sign_in(RIG_API_SECRET, "#/events");
    browser_await_text(b, "main[data-view=events]", "No events yet");
    browser_shot(b, "events-empty");
    browser_js(b, "window.sameDocument = true");
    struct rig_id id = rig_post(&rig, "/hold/harbour");
    browser_await(b, badge_of(id, "in_progress"));
    rig_release(&rig);
    browser_await(b, badge_of(id, "completed"));
    cr_assert_str_eq(browser_js(b, "return window.sameDocument"), "true", "it was not reloaded");

    browser_click(b, row_of(id));
    browser_await(b, "main[data-view=event]");
    browser_await_text(b, "main", RIG_SITE "/hold/harbour");
    browser_await(b, "main[data-view=event] .badge[data-status=completed]");
    browser_await_text(b, ".timeline", "Completed");
    browser_await_text(b, "main", "Scraped");
    browser_shot(b, "event");
    finish();
}

Test(dashboard, filters_and_search_find_what_they_should)
{
    START();
    rig_fleet(&rig, 1, NULL);
    struct rig_id bad = failed_event("/target/404");
    struct rig_id good = rig_post(&rig, "/ok/lighthouse");
    struct rig_id other = rig_post(&rig, "/ok/windmill");
    WAIT_FOR(
        rig_status_is(&rig, other, "completed") && rig_status_is(&rig, good, "completed"), 20000);
    sign_in(RIG_API_SECRET, "#/events");
    browser_await(b, row_of(bad));
    browser_await(b, row_of(other));

    browser_type(b, "[name=search]", "LightHouse");
    browser_await(b, row_of(good));
    browser_await_gone(b, row_of(other));
    browser_await_gone(b, row_of(bad));
    browser_type(b, "[name=search]", other.text);
    browser_await(b, row_of(other));
    browser_await_gone(b, row_of(good));

    browser_open(b, "http://127.0.0.1:%d/dashboard#/events?status=failed", rig.producer_port);
    browser_await(b, row_of(bad));
    browser_await_gone(b, row_of(other));
    browser_await_text(b, row_of(bad), "404");
    browser_type(b, "[name=search]", "nowhere to be found");
    browser_await_text(b, "main", "No event is like that");
    finish();
}

Test(dashboard, a_failed_event_is_tried_again_and_completes)
{
    START();
    rig_fleet(&rig, 1, RIG_ENV("WEBHOOK_MAX_ATTEMPTS=1", "WEBHOOK_BREAKER_FAILURES=0"));
    struct rig_id id = failed_event("/flaky/1/quay");
    sign_in(RIG_API_SECRET, harness_text("#/events/%s", id.text));
    browser_await(b, "main[data-view=event] .badge[data-status=failed]");
    browser_shot(b, "event-failed");
    browser_click(b, "[data-action=retry]");
    browser_await(b, "main[data-view=event] .badge[data-status=completed]");
    browser_await_gone(b, "[data-action=retry]");
    cr_assert(rig_status_is(&rig, id, "completed"));
    cr_assert_eq(sql_int(rig.db, "SELECT count(*) FROM webhook.operator_log"), 1);
    finish();
}

/* What a stranger can put into an event is text, wherever it is shown. */
Test(dashboard, markup_from_outside_is_only_text)
{
    START();
    sign_in(RIG_API_SECRET, "#/events");
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
    cr_assert_eq(browser_count(b, "main img, main script, main b:not([class])[onerror]"), 0);
    finish();
}

Test(dashboard, ten_thousand_events_are_a_list_like_any_other)
{
    START();
    sql_exec(rig.db,
        "INSERT INTO webhook.change_events (event_id, watch_id, watch_url, detected_at,"
        "  rescrape_job_id, rescrape_status, finished_at)"
        " SELECT gen_random_uuid(), 'w', 'http://shop.test/article/' || i, now(), 'x',"
        "  'completed', now() FROM generate_series(1, 10000) i");
    sign_in(RIG_API_SECRET, "#/events");
    browser_await_text(b, "main", "/article/10000");
    /* To the end, as fast as the pages come. */
    int64_t end = harness_now_ms() + 60000;
    while (!strstr(browser_text(b, "main"), "/article/1\n") && harness_now_ms() < end) {
        browser_js(
            b, "const v = document.querySelector('.virtual'); v.scrollTop = v.scrollHeight;");
        usleep(20000);
    }
    browser_await_text(b, "main .virtual", "/article/1\n");
    cr_assert_lt(browser_count(b, "main *"), 2000, "only what can be seen is in the document");
    browser_js(b, "document.querySelector('.virtual').scrollTop = 0");
    browser_await_text(b, "main", "/article/10000");
    finish();
}

/* --- keys -------------------------------------------------------------------------------- */

Test(dashboard, it_can_be_used_with_the_keyboard_alone)
{
    START();
    struct rig_id old = rig_post(&rig, "/ok/old"), new = rig_post(&rig, "/ok/new");
    sign_in(RIG_API_SECRET, "");
    browser_await(b, "main[data-view=overview]");
    browser_press(b, "ge");
    browser_await(b, row_of(old));
    browser_await(b, row_of(new));
    browser_press(b, "jj" BROWSER_ENTER);
    browser_await_text(b, "main[data-view=event]", RIG_SITE "/ok/old");
    browser_press(b, "/");
    browser_await(b, "main[data-view=events] [name=search]:focus");
    browser_press(b, "new" BROWSER_ESCAPE);
    browser_await_gone(b, row_of(old));
    browser_press(b, "?");
    browser_await(b, "dialog[open]");
    browser_press(b, BROWSER_ESCAPE);
    browser_await_gone(b, "dialog[open]");
    browser_press(b, "gw");
    browser_await(b, "main[data-view=workers]");
    finish();
}
