/* spool: see spool.h. The loop side owns all bookkeeping; the offload thread only writes and syncs
 * one prepared buffer, into a segment that it makes where one is due. */
#include "io/spool.h"

#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/mem.h"
#include "io/spool_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
    GROUP_ITEMS = 1024,
    GROUP_BYTES = 4 * 1024 * 1024,
    MAX_WAITING = 65536,
    MAX_ADOPTED = 64, /* held at a time: each is an open file */
    SEGMENT_MIN = 64 * 1024,
    SEGMENT_MAX = 64 * 1024 * 1024,
    TAKES_BYTES = 64 * 1024, /* room that an event needs, and a segment's start */
    FAILED_MS = 10000,       /* so long after a failed write it is not to be counted on */
};

struct segment {
    struct list_node node;
    char *path;
    int fd; /* holds the lock */
    /* ours: whole frames, synced. Adopted: end of file; the reader finds out what is no frame */
    int64_t end;
    int64_t head;     /* first byte not yet committed by the reader */
    int64_t searched; /* behind head: no frame begins before; 0 = head is where to look */
    bool adopted;     /* not ours from the beginning */
    bool given_up;    /* never appended to again; the thread's while a write is under way */
    bool later;       /* cannot be read now: the others first */
    bool listed;      /* see spool_list */
};

struct spool {
    struct loop *loop;
    struct offload *offload;
    char *dir;
    const char *suffix; /* of its segments' files */
    int64_t max_bytes, segment_bytes;
    struct list adopted, mine; /* segments, the older ones first */
    struct segment *own;       /* the last of mine: appended to; NULL: the disk was full so far */
    struct batch *batch;
    struct spool_faults faults;
    bool keep_listed;

    /* the write under way; the thread's from flush to written */
    struct offload_job job;
    struct list items;
    struct buf out;
    struct segment *target; /* NULL: a new one is due */
    struct segment *fresh;  /* the new one */
    char *fresh_path;
    bool busy;
    int error;         /* errno of the thread's work, 0 = good */
    int64_t failed_ms; /* when that was last not good; 0 = never, or mended since */

    /* the read under way */
    struct segment *reading;
    int64_t read_to;
    struct buf in;
};

/* --- segments ---------------------------------------------------------------------------- */

static void segment_free(struct segment *g)
{
    if (g->fd >= 0)
        close(g->fd);
    free(g->path);
    free(g);
}

/* NULL with errno. */
static struct segment *segment_create(const char *path, const char *dir)
{
    int fd = spool_file_create(path, dir);
    if (fd < 0)
        return NULL;
    struct segment *g = mem_new(struct segment);
    g->path = mem_strdup(path);
    g->fd = fd;
    g->head = g->end = SPOOL_START;
    return g;
}

static const char *name_of(const struct segment *g)
{
    return strrchr(g->path, '/') + 1;
}

/* Lets go of a segment, its lock included; the file stays. */
static void abandon(struct spool *s, struct segment *g)
{
    list_remove(g->adopted ? &s->adopted : &s->mine, &g->node);
    segment_free(g);
}

/* All of it is committed. */
static void retire(struct spool *s, struct segment *g)
{
    if (g == s->own && s->busy)
        return; /* `written` looks again */
    if (g != s->own && !g->listed) {
        unlink(g->path);
        abandon(s, g);
    } else if (ftruncate(g->fd, SPOOL_START) == 0) {
        g->head = g->end = SPOOL_START;
    }
}

static bool make_dir(const char *dir, struct hl_err *err)
{
    char *path = mem_strdup(dir);
    int rc = 0;
    for (char *p = path + 1; *p && (rc == 0 || errno == EEXIST); p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        rc = mkdir(path, 0755);
        *p = '/';
    }
    rc = mkdir(path, 0700);
    bool made = rc == 0 || errno == EEXIST;
    int error = errno;
    if (rc == 0 && strrchr(path, '/') > path) {
        *strrchr(path, '/') = '\0';
        spool_sync_dir(path);
    }
    free(path);
    if (made)
        return true;
    hl_fail(err, HL_FATAL,
        "spool folder %s cannot be made: %s; create it for this user or set "
        "WEBHOOK_SPOOL_DIR",
        dir, strerror(error));
    return false;
}

