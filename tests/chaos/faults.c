/* faults: see chaos.h. A table of faults, dealt in shuffled decks; each lasts for a while that the
 * dice say, several at once. What a fault did is undone by its own heal, in whatever order. */
#include "tests/chaos/chaos.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    MAX_ACTIVE = 8,
    MAX_PIDS = 32,
    GAP_LOW_MS = 50,
    GAP_DENSE_MS = 400,
    GAP_HIGH_MS = 1000,
    GAP_RARE_MS = 5000
};

struct active {
    const struct fault *fault;
    int64_t until_ms;
    pid_t pid; /* of the process stopped */
};

struct fault {
    const char *name;
    int low_ms, high_ms;                               /* how long it lasts; 0, 0 = a moment */
    bool (*start)(struct faults *f, struct active *a); /* false: not possible now */
    void (*heal)(struct faults *f, struct active *a);
};

struct faults {
    struct stack *s;
    struct dice dice;
    struct active active[MAX_ACTIVE];
    int *deck, *done, dealt;
    int gap_ms; /* at most, from one fault to the next */
    int64_t next_ms;
};

/* --- processes --------------------------------------------------------------------------- */

static pid_t pick_child(struct faults *f, struct unit *u, const char *role)
{
    pid_t pids[MAX_PIDS];
    int n = unit_children(u, role, pids, MAX_PIDS);
    return n ? pids[dice_upto(&f->dice, n)] : 0;
}

static struct unit *any_fleet(struct faults *f)
{
    return stack_fleet(f->s, dice_upto(&f->dice, HOSTS));
}

static struct unit *any_producer(struct faults *f)
{
    return stack_producer(f->s, dice_upto(&f->dice, HOSTS));
}

static bool send_to(pid_t pid, int signo)
{
    return pid > 0 && kill(pid, signo) == 0;
}

static bool stop_child(struct faults *f, struct active *a, struct unit *u, const char *role)
{
    a->pid = pick_child(f, u, role);
    return send_to(a->pid, SIGSTOP);
}

static void go_on(struct faults *f, struct active *a)
{
    (void)f;
    send_to(a->pid, SIGCONT);
}

static bool kill_worker(struct faults *f, struct active *a)
{
    pid_t pid = pick_child(f, any_fleet(f), "worker");
    (void)a;
    if (!send_to(pid, SIGKILL))
        return false;
    history_death(pid, "process");
    return true;
}

static bool stop_worker(struct faults *f, struct active *a)
{
    return stop_child(f, a, any_fleet(f), "worker");
}

static bool is_child(struct faults *f, const char *role, pid_t pid)
{
    pid_t pids[MAX_PIDS];
    for (int host = 0; host < HOSTS; host++) {
        int n = unit_children(stack_fleet(f->s, host), role, pids, MAX_PIDS);
        while (n > 0)
            if (pids[--n] == pid)
                return true;
    }
    return false;
}

/* Of the processes in that role who has in hand what is suspected most; else any. */
static pid_t most_suspected(struct faults *f, const char *role)
{
    bool solo = strcmp(role, "solo") == 0;
    pid_t pid = 0;
    if (f->s->pg_up)
        pid = (pid_t)sql_int(f->s->db,
            "SELECT coalesce((SELECT w.pid FROM webhook.change_events c JOIN webhook.workers w"
            " ON w.id = c.claimed_by WHERE c.rescrape_status = 'in_progress' AND w.dead_at IS NULL"
            " AND (coalesce(c.suspect, 0) >= 2) = %s ORDER BY c.suspect DESC NULLS LAST LIMIT 1),"
            " 0)",
            solo ? "true" : "false");
    return pid > 0 && is_child(f, role, pid) ? pid : pick_child(f, any_fleet(f), role);
}

static bool make_crash(pid_t pid)
{
    if (!send_to(pid, SIGSEGV))
        return false;
    history_death(pid, "crash");
    return true;
}

