/* operators: see chaos.h. Each command is hooklinectl as a process of its own, now and then killed
 * in the midst. One person gives orders that stand (pause, fence, drain, the move to another Redis)
 * and takes each back; others meanwhile put events back and take processes out. What an order
 * promised by ending with 0 is a window of time, in which the checks must find nothing. */
#include "tests/chaos/chaos.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PEOPLE = 3, /* the first gives the standing orders */
    MAX_WORDS = 12,
    MAX_WINDOWS = 1024,
    ENDLESS_MS = 90000, /* no command may take longer */
    END_MS = 240000,
    DRAINS = 3, /* times that a drain is tried while its fence stands */
    EXPORTS = 6,
    TEXT_MAX = 64
};

struct operators;
struct person;

/* What is done when a command has ended; -SIGKILL = it was killed. */
typedef void then_fn(struct operators *o, struct person *p, int code);

struct person {
    struct test_proc *proc;
    const char *what; /* of the table below */
    int64_t began, kill_at, act_at;
    bool killed, in_order; /* in_order: an order of his stands, or a plan is being applied */
    then_fn *then;
    void (*act)(struct operators *o, struct person *p); /* at act_at; NULL = something new */
    int tries;
};

struct window {
    const char *what;
    int64_t begun, ended; /* us; ended 0 = still open */
};

struct operators {
    struct stack *s;
    struct dice dice;
    struct person people[PEOPLE];
    struct window windows[MAX_WINDOWS];
    int nwindows, nfiles;
    bool alone, ending; /* alone: nobody may put anything back now */
    char token[TEXT_MAX];
    const char *file; /* of the move */
    struct buf wrong; /* what no command may do */
    int nwrong;
};

/* --- counting ---------------------------------------------------------------------------- */

static struct tally_of {
    const char *what;
    int done, good, blocked, unreachable, late, killed;
} tallies[] = {
    {.what = "pause"},
    {.what = "fence"},
    {.what = "resume"},
    {.what = "drain --fence"},
    {.what = "drain"},
    {.what = "export"},
    {.what = "import"},
    {.what = "export --live"},
    {.what = "import --live"},
    {.what = "workers quiet"},
    {.what = "workers kick"},
    {.what = "events retry"},
    {.what = "dead retry"},
    {.what = "redrive plan"},
    {.what = "redrive apply"},
    {.what = "redrive stop"},
    {.what = "zombies reap"},
    {.what = "spool push"},
    {.what = "spool push, a copy"},
};

static struct tally_of *tally_of(const char *what)
{
    for (size_t i = 0; i < COUNT(tallies); i++)
        if (strcmp(tallies[i].what, what) == 0)
            return &tallies[i];
    harness_fail("operators: there is no \"%s\"", what);
    return NULL;
}

static void note_wrong(struct operators *o, const char *what, const char *how, const char *out)
{
    size_t len = strlen(out), tail = len > 600 ? len - 600 : 0;
    o->nwrong++;
    buf_printf(&o->wrong, "VIOLATION  hooklinectl %s %s:\n%s\n", what, how, out + tail);
}

/* A store that is away is no fault of a command, nor is what stands in its way. */
static void count_end(struct operators *o, struct person *p, int code)
{
    struct tally_of *t = tally_of(p->what);
    t->done++;
    if (p->killed && code == 128 + SIGKILL)
        t->killed++;
    else if (code == 0)
        t->good++;
    else if (code == 2)
        t->blocked++;
    else if (code == 69)
        t->unreachable++;
    else if (code == 124)
        t->late++;
    else
        note_wrong(o, p->what, harness_text("ends with %d", code), test_proc_log(p->proc));
}

/* --- windows ----------------------------------------------------------------------------- */

static void open_window(struct operators *o, const char *what)
{
    if (o->nwindows < MAX_WINDOWS)
        o->windows[o->nwindows++] = (struct window){what, wall_us(), 0};
}

