/* trace_local: what the folders of a producer, on this host, know of one event: its receipts, and its
 * records in the spool. */
#ifndef HL_WORKER_CTL_TRACE_LOCAL_H
#define HL_WORKER_CTL_TRACE_LOCAL_H

#include "base/err.h"
#include "base/uuid.h"

/* Borrowed during the callback. */
typedef void trace_receipt_fn(int64_t at_us, const char *way, const char *file, void *ctx);
typedef void trace_record_fn(const char *segment, void *ctx);

/* HL_FATAL: the folder, or a file in it, cannot be read; err names it. */
enum hl_rc trace_receipts(
    const char *dir, const struct uuid *id, trace_receipt_fn *each, void *ctx, struct hl_err *err);
/* Of both kinds of segments. A record that was worked off may still be there: see io/spool_scan.h. */
enum hl_rc trace_spool(
    const char *dir, const struct uuid *id, trace_record_fn *each, void *ctx, struct hl_err *err);

#endif
