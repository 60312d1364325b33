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

#define LARGE_MARK "HKLARGE1"
#define LARGE_BIT  0x80000000U

enum { SMALL_FRAME = SPOOL_FRAME_HEAD + SPOOL_SMALL };

/* --- frames ------------------------------------------------------------------------------ */

static bool is_large(size_t len)
{
    return len > SPOOL_SMALL;
}

size_t spool_frame_size(size_t len)
{
    return len + (is_large(len) ? SPOOL_LARGE_HEAD : SPOOL_FRAME_HEAD);
}

void spool_put_frame(struct buf *b, const void *data, size_t len)
{
    uint32_t told = (uint32_t)len | (is_large(len) ? LARGE_BIT : 0);
    uint32_t head[2] = {htole32(told), htole32(digest_crc32c(0, data, len))};
    buf_append(b, head, sizeof(head));
    if (is_large(len))
        buf_puts(b, LARGE_MARK);
    buf_append(b, data, len);
}

/* What the head at p says; false when that cannot be one. */
static bool read_head(const char *p, size_t left, struct spool_frame *f)
{
    uint32_t told;
    if (left < SPOOL_FRAME_HEAD)
        return false;
    memcpy(&told, p, sizeof(told));
    told = le32toh(told);
    bool large = told & LARGE_BIT;
    f->payload = told & ~LARGE_BIT;
    f->head = large ? SPOOL_LARGE_HEAD : SPOOL_FRAME_HEAD;
    if (!f->payload || f->payload > SPOOL_MAX_RECORD || large != is_large(f->payload))
        return false;
    return !large || (left >= SPOOL_LARGE_HEAD && memcmp(p + SPOOL_FRAME_HEAD, LARGE_MARK, 8) == 0);
}

size_t spool_frame_told(const char *p, size_t left)
{
    struct spool_frame f;
    return read_head(p, left, &f) ? f.head + f.payload : 0;
}

size_t spool_frame_at(const char *p, size_t left, struct spool_frame *f)
{
    uint32_t crc;
    if (!read_head(p, left, f) || f->payload > left - f->head)
        return 0;
    memcpy(&crc, p + sizeof(crc), sizeof(crc));
    if (digest_crc32c(0, p + f->head, f->payload) != le32toh(crc))
        return 0;
    return f->head + f->payload;
}

/* --- names, making ----------------------------------------------------------------------- */

bool spool_is_segment(const char *name, const char *suffix)
{
    size_t len = strlen(name), end = strlen(suffix);
    return len > end && strcmp(name + len - end, suffix) == 0;
}

char *spool_new_path(const char *dir, const char *suffix)
{
    char host[64] = "host", id[UUID_STRLEN + 1];
    struct uuid nonce = uuid_v4();

    gethostname(host, sizeof(host) - 1);
    uuid_format(&nonce, id);
    return mem_printf("%s/%s-%d-%.8s%s", dir, host, (int)getpid(), id, suffix);
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

static bool read_exactly(int fd, int64_t from, size_t len, struct buf *out)
{
    return spool_file_read(fd, from, len, out) && out->len == len;
}

bool spool_file_read_window(int fd, int64_t from, int64_t end, struct buf *out)
{
    int64_t left = end - from;
    if (!read_exactly(fd, from, left < SPOOL_WINDOW ? (size_t)left : SPOOL_WINDOW, out))
        return false;
    size_t told = spool_frame_told(buf_str(out), out->len);
    if (told <= out->len || (int64_t)told > left)
        return true;
    return read_exactly(fd, from, told, out);
}

void spool_trim(struct buf *b)
{
    if (b->cap > 3 * SPOOL_WINDOW)
        buf_release(b);
}

bool spool_file_is_segment(int fd, struct buf *in)
{
    struct spool_frame f;
    struct stat st;
    static const size_t name = sizeof(SPOOL_MAGIC) - 2; /* of the magic; a digit follows */
    if (!spool_file_read(fd, 0, SPOOL_START, in) || in->len < SPOOL_START)
        return false;
    if (memcmp(in->data, SPOOL_MAGIC, name) == 0)
        return memcmp(in->data, SPOOL_MAGIC, SPOOL_START) == 0;
    return fstat(fd, &st) == 0 && spool_file_read_window(fd, SPOOL_START, st.st_size, in) &&
           spool_frame_at(buf_str(in), in->len, &f);
}

/* --- damage ------------------------------------------------------------------------------ */

enum {
    SEARCH_STEP = 1024 * 1024, /* heads looked at in one call */
    /* Bytes whose checksum may be tried in one call, a quarter of a second. Nearly every false head
     * is ruled out by its length: payloads hold few zeros, and noise costs half of this. */
    SEARCH_EFFORT = 2 * SPOOL_MAX_RECORD,
};

/* Whether the frame at `at` of the window, which is at `from` of the file, is whole. A large one may
 * reach beyond the window. */
static bool whole_at(const struct buf *in, size_t at, int fd, int64_t from, int64_t end)
{
    struct spool_frame f;
    struct buf large = {0};
    const char *p = in->data + at;
    size_t told = spool_frame_told(p, in->len - at);

    if (told <= in->len - at)
        return spool_frame_at(p, in->len - at, &f);
    if ((int64_t)told > end - from - (int64_t)at)
        return false;
    bool whole = read_exactly(fd, from + (int64_t)at, told, &large) &&
                 spool_frame_at(large.data, large.len, &f);
    buf_release(&large);
    return whole;
}

/* Offset of the first whole frame that begins before `stop`; stop when there is none. */
static size_t search_window(const struct buf *in, size_t stop, int fd, int64_t from, int64_t end)
{
    int64_t effort = SEARCH_EFFORT;
    for (size_t at = 0; at < stop; at++) {
        size_t told = spool_frame_told(in->data + at, in->len - at);
        if (!told || (int64_t)told > end - from - (int64_t)at)
            continue;
        effort -= (int64_t)told;
        if (effort < 0)
            return stop;
        if (whole_at(in, at, fd, from, end))
            return at;
    }
    return stop;
}

enum spool_search spool_file_search(int fd, int64_t *from, int64_t end, struct buf *in)
{
    int64_t left = end - *from;
    size_t stop = left < SEARCH_STEP ? (size_t)left : SEARCH_STEP;
    size_t want = left < SEARCH_STEP + SMALL_FRAME ? (size_t)left : SEARCH_STEP + SMALL_FRAME;
    if (!read_exactly(fd, *from, want, in))
        return SPOOL_UNREADABLE;
    size_t at = search_window(in, stop, fd, *from, end);
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
