/* The chaos driver for a minute with a fixed seed, and its schedules; and that release programs know
 * nothing of crash points, while the list of their names and the code agree. `make chaos` runs
 * longer and with a new seed each time, `make chaos-mutants` shows that the checks bite. */
#include "base/buf.h"
#include "base/crashpoint.h"
#include "base/mem.h"
#include "tests/support/harness_private.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(chaos, .timeout = 280);

#define COUNT(a)  (sizeof(a) / sizeof((a)[0]))
#define ONE(name) name,
static const char *const names[] = {CRASH_POINTS(ONE)};

enum { MAX_PROGRAM = 64 << 20, RUN_MS = 250000, SCHEDULE_MS = 90000 };

/* --- crash points ------------------------------------------------------------------------ */

static struct buf program(const char *name)
{
    struct buf b = {0};
    FILE *f = fopen(harness_text("%s/%s", harness_build(), name), "re");
    cr_assert(f, "%s/%s is not there", harness_build(), name);
    for (size_t n = 1; n && b.len < MAX_PROGRAM; b.len += n)
        n = fread(buf_reserve(&b, 65536), 1, 65536, f);
    fclose(f);
    return b;
}

static bool holds(const struct buf *b, const char *text)
{
    return memmem(b->data, b->len, text, strlen(text)) != NULL;
}

Test(chaos, a_release_program_has_no_crash_point)
{
    static const char *const programs[] = {"hookline-producer", "hookline-worker", "hooklinectl"};
    for (size_t i = 0; i < COUNT(programs); i++) {
        struct buf b = program(programs[i]);
        cr_expect_not(holds(&b, "HOOKLINE_CRASH"), "%s", programs[i]);
        cr_expect_not(holds(&b, "crashpoint_pass"), "%s", programs[i]);
        for (size_t k = 0; k < COUNT(names); k++)
            cr_expect_not(holds(&b, names[k]), "%s has %s", programs[i], names[k]);
        buf_release(&b);
    }
}

/* Each name is passed by one of the two daemons built for chaos. */
Test(chaos, every_crash_point_of_the_list_is_in_the_code)
{
    static const char find[] = "grep -rhoE 'CRASH_POINT\\(\"[^\"]*\"\\)' --include='*.c' common"
                               " producer worker | sort -u";
    char line[128];
    int found = 0;
    FILE *f = popen(find, "re"); /* NOLINT: fixed command */
    cr_assert(f);
    while (fgets(line, sizeof(line), f)) {
        size_t k = 0;
        while (k < COUNT(names) && !strstr(line, harness_text("\"%s\"", names[k])))
            k++;
        cr_expect(k < COUNT(names), "not in the list of crashpoint.h: %s", line);
        found++;
    }
    pclose(f);
    cr_expect_eq(
        found, (int)COUNT(names), "%d names in the code, %d in the list", found, (int)COUNT(names));
}

/* --- runs of the driver ------------------------------------------------------------------ */

static void expect_kept(const char *const *args, const char *const *env, int timeout_ms)
{
    const char *argv[4] = {harness_text("%s/tests/chaos/chaos", harness_build())};
    for (int i = 0; args && args[i]; i++)
        argv[i + 1] = args[i];
    struct test_proc *p = test_proc_start(argv, env, -1);
    int code = test_proc_wait(p, timeout_ms);
    cr_expect_eq(code, 0, "the chaos driver ends with %d:\n%s", code, test_proc_log(p));
}

static const char *handed_on(const char *name)
{
    const char *v = getenv(name);
    return harness_text("%s=%s", name, v ? v : "");
}

#define DRIVER_ENV(...)                                                                            \
    (const char *const[])                                                                          \
    {                                                                                              \
        harness_text("HOOKLINE_BUILD=%s", harness_build()), handed_on("HOOKLINE_TEST_PGDATA"),     \
            handed_on("HOOKLINE_TEST_TEMPLATE"), handed_on("HOOKLINE_TEST_TMP"), __VA_ARGS__, NULL \
    }

static void expect_schedule(const char *name)
{
    expect_kept(
        (const char *const[]){"--schedule", name, NULL}, DRIVER_ENV("CHAOS_SEED=1"), SCHEDULE_MS);
}

Test(chaos, a_worker_that_lost_its_claim_changes_nothing)
{
    expect_schedule("claim_guard");
}

Test(chaos, an_older_fetch_never_replaces_a_newer_document)
{
    expect_schedule("scrape_seq");
}

Test(chaos, redis_is_told_after_the_result_has_committed)
{
    expect_schedule("ack_before_t3");
}

Test(chaos, a_claim_given_up_for_lost_is_handed_back_when_it_comes_through)
{
    expect_schedule("strays");
}

Test(chaos, an_event_of_a_crawl_is_in_the_queue_until_it_is_stored)
{
    expect_schedule("crawl_ack");
}

Test(chaos, a_session_is_the_sum_of_all_its_events_also_of_those_at_once)
{
    expect_schedule("crawl_turns");
}

Test(chaos, the_jobs_of_a_dead_worker_run_again_within_moments)
{
    expect_schedule("recovery");
}

Test(chaos, every_promise_is_kept_through_a_minute_of_faults)
{
    expect_kept(NULL, DRIVER_ENV("CHAOS_SEED=20261123", "CHAOS_SECONDS=60"), RUN_MS);
}
