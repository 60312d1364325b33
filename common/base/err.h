/* err: outcomes a caller can act on, and the text that explains one.
 * Owns: the five outcomes, the reasons, struct hl_err. Logs nothing: whoever decides, logs. */
#ifndef HL_BASE_ERR_H
#define HL_BASE_ERR_H

/* What the caller can do about it. */
enum hl_rc {
    HL_OK = 0,
    HL_RETRY,  /* nothing happened; the same call may work later */
    HL_FATAL,  /* nothing happened; the same call will never work */
    HL_LOST,   /* somebody else owns the thing; forget it */
    HL_UNSURE, /* it may have happened: read back before repeating what is not idempotent */
};

/* Why, where callers and counters tell cases apart. */
enum hl_why {
    HL_WHY_OTHER = 0,
    HL_WHY_EXHAUSTED,   /* pool or queue full, waiting time over */
    HL_WHY_UNREACHABLE, /* no connection */
    HL_WHY_REFUSED,     /* the server answered and said no (authentication, too many clients) */
    HL_WHY_READ_ONLY,   /* connected, but to a server that takes no writes */
    HL_WHY_TIMEOUT,     /* a deadline of ours passed */
    HL_WHY_FULL,        /* disk or quota */
};

struct hl_err {
    enum hl_rc rc;
    enum hl_why why;
    char sqlstate[6]; /* five characters, or empty when the error is not PostgreSQL's */
    char msg[200];    /* one line for people, cut to fit; never holds a secret */
};

/* Fills *err (may be NULL) and returns rc, so that a function can end in `return hl_fail(...)`. */
enum hl_rc hl_fail(struct hl_err *err, enum hl_rc rc, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The same with a reason. */
enum hl_rc hl_fail_why(struct hl_err *err, enum hl_rc rc, enum hl_why why, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Names for logs: "ok", "retry", ... and "exhausted", "unreachable", ... */
const char *hl_rc_name(enum hl_rc rc);
const char *hl_why_name(enum hl_why why);

#endif
