/* store_samples, sampler: what processes did is added up in the rows of five seconds and of an hour,
 * whatever happens to them or to PostgreSQL on the way. Against a real PostgreSQL. */
#include "domain/latency.h"
#include "domain/sampler.h"
#include "domain/store_samples.h"
#include "tests/support/harness.h"
#include "tests/support/store_bench.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(samples, .init = bench_start, .fini = bench_stop, .timeout = 60);

enum { SOON = 10000, OFTEN = 50 };

static long sum(const char *url, const char *column)
{
    return sql_int(url, "SELECT coalesce(sum(%s), 0) FROM webhook.samples", column);
}

static long tally(const char *kind, const char *name, const char *outcome)
{
    return sql_int(bench_url(),
        "SELECT coalesce(sum(n), 0) FROM webhook.tallies WHERE kind = '%s' AND name = '%s'"
        " AND outcome = '%s'",
        kind, name, outcome);
}

/* --- rows -------------------------------------------------------------------------------- */

static struct store_sample sample(void)
{
    return (struct store_sample){.queues = queues_unseen,
        .latency = "{}",
        .kinds = "{}",
        .names = "{}",
        .outcomes = "{}",
        .counts = "{}",
        .took_ms = "{}"};
}

static void add(struct store *s, const struct store_sample *x)
{
    struct bench_rows r;
    BENCH_ASK(r, store_samples_add(s, x, BENCH_CB(r)));
}

static int answers;

static void answered(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    (void)rows;
    (void)ctx;
    cr_expect_eq(rc, HL_OK, "%s", err->msg);
    answers++;
}

Test(samples, what_many_add_at_once_is_summed_up_and_nobody_waits_in_a_circle)
{
    enum { STORES = 4, EACH = 50 };
    struct store *stores[STORES];
    struct store_sample x = sample();
    x.accepted = 1;
    x.completed = 2;
    x.latency = "{1,0,3}";
    for (int i = 0; i < STORES; i++)
        stores[i] = bench_store(NULL);
    for (int i = 0; i < EACH * STORES; i++) {
        bool turned = i % 2;
        x.kinds = "{upstream,upstream}";
        x.names = turned ? "{a:80,b:80}" : "{b:80,a:80}"; /* in either order */
        x.outcomes = "{ok,ok}";
        x.counts = "{2,2}";
        x.took_ms = "{10,10}";
        store_samples_add(stores[i % STORES], &x, answered, NULL);
    }
    BENCH_UNTIL(answers == EACH * STORES);
    cr_expect_eq(sum(bench_url(), "accepted"), 200);
    cr_expect_eq(sum(bench_url(), "completed"), 400);
    cr_expect_eq(sum(bench_url(), "latency[1]"), 200);
    cr_expect_eq(sum(bench_url(), "latency[2]"), 0);
    cr_expect_eq(sum(bench_url(), "latency[3]"), 600);
    cr_expect_eq(tally("upstream", "a:80", "ok"), 400);
    cr_expect_eq(tally("upstream", "b:80", "ok"), 400);
    cr_expect_eq(sql_int(bench_url(), "SELECT sum(took_ms) FROM webhook.tallies"), 4000);
}

Test(samples, the_first_who_looked_at_the_queues_is_believed)
{
    struct store *s = bench_store(NULL);
    struct store_sample x = sample();
    for (int i = 0; i < 3; i++) { /* one of them may begin a slot of its own */
        x.queues = i ? (struct queues_seen){{i, -1}, 60000L * i} : queues_unseen;
        add(s, &x);
    }
    cr_expect_eq(sql_int(bench_url(), "SELECT min(depth) FROM webhook.samples"), 1);
    cr_expect_eq(sql_int(bench_url(), "SELECT min(oldest_ms) FROM webhook.samples"), 60000);
    cr_expect_eq(sql_int(bench_url(), "SELECT count(crawl_depth) FROM webhook.samples"), 0);
}

