/* hooklinectl drain in a storm: events come in bursts while processes are killed, Redis forgets and
 * PostgreSQL is away. Whenever it says empty, all that was accepted before its first look is at an end,
 * also where the producers' disk is out of its sight. */
#include "tests/support/fleet.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/timestamp.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(ctl_drain_storm, .timeout = 280);

enum {
    PACE_US = 10000,
    BURST = 40,
    PAUSE_US = 9000000,
    HANG_US = 2500000,
    MAX_CHILDREN = 16,
    LINE = 64
};

static struct {
    struct rig rig;
    struct test_proc *fleet;
    int door; /* the producers' listening socket: it outlives them */
    pid_t sender;
    const char *taken; /* file: a line "when id" for each accepted event */
} at;

/* --- events ------------------------------------------------------------------------------ */

static void send_for_ever(void)
{
    FILE *f = fopen(at.taken, "ae");
    struct rig_id id;
    for (int n = 0;; n++, usleep(n % BURST ? PACE_US : arc4random_uniform(PAUSE_US)))
        if (rig_try_post(&at.rig, harness_text("/storm/%d", n), &id)) {
            fprintf(f, "%lld %s\n", (long long)clock_wall_us(), id.text);
            fflush(f);
        }
}

/* An array of those that were accepted before. */
static long taken_before(int64_t us, struct buf *ids)
{
    char line[LINE];
    long n = 0;
    FILE *f = fopen(at.taken, "re");
    cr_assert(f);
    buf_putc(ids, '{');
    while (fgets(line, sizeof(line), f)) {
        const char *id = strchr(line, ' ');
        if (!id || strlen(id) < 38 || strtoll(line, NULL, 10) >= us)
            continue;
        buf_printf(ids, "%s%.36s", n ? "," : "", id + 1);
        n++;
    }
    buf_putc(ids, '}');
    fclose(f);
    return n;
}

static long not_at_an_end(int64_t before_us, long *taken)
{
    struct buf ids = {0};
    *taken = taken_before(before_us, &ids);
    long n = sql_int(at.rig.db,
        "SELECT count(*) FROM unnest('%s'::uuid[]) t (id) WHERE NOT EXISTS (SELECT"
        " FROM webhook.change_events c WHERE c.event_id = t.id"
        "  AND c.rescrape_status NOT IN ('queued', 'in_progress'))",
        buf_str(&ids));
    buf_release(&ids);
    return n;
}

/* --- faults ------------------------------------------------------------------------------ */

static void start_producer(void)
{
    const char *const argv[] = {rig_program("hookline-producer"), NULL};
    at.rig.producer = rig_start_program(&at.rig, argv, RIG_ENV("WEBHOOK_PRODUCERS=2"), at.door);
}

static void kill_children(struct test_proc *p)
{
    pid_t pids[MAX_CHILDREN];
    int n = harness_children(test_proc_pid(p), NULL, pids, MAX_CHILDREN);
    for (int i = 0; i < n; i++)
        kill(pids[i], SIGKILL);
}

static void nothing(void)
{
}

static void workers_die(void)
{
    kill_children(at.fleet);
}

static void producers_die(void)
{
    kill_children(at.rig.producer);
}

static void producer_is_started_anew(void)
{
    test_proc_kill(at.rig.producer);
    start_producer();
}

static void fleet_is_started_anew(void)
{
    test_proc_kill(at.fleet);
    at.fleet = rig_fleet(&at.rig, 2, RIG_ENV("WEBHOOK_WORKERS=2"));
}

static void redis_dies(void)
{
    test_redis_kill(at.rig.redis);
    test_redis_restart(at.rig.redis);
}

static void redis_forgets(void)
{
    redis_text(at.rig.redis, "FLUSHALL");
}

static void redis_hangs(void)
{
    test_redis_pause(at.rig.redis);
    usleep(HANG_US);
    test_redis_resume(at.rig.redis);
}

static void postgres_dies(void)
{
    test_pg_kill(at.rig.pg);
    usleep(HANG_US); /* events go to the spool */
    test_pg_restart(at.rig.pg);
}

/* What they had on disk nobody has told of. */
static void producer_dies_with_a_spool(void)
{
    test_pg_kill(at.rig.pg);
    usleep(HANG_US);
    test_proc_kill(at.rig.producer);
    test_pg_restart(at.rig.pg);
    usleep(HANG_US);
    start_producer();
}

enum { NHERE = 6, NFAULTS = 11 };
static void (*const faults[NFAULTS])(void) = {nothing, workers_die, redis_dies, postgres_dies,
    redis_forgets, fleet_is_started_anew, nothing, producers_die, redis_hangs,
    producer_is_started_anew, producer_dies_with_a_spool};

