/* receipts: see receipts.h. Owns one file; a line is there as a whole or not at all. */
#include "producer/receipts.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    FILE_MAX = 64 * 1024 * 1024,
    RETRY_MS = 1000, /* between tries to open, when that failed */
};

struct receipts {
    char *dir, *path;
    int fd;               /* -1 = none */
    int64_t size;         /* of its whole lines */
    int serial;           /* of the next file that is full */
    int64_t retry_at;     /* mono ms */
    int64_t missed, told; /* lines not written; of these logged as over */
};

/* --- the file ---------------------------------------------------------------------------- */

static bool open_file(struct receipts *r)
{
    int64_t now = clock_mono_ms();
    if (now < r->retry_at)
        return false;
    if (mkdir(r->dir, 0700) == 0 || errno == EEXIST)
        r->fd = open(r->path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
    r->size = 0;
    r->retry_at = r->fd < 0 ? now + RETRY_MS : 0;
    return r->fd >= 0;
}

/* The file keeps its lines under another name. */
static void set_aside(struct receipts *r)
{
    char *full = mem_printf("%s.%d", r->path, r->serial++);
    if (rename(r->path, full) == 0) {
        close(r->fd);
        r->fd = -1;
    }
    free(full);
}

/* False with errno; then no part of it stays. */
static bool write_line(struct receipts *r, const char *line, size_t len)
{
    ssize_t n = write(r->fd, line, len);
    if (n == (ssize_t)len) {
        r->size += n;
        return true;
    }
    int error = n < 0 ? errno : ENOSPC;
    if (n > 0 && ftruncate(r->fd, r->size) < 0)
        set_aside(r); /* half a line ends a file, and no other follows it */
    errno = error;
    return false;
}

/* --- the lines --------------------------------------------------------------------------- */

/* Once when it begins, and once when it is over. */
static void missed(struct receipts *r)
{
    if (r->missed++ == r->told)
        log_error("receipts_failed", LOG_S("file", r->path), LOG_S("error", strerror(errno)),
            LOG_S("remedy",
                "make room, or make the folder of WEBHOOK_RECEIPTS_DIR writable for this user; "
                "events are accepted without"));
}

static void written(struct receipts *r)
{
    if (r->missed == r->told)
        return;
    log_warn("receipts_resumed", LOG_S("file", r->path), LOG_I("missed", r->missed - r->told));
    r->told = r->missed;
}

static size_t put_line(char *out, size_t size, const struct change_event *ev, const char *where)
{
    char id[UUID_STRLEN + 1], at[32];
    int64_t now = clock_wall_us();
    time_t seconds = (time_t)(now / 1000000);
    struct tm tm;

    uuid_format(&ev->id, id);
    gmtime_r(&seconds, &tm);
    strftime(at, sizeof(at), "%Y-%m-%dT%H:%M:%S", &tm);
    return (size_t)snprintf(out, size, "%s %s.%06dZ %s\n", id, at, (int)(now % 1000000), where);
}

void receipts_note(struct receipts *r, const struct change_event *ev, const char *where)
{
    char line[128];
    if (!r)
        return;
    size_t len = put_line(line, sizeof(line), ev, where);
    if (r->fd >= 0 && r->size + (int64_t)len > FILE_MAX)
        set_aside(r);
    if ((r->fd >= 0 || open_file(r)) && write_line(r, line, len))
        written(r);
    else
        missed(r);
}

/* --- life -------------------------------------------------------------------------------- */

struct receipts *receipts_new(const char *dir)
{
    char host[64] = "host", id[UUID_STRLEN + 1];
    struct uuid nonce = uuid_v4();
    if (!dir)
        return NULL;
    struct receipts *r = mem_new(struct receipts);
    gethostname(host, sizeof(host) - 1);
    uuid_format(&nonce, id);
    r->dir = mem_strdup(dir);
    r->path = mem_printf("%s/%s-%d-%.8s.receipts", dir, host, (int)getpid(), id);
    r->fd = -1;
    r->serial = 1;
    return r;
}

void receipts_free(struct receipts *r)
{
    if (!r)
        return;
    if (r->missed > r->told)
        log_warn("receipts_missed", LOG_S("file", r->path), LOG_I("missed", r->missed - r->told));
    if (r->fd >= 0)
        close(r->fd);
    if (r->fd >= 0 && !r->size)
        unlink(r->path);
    free(r->dir);
    free(r->path);
    free(r);
}