/* A crash that is blamed on what the process worked on. A second one follows: what was in both
 * runs alone. */
static bool crash_worker(struct faults *f, struct active *a)
{
    (void)a;
    return make_crash(most_suspected(f, "worker"));
}

static void crash_another(struct faults *f, struct active *a)
{
    crash_worker(f, a);
}

static bool crash_solo(struct faults *f, struct active *a)
{
    (void)a;
    return make_crash(most_suspected(f, "solo"));
}

static bool kill_solo(struct faults *f, struct active *a)
{
    (void)a;
    return send_to(pick_child(f, any_fleet(f), "solo"), SIGKILL);
}

static bool stop_solo(struct faults *f, struct active *a)
{
    return stop_child(f, a, any_fleet(f), "solo");
}

static bool kill_janitor(struct faults *f, struct active *a)
{
    (void)a;
    return send_to(pick_child(f, any_fleet(f), "janitor"), SIGKILL);
}

static bool stop_janitor(struct faults *f, struct active *a)
{
    return stop_child(f, a, any_fleet(f), "janitor");
}

static bool kill_supervisor(struct unit *u)
{
    return u->proc && send_to(test_proc_pid(u->proc), SIGKILL);
}

static bool kill_worker_supervisor(struct faults *f, struct active *a)
{
    (void)a;
    return kill_supervisor(any_fleet(f));
}

static bool kill_worker_host(struct faults *f, struct active *a)
{
    struct unit *u = any_fleet(f);
    pid_t pids[MAX_PIDS];
    int n = unit_children(u, "worker", pids, MAX_PIDS);
    (void)a;
    for (int i = 0; i < n; i++)
        history_death(pids[i], "host");
    unit_kill(u);
    return n > 0;
}

static bool restart(struct unit *u)
{
    enum { LEAVE_MS = 14000 };
    if (!u->proc || u->term_until)
        return false;
    test_proc_signal(u->proc, SIGTERM);
    u->term_until = harness_now_ms() + LEAVE_MS;
    return true;
}

static bool restart_worker_host(struct faults *f, struct active *a)
{
    (void)a;
    return restart(any_fleet(f));
}

static bool kill_producer(struct faults *f, struct active *a)
{
    (void)a;
    return send_to(pick_child(f, any_producer(f), "producer"), SIGKILL);
}

static bool stop_producer(struct faults *f, struct active *a)
{
    return stop_child(f, a, any_producer(f), "producer");
}

static bool kill_producer_supervisor(struct faults *f, struct active *a)
{
    (void)a;
    return kill_supervisor(any_producer(f));
}

static bool kill_producer_host(struct faults *f, struct active *a)
{
    (void)a;
    unit_kill(any_producer(f));
    return true;
}

static bool restart_producer_host(struct faults *f, struct active *a)
{
    (void)a;
    return restart(any_producer(f));
}

static bool stop_firecrawl(struct faults *f, struct active *a)
{
    a->pid = test_proc_pid(f->s->firecrawl);
    return send_to(a->pid, SIGSTOP);
}

/* --- what is asked of supervisors -------------------------------------------------------- */

static bool ask(struct unit *u, int signo)
{
    return u->proc && !u->term_until && send_to(test_proc_pid(u->proc), signo);
}

static bool new_workers(struct faults *f, struct active *a)
{
    (void)a;
    return ask(any_fleet(f), SIGHUP);
}

static bool new_producers(struct faults *f, struct active *a)
{
    (void)a;
    return ask(any_producer(f), SIGHUP);
}

static bool quiet_workers(struct faults *f, struct active *a)
{
    struct unit *u = any_fleet(f);
    if (!ask(u, SIGUSR1))
        return false;
    a->pid = test_proc_pid(u->proc);
    return true;
}

/* Only this supervisor: one that was started since is not quiet. */
static void end_quiet(struct faults *f, struct active *a)
{
    for (int i = 0; i < HOSTS; i++) {
        struct unit *u = stack_fleet(f->s, i);
        if (u->proc && test_proc_pid(u->proc) == a->pid)
            ask(u, SIGHUP);
    }
}

