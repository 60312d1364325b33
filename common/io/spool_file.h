/* spool_file: one segment of a spool as a file: its frames, how it is made, written, read, and
 * searched where it is damaged. Private to io/spool*. No state; every call blocks, and whoever
 * calls decides in which thread.
 *
 * A frame is length (u32 LE), CRC-32C of the payload (u32 LE), payload. Of a payload over 1 MiB the
 * length has its highest bit set, and "HKLARGE1" stands before the payload: bytes that only look like
 * the head of a large frame would make a search through damage read 129 MiB each. */
#ifndef HL_IO_SPOOL_FILE_H
#define HL_IO_SPOOL_FILE_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

#define SPOOL_MAGIC "HKSPOOL1"
enum {
    SPOOL_START = 8,                /* where the first frame begins, behind the magic */
    SPOOL_FRAME_HEAD = 8,           /* length, CRC-32C */
    SPOOL_LARGE_HEAD = 16,          /* and the mark of a large one */
    SPOOL_SMALL = 1024 * 1024,      /* payloads of more bytes are large */
    SPOOL_WINDOW = 4 * 1024 * 1024, /* read at once, unless one frame is larger */
};

struct spool_frame {
    size_t head, payload; /* bytes of each */
};

void spool_put_frame(struct buf *b, const void *data, size_t len);
size_t spool_frame_size(size_t len); /* of a payload's frame */
/* Bytes of the frame whose head is at p, whether all of it is there or not; 0 when there is none. */
size_t spool_frame_told(const char *p, size_t left);
/* A whole, intact frame at p; its bytes in all, 0 when there is none. */
size_t spool_frame_at(const char *p, size_t left, struct spool_frame *f);

#define SPOOL_SEGMENT ".seg" /* suffix of change events' segments */
bool spool_is_segment(const char *name, const char *suffix);
/* A path in dir that nobody else will ever use; caller frees. */
char *spool_new_path(const char *dir, const char *suffix);

/* Makes, locks and syncs an empty segment, and its entry in the folder. The descriptor, which holds
 * the lock; -1 with errno, and no file is left. */
int spool_file_create(const char *path, const char *dir);
/* 0, or the errno; then any part of it may have been written. */
int spool_file_write(int fd, const void *data, size_t len, int64_t at);
/* Replaces what is in `out` by up to len bytes from `from` on: fewer where the file ends, or where
 * the disk refuses (then false, and what came before that). */
bool spool_file_read(int fd, int64_t from, size_t len, struct buf *out);
/* The same, SPOOL_WINDOW bytes or, where the first frame is larger, that frame; fewer only where
 * `end` comes before. False too when the file ends before `end`. */
bool spool_file_read_window(int fd, int64_t from, int64_t end, struct buf *out);
/* Gives back what a large frame needed. */
void spool_trim(struct buf *b);
/* It holds frames of this form: its magic says so or, where that is damaged, its first frame. False
 * too when the disk does not tell. in: memory to work in. */
bool spool_file_is_segment(int fd, struct buf *in);
/* Looks for the next whole frame, at *from or behind, before `end`, a bounded number of bytes at a
 * time. in: memory to work in. */
enum spool_search {
    SPOOL_FOUND,      /* *from is where it begins; `end` when there is none */
    SPOOL_GO_ON,      /* none begins before *from: call again */
    SPOOL_UNREADABLE, /* the disk does not give it now */
};
enum spool_search spool_file_search(int fd, int64_t *from, int64_t end, struct buf *in);
/* Keeps the bytes from `from` to `to` beside the segment, in PATH.cut, for people. False when that
 * cannot be done now. */
bool spool_file_keep_aside(const char *path, int fd, int64_t from, int64_t to);

/* Entries of the folder are on disk. 0, or the errno. */
int spool_sync_dir(const char *dir);

#endif
