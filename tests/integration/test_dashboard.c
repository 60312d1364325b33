/* The dashboard, in a real browser: what its users do. Screenshots land in build/screenshots/. */
#include "tests/support/browser.h"
#include "tests/support/fleet.h"

#include <criterion/criterion.h>

TestSuite(dashboard, .timeout = 120);

Test(dashboard, smoke)
{
    struct rig r;
    struct browser *b = browser_start();
    if (!b)
        cr_skip_test("no chromium");
    rig_start(&r);
    browser_open(b, "http://127.0.0.1:%d/", r.producer_port);
    browser_await_text(b, "body", "running");
    browser_dark(b, true);
    cr_assert_str_eq(browser_js(b, "return matchMedia('(prefers-color-scheme: dark)').matches"), "true");
    browser_size(b, 400, 800);
    cr_assert_str_eq(browser_js(b, "return innerWidth"), "400");
    browser_shot(b, "smoke");
    cr_assert_str_eq(browser_complaints(b), "");
    browser_stop(b);
}
