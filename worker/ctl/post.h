/* post: one webhook to a producer, and what its answer means for people. */
#ifndef HL_WORKER_CTL_POST_H
#define HL_WORKER_CTL_POST_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is printed of an answer. */
enum post_manner {
    POST_TELL,   /* all of it */
    POST_FAULTS, /* what went wrong */
    POST_NOTHING,
};

struct post { /* all borrowed */
    const char *url;
    const char *const *headers; /* "Name: value", NULL at the end */
    const void *body;
    size_t len;
    int64_t timeout_ms;
    enum post_manner manner;
    bool json;          /* print the answer as it came */
    bool events;        /* Firecrawl's: 200 is fine, too */
    const char *option; /* that gives the address */
    const char *check;  /* what to look at where something else than a producer answers */
};
/* Prints the answer; an exit code. */
int post_send(const struct post *p);

/* A connection that is kept for several. NULL after saying why there is none. */
struct postbox;
struct postbox *postbox_new(void);
void postbox_free(struct postbox *box); /* NULL ok */
/* post_send by it. *answered: somebody did, whatever it said. */
int postbox_send(struct postbox *box, const struct post *p, bool *answered);

/* "<header>: sha256=<HMAC of the body>"; caller frees. */
char *post_signature(const char *header, const char *secret, const void *body, size_t len);
/* Appends the file ("-": standard input). -1: go on; else the exit code. */
int post_read_file(const char *name, struct buf *body);

#endif
