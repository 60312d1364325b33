/* err: see err.h. */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

static void fill(struct hl_err *err, enum hl_rc rc, enum hl_why why, const char *fmt, va_list ap)
{
    if (!err)
        return;
    err->rc = rc;
    err->why = why;
    err->sqlstate[0] = '\0';
    vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
    text_tame(err->msg, strlen(err->msg)); /* servers' words may be in it */
    for (char *p = err->msg; *p; p++)
        if (*p == '\n' || *p == '\t')
            *p = ' ';
}

enum hl_rc hl_fail(struct hl_err *err, enum hl_rc rc, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fill(err, rc, HL_WHY_OTHER, fmt, ap);
    va_end(ap);
    return rc;
}

enum hl_rc hl_fail_why(struct hl_err *err, enum hl_rc rc, enum hl_why why, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fill(err, rc, why, fmt, ap);
    va_end(ap);
    return rc;
}

const char *hl_rc_name(enum hl_rc rc)
{
    switch (rc) {
    case HL_OK: return "ok";
    case HL_RETRY: return "retry";
    case HL_FATAL: return "fatal";
    case HL_LOST: return "lost";
    case HL_UNSURE: return "unsure";
    }
    return "?";
}

const char *hl_why_name(enum hl_why why)
{
    switch (why) {
    case HL_WHY_OTHER: return "other";
    case HL_WHY_EXHAUSTED: return "exhausted";
    case HL_WHY_UNREACHABLE: return "unreachable";
    case HL_WHY_REFUSED: return "refused";
    case HL_WHY_READ_ONLY: return "read_only";
    case HL_WHY_TIMEOUT: return "timeout";
    case HL_WHY_FULL: return "full";
    }
    return "?";
}
