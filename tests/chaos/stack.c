/* stack: see chaos.h. Owns the servers and the programs; everything is stopped by its own pid. */
#include "tests/chaos/chaos.h"

#include "base/crashpoint.h"

#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { START_MS = 30000, SPOOL_BYTES = 1024 * 1024, TERM_MS = 15000, ENV_MAX = 64, MAX_PIDS = 64 };

/* --- chance ------------------------------------------------------------------------------ */

static uint64_t next(struct dice *d)
{
    uint64_t z = (d->state += 0x9e3779b97f4a7c15u); /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

struct dice dice_of(uint64_t seed, uint64_t stream)
{
    struct dice d = {seed * 0xd1342543de82ef95u + stream};
    next(&d);
    return d;
}

int dice_upto(struct dice *d, int n)
{
    return (int)(next(d) % (uint64_t)n);
}

int dice_between(struct dice *d, int low, int high)
{
    return low + dice_upto(d, high - low + 1);
}

void dice_shuffle(struct dice *d, int *list, int n)
{
    for (int i = n - 1; i > 0; i--) {
        int k = dice_upto(d, i + 1), t = list[i];
        list[i] = list[k];
        list[k] = t;
    }
}

int64_t wall_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* --- programs ---------------------------------------------------------------------------- */

static const char *const worker_points[] = {"claim.before", "claim.after", "scrape.before",
    "scrape.after", "t3.before", "t3.after", "ack.before", "ack.after", "janitor.dead",
    "janitor.move", "janitor.taken", "crawl.read", "crawl.before_store", "crawl.after_store",
    "crawl.after_ack"};
static const char *const producer_points[] = {"t0.before", "t0.after", "enqueue.before",
    "enqueue.after", "reply.before", "spool.append", "spool.sync", "spool.synced", "forward.after"};

/* The next crash point of the deck; rare passages are taken more often. */
static const char *armed(struct stack *s, bool producer)
{
    const char *name = producer ? producer_points[s->producer_deck++ % COUNT(producer_points)]
                                : worker_points[s->worker_deck++ % COUNT(worker_points)];
    bool rare = strncmp(name, "janitor", 7) == 0 || strncmp(name, "spool", 5) == 0 ||
                strncmp(name, "forward", 7) == 0;
    return harness_text("HOOKLINE_CRASH=%s=%s", name, rare ? "0.1" : "0.01");
}

/* In one fleet of three processes leave all the time, in the others none does. */
static const char *recycling(struct stack *s)
{
    bool often = s->arm && dice_upto(&s->dice, 3) == 0;
    return often ? "WEBHOOK_MAX_JOBS_PER_PROCESS=40" : "WEBHOOK_MAX_JOBS_PER_PROCESS=0";
}

static bool named(const char *const *env, const char *setting)
{
    size_t len = strcspn(setting, "=") + 1;
    for (; *env; env++)
        if (strncmp(*env, setting, len) == 0)
            return true;
    return false;
}

static void settings(struct stack *s, struct unit *u, const char **env)
{
    const char *const common[] = {
        harness_text("WEBHOOK_DATABASE_URL=%s", s->db),
        harness_text("WEBHOOK_REDIS_URL=%s", test_redis_url(s->redis)),
        harness_text("WEBHOOK_FIRECRAWL_API_URL=http://127.0.0.1:%d", s->firecrawl_port),
        harness_text("WEBHOOK_SPOOL_DIR=%s/spool/s", s->dir),
        harness_text("WEBHOOK_RECEIPTS_DIR=%s/receipts", s->dir),
        harness_text("WEBHOOK_PORT=%d", u ? u->port : 0),
        harness_text("HOOKLINE_CRASH_LOG=%s/crashes", s->dir),
        harness_text("HOOKLINE_CRASH_SEED=%d", dice_upto(&s->dice, 1 << 30)),
        s->arm && u ? armed(s, u->producer) : "HOOKLINE_CRASH=",
        "WEBHOOK_HOST=127.0.0.1",
        "WEBHOOK_SECRET=a-secret-that-is-long-enough-for-everyone",
        "WEBHOOK_INTAKE_TOKEN=" CHAOS_TOKEN,
        "WEBHOOK_PRODUCERS=2",
        "WEBHOOK_RATE_LIMIT=0",
        harness_text("WEBHOOK_ADMIN_PORT=%d", u ? u->admin_port : 0),
        harness_text("WEBHOOK_PRODUCER_ADMIN_PORT=%d", u ? u->admin_port : 0),
        "WEBHOOK_API_SECRET=" CHAOS_API_SECRET,
        "WEBHOOK_WORKERS=2",
        "WEBHOOK_CONCURRENCY=24",
        "WEBHOOK_LEASE_SECONDS=2",
        "WEBHOOK_WATCHDOG_SECONDS=4",
        "WEBHOOK_READY_TIMEOUT=5",
        recycling(s),
        "WEBHOOK_MAX_STARTS=100",
        "WEBHOOK_MAX_ATTEMPTS=3",
        "WEBHOOK_RETRY_BASE=1",
        "WEBHOOK_RETRY_MAX=2",
        "WEBHOOK_BREAKER_PAUSE=1",
        /* Afterwards none: what is left then are the pages that always fail. */
        s->arm ? "WEBHOOK_BREAKER_FAILURES=10" : "WEBHOOK_BREAKER_FAILURES=0",
        "WEBHOOK_SCRAPE_TIMEOUT=2",
        "WEBHOOK_DRAIN_TIMEOUT=8",
        "WEBHOOK_DB_POOL_SIZE=3",
        "WEBHOOK_DB_MAX_OVERFLOW=1",
        "WEBHOOK_DB_STATEMENT_TIMEOUT=5",
        "WEBHOOK_LOG_FORMAT=json",
    };
    int n = 0;
    for (; s->more && s->more[n]; n++)
        env[n] = s->more[n];
    env[n] = NULL;
    for (size_t i = 0; i < COUNT(common); i++) {
        if (named(env, common[i]))
            continue;
        env[n++] = common[i];
        env[n] = NULL;
    }
}

static void start(struct stack *s, struct unit *u)
{
    const char *env[ENV_MAX];
    settings(s, u, env);
    u->proc = test_proc_start((const char *const[]){u->program, NULL}, env, -1);
    u->restart_at = u->term_until = 0;
}

static void forget(struct unit *u)
{
    test_proc_free(u->proc);
    u->proc = NULL;
}

static void tend(struct stack *s, struct unit *u)
{
    int64_t now = harness_now_ms();
    if (u->proc && !test_proc_running(u->proc)) {
        forget(u);
        u->restart_at = now + dice_between(&s->dice, 50, 600);
    } else if (u->proc && u->term_until && now > u->term_until) {
        unit_kill(u);
    } else if (!u->proc && !s->held && now >= u->restart_at) {
        start(s, u);
    }
}

void stack_tend(struct stack *s)
{
    for (int i = 0; i < UNITS; i++)
        if (s->units[i].program)
            tend(s, &s->units[i]);
}

struct unit *stack_producer(struct stack *s, int host)
{
    return &s->units[host];
}

struct unit *stack_fleet(struct stack *s, int host)
{
    return &s->units[HOSTS + host];
}

int unit_children(struct unit *u, const char *role, pid_t *pids, int max)
{
    pid_t all[MAX_PIDS];
    int n = 0;
    if (!u->proc || !test_proc_running(u->proc))
        return 0;
    char *log = mem_strdup(test_proc_log(u->proc));
    char *wanted = mem_printf("\"child_started\",\"role\":\"%s\"", role);
    int found = harness_children(test_proc_pid(u->proc), NULL, all, MAX_PIDS);
    for (char *at = log; n < max && (at = strstr(at, wanted)); at++) {
        const char *pid = strstr(at, "\"child\":");
        for (int i = 0; pid && i < found && n < max; i++)
            if (atoi(pid + strlen("\"child\":")) == all[i])
                pids[n++] = all[i];
    }
    free(wanted);
    free(log);
    return n;
}

void unit_kill(struct unit *u)
{
    if (!u->proc)
        return;
    test_proc_kill(u->proc);
    forget(u);
    u->term_until = 0;
    u->restart_at = harness_now_ms() + 300;
}

static bool has_its_lease(struct stack *s, struct unit *u)
{
    pid_t pids[MAX_PIDS];
    int n = unit_children(u, "worker", pids, MAX_PIDS), good = 0;
    for (int i = 0; i < n; i++)
        good += sql_int(s->db,
                    "SELECT count(*) FROM webhook.workers WHERE pid = %d AND dead_at IS NULL"
                    " AND beat > 0",
                    (int)pids[i]) > 0;
    return n > 0 && good == n;
}

void stack_hold(struct stack *s, bool held)
{
    s->held = held;
    for (int i = 0; held && i < UNITS; i++)
        unit_kill(&s->units[i]);
}

bool stack_healthy(struct stack *s, struct unit *u)
{
    if (!u->producer)
        return has_its_lease(s, u);
    struct test_reply reply = test_http(u->port, "GET", "/health", NULL, NULL, 0);
    return strstr(reply.body, "\"status\":\"healthy\"") != NULL;
}

static bool tended_healthy(struct stack *s, struct unit *u)
{
    stack_tend(s);
    return stack_healthy(s, u);
}

void stack_start_unit(struct stack *s, struct unit *u)
{
    if (!u->proc)
        start(s, u);
    WAIT_FOR(tended_healthy(s, u), START_MS);
}

void stack_calm(struct stack *s)
{
    s->arm = false;
    for (int i = 0; i < UNITS; i++) {
        unit_kill(&s->units[i]);
        s->units[i].restart_at = 0;
    }
    for (int i = 0; i < UNITS; i++)
        if (s->units[i].program)
            WAIT_FOR(tended_healthy(s, &s->units[i]), START_MS);
}

/* --- servers ----------------------------------------------------------------------------- */

static const char *program(const char *name)
{
    return harness_text("%s/chaos/%s", harness_build(), name);
}

static void start_firecrawl(struct stack *s)
{
    static const char said[] = "listens on 127.0.0.1:";
    s->release = harness_text("%s/release", s->dir);
    s->scrapes = harness_text("%s/scrapes", s->dir);
    const char *const argv[] = {harness_text("%s/tests/firecrawl", harness_build()), "--port", "0",
        "--release", s->release, "--log", s->scrapes, NULL};
    s->firecrawl = test_proc_start(argv, NULL, -1);
    WAIT_FOR(strchr(test_proc_log(s->firecrawl), '\n'), START_MS);
    const char *at = strstr(test_proc_log(s->firecrawl), said);
    if (!at)
        harness_fail("the stand-in Firecrawl does not start");
    s->firecrawl_port = atoi(at + strlen(said));
}

static const char *mounted;

/* Before the folder is removed, and whoever still writes there. */
static void unmount(void)
{
    if (mounted)
        umount2(mounted, MNT_DETACH);
}

/* A small file system of its own, which no other process sees and which goes with the last of ours.
 * Without the right to mount, the spool is a plain folder and is never full. */
static void make_spool(struct stack *s)
{
    const char *path = harness_text("%s/spool", s->dir);
    const char *size = harness_text("size=%d,mode=0755", SPOOL_BYTES);
    mkdir(path, 0755);
    s->small_spool = unshare(CLONE_NEWNS) == 0 &&
                     mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
                     mount("hookline-chaos", path, "tmpfs", 0, size) == 0;
    mounted = s->small_spool ? path : NULL;
    atexit(unmount);
}

static struct test_redis *start_redis(void)
{
    return test_redis_start_with((const char *const[]){"--appendfsync", "always", NULL});
}

void stack_start(struct stack *s, uint64_t seed, const char *const *more)
{
    *s = (struct stack){.dice = dice_of(seed, 1), .more = more, .dir = harness_dir()};
    const char *worker = getenv("CHAOS_WORKER");
    s->worker = worker && *worker ? worker : program("hookline-worker");
    s->crawls_last = dice_upto(&s->dice, 2);
    s->worker_deck = dice_upto(&s->dice, COUNT(worker_points));
    s->producer_deck = dice_upto(&s->dice, COUNT(producer_points));
    make_spool(s);
    mkdir(harness_text("%s/receipts", s->dir), 0755);
    s->pg = test_pg_start_with((const char *const[]){"-c", "fsync=on", "-c", "full_page_writes=on",
        "-c", "synchronous_commit=on", "-c", "autovacuum=on", "-c", "log_lock_waits=on", "-c",
        "log_min_duration_statement=1500", NULL});
    s->db = test_pg_url(s->pg);
    s->redis = start_redis();
    s->pg_up = s->redis_up = true;
    start_firecrawl(s);
    history_install(s);
    for (int i = 0; i < HOSTS; i++) {
        s->units[i] = (struct unit){.program = program("hookline-producer"), .producer = true};
        s->units[i].port = harness_free_port();
        s->units[HOSTS + i] = (struct unit){.program = s->worker};
        s->units[i].admin_port = i ? 0 : harness_free_port(); /* one each way */
        s->units[HOSTS + i].admin_port = harness_free_port();
    }
}

void stack_new_redis(struct stack *s)
{
    struct test_redis *old = s->redis;
    s->redis = start_redis();
    test_redis_free(old);
}

void stack_copy_spool(struct stack *s, const char *to)
{
    const char *const argv[] = {"cp", "-r", harness_text("%s/spool/s", s->dir), to, NULL};
    struct test_proc *p = test_proc_start(argv, NULL, -1);
    test_proc_wait(p, START_MS); /* a file that left meanwhile is an error to cp, not to us */
    test_proc_free(p);
}

/* --- is anything left? ------------------------------------------------------------------- */

long stack_unfinished(struct stack *s)
{
    return sql_int(s->db, "SELECT count(*) FROM webhook.change_events"
                          " WHERE rescrape_status IN ('queued', 'in_progress')");
}

/* Whatever stands for a job: no letter, and no memory of one that is done. No blanks: the words of a
 * command end there. */
static const char count_jobs[] =
    "EVAL local\tn=redis.call('ZCARD','{hookline}:later')"
    "+redis.call('ZCARD','{hookline}:later:crawl')"
    "+redis.call('HLEN','{hookline}:later:crawl:jobs')\n"
    "for\t_,q\tin\tipairs({'change','crawl'})do\n"
    "n=n+redis.call('XLEN','{hookline}:q:'..q)end\n"
    "for\t_,k\tin\tipairs(redis.call('KEYS','{hookline}:blob:*'))do\n"
    "if\tk:sub(-5)~=':dead'then\tn=n+1\tend\tend\n"
    "for\t_,k\tin\tipairs(redis.call('KEYS','{hookline}:job:*'))do\n"
    "if\tredis.call('GET',k):sub(1,5)~='done\\32'then\tn=n+1\tend\tend\n"
    "return\tn 0";

static bool redis_empty(struct stack *s)
{
    return redis_int(s->redis, "%s", count_jobs) == 0;
}

static const char count_letters[] =
    "EVAL local\tn=0\n"
    "for\t_,e\tin\tipairs(redis.call('XRANGE','{hookline}:dead','-','+'))do\n"
    "local\tf={}for\ti=1,#e[2],2\tdo\tf[e[2][i]]=e[2][i+1]end\n"
    "if\tf.queue=='crawl'and\tf.reason~='same\\32id,\\32other\\32body'then\tn=n+1\tend\tend\n"
    "return\tn 0";

long stack_crawl_letters(struct stack *s)
{
    return redis_int(s->redis, "%s", count_letters);
}

static bool spool_empty(struct stack *s)
{
    enum { EMPTY = 8 }; /* a segment's head */
    bool empty = true;
    DIR *d = opendir(harness_text("%s/spool/s", s->dir));
    for (struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        size_t len = strlen(e->d_name);
        bool segment = (len > 4 && strcmp(e->d_name + len - 4, ".seg") == 0) ||
                       (len > 6 && strcmp(e->d_name + len - 6, ".crawl") == 0);
        if (segment && fstatat(dirfd(d), e->d_name, &st, 0) == 0)
            empty &= st.st_size <= EMPTY;
    }
    if (d)
        closedir(d);
    return empty;
}

bool stack_quiet(struct stack *s)
{
    return spool_empty(s) && stack_unfinished(s) == 0 && redis_empty(s);
}

struct test_proc *stack_ctl_start(struct stack *s, const char *const *args)
{
    const char *argv[16] = {program("hooklinectl")}, *env[ENV_MAX];
    for (int i = 0; args[i] && i < 14; i++)
        argv[i + 1] = args[i];
    settings(s, NULL, env);
    return test_proc_start(argv, env, -1);
}

int stack_ctl(struct stack *s, const char *const *args, const char **out)
{
    struct test_proc *p = stack_ctl_start(s, args);
    int code = test_proc_wait(p, START_MS);
    *out = test_proc_log(p);
    return code;
}
