/* browser: a real Chromium, headless, driven through chromedriver by the WebDriver protocol (W3C
 * WebDriver level 2). All calls are synchronous and fail the test on trouble; what looks for something
 * waits for it, up to BROWSER_PATIENCE_MS. Elements are named by CSS selectors; the first that fits is
 * meant. One browser a test, with an empty profile. */
#ifndef HL_TESTS_BROWSER_H
#define HL_TESTS_BROWSER_H

#include <stdbool.h>

enum { BROWSER_PATIENCE_MS = 20000 };

struct browser;

/* NULL: Debian's chromium and chromium-driver are not here, and CI (environment) does not demand them:
 * the test is to be skipped, saying so. */
struct browser *browser_start(void);
void browser_stop(struct browser *b); /* NULL ok */

void browser_open(struct browser *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void browser_size(struct browser *b, int width, int height); /* of the page, in CSS pixels */
void browser_dark(struct browser *b, bool on);               /* what the viewer's system prefers */

void browser_forget(struct browser *b); /* its cookies are gone */
/* Every page opened from now on runs this first. */
void browser_prepare(struct browser *b, const char *script);

bool browser_has(struct browser *b, const char *selector); /* now */
int browser_count(struct browser *b, const char *selector);
void browser_await(struct browser *b, const char *selector); /* it is there and can be seen */
void browser_await_gone(struct browser *b, const char *selector);
/* Its visible text has this in it. */
void browser_await_text(struct browser *b, const char *selector, const char *part);
const char *browser_text(struct browser *b, const char *selector); /* visible; "" = none; kept */
const char *browser_attribute(struct browser *b, const char *selector, const char *name);
void browser_click(struct browser *b, const char *selector);
void browser_type(
    struct browser *b, const char *selector, const char *text); /* in place of its value */
void browser_press(struct browser *b, const char *keys);        /* to whatever has the focus */
#define BROWSER_ENTER  "\xEE\x80\x87"                           /* U+E007 */
#define BROWSER_ESCAPE "\xEE\x80\x8C"                           /* U+E00C */
#define BROWSER_TAB    "\xEE\x80\x84"                           /* U+E004 */

/* The value that a function body returns, or a promise of it, as JSON; kept. */
const char *browser_js(struct browser *b, const char *body);
/* It returns true, sooner or later. */
void browser_await_js(struct browser *b, const char *body);

/* The page as it looks, into BUILD/screenshots/NAME.png. */
void browser_shot(struct browser *b, const char *name);
/* What the console got since the last call: errors and warnings, failed requests and violations of
 * the Content-Security-Policy included; one a line; "" = nothing. Kept. */
const char *browser_complaints(struct browser *b);

#endif
