/* confirm: before a writer writes. It has shown what it is about to touch, and how much of it. */
#ifndef HL_WORKER_CTL_CONFIRM_H
#define HL_WORKER_CTL_CONFIRM_H

#include "worker/ctl/ctl.h"

/* Whether somebody can be asked, where --yes or --dry-run do not answer already; before anything is
 * looked at. -1: go on; else the exit code. */
int confirm_possible(const struct ctl_args *args);
/* Asks "<question> [y/N]". -1: go on; else the exit code: --dry-run ends here with 0, a no with 1. */
int confirm(const struct ctl_args *args, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* For what cannot be had back: asks that, and then for the number to be typed. --yes answers the first
 * question only; what answers the second is --confirm N (confirmed; NULL = not given). */
int confirm_loss(const struct ctl_args *args, int64_t n, const char *confirmed, const char *fmt,
    ...) __attribute__((format(printf, 4, 5)));

#endif
