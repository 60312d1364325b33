/* signin: see signin.h. */
#include "producer/signin.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/timestamp.h"
#include "producer/client.h"
#include "producer/session.h"
#include "producer/slowdown.h"
#include "producer/stores.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct signins {
    struct loop *loop;
    struct list waiting; /* of attempt: their answers are due later */
    struct slowdown failures;
};

struct attempt {
    struct list_node node;
    struct stores *stores;
    struct httpd_req *req;
    struct timer due;
    char client[CLIENT_LEN + 1];
};

struct signins *signins_new(struct loop *l)
{
    struct signins *s = mem_new(struct signins);
    s->loop = l;
    list_init(&s->waiting);
    return s;
}

void signins_free(struct signins *s)
{
    if (!s)
        return;
    for (struct list_node *n; (n = list_first(&s->waiting));) {
        struct attempt *a = LIST_OF(n, struct attempt, node);
        list_remove(&s->waiting, n);
        timer_stop(&a->due);
        free(a);
    }
    free(s);
}

/* --- answers ----------------------------------------------------------------------------- */

static void attempt_free(struct attempt *a)
{
    timer_stop(&a->due);
    stores_intake_ends(a->stores);
    free(a);
}

static void say_session(
    struct httpd_req *req, const struct config *cfg, const struct session *session)
{
    char until[TIMESTAMP_ISO_LEN + 1], csrf[SESSION_CSRF_LEN + 1];
    struct buf b = {0};
    timestamp_iso(session->expires_s * 1000000, until);
    session_csrf(cfg, session, csrf);
    buf_putc(&b, '{');
    json_put_text(&b, "role", session->right == SESSION_WRITES ? "write" : "read");
    json_put_text(&b, "expires_at", until);
    json_put_text(&b, "csrf", csrf);
    buf_putc(&b, '}');
    httpd_add_header(req, "Cache-Control", "no-store");
    httpd_reply(req, 200, "application/json", b.data, b.len);
    buf_release(&b);
}

static void set_cookie(struct httpd_req *req, const char *value, int seconds)
{
    struct buf b = {0};
    buf_printf(&b, "%s=%s; Path=/; HttpOnly; SameSite=Strict; Max-Age=%d%s", SESSION_COOKIE, value,
        seconds, client_is_secure(req) ? "; Secure" : "");
    httpd_add_header(req, "Set-Cookie", b.data);
    buf_release(&b);
}

static void refuse(struct httpd_req *req, int status, const char *why)
{
    httpd_add_header(req, "Cache-Control", "no-store");
    if (status == 401)
        httpd_add_header(req, "WWW-Authenticate", "Bearer");
    httpd_reply_detail(req, status, "%s", why);
}

static void refuse_for(struct httpd_req *req, int64_t wait_ms)
{
    char seconds[24];
    snprintf(seconds, sizeof(seconds), "%lld", (long long)(wait_ms + 999) / 1000);
    httpd_add_header(req, "Retry-After", seconds);
    refuse(req, 429, "Too many attempts to sign in; try again later");
}

/* --- an attempt -------------------------------------------------------------------------- */

static void signed_in(struct attempt *a, enum session_right right)
{
    const struct config *cfg = a->stores->cfg;
    char cookie[SESSION_LEN + 1];
    struct session session = {
        .right = right, .expires_s = clock_wall_us() / 1000000 + SESSION_SECONDS};
    if (RAND_bytes(session.id, sizeof(session.id)) != 1)
        abort(); /* without randomness there is no session */
    slowdown_forgive(&a->stores->signins->failures, a->client);
    log_info("signed_in", LOG_S("right", right == SESSION_WRITES ? "write" : "read"),
        LOG_S("peer", a->client));
    session_write(cfg, &session, cookie);
    set_cookie(a->req, cookie, SESSION_SECONDS);
    say_session(a->req, cfg, &session);
    attempt_free(a);
}

static void answer_failed(void *ctx)
{
    struct attempt *a = ctx;
    struct signins *s = a->stores->signins;
    int64_t early_ms = slowdown_wait_ms(&s->failures, a->client, clock_mono_ms());
    if (early_ms) { /* the loop's clock is a coarse one; who has its answer may try again at once */
        timer_start(&a->due, early_ms);
        return;
    }
    list_remove(&s->waiting, &a->node);
    refuse(a->req, 401, "Invalid credentials");
    attempt_free(a);
}

