/* migrate: the numbered files of sql/, embedded at build time, applied forward only. Synchronous
 * libpq: used by hooklinectl and by tests, never on a loop. One transaction each, except files
 * whose first line is "-- no-transaction" (idempotent by themselves). Two migrators at once are
 * safe: a session advisory lock is polled (pg_try_advisory_lock), never waited for inside the
 * server: waiting there deadlocks with CREATE INDEX CONCURRENTLY. Table webhook.schema_migrations
 * (version int primary key, name text, checksum text, applied_at timestamptz).
 *
 * A database of the replaced service is adopted: steps of domain/adopt run in place of sql/001,
 * which is then recorded as applied; what follows runs as everywhere. */
#ifndef HL_DOMAIN_MIGRATE_H
#define HL_DOMAIN_MIGRATE_H

#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

struct migration {
    int version;
    const char *name; /* file name */
    const char *sql;
};
extern const struct migration migrations[]; /* generated; ends with version 0 */

/* The newest version built in. */
int migrate_latest(void);

/* What a migration means for those who use the tables meanwhile. Every migration needs an entry. */
struct migrate_locks {
    int version;
    const char *locks;   /* on tables that exist: "MODE on table, table; MODE on table", "none" */
    const char *writers; /* what they notice */
};
const struct migrate_locks *migrate_locks(int version); /* NULL = no entry */

enum migrate_mode { MIGRATE_APPLY, MIGRATE_DRY_RUN, MIGRATE_STATUS };

/* out gets one line per migration and adoption step: what was, would be, or is applied; a dry run
 * adds the locks. HL_FATAL: refused (an applied migration was edited: names it; the database is
 * newer than this program; an existing one is not to be adopted), HL_RETRY:
 * unreachable or another migrator holds the lock for longer than wait_ms. */
enum hl_rc migrate_run(const char *database_url, enum migrate_mode mode, int64_t wait_ms,
    struct buf *out, struct hl_err *err);

#endif
