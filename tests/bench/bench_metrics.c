/* bench_metrics: what metrics cost, on one server, in one run (CONTRIBUTING.md, "Measure"):
 *   1. request metrics a second through metrics.c while a producer takes webhooks as fast as it can,
 *      beside the same statement alone, by plain libpq, with as many rows, under the same load;
 *   2. webhooks a second that a producer answers with metrics and, in turn, another without; and the
 *      time of processors that producer and PostgreSQL took for one, which does not depend on who
 *      else uses the machine.
 * Owns: the load, the two ways of writing, the table. The producers run already. */
#include "base/buf.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/mem.h"
#include "base/pgarray.h"
#include "base/uuid.h"
#include "domain/metrics.h"
#include "domain/store_sql.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    CONNECTIONS = 64,
    BODY_BYTES = 1024,
    REQUEST_BYTES = 2048,
    BATCH = 1000,
    AHEAD = 8 * BATCH, /* measurements that wait in the ring */
    MAX_ROUNDS = 50,
    WARM_UP_MS = 500,
    QUIET_MS = 20000,
};

static struct {
    int rounds;
    double seconds;
    const char *url, *secret;
    int port[2];    /* of the producers without and with metrics */
    int parents[3]; /* whose children are PostgreSQL and the producers */
} options = {.rounds = 7, .seconds = 2};

_Noreturn static void die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void die(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("bench_metrics: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(1);
}

/* --- the load ---------------------------------------------------------------------------- */

struct sender {
    int fd;
    char got[4096];
    size_t len;
};

/* Shared with the process that sends. */
static struct {
    _Atomic long answered, others; /* 202, anything else */
} * load;

static void send_next(struct sender *s)
{
    static long serial;
    char body[BODY_BYTES + 1], request[REQUEST_BYTES], hex[DIGEST_HEXLEN + 1];
    uint8_t mac[DIGEST_LEN];

    int used = snprintf(body, sizeof(body),
        "{\"watch_id\":\"bench\",\"watch_url\":\"http://page.test/%d/%ld\","
        "\"detected_at\":\"2026-11-23T10:00:00Z\",\"snapshot\":\"",
        (int)getpid(), ++serial);
    memset(body + used, 'x', sizeof(body) - (size_t)used);
    memcpy(body + BODY_BYTES - 2, "\"}", 3);
    digest_hmac(options.secret, body, BODY_BYTES, mac);
    digest_hex(mac, sizeof(mac), hex);
    int len = snprintf(request, sizeof(request),
        "POST /api/webhook/changedetection HTTP/1.1\r\nHost: bench\r\n"
        "User-Agent: bench_metrics\r\nContent-Type: application/json\r\n"
        "X-Signature: sha256=%s\r\nContent-Length: %d\r\n\r\n%s",
        hex, BODY_BYTES, body);
    s->len = 0;
    if (send(s->fd, request, (size_t)len, MSG_NOSIGNAL) != len)
        die("a connection to the producer broke");
}

/* A whole answer is there. */
static bool answered(const struct sender *s)
{
    const char *end = strstr(s->got, "\r\n\r\n"), *length = strcasestr(s->got, "content-length:");
    if (!end || !length || length > end)
        return false;
    return s->len >= (size_t)(end + 4 - s->got) + strtoul(length + 15, NULL, 10);
}

static void on_bytes(struct sender *s)
{
    ssize_t n = recv(s->fd, s->got + s->len, sizeof(s->got) - 1 - s->len, 0);
    if (n <= 0)
        die("the producer closed a connection");
    s->len += (size_t)n;
    s->got[s->len] = '\0';
    if (!answered(s))
        return;
    if (strncmp(s->got, "HTTP/1.1 202", 12) == 0)
        load->answered++;
    else
        load->others++;
    send_next(s);
}

static int dial(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0)
        die("the producer on port %d: %s", port, strerror(errno));
    return fd;
}

_Noreturn static void send_for_ever(int port)
{
    static struct sender senders[CONNECTIONS];
    struct pollfd fds[CONNECTIONS];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int i = 0; i < CONNECTIONS; i++) {
        senders[i].fd = dial(port);
        fds[i] = (struct pollfd){.fd = senders[i].fd, .events = POLLIN};
        send_next(&senders[i]);
    }
    for (;;) {
        poll(fds, CONNECTIONS, -1);
        for (int i = 0; i < CONNECTIONS; i++)
            if (fds[i].revents)
                on_bytes(&senders[i]);
    }
}