static void close_windows(struct operators *o)
{
    int64_t now = wall_us();
    for (int i = 0; i < o->nwindows; i++)
        if (o->windows[i].ended == 0)
            o->windows[i].ended = now;
}

/* --- commands ---------------------------------------------------------------------------- */

static void give(struct operators *o, struct person *p, const char *what, then_fn *then, ...)
    __attribute__((sentinel));

static void give(struct operators *o, struct person *p, const char *what, then_fn *then, ...)
{
    const char *words[MAX_WORDS + 1] = {NULL};
    va_list ap;
    va_start(ap, then);
    for (int i = 0; i < MAX_WORDS && (words[i] = va_arg(ap, const char *)); i++)
        ;
    va_end(ap);
    p->proc = stack_ctl_start(o->s, words);
    p->what = what;
    p->then = then;
    p->began = harness_now_ms();
    p->killed = false;
    p->kill_at = dice_upto(&o->dice, 7) ? 0 : p->began + dice_between(&o->dice, 10, 500);
}

static void rest(struct operators *o, struct person *p, int low_ms, int high_ms,
    void (*act)(struct operators *o, struct person *p))
{
    p->act = act;
    p->act_at = harness_now_ms() + dice_between(&o->dice, low_ms, high_ms);
}

static void is_done(struct operators *o, struct person *p, int code)
{
    (void)code;
    p->in_order = false;
    rest(o, p, 200, 2000, NULL);
}

/* The row of a producer that was killed hinders a fence until a neighbour takes it away: half a
 * minute. Some have that patience. */
static const char *patience(struct operators *o)
{
    return dice_upto(&o->dice, 3) ? "8s" : "45s";
}

/* --- standing orders: pause, fence, drain ------------------------------------------------ */

static void take_back(struct operators *o, struct person *p);

/* With 124 the order is given, and not everybody has noted it yet. */
static void taken_back(struct operators *o, struct person *p, int code)
{
    if (code != 0 && code != 124) {
        rest(o, p, 200, 500, take_back);
        return;
    }
    o->alone = p->in_order = false;
    stack_end_turn(o->s);
    rest(o, p, 500, 3000, NULL);
}

static void take_back(struct operators *o, struct person *p)
{
    close_windows(o);
    give(o, p, "resume", taken_back, "resume", "--yes", "--timeout", "5s", NULL);
}

static void paused(struct operators *o, struct person *p, int code)
{
    if (code == 0)
        open_window(o, "paused");
    rest(o, p, 200, 3000, take_back);
}

static void pause_queues(struct operators *o, struct person *p)
{
    give(o, p, "pause", paused, "pause", "--yes", "--timeout", "8s",
        dice_upto(&o->dice, 2) ? "change" : NULL, NULL);
}

static void fenced(struct operators *o, struct person *p, int code)
{
    if (code == 0)
        open_window(o, "fenced");
    rest(o, p, 200, 2000, take_back);
}

static void fence_intake(struct operators *o, struct person *p)
{
    give(o, p, "fence", fenced, "pause", "--intake", "--yes", "--timeout", patience(o), NULL);
}

static void drain_fenced(struct operators *o, struct person *p);

static void drained(struct operators *o, struct person *p, int code)
{
    if (code != 0 && ++p->tries < DRAINS && !o->ending) {
        rest(o, p, 50, 500, drain_fenced);
        return;
    }
    if (code == 0) {
        open_window(o, "fenced");
        open_window(o, "empty");
    }
    rest(o, p, 200, 1500, take_back);
}

static void drain_fenced(struct operators *o, struct person *p)
{
    give(o, p, "drain --fence", drained, "drain", "--fence", "--yes", "--json", "--timeout",
        patience(o), dice_upto(&o->dice, 2) ? "--include-retries=now" : NULL, NULL);
}

static void drain_alone(struct operators *o, struct person *p)
{
    p->tries = 0;
    drain_fenced(o, p);
}

