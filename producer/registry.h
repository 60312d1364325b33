/* registry: tells PostgreSQL which spool segments this process holds that are not empty
 * (webhook.spools): that is how a drain or an audit on another host knows of them. A row is written
 * when a segment gets its first record, refreshed while it has some, and taken away when it has
 * none; the segment's file goes after its row, so that no row is left behind by a crash. Nothing
 * happens while PostgreSQL is away; what was missed is told as soon as it is back. */
#ifndef HL_PRODUCER_REGISTRY_H
#define HL_PRODUCER_REGISTRY_H

struct registry;
struct spool;
struct stores;

/* Of one spool of the stores. */
struct registry *registry_new(struct stores *s, struct spool *spool);
void registry_look(struct registry *r); /* the spool has changed */
void registry_stop(struct registry *r); /* tells nothing more, and is silent about answers */
/* NULL ok. Requests handed to the store must have been answered: free the pool first. */
void registry_free(struct registry *r);

#endif
