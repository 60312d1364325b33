/* The spool alone on a loop: what was answered HL_OK is on disk and comes back, whatever happens
 * to the process, the disk and the file. fdatasync, fsync and pread are ours here, to be held back
 * or to fail. */
#include "base/clock.h"
#include "base/digest.h"
#include "base/mem.h"
#include "io/spool.h"
#include "io/spool_file.h"
#include "tests/support/harness.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

TestSuite(spool, .timeout = 60);

#define MIB (1 << 20)

/* --- the disk ---------------------------------------------------------------------------- */

static atomic_int syncs, sync_error, read_error;
static atomic_int sync_errors; /* so many fail, -1 = all */
static atomic_int dir_syncs;
static atomic_bool sync_held;

int fdatasync(int fd)
{
    syncs++;
    while (sync_held)
        sched_yield();
    if (!sync_error || sync_errors == 0)
        return (int)syscall(SYS_fdatasync, fd);
    if (sync_errors > 0)
        sync_errors--;
    errno = sync_error;
    return -1;
}

int fsync(int fd)
{
    struct stat st;
    dir_syncs += fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
    return (int)syscall(SYS_fsync, fd);
}

static void fail_syncs(int error, int times)
{
    sync_errors = times;
    sync_error = error;
}

ssize_t pread(int fd, void *to, size_t len, off_t at)
{
    if (!read_error || at == 0) /* the magic can still be read */
        return syscall(SYS_pread64, fd, to, len, at);
    errno = read_error;
    return -1;
}

/* --- a process with a spool -------------------------------------------------------------- */

struct rig {
    struct loop *loop;
    struct offload *offload;
    struct spool *spool;
    int waiting;
};

static const char *new_dir(void)
{
    static int serial;
    return harness_text("%s/spool%d", harness_dir(), ++serial);
}

static void open_rig(struct rig *r, const char *dir, int64_t max_bytes)
{
    struct hl_err err = {0};
    *r = (struct rig){0};
    r->loop = loop_new(&err);
    r->offload = offload_new(r->loop, &err);
    r->spool = spool_open(r->loop, r->offload, dir, max_bytes, &err);
    cr_assert(r->spool, "%s", err.msg);
}

static void close_rig(struct rig *r)
{
    offload_free(r->offload);
    spool_close(r->spool);
    loop_free(r->loop);
}

struct append {
    struct spool_append a;
    struct rig *rig;
    enum hl_rc rc;
    struct hl_err err;
    int order;
};
static int answers;

static void answered(struct spool_append *a, enum hl_rc rc, const struct hl_err *err)
{
    struct append *p = a->ctx;
    p->rc = rc;
    p->order = ++answers;
    if (err)
        p->err = *err;
    if (--p->rig->waiting == 0)
        loop_stop(p->rig->loop);
}

/* Called back only from run(). data is borrowed until then. */
static void start_append(struct rig *r, struct append *p, const void *data, size_t len)
{
    *p = (struct append){.rig = r, .rc = HL_LOST};
    p->a = (struct spool_append){.data = data, .len = len, .done = answered, .ctx = p};
    r->waiting++;
    spool_append(r->spool, &p->a);
}

static void run(struct rig *r)
{
    while (r->waiting)
        loop_run(r->loop);
}

static struct append append_bytes(struct rig *r, const void *data, size_t len)
{
    struct append p;
    start_append(r, &p, data, len);
    run(r);
    return p;
}

static void append(struct rig *r, const char *text)
{
    struct append p = append_bytes(r, text, strlen(text));
    cr_assert_eq(p.rc, HL_OK, "%s: %s", text, p.err.msg);
}

/* Reads at most max and compares with the texts, joined by blanks. */
static void expect_read(struct rig *r, size_t max, const char *want)
{
    struct spool_record rec[16];
    struct buf got = {0};
    size_t n = spool_read(r->spool, rec, max);
    for (size_t i = 0; i < n; i++)
        buf_printf(&got, "%s%.*s", i ? " " : "", (int)rec[i].len, (const char *)rec[i].data);
    cr_assert_str_eq(buf_str(&got), want, "read \"%s\", not \"%s\"", buf_str(&got), want);
    buf_release(&got);
}

/* --- files ------------------------------------------------------------------------------- */

static int count_files(const char *dir, const char *suffix)
{
    int n = 0;
    DIR *d = opendir(dir);
    cr_assert(d, "%s", dir);
    for (struct dirent *e; (e = readdir(d));) {
        size_t len = strlen(e->d_name), want = strlen(suffix);
        n += len > want && strcmp(e->d_name + len - want, suffix) == 0;
    }
    closedir(d);
    return n;
}

static int64_t file_size(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (int64_t)st.st_size : -1;
}

/* The only segment in a folder. */
static const char *only_segment(const char *dir)
{
    char *path = NULL;
    DIR *d = opendir(dir);
    cr_assert_eq(count_files(dir, ".seg"), 1);
    for (struct dirent *e; (e = readdir(d));)
        if (strstr(e->d_name, ".seg") && !strstr(e->d_name, ".cut"))
            path = harness_text("%s/%s", dir, e->d_name);
    closedir(d);
    return path;
}

static void write_file(const char *path, const char *data, size_t len)
{
    FILE *f = fopen(path, "we");
    cr_assert(f, "%s: %s", path, strerror(errno));
    cr_assert_eq(fwrite(data, 1, len, f), len);
    fclose(f);
}