/* --- the move to another Redis ----------------------------------------------------------- */

static void import_file(struct operators *o, struct person *p);

static void imported(struct operators *o, struct person *p, int code)
{
    if (code != 0) {
        rest(o, p, 50, 400, import_file);
        return;
    }
    stack_hold(o->s, false);
    rest(o, p, 0, 500, take_back);
}

static void import_file(struct operators *o, struct person *p)
{
    give(o, p, "import", imported, "import", "--yes", "--quiet", o->file, NULL);
}

/* The old one is gone with what it held; nobody runs who knows its address. */
static void change_redis(struct operators *o, struct person *p)
{
    if (!o->s->redis_up) {
        rest(o, p, 50, 50, change_redis);
        return;
    }
    stack_hold(o->s, true);
    stack_new_redis(o->s);
    import_file(o, p);
}

static void export_file(struct operators *o, struct person *p);

static void exported(struct operators *o, struct person *p, int code)
{
    if (code == 0)
        rest(o, p, 0, 300, change_redis);
    else if (++p->tries < EXPORTS && !o->ending)
        rest(o, p, 50, 1000, export_file);
    else
        rest(o, p, 0, 0, take_back);
}

static void export_file(struct operators *o, struct person *p)
{
    give(o, p, "export", exported, "export", "--quiet", o->file, NULL);
}

static void move_fenced(struct operators *o, struct person *p, int code)
{
    p->tries = 0;
    if (code != 0) {
        rest(o, p, 0, 0, take_back);
        return;
    }
    open_window(o, "fenced");
    export_file(o, p);
}

static void move_paused(struct operators *o, struct person *p, int code)
{
    if (code != 0) {
        rest(o, p, 0, 0, take_back);
        return;
    }
    open_window(o, "paused");
    give(o, p, "fence", move_fenced, "pause", "--intake", "--yes", "--timeout", patience(o), NULL);
}

static void move(struct operators *o, struct person *p)
{
    o->file = harness_text("%s/queue-%d.jsonl", o->s->dir, ++o->nfiles);
    give(o, p, "pause", move_paused, "pause", "--yes", "--timeout", "8s", NULL);
}

/* --- what others do meanwhile ------------------------------------------------------------ */

static void retry_events(struct operators *o, struct person *p)
{
    give(o, p, "events retry", is_done, "events", "retry", "--status", "failed", "--limit", "10",
        "--yes", NULL);
}

static void retry_dead(struct operators *o, struct person *p)
{
    give(o, p, "dead retry", is_done, "dead", "retry", "--all", "--limit", "10", "--yes", NULL);
}

static void applied(struct operators *o, struct person *p, int code)
{
    o->token[0] = '\0';
    is_done(o, p, code);
}

static void planned(struct operators *o, struct person *p, int code)
{
    static const char member[] = "\"token\":\"";
    const char *at = code == 0 ? strstr(test_proc_log(p->proc), member) : NULL;
    if (!at || o->alone || o->ending) {
        is_done(o, p, code);
        return;
    }
    snprintf(o->token, sizeof(o->token), "%.*s", (int)strcspn(at + strlen(member), "\""),
        at + strlen(member));
    give(o, p, "redrive apply", applied, "redrive", "apply", o->token, "--rate", "20/s", "--jitter",
        "1s", "--yes", "--quiet", NULL);
}

static void redrive(struct operators *o, struct person *p)
{
    give(o, p, "redrive plan", planned, "redrive", "plan", "--limit", "30", "--json", NULL);
}

static void stop_redrive(struct operators *o, struct person *p)
{
    if (o->token[0])
        give(o, p, "redrive stop", is_done, "redrive", "stop", o->token, "--yes", NULL);
    else
        redrive(o, p);
}