Test(samples, rows_of_more_than_eight_days_go_a_few_at_a_time)
{
    struct store *s = bench_store(NULL);
    struct bench_rows r;
    sql_exec(bench_url(),
        "INSERT INTO webhook.samples (at) SELECT now() - i * interval '1 day' + interval '1 hour'"
        " FROM generate_series(1, 20) i;"
        "INSERT INTO webhook.tallies SELECT now() - i * interval '1 day' + interval '1 hour', "
        "'source',"
        " 'change', 'accepted', 1 FROM generate_series(1, 20) i");
    for (int left = 12; left >= 0; left -= 5) {
        int gone = left > 5 ? 5 : left;
        BENCH_ASK(r, store_prune_samples(s, 5, BENCH_CB(r)));
        cr_expect_eq(atoi(bench_cell(&r, 0, 0)), gone);
        BENCH_ASK(r, store_prune_tallies(s, 5, BENCH_CB(r)));
        cr_expect_eq(atoi(bench_cell(&r, 0, 0)), gone);
    }
    cr_expect_eq(bench_count("webhook.samples WHERE at < now() - interval '8 days'"), 0);
    cr_expect_eq(bench_count("webhook.samples"), 8);
    cr_expect_eq(bench_count("webhook.tallies"), 8);
}

/* --- the series -------------------------------------------------------------------------- */

Test(samples, a_series_has_the_whole_slots_of_its_time_in_steps)
{
    struct store *s = bench_store(NULL);
    struct bench_rows r;
    sql_exec(bench_url(),
        "INSERT INTO webhook.samples (at, accepted, crawl_accepted, depth, in_flight, latency)"
        " SELECT to_timestamp(floor(extract(epoch FROM now()) / 5) * 5 - i * 5), 2, 1, i, i, "
        "'{1,2}'"
        " FROM generate_series(-1, 30) i"); /* two of them are not over, or to come */
    BENCH_ASK(r, store_series(s, 2, 5, BENCH_CB(r)));
    cr_expect_geq(bench_nrows(&r), 23);
    cr_expect_leq(bench_nrows(&r), 24);
    BENCH_ASK(r, store_series(s, 2, 30, BENCH_CB(r)));
    cr_expect_geq(bench_nrows(&r), 4);
    long accepted = 0;
    for (int i = 0; i < bench_nrows(&r); i++) {
        long at = atol(bench_cell(&r, i, SERIES_AT));
        cr_expect_eq(at % 30, 0);
        cr_expect_geq(at, atol(bench_cell(&r, i, SERIES_FROM)));
        accepted += atol(bench_cell(&r, i, SERIES_ACCEPTED));
        if (i == 1) {
            cr_expect_eq(atol(bench_cell(&r, i, SERIES_ACCEPTED)), 18);
            cr_expect(strncmp(bench_cell(&r, i, SERIES_LATENCY), "{6,12,NULL", 10) == 0, "%s",
                bench_cell(&r, i, SERIES_LATENCY));
        }
    }
    cr_expect_geq(accepted, 3 * 19);
    cr_expect_leq(accepted, 3 * 24);
}

Test(samples, without_any_row_a_series_is_empty)
{
    struct store *s = bench_store(NULL);
    struct bench_rows r;
    BENCH_ASK(r, store_series(s, 60, 5, BENCH_CB(r)));
    cr_expect_eq(bench_nrows(&r), 1);
    cr_expect_str_eq(bench_cell(&r, 0, SERIES_AT), "");
    BENCH_ASK(r, store_rates(s, BENCH_CB(r)));
    cr_expect_str_eq(bench_cell(&r, 0, RATES_ACCEPTED), "0");
}

/* --- percentiles ------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Of the values themselves, which the buckets do not know: the estimate must lie in the bucket of the
 * true one. */