static pid_t load_begin(int port)
{
    pid_t pid = fork();
    if (pid == 0)
        send_for_ever(port);
    usleep(WARM_UP_MS * 1000);
    return pid;
}

static void load_end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* --- the two ways of writing ------------------------------------------------------------- */

#define PATH  "/api/webhook/changedetection"
#define EXTRA "{\"path_params\":{},\"query_params\":{}}"

static double seconds_since(int64_t us)
{
    return (double)(clock_mono_us() - us) / 1e6;
}

static void record_one(struct metrics *m)
{
    char id[UUID_STRLEN + 1];
    struct uuid u = uuid_v4();
    uuid_format(&u, id);
    metrics_request(m, &(struct metrics_request){.at = clock_wall_us(),
                           .duration_ms = 1.5,
                           .status = 202,
                           .method = "POST",
                           .path = PATH,
                           .request_id = id,
                           .client_ip = "127.0.0.1",
                           .user_agent = "bench_metrics",
                           .extra = EXTRA});
}

static int64_t keep_writing(struct loop *l, struct metrics *m, double seconds, double *took)
{
    struct metrics_stats st;
    metrics_stats(m, &st);
    uint64_t before = st.written;
    int64_t began = clock_mono_us();
    while ((*took = seconds_since(began)) < seconds) {
        for (metrics_stats(m, &st); st.waiting < AHEAD; st.waiting++)
            record_one(m);
        loop_turn(l);
    }
    metrics_stats(m, &st);
    uint64_t lost = st.dropped + st.refused;
    if (lost)
        die("%llu rows were lost", (unsigned long long)lost);
    return (int64_t)(st.written - before);
}

/* Rows a second. */
static double through_metrics(void)
{
    struct hl_err err = {0};
    const struct db_conf conf = {.url = options.url,
        .application_name = "bench_metrics",
        .prepared = true,
        .pool_size = 2,
        .max_waiters = 10,
        .pool_timeout_ms = 10000,
        .pre_ping_after_ms = 60000,
        .max_age_ms = 600000,
        .connect_timeout_ms = 5000,
        .statement_timeout_ms = 10000};
    struct loop *l = loop_new(&err);
    struct offload *o = offload_new(l, &err);
    struct dbpool *pool = dbpool_new(l, o, &conf, &err);
    struct metrics *m = metrics_new(l, pool, 65536, 1000000);
    double took;
    keep_writing(l, m, 0.3, &took);
    int64_t rows = keep_writing(l, m, options.seconds, &took);
    for (struct metrics_stats st; metrics_stats(m, &st), st.waiting;)
        loop_turn(l);
    dbpool_free(pool);
    metrics_free(m);
    offload_free(o);
    loop_free(l);
    return (double)rows / took;
}

static void put_bare_row(struct buf b[10])
{
    char id[UUID_STRLEN + 1];
    const struct uuid u = uuid_v7(clock_wall_us() / 1000), request = uuid_v4();
    uuid_format(&u, id);
    pgarray_text(&b[0], id);
    pgarray_int(&b[1], clock_wall_us());
    pgarray_int(&b[2], 1500);
    pgarray_int(&b[3], 202);
    uuid_format(&request, id);
    const char *const texts[] = {"POST", PATH, id, "127.0.0.1", "bench_metrics", EXTRA};
    for (int i = 0; i < 6; i++)
        pgarray_text(&b[4 + i], texts[i]);
}

/* Rows a second, of the statement's time only: putting its values together does not count. */
static double bare(PGconn *pg)
{
    struct buf b[10] = {0};
    const char *values[10];
    int64_t rows = 0, spent_us = 0;
    while ((double)spent_us / 1e6 < options.seconds) {
        for (int i = 0; i < 10; i++)
            pgarray_begin(&b[i]);
        for (int i = 0; i < BATCH; i++)
            put_bare_row(b);
        for (int i = 0; i < 10; i++)
            values[i] = pgarray_end(&b[i]);
        int64_t began = clock_mono_us();
        PGresult *res = PQexecPrepared(pg, "bare", 10, values, NULL, NULL, 0);
        spent_us += clock_mono_us() - began;
        if (PQresultStatus(res) != PGRES_COMMAND_OK)
            die("%s", PQerrorMessage(pg));
        rows += strtol(PQcmdTuples(res), NULL, 10);
        PQclear(res);
    }
    for (int i = 0; i < 10; i++)
        buf_release(&b[i]);
    return (double)rows / ((double)spent_us / 1e6);
}