static bool is_any_segment(const char *name)
{
    return spool_is_segment(name, SPOOL_SEGMENT) || spool_is_segment(name, SPOOL_CRAWL);
}

/* Bytes of the segments of a kind (NULL: of all) in the folder, whoever owns them, less `head` of
 * each. */
static int64_t folder_bytes(const struct spool *s, const char *suffix, int64_t head)
{
    int64_t sum = 0;
    DIR *d = opendir(s->dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        bool counts = suffix ? spool_is_segment(e->d_name, suffix) : is_any_segment(e->d_name);
        if (counts && fstatat(dirfd(d), e->d_name, &st, 0) == 0 && st.st_size > head)
            sum += st.st_size - head;
    }
    if (d)
        closedir(d);
    return sum;
}

int64_t spool_folder_depth(const struct spool *s)
{
    return folder_bytes(s, s->suffix, SPOOL_START);
}

void spool_folder_look(const struct spool *s, struct spool_folder *out)
{
    DIR *d = opendir(s->dir);
    *out = (struct spool_folder){0};
    for (struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        if (!spool_is_segment(e->d_name, s->suffix) || fstatat(dirfd(d), e->d_name, &st, 0) < 0 ||
            st.st_size <= SPOOL_START)
            continue;
        int64_t written = st.st_mtim.tv_sec * 1000000LL + st.st_mtim.tv_nsec / 1000;
        out->bytes += st.st_size - SPOOL_START;
        if (!out->written_us || written < out->written_us)
            out->written_us = written;
    }
    if (d)
        closedir(d);
}

/* --- append: in the thread --------------------------------------------------------------- */

/* 0, or the errno; then nothing half-written stays, where the disk lets us. A segment outlives a
 * disk that says it is full when written to, and nothing else. */
static int write_group(struct segment *g, const struct buf *out)
{
    int error = spool_file_write(g->fd, out->data, out->len, g->end);
    g->given_up = error && error != ENOSPC && error != EDQUOT;
    CRASH_POINT("spool.sync");
    if (!error && fdatasync(g->fd) < 0) {
        error = errno;
        g->given_up = true;
    }
    if (error && ftruncate(g->fd, g->end) < 0)
        g->given_up = true;
    return error;
}

/* On failure nothing of the new segment is left: nothing in it was answered for. */
static int write_fresh(struct spool *s)
{
    struct segment *g = segment_create(s->fresh_path, s->dir);
    if (!g)
        return errno;
    int error = write_group(g, &s->out);
    if (error) {
        unlink(g->path);
        segment_free(g);
        return error;
    }
    s->fresh = g;
    return 0;
}

static void write_and_sync(struct offload_job *job)
{
    struct spool *s = LIST_OF(job, struct spool, job);
    s->error = 0;
    if (s->target) {
        s->error = write_group(s->target, &s->out);
        if (!s->target->given_up)
            return;
    }
    s->error = write_fresh(s);
}

/* --- append: in the loop ----------------------------------------------------------------- */

static void answer(struct list *items, enum hl_rc rc, const struct hl_err *err)
{
    for (struct list_node *n; (n = list_pop(items));) {
        struct spool_append *a = LIST_OF(n, struct spool_append, item.node);
        a->done(a, rc, err);
    }
}

/* The new segment takes the place of the one that was full or given up. */
static void succeed(struct spool *s)
{
    struct segment *old = s->own;
    list_push(&s->mine, &s->fresh->node);
    s->own = s->fresh;
    s->fresh = NULL;
    if (old && old->head == old->end)
        retire(s, old);
}

