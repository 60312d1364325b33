/* harness_pg: private PostgreSQL clusters and databases for tests (see harness.h). */
#include "tests/support/harness_private.h"

#include "base/buf.h"
#include "base/mem.h"
#include "domain/migrate.h"

#include <errno.h>
#include <libpq-fe.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

enum { START_TIMEOUT_MS = 30000, MAX_BACKENDS = 512, MAX_OPTIONS = 16 };

struct test_pg {
    struct test_pg *next;
    struct test_proc *proc; /* the postmaster; NULL = not running */
    char *dir;              /* the data folder */
    int port;
    char *admin_url; /* database postgres */
    char *url;       /* the migrated database */
    bool paused;
    const char *options[MAX_OPTIONS]; /* of the server, besides the usual ones */
    int noptions;
};

static struct test_pg *clusters;

/* --- SQL --------------------------------------------------------------------------------- */
static void ignore_notice(void *ctx, const char *text)
{
    (void)ctx;
    (void)text;
}

static PGconn *connect_to(const char *url)
{
    const char *const names[] = {"dbname", "connect_timeout", "application_name", NULL};
    const char *const values[] = {url, "5", "hookline-test", NULL};
    PGconn *c = PQconnectdbParams(names, values, 1);
    PQsetNoticeProcessor(c, ignore_notice, NULL);
    return c;
}

static const char *run_sql(const char *url, const char *fmt, va_list ap)
{
    struct buf sql = {0};
    buf_vprintf(&sql, fmt, ap);
    PGconn *c = connect_to(url);
    if (PQstatus(c) != CONNECTION_OK)
        harness_fail("cannot connect to %s: %s", url, PQerrorMessage(c));
    PGresult *r = PQexec(c, sql.data);
    ExecStatusType st = PQresultStatus(r);
    if (st != PGRES_TUPLES_OK && st != PGRES_COMMAND_OK && st != PGRES_EMPTY_QUERY)
        harness_fail("%s\n%s", PQerrorMessage(c), sql.data);
    const char *v = PQntuples(r) > 0 && PQnfields(r) > 0 ? PQgetvalue(r, 0, 0) : "";
    const char *copy = harness_keep(mem_strdup(v));
    PQclear(r);
    PQfinish(c);
    buf_release(&sql);
    return copy;
}

const char *sql_text(const char *url, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    const char *v = run_sql(url, fmt, ap);
    va_end(ap);
    return v;
}

long sql_int(const char *url, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    const char *v = run_sql(url, fmt, ap);
    va_end(ap);
    char *end;
    long n = strtol(v, &end, 10);
    if (!*v || *end)
        harness_fail("not a number but \"%s\": %s", v, fmt);
    return n;
}

void sql_exec(const char *url, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    run_sql(url, fmt, ap);
    va_end(ap);
}

/* --- clusters ---------------------------------------------------------------------------- */
static void run_tool(const char *const *argv, bool unprivileged)
{
    struct test_proc *p = harness_spawn(&(struct spawn){.argv = argv,
        .name = "tool",
        .listen_fd = -1,
        .death_signal = SIGKILL,
        .unprivileged = unprivileged});
    int status = test_proc_wait(p, START_TIMEOUT_MS);
    if (status != 0)
        harness_fail("%s ended with %d", argv[0], status);
    test_proc_free(p);
}

/* Where Debian and others keep the server's programs: asked once, at build time or from PATH. */
static const char *pg_program(const char *name)
{
    static char *bindir;
    if (!bindir) {
        char line[512] = "";
        FILE *f = popen("pg_config --bindir", "re"); /* NOLINT: fixed command */
        if (f && fgets(line, sizeof(line), f))
            line[strcspn(line, "\n")] = '\0';
        if (f)
            pclose(f);
        if (!*line)
            harness_fail("pg_config --bindir says nothing: is libpq-dev installed?");
        bindir = mem_strdup(line);
    }
    return harness_keep(mem_printf("%s/%s", bindir, name));
}

