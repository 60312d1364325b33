/* offload: one helper thread for the few calls that block and have no other form: name look-ups and
 * fdatasync. The work function runs in the thread and must touch nothing but its own ctx; the done
 * function runs from the loop. Jobs run one after another, in order; the queue is bounded by its
 * users (one look-up per connection attempt, one sync per spool). */
#ifndef HL_IO_OFFLOAD_H
#define HL_IO_OFFLOAD_H

#include "io/loop.h"

struct offload;

struct offload *offload_new(struct loop *l, struct hl_err *err); /* starts the thread */
void offload_free(struct offload *o); /* NULL ok; waits for the running job, drops the others */

/* Embedded in the caller's object, which must live until done has run (there is no cancel: a
 * call in the kernel cannot be taken back; mark your object and let done free it). */
struct offload_job {
    struct list_node node;
    void (*work)(struct offload_job *job); /* in the thread */
    void (*done)(struct offload_job *job); /* in the loop */
};
void offload_run(struct offload *o, struct offload_job *job);

/* Resolves host with getaddrinfo. out: numeric address, valid during cb when rc is HL_OK. Of a host
 * with several addresses successive look-ups give the next one, so that who tries again gets past a
 * dead address (localhost is often ::1 first, where nobody listens).
 * The request is allocated by this call and freed after cb has run; resolve_cancel drops cb. */
struct resolve;
typedef void resolve_cb(enum hl_rc rc, const char *address, const struct hl_err *err, void *ctx);
struct resolve *resolve_start(struct offload *o, const char *host, resolve_cb *cb, void *ctx);
/* The same, for callers that try all: address is every address of host, separated by commas. */
struct resolve *resolve_all_start(struct offload *o, const char *host, resolve_cb *cb, void *ctx);
void resolve_cancel(struct resolve *r);

#endif
