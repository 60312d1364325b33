/* Many events from many senders at once while worker processes are killed one after the other:
 * every event that was accepted ends completed or superseded, in one row, and nothing is left
 * behind. */
#include "tests/support/fleet.h"

#include "base/buf.h"
#include "base/mem.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(storm, .timeout = 150);

enum { SOON = 60000, POSTERS = 8, EVENTS = 1000, MIN_KILLS = 5, LETTERS = 50, AT_ONCE = 4 };

/* Kills from outside are no fault of an event; only their number is what this test is about. */
#define FLEET_ENV RIG_ENV("WEBHOOK_WORKERS=2", "WEBHOOK_MAX_STARTS=100")

/* --- what holds at the end --------------------------------------------------------------- */

static void expect_all_done(struct rig *r, long events)
{
    WAIT_FOR(rig_rows(r, "rescrape_status IN ('completed', 'superseded')") == events, SOON);
    cr_expect_eq(rig_rows(r, "true"), events, "no event has a second row");
    cr_expect_eq(rig_rows(r, "rescrape_status = 'superseded' AND NOT EXISTS (SELECT FROM"
                             " webhook.change_events o WHERE o.rescrape_status = 'completed' AND"
                             " o.watch_url = change_events.watch_url AND o.scrape_seq >"
                             " change_events.accept_seq)"),
        0, "whoever is superseded was seen by a later scrape");
    cr_expect_eq(sql_int(r->db, "SELECT count(*) FROM (SELECT watch_url FROM webhook.change_events"
                                " EXCEPT SELECT url FROM webhook.documents) missing"),
        0, "every page is in the index");
    WAIT_FOR(rig_queue_empty(r), SOON);
    WAIT_FOR(rig_only_living(r, 2), SOON);
    cr_expect_eq(redis_int(r->redis, "EXISTS {hookline}:dead"), 0);
}

static long done(struct rig *r)
{
    return rig_rows(r, "rescrape_status IN ('completed', 'superseded')");
}

/* Kills the busiest worker whenever `step` more events have ended. */
struct killer {
    long step, next;
    int kills;
};

static void maybe_kill(struct rig *r, struct killer *k)
{
    pid_t pid;
    if (done(r) < k->next || (pid = rig_worker(r)) == 0)
        return;
    kill(pid, SIGKILL);
    k->kills++;
    k->next += k->step;
}

/* --- a thousand signed events ------------------------------------------------------------ */

/* Every fifth is about one of a few pages. */
static void page_of(int n, char *path, size_t size)
{
    if (n % 5 == 0)
        snprintf(path, size, "/slow/20/shared/%d", n % 7);
    else
        snprintf(path, size, "/slow/20/page/%d", n);
}

static const char *ids_path(int poster)
{
    static char path[512];
    snprintf(path, sizeof(path), "%s/ids-%d", harness_dir(), poster);
    return path;
}

_Noreturn static void run_poster(struct rig *r, int poster)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    FILE *f = fopen(ids_path(poster), "we");
    bool ok = f != NULL;
    for (int n = poster; n < EVENTS && ok; n += POSTERS) {
        struct rig_id id;
        char path[64];
        page_of(n, path, sizeof(path));
        ok = rig_try_post(r, path, &id) && fprintf(f, "%s,", id.text) > 0;
    }
    ok = ok && fclose(f) == 0;
    _exit(ok ? 0 : 1);
}

/* How many of the posters' events have exactly one row. */
static long accepted_with_a_row(struct rig *r)
{
    struct buf ids = {0};
    char chunk[4096];
    for (int i = 0; i < POSTERS; i++) {
        FILE *f = fopen(ids_path(i), "re");
        cr_assert(f);
        for (size_t n; (n = fread(chunk, 1, sizeof(chunk), f)) > 0;)
            buf_append(&ids, chunk, n);
        fclose(f);
    }
    ids.data[ids.len - 1] = '\0'; /* the last comma */
    long n = sql_int(r->db,
        "SELECT count(*) FROM unnest('{%s}'::uuid[]) AS i (id) WHERE 1 = (SELECT"
        " count(*) FROM webhook.change_events c WHERE c.event_id = i.id)",
        ids.data);
    buf_release(&ids);
    return n;
}

Test(storm, a_thousand_events_survive_the_killing_of_workers)
{
    struct rig r;
    struct killer killer = {.step = EVENTS / 12, .next = EVENTS / 12};
    pid_t posters[POSTERS];
    int running = POSTERS, status;

    rig_start(&r);
    rig_fleet(&r, 2, FLEET_ENV);
    for (int i = 0; i < POSTERS; i++) {
        posters[i] = fork();
        cr_assert_geq(posters[i], 0);
        if (posters[i] == 0)
            run_poster(&r, i);
    }
    int64_t end = harness_now_ms() + SOON;
    while (running || killer.kills < MIN_KILLS) {
        harness_wait_step(end, "all is posted and enough workers were killed", __FILE__, __LINE__);
        maybe_kill(&r, &killer);
        for (int i = 0; i < POSTERS; i++) {
            if (!posters[i] || waitpid(posters[i], &status, WNOHANG) == 0)
                continue;
            cr_expect_eq(status, 0, "a poster was refused");
            posters[i] = 0;
            running--;
        }
    }
    expect_all_done(&r, EVENTS);
    cr_expect_eq(accepted_with_a_row(&r), EVENTS);
}

/* --- fifty notifications by the real apprise --------------------------------------------- */

static bool installed(const char *name)
{
    char *command = mem_printf("command -v %s >/dev/null 2>&1", name);
    bool found = system(command) == 0; /* NOLINT: fixed command */
    free(command);
    return found;
}

static struct test_proc *notify(struct rig *r, int n)
{
    char body[256], url[256];
    snprintf(body, sizeof(body),
        "{\"watch_uuid\":\"w%d\",\"watch_url\":\"%s/%s/%d\",\"watch_title\":\"\\u00e9\"}", n,
        RIG_SITE, n % 5 ? "page" : "shared", n % 5 ? n : 0);
    snprintf(url, sizeof(url),
        "json://127.0.0.1:%d/api/webhook/changedetection?+X-Webhook-Token=%s", r->producer_port,
        RIG_TOKEN);
    return test_proc_start((const char *const[]){"apprise", "-b", body, url, NULL}, NULL, -1);
}

Test(storm, fifty_notifications_by_apprise_survive_it_too)
{
    struct rig r;
    struct killer killer = {.step = 5, .next = 5};
    struct test_proc *senders[AT_ONCE] = {NULL};
    int sent = 0, answered = 0;

    if (!installed("apprise"))
        cr_skip_test("apprise is not installed");
    rig_start(&r);
    rig_fleet(&r, 2, FLEET_ENV);
    int64_t end = harness_now_ms() + SOON;
    while (answered < LETTERS) {
        harness_wait_step(end, "all notifications are sent", __FILE__, __LINE__);
        maybe_kill(&r, &killer);
        for (int i = 0; i < AT_ONCE; i++) {
            if (senders[i] && test_proc_running(senders[i]))
                continue;
            if (senders[i]) {
                cr_assert_eq(test_proc_wait(senders[i], 0), 0, "%s", test_proc_log(senders[i]));
                answered++;
            }
            senders[i] = sent < LETTERS ? notify(&r, sent++) : NULL;
        }
    }
    cr_expect_geq(killer.kills, MIN_KILLS);
    expect_all_done(&r, LETTERS);
    cr_expect_eq(rig_rows(&r, "metadata->>'watch_title' = 'é'"), LETTERS);
}