/* NULL when unset or empty. */
static const char *setting(const char *name)
{
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

static const char *ready_data(void)
{
    return setting("HOOKLINE_TEST_PGDATA");
}

static const char *template_name(void)
{
    return setting("HOOKLINE_TEST_TEMPLATE");
}

static void make_folder(struct test_pg *pg)
{
    unsigned uid, gid;
    if (mkdir(pg->dir, 0700) < 0)
        harness_fail("mkdir %s: %s", pg->dir, strerror(errno));
    if (harness_unprivileged(&uid, &gid) && chown(pg->dir, uid, gid) < 0)
        harness_fail("chown %s: %s", pg->dir, strerror(errno));
}

/* A new data folder: a copy of the suite's (HOOKLINE_TEST_PGDATA: stopped, migrated) where there
 * is one, which takes a tenth of the time, else made by initdb. */
static void make_data(struct test_pg *pg)
{
    if (ready_data()) {
        const char *from = harness_keep(mem_printf("%s/.", ready_data()));
        run_tool((const char *const[]){"cp", "-a", from, pg->dir, NULL}, true);
        return;
    }
    run_tool((const char *const[]){pg_program("initdb"), "-D", pg->dir, "-A", "trust", "-U",
                 "postgres", "--no-sync", "--no-instructions", "-E", "UTF8", "--locale=C", NULL},
        true);
}

static void start_server(struct test_pg *pg)
{
    enum { ARGS = 32 };
    const char *port = harness_keep(mem_printf("%d", pg->port));
    const char *argv[ARGS + MAX_OPTIONS] = {pg_program("postgres"), "-D", pg->dir, "-p", port, "-c",
        "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off", "-c",
        "full_page_writes=off", "-c", "shared_buffers=16MB", "-c", "max_connections=200", "-c",
        "autovacuum=off", "-c", "jit=off", "-c", "max_wal_size=4GB"};
    int n = 0;
    while (argv[n])
        n++;
    for (int i = 0; i < pg->noptions; i++)
        argv[n + i] = pg->options[i];
    pg->proc = harness_spawn(&(struct spawn){.argv = argv,
        .name = "postgres",
        .listen_fd = -1,
        .death_signal = SIGQUIT, /* immediate shutdown: takes its backends along */
        .unprivileged = true});
}

/* Until it accepts; false when it ended instead (its port was taken). */
static bool wait_ready(struct test_pg *pg)
{
    int64_t end = harness_now_ms() + START_TIMEOUT_MS;
    while (test_proc_running(pg->proc)) {
        PGconn *c = connect_to(pg->admin_url);
        bool ok = PQstatus(c) == CONNECTION_OK;
        PQfinish(c);
        if (ok)
            return true;
        harness_wait_step(end, "PostgreSQL accepts connections", __FILE__, __LINE__);
    }
    return false;
}

static void set_port(struct test_pg *pg)
{
    free(pg->admin_url);
    free(pg->url);
    pg->port = harness_free_port();
    pg->admin_url = mem_printf("postgresql://postgres@127.0.0.1:%d/postgres", pg->port);
    pg->url = mem_printf("postgresql://postgres@127.0.0.1:%d/hookline", pg->port);
}

static void migrate(const char *url)
{
    struct buf out = {0};
    struct hl_err err = {0};
    if (migrate_run(url, MIGRATE_APPLY, START_TIMEOUT_MS, &out, &err) != HL_OK)
        harness_fail("migrating %s: %s\n%s", url, err.msg, buf_str(&out));
    buf_release(&out);
}

static struct test_pg *new_cluster(const char *const *options)
{
    static int serial;
    struct test_pg *pg = mem_new(struct test_pg);
    pg->dir = mem_printf("%s/pg%d", harness_dir(), ++serial);
    for (; options && options[pg->noptions]; pg->noptions++) {
        if (pg->noptions == MAX_OPTIONS - 1)
            harness_fail("more than %d options for PostgreSQL", MAX_OPTIONS - 1);
        pg->options[pg->noptions] = harness_keep(mem_strdup(options[pg->noptions]));
    }
    pg->next = clusters;
    clusters = pg;
    make_folder(pg);
    return pg;
}

static void start_anywhere(struct test_pg *pg)
{
    for (int tries = 0; tries < 5; tries++) {
        set_port(pg);
        start_server(pg);
        if (wait_ready(pg))
            return;
    }
    harness_fail("PostgreSQL does not start");
}

struct test_pg *test_pg_start_with(const char *const *options)
{
    struct test_pg *pg = new_cluster(options);
    make_data(pg);
    start_anywhere(pg);
    const char *from = ready_data() ? template_name() : NULL;
    sql_exec(pg->admin_url, "CREATE DATABASE hookline TEMPLATE %s", from ? from : "template0");
    if (!from)
        migrate(pg->url);
    return pg;
}

struct test_pg *test_pg_start(void)
{
    return test_pg_start_with(NULL);
}

struct test_pg *test_pg_standby(struct test_pg *primary)
{
    struct test_pg *pg =
        new_cluster((const char *const[]){"-c", "wal_retrieve_retry_interval=100ms", NULL});
    run_tool((const char *const[]){pg_program("pg_basebackup"), "-d", primary->admin_url, "-D",
                 pg->dir, "-R", "-X", "stream", "-c", "fast", "--no-sync", NULL},
        true);
    start_anywhere(pg);
    return pg;
}

void test_pg_promote(struct test_pg *standby)
{
    if (strcmp(sql_text(standby->admin_url, "SELECT pg_promote(true, 30)"), "t") != 0)
        harness_fail("the standby was not promoted within 30 s");
}

void test_pg_give(const char *path)
{
    unsigned uid, gid;
    if (chmod(path, 0600) < 0 || (harness_unprivileged(&uid, &gid) && chown(path, uid, gid) < 0))
        harness_fail("%s: %s", path, strerror(errno));
}

const char *test_pg_url(struct test_pg *pg)
{
    return pg->url;
}

void test_pg_kill(struct test_pg *pg)
{
    if (!pg->proc)
        return;
    harness_kill_tree(test_proc_pid(pg->proc));
    test_proc_free(pg->proc);
    pg->proc = NULL;
    pg->paused = false;
}

void test_pg_restart(struct test_pg *pg)
{
    test_pg_kill(pg);
    start_server(pg);
    if (!wait_ready(pg))
        harness_fail("PostgreSQL does not start again");
}

/* The backends are sessions of their own, so the tree is walked; the postmaster stands meanwhile, so
 * that it starts no more of them. */
static void signal_all(struct test_pg *pg, int signo)
{
    pid_t pids[MAX_BACKENDS];
    pid_t main_pid = test_proc_pid(pg->proc);
    harness_halt(main_pid);
    int n = harness_tree(main_pid, pids, MAX_BACKENDS);
    for (int i = n - 1; i >= 0; i--)
        kill(pids[i], signo);
}

void test_pg_pause(struct test_pg *pg)
{
    signal_all(pg, SIGSTOP);
    pg->paused = true;
}

void test_pg_resume(struct test_pg *pg)
{
    signal_all(pg, SIGCONT);
    pg->paused = false;
}

static void stop(struct test_pg *pg)
{
    if (!pg->proc)
        return;
    if (pg->paused)
        test_pg_resume(pg);
    test_proc_signal(pg->proc, SIGQUIT);
    int64_t end = harness_now_ms() + 5000;
    while (test_proc_running(pg->proc) && harness_now_ms() < end)
        harness_pause(2);
    test_pg_kill(pg);
}

/* A killed postmaster leaves the few bytes of shared memory that guard its data folder. */
static void remove_shared_memory(struct test_pg *pg)
{
    char *path = mem_printf("%s/postmaster.pid", pg->dir);
    char *text = harness_slurp(path, 4096), *line = text;
    int id;
    for (int i = 1; line && i < 7; i++)
        line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL;
    if (line && sscanf(line, "%*u %d", &id) == 1)
        shmctl(id, IPC_RMID, NULL);
    free(text);
    free(path);
}

void test_pg_free(struct test_pg *pg)
{
    if (!pg)
        return;
    stop(pg);
    remove_shared_memory(pg);
    harness_remove_tree(pg->dir);
    for (struct test_pg **at = &clusters; *at; at = &(*at)->next)
        if (*at == pg) {
            *at = pg->next;
            break;
        }
    free(pg->dir);
    harness_keep(pg->url);
    free(pg->admin_url);
    free(pg);
}

void harness_pg_stop_all(void)
{
    while (clusters)
        test_pg_free(clusters);
}

/* --- databases --------------------------------------------------------------------------- */
/* The same URL with another database: what stands between the host's '/' and '?'. */
static const char *with_database(const char *url, const char *name)
{
    const char *host = strstr(url, "://");
    const char *slash = host ? strchr(host + 3, '/') : NULL;
    if (!slash)
        harness_fail("HOOKLINE_TEST_PG is not postgresql://user@host/database?...: %s", url);
    const char *query = strchr(slash, '?');
    return harness_keep(mem_printf("%.*s/%s%s", (int)(slash - url), url, name, query ? query : ""));
}

const char *harness_database(bool migrated)
{
    static struct test_pg *own;
    static int serial;
    const char *admin = setting("HOOKLINE_TEST_PG");
    const char *from = template_name();
    char name[64];
    if (!admin) {
        if (!own)
            own = test_pg_start();
        admin = own->admin_url;
        from = "hookline";
    }
    /* not by pid alone: a long run comes back to the same one */
    snprintf(name, sizeof(name), "t_%d_%d_%08x", (int)getpid(), ++serial, arc4random());
    sql_exec(admin, "CREATE DATABASE %s TEMPLATE %s", name, migrated && from ? from : "template0");
    const char *url = with_database(admin, name);
    if (migrated && !from)
        migrate(url);
    return url;
}