static void written(struct offload_job *job)
{
    struct spool *s = LIST_OF(job, struct spool, job);
    struct hl_err err;
    struct list items;

    list_init(&items);
    list_splice(&items, &s->items);
    s->busy = false;
    s->failed_ms = s->error ? clock_mono_ms() : 0;
    CRASH_POINT("spool.synced");
    s->faults.given_up += s->target && s->target->given_up;
    if (s->fresh)
        succeed(s);
    if (!s->error)
        s->own->end += (int64_t)s->out.len;
    else if (s->own && s->own->head == s->own->end)
        retire(s, s->own);
    buf_clear(&s->out);
    spool_trim(&s->out);
    free(s->fresh_path);
    s->fresh_path = NULL;
    batch_done(s->batch);
    if (s->error)
        hl_fail_why(&err, HL_RETRY, HL_WHY_FULL, "spool %s cannot be written: %s", s->dir,
            strerror(s->error));
    answer(&items, s->error ? HL_RETRY : HL_OK, s->error ? &err : NULL);
}

static void refused(struct batch_item *item, void *ctx)
{
    struct spool *s = ctx;
    struct spool_append *a = LIST_OF(item, struct spool_append, item);
    struct hl_err err;

    hl_fail_why(&err, HL_RETRY, HL_WHY_FULL, "spool %s is full (WEBHOOK_SPOOL_MAX_BYTES)", s->dir);
    a->done(a, HL_RETRY, &err);
}

static bool fits(const struct spool *s, const struct spool_append *a, int64_t room)
{
    return a->kept_already || (int64_t)(s->out.len + spool_frame_size(a->len)) <= room;
}

/* The quota is looked up once per flush: a stat per segment, beside an fdatasync. */
static void flush(struct list *items, void *ctx)
{
    struct spool *s = ctx;
    bool full = !s->own || s->own->given_up || s->own->end >= s->segment_bytes;
    int64_t room = s->max_bytes - folder_bytes(s, NULL, 0) - (full ? SPOOL_START : 0);

    for (struct list_node *n; (n = list_pop(items));) {
        struct spool_append *a = LIST_OF(n, struct spool_append, item.node);
        if (a->len > SPOOL_MAX_RECORD || !fits(s, a, room)) {
            batch_refuse(s->batch, &a->item);
            continue;
        }
        spool_put_frame(&s->out, a->data, a->len);
        list_push(&s->items, n);
    }
    if (!s->items.len) {
        batch_done(s->batch);
        return;
    }
    s->busy = true;
    s->target = full ? NULL : s->own;
    s->fresh_path = spool_new_path(s->dir, s->suffix);
    s->job.work = write_and_sync;
    s->job.done = written;
    CRASH_POINT("spool.append");
    offload_run(s->offload, &s->job);
}

void spool_append(struct spool *s, struct spool_append *a)
{
    a->item.bytes = spool_frame_size(a->len);
    batch_add(s->batch, &a->item);
}

static bool disk_has_room(const struct spool *s)
{
    struct statvfs disk;
    return statvfs(s->dir, &disk) == 0 && !(disk.f_flag & ST_RDONLY) &&
           (int64_t)disk.f_bavail * (int64_t)disk.f_frsize >= TAKES_BYTES;
}

bool spool_takes(const struct spool *s)
{
    if (s->failed_ms && clock_mono_ms() - s->failed_ms < FAILED_MS)
        return false;
    return disk_has_room(s) && s->max_bytes - folder_bytes(s, NULL, 0) >= TAKES_BYTES;
}

bool spool_append_undo(struct spool *s, struct spool_append *a)
{
    return batch_remove(s->batch, &a->item);
}

/* --- read -------------------------------------------------------------------------------- */

static struct segment *unread_of(const struct list *segments)
{
    LIST_EACH(segments, n)
    {
        struct segment *g = LIST_OF(n, struct segment, node);
        if (g->head < g->end && !g->later)
            return g;
    }
    return NULL;
}

