/* The spool in a real producer when things go wrong around it: what is on its disk only is known in
 * PostgreSQL, what is refused holds up nobody, a full or damaged disk costs nothing that was
 * answered 202. */
#include "base/buf.h"
#include "base/digest.h"
#include "base/mem.h"
#include "tests/support/harness.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(spool_faults, .timeout = 150);

#define SECRET "0123456789abcdef0123456789abcdef"

struct world {
    struct test_pg *pg; /* NULL: a database in the suite's cluster */
    struct test_redis *redis;
    struct test_proc *producer;
    const char *database, *spool;
    int port, fd;
};

/* --- a producer -------------------------------------------------------------------------- */

static const char *health(const struct world *w)
{
    return test_http(w->port, "GET", "/health", NULL, NULL, 0).body;
}

static void start_producer(struct world *w)
{
    const char *const argv[] = {harness_text("%s/hookline-producer", harness_build()), NULL};
    const char *const env[] = {"WEBHOOK_PRODUCERS=1", "WEBHOOK_RATE_LIMIT=0",
        "WEBHOOK_SECRET=" SECRET, "WEBHOOK_SPOOL_MAX_BYTES=64m",
        harness_text("WEBHOOK_DATABASE_URL=%s", w->database),
        harness_text("WEBHOOK_REDIS_URL=%s", test_redis_url(w->redis)),
        harness_text("WEBHOOK_SPOOL_DIR=%s", w->spool), NULL};
    w->producer = test_proc_start(argv, env, w->fd);
    WAIT_FOR(*health(w), 30000);
}

static struct world prepare(bool own_cluster)
{
    static int serial;
    struct world w = {.pg = own_cluster ? test_pg_start() : NULL,
        .redis = test_redis_start(),
        .spool = harness_text("%s/spool%d", harness_dir(), ++serial)};
    w.database = w.pg ? test_pg_url(w.pg) : harness_database(true);
    w.fd = harness_listen(&w.port);
    return w;
}

static struct world start(bool own_cluster)
{
    struct world w = prepare(own_cluster);
    start_producer(&w);
    WAIT_FOR(strstr(health(&w), "\"status\":\"healthy\""), 30000);
    return w;
}

static void stop(struct world *w)
{
    test_proc_signal(w->producer, SIGTERM);
    cr_assert_eq(test_proc_wait(w->producer, 30000), 0, "%s", test_proc_log(w->producer));
    test_redis_free(w->redis);
    test_pg_free(w->pg);
    close(w->fd);
}

/* A signed event; pad bytes make its record large. headers: further ones, as lines. */
static struct test_reply post_with(
    const struct world *w, const char *headers, const char *watch_id, size_t pad)
{
    char *padding = harness_hold(mem_zero(pad + 1));
    memset(padding, 'x', pad);
    const char *body = harness_text("{\"watch_id\":\"%s\",\"watch_url\":\"https://example.com/%s\","
                                    "\"diff_url\":\"http://cd/%s\",\"detected_at\":\"2026-01-02\"}",
        watch_id, watch_id, padding);
    const char *head = harness_text(
        "X-Signature: sha256=%s\r\n%s", test_sign(SECRET, body, strlen(body)), headers);
    return test_http(w->port, "POST", "/api/webhook/changedetection", head, body, strlen(body));
}

static struct test_reply post(const struct world *w, const char *watch_id, size_t pad)
{
    return post_with(w, "", watch_id, pad);
}

static void spool_events(const struct world *w, const char *prefix, int n)
{
    for (int i = 0; i < n; i++) {
        struct test_reply r = post(w, harness_text("%s-%d", prefix, i), 0);
        cr_assert_eq(r.status, 202, "%d %s", r.status, r.body);
        cr_assert(strstr(r.body, "\"change_event_id\":null"), "%s", r.body);
    }
}

/* --- what is where ----------------------------------------------------------------------- */

static long rows(const struct world *w, const char *prefix)
{
    return sql_int(w->database,
        "SELECT count(DISTINCT watch_id) FROM webhook.change_events WHERE watch_id LIKE '%s-%%'",
        prefix);
}

static long listed(const struct world *w)
{
    return sql_int(w->database, "SELECT count(*) FROM webhook.spools");
}