static const char *any_worker(struct operators *o)
{
    const char *id = "";
    if (o->s->pg_up)
        id = sql_text(o->s->db,
            "SELECT id FROM webhook.workers WHERE dead_at IS NULL ORDER BY id"
            " OFFSET %d %% greatest((SELECT count(*) FROM webhook.workers WHERE dead_at IS NULL),"
            " 1) LIMIT 1",
            dice_upto(&o->dice, 64));
    return *id ? id : "--all";
}

static void quiet_worker(struct operators *o, struct person *p)
{
    give(o, p, "workers quiet", is_done, "workers", "quiet", any_worker(o), "--yes", "--timeout",
        "5s", NULL);
}

static void end_quiet(struct operators *o, struct person *p)
{
    give(o, p, "workers quiet", is_done, "workers", "quiet", "--all", "--off", "--yes", "--timeout",
        "5s", NULL);
}

static void kick_worker(struct operators *o, struct person *p)
{
    give(o, p, "workers kick", is_done, "workers", "kick", any_worker(o), "--yes", "--timeout",
        "5s", NULL);
}

static void reap_zombies(struct operators *o, struct person *p)
{
    give(o, p, "zombies reap", is_done, "zombies", "reap", "--yes", NULL);
}

static void push_spool(struct operators *o, struct person *p)
{
    give(o, p, "spool push", is_done, "spool", "push", "--yes", "--quiet", NULL);
}

/* As of a disk that was saved from a host: the host itself goes on, and brings the same home. */
static void push_copy(struct operators *o, struct person *p)
{
    const char *copy = harness_text("%s/copy-%d", o->s->dir, ++o->nfiles);
    stack_copy_spool(o->s, copy);
    give(o, p, "spool push, a copy", is_done, "spool", "push", "--spool", copy, "--yes", "--quiet",
        NULL);
}

static void look_for_empty(struct operators *o, struct person *p)
{
    give(o, p, "drain", is_done, "drain", "--yes", "--quiet", "--timeout", "3s", NULL);
}

static void exported_live(struct operators *o, struct person *p, int code)
{
    if (code != 0 || o->alone || o->ending) {
        is_done(o, p, code);
        return;
    }
    give(o, p, "import --live", is_done, "import", "--live", "--merge", "--yes", "--quiet",
        harness_text("%s/live-%d.jsonl", o->s->dir, o->nfiles), NULL);
}

static void copy_live(struct operators *o, struct person *p)
{
    give(o, p, "export --live", exported_live, "export", "--live", "--quiet",
        harness_text("%s/live-%d.jsonl", o->s->dir, ++o->nfiles), NULL);
}

/* --- choosing ---------------------------------------------------------------------------- */

struct errand {
    int share; /* of a hundred */
    void (*start)(struct operators *o, struct person *p);
    bool alone;     /* of a standing order: it promises what others could break */
    bool puts_back; /* not while somebody wants to be alone */
};

static const struct errand orders[] = {
    {15, pause_queues, false, false},
    {20, fence_intake, false, false},
    {30, drain_alone,  true,  false},
    {35, move,         true,  false},
};

static const struct errand errands[] = {
    {14, retry_events,   false, true },
    {14, retry_dead,     false, true },
    {10, redrive,        false, true },
    {6,  stop_redrive,   false, true },
    {10, quiet_worker,   false, false},
    {6,  end_quiet,      false, false},
    {8,  kick_worker,    false, false},
    {10, reap_zombies,   false, false},
    {8,  push_spool,     false, false},
    {4,  push_copy,      false, true },
    {6,  look_for_empty, false, false},
    {4,  copy_live,      false, true },
};

static const struct errand *choose(struct operators *o, const struct errand *list, size_t n)
{
    int k = dice_upto(&o->dice, 100);
    size_t i = 0;
    while (i < n - 1 && k >= list[i].share)
        k -= list[i++].share;
    return &list[i];
}

static bool others_put_back(struct operators *o)
{
    for (int i = 1; i < PEOPLE; i++)
        if (o->people[i].in_order)
            return true;
    return false;
}

