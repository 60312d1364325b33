/* fleet: see fleet.h. */
#include "tests/support/fleet.h"

#include "base/buf.h"
#include "base/mem.h"
#include "tests/support/harness_private.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HOOK_PATH  "/api/webhook/changedetection"
#define START_MS   20000
#define STREAM     "{hookline}:q:change"
#define ENV_LENGTH 40

/* --- programs ---------------------------------------------------------------------------- */

static const char *program(const char *name)
{
    return harness_keep(mem_printf("%s/%s", harness_build(), name));
}

static const char secret_setting[] = "WEBHOOK_SECRET=" RIG_SECRET;
static const char token_setting[] = "WEBHOOK_INTAKE_TOKEN=" RIG_TOKEN;

/* NAME=value is among env. */
static bool names(const char *const *env, const char *setting)
{
    size_t len = strcspn(setting, "=") + 1;
    for (; env && *env; env++)
        if (strncmp(*env, setting, len) == 0)
            return true;
    return false;
}

static struct test_proc *start(
    struct rig *r, const char *const *argv, const char *const *more, int listen_fd)
{
    const char *env[ENV_LENGTH] = {NULL};
    const char *const common[] = {
        harness_keep(mem_printf("WEBHOOK_DATABASE_URL=%s", r->db)),
        harness_keep(mem_printf("WEBHOOK_REDIS_URL=%s", test_redis_url(r->redis))),
        harness_keep(
            mem_printf("WEBHOOK_FIRECRAWL_API_URL=http://127.0.0.1:%d", r->firecrawl_port)),
        harness_keep(mem_printf("WEBHOOK_SPOOL_DIR=%s/spool", harness_dir())),
        secret_setting,
        token_setting,
        "WEBHOOK_API_SECRET=" RIG_API_SECRET,
        "WEBHOOK_API_SECRET_READONLY=" RIG_READ_SECRET,
        "WEBHOOK_RATE_LIMIT=0", /* who waits asks /health often */
        "WEBHOOK_PRODUCERS=1",
        "WEBHOOK_DEDUP_WINDOW=0", /* each event posted is one of its own, however alike */
        "WEBHOOK_WORKERS=1",
        "WEBHOOK_LEASE_SECONDS=2",
        "WEBHOOK_WATCHDOG_SECONDS=0",
        "WEBHOOK_RETRY_BASE=1",
        "WEBHOOK_RETRY_MAX=1",
        "WEBHOOK_DRAIN_TIMEOUT=30",
        "WEBHOOK_DB_POOL_SIZE=3",
        "WEBHOOK_DB_MAX_OVERFLOW=1",
        "WEBHOOK_LOG_FORMAT=json",
        "WEBHOOK_LOG_BURST=0", /* tests count lines */
        "WEBHOOK_ADMIN_PORT=0",
    };
    int n = 0;
    for (; more && more[n]; n++)
        env[n] = more[n];
    for (size_t i = 0; i < sizeof(common) / sizeof(common[0]); i++)
        if (!names(more, common[i]))
            env[n++] = common[i];
    return test_proc_start(argv, env, listen_fd);
}

static void start_firecrawl(struct rig *r)
{
    static const char said[] = "listens on 127.0.0.1:";
    r->release = harness_keep(mem_printf("%s/release", harness_dir()));
    const char *port = harness_keep(mem_printf("%d", r->firecrawl_port));
    const char *const argv[] = {
        program("tests/firecrawl"), "--port", port, "--release", r->release, NULL};
    r->firecrawl = test_proc_start(argv, NULL, -1);
    WAIT_FOR(strchr(test_proc_log(r->firecrawl), '\n'), START_MS);
    const char *at = strstr(test_proc_log(r->firecrawl), said);
    if (!at)
        harness_fail("the stand-in Firecrawl does not start");
    r->firecrawl_port = atoi(at + strlen(said));
}

struct test_proc *rig_start_program(
    struct rig *r, const char *const *argv, const char *const *env, int listen_fd)
{
    return start(r, argv, env, listen_fd);
}

const char *rig_program(const char *name)
{
    return program(name);
}

bool rig_serves(int port)
{
    struct test_reply reply = test_http(port, "GET", "/health", NULL, NULL, 0);
    return strstr(reply.body, "\"status\":\"healthy\"") != NULL;
}