static void not_later(struct list *segments)
{
    LIST_EACH(segments, n)
    {
        LIST_OF(n, struct segment, node)->later = false;
    }
}

/* NULL: all is read, or what is left cannot be read now; the next call tries that again. */
static struct segment *first_unread(struct spool *s)
{
    struct segment *g = unread_of(&s->adopted);
    if (!g)
        g = unread_of(&s->mine);
    if (!g) {
        not_later(&s->adopted);
        not_later(&s->mine);
    }
    return g;
}

/* The disk does not give it now, or it cannot be worked off here. */
static void put_off(struct spool *s, struct segment *g)
{
    if (g->adopted)
        abandon(s, g);
    else
        g->later = true;
}

/* What is at g->head is no frame: sets it aside up to the next one. A long search goes on with the
 * next reads, behind the other segments. False when the disk does not let us now. */
static bool pass_damage(struct spool *s, struct segment *g)
{
    if (!g->searched)
        g->searched = g->head + 1;
    enum spool_search found = spool_file_search(g->fd, &g->searched, g->end, &s->in);
    g->later = found == SPOOL_GO_ON;
    if (g->later)
        return true;
    if (found == SPOOL_UNREADABLE || !spool_file_keep_aside(g->path, g->fd, g->head, g->searched))
        return false;
    s->faults.cut_bytes += g->searched - g->head;
    g->head = g->searched;
    g->searched = 0;
    if (g->head == g->end)
        retire(s, g);
    return true;
}

/* As many whole frames as follow in s->in; *bytes: up to the end of the last. */
static size_t frames_in(const struct spool *s, struct spool_record *out, size_t max, size_t *bytes)
{
    size_t n = 0, at = 0;
    struct spool_frame f;
    for (size_t frame;
         n < max && (frame = spool_frame_at(buf_str(&s->in) + at, s->in.len - at, &f)); at += frame)
        out[n++] = (struct spool_record){s->in.data + at + f.head, f.payload};
    *bytes = at;
    return n;
}

size_t spool_read(struct spool *s, struct spool_record *out, size_t max)
{
    for (struct segment *g; !s->reading && (g = first_unread(s));) {
        size_t bytes;
        bool whole = spool_file_read_window(g->fd, g->head, g->end, &s->in);
        size_t n = frames_in(s, out, max, &bytes);
        if (n) {
            s->reading = g;
            s->read_to = g->head + (int64_t)bytes;
            return n;
        }
        if (whole && pass_damage(s, g))
            continue;
        s->faults.unreadable++;
        put_off(s, g);
    }
    return 0;
}

void spool_commit(struct spool *s)
{
    struct segment *g = s->reading;
    if (!g)
        return;
    s->reading = NULL;
    spool_trim(&s->in);
    g->head = s->read_to;
    if (g->head == g->end)
        retire(s, g);
}

void spool_rewind(struct spool *s)
{
    s->reading = NULL;
    spool_trim(&s->in);
}

void spool_skip(struct spool *s)
{
    struct segment *g = s->reading;
    s->reading = NULL;
    spool_trim(&s->in);
    if (g)
        put_off(s, g);
}

static int64_t depth_of(const struct list *segments)
{
    int64_t sum = 0;
    LIST_EACH(segments, n)
    {
        const struct segment *g = LIST_OF(n, struct segment, node);
        sum += g->end - g->head;
    }
    return sum;
}

int64_t spool_depth(const struct spool *s)
{
    return depth_of(&s->adopted) + depth_of(&s->mine);
}

struct spool_faults spool_faults(const struct spool *s)
{
    return s->faults;
}

/* --- the list kept elsewhere ------------------------------------------------------------- */

static void each_of(const struct list *segments, spool_each_fn *each, void *ctx)
{
    LIST_EACH(segments, n)
    {
        const struct segment *g = LIST_OF(n, struct segment, node);
        each(&(struct spool_segment){name_of(g), g->end - g->head, g->listed}, ctx);
    }
}