static void something_new(struct operators *o, struct person *p)
{
    bool first = p == &o->people[0];
    const struct errand *e =
        first ? choose(o, orders, COUNT(orders)) : choose(o, errands, COUNT(errands));
    if ((e->alone && others_put_back(o)) || (e->puts_back && o->alone)) {
        rest(o, p, 50, 200, NULL);
        return;
    }
    if (first && !stack_take_turn(o->s, TURN_OPERATOR)) {
        rest(o, p, 20, 50, NULL);
        return;
    }
    if (first)
        o->alone = e->alone;
    p->in_order = first || e->puts_back;
    e->start(o, p);
}

/* --- the people -------------------------------------------------------------------------- */

static void look_after(struct operators *o, struct person *p, int64_t now)
{
    if (test_proc_running(p->proc)) {
        if (p->kill_at && now >= p->kill_at && !p->killed) {
            p->killed = true;
            test_proc_signal(p->proc, SIGKILL);
        }
        if (now > p->began + ENDLESS_MS && !p->killed) {
            note_wrong(o, p->what, "does not end", test_proc_log(p->proc));
            p->killed = true;
            test_proc_signal(p->proc, SIGKILL);
        }
        return;
    }
    struct test_proc *ended = p->proc;
    int code = test_proc_wait(ended, 0);
    count_end(o, p, code);
    p->then(o, p, code);
    if (p->proc == ended)
        p->proc = NULL;
    test_proc_free(ended);
}

static void live_on(struct operators *o, struct person *p, int64_t now)
{
    void (*act)(struct operators *, struct person *) = p->act;
    if (p->proc) {
        look_after(o, p, now);
        return;
    }
    if (now < p->act_at || (!act && o->ending))
        return;
    p->act = NULL;
    if (act)
        act(o, p);
    else
        something_new(o, p);
}

struct operators *operators_new(struct stack *s, uint64_t seed)
{
    struct operators *o = mem_new(struct operators);
    o->s = s;
    o->dice = dice_of(seed, 3);
    for (int i = 0; i < PEOPLE; i++)
        rest(o, &o->people[i], 500, 3000, NULL);
    return o;
}

void operators_step(struct operators *o, int64_t now_ms)
{
    for (int i = 0; i < PEOPLE; i++)
        live_on(o, &o->people[i], now_ms);
    if (o->s->held)
        history_outage();
}

static bool all_done(struct operators *o)
{
    for (int i = 0; i < PEOPLE; i++)
        if (o->people[i].proc || o->people[i].act)
            return false;
    return true;
}

void operators_end(struct operators *o, struct verdict *v)
{
    int64_t end = harness_now_ms() + END_MS;
    o->ending = true;
    while (!all_done(o)) {
        if (harness_now_ms() > end)
            harness_fail("the operators do not come to an end");
        stack_tend(o->s);
        operators_step(o, harness_now_ms());
        harness_pause(20);
    }
    close_windows(o);
    v->violations += o->nwrong;
    if (o->nwrong)
        buf_append(&v->text, o->wrong.data, o->wrong.len);
}

void operators_print(void)
{
    printf("%-22s %5s %5s %5s %5s %5s %5s\n", "Operators", "done", "0", "2", "69", "124", "-9");
    for (size_t i = 0; i < COUNT(tallies); i++) {
        const struct tally_of *t = &tallies[i];
        printf("  %-20s %5d %5d %5d %5d %5d %5d\n", t->what, t->done, t->good, t->blocked,
            t->unreachable, t->late, t->killed);
    }
}

void operators_load(struct operators *o)
{
    struct buf rows = {0};
    for (int i = 0; i < o->nwindows; i++)
        buf_printf(&rows, "%s\t%lld\t%lld\n", o->windows[i].what, (long long)o->windows[i].begun,
            (long long)o->windows[i].ended);
    history_copy(o->s, "windows", &rows);
    buf_release(&rows);
}