Test(samples, percentiles_are_those_of_the_values_as_far_as_buckets_tell)
{
    enum { N = 5000 };
    static int64_t ms[N];
    static const double shares[] = {0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 1};
    const double *bounds;
    int n = meter_bounds(M_EVENT, &bounds);
    struct latency l = {0};
    srandom(7);
    for (int i = 0; i < N; i++) {
        ms[i] = random() % (i % 3 ? 2000 : 400000);
        meter_observe(M_EVENT, 0, ms[i] * 1000);
    }
    for (int i = 0; i <= n; i++)
        l.sum += l.n[i] = meter_bucket(M_EVENT, 0, i);
    cr_assert_eq(l.sum, N);
    qsort(ms, N, sizeof(*ms), by_size);
    for (size_t i = 0; i < sizeof(shares) / sizeof(*shares); i++) {
        int64_t is = ms[(int)(shares[i] * N) - 1], said = latency_ms(&l, shares[i]);
        int b = 0;
        while (b < n && (double)is > bounds[b] * 1000)
            b++;
        double low = b ? bounds[b - 1] * 1000 : 0;
        cr_expect((double)said >= low && (double)said <= bounds[b] * 1000,
            "%.2f: %ld ms, said %ld ms, of (%.0f, %.0f]", shares[i], (long)is, (long)said, low,
            bounds[b] * 1000);
    }
}

Test(samples, percentiles_of_known_buckets)
{
    static const struct {
        const char *buckets;
        double share;
        int64_t ms;
    } cases[] = {
        {"{}",                                0.5,  -1      },
        {"{0,0,NULL}",                        0.5,  -1      },
        {"{10}",                              0.5,  25      }, /* 0 to 50 ms, half of the way */
        {"{10}",                              1,    50      },
        {"{0,10}",                            0.5,  75      },
        {"{5,5}",                             0.5,  50      },
        {"{5,5}",                             0.75, 75      },
        {"{NULL,NULL,NULL,4}",                0.5,  375     },
        {"{0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,3}", 0.5,  14400000}, /* beyond the last bound */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct latency l;
        latency_read(&l, cases[i].buckets);
        cr_expect_eq(latency_ms(&l, cases[i].share), cases[i].ms, "case %zu: %ld", i,
            (long)latency_ms(&l, cases[i].share));
    }
}

/* --- a process tells --------------------------------------------------------------------- */

static void turn(int times)
{
    for (int i = 0; i < times; i++)
        bench_turn(harness_now_ms() + SOON, "turns", __FILE__, __LINE__);
}

static struct sampler *sampler;
static bool left;

static void has_left(void *ctx)
{
    (void)ctx;
    left = true;
}

static void start(struct store *s, int64_t every_ms)
{
    sampler =
        sampler_new(&(struct sampler_conf){.loop = bench_loop(), .store = s, .every_ms = every_ms});
    sampler_start(sampler);
}

static void leave(void)
{
    sampler_leave(sampler, 5000, has_left, NULL);
    BENCH_UNTIL(left);
    sampler_free(sampler);
}

Test(samples, a_process_tells_what_is_new_since_it_began_and_nothing_twice)
{
    struct store *s = bench_store(NULL);
    meter_add(M_ACCEPTED, SOURCE_CHANGE, SAFE_ROW, 1000); /* of the process before */
    start(s, OFTEN);
    meter_add(M_ACCEPTED, SOURCE_CHANGE, SAFE_ROW, 5);
    meter_add(M_ACCEPTED, SOURCE_CHANGE, SAFE_SPOOL, 2);
    meter_add(M_REFUSED, SOURCE_CRAWL, REASON_SIGNATURE, 3);
    meter_add(M_JOBS, OUTCOME_COMPLETED, 0, 4);
    meter_observe(M_EVENT, 0, 40000);
    sampler_fetched(sampler, "a:80", FETCH_OK, 120);
    sampler_fetched(sampler, "a:80", FETCH_OK, 80);
    sampler_fetched(sampler, "a:80", FETCH_TIMEOUT, 1);
    sampler_fetched(sampler, NULL, FETCH_OK, 1);
    BENCH_UNTIL(sum(bench_url(), "accepted") == 7);
    meter_add(M_JOBS, OUTCOME_COMPLETED, 0, 1);
    BENCH_UNTIL(sum(bench_url(), "completed") == 5);
    meter_inc(M_SUPERSEDED, 0, 0);
    leave(); /* the rest */
    cr_expect_eq(sum(bench_url(), "accepted"), 7);
    cr_expect_eq(sum(bench_url(), "completed"), 5);
    cr_expect_eq(sum(bench_url(), "superseded"), 1);
    cr_expect_eq(sum(bench_url(), "refused"), 3);
    cr_expect_eq(sum(bench_url(), "latency[1]"), 1);
    cr_expect_eq(tally("source", "change", "accepted"), 7);
    cr_expect_eq(tally("source", "crawl", "signature"), 3);
    cr_expect_eq(tally("upstream", "a:80", "ok"), 2);
    cr_expect_eq(tally("upstream", "a:80", "timeout"), 1);
    cr_expect_eq(
        sql_int(bench_url(), "SELECT took_ms FROM webhook.tallies WHERE outcome = 'ok'"), 200);
}

