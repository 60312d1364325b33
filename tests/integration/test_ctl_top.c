/* hooklinectl top on a terminal: what it shows, what its keys do, and how it leaves. */
#include "tests/support/terminal.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

TestSuite(ctl_top, .timeout = 90);

enum { SOON = 20000 };
#define DOWN         "\033[B"
#define UP           "\033[A"
#define ENTER        "\r"
#define CTRL(letter) ((const char[]){(letter)&0x1f, 0})

static struct terminal *top_with(
    struct rig *r, int width, int height, const char *const *env, const char *options)
{
    return terminal_start(r, width, height, env, "exec %s top --interval 200ms %s",
        rig_program("hooklinectl"), options);
}

static struct terminal *top(struct rig *r, int width, int height)
{
    return top_with(r, width, height, NULL, "");
}

/* The line that begins with this word. */
static const char *line_with(struct terminal *t, const char *word)
{
    const char *text = terminal_text(t);
    size_t len = strlen(word);
    for (const char *at = text; *at; at += strcspn(at, "\n") + 1)
        if (strncmp(at + strspn(at, " "), word, len) == 0)
            return harness_text("%.*s", (int)strcspn(at, "\n"), at);
    return "";
}

static bool marked(struct terminal *t, const char *text)
{
    return strstr(terminal_marked(t), text) != NULL;
}

/* Presses the key until the marked line has this in it. */
static void select_line(struct terminal *t, const char *key, const char *text)
{
    for (int i = 0; i < 20 && !marked(t, text); i++) {
        const char *before = terminal_marked(t);
        terminal_type(t, key);
        WAIT_FOR(strcmp(before, terminal_marked(t)) != 0, SOON);
    }
    cr_assert(marked(t, text), "%s is never selected:\n%s", text, terminal_text(t));
}

static void add_worker(struct rig *r, const char *id, const char *status)
{
    sql_exec(r->db,
        "INSERT INTO webhook.workers (id, host, pid, status, seen_at) VALUES"
        " ('%s', 'near', 17, %s, now() + interval '1 hour')",
        id, status);
}

/* --- what it shows ----------------------------------------------------------------------- */

Test(ctl_top, shows_queues_workers_upstreams_and_events)
{
    struct rig r;
    rig_start(&r);
    rig_post(&r, "/ok/one");
    rig_post(&r, "/ok/two");
    add_worker(&r, "w-silver",
        "'{\"phase\":\"draining\",\"jobs\":1,\"crawls\":2,\"oldest_ms\":65000,"
        "\"pool\":{\"open\":3,\"busy\":2,\"max\":7},\"rss_kb\":2048,\"done\":5}'");
    sql_exec(r.db, "INSERT INTO webhook.upstreams (host, state, failures, open_until, last_error)"
                   " VALUES ('fire.test:3002', 'open', 5, now() + interval '90 s', 'no answer')");
    sql_exec(r.db, "UPDATE webhook.queues SET paused_at = now(), paused_by = 'me@desk'"
                   " WHERE name = 'crawl'");
    sql_exec(r.db, "UPDATE webhook.change_events SET rescrape_status = 'in_progress',"
                   " claimed_by = 'w-silver', claimed_at = now() - interval '2 minutes 5 s'"
                   " WHERE watch_url LIKE '%%two'");
    struct terminal *t = top(&r, 130, 24);
    WAIT_FOR(terminal_shows(t, "/ok/one"), SOON);
    WAIT_FOR(strstr(line_with(t, "change"), " 0.0"), SOON); /* rates, after the second look */
    const char *text = terminal_text(t);
    cr_expect(strstr(terminal_line(t, 0), "hooklinectl top "), "%s", text);
    cr_expect(strstr(terminal_line(t, 0), "PostgreSQL ok | Redis ok | pool 2/7 busy"), "%s", text);
    cr_expect(strstr(line_with(t, "change"), "running"), "%s", text);
    cr_expect(strstr(line_with(t, "change"), "    2        0      0     0"), "%s", text);
    cr_expect(strstr(line_with(t, "crawl"), "paused"), "%s", text);
    cr_expect(strstr(line_with(t, "crawl"), "me@desk"), "%s", text);
    cr_expect(strstr(line_with(t, "fire.test"), "open "), "%s", text);
    cr_expect(strstr(line_with(t, "fire.test"), "no answer"), "%s", text);
    const char *worker = line_with(t, "w-silver");
    cr_expect(strstr(worker, "alive") && strstr(worker, "draining"), "%s", text);
    cr_expect(strstr(worker, "2m0"), "the age of its oldest job: %s", worker);
    cr_expect(strstr(worker, " 2/7 ") && strstr(worker, "2.0M"), "%s", worker);
    cr_expect(terminal_shows(t, "queued") && terminal_shows(t, "in_progress"), "%s", text);
    cr_expect(strstr(terminal_line(t, -1), "q quit"), "%s", text);
    cr_expect_not(terminal_overflowed(t));
}