static void start_all(struct rig *r)
{
    r->redis = test_redis_start();
    start_firecrawl(r);
    int fd = harness_listen(&r->producer_port);
    r->producer = start(r, (const char *const[]){program("hookline-producer"), NULL}, NULL, fd);
    close(fd);
    WAIT_FOR(rig_serves(r->producer_port), START_MS);
}

void rig_start(struct rig *r)
{
    rig_start_on(r, harness_database(true));
}

void rig_start_on(struct rig *r, const char *db)
{
    *r = (struct rig){.db = db};
    start_all(r);
}

void rig_start_own_pg(struct rig *r)
{
    *r = (struct rig){.pg = test_pg_start()};
    r->db = test_pg_url(r->pg);
    start_all(r);
}

static int count_logged(struct test_proc *p, const char *text)
{
    int n = 0;
    for (const char *at = test_proc_log(p); (at = strstr(at, text)); at++)
        n++;
    return n;
}

struct test_proc *rig_fleet(struct rig *r, int processes, const char *const *env)
{
    const char *worker = program("hookline-worker");
    const char *const here[] = {worker, NULL};
    const char *const there[] = {
        "nsenter", harness_keep(mem_printf("--net=/run/netns/%s", r->netns)), worker, NULL};
    struct test_proc *p = start(r, r->netns ? there : here, env, -1);
    WAIT_FOR(count_logged(p, "\"working\"") >= processes, START_MS);
    return p;
}

int rig_ctl(struct rig *r, const char *const *args, const char **out)
{
    const char *argv[16] = {program("hooklinectl")};
    for (int i = 0; args[i]; i++)
        argv[i + 1] = args[i];
    struct test_proc *p = start(r, argv, NULL, -1);
    int code = test_proc_wait(p, START_MS);
    *out = test_proc_log(p);
    return code;
}

json_t *rig_json(const char *out)
{
    static const char begin[] = "{\"version\":1";
    struct hl_err err;
    const char *from = out;
    while (strncmp(from, begin, sizeof(begin) - 1) != 0) {
        from = strchr(from, '\n');
        cr_assert(from, "no JSON: %s", out);
        from++;
    }
    json_t *root = json_parse(from, strcspn(from, "\n"), &err);
    cr_assert(root, "%s: %s", err.msg, out);
    return root;
}

/* --- posting ----------------------------------------------------------------------------- */

static struct test_reply post(struct rig *r, const char *path)
{
    const char *body = harness_keep(
        mem_printf("{\"watch_id\":\"w\",\"watch_url\":\"%s%s\",\"watch_title\":\"A page\","
                   "\"detected_at\":\"2026-11-23T10:00:00Z\",\"snapshot\":\"it changed\"}",
            RIG_SITE, path));
    const char *headers = harness_keep(mem_printf("Content-Type: application/json\r\n"
                                                  "X-Signature: sha256=%s\r\n",
        test_sign(RIG_SECRET, body, strlen(body))));
    return test_http(r->producer_port, "POST", HOOK_PATH, headers, body, strlen(body));
}

bool rig_try_post(struct rig *r, const char *path, struct rig_id *id)
{
    static const char key[] = "\"job_id\":\"";
    struct test_reply reply = post(r, path);
    const char *at = strstr(reply.body, key);
    if (reply.status != 202 || !at)
        return false;
    snprintf(id->text, sizeof(id->text), "%.36s", at + strlen(key));
    return true;
}

struct rig_id rig_post(struct rig *r, const char *fmt, ...)
{
    struct rig_id id = {""};
    char *path;
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&path, fmt, ap) < 0)
        harness_fail("out of memory");
    va_end(ap);
    if (!rig_try_post(r, path, &id))
        harness_fail("an event about %s is not accepted", path);
    free(path);
    return id;
}

/* --- looking ----------------------------------------------------------------------------- */

const char *rig_row(struct rig *r, struct rig_id id, const char *columns)
{
    return sql_text(r->db,
        "SELECT concat_ws('|', %s) FROM webhook.change_events WHERE event_id = '%s'", columns,
        id.text);
}

bool rig_status_is(struct rig *r, struct rig_id id, const char *status)
{
    return strcmp(rig_row(r, id, "rescrape_status"), status) == 0;
}

long rig_rows(struct rig *r, const char *where)
{
    return sql_int(r->db, "SELECT count(*) FROM webhook.change_events WHERE %s", where);
}

