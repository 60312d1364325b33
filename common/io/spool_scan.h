/* spool_scan: what lies in a spool's folder, whoever holds it. Only reads, and takes no lock: what
 * is written or worked off meanwhile may be seen or not. A segment does not say how far its reader
 * has come; every whole frame counts until the segment is emptied or removed. Blocks. */
#ifndef HL_IO_SPOOL_SCAN_H
#define HL_IO_SPOOL_SCAN_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

/* Borrowed during the callback. */
struct spool_sight {
    const char *segment; /* file name */
    const void *record;  /* NULL: bytes that are no frame: torn, damaged, or still being written */
    size_t len;
};
typedef bool spool_scan_fn(const struct spool_sight *sight, void *ctx); /* false: that is enough */

/* HL_FATAL: the folder, or a segment in it, cannot be read; err names it. A folder that does not
 * exist is refused likewise. */
enum hl_rc spool_scan(const char *dir, spool_scan_fn *each, void *ctx, struct hl_err *err);
/* The same of segments of another kind: see spool_open_kind. */
enum hl_rc spool_scan_kind(
    const char *dir, const char *suffix, spool_scan_fn *each, void *ctx, struct hl_err *err);

/* The same of one segment, of any kind. One that is gone is empty. */
enum hl_rc spool_scan_segment(
    const char *dir, const char *name, spool_scan_fn *each, void *ctx, struct hl_err *err);

#endif