Test(ctl_top, events_that_come_in_are_seen_as_they_come_and_as_a_rate)
{
    struct rig r;
    rig_start(&r);
    struct terminal *t = top(&r, 130, 24);
    WAIT_FOR(terminal_shows(t, "There are no such events."), SOON);
    cr_expect(terminal_shows(t, "There are no workers."), "%s", terminal_text(t));
    WAIT_FOR(strstr(line_with(t, "change"), " 0.0 "), SOON);
    bool seen = false;
    rig_post(&r, "/ok/first");
    WAIT_FOR(terminal_shows(t, "/ok/first"), SOON); /* and the pane stays at the newest */
    for (int i = 1; i < 20; i++)
        rig_post(&r, "/ok/%d", i);
    for (int64_t end = harness_now_ms() + 5000; !seen && harness_now_ms() < end;)
        seen = !strstr(line_with(t, "change"), " 0.0  0.0") &&
               strstr(line_with(t, "change"), "running");
    WAIT_FOR(terminal_shows(t, "/ok/19"), SOON);
    WAIT_FOR(strstr(line_with(t, "change"), " 20 "), SOON);
    cr_expect(seen, "%s", terminal_text(t));
}

Test(ctl_top, a_worker_without_a_status_is_shown_without_one)
{
    struct rig r;
    rig_start(&r);
    add_worker(&r, "w-mute", "NULL");
    add_worker(&r, "w-crawls", "'{\"crawls\":1,\"oldest_ms\":65000}'");
    add_worker(&r, "w-odd", "'[1, \"\\u001b[31m\"]'");
    struct terminal *t = top(&r, 130, 24);
    WAIT_FOR(terminal_shows(t, "w-odd"), SOON);
    cr_expect(strstr(line_with(t, "w-mute"), "alive"), "%s", terminal_text(t));
    cr_expect(strstr(line_with(t, "w-mute"), " - "), "%s", terminal_text(t));
    cr_expect(strstr(line_with(t, "w-crawls"), "1m05s"), "%s", terminal_text(t));
    cr_expect_not(terminal_shows(t, "0ms"), "nobody has a job: %s", terminal_text(t));
    cr_expect_not(terminal_shows(t, "pool"), "%s", terminal_text(t));
}

/* --- keys -------------------------------------------------------------------------------- */

Test(ctl_top, arrows_and_letters_select_through_all_panes)
{
    struct rig r;
    rig_start(&r);
    add_worker(&r, "w-1", "NULL");
    add_worker(&r, "w-2", "NULL");
    rig_post(&r, "/ok/one");
    struct terminal *t = top(&r, 100, 24);
    WAIT_FOR(terminal_shows(t, "/ok/one") && terminal_shows(t, "w-2"), SOON);
    cr_expect(marked(t, "change"), "%s", terminal_text(t));
    select_line(t, DOWN, "crawl");
    select_line(t, "j", "w-1");
    select_line(t, DOWN, "w-2");
    select_line(t, "\033OB", "/ok/one"); /* application mode of the arrows */
    select_line(t, UP, "w-2");
    select_line(t, "k", "w-1");
    select_line(t, "\t", "/ok/one");
    select_line(t, "g", "change");
    select_line(t, "G", "/ok/one");
    terminal_type(t, "q");
    cr_expect_eq(terminal_wait(t, SOON), 0);
}

Test(ctl_top, the_selection_stays_with_its_event)
{
    struct rig r;
    rig_start(&r);
    rig_post(&r, "/ok/mine");
    struct terminal *t = top(&r, 100, 24);
    WAIT_FOR(terminal_shows(t, "/ok/mine"), SOON);
    select_line(t, DOWN, "/ok/mine");
    rig_post(&r, "/ok/newer");
    WAIT_FOR(terminal_shows(t, "/ok/newer"), SOON);
    cr_expect(marked(t, "/ok/mine"), "%s", terminal_text(t));
}

