/* spool: records on disk for the time PostgreSQL cannot take them. Segment files in one folder,
 * each of one process, append only: magic "HKSPOOL1", then frames (spool_file.h). Appends are grouped: all that queued while one write + fdatasync
 * was under way go in the next, on the offload thread. A record counts only after its fdatasync.
 * A segment is left for a new one when it is an eighth of the quota (64 KiB to 64 MiB), or when a
 * sync of it failed: what the kernel then still has of it is not to be built upon, and the group is
 * written once more, into the new one. The reader walks the segments in order; one is removed (the
 * last of our own: emptied) once everything in it was committed by the reader. Segments of dead
 * processes (their lock is free) are adopted. Reading again after a crash repeats records: they
 * must be idempotent (events are, by id). */
#ifndef HL_IO_SPOOL_H
#define HL_IO_SPOOL_H

#include "base/buf.h"
#include "io/batch.h"
#include "io/offload.h"

#include <stdint.h>

#define SPOOL_MAX_RECORD (129 * 1024 * 1024) /* bytes of one payload */

struct spool;

/* Makes the folder (mode 0700) when it is missing, creates and locks this process's first segment;
 * on a disk that is full the first append that finds room does so.
 * max_bytes: quota over all segments in the folder. Synchronous; err names folder and remedy. */
struct spool *spool_open(
    struct loop *l, struct offload *o, const char *dir, int64_t max_bytes, struct hl_err *err);
/* The same with segments of another kind: spools of several kinds share a folder, and each counts the
 * segments of all. suffix: of their files; ".seg" is spool_open's. */
struct spool *spool_open_kind(struct loop *l, struct offload *o, const char *dir,
    const char *suffix, int64_t max_bytes, struct hl_err *err);
#define SPOOL_CRAWL ".crawl" /* Firecrawl's events */
/* For whoever only works off what others left: takes no append, and makes neither the folder nor a
 * segment. */
struct spool *spool_open_left(
    struct loop *l, struct offload *o, const char *dir, const char *suffix);
/* Closes; an empty segment is removed, others stay for whoever adopts them. No append may be
 * waiting. */
void spool_close(struct spool *s);

struct spool_append {
    struct batch_item item; /* private */
    const void *data;       /* borrowed until done */
    size_t len;
    bool kept_already; /* it is a record of the spool: takes its place, whatever the quota */
    /* HL_OK: safe on disk. HL_RETRY: nothing was kept (err->why FULL for quota or no space). */
    void (*done)(struct spool_append *a, enum hl_rc rc, const struct hl_err *err);
    void *ctx;
};
void spool_append(struct spool *s, struct spool_append *a); /* done runs from the loop, once */
/* Takes back what no write has taken yet (done will not run); false when it is under way. */
bool spool_append_undo(struct spool *s, struct spool_append *a);

/* True while an append would most likely be kept: the folder is there, the quota and the disk have room,
 * and no write has failed lately. A look at the disk. */
bool spool_takes(const struct spool *s);

/* Next records not yet committed, in order, at most max; pointers valid until spool_commit or
 * spool_rewind. Returns how many; 0 = nothing left. Calling again before either returns 0. */
struct spool_record {
    const void *data;
    size_t len;
};
size_t spool_read(struct spool *s, struct spool_record *out, size_t max);
void spool_commit(struct spool *s); /* those of the last read are safe elsewhere: forget them */
void spool_rewind(struct spool *s); /* they are not: the next read gives them again */
/* They cannot be worked off here: an adopted segment is left to others, or to a later adoption; of
 * our own the next read gives them again. */
void spool_skip(struct spool *s);

/* Looks for segments whose process is gone and takes them over, the oldest first, so many at a time;
 * returns how many have records. Cheap; call it every few seconds. */
int spool_adopt(struct spool *s);
int64_t spool_depth(const struct spool *s); /* bytes of uncommitted frames of this process */
/* Bytes of frames in all segments of this kind in the folder, whoever holds them, or nobody: a look at
 * the disk. What is committed counts until its segment is emptied. */
int64_t spool_folder_depth(const struct spool *s);
/* Another look at the disk. */
struct spool_folder {
    int64_t bytes; /* spool_folder_depth */
    int64_t
        written_us; /* of the segments with frames: when that one was last written to that was so
                           longest ago, on the wall clock; 0 = there is none */
};
void spool_folder_look(const struct spool *s, struct spool_folder *out);

/* What went wrong so far. Bytes that are no frame, torn off by a crash or damaged, are kept beside
 * in NAME.seg.cut when the reader comes to them; it goes on at the next whole frame. */
struct spool_faults {
    int64_t cut_bytes;
    int given_up; /* segments of ours that could not be written or synced; all in them stays good */
    int unreadable; /* reads that the disk refused; they are repeated */
};
struct spool_faults spool_faults(const struct spool *s);

/* --- for whoever keeps a list of segments elsewhere -------------------------------------- */

/* From now on: the file of an emptied segment that is listed stays until spool_unlist, so that it
 * never goes before its entry; what is adopted counts as listed, for the dead may have done so. */
void spool_keep_listed(struct spool *s);
struct spool_segment {
    const char *name; /* of the file; borrowed during the call */
    int64_t bytes;    /* of uncommitted frames */
    bool listed;
};
typedef void spool_each_fn(const struct spool_segment *g, void *ctx);
void spool_each(const struct spool *s, spool_each_fn *each, void *ctx); /* those we hold */
/* Its entry is there, or may be soon; false when we do not hold it (any more). */
bool spool_list(struct spool *s, const char *name);
void spool_unlist(struct spool *s, const char *name); /* it is gone */

#endif
