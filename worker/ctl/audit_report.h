/* audit_report: what an audit found, as text or as one JSON object (PROTOCOL.md, "hooklinectl"). */
#ifndef HL_WORKER_CTL_AUDIT_REPORT_H
#define HL_WORKER_CTL_AUDIT_REPORT_H

#include "worker/ctl/audit_look.h"
#include "worker/ctl/audit_receipts.h"

struct audit_report {
    const struct audit_set *set; /* merged, and looked at again where it looked wrong */
    const struct audit_look *look;
    const struct audit_receipts *receipts;
    struct audit_mode mode;
    bool waited, quiet;     /* --wait; it became quiet in time */
    struct audit_work work; /* what kept it from that */
    int limit;              /* events named */

    size_t counts[AUDIT_NVERDICTS]; /* by audit_report_count */
    size_t answered;                /* events with a receipt */
};

/* Judges every event; how many are discrepancies. */
size_t audit_report_count(struct audit_report *r);
void audit_report_text(const struct audit_report *r);
void audit_report_json(const struct audit_report *r);
/* "3 queued, 1 in progress, ..." */
void audit_report_work(const struct audit_work *work, struct buf *out);

#endif
