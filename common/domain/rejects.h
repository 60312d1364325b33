/* rejects: the last refused webhooks, in a bounded Redis stream ({prefix}:rejects; PROTOCOL.md,
 * "Redis"), for people: whoever fixes a template at the sender can see and resubmit what was lost. */
#ifndef HL_DOMAIN_REJECTS_H
#define HL_DOMAIN_REJECTS_H

#include "io/redis.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REJECT_BODY_KEPT 4096 /* bytes */

struct rejects;

/* redis is borrowed; free it before. kept: entries; 0 gives NULL, which rejects_note, _again,
 * _dropped and _free take. A quarter of them at most are of requests that were not authenticated: a
 * flood of those pushes out none of the others. */
struct rejects *rejects_new(struct redis *redis, const char *prefix, int64_t kept);
void rejects_free(struct rejects *r);

struct reject {         /* texts are borrowed; NULL = absent */
    int64_t at;         /* microseconds since 1970 UTC */
    const char *source; /* "changedetection", "firecrawl" */
    const char *method, *path, *query;
    const char *peer, *request_id;
    int status;          /* of our answer */
    const char *reason;  /* what the answer said */
    bool authenticated;  /* signature or token had been right */
    const char *headers; /* JSON object: names and values, secrets left out */
    const void *body;    /* its first REJECT_BODY_KEPT bytes are kept; NULL: none is here */
    size_t len;          /* of the whole body */
};
/* Fire and forget. While Redis is away or slow the last hundred wait in memory; what is pushed out
 * there, or refused by Redis, is dropped and counted. One whose answer is lost may come twice. */
void rejects_note(struct rejects *r, const struct reject *x);
/* Redis is there (again): what waits is sent. */
void rejects_again(struct rejects *r);
uint64_t rejects_dropped(const struct rejects *r);

/* Newest first, at most limit (and 1000), older than the entry `before` (NULL: from the newest). Texts
 * are UTF-8, headers an object. HL_FATAL: something else is among the entries (err names it). */
struct reject_entry {
    const char *id; /* stream entry */
    struct reject reject;
    size_t kept; /* bytes of the body that are here */
};
typedef void rejects_cb(enum hl_rc rc, const struct reject_entry *entries, size_t n,
    const struct hl_err *err, void *ctx); /* all borrowed during the callback */
void rejects_list(struct rejects *r, const char *before, int limit, rejects_cb *cb, void *ctx);
/* "<ms>-<seq>"; what is none stands for no entry. */
bool rejects_is_id(const char *id);
/* The entry of this id, or none. */
void rejects_get(struct rejects *r, const char *id, rejects_cb *cb, void *ctx);

#endif