static bool one_worker_more(struct faults *f, struct active *a)
{
    (void)a;
    return ask(any_fleet(f), SIGTTIN);
}

static bool one_worker_less(struct faults *f, struct active *a)
{
    (void)a;
    return ask(any_fleet(f), SIGTTOU);
}

static bool ask_for_state(struct faults *f, struct active *a)
{
    (void)a;
    bool asked = false;
    for (int i = 0; i < UNITS; i++)
        asked |= ask(&f->s->units[i], SIGUSR2);
    return asked;
}

/* --- stores ------------------------------------------------------------------------------ */

static bool kill_postgres(struct faults *f, struct active *a)
{
    (void)a;
    if (!f->s->pg_up)
        return false;
    f->s->pg_up = false;
    test_pg_kill(f->s->pg);
    return true;
}

static void restart_postgres(struct faults *f, struct active *a)
{
    (void)a;
    test_pg_restart(f->s->pg);
    f->s->pg_up = true;
}

static bool hang_postgres(struct faults *f, struct active *a)
{
    (void)a;
    if (!f->s->pg_up)
        return false;
    f->s->pg_up = false;
    test_pg_pause(f->s->pg);
    return true;
}

static void wake_postgres(struct faults *f, struct active *a)
{
    (void)a;
    test_pg_resume(f->s->pg);
    f->s->pg_up = true;
}

static bool cut_postgres(struct faults *f, struct active *a)
{
    (void)a;
    if (!f->s->pg_up)
        return false;
    sql_exec(f->s->db, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                       " WHERE pid <> pg_backend_pid() AND application_name LIKE 'hookline-%%'");
    return true;
}

static void set_read_only(struct faults *f, const char *value)
{
    sql_exec(f->s->db, "ALTER SYSTEM SET default_transaction_read_only = %s", value);
    sql_exec(f->s->db, "SELECT pg_reload_conf()");
}

static bool make_read_only(struct faults *f, struct active *a)
{
    (void)a;
    if (!f->s->pg_up)
        return false;
    f->s->pg_up = false;
    set_read_only(f, "on");
    return true;
}

static void make_writable(struct faults *f, struct active *a)
{
    (void)a;
    set_read_only(f, "off");
    f->s->pg_up = true;
}

static bool kill_redis(struct faults *f, struct active *a)
{
    (void)a;
    if (!f->s->redis_up)
        return false;
    f->s->redis_up = false;
    test_redis_kill(f->s->redis);
    return true;
}

static void restart_redis(struct faults *f, struct active *a)
{
    (void)a;
    test_redis_restart(f->s->redis);
    f->s->redis_up = true;
}

static bool hang_redis(struct faults *f, struct active *a)
{
    (void)a;
    if (!f->s->redis_up)
        return false;
    f->s->redis_up = false;
    test_redis_pause(f->s->redis);
    return true;
}

static void wake_redis(struct faults *f, struct active *a)
{
    (void)a;
    test_redis_resume(f->s->redis);
    f->s->redis_up = true;
}

static bool command(struct faults *f, const char *words)
{
    if (f->s->redis_up)
        redis_text(f->s->redis, "%s", words);
    return f->s->redis_up;
}

/* An event of a crawl is as safe as Redis until its job is done. So in one run of two nothing of
 * crawls is forgotten, and each must be done; in the others, all but those before the last FLUSHALL. */
static const char forget_the_rest[] =
    "EVAL for\t_,k\tin\tipairs(redis.call('KEYS','*'))do\n"
    "local\tjob=k:find('{hookline}:job:',1,true)and\tredis.call('GET',k)or''\n"
    "if\tnot(k:find('crawl',1,true)or\tk:find(':blob:',1,true)or\tjob:find('q:crawl',1,true)"
    "or\tjob:find('^%a+%s'))then\tredis.call('DEL',k)end\tend 0";