static void failed(struct attempt *a)
{
    struct signins *s = a->stores->signins;
    int64_t delay = slowdown_failed(&s->failures, a->client, clock_mono_ms());
    log_warn("sign_in_failed", LOG_S("peer", a->client), LOG_I("delay_ms", delay));
    if (s->waiting.len >= SIGNIN_WAITING) {
        refuse_for(a->req, delay);
        attempt_free(a);
        return;
    }
    list_push(&s->waiting, &a->node);
    timer_init(s->loop, &a->due, answer_failed, a);
    timer_start(&a->due, delay);
}

static void judge(struct attempt *a)
{
    size_t len;
    const char *body = httpd_body(a->req, &len);
    json_t *root = json_parse(body, len, NULL);
    const char *secret = root ? json_get_string(root, "secret") : NULL;
    if (!secret || !*secret) {
        refuse(a->req, 422, "The body must be {\"secret\":\"...\"}");
        attempt_free(a);
    } else {
        enum session_right right = session_by_secret(a->stores->cfg, secret);
        if (right == SESSION_WRONG)
            failed(a);
        else
            signed_in(a, right);
    }
    json_decref(root);
}

static bool is_slowed(struct attempt *a)
{
    int64_t wait = slowdown_wait_ms(&a->stores->signins->failures, a->client, clock_mono_ms());
    if (!wait)
        return false;
    refuse_for(a->req, wait);
    attempt_free(a);
    return true;
}

static void counted(int64_t wait_s, void *ctx)
{
    struct attempt *a = ctx;
    if (wait_s) {
        refuse_for(a->req, wait_s * 1000);
        attempt_free(a);
    } else if (!is_slowed(a)) {
        judge(a);
    }
}

static bool is_json(const struct httpd_req *req)
{
    static const char json[] = "application/json";
    const char *type = httpd_header(req, "Content-Type");
    size_t len = type ? strcspn(type, "; \t") : 0;
    return len == sizeof(json) - 1 && strncasecmp(type, json, len) == 0;
}

void session_post(struct httpd_req *req, void *stores)
{
    struct stores *s = stores;
    if (!s->cfg->api_secret && !s->cfg->api_secret_readonly) {
        refuse(req, 503,
            "No secret is set: set WEBHOOK_API_SECRET (openssl rand -hex 32), or"
            " WEBHOOK_API_SECRET_READONLY, and start the producer again");
        return;
    }
    if (session_is_foreign(req)) {
        refuse(req, 403, "Only a page of this server may sign in");
        return;
    }
    if (!is_json(req)) {
        refuse(req, 415, "The body must be application/json");
        return;
    }
    struct attempt *a = mem_new(struct attempt);
    a->stores = s;
    a->req = req;
    client_address(req, a->client);
    stores_intake_begins(s);
    if (s->limits)
        limits_take(s->limits, a->client, "/dashboard/session", counted, a);
    else
        counted(0, a);
}

/* Not an error: a page asks this first of all, and its browser would report one. */
static void say_none(struct httpd_req *req)
{
    static const char none[] = "{\"role\":\"none\",\"expires_at\":null,\"csrf\":null}";
    httpd_add_header(req, "Cache-Control", "no-store");
    httpd_reply(req, 200, "application/json", none, sizeof(none) - 1);
}

void session_get(struct httpd_req *req, void *stores)
{
    const struct stores *s = stores;
    struct session session;
    if (session_is_foreign(req) || !session_of_cookie(s->cfg, req, &session))
        say_none(req);
    else
        say_session(req, s->cfg, &session);
}

/* The cookie of a session that is none any more goes without a token. */
void session_delete(struct httpd_req *req, void *stores)
{
    const struct stores *s = stores;
    if (session_is_foreign(req) || session_of(s->cfg, req, true) == SESSION_FORGED) {
        refuse(req, 403, SESSION_FORGED_SAYS);
        return;
    }
    set_cookie(req, "", 0);
    httpd_add_header(req, "Cache-Control", "no-store");
    httpd_reply(req, 204, NULL, NULL, 0);
}