static int64_t file_size(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (int64_t)st.st_size : -1;
}

/* Bytes of frames in the folder; *path: a segment that has some. */
static int64_t frames(const struct world *w, const char **path)
{
    int64_t sum = 0;
    DIR *d = opendir(w->spool);
    for (struct dirent *e; d && (e = readdir(d));) {
        size_t len = strlen(e->d_name);
        const char *file = harness_text("%s/%s", w->spool, e->d_name);
        if (len < 4 || strcmp(e->d_name + len - 4, ".seg") != 0 || file_size(file) <= 8)
            continue;
        sum += file_size(file) - 8;
        if (path)
            *path = file;
    }
    if (d)
        closedir(d);
    return sum;
}

static int segments(const struct world *w)
{
    int n = 0;
    DIR *d = opendir(w->spool);
    for (struct dirent *e; d && (e = readdir(d));)
        n += strstr(e->d_name, ".seg") != NULL;
    if (d)
        closedir(d);
    return n;
}

/* T0 fails, as where a migration is missing, while PostgreSQL answers. */
static void hide_table(const struct world *w)
{
    sql_exec(w->database, "ALTER TABLE webhook.change_events RENAME TO hidden");
}

static void show_table(const struct world *w)
{
    sql_exec(w->database, "ALTER TABLE webhook.hidden RENAME TO change_events");
}

/* --- webhook.spools ---------------------------------------------------------------------- */

static const char *spool_row(const struct world *w)
{
    return sql_text(w->database,
        "SELECT concat_ws(' ', segment, host, folder, holder, bytes) FROM webhook.spools");
}

static const char *expected_row(const struct world *w)
{
    char host[64] = "";
    const char *path = NULL;
    pid_t pid[4];
    int64_t bytes = frames(w, &path);
    gethostname(host, sizeof(host) - 1);
    cr_assert(path);
    if (harness_children(test_proc_pid(w->producer), NULL, pid, 4) != 1)
        return "";
    return harness_text("%s %s %s %s-%d %lld", strrchr(path, '/') + 1, host, w->spool, host,
        (int)pid[0], (long long)bytes);
}

Test(spool_faults, what_is_only_on_a_disk_is_a_row_until_it_is_home)
{
    struct world w = start(true);
    hide_table(&w);
    spool_events(&w, "a", 3);
    WAIT_FOR(listed(&w) == 1, 5000);
    WAIT_FOR(strcmp(spool_row(&w), expected_row(&w)) == 0, 10000);
    spool_events(&w, "b", 2); /* more of it: the row follows */
    WAIT_FOR(strcmp(spool_row(&w), expected_row(&w)) == 0, 10000);

    test_proc_kill(w.producer); /* its segment, and the row, get another holder */
    start_producer(&w);
    WAIT_FOR(strcmp(spool_row(&w), expected_row(&w)) == 0, 20000);

    show_table(&w);
    WAIT_FOR(rows(&w, "a") == 3 && rows(&w, "b") == 2, 20000);
    WAIT_FOR(listed(&w) == 0 && segments(&w) == 1, 20000);
    cr_assert_eq(frames(&w, NULL), 0);
    stop(&w);
    cr_assert_eq(segments(&w), 0);
}

Test(spool_faults, what_came_while_postgres_was_dead_is_a_row_as_soon_as_it_is_back)
{
    struct world w = start(true);
    hide_table(&w);
    test_pg_kill(w.pg);
    spool_events(&w, "a", 3);
    test_pg_restart(w.pg);
    WAIT_FOR(strstr(health(&w), "\"status\":\"healthy\""), 20000);
    WAIT_FOR(listed(&w) == 1, 2000);
    cr_assert_eq(strcmp(spool_row(&w), expected_row(&w)), 0, "%s", spool_row(&w));
    show_table(&w);
    WAIT_FOR(rows(&w, "a") == 3 && listed(&w) == 0, 20000);
    stop(&w);
}

