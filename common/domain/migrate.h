/* migrate: the numbered files of sql/, embedded at build time, applied forward only. Synchronous
 * libpq: used by hooklinectl and by tests, never on a loop. One transaction each, except files
 * whose first line is "-- no-transaction" (idempotent by themselves). Two migrators at once are
 * safe: a session advisory lock is polled (pg_try_advisory_lock), never waited for inside the
 * server: waiting there deadlocks with CREATE INDEX CONCURRENTLY. Table webhook.schema_migrations
 * (version int primary key, name text, checksum text, applied_at timestamptz). */
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

enum migrate_mode { MIGRATE_APPLY, MIGRATE_DRY_RUN, MIGRATE_STATUS };

/* out gets one line per migration: what was, would be, or is applied. HL_FATAL: refused (an
 * applied migration was edited: names it; the database is newer than this program), HL_RETRY:
 * unreachable or another migrator holds the lock for longer than wait_ms. */
enum hl_rc migrate_run(const char *database_url, enum migrate_mode mode, int64_t wait_ms,
    struct buf *out, struct hl_err *err);

#endif