void spool_each(const struct spool *s, spool_each_fn *each, void *ctx)
{
    each_of(&s->adopted, each, ctx);
    each_of(&s->mine, each, ctx);
}

static struct segment *find_in(const struct list *segments, const char *name)
{
    LIST_EACH(segments, n)
    {
        struct segment *g = LIST_OF(n, struct segment, node);
        if (strcmp(name_of(g), name) == 0)
            return g;
    }
    return NULL;
}

static struct segment *find(const struct spool *s, const char *name)
{
    struct segment *g = find_in(&s->adopted, name);
    return g ? g : find_in(&s->mine, name);
}

void spool_keep_listed(struct spool *s)
{
    s->keep_listed = true;
}

bool spool_list(struct spool *s, const char *name)
{
    struct segment *g = find(s, name);
    if (g)
        g->listed = true;
    return g != NULL;
}

void spool_unlist(struct spool *s, const char *name)
{
    struct segment *g = find(s, name);
    if (!g)
        return;
    g->listed = false;
    if (g->head == g->end)
        retire(s, g);
}

/* --- open, adopt, close ------------------------------------------------------------------ */

/* True when the path still names the locked file: another adopter may have removed it meanwhile. */
static bool same_file(const struct segment *g)
{
    struct stat a, b;
    return fstat(g->fd, &a) == 0 && stat(g->path, &b) == 0 && a.st_ino == b.st_ino;
}

/* Takes the whole file for frames; the reader finds out where they end as it comes to them. False:
 * no segment, or one that cannot be read now. */
static bool look_into(struct segment *g)
{
    struct stat st;
    struct buf in = {0};
    bool ours = fstat(g->fd, &st) == 0 && spool_file_is_segment(g->fd, &in);
    buf_release(&in);
    if (!ours)
        return false;
    g->head = SPOOL_START;
    g->end = st.st_size;
    return true;
}

/* Whether it has records. */
static bool adopt_one(struct spool *s, const char *name)
{
    if (find(s, name))
        return false;
    struct segment *g = mem_new(struct segment);
    g->path = mem_printf("%s/%s", s->dir, name);
    g->adopted = true;
    g->listed = s->keep_listed;
    g->fd = open(g->path, O_RDWR | O_CLOEXEC);
    if (g->fd < 0 || flock(g->fd, LOCK_EX | LOCK_NB) < 0 || !same_file(g) || !look_into(g)) {
        segment_free(g);
        return false;
    }
    list_push(&s->adopted, &g->node);
    if (g->head < g->end)
        return true;
    retire(s, g);
    return false;
}

struct candidate {
    char *name;
    bool empty;
    struct timespec written;
};

static int by_age(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->written.tv_sec != y->written.tv_sec)
        return x->written.tv_sec < y->written.tv_sec ? -1 : 1;
    if (x->written.tv_nsec != y->written.tv_nsec)
        return x->written.tv_nsec < y->written.tv_nsec ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* The segments in the folder, the one last written to first. Caller frees names and array. */
static struct candidate *candidates(const struct spool *s, size_t *n)
{
    struct candidate *all = NULL;
    DIR *d = opendir(s->dir);
    *n = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        if (!spool_is_segment(e->d_name, s->suffix) || fstatat(dirfd(d), e->d_name, &st, 0) < 0)
            continue;
        all = mem_grow(all, (*n + 1) * sizeof(*all));
        all[(*n)++] =
            (struct candidate){mem_strdup(e->d_name), st.st_size <= SPOOL_START, st.st_mtim};
    }
    if (d)
        closedir(d);
    if (*n)
        qsort(all, *n, sizeof(*all), by_age);
    return all;
}

/* Empty ones wait for their entries to go. They must not take the places of those with records. */
static void let_go_of_empty(struct spool *s)
{
    LIST_EACH(&s->adopted, n)
    {
        struct segment *g = LIST_OF(n, struct segment, node);
        if (g->head == g->end)
            abandon(s, g);
    }
}

