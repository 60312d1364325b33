/* spool_scan: see spool_scan.h. */
#include "io/spool_scan.h"

#include "base/mem.h"
#include "io/spool.h"
#include "io/spool_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct scan {
    spool_scan_fn *each;
    void *ctx;
    const char *segment;
    int fd;
    int64_t end;
    struct buf in;   /* the bytes from `at` on */
    struct buf work; /* memory to search in */
};

static bool show(struct scan *s, const void *record, size_t len)
{
    return s->each(&(struct spool_sight){s->segment, record, len}, s->ctx);
}

/* Where the next whole frame begins behind a damage at `at`; the end when there is none, -1 when
 * the disk does not tell. */
static int64_t behind_damage(struct scan *s, int64_t at)
{
    enum spool_search found = SPOOL_GO_ON;
    for (at++; found == SPOOL_GO_ON && at < s->end;)
        found = spool_file_search(s->fd, &at, s->end, &s->work);
    return found == SPOOL_UNREADABLE ? -1 : at;
}

enum walk { WALK_ON, WALK_ENOUGH, WALK_UNREADABLE };

/* The frames of one window; *at becomes where the next begins. */
static enum walk walk_window(struct scan *s, int64_t *at)
{
    size_t used = 0;
    struct spool_frame f;
    if (!spool_file_read_window(s->fd, *at, s->end, &s->in))
        return WALK_UNREADABLE;
    for (size_t frame; (frame = spool_frame_at(s->in.data + used, s->in.len - used, &f));
         used += frame)
        if (!show(s, s->in.data + used + f.head, f.payload))
            return WALK_ENOUGH;
    *at += (int64_t)used;
    if (used || *at >= s->end)
        return WALK_ON;
    int64_t next = behind_damage(s, *at);
    if (next < 0)
        return WALK_UNREADABLE;
    bool go_on = show(s, NULL, (size_t)(next - *at));
    *at = next;
    return go_on ? WALK_ON : WALK_ENOUGH;
}

/* A file that shrinks while it is read was worked off: nothing of it is left to see. */
static enum walk walk_segment(struct scan *s)
{
    struct stat st;
    enum walk walk = WALK_ON;

    if (fstat(s->fd, &st) < 0)
        return WALK_UNREADABLE;
    s->end = st.st_size;
    if (s->end < SPOOL_START)
        return WALK_ON; /* being made */
    if (!spool_file_read(s->fd, 0, SPOOL_START, &s->in))
        return WALK_UNREADABLE;
    if (s->in.len == SPOOL_START && !spool_file_is_segment(s->fd, &s->in))
        return show(s, NULL, (size_t)s->end) ? WALK_ON : WALK_ENOUGH;
    for (int64_t at = SPOOL_START; at < s->end && walk == WALK_ON;) {
        walk = walk_window(s, &at);
        if (walk == WALK_UNREADABLE && fstat(s->fd, &st) == 0 && st.st_size < s->end)
            return WALK_ON;
    }
    return walk;
}

static enum walk walk_file(struct scan *s, int dir_fd, const char *name)
{
    s->segment = name;
    s->fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
    if (s->fd < 0)
        return errno == ENOENT ? WALK_ON : WALK_UNREADABLE; /* worked off meanwhile */
    enum walk walk = walk_segment(s);
    int error = errno;
    close(s->fd);
    errno = error;
    return walk;
}

enum hl_rc spool_scan_kind(
    const char *dir, const char *suffix, spool_scan_fn *each, void *ctx, struct hl_err *err)
{
    struct scan s = {.each = each, .ctx = ctx};
    enum walk walk = WALK_ON;
    enum hl_rc rc = HL_OK;
    DIR *d = opendir(dir);

    if (!d)
        return hl_fail(err, HL_FATAL, "spool folder %s cannot be read: %s", dir, strerror(errno));
    for (struct dirent *e; walk == WALK_ON && (e = readdir(d));) {
        if (!spool_is_segment(e->d_name, suffix))
            continue;
        walk = walk_file(&s, dirfd(d), e->d_name);
        if (walk == WALK_UNREADABLE)
            rc =
                hl_fail(err, HL_FATAL, "%s/%s cannot be read: %s", dir, e->d_name, strerror(errno));
    }
    closedir(d);
    buf_release(&s.in);
    buf_release(&s.work);
    return rc;
}

enum hl_rc spool_scan(const char *dir, spool_scan_fn *each, void *ctx, struct hl_err *err)
{
    return spool_scan_kind(dir, SPOOL_SEGMENT, each, ctx, err);
}

enum hl_rc spool_scan_segment(
    const char *dir, const char *name, spool_scan_fn *each, void *ctx, struct hl_err *err)
{
    struct scan s = {.each = each, .ctx = ctx};
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return hl_fail(err, HL_FATAL, "spool folder %s cannot be read: %s", dir, strerror(errno));
    enum walk walk = walk_file(&s, fd, name);
    int error = errno;
    close(fd);
    buf_release(&s.in);
    buf_release(&s.work);
    if (walk == WALK_UNREADABLE)
        return hl_fail(err, HL_FATAL, "%s/%s cannot be read: %s", dir, name, strerror(error));
    return HL_OK;
}
