/* doctor_host: what is to be said of this host, as the programs here would find it, and of the way to
 * Firecrawl. See doctor.h. */
#include "worker/ctl/doctor.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/url.h"
#include "io/cgroup.h"
#include "io/http.h"
#include "io/prefork.h"
#include "io/spool_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

enum {
    FIRECRAWL_MS = 5000,
    FIRECRAWL_BYTES = 1024 * 1024,
    SYNCS = 9, /* an odd number */
    SYNC_BYTES = 4096,
    SLOW_SYNC_US = 20000,
    SYNCS_MAX_US = 3000000,   /* for all of them */
    DESCRIPTORS_BESIDE = 256, /* of a producer, beside connections: spool, receipts, log */
};

/* --- Firecrawl --------------------------------------------------------------------------- */

struct visit {
    struct doctor *doctor;
    enum hl_rc rc;
    long status;
    struct hl_err err;
};

static void visited(const struct http_response *res, void *ctx)
{
    struct visit *v = ctx;
    v->rc = res->rc;
    v->status = res->status;
    if (res->err)
        v->err = *res->err;
    session_answered(&v->doctor->session);
}

/* As the worker would, but for the page. */
static bool visit(struct doctor *d, struct visit *v)
{
    const char *key = d->cfg.firecrawl_api_key;
    char *bearer = key && *key ? mem_printf("Authorization: Bearer %s", key) : NULL;
    const char *const headers[] = {bearer, NULL};
    struct http *http = http_new(d->session.loop, "hooklinectl", &v->err);
    if (!http) {
        free(bearer);
        return false;
    }
    session_asked(&d->session);
    http_start(http,
        &(struct http_request){.method = "GET",
            .url = d->cfg.firecrawl_api_url,
            .headers = headers,
            .connect_timeout_ms = FIRECRAWL_MS,
            .timeout_ms = FIRECRAWL_MS,
            .max_body = FIRECRAWL_BYTES},
        visited, v);
    session_wait(&d->session);
    http_free(http);
    free(bearer);
    return v->rc == HL_OK;
}

void doctor_firecrawl(struct doctor *d)
{
    struct visit v = {.doctor = d};
    struct buf url = {0};
    if (d->cfg.scraper == SCRAPER_DIRECT) {
        doctor_say(d, DOCTOR_OK, NULL, "not used: pages are fetched directly (WEBHOOK_SCRAPER)");
        return;
    }
    if (!d->asks)
        return;
    url_mask(d->cfg.firecrawl_api_url, &url);
    const char *todo = "Is WEBHOOK_FIRECRAWL_API_URL right, and Firecrawl running and reachable "
                       "from here?";
    if (!visit(d, &v))
        doctor_say(d, DOCTOR_ERROR, todo, "%s: %s", buf_str(&url), v.err.msg);
    else if (v.status == 401 || v.status == 403 || v.status == 407)
        doctor_say(d, DOCTOR_WARNING,
            "Is WEBHOOK_FIRECRAWL_API_KEY given, and right? Does something in between refuse us?",
            "%s refuses us (%ld)", buf_str(&url), v.status);
    else if (v.status >= 300 && v.status < 400)
        doctor_say(d, DOCTOR_WARNING,
            "Set WEBHOOK_FIRECRAWL_API_URL to where it leads (https://?): redirects are not "
            "followed.",
            "%s leads elsewhere (%ld)", buf_str(&url), v.status);
    else if (v.status >= 500)
        doctor_say(d, DOCTOR_WARNING, todo, "%s answers %ld", buf_str(&url), v.status);
    else
        doctor_say(d, DOCTOR_OK, NULL, "%s answers (%ld)", buf_str(&url), v.status);
    buf_release(&url);
}

/* --- the spool's folder ------------------------------------------------------------------ */

/* A file of ours in the folder, without a name; -1 with errno. */
static int scratch_file(const char *dir)
{
    char *path = mem_printf("%s/.doctor-XXXXXX", dir);
    int fd = mkostemp(path, O_CLOEXEC);
    int error = errno;
    if (fd >= 0)
        unlink(path);
    free(path);
    errno = error;
    return fd;
}

static int64_t free_bytes(const char *dir)
{
    struct statvfs fs;
    return statvfs(dir, &fs) == 0 ? (int64_t)fs.f_bavail * (int64_t)fs.f_frsize : -1;
}

static bool in_memory(const char *dir)
{
    struct statfs fs;
    return statfs(dir, &fs) == 0 &&
           ((unsigned long)fs.f_type == TMPFS_MAGIC || (unsigned long)fs.f_type == RAMFS_MAGIC);
}

static void say_room(struct doctor *d, const char *dir)
{
    int64_t room = free_bytes(dir);
    struct buf left = {0}, quota = {0};
    put_bytes(&left, room);
    put_bytes(&quota, d->cfg.spool_max_bytes);
    if (room >= 0 && room < d->cfg.spool_max_bytes)
        doctor_say(d, DOCTOR_WARNING, "Make room there, or lower WEBHOOK_SPOOL_MAX_BYTES.",
            "%s has %s left, and the spool may take %s", dir, buf_str(&left), buf_str(&quota));
    else if (in_memory(dir))
        doctor_say(d, DOCTOR_WARNING, "Set WEBHOOK_SPOOL_DIR to a folder on a disk.",
            "%s is in memory: what it holds does not outlive this host", dir);
    else
        doctor_say(d, DOCTOR_OK, NULL, "%s can be written to, %s left", dir, buf_str(&left));
    buf_release(&left);
    buf_release(&quota);
}

