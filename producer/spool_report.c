/* spool_report: see spool_report.h. */
#include "producer/spool_report.h"

#include "base/log.h"

void spool_report(const struct spool *spool, const char *dir, struct spool_faults *told)
{
    struct spool_faults now = spool_faults(spool);
    if (now.cut_bytes > told->cut_bytes)
        log_error("spool_damaged", LOG_S("folder", dir),
            LOG_I("bytes", now.cut_bytes - told->cut_bytes),
            LOG_S("remedy", "a record torn by a crash was never acknowledged; anything else is a "
                            "fault of the disk: the bytes are in *.cut"));
    if (now.given_up > told->given_up)
        log_error("spool_segment_given_up", LOG_S("folder", dir),
            LOG_S("remedy", "the disk refused a write or a sync: look at it"));
    if (now.unreadable > told->unreadable && !told->unreadable)
        log_error("spool_unreadable", LOG_S("folder", dir),
            LOG_S("remedy", "the disk refuses to read a segment or to keep its damaged bytes "
                            "aside; tried again"));
    *told = now;
}