Test(ctl_top, p_pauses_and_resumes_the_selected_queue_after_asking)
{
    struct rig r;
    rig_start(&r);
    struct terminal *t = top_with(&r, 130, 24, NULL, "--reason \"a page is down\"");
    WAIT_FOR(strstr(line_with(t, "crawl"), "running"), SOON);
    select_line(t, DOWN, "crawl");
    terminal_type(t, "p");
    WAIT_FOR(terminal_shows(t, "Pause queue crawl?"), SOON);
    terminal_type(t, "n");
    WAIT_FOR(terminal_shows(t, "Nothing was changed."), SOON);
    cr_expect_eq(sql_int(r.db, "SELECT count(*) FROM webhook.operator_log"), 0);

    terminal_type(t, "p");
    WAIT_FOR(terminal_shows(t, "Pause queue crawl?"), SOON);
    terminal_type(t, "y");
    WAIT_FOR(strstr(line_with(t, "crawl"), "paused"), SOON);
    WAIT_FOR(sql_int(r.db, "SELECT count(*) FROM webhook.operator_log WHERE outcome = 'done'"
                           " AND command = 'top pause' AND affected = 1 AND detail->>'queue' ="
                           " 'crawl' AND reason = 'a page is down'") == 1,
        SOON);
    cr_expect_str_eq(
        sql_text(r.db, "SELECT name FROM webhook.queues WHERE paused_at IS NOT NULL"), "crawl");
    cr_expect_str_eq(sql_text(r.db, "SELECT paused_by = operator FROM webhook.queues,"
                                    " webhook.operator_log WHERE name = 'crawl'"),
        "t");

    terminal_type(t, "p");
    WAIT_FOR(terminal_shows(t, "Resume queue crawl?"), SOON);
    terminal_type(t, "y");
    WAIT_FOR(strstr(line_with(t, "crawl"), "running"), SOON);
    WAIT_FOR(sql_int(r.db, "SELECT count(*) FROM webhook.operator_log WHERE outcome = 'done'"
                           " AND command = 'top resume'") == 1,
        SOON);
}

Test(ctl_top, nothing_that_was_pasted_or_typed_ahead_is_an_order)
{
    struct rig r;
    rig_start(&r);
    rig_post(&r, "/ok/one");
    struct terminal *t = top(&r, 130, 24);
    WAIT_FOR(terminal_shows(t, "/ok/one"), SOON);
    terminal_type(t, "\033[200~q\rpy\033[201~j"); /* j: the mark is seen to move */
    WAIT_FOR(marked(t, "crawl"), SOON);
    terminal_type(t, "py");
    WAIT_FOR(terminal_shows(t, "Pause queue crawl?"), SOON);
    terminal_type(t, "n");
    WAIT_FOR(terminal_shows(t, "Nothing was changed."), SOON);
    terminal_type(t, "/\033[200~no\rsuch\033[A\033[201~");
    WAIT_FOR(terminal_shows(t, "/nosuch_"), SOON);
    terminal_type(t, "\r");
    WAIT_FOR(terminal_shows(t, "There are no such events."), SOON);
    cr_expect_eq(sql_int(r.db, "SELECT count(*) FROM webhook.operator_log"), 0);
    terminal_type(t, "q");
    cr_expect_eq(terminal_wait(t, SOON), 0);
}

Test(ctl_top, w_makes_the_selected_worker_quiet_and_takes_it_back)
{
    struct rig r;
    rig_start(&r);
    add_worker(&r, "w-1", "NULL");
    add_worker(&r, "w-2", "NULL");
    struct terminal *t = top(&r, 120, 24);
    WAIT_FOR(terminal_shows(t, "w-2"), SOON);
    terminal_type(t, "w");
    WAIT_FOR(terminal_shows(t, "Select a worker first"), SOON);
    select_line(t, DOWN, "w-2");
    terminal_type(t, "w");
    WAIT_FOR(terminal_shows(t, "Make worker w-2 quiet?"), SOON);
    terminal_type(t, "y");
    WAIT_FOR(strstr(line_with(t, "w-2"), "quiet"), SOON);
    cr_expect_str_eq(
        sql_text(r.db, "SELECT id FROM webhook.workers WHERE orders = 'quiet'"), "w-2");
    WAIT_FOR(terminal_shows(t, "told to be quiet"), SOON);
    terminal_type(t, "w");
    WAIT_FOR(terminal_shows(t, "Let worker w-2 take work again?"), SOON);
    terminal_type(t, "y");
    WAIT_FOR(!strstr(line_with(t, "w-2"), "quiet"), SOON);
    cr_expect_eq(sql_int(r.db, "SELECT count(*) FROM webhook.workers WHERE orders IS NOT NULL"), 0);
}

