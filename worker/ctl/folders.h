/* folders: those of receipts and spools that a command looks into. */
#ifndef HL_WORKER_CTL_FOLDERS_H
#define HL_WORKER_CTL_FOLDERS_H

#include "worker/ctl/ctl.h"

#define MAX_FOLDERS 64

/* Names are borrowed, from argv and from the settings. */
struct folders {
    const char *dirs[MAX_FOLDERS];
    int n;
};

/* The one given to an option; false after saying what is wrong, and setting args->done. */
bool folders_add(struct ctl_args *args, struct folders *f);
/* dir where none was given, if it is there: no producer may have run on this host. NULL: nothing. */
void folders_default(struct folders *f, const char *dir);

#endif
