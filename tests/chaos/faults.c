/* faults: see chaos.h. A table of faults, dealt in shuffled decks; each lasts for a while that the
 * dice say, several at once. What a fault did is undone by its own heal, in whatever order. */
#include "tests/chaos/chaos.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_ACTIVE = 8, MAX_PIDS = 32, GAP_LOW_MS = 150, GAP_HIGH_MS = 900 };

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

static bool flush_redis(struct faults *f, struct active *a)
{
    (void)a;
    return command(f, "FLUSHALL");
}

static bool destroy_group(struct faults *f, struct active *a)
{
    (void)a;
    if (!f->s->redis_up || redis_int(f->s->redis, "EXISTS {hookline}:q:change") == 0)
        return false;
    return command(f, "XGROUP DESTROY {hookline}:q:change workers");
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
    {"janitor: kill -9",                   0,    0,    kill_janitor,             NULL},
    {"janitor: stopped",                   1000, 5000, stop_janitor,             go_on},
    {"worker supervisor: kill -9",         0,    0,    kill_worker_supervisor,   NULL},
    {"worker host: all killed",            0,    0,    kill_worker_host,         NULL},
    {"worker host: drained, new crash point", 0, 0,    restart_worker_host,      NULL},
    {"producer: kill -9",                  0,    0,    kill_producer,            NULL},
    {"producer: stopped",                  200,  3000, stop_producer,            go_on},
    {"producer supervisor: kill -9",       0,    0,    kill_producer_supervisor, NULL},
    {"producer host: all killed",          0,    0,    kill_producer_host,       NULL},
    {"producer host: drained, new crash point", 0, 0,  restart_producer_host,    NULL},
    {"firecrawl: stopped",                 300,  2500, stop_firecrawl,           go_on},
    {"postgres: kill -9, restarted",       200,  3500, kill_postgres,            restart_postgres},
    {"postgres: hangs",                    200,  3500, hang_postgres,            wake_postgres},
    {"postgres: connections cut",          0,    0,    cut_postgres,             NULL},
    {"redis: kill -9, restarted",          200,  3500, kill_redis,               restart_redis},
    {"redis: hangs",                       200,  3000, hang_redis,               wake_redis},
    {"redis: connections cut",             0,    0,    cut_redis,                NULL},
    {"redis: FLUSHALL",                    0,    0,    flush_redis,              NULL},
    {"redis: XGROUP DESTROY",              0,    0,    destroy_group,            NULL},
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
    f->next_ms = now_ms + dice_between(&f->dice, GAP_LOW_MS, GAP_HIGH_MS);
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