int spool_adopt(struct spool *s)
{
    size_t n;
    int adopted = 0;
    struct candidate *all = candidates(s, &n);
    if (s->adopted.len > MAX_ADOPTED / 2)
        let_go_of_empty(s);
    for (size_t i = 0; i < n; i++) {
        if (s->adopted.len < (all[i].empty ? MAX_ADOPTED / 2 : MAX_ADOPTED))
            adopted += adopt_one(s, all[i].name);
        free(all[i].name);
    }
    free(all);
    return adopted;
}

/* *own: NULL when the disk is full now. That passes, and PostgreSQL may be well meanwhile. */
static bool first_segment(
    const char *dir, const char *suffix, struct segment **own, struct hl_err *err)
{
    char *path = spool_new_path(dir, suffix);
    *own = segment_create(path, dir);
    int error = *own ? 0 : errno;
    free(path);
    if (!error || error == ENOSPC || error == EDQUOT)
        return true;
    hl_fail(err, HL_FATAL,
        "spool %s: cannot create a segment: %s; make the folder writable "
        "for this user or set WEBHOOK_SPOOL_DIR",
        dir, strerror(error));
    return false;
}

struct spool *spool_open(
    struct loop *l, struct offload *o, const char *dir, int64_t max_bytes, struct hl_err *err)
{
    return spool_open_kind(l, o, dir, SPOOL_SEGMENT, max_bytes, err);
}

/* own: NULL = there is none yet. */
static struct spool *spool_new(struct loop *l, struct offload *o, const char *dir,
    const char *suffix, int64_t max_bytes, struct segment *own)
{
    struct spool *s = mem_new(struct spool);
    int64_t eighth = max_bytes / 8;
    s->loop = l;
    s->offload = o;
    s->dir = mem_strdup(dir);
    s->suffix = suffix;
    s->max_bytes = max_bytes;
    s->segment_bytes = eighth < SEGMENT_MIN   ? SEGMENT_MIN
                       : eighth > SEGMENT_MAX ? SEGMENT_MAX
                                              : eighth;
    s->own = own;
    list_init(&s->adopted);
    list_init(&s->mine);
    list_init(&s->items);
    if (own)
        list_push(&s->mine, &own->node);
    s->batch = batch_new(l, &(struct batch_conf){.label = STATEMENT_SPOOL,
                                .max_items = GROUP_ITEMS,
                                .max_bytes = GROUP_BYTES,
                                .max_waiting = MAX_WAITING,
                                .flush = flush,
                                .refused = refused,
                                .ctx = s});
    return s;
}

struct spool *spool_open_kind(struct loop *l, struct offload *o, const char *dir,
    const char *suffix, int64_t max_bytes, struct hl_err *err)
{
    struct segment *own;
    if (!make_dir(dir, err) || !first_segment(dir, suffix, &own, err))
        return NULL;
    return spool_new(l, o, dir, suffix, max_bytes, own);
}

struct spool *spool_open_left(
    struct loop *l, struct offload *o, const char *dir, const char *suffix)
{
    return spool_new(l, o, dir, suffix, 0, NULL);
}

static void close_segments(struct list *segments)
{
    for (struct list_node *n; (n = list_pop(segments));) {
        struct segment *g = LIST_OF(n, struct segment, node);
        if (g->head == g->end && !g->listed)
            unlink(g->path);
        segment_free(g);
    }
}

void spool_close(struct spool *s)
{
    if (!s)
        return;
    close_segments(&s->adopted);
    close_segments(&s->mine);
    if (s->fresh)
        segment_free(s->fresh); /* nobody was told; the file is left to whoever adopts it */
    free(s->fresh_path);
    batch_free(s->batch);
    buf_release(&s->out);
    buf_release(&s->in);
    free(s->dir);
    free(s);
}
