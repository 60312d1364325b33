/* trace_local: see trace_local.h. */
#include "worker/ctl/trace_local.h"

#include "base/crawl_job.h"
#include "base/event.h"
#include "base/timestamp.h"
#include "io/spool.h"
#include "io/spool_scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- receipts ---------------------------------------------------------------------------- */

struct journals {
    const struct uuid *id;
    trace_receipt_fn *each;
    void *ctx;
};

/* "<event id> <time> <way>"; see PROTOCOL.md, "Receipts". */
static void read_line(const struct journals *j, char *line, const char *file)
{
    struct uuid id;
    int64_t at;
    char *time = strchr(line, ' '), *way = time ? strchr(time + 1, ' ') : NULL;
    if (!way)
        return;
    *time++ = *way++ = '\0';
    if (uuid_parse(line, &id) && uuid_equal(&id, j->id) && timestamp_parse_iso(time, &at))
        j->each(at, way, file, j->ctx);
}

static enum hl_rc cannot_read(const char *dir, const char *name, struct hl_err *err)
{
    return hl_fail(err, HL_FATAL, "%s/%s cannot be read: %s", dir, name, strerror(errno));
}

static enum hl_rc read_journal(
    const struct journals *j, int dir_fd, const char *dir, const char *name, struct hl_err *err)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return HL_OK; /* rotated meanwhile */
    FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
    if (!f)
        return cannot_read(dir, name, err);
    char *line = NULL;
    size_t room = 0;
    for (ssize_t len; (len = getline(&line, &room, f)) > 0 && line[len - 1] == '\n';) {
        line[len - 1] = '\0';
        read_line(j, line, name);
    }
    enum hl_rc rc = ferror(f) ? cannot_read(dir, name, err) : HL_OK;
    free(line);
    fclose(f);
    return rc;
}

enum hl_rc trace_receipts(
    const char *dir, const struct uuid *id, trace_receipt_fn *each, void *ctx, struct hl_err *err)
{
    const struct journals j = {id, each, ctx};
    enum hl_rc rc = HL_OK;
    DIR *d = opendir(dir);
    if (!d)
        return hl_fail(
            err, HL_FATAL, "folder of receipts %s cannot be read: %s", dir, strerror(errno));
    for (struct dirent *e; rc == HL_OK && (e = readdir(d));)
        if (strstr(e->d_name, ".receipts"))
            rc = read_journal(&j, dirfd(d), dir, e->d_name, err);
    closedir(d);
    return rc;
}

/* --- the spool --------------------------------------------------------------------------- */

struct records {
    const struct uuid *id;
    trace_record_fn *each;
    void *ctx;
};

static bool is_change_event(const struct spool_sight *sight, const struct uuid *id)
{
    struct change_event ev;
    if (event_decode(sight->record, sight->len, &ev, NULL) != HL_OK)
        return false;
    bool same = uuid_equal(&ev.id, id);
    event_release(&ev);
    return same;
}

static bool is_crawl_job(const struct spool_sight *sight, const struct uuid *id)
{
    struct crawl_job job;
    if (crawl_job_peek(sight->record, sight->len, &job, NULL) != HL_OK)
        return false;
    bool same = uuid_equal(&job.id, id);
    crawl_job_release(&job);
    return same;
}

static bool see(const struct spool_sight *sight, void *ctx)
{
    const struct records *r = ctx;
    if (!sight->record)
        return true;
    if (crawl_job_is(sight->record, sight->len) ? is_crawl_job(sight, r->id)
                                                : is_change_event(sight, r->id))
        r->each(sight->segment, r->ctx);
    return true;
}

enum hl_rc trace_spool(
    const char *dir, const struct uuid *id, trace_record_fn *each, void *ctx, struct hl_err *err)
{
    struct records r = {id, each, ctx};
    enum hl_rc rc = spool_scan(dir, see, &r, err);
    return rc == HL_OK ? spool_scan_kind(dir, SPOOL_CRAWL, see, &r, err) : rc;
}