Test(spool_faults, a_row_of_an_emptied_segment_goes_and_one_of_a_lost_host_stays)
{
    struct world w = prepare(false);
    cr_assert_eq(mkdir(w.spool, 0700), 0);
    FILE *f = fopen(harness_text("%s/dead-1-abc.seg", w.spool), "we");
    fputs("HKSPOOL1", f); /* emptied; its process was killed before it took the row away */
    fclose(f);
    sql_exec(w.database, "INSERT INTO webhook.spools (segment, host, folder, holder, bytes) VALUES"
                         " ('dead-1-abc.seg', 'dead', '/spool', 'dead-1', 100),"
                         " ('lost-1-def.seg', 'lost', '/spool', 'lost-1', 100)");
    start_producer(&w);
    WAIT_FOR(listed(&w) == 1, 20000);
    WAIT_FOR(segments(&w) == 1, 20000);
    cr_assert_str_eq(sql_text(w.database, "SELECT host FROM webhook.spools"), "lost");
    stop(&w);
}

/* --- dead letters ------------------------------------------------------------------------ */

static void append_record(const struct world *w, const char *name, const struct buf *frame)
{
    FILE *f = fopen(harness_text("%s/%s", w->spool, name), "we");
    cr_assert(f, "%s", strerror(errno));
    fwrite("HKSPOOL1", 1, 8, f);
    fwrite(frame->data, 1, frame->len, f);
    fclose(f);
}

static void append_junk(const struct world *w, const char *name)
{
    struct buf junk = {0};
    uint32_t head[2] = {htole32(4), htole32(digest_crc32c(0, "junk", 4))};
    buf_append(&junk, head, sizeof(head));
    buf_puts(&junk, "junk");
    append_record(w, name, &junk);
    buf_release(&junk);
}

Test(spool_faults, what_is_refused_while_redis_is_dead_waits_behind_the_others)
{
    struct world w = start(true);
    sql_exec(w.database,
        "ALTER TABLE webhook.change_events ADD CONSTRAINT t CHECK (watch_id NOT LIKE 'no-%%')");
    test_pg_kill(w.pg);
    test_redis_kill(w.redis);
    spool_events(&w, "no", 3);
    spool_events(&w, "yes", 100); /* more than one round */
    append_junk(&w, "dead-1-abc.seg");
    test_pg_restart(w.pg);
    WAIT_FOR(rows(&w, "yes") == 100, 30000);
    WAIT_FOR(test_proc_logged(w.producer, "dead_letters_wait"), 20000);
    WAIT_FOR(listed(&w) == 1, 20000); /* they are known of */
    WAIT_FOR(file_size(harness_text("%s/dead-1-abc.seg", w.spool)) < 0, 20000);
    const char *log = test_proc_log(w.producer);
    const char *first = strstr(log, "dead_letters_wait");
    cr_assert(!strstr(first + 1, "dead_letters_wait"), "said once\n%s", log);
    cr_assert(!test_proc_logged(w.producer, "spool_damaged"), "the frame was whole\n%s", log);

    test_redis_restart(w.redis);
    WAIT_FOR(redis_int(w.redis, "XLEN {hookline}:dead") == 4, 30000);
    WAIT_FOR(frames(&w, NULL) == 0 && listed(&w) == 0, 20000);
    cr_assert_eq(redis_int(w.redis, "XLEN {hookline}:dead"), 4, "each once");
    cr_assert_eq(sql_int(w.database, "SELECT count(*) FROM webhook.change_events"), 100);
    stop(&w);
}

Test(spool_faults, a_producer_that_leaves_while_a_dead_letter_is_under_way_keeps_it)
{
    struct world w = start(false);
    redis_text(w.redis, "CLIENT PAUSE 60000 WRITE");
    append_junk(&w, "dead-1-abc.seg");
    WAIT_FOR(test_proc_logged(w.producer, "spool_record_unreadable"), 20000);
    test_proc_signal(w.producer, SIGTERM);
    cr_assert_eq(test_proc_wait(w.producer, 30000), 0, "%s", test_proc_log(w.producer));
    cr_assert(strstr(test_proc_log(w.producer), "\"code\":0"), "%s", test_proc_log(w.producer));
    cr_assert_eq(frames(&w, NULL), 12);
    redis_text(w.redis, "CLIENT UNPAUSE");
    start_producer(&w);
    WAIT_FOR(redis_int(w.redis, "XLEN {hookline}:dead") == 1, 20000);
    stop(&w);
}

