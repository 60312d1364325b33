/* spool_folder: the segments that lie in a spool's folder, of both kinds, as far as they can be
 * seen without taking them from anybody. */
#ifndef HL_WORKER_CTL_SPOOL_FOLDER_H
#define HL_WORKER_CTL_SPOOL_FOLDER_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct folder_segment {
    char *name;
    bool crawl;         /* of Firecrawl's events; otherwise of change events */
    bool held;          /* a living process has it */
    pid_t holder;       /* which; 0 = none, or it cannot be told */
    int64_t bytes;      /* of the file */
    int64_t records;    /* whole ones, those that its holder has worked off already included */
    int64_t odd;        /* of them those that this release cannot read */
    int64_t damaged;    /* bytes that are no record: damaged, torn off, or being written */
    int64_t written_at; /* microseconds since 1970 */
};

struct folder {
    struct folder_segment *segments; /* by name */
    size_t n;
};

/* HL_FATAL: the folder, or a segment in it, cannot be read; nothing is to be released. */
enum hl_rc folder_read(struct folder *f, const char *dir, struct hl_err *err);
void folder_release(struct folder *f);

#endif