Test(ctl_top, enter_opens_an_event_with_what_happened_to_it)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, NULL);
    struct rig_id id = rig_post(&r, "/ok/heron");
    WAIT_FOR(rig_status_is(&r, id, "completed"), SOON);
    struct terminal *t = top(&r, 120, 40);
    WAIT_FOR(terminal_shows(t, "/ok/heron"), SOON);
    select_line(t, DOWN, "/ok/heron");
    terminal_type(t, ENTER);
    WAIT_FOR(terminal_shows(t, id.text), SOON);
    WAIT_FOR(terminal_shows(t, "received") && terminal_shows(t, " completed "), SOON);
    cr_expect(strstr(terminal_text(t), "DETAIL"), "%s", terminal_text(t));
    terminal_type(t, "\033"); /* Escape, and nothing behind it */
    WAIT_FOR(terminal_shows(t, "QUEUE") && !terminal_shows(t, id.text), SOON);
}

Test(ctl_top, a_filter_leaves_the_events_that_have_its_words)
{
    struct rig r;
    rig_start(&r);
    rig_post(&r, "/ok/heron");
    rig_post(&r, "/ok/crane");
    rig_post(&r, "/ok/stork");
    sql_exec(r.db, "UPDATE webhook.change_events SET rescrape_status = 'failed: no'"
                   " WHERE watch_url LIKE '%%crane' OR watch_url LIKE '%%stork'");
    struct terminal *t = top(&r, 100, 24);
    WAIT_FOR(terminal_shows(t, "heron") && terminal_shows(t, "crane"), SOON);
    terminal_type(t, "/failed CRANEx\177\r");
    WAIT_FOR(!terminal_shows(t, "heron") && !terminal_shows(t, "stork"), SOON);
    cr_expect(terminal_shows(t, "/ok/crane"), "%s", terminal_text(t));
    cr_expect(strstr(terminal_line(t, -1), "events: failed CRANE"), "%s", terminal_text(t));
    terminal_type(t, "/\177\177\177\177\177\177\177\177\177\177\177\177\177q\177\r");
    WAIT_FOR(terminal_shows(t, "heron") && terminal_shows(t, "stork"), SOON);
    cr_expect(terminal_running(t), "q was typed into the filter");
}

Test(ctl_top, question_mark_explains_every_key)
{
    struct rig r;
    rig_start(&r);
    struct terminal *t = top(&r, 100, 24);
    WAIT_FOR(terminal_shows(t, "QUEUE"), SOON);
    terminal_type(t, "?");
    WAIT_FOR(terminal_shows(t, "pause or resume the selected queue"), SOON);
    cr_expect(terminal_shows(t, "Shift-Tab"), "%s", terminal_text(t));
    terminal_type(t, "?");
    WAIT_FOR(terminal_shows(t, "QUEUE"), SOON);
}

/* --- size -------------------------------------------------------------------------------- */

Test(ctl_top, any_size_will_do_and_what_is_selected_is_in_sight)
{
    static const struct {
        int width, height;
    } sizes[] = {
        {10,  3 },
        {1,   1 },
        {2,   2 },
        {200, 1 },
        {7,   60},
        {40,  4 },
        {80,  5 },
        {130, 50},
        {10,  3 }
    };
    struct rig r;
    rig_start(&r);
    for (int i = 0; i < 8; i++)
        add_worker(&r, harness_text("worker-%d", i), "NULL");
    rig_post(&r, "/ok/\xc3\xa9t\xc3\xa9/%s", "\xe9\xb7\xba/heron");
    struct terminal *t = top(&r, 80, 24);
    WAIT_FOR(terminal_shows(t, "worker-0"), SOON);
    select_line(t, DOWN, "worker-0");
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        terminal_resize(t, sizes[i].width, sizes[i].height);
        terminal_type(t, "r");
        const char *all = "worker-0";
        const char *seen = harness_text("%.*s", sizes[i].width < 6 ? sizes[i].width : 6, all);
        WAIT_FOR(*seen && strncmp(terminal_marked(t), seen, strlen(seen)) == 0, SOON);
        cr_assert(terminal_running(t), "%d x %d", sizes[i].width, sizes[i].height);
        terminal_type(t, "?");
        terminal_type(t, "jj?");
        terminal_type(t, "/x\033");
        WAIT_FOR(*seen && strncmp(terminal_marked(t), seen, strlen(seen)) == 0, SOON);
    }
    terminal_resize(t, 100, 24);
    WAIT_FOR(terminal_shows(t, "heron") && terminal_shows(t, "worker-7"), SOON);
    terminal_type(t, "q");
    cr_expect_eq(terminal_wait(t, SOON), 0);
    cr_expect(terminal_at_rest(t));
}