/* Redis has forgotten the key, PostgreSQL is away: the sender is believed. The row knows better. */
Test(spool_faults, a_key_with_another_body_found_on_the_way_home_is_a_dead_letter)
{
    struct world w = start(true);
    const char *key = "Idempotency-Key: k-1\r\n";
    struct test_reply r = post_with(&w, key, "one", 0);
    cr_assert_eq(r.status, 202, "%s", r.body);
    WAIT_FOR(sql_int(w.database, "SELECT count(*) FROM webhook.change_events") == 1, 20000);
    redis_text(w.redis, "FLUSHALL");
    test_pg_kill(w.pg);
    r = post_with(&w, key, "other", 0);
    cr_assert_eq(r.status, 202, "%s", r.body);
    spool_events(&w, "behind", 3);
    test_pg_restart(w.pg);
    WAIT_FOR(rows(&w, "behind") == 3, 30000);
    WAIT_FOR(frames(&w, NULL) == 0 && listed(&w) == 0, 20000);
    cr_assert_eq(redis_int(w.redis, "XLEN {hookline}:dead"), 1);
    cr_assert(test_proc_logged(w.producer, "event_conflict"));
    cr_assert_str_eq(sql_text(w.database, "SELECT watch_id FROM webhook.change_events ORDER BY id"),
        "one", "the first body stays");
    stop(&w);
}

/* --- the disk ---------------------------------------------------------------------------- */

Test(spool_faults, one_damaged_record_in_the_middle_costs_no_other)
{
    struct world w = start(true);
    const char *path = NULL;
    test_pg_kill(w.pg);
    spool_events(&w, "a", 9);
    test_proc_kill(w.producer);
    int64_t bytes = frames(&w, &path);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    cr_assert_eq(pwrite(fd, "\377\377", 2, 8 + bytes / 9 * 4 + 40), 2); /* in the fifth */
    close(fd);
    test_pg_restart(w.pg);
    start_producer(&w);
    WAIT_FOR(rows(&w, "a") == 8, 30000);
    WAIT_FOR(frames(&w, NULL) == 0 && listed(&w) == 0, 20000);
    cr_assert_eq(rows(&w, "a"), 8);
    cr_assert_eq(
        sql_int(w.database, "SELECT count(*) FROM webhook.change_events WHERE watch_id = 'a-4'"),
        0);
    cr_assert(test_proc_logged(w.producer, "spool_damaged"));
    cr_assert_eq(file_size(harness_text("%s.cut", path)), bytes / 9, "it is kept");
    stop(&w);
}

/* Until the disk is full; returns how many were answered 202. Nothing but 503 follows. */
static int fill(const struct world *w)
{
    struct test_reply r;
    int kept = 0, refused = 0;
    while (refused < 3) {
        r = post(w, harness_text("full-%d", kept), 8000);
        cr_assert_lt(kept, 1000);
        if (r.status == 202) {
            kept++;
            continue;
        }
        cr_assert_eq(r.status, 503, "%d %s", r.status, r.body);
        cr_assert_lt(r.seconds, 2.0);
        cr_assert_str_eq(test_reply_header(&r, "Retry-After"), "5");
        refused++;
    }
    return kept;
}

Test(spool_faults, on_a_full_disk_nothing_is_half_kept_and_it_resumes_by_itself)
{
    struct world w = prepare(true);
    cr_assert_eq(mkdir(w.spool, 0700), 0);
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", w.spool, "tmpfs", 0, "size=512k,mode=0700") < 0)
        cr_skip_test("mounting a small file system is not permitted here");
    const char *ballast = harness_text("%s/ballast", w.spool);
    char *data = harness_hold(mem_zero(128 * 1024));
    FILE *f = fopen(ballast, "we");
    cr_assert(f && fwrite(data, 1, 128 * 1024, f) == 128 * 1024 && fclose(f) == 0);
    start_producer(&w);
    WAIT_FOR(strstr(health(&w), "\"status\":\"healthy\""), 30000);
    test_pg_kill(w.pg);
    int kept = fill(&w);
    cr_assert_geq(kept, 20);
    cr_assert(test_proc_logged(w.producer, strerror(ENOSPC)));

    unlink(ballast); /* somebody makes room; nobody tells the producer */
    struct test_reply r = post(&w, harness_text("full-%d", kept), 8000);
    cr_assert_eq(r.status, 202, "%s", r.body);
    kept = kept + 1;
    test_proc_kill(w.producer); /* what is on the disk is what was answered */
    test_pg_restart(w.pg);
    start_producer(&w);
    WAIT_FOR(rows(&w, "full") == kept, 30000);
    WAIT_FOR(frames(&w, NULL) == 0, 20000);
    cr_assert_eq(
        sql_int(w.database, "SELECT count(*) FROM webhook.change_events"), kept, "none refused");
    cr_assert(!test_proc_logged(w.producer, "spool_damaged"), "%s", test_proc_log(w.producer));
    stop(&w);
    umount(w.spool);
}