/* --- numbers ----------------------------------------------------------------------------- */

struct series {
    const char *name;
    double of[MAX_ROUNDS];
};

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const struct series *s)
{
    double sorted[MAX_ROUNDS];
    int n = options.rounds;
    memcpy(sorted, s->of, sizeof(sorted));
    qsort(sorted, (size_t)n, sizeof(*sorted), by_size);
    return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

static void print_series(const struct series *s, const char *form)
{
    printf("%-34s", s->name);
    printf(form, median(s));
    printf("   rounds:");
    for (int i = 0; i < options.rounds; i++)
        printf(form, s->of[i]);
    putchar('\n');
}

static void divide(struct series *ratio, const struct series *a, const struct series *b)
{
    for (int i = 0; i < options.rounds; i++)
        ratio->of[i] = a->of[i] / b->of[i];
}

/* --- the rounds -------------------------------------------------------------------------- */

static long number(PGconn *pg, const char *sql)
{
    PGresult *res = PQexec(pg, sql);
    if (PQresultStatus(res) != PGRES_TUPLES_OK)
        die("%s", PQerrorMessage(pg));
    long n = strtol(PQgetvalue(res, 0, 0), NULL, 10);
    PQclear(res);
    return n;
}

static long rows_written(PGconn *pg)
{
    return number(pg, "SELECT (SELECT count(*) FROM webhook.request_metrics)"
                      " + (SELECT count(*) FROM webhook.operation_metrics)");
}

/* What waits in a producer is written before the other has its turn. */
static void until_quiet(PGconn *pg)
{
    int64_t end = clock_mono_ms() + QUIET_MS;
    for (long before = -1, now; (now = rows_written(pg)) != before; before = now) {
        if (clock_mono_ms() > end)
            die("the producer goes on writing metrics for %d s", QUIET_MS / 1000);
        usleep(1500 * 1000);
    }
}

/* Both cost the same to begin with: tables empty, nothing dirty. */
static void fresh_tables(PGconn *pg)
{
    PQclear(PQexec(pg, "TRUNCATE webhook.change_events, webhook.request_metrics,"
                       " webhook.operation_metrics"));
    PQclear(PQexec(pg, "CHECKPOINT"));
}

static bool is_ours(int parent)
{
    for (size_t i = 0; i < sizeof(options.parents) / sizeof(*options.parents); i++)
        if (options.parents[i] == parent)
            return true;
    return false;
}

/* Microseconds that PostgreSQL and the producers have taken so far, all processes together. */
static double cpu_us(void)
{
    char path[300], text[1024];
    long ticks = 0;
    DIR *dir = opendir("/proc");
    for (struct dirent *e; dir && (e = readdir(dir));) {
        int parent;
        unsigned long user, sys;
        snprintf(path, sizeof(path), "/proc/%s/stat", e->d_name);
        FILE *f = e->d_name[0] >= '1' && e->d_name[0] <= '9' ? fopen(path, "re") : NULL;
        if (!f)
            continue;
        text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
        fclose(f);
        const char *rest = strrchr(text, ')'); /* behind the name, which may hold anything */
        if (rest &&
            sscanf(rest, ") %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &parent, &user,
                &sys) == 3 &&
            is_ours(parent))
            ticks += (long)(user + sys);
    }
    closedir(dir);
    return (double)ticks * 1e6 / (double)sysconf(_SC_CLK_TCK);
}

/* Webhooks a second; *each_us: what one took, until its metrics are written. */
static double intake(PGconn *pg, int port, double *each_us)
{
    fresh_tables(pg);
    long first = load->answered;
    double cpu = cpu_us();
    pid_t pid = load_begin(port);
    long before = load->answered;
    int64_t began = clock_mono_us();
    usleep((useconds_t)(options.seconds * 1e6));
    double rate = (double)(load->answered - before) / seconds_since(began);
    load_end(pid);
    until_quiet(pg);
    *each_us = (cpu_us() - cpu) / (double)(load->answered - first);
    return rate;
}

static void writing_rounds(PGconn *pg)
{
    static struct series ours = {.name = "rows/s through metrics.c"},
                         alone = {.name = "rows/s of the statement"},
                         share = {.name = "  ratio (goal: 0.6)"};
    pid_t pid = 0;
    for (int i = 0; i < options.rounds; i++) {
        for (int k = 0; k < 2; k++) {
            fresh_tables(pg);
            pid = load_begin(options.port[1]);
            if ((i + k) % 2)
                ours.of[i] = through_metrics();
            else
                alone.of[i] = bare(pg);
            load_end(pid);
            until_quiet(pg);
        }
    }
    divide(&share, &ours, &alone);
    print_series(&ours, " %7.0f");
    print_series(&alone, " %7.0f");
    print_series(&share, " %7.2f");
}

static void intake_rounds(PGconn *pg)
{
    static struct series with = {.name = "webhooks/s with metrics"},
                         without = {.name = "webhooks/s without"},
                         share = {.name = "  ratio (goal: 0.9)"},
                         kept = {.name = "  metric rows per webhook"},
                         cost[2] = {{.name = "us of processors, without"},
                             {.name = "us of processors, with"}},
                         cost_share = {.name = "  without / with"};
    for (int i = 0; i < options.rounds; i++) {
        for (int k = 0; k < 2; k++) {
            bool on = (i + k) % 2;
            long before = load->answered;
            (on ? &with : &without)->of[i] = intake(pg, options.port[on], &cost[on].of[i]);
            if (on)
                kept.of[i] = (double)rows_written(pg) / (double)(load->answered - before);
        }
    }
    divide(&share, &with, &without);
    print_series(&with, " %7.0f");
    print_series(&without, " %7.0f");
    print_series(&share, " %7.2f");
    print_series(&kept, " %7.2f");
    divide(&cost_share, &cost[0], &cost[1]);
    print_series(&cost[1], " %7.0f");
    print_series(&cost[0], " %7.0f");
    print_series(&cost_share, " %7.2f");
}

static void parse_options(int argc, char **argv)
{
    static const struct option longs[] = {
        {"rounds",           required_argument, NULL, 'r'},
        {"seconds",              required_argument, NULL, 's'},
        {"help",                  no_argument, NULL, 'h'},
        {0}
    };
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        if (c == 'r')
            options.rounds = atoi(optarg);
        else if (c == 's')
            options.seconds = strtod(optarg, NULL);
        else {
            puts("--rounds N   of each measurement, 1 to 50 (7)\n"
                 "--seconds S  of each (2)");
            exit(c == 'h' ? 0 : 2);
        }
    }
    if (options.rounds < 1 || options.rounds > MAX_ROUNDS || !(options.seconds > 0))
        die("--rounds takes 1 to %d, --seconds more than 0", MAX_ROUNDS);
}

