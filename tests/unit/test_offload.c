/* offload: blocking work leaves the loop's thread and comes back in order. */
#include "io/offload.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

static struct loop *loop;
static struct offload *offload;
static pthread_t loop_thread;

static void start(void)
{
    loop = loop_new(NULL);
    offload = offload_new(loop, NULL);
    loop_thread = pthread_self();
    cr_assert(loop && offload);
}

static void stop(void)
{
    offload_free(offload);
    loop_free(loop);
}

struct work {
    struct offload_job job;
    bool elsewhere, deaf;
    int order;
};
static int finished;

static void work(struct offload_job *job)
{
    struct work *w = LIST_OF(job, struct work, job);
    sigset_t blocked;
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    w->deaf = sigismember(&blocked, SIGTERM) == 1 && sigismember(&blocked, SIGCHLD) == 1;
    w->elsewhere = !pthread_equal(pthread_self(), loop_thread);
}

static void done(struct offload_job *job)
{
    struct work *w = LIST_OF(job, struct work, job);
    cr_assert(pthread_equal(pthread_self(), loop_thread));
    w->order = ++finished;
    if (finished == 3)
        loop_stop(loop);
}

Test(offload, jobs_run_in_a_thread_without_signals_and_end_in_the_loop_in_order)
{
    struct work w[3] = {0};
    start();
    for (int i = 0; i < 3; i++) {
        w[i].job.work = work;
        w[i].job.done = done;
        offload_run(offload, &w[i].job);
        cr_expect_eq(w[i].order, 0);
    }
    loop_run(loop);
    for (int i = 0; i < 3; i++) {
        cr_expect(w[i].elsewhere && w[i].deaf);
        cr_expect_eq(w[i].order, i + 1);
    }
    stop();
}

static struct {
    int times;
    enum hl_rc rc;
    char address[512];
    struct hl_err err;
} seen;

static void on_resolved(enum hl_rc rc, const char *address, const struct hl_err *err, void *ctx)
{
    (void)ctx;
    seen.times++;
    seen.rc = rc;
    strncpy(seen.address, address ? address : "", sizeof(seen.address) - 1);
    if (err)
        seen.err = *err;
    loop_stop(loop);
}

Test(offload, names_become_numeric_addresses)
{
    static const struct {
        const char *host, *address;
    } rows[] = {
        {"127.0.0.1", "127.0.0.1"},
        {"::1",       "::1"      },
        {"10.1.2.3",  "10.1.2.3" }
    };
    start();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        resolve_start(offload, rows[i].host, on_resolved, NULL);
        loop_run(loop);
        cr_expect_eq(seen.rc, HL_OK);
        cr_expect_str_eq(seen.address, rows[i].address);
    }
    resolve_all_start(offload, "localhost", on_resolved, NULL);
    loop_run(loop);
    cr_expect(strstr(seen.address, "127.0.0.1"), "%s", seen.address);
    stop();
}

Test(offload, every_address_of_a_name_has_its_turn)
{
    char all[512];
    start();
    resolve_all_start(offload, "localhost", on_resolved, NULL);
    loop_run(loop);
    strcpy(all, seen.address);
    for (char *rest = all, *want; (want = strsep(&rest, ","));) {
        resolve_start(offload, "localhost", on_resolved, NULL);
        loop_run(loop);
        cr_expect_str_eq(seen.address, want);
    }
    stop();
}

Test(offload, an_unknown_name_is_unreachable_and_named)
{
    start();
    resolve_start(offload, "nosuch.invalid", on_resolved, NULL);
    loop_run(loop);
    cr_expect_eq(seen.rc, HL_RETRY);
    cr_expect_eq(seen.err.why, HL_WHY_UNREACHABLE);
    cr_expect(strstr(seen.err.msg, "nosuch.invalid"), "%s", seen.err.msg);
    stop();
}

Test(offload, a_cancelled_look_up_is_not_answered)
{
    start();
    resolve_cancel(resolve_start(offload, "127.0.0.1", on_resolved, NULL));
    resolve_start(offload, "127.0.0.2", on_resolved, NULL);
    loop_run(loop);
    cr_expect_eq(seen.times, 1);
    cr_expect_str_eq(seen.address, "127.0.0.2");
    stop();
}

Test(offload, freeing_drops_what_is_queued)
{
    start();
    for (int i = 0; i < 20; i++)
        resolve_start(offload, "127.0.0.1", on_resolved, NULL);
    stop();
    cr_expect_eq(seen.times, 0);
}
