/* spool: see spool.h. The loop side owns all bookkeeping; the offload thread only writes and syncs
 * one prepared buffer at one offset. */
#include "io/spool.h"

#include "base/crashpoint.h"
#include "base/digest.h"
#include "base/mem.h"
#include "base/uuid.h"

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char magic[8] = {'H', 'K', 'S', 'P', 'O', 'O', 'L', '1'};
enum { FRAME_HEAD = 8, GROUP_ITEMS = 1024, GROUP_BYTES = 4 * 1024 * 1024, MAX_WAITING = 65536 };

struct segment {
    struct list_node node;
    char *path;
    int fd; /* holds the lock */
    int64_t
        end; /* ours: whole frames, synced. Adopted: end of file, until the reader comes to it */
    int64_t head; /* first byte not yet committed by the reader */
};

struct spool {
    struct loop *loop;
    struct offload *offload;
    char *dir;
    int64_t max_bytes;
    struct list segments; /* ours is the last */
    struct segment *own;
    struct batch *batch;

    /* the write under way */
    struct offload_job job;
    struct list items;
    struct buf out;
    bool busy;
    int error; /* errno of the thread's work, 0 = good */

    /* the read under way */
    struct segment *reading;
    int64_t read_to;
    struct buf in;
};

/* --- frames ------------------------------------------------------------------------------ */

static void put_frame(struct buf *b, const void *data, size_t len)
{
    uint32_t head[2] = {htole32((uint32_t)len), htole32(digest_crc32c(0, data, len))};
    buf_append(b, head, sizeof(head));
    buf_append(b, data, len);
}

/* Length of the whole, intact frame at p, payload included; 0 when there is none. */
static size_t frame_at(const char *p, size_t left)
{
    uint32_t head[2];
    if (left < FRAME_HEAD)
        return 0;
    memcpy(head, p, sizeof(head));
    size_t len = le32toh(head[0]);
    if (len == 0 || len > SPOOL_MAX_RECORD || left - FRAME_HEAD < len)
        return 0;
    if (digest_crc32c(0, p + FRAME_HEAD, len) != le32toh(head[1]))
        return 0;
    return FRAME_HEAD + len;
}

/* --- segments ---------------------------------------------------------------------------- */

static void segment_free(struct segment *g)
{
    if (g->fd >= 0)
        close(g->fd);
    free(g->path);
    free(g);
}