Test(ctl_top, nothing_is_written_beyond_a_tiny_screen)
{
    struct rig r;
    rig_start(&r);
    rig_post(&r, "/ok/heron");
    struct terminal *t = top(&r, 10, 3);
    WAIT_FOR((terminal_type(t, "G"), marked(t, " 1 ")), SOON); /* PostgreSQL has answered */
    terminal_type(t, "gp");
    WAIT_FOR(strstr(terminal_line(t, -1), "Pause"), SOON);
    terminal_type(t, "n?jjj?");
    WAIT_FOR(marked(t, "change"), SOON);
    cr_expect_not(terminal_overflowed(t), "%s", terminal_text(t));
}

/* --- stores away ------------------------------------------------------------------------- */

Test(ctl_top, a_store_that_is_away_is_shown_as_it_was_and_since_when)
{
    struct rig r;
    rig_start_own_pg(&r);
    rig_post(&r, "/ok/heron");
    struct terminal *t = top(&r, 130, 24);
    WAIT_FOR(terminal_shows(t, "heron") && terminal_shows(t, "Redis ok"), SOON);
    test_redis_kill(r.redis);
    WAIT_FOR(terminal_shows(t, "Redis away since "), SOON);
    cr_expect(strstr(line_with(t, "Redis is away"), "its numbers are from before"), "%s",
        terminal_text(t));
    cr_expect(strstr(line_with(t, "change"), " 1 "), "as it was: %s", line_with(t, "change"));
    test_pg_kill(r.pg);
    WAIT_FOR(terminal_shows(t, "PostgreSQL away since "), SOON);
    cr_expect(terminal_shows(t, "heron"), "%s", terminal_text(t));
    terminal_type(t, "p");
    WAIT_FOR(terminal_shows(t, "orders are given there"), SOON);
    test_redis_restart(r.redis);
    WAIT_FOR(terminal_shows(t, "Redis ok"), SOON);
    test_pg_restart(r.pg);
    WAIT_FOR(terminal_shows(t, "PostgreSQL ok"), SOON);
    terminal_type(t, "q");
    cr_expect_eq(terminal_wait(t, SOON), 0);
}

Test(ctl_top, q_ends_it_also_while_a_store_hangs)
{
    struct rig r;
    rig_start_own_pg(&r);
    struct terminal *t = top(&r, 100, 24);
    WAIT_FOR(terminal_shows(t, "PostgreSQL ok"), SOON);
    test_pg_pause(r.pg);
    test_redis_pause(r.redis);
    const char *title = terminal_line(t, 0);
    WAIT_FOR(strcmp(title, terminal_line(t, 0)) != 0, SOON); /* a second passes, it lives */
    terminal_type(t, "q");
    int code = terminal_wait(t, 8000);
    test_pg_resume(r.pg);
    test_redis_resume(r.redis);
    cr_expect_eq(code, 0);
    cr_expect(terminal_at_rest(t));
}

/* --- leaving ----------------------------------------------------------------------------- */

Test(ctl_top, whatever_ends_it_the_terminal_is_as_it_was)
{
    static const int signals[] = {
        SIGINT, SIGTERM, SIGHUP, SIGSEGV, SIGABRT, SIGQUIT, SIGXCPU, SIGUSR1};
    struct rig r;
    rig_start(&r);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        struct terminal *t = terminal_start(&r, 90, 20, NULL,
            "ASAN_OPTIONS=handle_segv=0 %s top; exit $?", rig_program("hooklinectl"));
        WAIT_FOR(terminal_shows(t, "Redis ok"), SOON);
        cr_expect(terminal_taken(t));
        kill(terminal_program(t), signals[i]);
        int code = terminal_wait(t, SOON);
        cr_expect_eq(code, i < 3 ? 0 : 128 + signals[i], "signal %d: %d", signals[i], code);
        cr_expect(terminal_at_rest(t), "signal %d", signals[i]);
    }
}

