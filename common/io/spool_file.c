/* spool_file: see spool_file.h. */
#include "io/spool_file.h"

#include "base/digest.h"
#include "base/mem.h"
#include "base/uuid.h"
#include "io/spool.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_FRAME = SPOOL_FRAME_HEAD + SPOOL_MAX_RECORD };

/* --- frames ------------------------------------------------------------------------------ */

void spool_put_frame(struct buf *b, const void *data, size_t len)
{
    uint32_t head[2] = {htole32((uint32_t)len), htole32(digest_crc32c(0, data, len))};
    buf_append(b, head, sizeof(head));
    buf_append(b, data, len);
}

/* What the head at p says the payload's length is; 0 when that cannot be. */
static size_t told_length(const char *p, size_t left)
{
    uint32_t len;
    if (left < SPOOL_FRAME_HEAD)
        return 0;
    memcpy(&len, p, sizeof(len));
    len = le32toh(len);
    return len <= SPOOL_MAX_RECORD && len <= left - SPOOL_FRAME_HEAD ? len : 0;
}

size_t spool_frame_at(const char *p, size_t left)
{
    uint32_t crc;
    size_t len = told_length(p, left);
    if (!len)
        return 0;
    memcpy(&crc, p + sizeof(crc), sizeof(crc));
    if (digest_crc32c(0, p + SPOOL_FRAME_HEAD, len) != le32toh(crc))
        return 0;
    return SPOOL_FRAME_HEAD + len;
}

/* --- names, making ----------------------------------------------------------------------- */

bool spool_is_segment(const char *name)
{
    size_t len = strlen(name);
    return len > 4 && strcmp(name + len - 4, ".seg") == 0;
}

char *spool_new_path(const char *dir)
{
    char host[64] = "host", id[UUID_STRLEN + 1];
    struct uuid nonce = uuid_v4();

    gethostname(host, sizeof(host) - 1);
    uuid_format(&nonce, id);
    return mem_printf("%s/%s-%d-%.8s.seg", dir, host, (int)getpid(), id);
}

int spool_sync_dir(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = fd < 0 || fsync(fd) < 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    return error == EINVAL ? 0 : error; /* a file system that has no such thing */
}

int spool_file_create(const char *path, const char *dir)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    /* An adopter that looks right now lets go at once: there is no magic in the file yet. */
    int error = flock(fd, LOCK_EX) < 0 ? errno : spool_file_write(fd, SPOOL_MAGIC, SPOOL_START, 0);
    if (!error && fsync(fd) < 0)
        error = errno;
    if (!error)
        error = spool_sync_dir(dir);
    if (!error)
        return fd;
    unlink(path);
    close(fd);
    errno = error;
    return -1;
}

/* --- writing, reading -------------------------------------------------------------------- */

int spool_file_write(int fd, const void *data, size_t len, int64_t at)
{
    const char *p = data;
    while (len) {
        ssize_t n = pwrite(fd, p, len, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? errno : ENOSPC;
        p += n;
        len -= (size_t)n;
        at += n;
    }
    return 0;
}

bool spool_file_read(int fd, int64_t from, size_t len, struct buf *out)
{
    buf_clear(out);
    char *to = buf_reserve(out, len);
    while (out->len < len) {
        ssize_t n = pread(fd, to + out->len, len - out->len, from + (int64_t)out->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0;
        out->len += (size_t)n;
    }
    return true;
}

bool spool_file_is_segment(int fd, struct buf *in)
{
    static const size_t name = sizeof(SPOOL_MAGIC) - 2; /* of the magic; a digit follows */
    if (!spool_file_read(fd, 0, SPOOL_START, in) || in->len < SPOOL_START)
        return false;
    if (memcmp(in->data, SPOOL_MAGIC, name) == 0)
        return memcmp(in->data, SPOOL_MAGIC, SPOOL_START) == 0;
    return spool_file_read(fd, SPOOL_START, MAX_FRAME, in) && spool_frame_at(in->data, in->len);
}

/* --- damage ------------------------------------------------------------------------------ */

enum {
    SEARCH_STEP = 1024 * 1024, /* heads looked at in one call */
    /* Bytes whose checksum may be tried in one call, a quarter of a second. Nearly every false head
     * is ruled out by its length: payloads hold few zeros, and noise costs half of this. */
    SEARCH_EFFORT = 256 * 1024 * 1024,
};

/* Offset of the first whole frame that begins before `stop`; stop when there is none. */
static size_t search_window(const struct buf *in, size_t stop)
{
    int64_t effort = SEARCH_EFFORT;
    for (size_t at = 0; at < stop; at++) {
        size_t len = told_length(in->data + at, in->len - at);
        if (!len)
            continue;
        effort -= (int64_t)len;
        if (effort < 0)
            return stop;
        if (spool_frame_at(in->data + at, in->len - at))
            return at;
    }
    return stop;
}

enum spool_search spool_file_search(int fd, int64_t *from, int64_t end, struct buf *in)
{
    int64_t left = end - *from;
    size_t stop = left < SEARCH_STEP ? (size_t)left : SEARCH_STEP;
    size_t want = left < SEARCH_STEP + MAX_FRAME ? (size_t)left : SEARCH_STEP + MAX_FRAME;
    if (!spool_file_read(fd, *from, want, in) || in->len < want)
        return SPOOL_UNREADABLE;
    size_t at = search_window(in, stop);
    *from += (int64_t)at;
    return at < stop || *from == end ? SPOOL_FOUND : SPOOL_GO_ON;
}

bool spool_file_keep_aside(const char *path, int fd, int64_t from, int64_t to)
{
    enum { PIECE = 256 * 1024 };
    char *name = mem_printf("%s.cut", path);
    struct buf piece = {0};
    struct stat before = {0};
    int out = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    bool kept = out >= 0 && fstat(out, &before) == 0;

    while (kept && from < to) {
        int64_t left = to - from;
        kept = spool_file_read(fd, from, left < PIECE ? (size_t)left : PIECE, &piece) &&
               piece.len && write(out, piece.data, piece.len) == (ssize_t)piece.len;
        from += (int64_t)piece.len;
    }
    if (out >= 0 && !kept && ftruncate(out, before.st_size) < 0)
        kept = false; /* a part of it is there twice after the next try */
    if (out >= 0)
        close(out);
    free(name);
    buf_release(&piece);
    return kept;
}
