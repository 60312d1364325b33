/* admission: see admission.h. */
#include "producer/admission.h"

#include "base/clock.h"
#include "base/log.h"

enum { PREVIOUS_TOLD_EVERY_MS = 60000 };

struct gate admission_gate(const struct stores *s)
{
    return (struct gate){.secret = s->cfg->webhook_secret,
        .previous = s->cfg->webhook_secret_previous,
        .token = s->cfg->intake_token};
}

struct gate_request admission_credentials(struct httpd_req *req, const char *signature_header)
{
    struct gate_request creds = {.signature = httpd_header(req, signature_header),
        .standard = httpd_header(req, "webhook-signature"),
        .id = httpd_header(req, "webhook-id"),
        .timestamp = httpd_header(req, "webhook-timestamp"),
        .authorization = httpd_header(req, "Authorization"),
        .webhook_token = httpd_header(req, "X-Webhook-Token"),
        .now = clock_wall_us()};
    creds.body = httpd_body(req, &creds.len);
    return creds;
}

bool admission_granted(enum gate_verdict verdict)
{
    return verdict == GATE_SIGNED || verdict == GATE_SIGNED_PREVIOUS || verdict == GATE_TOKEN;
}

void admission_count(struct stores *s, enum gate_verdict verdict, const char *peer)
{
    int64_t now = clock_mono_ms();
    if (verdict == GATE_SIGNED)
        s->signed_now++;
    if (verdict != GATE_SIGNED_PREVIOUS)
        return;
    s->signed_previous++;
    if (s->previous_told_ms && now - s->previous_told_ms < PREVIOUS_TOLD_EVERY_MS)
        return;
    s->previous_told_ms = now;
    log_warn("previous_secret_used", LOG_S("peer", peer), LOG_I("previous", s->signed_previous),
        LOG_I("current", s->signed_now),
        LOG_S("remedy", "give this sender WEBHOOK_SECRET; then unset WEBHOOK_SECRET_PREVIOUS"));
}
