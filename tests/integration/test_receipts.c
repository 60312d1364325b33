/* The journal of receipts: a whole line for every 202, whatever becomes of the process, and no 202
 * less when it cannot be written. By itself, and with a real producer. */
#include "base/mem.h"
#include "producer/receipts.h"
#include "tests/support/harness.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <regex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(receipts, .timeout = 120);

#define SECRET "0123456789abcdef0123456789abcdef"
#define LINE                                                                                       \
    "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12} "                               \
    "20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]\\.[0-9]{6}Z "                \
    "(row|spool|redis)$"

/* --- files ------------------------------------------------------------------------------- */

static const char *new_dir(void)
{
    static int serial;
    return harness_text("%s/receipts%d", harness_dir(), ++serial);
}

static int count_files(const char *dir, const char *part)
{
    int n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));)
        n += strstr(e->d_name, part) != NULL;
    if (d)
        closedir(d);
    return n;
}

/* All files of the folder, one after the other. */
static const char *journal(const char *dir)
{
    struct buf all = {0};
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (!strstr(e->d_name, ".receipts"))
            continue;
        FILE *f = fopen(harness_text("%s/%s", dir, e->d_name), "re");
        cr_assert(f);
        for (size_t n = 1; n; all.len += n)
            n = fread(buf_reserve(&all, 65536), 1, 65536, f);
        fclose(f);
    }
    if (d)
        closedir(d);
    buf_puts(&all, "");
    return harness_hold(buf_detach(&all));
}

/* Every line is whole and as it should be; returns how many. */
static int check_lines(const char *text)
{
    regex_t re;
    int n = 0;
    cr_assert_eq(regcomp(&re, LINE, REG_EXTENDED | REG_NOSUB), 0);
    char *copy = harness_hold(mem_strdup(text));
    cr_assert(!*text || text[strlen(text) - 1] == '\n');
    for (char *rest, *line = strtok_r(copy, "\n", &rest); line;
         line = strtok_r(NULL, "\n", &rest)) {
        cr_assert_eq(regexec(&re, line, 0, NULL, 0), 0, "%s", line);
        n++;
    }
    regfree(&re);
    return n;
}

/* --- by itself --------------------------------------------------------------------------- */

static void note(struct receipts *r, int times)
{
    struct change_event ev = {.id = uuid_v4()};
    for (int i = 0; i < times; i++)
        receipts_note(r, &ev, "row");
}

Test(receipts, without_a_folder_nothing_is_written)
{
    struct receipts *r = receipts_new(NULL);
    cr_assert_null(r);
    note(r, 1);
    receipts_free(r);
}

Test(receipts, a_file_without_a_line_does_not_stay)
{
    const char *dir = new_dir();
    struct receipts *r = receipts_new(dir);
    receipts_free(r);
    cr_assert_eq(count_files(dir, ".receipts"), 0);
}

Test(receipts, a_full_file_is_set_aside_and_kept)
{
    enum { LINES = 1000000 }; /* of 70 bytes or so: more than 64 MiB */
    const char *dir = new_dir();
    struct receipts *r = receipts_new(dir);
    note(r, LINES);
    receipts_free(r);
    cr_assert_eq(count_files(dir, ".receipts"), 2);
    cr_assert_eq(count_files(dir, ".receipts.1"), 1);
    const char *all = journal(dir);
    int n = 0;
    for (const char *p = all; (p = strchr(p, '\n')); p++)
        n++;
    cr_assert_eq(n, LINES);
}

Test(receipts, half_a_line_never_stays)
{
    const char *dir = new_dir();
    struct receipts *r = receipts_new(dir);
    struct rlimit old, small;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    note(r, 1);
    size_t len = strlen(journal(dir));
    small = old;
    small.rlim_cur = 3 * len + len / 2; /* the fourth is cut short */
    setrlimit(RLIMIT_FSIZE, &small);
    note(r, 5);
    setrlimit(RLIMIT_FSIZE, &old);
    cr_expect_eq(check_lines(journal(dir)), 3);
    note(r, 2);
    receipts_free(r);
    cr_expect_eq(check_lines(journal(dir)), 5);
}

/* --- with a producer --------------------------------------------------------------------- */

struct world {
    struct test_pg *pg;
    struct test_redis *redis;
    struct test_proc *producer;
    const char *receipts;
    int port, fd;
};

static bool healthy(const struct world *w)
{
    struct test_reply r = test_http(w->port, "GET", "/health", NULL, NULL, 0);
    return strstr(r.body, "\"status\":\"healthy\"");
}