void doctor_spool(struct doctor *d)
{
    const char *dir = d->cfg.spool_dir;
    struct stat st;
    if (stat(dir, &st) != 0 && errno == ENOENT) {
        doctor_say(d, DOCTOR_WARNING,
            "A producer makes it when it starts, if it may. Ignore this where none runs.", "%s: %s",
            dir, strerror(ENOENT));
        return;
    }
    int fd = scratch_file(dir);
    if (fd < 0) {
        doctor_say(d, DOCTOR_ERROR,
            "Give the folder to the user that the producer runs as; run doctor as that user.",
            "%s cannot be written to: %s", dir, strerror(errno));
        return;
    }
    close(fd);
    say_room(d, dir);
}

static int by_size(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* Microseconds that a small write takes to be safe: the median of *n, which are fewer where the disk
 * is so slow that all would keep people waiting; -1 with errno. */
static int64_t sync_time(int fd, int *n)
{
    static const char zeros[SYNC_BYTES];
    int64_t took[SYNCS], start = clock_mono_us();
    for (*n = 0; *n < SYNCS && (*n == 0 || clock_mono_us() - start < SYNCS_MAX_US); ++*n) {
        int64_t began = clock_mono_us();
        int error = spool_file_write(fd, zeros, sizeof(zeros), (int64_t)*n * SYNC_BYTES);
        if (error || fdatasync(fd) != 0) {
            errno = error ? error : errno;
            return -1;
        }
        took[*n] = clock_mono_us() - began;
    }
    qsort(took, (size_t)*n, sizeof(*took), by_size);
    return took[*n / 2];
}

void doctor_disk(struct doctor *d)
{
    int fd = scratch_file(d->cfg.spool_dir);
    if (fd < 0)
        return; /* doctor_spool has said it */
    int n;
    int64_t took = sync_time(fd, &n);
    int error = errno;
    close(fd);
    if (took < 0)
        doctor_say(d, DOCTOR_ERROR, "Look at the disk, and at the kernel's log (dmesg).",
            "%s: a write could not be synced: %s", d->cfg.spool_dir, strerror(error));
    else
        doctor_say(d, took > SLOW_SYNC_US ? DOCTOR_WARNING : DOCTOR_OK,
            took > SLOW_SYNC_US ? "Put WEBHOOK_SPOOL_DIR on a faster disk, best one that caches "
                                  "safely."
                                : NULL,
            "%s: 4 KiB are safe after %.2f ms (median of %d fdatasyncs)", d->cfg.spool_dir,
            (double)took / 1000, n);
}

/* --- limits of this process's surroundings ----------------------------------------------- */

void doctor_files(struct doctor *d)
{
    const struct config *c = &d->cfg;
    struct rlimit limit;
    long long needed = c->max_connections + c->db_pool_size + c->db_max_overflow +
                       c->read_connections + DESCRIPTORS_BESIDE;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    if (limit.rlim_cur == RLIM_INFINITY || (long long)limit.rlim_cur >= needed)
        doctor_say(d, DOCTOR_OK, NULL, "a process started from here may open enough of them");
    else if (limit.rlim_max == RLIM_INFINITY || (long long)limit.rlim_max >= needed)
        doctor_say(d, DOCTOR_WARNING,
            "Set LimitNOFILE= of the unit, or ulimit -n; or lower WEBHOOK_MAX_CONNECTIONS.",
            "a process started from here may open %lld files, a producer needs up to %lld",
            (long long)limit.rlim_cur, needed);
    else
        doctor_say(d, DOCTOR_WARNING,
            "Raise the hard limit (LimitNOFILE=, /etc/security/limits.conf, --ulimit nofile), or "
            "lower WEBHOOK_MAX_CONNECTIONS.",
            "a process started from here may open no more than %lld files, a producer needs up to "
            "%lld",
            (long long)limit.rlim_max, needed);
}

void doctor_memory(struct doctor *d)
{
    const struct config *c = &d->cfg;
    int64_t limit = cgroup_memory_limit("/proc/self/cgroup", "/sys/fs/cgroup");
    int64_t workers = c->workers ? c->workers : prefork_cores(), most = workers * c->max_rss;
    struct buf told = {0}, fleet = {0};
    put_bytes(&told, limit);
    put_bytes(&fleet, most);
    if (limit < 0)
        doctor_say(d, DOCTOR_OK, NULL, "no container limits memory here");
    else if (!c->max_rss)
        doctor_say(d, DOCTOR_WARNING,
            "Set WEBHOOK_MAX_RSS so that WEBHOOK_WORKERS processes of that size fit in.",
            "memory is limited to %s here, and WEBHOOK_MAX_RSS replaces no process before that",
            buf_str(&told));
    else if (most > limit / 10 * 9)
        doctor_say(d, DOCTOR_WARNING,
            "Lower WEBHOOK_MAX_RSS or WEBHOOK_WORKERS, or raise the container's limit.",
            "%lld workers of WEBHOOK_MAX_RSS are %s, and memory is limited to %s here",
            (long long)workers, buf_str(&fleet), buf_str(&told));
    else
        doctor_say(d, DOCTOR_OK, NULL, "workers are replaced (%s together) below the limit of %s",
            buf_str(&fleet), buf_str(&told));
    buf_release(&told);
    buf_release(&fleet);
}