/* The spool itself has filled it: who cannot start cannot work it off either. */
Test(spool_faults, a_producer_that_starts_on_a_full_disk_works_it_off)
{
    struct world w = prepare(true);
    cr_assert_eq(mkdir(w.spool, 0700), 0);
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", w.spool, "tmpfs", 0, "size=64k,mode=0700") < 0)
        cr_skip_test("mounting a small file system is not permitted here");
    start_producer(&w);
    WAIT_FOR(strstr(health(&w), "\"status\":\"healthy\""), 30000);
    test_pg_kill(w.pg);
    int kept = fill(&w);
    cr_assert_gt(kept, 0);
    test_proc_kill(w.producer);
    int fd = open(harness_text("%s/ballast", w.spool), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    while (write(fd, "", 1) == 1) /* to the last byte */
        ;
    close(fd);
    test_pg_restart(w.pg);
    start_producer(&w);
    WAIT_FOR(rows(&w, "full") == kept, 30000);
    WAIT_FOR(frames(&w, NULL) == 0 && listed(&w) == 0, 20000);
    cr_assert_eq(post(&w, "another", 8000).status, 202);
    stop(&w);
    umount(w.spool);
}

/* Redis has yet to answer for rows that are there: closing the stores answers instead. */
Test(spool_faults, a_producer_that_leaves_while_it_brings_events_home_leaves_in_good_order)
{
    struct world w = start(true);
    test_pg_kill(w.pg);
    spool_events(&w, "a", 5);
    test_redis_pause(w.redis);
    test_pg_restart(w.pg);
    WAIT_FOR(rows(&w, "a") == 5, 20000);
    test_proc_signal(w.producer, SIGTERM);
    cr_assert_eq(test_proc_wait(w.producer, 30000), 0, "%s", test_proc_log(w.producer));
    cr_expect_not(test_proc_logged(w.producer, "Segmentation"), "%s", test_proc_log(w.producer));
    test_redis_resume(w.redis);
    start_producer(&w);
    WAIT_FOR(frames(&w, NULL) == 0 && listed(&w) == 0, 20000);
    stop(&w);
}

/* A disk that refuses at some offset: writes are cut short, then fail. */
Test(spool_faults, a_segment_that_cannot_grow_is_left_for_another)
{
    struct world w = prepare(true);
    struct rlimit old, small;
    start_producer(&w);
    WAIT_FOR(strstr(health(&w), "\"status\":\"healthy\""), 30000);
    pid_t pid[4];
    cr_assert_eq(harness_children(test_proc_pid(w.producer), NULL, pid, 4), 1);
    cr_assert_eq(prlimit(pid[0], RLIMIT_FSIZE, NULL, &old), 0);
    small = old;
    small.rlim_cur = 40000;
    cr_assert_eq(prlimit(pid[0], RLIMIT_FSIZE, &small, NULL), 0);
    test_pg_kill(w.pg);
    for (int i = 0; i < 20; i++) {
        struct test_reply r = post(&w, harness_text("x-%d", i), 8000);
        cr_assert_eq(r.status, 202, "%s", r.body);
    }
    cr_assert_geq(segments(&w), 4);
    WAIT_FOR(test_proc_logged(w.producer, "spool_segment_given_up"), 10000);
    test_pg_restart(w.pg);
    WAIT_FOR(rows(&w, "x") == 20, 30000);
    WAIT_FOR(frames(&w, NULL) == 0 && segments(&w) == 1 && listed(&w) == 0, 20000);
    cr_assert_eq(sql_int(w.database, "SELECT count(*) FROM webhook.change_events"), 20);
    stop(&w);
}
