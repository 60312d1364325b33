/* forward: brings spooled events home. Reads the spool in order, commits each event (T0) when
 * PostgreSQL is back, publishes it, then lets the spool forget it. Also adopts segments of dead
 * processes. */
#ifndef HL_PRODUCER_FORWARD_H
#define HL_PRODUCER_FORWARD_H

struct forward;
struct stores;

struct forward *forward_new(struct stores *s);
/* Nothing new is begun. Before the stores are closed, which answers what is under way. */
void forward_stop(struct forward *f);
/* NULL ok. What is under way is dropped: it stays in the spool. Its requests may be with the stores
 * until these are closed: close them first. */
void forward_free(struct forward *f);

#endif
