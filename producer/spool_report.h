/* spool_report: tells the log what went wrong with a spool since it was last told. */
#ifndef HL_PRODUCER_SPOOL_REPORT_H
#define HL_PRODUCER_SPOOL_REPORT_H

#include "io/spool.h"

/* told: what the log knows; zero-initialised, the caller's. */
void spool_report(const struct spool *spool, const char *dir, struct spool_faults *told);

#endif
