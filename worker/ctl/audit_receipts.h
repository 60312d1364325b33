/* audit_receipts: the journals that producers keep of what they answered 202 (PROTOCOL.md,
 * "Receipts"). */
#ifndef HL_WORKER_CTL_AUDIT_RECEIPTS_H
#define HL_WORKER_CTL_AUDIT_RECEIPTS_H

#include "domain/audit.h"

#include "base/err.h"

struct audit_receipts {
    bool given; /* a folder was named: without one nothing can be said of lost events */
    size_t files, lines;
    size_t damaged; /* lines that are no receipts */
    size_t expired; /* their rows may have been deleted */
};

/* Adds every receipt of the folder to the set. Receipts from before since_us, and those of repeated
 * deliveries, are passed over: their rows may have been deleted; 0 = none are. HL_FATAL: it cannot be read; err names it. */
enum hl_rc audit_receipts_read(struct audit_receipts *r, const char *dir, int64_t since_us,
    struct audit_set *set, struct hl_err *err);

#endif