static bool load(int fd, int64_t from, size_t len, struct buf *out)
{
    buf_clear(out);
    char *to = buf_reserve(out, len);
    while (out->len < len) {
        ssize_t n = pread(fd, to + out->len, len - out->len, from + (int64_t)out->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        out->len += (size_t)n;
    }
    return true;
}

/* Keeps the bytes from `at` on, which are no frame, beside the segment, for people; then cuts them
 * off. False, and nothing cut, when they cannot be kept. */
static bool cut_tail(struct segment *g, int64_t at)
{
    enum { PIECE = 256 * 1024 };
    char *path = mem_printf("%s.cut", g->path);
    struct buf piece = {0};
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    bool kept = fd >= 0;

    for (int64_t from = at; kept && from < g->end; from += (int64_t)piece.len) {
        int64_t left = g->end - from;
        kept = load(g->fd, from, left < PIECE ? (size_t)left : PIECE, &piece) &&
               write(fd, piece.data, piece.len) == (ssize_t)piece.len;
    }
    if (fd >= 0)
        close(fd);
    kept = kept && ftruncate(g->fd, at) == 0;
    if (kept)
        g->end = at;
    buf_release(&piece);
    free(path);
    return kept;
}

/* Takes the whole file for frames; the reader finds out where they end as it comes to them. False:
 * no segment, or one that cannot be read now. */
static bool look_into(struct segment *g)
{
    struct stat st;
    char head[sizeof(magic)];

    if (fstat(g->fd, &st) < 0 || pread(g->fd, head, sizeof(head), 0) != sizeof(head))
        return false;
    if (memcmp(head, magic, sizeof(head)) != 0)
        return false;
    g->head = sizeof(magic);
    g->end = st.st_size;
    return true;
}

static void sync_dir(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

static struct segment *create_segment(const char *dir, struct hl_err *err)
{
    char host[64] = "host", id[UUID_STRLEN + 1];
    struct uuid nonce = uuid_v4();
    struct segment *g = mem_new(struct segment);

    gethostname(host, sizeof(host) - 1);
    uuid_format(&nonce, id);
    g->path = mem_printf("%s/%s-%d-%.8s.seg", dir, host, (int)getpid(), id);
    g->fd = open(g->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    /* An adopter that looks right now lets go at once: there is no magic in the file yet. */
    if (g->fd < 0 || flock(g->fd, LOCK_EX) < 0 ||
        pwrite(g->fd, magic, sizeof(magic), 0) != sizeof(magic) || fsync(g->fd) < 0) {
        hl_fail(err, HL_FATAL,
            "spool %s: cannot create a segment: %s; make the folder writable "
            "for this user or set WEBHOOK_SPOOL_DIR",
            dir, strerror(errno));
        if (g->fd >= 0)
            unlink(g->path);
        segment_free(g);
        return NULL;
    }
    g->head = g->end = sizeof(magic);
    sync_dir(dir);
    return g;
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
    free(path);
    if (rc == 0 || errno == EEXIST)
        return true;
    hl_fail(err, HL_FATAL,
        "spool folder %s cannot be made: %s; create it for this user or set "
        "WEBHOOK_SPOOL_DIR",
        dir, strerror(errno));
    return false;
}

static bool is_segment(const char *name)
{
    size_t len = strlen(name);
    return len > 4 && strcmp(name + len - 4, ".seg") == 0;
}

/* Bytes of all segments in the folder, whoever owns them. */
static int64_t folder_bytes(const struct spool *s)
{
    int64_t sum = 0;
    DIR *d = opendir(s->dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        if (is_segment(e->d_name) && fstatat(dirfd(d), e->d_name, &st, 0) == 0)
            sum += st.st_size;
    }
    if (d)
        closedir(d);
    return sum;
}

/* --- append ------------------------------------------------------------------------------ */

static int write_all(int fd, const char *data, size_t len, int64_t at)
{
    while (len) {
        ssize_t n = pwrite(fd, data, len, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        data += n;
        len -= (size_t)n;
        at += n;
    }
    return 0;
}

static void write_and_sync(struct offload_job *job)
{
    struct spool *s = LIST_OF(job, struct spool, job);
    s->error = write_all(s->own->fd, s->out.data, s->out.len, s->own->end);
    CRASH_POINT("spool.sync");
    if (!s->error && fdatasync(s->own->fd) < 0)
        s->error = errno;
    /* Nothing half-written: what was not synced must not be read as a record later. */
    if (s->error && ftruncate(s->own->fd, s->own->end) < 0) {
        /* the next write goes to the same offset, and a reader stops at the synced end */
    }
}

static void answer(struct list *items, enum hl_rc rc, const struct hl_err *err)
{
    for (struct list_node *n; (n = list_pop(items));) {
        struct spool_append *a = LIST_OF(n, struct spool_append, item.node);
        a->done(a, rc, err);
    }
}

static void written(struct offload_job *job)
{
    struct spool *s = LIST_OF(job, struct spool, job);
    struct hl_err err;
    struct list items;

    list_init(&items);
    list_splice(&items, &s->items);
    s->busy = false;
    CRASH_POINT("spool.synced");
    if (!s->error)
        s->own->end += (int64_t)s->out.len;
    buf_clear(&s->out);
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

/* The quota is looked up once per flush: a stat per segment, beside an fdatasync. */
static void flush(struct list *items, void *ctx)
{
    struct spool *s = ctx;
    int64_t room = s->max_bytes - folder_bytes(s);

    for (struct list_node *n; (n = list_pop(items));) {
        struct spool_append *a = LIST_OF(n, struct spool_append, item.node);
        if (a->len > SPOOL_MAX_RECORD || (int64_t)(s->out.len + a->len + FRAME_HEAD) > room) {
            batch_refuse(s->batch, &a->item);
            continue;
        }
        put_frame(&s->out, a->data, a->len);
        list_push(&s->items, n);
    }
    if (!s->items.len) {
        batch_done(s->batch);
        return;
    }
    s->busy = true;
    s->job.work = write_and_sync;
    s->job.done = written;
    CRASH_POINT("spool.append");
    offload_run(s->offload, &s->job);
}

void spool_append(struct spool *s, struct spool_append *a)
{
    a->item.bytes = a->len + FRAME_HEAD;
    batch_add(s->batch, &a->item);
}

/* --- read -------------------------------------------------------------------------------- */

static void retire(struct spool *s, struct segment *g)
{
    if (g != s->own) {
        unlink(g->path);
        list_remove(&s->segments, &g->node);
        segment_free(g);
        return;
    }
    if (s->busy)
        return; /* a write is under way; the next commit finds it empty */
    if (ftruncate(g->fd, sizeof(magic)) == 0)
        g->head = g->end = sizeof(magic);
}

static struct segment *first_unread(struct spool *s)
{
    LIST_EACH(&s->segments, n)
    {
        struct segment *g = LIST_OF(n, struct segment, node);
        if (g->head < g->end)
            return g;
    }
    return NULL;
}

/* Loads what follows g->head; false when the disk does not give it now. */
static bool load_window(struct spool *s, struct segment *g)
{
    enum { WINDOW = 4 * 1024 * 1024 }; /* holds several of the largest records */
    int64_t left = g->end - g->head;
    return load(g->fd, g->head, left < WINDOW ? (size_t)left : WINDOW, &s->in);
}

/* Lets go of an adopted segment, its lock included; the file stays. */
static void abandon(struct spool *s, struct segment *g)
{
    list_remove(&s->segments, &g->node);
    segment_free(g);
}

size_t spool_read(struct spool *s, struct spool_record *out, size_t max)
{
    for (struct segment *g; !s->reading && (g = first_unread(s));) {
        size_t n = 0, at = 0;
        if (!load_window(s, g)) {
            if (g == s->own)
                return 0;
            abandon(s, g);
            continue;
        }
        for (size_t frame; n < max && (frame = frame_at(s->in.data + at, s->in.len - at));
             at += frame)
            out[n++] = (struct spool_record){s->in.data + at + FRAME_HEAD, frame - FRAME_HEAD};
        if (n) {
            s->reading = g;
            s->read_to = g->head + (int64_t)at;
            return n;
        }
        if (g == s->own && s->busy)
            return 0;             /* never while a write to it is under way */
        if (cut_tail(g, g->head)) /* torn by a crash, or damaged */
            retire(s, g);
        else if (g != s->own)
            abandon(s, g);
        else
            return 0;
    }
    return 0;
}

void spool_commit(struct spool *s)
{
    struct segment *g = s->reading;
    if (!g)
        return;
    s->reading = NULL;
    g->head = s->read_to;
    if (g->head == g->end)
        retire(s, g);
}

void spool_rewind(struct spool *s)
{
    s->reading = NULL;
}

void spool_skip(struct spool *s)
{
    struct segment *g = s->reading;
    s->reading = NULL;
    if (g && g != s->own)
        abandon(s, g);
}

int64_t spool_depth(const struct spool *s)
{
    int64_t sum = 0;
    LIST_EACH(&s->segments, n)
    {
        const struct segment *g = LIST_OF(n, struct segment, node);
        sum += g->end - g->head;
    }
    return sum;
}

/* --- open, adopt, close ------------------------------------------------------------------ */

static bool ours(const struct spool *s, const char *path)
{
    LIST_EACH(&s->segments, n)
    {
        if (strcmp(LIST_OF(n, struct segment, node)->path, path) == 0)
            return true;
    }
    return false;
}

/* True when the path still names the locked file: another adopter may have removed it meanwhile. */
static bool same_file(const struct segment *g)
{
    struct stat a, b;
    return fstat(g->fd, &a) == 0 && stat(g->path, &b) == 0 && a.st_ino == b.st_ino;
}

static bool adopt_one(struct spool *s, const char *name)
{
    char *path = mem_printf("%s/%s", s->dir, name);
    if (ours(s, path)) {
        free(path);
        return false;
    }
    struct segment *g = mem_new(struct segment);
    g->path = path;
    g->fd = open(path, O_RDWR | O_CLOEXEC);
    if (g->fd < 0 || flock(g->fd, LOCK_EX | LOCK_NB) < 0 || !same_file(g) || !look_into(g)) {
        segment_free(g);
        return false;
    }
    if (g->head == g->end) {
        unlink(path);
        segment_free(g);
        return false;
    }
    list_push_front(&s->segments, &g->node);
    return true;
}

int spool_adopt(struct spool *s)
{
    int n = 0;
    DIR *d = opendir(s->dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (is_segment(e->d_name))
            n += adopt_one(s, e->d_name);
    }
    if (d)
        closedir(d);
    return n;
}

struct spool *spool_open(
    struct loop *l, struct offload *o, const char *dir, int64_t max_bytes, struct hl_err *err)
{
    if (!make_dir(dir, err))
        return NULL;
    struct segment *own = create_segment(dir, err);
    if (!own)
        return NULL;
    struct spool *s = mem_new(struct spool);
    s->loop = l;
    s->offload = o;
    s->dir = mem_strdup(dir);
    s->max_bytes = max_bytes;
    s->own = own;
    list_init(&s->segments);
    list_init(&s->items);
    list_push(&s->segments, &own->node);
    s->batch = batch_new(l, &(struct batch_conf){.max_items = GROUP_ITEMS,
                                .max_bytes = GROUP_BYTES,
                                .max_waiting = MAX_WAITING,
                                .flush = flush,
                                .refused = refused,
                                .ctx = s});
    return s;
}

void spool_close(struct spool *s)
{
    if (!s)
        return;
    if (s->own->head == s->own->end)
        unlink(s->own->path);
    for (struct list_node *n; (n = list_pop(&s->segments));)
        segment_free(LIST_OF(n, struct segment, node));
    batch_free(s->batch);
    buf_release(&s->out);
    buf_release(&s->in);
    free(s->dir);
    free(s);
}