int rig_scrapes(struct rig *r, const char *path)
{
    const char *query = harness_keep(mem_printf("/count?url=%s%s", RIG_SITE, path));
    struct test_reply reply = test_http(r->firecrawl_port, "GET", query, NULL, NULL, 0);
    const char *colon = strchr(reply.body, ':');
    if (reply.status != 200 || !colon)
        harness_fail("the stand-in Firecrawl answers %d %s", reply.status, reply.body);
    return atoi(colon + 1);
}

static struct test_reply ask_firecrawl(struct rig *r, const char *path)
{
    struct test_reply reply = test_http(r->firecrawl_port, "GET", path, NULL, NULL, 0);
    if (reply.status != 200)
        harness_fail("the stand-in Firecrawl answers %s with %d", path, reply.status);
    return reply;
}

int rig_asked(struct rig *r)
{
    return atoi(strchr(ask_firecrawl(r, "/total").body, ':') + 1);
}

void rig_firecrawl_fails(struct rig *r, int status, int retry_after_s)
{
    ask_firecrawl(r, harness_keep(mem_printf("/mode?%d/%d", status, retry_after_s)));
}

void rig_firecrawl_kill(struct rig *r)
{
    test_proc_kill(r->firecrawl);
}

void rig_firecrawl_restart(struct rig *r)
{
    start_firecrawl(r);
}

void rig_release(struct rig *r)
{
    int fd = open(r->release, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        harness_fail("cannot make %s", r->release);
    close(fd);
}

pid_t rig_worker(struct rig *r)
{
    return (pid_t)sql_int(r->db,
        "SELECT coalesce((SELECT pid FROM webhook.workers w WHERE dead_at IS NULL"
        " ORDER BY (SELECT count(*) FROM webhook.change_events c WHERE c.claimed_by = w.id"
        " AND c.rescrape_status = 'in_progress') DESC, started_at DESC LIMIT 1), 0)");
}

pid_t rig_child(struct test_proc *fleet, const char *role)
{
    static const char key[] = "\"child\":";
    const char *start = harness_keep(mem_printf("\"child_started\",\"role\":\"%s\"", role));
    const char *last = NULL;
    for (const char *at = test_proc_log(fleet); (at = strstr(at, start)); at++)
        last = at;
    const char *pid = last ? strstr(last, key) : NULL;
    if (!pid)
        harness_fail("no process of role %s was started", role);
    return (pid_t)atoi(pid + strlen(key));
}

bool rig_gone(pid_t pid)
{
    char state = harness_proc_state(pid);
    return state == 0 || state == 'Z' || state == 'X';
}

static bool has_stream(struct rig *r)
{
    return redis_int(r->redis, "EXISTS %s", STREAM) == 1;
}

long rig_pending(struct rig *r)
{
    return has_stream(r) ? atol(redis_text(r->redis, "XPENDING %s workers", STREAM)) : 0;
}

bool rig_queue_empty(struct rig *r)
{
    return redis_int(r->redis, "XLEN %s", STREAM) == 0 && rig_pending(r) == 0 &&
           redis_int(r->redis, "ZCARD {hookline}:later") == 0 &&
           redis_int(r->redis, "HLEN {hookline}:later:jobs") == 0 &&
           *redis_text(r->redis, "KEYS {hookline}:job:*") == '\0';
}

/* No blanks in it: redis_text splits its line there. */
static const char find_dead[] =
    "for\t_,e\tin\tipairs(redis.call('XRANGE',KEYS[1],'-','+'))do\n"
    "if\te[2][2]==ARGV[1]\tthen\nreturn\te[2][4]..'|'..e[2][6]\nend\nend\nreturn\t''";

const char *rig_dead_letter(struct rig *r, const char *id)
{
    return redis_text(r->redis, "EVAL %s 1 {hookline}:dead %s", find_dead, id);
}

bool rig_only_living(struct rig *r, int processes)
{
    if (sql_int(r->db, "SELECT count(*) FROM webhook.workers") != processes)
        return false;
    const char *consumers =
        has_stream(r) ? redis_text(r->redis, "XINFO CONSUMERS %s workers", STREAM) : "";
    int n = 0;
    for (const char *at = consumers; (at = strstr(at, "name\n")); at++)
        n++;
    return n <= processes;
}
