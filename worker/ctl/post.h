/* post: one webhook to a producer, and what its answer means for people. */
#ifndef HL_WORKER_CTL_POST_H
#define HL_WORKER_CTL_POST_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct post { /* all borrowed */
    const char *url;
    const char *const *headers; /* "Name: value", NULL at the end */
    const void *body;
    size_t len;
    int64_t timeout_ms;
    bool json;          /* print the answer as it came */
    bool events;        /* Firecrawl's: 200 is fine, too */
    const char *option; /* that gives the address */
    const char *check;  /* what to look at where something else than a producer answers */
};
/* Prints the answer; an exit code. */
int post_send(const struct post *p);
/* "<header>: sha256=<HMAC of the body>"; caller frees. */
char *post_signature(const char *header, const char *secret, const void *body, size_t len);
/* Appends the file ("-": standard input). -1: go on; else the exit code. */
int post_read_file(const char *name, struct buf *body);

#endif