static const char *setting(const char *name)
{
    const char *value = getenv(name);
    if (!value)
        die("%s is not set; use `make bench-metrics`", name);
    return value;
}

int main(int argc, char **argv)
{
    parse_options(argc, argv);
    options.url = setting("BENCH_DATABASE_URL");
    options.secret = setting("BENCH_SECRET");
    options.port[0] = atoi(setting("BENCH_PORT_WITHOUT"));
    options.port[1] = atoi(setting("BENCH_PORT_WITH"));
    if (sscanf(setting("BENCH_PARENTS"), "%d %d %d", &options.parents[0], &options.parents[1],
            &options.parents[2]) != 3)
        die("BENCH_PARENTS takes three process ids");
    load = mmap(NULL, sizeof(*load), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    PGconn *pg = PQconnectdb(options.url);
    if (PQstatus(pg) != CONNECTION_OK)
        die("%s", PQerrorMessage(pg));
    /* as metrics.c has them */
    PQclear(PQexec(pg, "SET plan_cache_mode = force_generic_plan; SET synchronous_commit = off"));
    PGresult *res = PQprepare(pg, "bare", stmt_metrics_requests.db.sql, 10, NULL);
    if (PQresultStatus(res) != PGRES_COMMAND_OK)
        die("%s", PQerrorMessage(pg));
    PQclear(res);
    printf("%-34s  median\n", "");
    writing_rounds(pg);
    intake_rounds(pg);
    if (load->others)
        die("%ld answers were not 202", (long)load->others);
    PQfinish(pg);
    return 0;
}