Test(samples, who_has_nothing_to_tell_writes_nothing)
{
    struct store *s = bench_store(NULL);
    start(s, 10);
    turn(40);
    leave();
    cr_expect_eq(bench_count("webhook.samples"), 0);
}

Test(samples, hosts_beyond_a_hundred_are_the_others)
{
    struct store *s = bench_store(NULL);
    start(s, OFTEN);
    for (int i = 0; i < 150; i++)
        sampler_fetched(sampler, harness_text("h%d:80", i), FETCH_OK, 1);
    leave();
    cr_expect_eq(bench_count("webhook.tallies"), 101);
    cr_expect_eq(tally("upstream", "(others)", "ok"), 50);
}

/* --- trouble ----------------------------------------------------------------------------- */

/* Of what was under way when it was killed nobody knows: that may be missing. */
Test(samples, what_could_not_be_written_is_written_when_postgresql_is_back)
{
    struct test_pg *pg = test_pg_start();
    const char *url = test_pg_url(pg);
    struct store *s = bench_store_at(url, NULL);
    start(s, OFTEN);
    meter_add(M_JOBS, OUTCOME_COMPLETED, 0, 3);
    BENCH_UNTIL(sum(url, "completed") == 3);
    sql_exec(url, "CHECKPOINT"); /* a commit without a sync of its own could be forgotten */
    test_pg_kill(pg);
    meter_add(M_JOBS, OUTCOME_COMPLETED, 0, 4);
    turn(40);
    meter_add(M_JOBS, OUTCOME_COMPLETED, 0, 5);
    sampler_fetched(sampler, "a:80", FETCH_OK, 1);
    turn(40);
    test_pg_restart(pg);
    BENCH_UNTIL(sum(url, "completed") >= 3 + 5);
    leave();
    long seen = sum(url, "completed");
    cr_expect(seen == 3 + 5 || seen == 3 + 4 + 5, "%ld", seen);
    cr_expect_eq(sql_int(url, "SELECT sum(n) FROM webhook.tallies"), 1);
    test_pg_free(pg);
}

/* A process of its own: counts one job for each byte that it is sent. */
static void work(int in, const char *url)
{
    char c;
    bench_start();
    start(bench_store_at(url, NULL), OFTEN);
    fcntl(in, F_SETFL, O_NONBLOCK);
    for (;;) {
        while (read(in, &c, 1) == 1)
            meter_inc(M_JOBS, OUTCOME_COMPLETED, 0);
        bench_turn(harness_now_ms() + SOON, "turns", __FILE__, __LINE__);
    }
}

static pid_t worker(const char *url, int *to)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0)
        work(ends[0], url);
    close(ends[0]);
    *to = ends[1];
    return pid;
}

static void kill_worker(pid_t pid)
{
    kill(pid, SIGKILL);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
}

Test(samples, a_killed_process_takes_no_more_with_it_than_it_did_since_it_told)
{
    const char *url = bench_url();
    int one, two;
    pid_t first = worker(url, &one), second = worker(url, &two);
    cr_assert_eq(write(one, "1234567890", 10), 10);
    cr_assert_eq(write(two, "12345", 5), 5);
    WAIT_FOR(sum(url, "completed") == 15, SOON);
    cr_assert_eq(write(one, "abc", 3), 3);
    kill_worker(first);
    long after = sum(url, "completed");
    cr_assert_eq(write(two, "6", 1), 1);
    WAIT_FOR(sum(url, "completed") > after, SOON);
    kill_worker(second);
    cr_expect_geq(sum(url, "completed"), 16);
    cr_expect_leq(sum(url, "completed"), 19);
}