static void start_producer(struct world *w, const char *ack)
{
    const char *const argv[] = {harness_text("%s/hookline-producer", harness_build()), NULL};
    const char *const env[] = {"WEBHOOK_PRODUCERS=1", "WEBHOOK_RATE_LIMIT=0",
        "WEBHOOK_SECRET=" SECRET, ack, harness_text("WEBHOOK_DATABASE_URL=%s", test_pg_url(w->pg)),
        harness_text("WEBHOOK_REDIS_URL=%s", test_redis_url(w->redis)),
        harness_text("WEBHOOK_SPOOL_DIR=%s/spool", harness_dir()),
        harness_text("WEBHOOK_RECEIPTS_DIR=%s", w->receipts), NULL};
    w->producer = test_proc_start(argv, env, w->fd);
    WAIT_FOR(healthy(w), 30000);
}

static struct world start(const char *receipts, const char *ack)
{
    struct world w = {.pg = test_pg_start(), .redis = test_redis_start(), .receipts = receipts};
    w.fd = harness_listen(&w.port);
    start_producer(&w, ack);
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

static int posted;

/* The id of an accepted event; with `has_row`, of one whose row is there already. */
static const char *post(const struct world *w, bool *has_row)
{
    const char *body =
        harness_text("{\"watch_id\":\"r-%d\",\"watch_url\":\"https://example.com/%d\","
                     "\"detected_at\":\"2026-01-02T03:04:05Z\"}",
            posted, posted);
    posted++;
    const char *head =
        harness_text("X-Signature: sha256=%s\r\n", test_sign(SECRET, body, strlen(body)));
    struct test_reply r =
        test_http(w->port, "POST", "/api/webhook/changedetection", head, body, strlen(body));
    cr_assert_eq(r.status, 202, "%d %s", r.status, r.body);
    const char *id = strstr(r.body, "\"job_id\":\"");
    cr_assert(id);
    *has_row = !strstr(r.body, "\"change_event_id\":null");
    return harness_text("%.36s", id + strlen("\"job_id\":\""));
}

static void expect_line(const struct world *w, const char *id, const char *where)
{
    const char *line = strstr(journal(w->receipts), id);
    cr_assert(line, "%s has no receipt", id);
    const char *end = strchr(line, '\n');
    size_t len = strlen(where);
    cr_assert(end && end[-1 - (long)len] == ' ' && memcmp(end - len, where, len) == 0, "%.*s",
        (int)(end - line), line);
}

Test(receipts, every_202_has_a_line_when_the_answer_is_out_even_if_the_process_dies_then)
{
    bool has_row = false;
    struct world w = start(new_dir(), "WEBHOOK_ACK=both");
    const char *id = "";
    while (!has_row)
        id = post(&w, &has_row);
    expect_line(&w, id, "row");
    test_pg_kill(w.pg);
    id = post(&w, &has_row);
    cr_assert(!has_row);
    expect_line(&w, id, "spool");
    for (int i = 0; i < 50; i++)
        id = post(&w, &has_row);
    test_proc_kill(w.producer);
    expect_line(&w, id, "spool");
    cr_expect_eq(check_lines(journal(w.receipts)), posted);
    test_pg_restart(w.pg);
    start_producer(&w, "WEBHOOK_ACK=queue");
    id = post(&w, &has_row);
    expect_line(&w, id, "redis");
    cr_expect_eq(check_lines(journal(w.receipts)), posted);
    cr_expect_eq(count_files(w.receipts, ".receipts"), 2, "a file for each process");
    stop(&w);
}

Test(receipts, the_line_of_a_repeated_delivery_says_so)
{
    bool has_row = false;
    struct world w = start(new_dir(), "WEBHOOK_ACK=both");
    const char *id = "";
    while (!has_row)
        id = post(&w, &has_row);
    posted--;
    cr_expect_str_eq(post(&w, &has_row), id);
    const char *text = journal(w.receipts), *last = strstr(strstr(text, id) + 1, id);
    cr_assert(last, "%s", text);
    cr_expect(strstr(last, " again\n"), "%s", text);
    stop(&w);
}

Test(receipts, a_journal_that_cannot_be_written_costs_no_event_and_is_told_once)
{
    bool has_row;
    const char *dir = harness_text("%s/missing/receipts", harness_dir());
    struct world w = start(dir, "WEBHOOK_ACK=both");
    for (int i = 0; i < 20; i++)
        post(&w, &has_row);
    const char *log = test_proc_log(w.producer);
    const char *first = strstr(log, "receipts_failed");
    cr_assert(first && !strstr(first + 1, "receipts_failed"), "%s", log);
    cr_assert(strstr(first, "WEBHOOK_RECEIPTS_DIR"));
    cr_assert_eq(mkdir(harness_text("%s/missing", harness_dir()), 0700), 0);
    WAIT_FOR((post(&w, &has_row), test_proc_logged(w.producer, "receipts_resumed")), 20000);
    cr_expect_gt(check_lines(journal(dir)), 0);
    stop(&w);
}