static bool flush_redis(struct faults *f, struct active *a)
{
    (void)a;
    if (f->s->crawls_last)
        return command(f, forget_the_rest);
    if (!command(f, "FLUSHALL"))
        return false;
    history_flush();
    return true;
}

static bool destroy_group_of(struct faults *f, const char *stream)
{
    if (!f->s->redis_up || redis_int(f->s->redis, "EXISTS %s", stream) == 0)
        return false;
    return command(f, harness_text("XGROUP DESTROY %s workers", stream));
}

static bool destroy_group(struct faults *f, struct active *a)
{
    (void)a;
    return destroy_group_of(f, "{hookline}:q:change");
}

static bool destroy_crawl_group(struct faults *f, struct active *a)
{
    (void)a;
    return destroy_group_of(f, "{hookline}:q:crawl");
}

static bool cut_redis(struct faults *f, struct active *a)
{
    (void)a;
    return command(f, "CLIENT KILL TYPE normal SKIPME yes");
}

/* --- the spool's disk -------------------------------------------------------------------- */

static const char *ballast(struct faults *f)
{
    return harness_text("%s/spool/ballast", f->s->dir);
}

static bool fill_spool(struct faults *f, struct active *a)
{
    static const char zeros[4096];
    (void)a;
    if (!f->s->small_spool || access(ballast(f), F_OK) == 0)
        return false;
    int fd = open(ballast(f), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    while (fd >= 0 && write(fd, zeros, sizeof(zeros)) == (ssize_t)sizeof(zeros))
        ;
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static void empty_spool(struct faults *f, struct active *a)
{
    (void)a;
    unlink(ballast(f));
}

/* --- the table --------------------------------------------------------------------------- */

/* clang-format off */
static const struct fault table[] = {
    {"worker: kill -9",                    0,    0,    kill_worker,              NULL},
    {"worker: kill -9, again",             0,    0,    kill_worker,              NULL},
    {"worker: stopped, within its lease",  100,  1000, stop_worker,              go_on},
    {"worker: stopped, beyond its lease",  2500, 5000, stop_worker,              go_on},
    {"worker: SIGSEGV, twice",             100,  900,  crash_worker,             crash_another},
    {"worker: SIGSEGV, twice again",       100,  900,  crash_worker,             crash_another},
    {"solo: SIGSEGV",                      0,    0,    crash_solo,               NULL},
    {"solo: kill -9",                      0,    0,    kill_solo,                NULL},
    {"solo: stopped, beyond its lease",    2500, 5000, stop_solo,                go_on},
    {"janitor: kill -9",                   0,    0,    kill_janitor,             NULL},
    {"janitor: stopped",                   1000, 5000, stop_janitor,             go_on},
    {"worker supervisor: kill -9",         0,    0,    kill_worker_supervisor,   NULL},
    {"worker host: all killed",            0,    0,    kill_worker_host,         NULL},
    {"worker host: drained, new crash point", 0, 0,    restart_worker_host,      NULL},
    {"worker supervisor: SIGHUP",          0,    0,    new_workers,              NULL},
    {"worker supervisor: quiet, then SIGHUP", 300, 4000, quiet_workers,          end_quiet},
    {"worker supervisor: SIGTTIN",         0,    0,    one_worker_more,          NULL},
    {"worker supervisor: SIGTTOU",         0,    0,    one_worker_less,          NULL},
    {"all supervisors: SIGUSR2",           0,    0,    ask_for_state,            NULL},
    {"producer: kill -9",                  0,    0,    kill_producer,            NULL},
    {"producer: stopped",                  200,  3000, stop_producer,            go_on},
    {"producer supervisor: kill -9",       0,    0,    kill_producer_supervisor, NULL},
    {"producer host: all killed",          0,    0,    kill_producer_host,       NULL},
    {"producer host: drained, new crash point", 0, 0,  restart_producer_host,    NULL},
    {"producer supervisor: SIGHUP",        0,    0,    new_producers,            NULL},
    {"firecrawl: stopped",                 300,  2500, stop_firecrawl,           go_on},
    {"postgres: kill -9, restarted",       200,  3500, kill_postgres,            restart_postgres},
    {"postgres: hangs",                    200,  3500, hang_postgres,            wake_postgres},
    {"postgres: read-only",                200,  3500, make_read_only,           make_writable},
    {"postgres: connections cut",          0,    0,    cut_postgres,             NULL},
    {"redis: kill -9, restarted",          200,  3500, kill_redis,               restart_redis},
    {"redis: hangs",                       200,  3000, hang_redis,               wake_redis},
    {"redis: connections cut",             0,    0,    cut_redis,                NULL},
    {"redis: FLUSHALL",                    0,    0,    flush_redis,              NULL},
    {"redis: XGROUP DESTROY",              0,    0,    destroy_group,            NULL},
    {"redis: XGROUP DESTROY, crawls",      0,    0,    destroy_crawl_group,      NULL},
    {"spool: disk full",                   500,  4000, fill_spool,               empty_spool},
};
/* clang-format on */
enum { NFAULTS = COUNT(table) };

/* --- dealing ----------------------------------------------------------------------------- */

struct faults *faults_new(struct stack *s, uint64_t seed)
{
    struct faults *f = mem_new(struct faults);
    f->s = s;
    f->dice = dice_of(seed, 2);
    f->deck = mem_array(NFAULTS, sizeof(int));
    f->done = mem_zero(NFAULTS * sizeof(int));
    for (int i = 0; i < NFAULTS; i++)
        f->deck[i] = i;
    f->dealt = NFAULTS;
    static const int gaps[] = {GAP_DENSE_MS, GAP_HIGH_MS, GAP_RARE_MS};
    f->gap_ms = gaps[dice_upto(&f->dice, COUNT(gaps))];
    return f;
}

void faults_free(struct faults *f)
{
    free(f->deck);
    free(f->done);
    free(f);
}

static int next_card(struct faults *f)
{
    if (f->dealt == NFAULTS) {
        dice_shuffle(&f->dice, f->deck, NFAULTS);
        f->dealt = 0;
    }
    return f->deck[f->dealt++];
}

static void begin(struct faults *f, struct active *a, int64_t now_ms)
{
    int i = next_card(f), lasts = dice_between(&f->dice, table[i].low_ms, table[i].high_ms);
    *a = (struct active){.fault = &table[i]};
    if (!table[i].start(f, a)) {
        a->fault = NULL;
        return;
    }
    f->done[i]++;
    a->until_ms = now_ms + lasts;
    if (!table[i].heal)
        a->fault = NULL;
}

static void end(struct faults *f, struct active *a)
{
    const struct fault *fault = a->fault;
    a->fault = NULL;
    fault->heal(f, a);
}

void faults_step(struct faults *f, int64_t now_ms)
{
    struct active *free_place = NULL;
    for (int i = 0; i < MAX_ACTIVE; i++) {
        struct active *a = &f->active[i];
        if (a->fault && now_ms >= a->until_ms)
            end(f, a);
        if (!a->fault)
            free_place = a;
    }
    if (!f->s->pg_up || !f->s->redis_up)
        history_outage();
    if (now_ms < f->next_ms || !free_place)
        return;
    begin(f, free_place, now_ms);
    f->next_ms = now_ms + dice_between(&f->dice, GAP_LOW_MS, f->gap_ms);
}

void faults_heal(struct faults *f)
{
    for (int i = 0; i < MAX_ACTIVE; i++)
        if (f->active[i].fault)
            end(f, &f->active[i]);
}

int faults_count(struct faults *f, struct fault_count *out, int max)
{
    int n = NFAULTS < max ? NFAULTS : max;
    for (int i = 0; i < n; i++)
        out[i] = (struct fault_count){table[i].name, f->done[i]};
    return n;
}