void operators_free(struct operators *o)
{
    buf_release(&o->wrong);
    free(o);
}

/* --- the books --------------------------------------------------------------------------- */

const char operators_install_sql[] =
    "CREATE TABLE chaos.windows (what text, begun bigint, ended bigint);";

#define US(at) "(extract(epoch FROM " at ") * 1000000)::bigint"

/* clang-format off */
const struct check operator_checks[] = {
    {"a job begun while its queue was paused",
     "SELECT h.event_id || ' by ' || h.writer || ' at ' || h.at FROM chaos.history h"
        " JOIN chaos.windows w ON w.what = 'paused' AND " US("h.at") " BETWEEN w.begun AND w.ended"
        " WHERE h.what = 'event' AND h.status = 'in_progress'"
        " AND (h.old_status <> 'in_progress' OR h.epoch <> h.old_epoch)",
     JUST_A_VIOLATION, false},
    {"an event let in through a fence",
     "SELECT p.key || ' ' || p.at FROM chaos.posts p JOIN chaos.windows w ON w.what = 'fenced'"
        " AND p.begun > w.begun AND " US("p.at") " < w.ended WHERE p.status = 202"
        " UNION ALL SELECT p.event_id::text FROM chaos.crawl_posts p JOIN chaos.windows w"
        " ON w.what = 'fenced' AND p.begun > w.begun AND p.ended < w.ended"
        " WHERE p.status IN (200, 202)",
     JUST_A_VIOLATION, false},
    {"an event that was not finished when all was said to be",
     "SELECT x.event_id || ' ' || x.status || ' at ' || x.at FROM chaos.windows w"
        " CROSS JOIN LATERAL (SELECT DISTINCT ON (event_id) event_id, status, at FROM chaos.history"
        "   WHERE what = 'event' AND " US("at") " <= w.begun ORDER BY event_id, n DESC) x"
        " WHERE w.what = 'empty' AND x.status IN ('queued', 'in_progress')",
     JUST_A_VIOLATION, false},
    {"an event that came or changed after all was said to be finished",
     "SELECT h.event_id || ' ' || coalesce(h.old_status, '-') || ' -> ' || h.status || ' by '"
        " || h.writer || ' at ' || h.at FROM chaos.history h JOIN chaos.windows w"
        " ON w.what = 'empty' AND " US("h.at") " BETWEEN w.begun AND w.ended"
        " WHERE h.what = 'event'",
     JUST_A_VIOLATION, false},
    {"an acknowledged event without a row when all was said to be finished",
     "SELECT DISTINCT p.event_id::text FROM chaos.windows w JOIN chaos.posts p ON p.status = 202"
        " AND " US("p.at") " < w.begun WHERE w.what = 'empty' AND NOT EXISTS (SELECT"
        "   FROM chaos.history h WHERE h.event_id = p.event_id AND " US("h.at") " <= w.begun)",
     JUST_A_VIOLATION, false},
    {"an event of a crawl stored after all was said to be",
     "SELECT t.event_id || ' at ' || t.at FROM chaos.crawl_stored t JOIN chaos.windows w"
        " ON w.what = 'empty' AND " US("t.at") " BETWEEN w.begun AND w.ended",
     JUST_A_VIOLATION, false},
    {"an acknowledged event of a crawl not stored when all was said to be",
     "SELECT DISTINCT p.event_id::text FROM chaos.windows w JOIN chaos.crawl_posts p"
        " ON p.status IN (200, 202) AND p.ended < w.begun AND p.begun > coalesce((SELECT max(at)"
        "   FROM chaos.flushes WHERE at <= w.begun), 0) WHERE w.what = 'empty' AND NOT EXISTS"
        " (SELECT FROM chaos.crawl_stored t WHERE t.event_id = p.event_id"
        "   AND " US("t.at") " <= w.begun)",
     JUST_A_VIOLATION, false},
    {NULL, NULL, JUST_A_VIOLATION, false},
};
/* clang-format on */