Test(ctl_top, keys_that_make_signals_still_do)
{
    struct rig r;
    rig_start(&r);
    struct terminal *t = top(&r, 90, 20);
    WAIT_FOR(terminal_shows(t, "Redis ok"), SOON);
    terminal_type(t, CTRL('c'));
    cr_expect_eq(terminal_wait(t, SOON), 0);
    cr_expect(terminal_at_rest(t));
}

Test(ctl_top, stopped_by_a_shell_it_gives_the_terminal_back_and_takes_it_again)
{
    struct rig r;
    rig_start(&r);
    struct terminal *t = terminal_start(&r, 90, 20, NULL,
        "set -m; %s top; echo stopped; read line; fg; exit $?", rig_program("hooklinectl"));
    WAIT_FOR(terminal_shows(t, "Redis ok"), SOON);
    terminal_type(t, CTRL('z'));
    WAIT_FOR(terminal_shows(t, "stopped") && terminal_at_rest(t), SOON);
    cr_expect_not(terminal_shows(t, "QUEUE"));
    terminal_type(t, "\r");
    WAIT_FOR(terminal_taken(t) && terminal_shows(t, "QUEUE"), SOON);
    terminal_type(t, "q");
    cr_expect_eq(terminal_wait(t, SOON), 0);
    cr_expect(terminal_at_rest(t));
}

Test(ctl_top, in_the_background_it_leaves_the_terminal_alone_and_can_be_ended)
{
    struct rig r;
    rig_start(&r);
    struct terminal *t = terminal_start(&r, 90, 20, NULL,
        "set -m; %s top --interval 200ms; echo stopped; bg; read line; kill -0 %%1 && echo lives;"
        " fg; echo stopped again; kill %%1; wait; exit 0",
        rig_program("hooklinectl"));
    WAIT_FOR(terminal_shows(t, "Redis ok"), SOON);
    pid_t pid = terminal_program(t);
    terminal_type(t, CTRL('z'));
    WAIT_FOR(terminal_shows(t, "stopped"), SOON);
    cr_expect(terminal_at_rest(t));
    terminal_type(t, "\r");
    WAIT_FOR(terminal_taken(t) && terminal_shows(t, "QUEUE"), SOON);
    terminal_type(t, CTRL('z'));
    WAIT_FOR(terminal_shows(t, "lives") && terminal_shows(t, "stopped again"), SOON);
    cr_expect_eq(terminal_wait(t, SOON), 0);
    WAIT_FOR(rig_gone(pid), SOON); /* the shell does not wait for what it had stopped */
    cr_expect(terminal_at_rest(t));
}

Test(ctl_top, a_terminal_that_is_gone_ends_it)
{
    struct rig r;
    rig_start(&r);
    struct terminal *t = top(&r, 90, 20);
    WAIT_FOR(terminal_shows(t, "Redis ok"), SOON);
    pid_t pid = terminal_program(t);
    terminal_hang_up(t);
    WAIT_FOR(rig_gone(pid), SOON);
}

/* --- without a terminal ------------------------------------------------------------------ */

Test(ctl_top, without_a_terminal_it_says_what_to_use_instead)
{
    struct rig r;
    const char *out;
    rig_start(&r);
    cr_expect_eq(rig_ctl(&r, RIG_ENV("top"), &out), 64, "%s", out);
    cr_expect(strstr(out, "status --watch"), "%s", out);
    cr_expect_eq(rig_ctl(&r, RIG_ENV("top", "--interval", "1ms"), &out), 64, "%s", out);
    struct terminal *t = top_with(&r, 90, 20, RIG_ENV("TERM=dumb"), "");
    cr_expect_eq(terminal_wait(t, SOON), 64);
    cr_expect(terminal_shows(t, "a terminal with a screen"), "%s", terminal_text(t));
}

Test(ctl_top, once_prints_one_picture_of_plain_text)
{
    struct rig r;
    const char *out;
    rig_start(&r);
    rig_post(&r, "/ok/heron");
    cr_expect_eq(rig_ctl(&r, RIG_ENV("top", "--once"), &out), 0, "%s", out);
    cr_expect(strstr(out, "/ok/heron") && strstr(out, "QUEUE"), "%s", out);
    cr_expect_not(strchr(out, '\033'), "%s", out);
    test_redis_kill(r.redis);
    cr_expect_eq(rig_ctl(&r, RIG_ENV("top", "--once"), &out), 69, "%s", out);
    cr_expect(strstr(out, "/ok/heron") && strstr(out, "Redis has not answered"), "%s", out);
}
