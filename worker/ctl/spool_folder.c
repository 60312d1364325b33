/* spool_folder: see spool_folder.h. Whether a segment is held is asked by a shared lock that is let
 * go of at once: a producer that wants to adopt it in this very moment tries again after some
 * seconds. */
#include "worker/ctl/spool_folder.h"

#include "base/crawl_job.h"
#include "base/event.h"
#include "base/mem.h"
#include "io/spool.h"
#include "io/spool_file.h"
#include "io/spool_scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* --- who holds it ------------------------------------------------------------------------ */

/* As the kernel lists its locks; 0 where it does not name that file's, or not to us. */
static pid_t holder_of(const struct stat *st)
{
    char line[256], wanted[64];
    pid_t holder = 0;
    FILE *f = fopen("/proc/locks", "re");
    snprintf(wanted, sizeof(wanted), "%02x:%02x:%llu", major(st->st_dev), minor(st->st_dev),
        (unsigned long long)st->st_ino);
    while (f && !holder && fgets(line, sizeof(line), f)) {
        int pid;
        char kind[16], file[64];
        if (sscanf(line, "%*s %15s %*s %*s %d %63s", kind, &pid, file) == 3 && pid > 0 &&
            strcmp(kind, "FLOCK") == 0 && strcmp(file, wanted) == 0)
            holder = pid;
    }
    if (f)
        fclose(f);
    return holder;
}

/* False: it is gone. */
static bool look_outside(struct folder_segment *g, int dir_fd, const char *name)
{
    struct stat st;
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno != ENOENT; /* what is wrong the scan will say */
    g->held = flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
    if (fstat(fd, &st) == 0) {
        g->bytes = st.st_size;
        g->written_at = st.st_mtim.tv_sec * INT64_C(1000000) + st.st_mtim.tv_nsec / 1000;
        g->holder = g->held ? holder_of(&st) : 0;
    }
    close(fd);
    return true;
}

/* --- what is in it ----------------------------------------------------------------------- */

static bool is_readable(bool crawl, const void *record, size_t len)
{
    struct hl_err ignored;
    struct crawl_job job;
    struct change_event ev;
    bool fine;
    if (crawl) {
        fine = crawl_job_peek(record, len, &job, &ignored) == HL_OK;
        if (fine)
            crawl_job_release(&job);
        return fine;
    }
    fine = event_decode(record, len, &ev, &ignored) == HL_OK;
    if (fine)
        event_release(&ev);
    return fine;
}

static bool count(const struct spool_sight *sight, void *ctx)
{
    struct folder_segment *g = ctx;
    if (!sight->record) {
        g->damaged += (int64_t)sight->len;
        return true;
    }
    g->records++;
    g->odd += !is_readable(g->crawl, sight->record, sight->len);
    return true;
}

static int by_name(const void *a, const void *b)
{
    const struct folder_segment *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static enum hl_rc add(
    struct folder *f, const char *dir, int dir_fd, const char *name, struct hl_err *err)
{
    struct folder_segment g = {.crawl = spool_is_segment(name, SPOOL_CRAWL)};
    if (!look_outside(&g, dir_fd, name))
        return HL_OK;
    enum hl_rc rc = spool_scan_segment(dir, name, count, &g, err);
    if (rc != HL_OK)
        return rc;
    g.name = mem_strdup(name);
    f->segments = mem_grow(f->segments, (f->n + 1) * sizeof(*f->segments));
    f->segments[f->n++] = g;
    return HL_OK;
}

enum hl_rc folder_read(struct folder *f, const char *dir, struct hl_err *err)
{
    enum hl_rc rc = HL_OK;
    DIR *d = opendir(dir);
    *f = (struct folder){0};
    if (!d)
        return hl_fail(err, HL_FATAL, "spool folder %s cannot be read: %s", dir, strerror(errno));
    for (struct dirent *e; rc == HL_OK && (e = readdir(d));)
        if (spool_is_segment(e->d_name, SPOOL_SEGMENT) || spool_is_segment(e->d_name, SPOOL_CRAWL))
            rc = add(f, dir, dirfd(d), e->d_name, err);
    closedir(d);
    if (rc != HL_OK)
        folder_release(f);
    else if (f->n)
        qsort(f->segments, f->n, sizeof(*f->segments), by_name);
    return rc;
}

void folder_release(struct folder *f)
{
    for (size_t i = 0; i < f->n; i++)
        free(f->segments[i].name);
    free(f->segments);
    *f = (struct folder){0};
}
