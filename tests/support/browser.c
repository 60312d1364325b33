/* browser: see browser.h. */
#include "tests/support/browser.h"

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "tests/support/harness_private.h"

#include <curl/curl.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ELEMENT "element-6066-11e4-a52e-4f735466cecf" /* key of a reference, by the protocol */

enum { START_MS = 30000, STOP_MS = 10000, ANSWER_MS = 60000 };

struct browser {
    struct test_proc *driver;
    CURL *http;
    int port;
    char *session;
};

/* --- the protocol ------------------------------------------------------------------------ */

static size_t take(char *data, size_t size, size_t n, void *ctx)
{
    buf_append(ctx, data, size * n);
    return size * n;
}

/* The answer's body in *out; its status. One connection for all of them. */
static long exchange(
    struct browser *b, const char *method, const char *path, const char *body, struct buf *out)
{
    long status = 0;
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    curl_easy_reset(b->http);
    curl_easy_setopt(b->http, CURLOPT_URL, harness_text("http://127.0.0.1:%d%s", b->port, path));
    curl_easy_setopt(b->http, CURLOPT_CUSTOMREQUEST, method);
    if (body)
        curl_easy_setopt(b->http, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(b->http, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(b->http, CURLOPT_PROXY, "");
    curl_easy_setopt(b->http, CURLOPT_TIMEOUT_MS, (long)ANSWER_MS);
    curl_easy_setopt(b->http, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(b->http, CURLOPT_WRITEDATA, out);
    CURLcode rc = curl_easy_perform(b->http);
    if (rc != CURLE_OK)
        harness_fail("chromedriver, %s %s: %s", method, path, curl_easy_strerror(rc));
    curl_easy_getinfo(b->http, CURLINFO_RESPONSE_CODE, &status);
    curl_slist_free_all(headers);
    return status;
}

/* The "value" of the answer; caller: json_decref. NULL: an error, whose name is in *error (kept); an
 * element that is not there, or not there any more, is the only one that does not fail the test. */
static json_t *call(
    struct browser *b, const char *method, const char *command, json_t *body, const char **error)
{
    const char *path = b->session ? harness_text("/session/%s%s", b->session, command) : command;
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    struct buf out = {0};
    struct hl_err err;
    long status = exchange(b, method, path, text, &out);
    json_t *root = json_parse(buf_str(&out), out.len, &err);
    json_t *value = json_incref(json_object_get(root, "value"));
    *error = NULL;
    if (status != 200) {
        const char *name = json_string_value(json_object_get(value, "error"));
        if (!name || !strstr(name, "element"))
            harness_fail("%s %s: %.2000s", method, path, buf_str(&out));
        *error = harness_keep(mem_strdup(name));
        json_decref(value);
        value = NULL;
    }
    json_decref(root);
    json_decref(body);
    buf_release(&out);
    free(text);
    return value;
}

/* One that has to work. */
static json_t *must(struct browser *b, const char *method, const char *command, json_t *body)
{
    const char *error;
    json_t *value = call(b, method, command, body, &error);
    if (error)
        harness_fail("%s %s: %s", method, command, error);
    return value;
}

static void do_it(struct browser *b, const char *method, const char *command, json_t *body)
{
    json_decref(must(b, method, command, body));
}

/* --- life -------------------------------------------------------------------------------- */

static const char *find_program(const char *name)
{
    static const char *const folders[] = {"/usr/bin", "/usr/local/bin", "/snap/bin"};
    for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++) {
        const char *path = harness_text("%s/%s", folders[i], name);
        if (access(path, X_OK) == 0)
            return path;
    }
    return NULL;
}

/* Everything that would reach out for the network is off; it ends with the pipe to its driver. */
static json_t *wishes(const char *chromium)
{
    static const char *const switches[] = {"--headless=new", "--no-sandbox", "--disable-gpu",
        "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--disable-default-apps",
        "--disable-dev-shm-usage", "--force-device-scale-factor=1", "--hide-scrollbars",
        "--remote-debugging-pipe"};
    json_t *args = json_array();
    for (size_t i = 0; i < sizeof(switches) / sizeof(*switches); i++)
        json_array_append_new(args, json_string(switches[i]));
    json_array_append_new(
        args, json_sprintf("--user-data-dir=%s/browser-%d", harness_dir(), (int)getpid()));
    return json_pack("{s:{s:{s:{s:s, s:o}, s:{s:s}}}}", "capabilities", "alwaysMatch",
        "goog:chromeOptions", "binary", chromium, "args", args, "goog:loggingPrefs", "browser",
        "ALL");
}

struct browser *browser_start(void)
{
    const char *chromium = find_program("chromium"), *driver = find_program("chromedriver");
    if (!chromium || !driver) {
        if (getenv("CI"))
            harness_fail("chromium and chromium-driver are missing: make deps-test installs them");
        return NULL;
    }
    struct browser *b = mem_new(struct browser);
    b->http = curl_easy_init();
    b->port = harness_free_port();
    b->driver = test_proc_start(
        (const char *const[]){driver, harness_text("--port=%d", b->port), NULL}, NULL, -1);
    WAIT_FOR(test_proc_logged(b->driver, "started successfully"), START_MS);
    json_t *made = must(b, "POST", "/session", wishes(chromium));
    b->session = mem_strdup(json_string_value(json_object_get(made, "sessionId")));
    json_decref(made);
    browser_size(b, 1280, 800);
    return b;
}

void browser_stop(struct browser *b)
{
    if (!b)
        return;
    do_it(b, "DELETE", "", NULL);
    test_proc_signal(b->driver, SIGTERM);
    test_proc_wait(b->driver, STOP_MS);
    curl_easy_cleanup(b->http);
    free(b->session);
    free(b);
}

/* --- scripts ----------------------------------------------------------------------------- */

/* Caller: json_decref. argument NULL = none. */
static json_t *script(struct browser *b, const char *body, const char *argument, const char *second)
{
    json_t *args = json_array();
    if (argument)
        json_array_append_new(args, json_string(argument));
    if (second)
        json_array_append_new(args, json_string(second));
    return must(b, "POST", "/execute/sync", json_pack("{s:s, s:o}", "script", body, "args", args));
}

const char *browser_js(struct browser *b, const char *body)
{
    json_t *value = script(b, body, NULL, NULL);
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    json_decref(value);
    return harness_hold(text);
}

static bool is_true(struct browser *b, const char *body, const char *a, const char *c)
{
    json_t *value = script(b, body, a, c);
    bool yes = json_is_true(value);
    json_decref(value);
    return yes;
}

static const char *text_of(struct browser *b, const char *body, const char *a, const char *c)
{
    json_t *value = script(b, body, a, c);
    const char *text = json_is_string(value) ? json_string_value(value) : "";
    text = harness_keep(mem_strdup(text));
    json_decref(value);
    return text;
}

#define SEEN                                                                                       \
    "const e = document.querySelector(arguments[0]);"                                              \
    "const seen = e && e.checkVisibility({checkOpacity: true, checkVisibilityCSS: true});"

bool browser_has(struct browser *b, const char *selector)
{
    return is_true(b, SEEN "return !!seen;", selector, NULL);
}

int browser_count(struct browser *b, const char *selector)
{
    json_t *n = script(b, "return document.querySelectorAll(arguments[0]).length;", selector, NULL);
    int count = (int)json_integer_value(n);
    json_decref(n);
    return count;
}

const char *browser_text(struct browser *b, const char *selector)
{
    return text_of(b, SEEN "return seen ? e.innerText : '';", selector, NULL);
}

const char *browser_attribute(struct browser *b, const char *selector, const char *name)
{
    return text_of(b, SEEN "return e ? e.getAttribute(arguments[1]) : null;", selector, name);
}

/* --- waiting ----------------------------------------------------------------------------- */

static void await(struct browser *b, bool (*met)(struct browser *, const char *, const char *),
    const char *selector, const char *part, const char *what)
{
    int64_t end = harness_now_ms() + BROWSER_PATIENCE_MS;
    while (!met(b, selector, part)) {
        if (harness_now_ms() > end)
            harness_fail("%s: %s %s; the page says:\n%.3000s\n%s", selector, what, part ? part : "",
                browser_text(b, "body"), browser_complaints(b));
        usleep(50000);
    }
}

static bool there(struct browser *b, const char *selector, const char *part)
{
    (void)part;
    return browser_has(b, selector);
}

static bool gone(struct browser *b, const char *selector, const char *part)
{
    (void)part;
    return !browser_has(b, selector);
}

static bool says(struct browser *b, const char *selector, const char *part)
{
    return is_true(b, SEEN "return !!seen && e.innerText.includes(arguments[1]);", selector, part);
}

void browser_await(struct browser *b, const char *selector)
{
    await(b, there, selector, NULL, "is not there");
}

void browser_await_gone(struct browser *b, const char *selector)
{
    await(b, gone, selector, NULL, "is still there");
}

void browser_await_text(struct browser *b, const char *selector, const char *part)
{
    await(b, says, selector, part, "does not say");
}

static bool holds(struct browser *b, const char *body, const char *part)
{
    (void)part;
    return is_true(b, body, NULL, NULL);
}

void browser_await_js(struct browser *b, const char *body)
{
    await(b, holds, body, NULL, "is not true");
}

/* --- hands ------------------------------------------------------------------------------- */

void browser_open(struct browser *b, const char *fmt, ...)
{
    va_list ap;
    struct buf url = {0};
    va_start(ap, fmt);
    buf_vprintf(&url, fmt, ap);
    va_end(ap);
    do_it(b, "POST", "/url", json_pack("{s:s}", "url", buf_str(&url)));
    buf_release(&url);
}

void browser_size(struct browser *b, int width, int height)
{
    json_t *params = json_pack("{s:i, s:i, s:i, s:b}", "width", width, "height", height,
        "deviceScaleFactor", 1, "mobile", 0);
    do_it(b, "POST", "/goog/cdp/execute",
        json_pack("{s:s, s:o}", "cmd", "Emulation.setDeviceMetricsOverride", "params", params));
}

void browser_dark(struct browser *b, bool on)
{
    json_t *params = json_pack("{s:[{s:s, s:s}]}", "features", "name", "prefers-color-scheme",
        "value", on ? "dark" : "light");
    do_it(b, "POST", "/goog/cdp/execute",
        json_pack("{s:s, s:o}", "cmd", "Emulation.setEmulatedMedia", "params", params));
}

void browser_forget(struct browser *b)
{
    do_it(b, "DELETE", "/cookie", NULL);
}

void browser_prepare(struct browser *b, const char *script)
{
    do_it(b, "POST", "/goog/cdp/execute",
        json_pack("{s:s, s:{s:s}}", "cmd", "Page.addScriptToEvaluateOnNewDocument", "params",
            "source", script));
}

/* A page that is drawn anew may take an element away between finding and using it: once more, then. */
static void act(struct browser *b, const char *selector, const char *action, const char *text)
{
    int64_t end = harness_now_ms() + BROWSER_PATIENCE_MS;
    for (const char *error = "no such element"; error;) {
        if (harness_now_ms() > end)
            harness_fail("%s: no %s: %s", selector, action, error);
        browser_await(b, selector);
        json_t *found = call(b, "POST", "/element",
            json_pack("{s:s, s:s}", "using", "css selector", "value", selector), &error);
        if (error)
            continue;
        const char *id = json_string_value(json_object_get(found, ELEMENT));
        json_decref(call(b, "POST", harness_text("/element/%s/%s", id, action),
            text ? json_pack("{s:s}", "text", text) : json_object(), &error));
        json_decref(found);
        if (error)
            usleep(50000);
    }
}

void browser_click(struct browser *b, const char *selector)
{
    act(b, selector, "click", NULL);
}

void browser_type(struct browser *b, const char *selector, const char *text)
{
    act(b, selector, "clear", NULL);
    act(b, selector, "value", text);
}

/* Characters of UTF-8, one key each. */
void browser_press(struct browser *b, const char *keys)
{
    json_t *steps = json_array();
    for (size_t len; *keys; keys += len) {
        for (len = 1; ((unsigned char)keys[len] & 0xc0) == 0x80;)
            len++;
        for (int up = 0; up < 2; up++)
            json_array_append_new(steps,
                json_pack("{s:s, s:s%}", "type", up ? "keyUp" : "keyDown", "value", keys, len));
    }
    do_it(b, "POST", "/actions",
        json_pack(
            "{s:[{s:s, s:s, s:o}]}", "actions", "type", "key", "id", "keys", "actions", steps));
}

/* --- what can be seen -------------------------------------------------------------------- */

/* RFC 4648 section 4, as the protocol sends it. */
static size_t decode_base64(const char *s, unsigned char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned bits = 0, n = 0;
    size_t len = 0;
    for (const char *d; *s && (d = strchr(digits, *s)); s++) {
        bits = bits << 6 | (unsigned)(d - digits);
        n += 6;
        if (n >= 8)
            out[len++] = (unsigned char)(bits >> (n -= 8));
    }
    return len;
}

void browser_shot(struct browser *b, const char *name)
{
    const char *folder = harness_text("%s/screenshots", harness_build());
    if (mkdir(folder, 0755) < 0 && errno != EEXIST)
        harness_fail("%s: %s", folder, strerror(errno));
    json_t *shot = must(b, "GET", "/screenshot", NULL);
    const char *text = json_string_value(shot);
    unsigned char *png = mem_alloc(strlen(text));
    size_t len = decode_base64(text, png);
    FILE *f = fopen(harness_text("%s/%s.png", folder, name), "we");
    if (!f || fwrite(png, 1, len, f) != len || fclose(f) != 0)
        harness_fail("%s/%s.png: %s", folder, name, strerror(errno));
    free(png);
    json_decref(shot);
}

const char *browser_complaints(struct browser *b)
{
    struct buf out = {0};
    size_t i;
    json_t *line, *lines = must(b, "POST", "/se/log", json_pack("{s:s}", "type", "browser"));
    json_array_foreach(lines, i, line)
    {
        const char *level = json_string_value(json_object_get(line, "level"));
        if (strcmp(level, "SEVERE") == 0 || strcmp(level, "WARNING") == 0)
            buf_printf(&out, "%s\n", json_string_value(json_object_get(line, "message")));
    }
    json_decref(lines);
    return harness_keep(buf_detach(&out));
}
