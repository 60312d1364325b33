/* attendance: tells PostgreSQL that this process takes events in (webhook.producers), and hears from it
 * for which queues it must not: those that an operator has fenced. Once a second. A fence counts from
 * the moment it is heard; the row says so (`fenced`) only when no request that was let in before is
 * still under way: from then on nothing of that queue comes from here but what the spool has. While
 * PostgreSQL is away what was heard last stays.
 *
 * The row goes when the process leaves in order and everything that it has on disk stands in
 * webhook.spools. That of a process that did not take its leave is taken away by a neighbour, one of the
 * same host and spool folder, some time after it is gone: by then what it left behind is adopted. */
#ifndef HL_PRODUCER_ATTENDANCE_H
#define HL_PRODUCER_ATTENDANCE_H

struct attendance;
struct stores;

/* heard runs from the loop, once: it is known what is fenced, or PostgreSQL cannot say so in a second. */
struct attendance *attendance_new(struct stores *s, void (*heard)(void *ctx), void *ctx);
/* Takes leave, when all requests have ended; done runs from the loop, after a second at most. */
void attendance_leave(struct attendance *a, void (*done)(void *ctx), void *ctx);
void attendance_stop(struct attendance *a); /* calls nobody any more */
/* NULL ok; stopped, and after the pool: no question may be under way. */
void attendance_free(struct attendance *a);

#endif