/* --- rounds ------------------------------------------------------------------------------ */

static struct test_proc *drain(bool sees_disk, const char *timeout)
{
    const char *const argv[] = {rig_program("hooklinectl"), "drain", "--fence", "--unfence",
        "--yes", "--json", "--timeout", timeout, NULL};
    const char *elsewhere = harness_text("WEBHOOK_SPOOL_DIR=%s/elsewhere", harness_dir());
    return rig_start_program(&at.rig, argv, sees_disk ? NULL : RIG_ENV(elsewhere), -1);
}

static struct test_proc *look_again_and_again(bool sees_disk)
{
    const char *const argv[] = {
        rig_program("hooklinectl"), "drain", "--json", "--timeout", "7", NULL};
    const char *elsewhere = harness_text("WEBHOOK_SPOOL_DIR=%s/elsewhere", harness_dir());
    return rig_start_program(&at.rig, argv, sees_disk ? NULL : RIG_ENV(elsewhere), -1);
}

/* When the first look of the proof began; 0 = there is none. */
static int64_t proven_at(const char *log)
{
    struct hl_err err;
    int64_t us = 0;
    const char *last = strstr(log, "{\"version\":1,\"state\":\"empty\"");
    if (!last)
        return 0;
    json_t *end = json_parse(last, strcspn(last, "\n"), &err);
    json_t *reads = json_object_get(json_object_get(end, "proof"), "reads");
    const char *first = json_string_value(json_array_get(reads, 0));
    cr_assert(first && timestamp_parse_iso(first, &us), "%s", log);
    json_decref(end);
    return us;
}

static void check(struct test_proc *p, int code, const char *when)
{
    const char *log = test_proc_log(p);
    int64_t us = proven_at(log);
    long taken = 0;
    cr_expect(code == 0 || code == 2 || code == 69 || code == 124, "%s: %d: %s", when, code, log);
    cr_expect_eq(code == 0, us != 0, "%s: %d: %s", when, code, log);
    if (us)
        cr_expect_eq(not_at_an_end(us, &taken), 0, "%s: of %ld: %s", when, taken, log);
    fprintf(stderr, "%s: %d, %ld events\n", when, code, taken);
}

static void round_of(int n, bool sees_disk)
{
    struct test_proc *p = drain(sees_disk, "15");
    const char *when = harness_text("fault %d, %s", n, sees_disk ? "here" : "from elsewhere");
    usleep((useconds_t)(arc4random_uniform(1500) * 1000)); /* into any part of it */
    faults[n]();
    check(p, test_proc_wait(p, 90000), when);
    struct test_proc *after = look_again_and_again(sees_disk);
    check(after, test_proc_wait(after, 90000), harness_text("after %s", when));
}

static void begin(void)
{
    rig_start_own_pg(&at.rig);
    test_proc_kill(at.rig.producer);
    sql_exec(at.rig.db, "DELETE FROM webhook.producers");
    at.door = harness_listen(&at.rig.producer_port);
    start_producer();
    at.fleet = rig_fleet(&at.rig, 2, RIG_ENV("WEBHOOK_WORKERS=2"));
    WAIT_FOR(rig_serves(at.rig.producer_port), 20000);
    at.taken = harness_text("%s/taken", harness_dir());
    fclose(fopen(at.taken, "we"));
    at.sender = fork();
    if (at.sender == 0)
        send_for_ever();
}

static void end(void)
{
    long taken = 0;
    WAIT_FOR(rig_serves(at.rig.producer_port), 30000);
    WAIT_FOR((not_at_an_end(INT64_MAX, &taken), taken > 100), 60000); /* however short the rounds */
    kill(at.sender, SIGKILL);
    struct test_proc *p = drain(true, "90");
    cr_expect_eq(test_proc_wait(p, 120000), 0, "%s", test_proc_log(p));
    cr_expect_eq(not_at_an_end(INT64_MAX, &taken), 0);
    cr_expect_gt(taken, 100);
    cr_expect_eq(rig_rows(&at.rig, "rescrape_status NOT IN ('completed', 'superseded')"), 0);
    cr_expect_eq(
        sql_int(at.rig.db, "SELECT count(*) FROM webhook.queues WHERE fenced_at IS NOT NULL"), 0);
}

Test(ctl_drain_storm, empty_is_never_said_of_what_is_not)
{
    begin();
    for (int n = 0; n < NHERE; n++)
        round_of(n, true);
    end();
}

Test(ctl_drain_storm, nor_where_the_spool_is_out_of_sight)
{
    begin();
    for (int n = NHERE; n < NFAULTS; n++)
        round_of(n, false);
    end();
}