static void expect_file(const char *path, const char *data, size_t len)
{
    char *got = mem_zero(len + 2);
    FILE *f = fopen(path, "re");
    cr_assert(f, "%s: %s", path, strerror(errno));
    cr_expect_eq(fread(got, 1, len + 1, f), len, "%s", path);
    cr_expect(memcmp(got, data, len) == 0, "%s", path);
    fclose(f);
    free(got);
}

/* The file format, written here a second time on purpose. */
static void put_record(struct buf *b, const char *text)
{
    uint32_t head[2] = {
        htole32((uint32_t)strlen(text)), htole32(digest_crc32c(0, text, strlen(text)))};
    buf_append(b, head, sizeof(head));
    buf_puts(b, text);
}

/* Three records; ends[i]: bytes up to and including record i, ends[0] = the magic alone. */
static struct buf three_records(size_t ends[4])
{
    static const char *const texts[] = {"one", "second", "the third"};
    struct buf b = {0};
    buf_puts(&b, "HKSPOOL1");
    ends[0] = b.len;
    for (int i = 0; i < 3; i++) {
        put_record(&b, texts[i]);
        ends[i + 1] = b.len;
    }
    return b;
}

/* A process that appends n records, tells so on the pipe, and stays until it is killed. */
static pid_t fork_writer(const char *dir, int n, int *said)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct rig r;
        char text[32];
        open_rig(&r, dir, MIB);
        for (int i = 0; i < n; i++) {
            snprintf(text, sizeof(text), "r%d", i);
            append(&r, text);
        }
        if (write(ends[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    close(ends[1]);
    char c;
    cr_assert_eq(read(ends[0], &c, 1), 1);
    *said = ends[0];
    return pid;
}

static void kill_writer(pid_t pid, int said)
{
    kill(pid, SIGKILL);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    close(said);
}

static void leave_segment(const char *dir, int n)
{
    int said;
    pid_t pid = fork_writer(dir, n, &said);
    kill_writer(pid, said);
}

/* --- append, read, commit, rewind -------------------------------------------------------- */

Test(spool, records_come_back_in_order_until_they_are_committed)
{
    struct rig r;
    open_rig(&r, new_dir(), MIB);
    expect_read(&r, 16, "");
    append(&r, "a");
    append(&r, "b");
    append(&r, "c");
    cr_assert_eq(spool_depth(r.spool), 3 * 9);
    expect_read(&r, 2, "a b");
    expect_read(&r, 2, ""); /* one window at a time */
    spool_rewind(r.spool);
    expect_read(&r, 16, "a b c");
    spool_rewind(r.spool);
    expect_read(&r, 1, "a");
    spool_commit(r.spool);
    cr_assert_eq(spool_depth(r.spool), 2 * 9);
    expect_read(&r, 16, "b c");
    append(&r, "d"); /* while the window is out */
    spool_commit(r.spool);
    expect_read(&r, 16, "d");
    spool_commit(r.spool);
    expect_read(&r, 16, "");
    cr_assert_eq(spool_depth(r.spool), 0);
    spool_commit(r.spool); /* nothing was read: nothing happens */
    close_rig(&r);
}

Test(spool, an_append_is_answered_from_the_loop_only)
{
    struct rig r;
    struct append p;
    open_rig(&r, new_dir(), MIB);
    start_append(&r, &p, "a", 1);
    cr_assert_eq(p.rc, HL_LOST);
    run(&r);
    cr_assert_eq(p.rc, HL_OK);
    close_rig(&r);
}

Test(spool, a_record_that_is_not_synced_is_not_read)
{
    struct rig r;
    struct append p;
    open_rig(&r, new_dir(), MIB);
    sync_held = true;
    start_append(&r, &p, "a", 1);
    while (!syncs)
        loop_turn(r.loop);
    expect_read(&r, 16, "");
    cr_assert_eq(p.rc, HL_LOST);
    sync_held = false;
    run(&r);
    expect_read(&r, 16, "a");
    close_rig(&r);
}

Test(spool, what_queues_during_a_sync_shares_the_next_one)
{
    enum { N = 200 };
    struct rig r;
    struct append first, rest[N];
    open_rig(&r, new_dir(), MIB);
    sync_held = true;
    start_append(&r, &first, "first", 5);
    while (!syncs)
        loop_turn(r.loop);
    for (int i = 0; i < N; i++)
        start_append(&r, &rest[i], "later", 5);
    sync_held = false;
    run(&r);
    cr_assert_eq(syncs, 2, "%d syncs", syncs);
    cr_assert_eq(first.order, 1);
    for (int i = 0; i < N; i++) {
        cr_assert_eq(rest[i].rc, HL_OK);
        cr_assert_eq(rest[i].order, i + 2);
    }
    cr_assert_eq(spool_depth(r.spool), (N + 1) * (8 + 5));
    close_rig(&r);
}

Test(spool, what_waits_behind_a_disk_that_hangs_can_be_taken_back)
{
    struct rig r;
    struct append under_way, taken_back, kept;
    open_rig(&r, new_dir(), MIB);
    sync_held = true;
    start_append(&r, &under_way, "a", 1);
    while (!syncs)
        loop_turn(r.loop);
    start_append(&r, &taken_back, "b", 1);
    start_append(&r, &kept, "c", 1);
    cr_expect_not(spool_append_undo(r.spool, &under_way.a));
    cr_assert(spool_append_undo(r.spool, &taken_back.a));
    cr_expect_not(spool_append_undo(r.spool, &taken_back.a));
    r.waiting--;
    sync_held = false;
    run(&r);
    cr_expect_eq(taken_back.rc, HL_LOST, "it is not answered");
    expect_read(&r, 16, "a c");
    close_rig(&r);
}

static void fill(char *data, size_t len, int serial)
{
    memset(data, 'a' + serial, len);
    memcpy(data, "HKLARGE1", len < 8 ? len : 8); /* nothing that is in a record confuses */
}

/* Sizes around the window, the limit of small frames, and the largest of all. */
Test(spool, records_of_any_size_are_read_window_by_window, .timeout = 120)
{
    static const size_t sizes[] = {
        MIB, MIB, MIB, MIB, MIB, MIB, MIB + 1, 4 * MIB, 5 * MIB, 1, 40 * MIB, SPOOL_MAX_RECORD, 7};
    enum { N = sizeof(sizes) / sizeof(*sizes) };
    struct rig r;
    struct spool_record rec[16];
    char *data = mem_zero(SPOOL_MAX_RECORD + 1);
    const char *dir = new_dir();
    open_rig(&r, dir, 1024 * (int64_t)MIB);
    for (int i = 0; i < N; i++) {
        fill(data, sizes[i], i);
        cr_assert_eq(append_bytes(&r, data, sizes[i]).rc, HL_OK, "record %d", i);
    }
    struct append big = append_bytes(&r, data, SPOOL_MAX_RECORD + 1);
    cr_assert_eq(big.rc, HL_RETRY);
    int seen = 0;
    for (size_t n; (n = spool_read(r.spool, rec, 16)) > 0; spool_commit(r.spool))
        for (size_t i = 0; i < n; i++, seen++) {
            cr_assert_eq(rec[i].len, sizes[seen]);
            fill(data, sizes[seen], seen);
            cr_assert(memcmp(rec[i].data, data, sizes[seen]) == 0, "record %d", seen);
        }
    cr_assert_eq(seen, N);
    cr_assert_eq(spool_depth(r.spool), 0);
    cr_assert_eq(spool_faults(r.spool).cut_bytes, 0);
    close_rig(&r);
    free(data);
}

Test(spool, a_record_larger_than_the_quota_leaves_is_refused_and_leaves_nothing)
{
    struct rig r;
    char *data = mem_zero(20 * MIB);
    const char *dir = new_dir();
    open_rig(&r, dir, 16 * MIB);
    cr_assert_eq(append_bytes(&r, data, 10 * MIB).rc, HL_OK);
    struct append big = append_bytes(&r, data, 6 * MIB);
    cr_assert_eq(big.rc, HL_RETRY);
    cr_assert_eq(append_bytes(&r, "small", 5).rc, HL_OK);
    cr_assert_eq(spool_depth(r.spool), 10 * MIB + 16 + 13);
    close_rig(&r);
    free(data);
}

/* A byte in the head, the mark or the payload of the second of three records is wrong. */
Test(spool, the_reader_goes_on_behind_a_damaged_large_record, .timeout = 120)
{
    static const off_t where[] = {8 + 16 + 2 * MIB, 8 + 16 + 2 * MIB + 3, 8 + 16 + 2 * MIB + 8,
        8 + 16 + 2 * MIB + 16 + 3 * MIB};
    enum { NCASES = sizeof(where) / sizeof(*where) };
    char *data = mem_zero(6 * MIB);
    for (int i = 0; i < NCASES; i++) {
        struct rig r, after;
        struct spool_record rec[16];
        const char *dir = new_dir();
        open_rig(&r, dir, 1024 * (int64_t)MIB);
        append_bytes(&r, data, 2 * MIB);
        append_bytes(&r, data, 6 * MIB);
        append_bytes(&r, data, 3 * MIB);
        const char *path = only_segment(dir);
        close_rig(&r);
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        cr_assert_eq(pwrite(fd, "\x7e", 1, where[i]), 1);
        close(fd);
        open_rig(&after, dir, 1024 * (int64_t)MIB);
        cr_assert_eq(spool_adopt(after.spool), 1);
        size_t lens[3] = {0}, seen = 0;
        for (int turn = 0; turn < 40; turn++) {
            size_t n = spool_read(after.spool, rec, 16);
            for (size_t k = 0; k < n; k++)
                lens[seen++ % 3] = rec[k].len;
            spool_commit(after.spool);
        }
        cr_assert_eq(seen, 2, "case %d: %zu", i, seen);
        cr_assert(lens[0] == 2 * MIB && lens[1] == 3 * MIB, "case %d", i);
        cr_assert_eq(spool_faults(after.spool).cut_bytes, 6 * MIB + 16, "case %d", i);
        close_rig(&after);
    }
    free(data);
}

/* --- the file ---------------------------------------------------------------------------- */

Test(spool, the_file_is_magic_and_frames_and_private)
{
    struct rig r;
    struct stat st;
    size_t ends[4];
    const char *dir = harness_text("%s/deep/er", new_dir());
    struct buf want = three_records(ends);
    open_rig(&r, dir, MIB);
    append(&r, "one");
    append(&r, "second");
    append(&r, "the third");
    const char *path = only_segment(dir);
    expect_file(path, want.data, want.len);
    cr_assert_eq(stat(path, &st), 0);
    cr_expect_eq(st.st_mode & 0777, 0600);
    cr_assert_eq(stat(dir, &st), 0);
    cr_expect_eq(st.st_mode & 0777, 0700);
    close_rig(&r);
    expect_file(path, want.data, want.len); /* for whoever adopts it */
    buf_release(&want);
}

Test(spool, the_own_segment_is_emptied_when_drained_and_removed_at_the_end)
{
    struct rig r;
    const char *dir = new_dir();
    open_rig(&r, dir, MIB);
    const char *path = only_segment(dir);
    for (int round = 0; round < 3; round++) {
        append(&r, "a");
        append(&r, "b");
        expect_read(&r, 1, "a");
        spool_commit(r.spool);
        cr_assert_eq(file_size(path), 8 + 2 * 9, "not before everything is committed");
        expect_read(&r, 1, "b");
        spool_commit(r.spool);
        cr_assert_eq(file_size(path), 8);
    }
    close_rig(&r);
    cr_assert_eq(file_size(path), -1);
}

Test(spool, a_drained_segment_is_not_cut_under_a_write)
{
    struct rig r;
    struct append p;
    const char *dir = new_dir();
    open_rig(&r, dir, MIB);
    append(&r, "a");
    sync_held = true;
    int before = syncs;
    start_append(&r, &p, "b", 1);
    while (syncs == before)
        loop_turn(r.loop);
    expect_read(&r, 16, "a");
    spool_commit(r.spool); /* drained, and "b" is being written */
    sync_held = false;
    run(&r);
    expect_read(&r, 16, "b");
    spool_commit(r.spool);
    cr_assert_eq(file_size(only_segment(dir)), 8);
    close_rig(&r);
}

/* --- damage ------------------------------------------------------------------------------ */

/* Adopts a segment of these bytes; it must give these records, one read after another, and keep
 * what is between `from` and `to`, which is no frame, beside. */
static void adopt_damaged(
    const struct buf *b, size_t len, size_t from, size_t to, const char *first, const char *second)
{
    struct rig r;
    const char *dir = new_dir();
    char *path = harness_text("%s/dead-1-abc.seg", dir), *cut = harness_text("%s.cut", path);
    open_rig(&r, dir, MIB);
    write_file(path, b->data, len);
    cr_assert_eq(spool_adopt(r.spool), len > SPOOL_START, "length %zu", len);
    expect_read(&r, 16, first);
    spool_commit(r.spool);
    struct spool_record rec[16];
    size_t n = 0; /* comes to what is no frame, and sets it aside; a megabyte of it at a time */
    for (int i = 0; !n && i < 20; i++)
        n = spool_read(r.spool, rec, 16);
    spool_rewind(r.spool);
    expect_read(&r, 16, second);
    spool_commit(r.spool);
    if (from < to)
        expect_file(cut, b->data + from, to - from);
    else
        cr_expect_eq(file_size(cut), -1);
    cr_expect_eq(spool_faults(r.spool).cut_bytes, (int64_t)(to - from));
    cr_expect_eq(file_size(path), -1);
    close_rig(&r);
}

Test(spool, a_torn_tail_is_cut_at_every_byte)
{
    static const char *const reads[] = {"", "one", "one second", "one second the third"};
    size_t ends[4];
    struct buf b = three_records(ends);
    for (size_t len = ends[0]; len <= b.len; len++) {
        int whole = 0;
        while (whole < 3 && ends[whole + 1] <= len)
            whole++;
        adopt_damaged(&b, len, ends[whole], len, reads[whole], "");
    }
    buf_release(&b);
}

Test(spool, a_damaged_byte_anywhere_in_a_frame_costs_that_frame_alone)
{
    size_t ends[4];
    struct buf b = three_records(ends);
    for (size_t at = ends[1]; at < ends[2]; at++)
        for (int bit = 0; bit < 8; bit += 7) {
            b.data[at] ^= (char)(1 << bit);
            adopt_damaged(&b, b.len, ends[1], ends[2], "one", "the third");
            b.data[at] ^= (char)(1 << bit);
        }
    for (size_t at = ends[0]; at < ends[1]; at++) { /* the first */
        b.data[at] ^= 0x40;
        adopt_damaged(&b, b.len, ends[0], ends[1], "second the third", "");
        b.data[at] ^= 0x40;
    }
    buf_release(&b);
}

Test(spool, a_damaged_magic_costs_no_record)
{
    size_t ends[4];
    struct buf b = three_records(ends);
    for (size_t at = 0; at < SPOOL_START - 1; at++) { /* behind it is the version: not for us */
        b.data[at] ^= 0x40;
        adopt_damaged(&b, b.len, 0, 0, "one second the third", "");
        b.data[at] ^= 0x40;
    }
    buf_release(&b);
}

Test(spool, behind_megabytes_of_damage_the_next_frame_is_found)
{
    enum { HOLE = 9 * MIB + 4321 };
    struct buf b = {0};
    buf_puts(&b, SPOOL_MAGIC);
    put_record(&b, "before");
    size_t from = b.len;
    unsigned seed = 7;
    char *noise = buf_reserve(&b, HOLE);
    for (int i = 0; i < HOLE; i++)
        noise[i] = i % 4096 < 2048 ? (char)(rand_r(&seed) >> 7) : '\0';
    b.len += HOLE;
    size_t to = b.len;
    put_record(&b, "behind");
    adopt_damaged(&b, b.len, from, to, "before", "behind");
    buf_release(&b);
}

Test(spool, damage_in_the_own_segment_does_not_hold_up_what_follows)
{
    struct rig r;
    const char *dir = new_dir();
    open_rig(&r, dir, MIB);
    append(&r, "one");
    append(&r, "two");
    append(&r, "three");
    const char *path = only_segment(dir);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    cr_assert_eq(pwrite(fd, "X", 1, 8 + 8 + 3 + 8), 1); /* of "two" */
    close(fd);
    expect_read(&r, 16, "one");
    spool_commit(r.spool);
    expect_read(&r, 16, "three");
    spool_commit(r.spool);
    cr_assert_eq(file_size(harness_text("%s.cut", path)), 8 + 3);
    append(&r, "four");
    expect_read(&r, 16, "four");
    close_rig(&r);
}

Test(spool, what_is_no_segment_is_left_alone)
{
    struct rig r;
    const char *dir = new_dir();
    static const char *const files[] = {
        "/other.seg", "/newer.seg", "/empty.seg", "/notes.txt", "/x.seg.cut"};
    static const char *const texts[] = {
        "something else", "HKSPOOL2 ...", "", "HKSPOOL1", "HKSPOOL1"};
    open_rig(&r, dir, MIB);
    for (int i = 0; i < 5; i++)
        write_file(harness_text("%s%s", dir, files[i]), texts[i], strlen(texts[i]));
    cr_assert_eq(spool_adopt(r.spool), 0);
    for (int i = 0; i < 5; i++)
        expect_file(harness_text("%s%s", dir, files[i]), texts[i], strlen(texts[i]));
    close_rig(&r);
}

Test(spool, a_segment_that_cannot_be_read_now_is_left_for_later)
{
    struct rig r;
    size_t ends[4];
    struct buf b = three_records(ends);
    const char *dir = new_dir(), *path = harness_text("%s/dead-1-abc.seg", dir);
    open_rig(&r, dir, MIB);
    write_file(path, b.data, b.len);
    cr_assert_eq(spool_adopt(r.spool), 1);
    read_error = EIO;
    expect_read(&r, 16, "");
    read_error = 0;
    expect_file(path, b.data, b.len);
    cr_assert_eq(spool_adopt(r.spool), 1, "it was let go of");
    expect_read(&r, 16, "one second the third");
    close_rig(&r);
    buf_release(&b);
}

Test(spool, what_is_skipped_is_left_to_others_and_does_not_hold_up_our_own)
{
    struct rig r;
    size_t ends[4];
    struct buf b = three_records(ends);
    const char *dir = new_dir(), *path = harness_text("%s/dead-1-abc.seg", dir);
    open_rig(&r, dir, MIB);
    append(&r, "ours");
    write_file(path, b.data, b.len);
    cr_assert_eq(spool_adopt(r.spool), 1);
    expect_read(&r, 16, "one second the third");
    spool_skip(r.spool);
    expect_file(path, b.data, b.len);
    expect_read(&r, 16, "ours");
    spool_commit(r.spool);
    cr_assert_eq(spool_adopt(r.spool), 1, "the lock is free again");
    close_rig(&r);
    buf_release(&b);
}

Test(spool, zeros_at_the_end_are_no_records)
{
    struct rig r;
    size_t ends[4];
    struct buf b = three_records(ends);
    const char *dir = new_dir(), *path = harness_text("%s/dead-1-abc.seg", dir);
    memset(buf_reserve(&b, 64), 0, 64);
    b.len += 64;
    open_rig(&r, dir, MIB);
    write_file(path, b.data, b.len);
    cr_assert_eq(spool_adopt(r.spool), 1);
    expect_read(&r, 16, "one second the third");
    spool_commit(r.spool);
    expect_read(&r, 16, "");
    cr_expect_eq(file_size(path), -1);
    close_rig(&r);
    buf_release(&b);
}

/* --- trouble with the disk --------------------------------------------------------------- */

Test(spool, after_a_failed_sync_the_group_goes_into_a_new_segment)
{
    struct rig r;
    const char *dir = new_dir();
    open_rig(&r, dir, MIB);
    append(&r, "a");
    const char *first = only_segment(dir);
    fail_syncs(EIO, 1);
    append(&r, "b");
    append(&r, "c");
    cr_assert_eq(count_files(dir, ".seg"), 2);
    cr_assert_eq(file_size(first), 8 + 9, "nothing half-written stays, nothing is added");
    cr_assert_eq(spool_faults(r.spool).given_up, 1);
    expect_read(&r, 16, "a");
    spool_commit(r.spool);
    cr_assert_eq(file_size(first), -1);
    expect_read(&r, 16, "b c");
    spool_commit(r.spool);
    cr_assert_eq(count_files(dir, ".seg"), 1);
    close_rig(&r);
    cr_assert_eq(count_files(dir, ".seg"), 0);
}

Test(spool, while_no_sync_works_nothing_is_kept_and_then_it_goes_on)
{
    struct rig r;
    const char *dir = new_dir();
    open_rig(&r, dir, MIB);
    append(&r, "a");
    fail_syncs(EIO, -1);
    for (int i = 0; i < 3; i++) {
        struct append p = append_bytes(&r, "lost", 4);
        cr_assert_eq(p.rc, HL_RETRY);
        cr_assert_eq(p.err.why, HL_WHY_FULL);
        cr_assert(strstr(p.err.msg, dir) && strstr(p.err.msg, strerror(EIO)), "%s", p.err.msg);
        cr_assert_eq(file_size(only_segment(dir)), 8 + 9);
    }
    fail_syncs(0, 0);
    append(&r, "b");
    expect_read(&r, 16, "a");
    spool_commit(r.spool);
    expect_read(&r, 16, "b");
    spool_commit(r.spool);
    close_rig(&r);
    cr_assert_eq(count_files(dir, ".seg"), 0);
}

/* A limit on the size of files cuts a write short, as a full disk does: half of it is there. */
Test(spool, a_write_that_is_cut_short_leaves_no_half_record)
{
    enum { LEN = 20000 };
    struct rig r;
    char *data = mem_zero(LEN);
    const char *dir = new_dir();
    struct rlimit old, small;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    open_rig(&r, dir, MIB);
    append(&r, "a");
    small = old;
    small.rlim_cur = 10000; /* no segment can hold it */
    setrlimit(RLIMIT_FSIZE, &small);
    struct append p = append_bytes(&r, data, LEN);
    cr_assert_eq(p.rc, HL_RETRY);
    cr_assert(strstr(p.err.msg, strerror(EFBIG)), "%s", p.err.msg);
    cr_assert_eq(file_size(only_segment(dir)), 8 + 9);
    small.rlim_cur = LEN + 16 + 8; /* a fresh one can, the old one cannot */
    setrlimit(RLIMIT_FSIZE, &small);
    cr_assert_eq(append_bytes(&r, data, LEN).rc, HL_OK);
    setrlimit(RLIMIT_FSIZE, &old);
    append(&r, "b");
    expect_read(&r, 16, "a");
    spool_commit(r.spool);
    struct spool_record rec[4];
    cr_assert_eq(spool_read(r.spool, rec, 4), 2);
    cr_assert_eq(rec[0].len, LEN);
    close_rig(&r);
    free(data);
}

Test(spool, each_new_segment_is_synced_with_its_folder_before_it_counts)
{
    struct rig r;
    int before = dir_syncs;
    open_rig(&r, new_dir(), MIB);
    cr_assert_geq(dir_syncs - before, 2, "the segment's entry, and the folder's own");
    append(&r, "a");
    before = dir_syncs;
    fail_syncs(EIO, 1);
    append(&r, "b");
    cr_assert_eq(dir_syncs - before, 1);
    close_rig(&r);
}

Test(spool, room_comes_back_while_forwarding_goes_on)
{
    enum { LEN = 32 * 1024, QUOTA = 8 * 128 * 1024 };
    struct rig r;
    char *data = mem_zero(LEN);
    struct spool_record rec[1];
    const char *dir = new_dir();
    open_rig(&r, dir, QUOTA);
    int kept = 0;
    for (; append_bytes(&r, data, LEN).rc == HL_OK; kept++)
        memset(data, kept + 1, LEN);
    cr_assert_eq(kept, QUOTA / (LEN + 8), "the quota is used up to the last frame that fits");
    cr_assert_geq(count_files(dir, ".seg"), 7);
    for (int i = 0; i < 200; i++) { /* the spool is never empty */
        cr_assert_eq(spool_read(r.spool, rec, 1), 1);
        cr_assert_eq(((const char *)rec[0].data)[0], (char)i, "in order");
        spool_commit(r.spool);
        while (append_bytes(&r, data, LEN).rc == HL_OK)
            memset(data, ++kept, LEN);
        int64_t room = QUOTA - spool_depth(r.spool);
        cr_assert_leq(room, QUOTA / 8 + 3 * LEN, "%d: %lld bytes lie idle", i, (long long)room);
    }
    close_rig(&r);
    free(data);
}

/* --- the list kept elsewhere ------------------------------------------------------------- */

struct seen {
    int n;
    struct spool_segment last;
};

static void see(const struct spool_segment *g, void *ctx)
{
    struct seen *seen = ctx;
    seen->n++;
    seen->last = *g;
    seen->last.name = harness_text("%s", g->name);
}

static struct seen segments_of(const struct rig *r)
{
    struct seen seen = {0};
    spool_each(r->spool, see, &seen);
    return seen;
}

Test(spool, the_file_of_a_listed_segment_goes_after_its_entry)
{
    struct rig r;
    const char *dir = new_dir();
    leave_segment(dir, 1);
    const char *path = only_segment(dir);
    open_rig(&r, dir, MIB);
    spool_keep_listed(r.spool);
    cr_assert_eq(spool_adopt(r.spool), 1);
    cr_assert_eq(segments_of(&r).n, 2);
    expect_read(&r, 16, "r0");
    spool_commit(r.spool);
    cr_assert_eq(file_size(path), 8, "empty, and still there");
    spool_unlist(r.spool, strrchr(path, '/') + 1);
    cr_assert_eq(file_size(path), -1);

    struct seen own = segments_of(&r);
    cr_assert(own.n == 1 && own.last.bytes == 0 && !own.last.listed);
    append(&r, "x");
    spool_list(r.spool, own.last.name);
    own = segments_of(&r);
    cr_assert(own.last.bytes == 9 && own.last.listed);
    expect_read(&r, 16, "x");
    spool_commit(r.spool);
    close_rig(&r); /* before it was unlisted: left to the next */
    cr_assert_eq(count_files(dir, ".seg"), 1);
    open_rig(&r, dir, MIB);
    spool_keep_listed(r.spool);
    cr_assert_eq(spool_adopt(r.spool), 0, "it has no records");
    cr_assert_eq(segments_of(&r).n, 2);
    spool_unlist(r.spool, own.last.name);
    close_rig(&r);
    cr_assert_eq(count_files(dir, ".seg"), 0);
}

/* --- quota, folder ----------------------------------------------------------------------- */

Test(spool, beyond_its_quota_it_is_full_until_something_is_committed)
{
    struct rig r;
    enum { QUOTA = 64 * 1024, LEN = 8 * 1024 };
    char *data = mem_zero(LEN);
    const char *dir = new_dir();
    open_rig(&r, dir, QUOTA);
    int kept = 0;
    struct append p;
    while ((p = append_bytes(&r, data, LEN)).rc == HL_OK)
        kept++;
    cr_assert_eq(kept, (QUOTA - 8) / (LEN + 8));
    cr_assert_eq(p.rc, HL_RETRY);
    cr_assert_eq(p.err.why, HL_WHY_FULL);
    cr_assert(
        strstr(p.err.msg, dir) && strstr(p.err.msg, "WEBHOOK_SPOOL_MAX_BYTES"), "%s", p.err.msg);
    cr_assert_leq(file_size(only_segment(dir)), QUOTA);
    append(&r, "a small one fits still");
    struct spool_record rec[16];
    cr_assert_eq(spool_read(r.spool, rec, 16), (size_t)kept + 1);
    spool_commit(r.spool);
    cr_assert_eq(append_bytes(&r, data, LEN).rc, HL_OK);
    close_rig(&r);
    free(data);
}

static int64_t ahead_us;

static int64_t later(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000 + ahead_us;
}

Test(spool, it_says_whether_it_can_be_counted_on)
{
    struct rig r;
    const char *dir = new_dir(), *away = harness_text("%s.away", dir);
    char *data = mem_zero(MIB);
    clock_replace(later, NULL);
    open_rig(&r, dir, MIB);
    cr_expect(spool_takes(r.spool));
    cr_assert_eq(rename(dir, away), 0);
    cr_expect_not(spool_takes(r.spool), "its folder is gone");
    cr_assert_eq(rename(away, dir), 0);
    cr_expect(spool_takes(r.spool));
    fail_syncs(EIO, -1);
    cr_assert_eq(append_bytes(&r, "lost", 4).rc, HL_RETRY);
    cr_expect_not(spool_takes(r.spool), "a write has failed");
    fail_syncs(0, 0);
    append(&r, "a");
    cr_expect(spool_takes(r.spool), "the next one has not");
    fail_syncs(EIO, -1);
    cr_assert_eq(append_bytes(&r, "lost", 4).rc, HL_RETRY);
    ahead_us = 11000000;
    cr_expect(spool_takes(r.spool), "who asks later may try");
    fail_syncs(0, 0);
    cr_assert_eq(append_bytes(&r, data, MIB - 60 * 1024).rc, HL_OK);
    cr_expect_not(spool_takes(r.spool), "its quota is used up");
    close_rig(&r);
    free(data);
}

Test(spool, in_one_group_those_that_fit_are_kept_and_the_others_refused)
{
    struct rig r;
    struct append p[8];
    char *data = mem_zero(4096);
    open_rig(&r, new_dir(), 3 * 4096);
    for (int i = 0; i < 8; i++)
        start_append(&r, &p[i], data, 4096);
    run(&r);
    int kept = 0;
    for (int i = 0; i < 8; i++)
        kept += p[i].rc == HL_OK;
    cr_assert_eq(kept, 2);
    cr_assert_eq(spool_depth(r.spool), 2 * (4096 + 8));
    close_rig(&r);
    free(data);
}

Test(spool, the_quota_is_over_all_segments_of_the_folder)
{
    struct rig a, b;
    char *data = mem_zero(6000);
    const char *dir = new_dir();
    open_rig(&a, dir, 10000);
    open_rig(&b, dir, 10000);
    cr_assert_eq(append_bytes(&a, data, 6000).rc, HL_OK);
    cr_assert_eq(append_bytes(&b, data, 6000).rc, HL_RETRY);
    struct spool_record rec[1];
    cr_assert_eq(spool_read(a.spool, rec, 1), 1);
    spool_commit(a.spool);
    cr_assert_eq(append_bytes(&b, data, 6000).rc, HL_OK);
    close_rig(&a);
    close_rig(&b);
    free(data);
}

Test(spool, a_full_disk_refuses_keeps_what_it_took_and_recovers)
{
    const char *dir = harness_text("%s/small", harness_dir());
    mkdir(dir, 0700);
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", dir, "tmpfs", 0, "size=64k,mode=0700") < 0)
        cr_skip_test("mounting a small file system is not permitted here");
    struct rig r;
    enum { LEN = 5000 };
    char *data = mem_zero(LEN);
    struct append p;
    open_rig(&r, dir, 64 * MIB);
    size_t kept = 0;
    for (;; kept++) {
        memset(data, 'a' + (int)kept, LEN);
        if ((p = append_bytes(&r, data, LEN)).rc != HL_OK)
            break;
    }
    cr_assert_geq(kept, 8);
    cr_assert_eq(p.err.why, HL_WHY_FULL);
    cr_assert(strstr(p.err.msg, strerror(ENOSPC)), "%s", p.err.msg);
    struct spool_record rec[16];
    cr_assert_eq(spool_read(r.spool, rec, 16), kept);
    for (size_t i = 0; i < kept; i++)
        cr_assert_eq(((const char *)rec[i].data)[LEN - 1], 'a' + (int)i);
    spool_commit(r.spool);
    cr_assert_eq(append_bytes(&r, data, LEN).rc, HL_OK);
    close_rig(&r);
    free(data);
    umount(dir);
}

Test(spool, a_disk_that_is_full_at_the_start_is_used_once_there_is_room)
{
    const char *dir = harness_text("%s/small", harness_dir());
    const char *ballast = harness_text("%s/ballast", dir);
    mkdir(dir, 0700);
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", dir, "tmpfs", 0, "size=64k,mode=0700") < 0)
        cr_skip_test("mounting a small file system is not permitted here");
    char *data = mem_zero(64 * 1024);
    write_file(ballast, data, 64 * 1024);
    struct rig r;
    open_rig(&r, dir, 64 * MIB);
    struct append p = append_bytes(&r, data, 100);
    cr_assert_eq(p.rc, HL_RETRY);
    cr_assert_eq(p.err.why, HL_WHY_FULL);
    unlink(ballast);
    cr_assert_eq(append_bytes(&r, data, 100).rc, HL_OK);
    struct spool_record rec[2];
    cr_assert_eq(spool_read(r.spool, rec, 2), 1);
    spool_commit(r.spool);
    close_rig(&r);
    free(data);
    umount(dir);
}

static void expect_no_spool(const char *dir, const char *text)
{
    struct hl_err err = {0};
    struct loop *l = loop_new(&err);
    struct offload *o = offload_new(l, &err);
    cr_assert_null(spool_open(l, o, dir, MIB, &err));
    cr_expect_eq(err.rc, HL_FATAL);
    cr_expect(strstr(err.msg, text) && strstr(err.msg, "WEBHOOK_SPOOL_DIR"), "%s", err.msg);
    offload_free(o);
    loop_free(l);
}

Test(spool, a_folder_that_cannot_be_used_is_told_by_name_fault_and_remedy)
{
    const char *file = harness_text("%s/file", harness_dir());
    write_file(file, "", 0);
    expect_no_spool(harness_text("%s/spool", file),
        harness_text("spool folder %s/spool cannot be made: Not a directory", file));
    const char *dir = harness_text("%s/read-only", harness_dir());
    mkdir(dir, 0555);
    if (geteuid() == 0 && seteuid(65534) < 0) /* root is never refused */
        cr_skip_test("cannot act as another user");
    expect_no_spool(dir, harness_text("spool %s: cannot create a segment: Permission denied", dir));
    if (getuid() == 0)
        cr_assert_eq(seteuid(0), 0);
}

/* --- adoption ---------------------------------------------------------------------------- */

Test(spool, the_segment_of_a_killed_process_is_adopted_and_that_of_a_living_one_is_not)
{
    struct rig r;
    int said;
    const char *dir = new_dir();
    pid_t writer = fork_writer(dir, 3, &said);
    open_rig(&r, dir, MIB);
    cr_assert_eq(spool_adopt(r.spool), 0);
    kill_writer(writer, said);
    append(&r, "own");
    cr_assert_eq(spool_adopt(r.spool), 1);
    cr_assert_eq(spool_adopt(r.spool), 0, "once");
    expect_read(&r, 16, "r0 r1 r2"); /* the older first */
    spool_rewind(r.spool);
    expect_read(&r, 16, "r0 r1 r2");
    spool_commit(r.spool);
    cr_assert_eq(count_files(dir, ".seg"), 1);
    expect_read(&r, 16, "own");
    spool_commit(r.spool);
    close_rig(&r);
    cr_assert_eq(count_files(dir, ".seg"), 0);
}

Test(spool, what_an_adopter_has_not_committed_the_next_one_gets_again)
{
    struct rig r;
    const char *dir = new_dir();
    leave_segment(dir, 3);
    open_rig(&r, dir, MIB);
    cr_assert_eq(spool_adopt(r.spool), 1);
    expect_read(&r, 2, "r0 r1");
    spool_commit(r.spool);
    close_rig(&r);
    open_rig(&r, dir, MIB);
    cr_assert_eq(spool_adopt(r.spool), 1);
    expect_read(&r, 16, "r0 r1 r2"); /* repeated, never left out */
    spool_commit(r.spool);
    close_rig(&r);
    cr_assert_eq(count_files(dir, ".seg"), 0);
}

Test(spool, an_empty_segment_of_a_killed_process_is_removed)
{
    struct rig r;
    const char *dir = new_dir();
    leave_segment(dir, 0);
    open_rig(&r, dir, MIB);
    cr_assert_eq(count_files(dir, ".seg"), 2);
    cr_assert_eq(spool_adopt(r.spool), 0);
    cr_assert_eq(count_files(dir, ".seg"), 1);
    close_rig(&r);
}

/* Adopts, tells how many, and holds them until the pipe `hold` is closed. */
static pid_t fork_adopter(const char *dir, int tell, const int hold[2])
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    struct rig r;
    close(hold[1]);
    open_rig(&r, dir, MIB);
    unsigned char n = (unsigned char)spool_adopt(r.spool);
    char c;
    if (write(tell, &n, 1) != 1 || read(hold[0], &c, 1) != 0)
        _exit(1);
    _exit(0);
}

Test(spool, adopters_at_the_same_time_share_the_segments_and_none_gets_one_twice)
{
    enum { SEGMENTS = 12, ADOPTERS = 4 };
    int tell[2], hold[2], sum = 0;
    const char *dir = new_dir();
    for (int i = 0; i < SEGMENTS; i++)
        leave_segment(dir, 1);
    cr_assert(pipe(tell) == 0 && pipe(hold) == 0);
    pid_t pids[ADOPTERS];
    for (int i = 0; i < ADOPTERS; i++)
        pids[i] = fork_adopter(dir, tell[1], hold);
    for (int i = 0; i < ADOPTERS; i++) {
        unsigned char n;
        cr_assert_eq(read(tell[0], &n, 1), 1);
        sum += n;
    }
    cr_expect_eq(sum, SEGMENTS);
    close(hold[1]);
    for (int i = 0; i < ADOPTERS; i++)
        waitpid(pids[i], NULL, 0);
}

Test(spool, the_depth_of_the_folder_counts_what_nobody_holds_and_its_own_kind_only)
{
    struct rig r;
    const char *dir = new_dir();
    leave_segment(dir, 3);
    open_rig(&r, dir, MIB);
    cr_expect_eq(spool_depth(r.spool), 0);
    int64_t left = spool_folder_depth(r.spool);
    cr_expect_gt(left, 0);
    FILE *f = fopen(harness_text("%s/a-1-b.crawl", dir), "we");
    cr_assert(f);
    fputs("HKSPOOL1and more", f);
    fclose(f);
    cr_expect_eq(spool_folder_depth(r.spool), left);
    spool_adopt(r.spool);
    cr_expect_eq(spool_depth(r.spool), left);
    cr_expect_eq(spool_folder_depth(r.spool), left);
    close_rig(&r);
}
