/* viewers: people and machines that only look, or act through the API, amid the faults. Each is a process:
 * one holds live streams, one scrapes metrics and probes, one reads whatever the API has, one signs in and
 * does what the dashboard can do. None of it may change anybody's books, end or hang a process, or be
 * answered with what nobody foresaw. Each writes a file: what was wrong, and what it did how often. */
#include "tests/chaos/chaos.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define AUTH "Authorization: Bearer " CHAOS_API_SECRET "\r\n"

enum {
    MAX_DEEDS = 48,
    MAX_SERIES = 4096,
    NAME_LEN = 256,
    BODY_LEN = 256,
    SHOWN = 3,
    HANG_S = 25,      /* no fault stops a process for so long */
    SETTLE_MS = 2000, /* by then a supervisor's heirs are gone, who would answer in its name */
    ECHO_MS = 6000,   /* what a hung store was told has happened by then, or never will */
    LEAVE_MS = 90000,
    REDRIVE_MS = 20000,
    TURN_MS = 5000
};

/* What the driver and the viewers tell each other, in shared memory. */
struct notice {
    _Atomic int turn; /* enum turn_of */
    struct {
        _Atomic int pid; /* 0 = does not run */
        _Atomic int64_t since_ms;
    } units[UNITS];
};

struct viewer {
    struct stack *s;
    struct notice *notice;
    struct dice dice;
    int fd; /* its file */
    char cookie[128], csrf[128];
    int ndeeds;
    struct deed {
        const char *what;
        int good, refused, silent;
    } deeds[MAX_DEEDS];
};

static volatile sig_atomic_t stopped;

static void on_stop(int signo)
{
    (void)signo;
    stopped = 1;
}

/* --- turns ------------------------------------------------------------------------------- */

bool stack_take_turn(struct stack *s, enum turn_of who)
{
    int nobody = TURN_NOBODY;
    return !s->notice || atomic_compare_exchange_strong(&s->notice->turn, &nobody, (int)who);
}

void stack_end_turn(struct stack *s)
{
    if (s->notice)
        atomic_store(&s->notice->turn, TURN_NOBODY);
}

/* --- findings ---------------------------------------------------------------------------- */

static void wrong(struct viewer *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* One write: a line is there as a whole or not at all. */
static void wrong(struct viewer *v, const char *fmt, ...)
{
    va_list ap;
    if (stopped) /* what was asked last was broken off */
        return;
    va_start(ap, fmt);
    struct buf text = {0};
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] == '\n' || text.data[i] == '\r')
            text.data[i] = ' ';
    dprintf(v->fd, "wrong\t%.500s\n", buf_str(&text));
    buf_release(&text);
}

static void count(struct viewer *v, const char *what, int status)
{
    int i = 0;
    while (i < v->ndeeds && strcmp(v->deeds[i].what, what) != 0)
        i++;
    if (i == MAX_DEEDS)
        return;
    if (i == v->ndeeds)
        v->deeds[v->ndeeds++].what = what;
    struct deed *d = &v->deeds[i];
    *(status == 0 ? &d->silent : status < 300 ? &d->good : &d->refused) += 1;
}

static void rest(struct viewer *v, int low_ms, int high_ms)
{
    if (!stopped)
        poll(NULL, 0, dice_between(&v->dice, low_ms, high_ms));
}

/* --- asking ------------------------------------------------------------------------------ */

static bool foreseen(int status)
{
    static const int good[] = {0, 200, 201, 202, 204, 404, 409, 503};
    for (size_t i = 0; i < COUNT(good); i++)
        if (status == good[i])
            return true;
    return false;
}

/* what: for the count; a text that lives as long as the program. */
static struct test_reply ask_host(struct viewer *v, int host, const char *what, const char *method,
    const char *path, const char *headers, const char *body)
{
    int port = stack_producer(v->s, host)->port;
    struct test_reply r = test_http(port, method, path, headers, body, body ? strlen(body) : 0);
    count(v, what, r.status);
    if (!foreseen(r.status))
        wrong(v, "%s %s is answered %d %s", method, path, r.status, r.body);
    if (r.status == 0 && r.seconds > HANG_S)
        wrong(v, "%s %s is not answered in %.0f s", method, path, r.seconds);
    return r;
}

static struct test_reply ask(struct viewer *v, const char *what, const char *method,
    const char *path, const char *headers, const char *body)
{
    return ask_host(v, dice_upto(&v->dice, HOSTS), what, method, path, headers, body);
}

/* --- one reads --------------------------------------------------------------------------- */

static void look_around(struct viewer *v)
{
    static const char *const paths[] = {"/api/overview", "/api/events?status=failed",
        "/api/events?search=hot", "/api/crawls", "/api/queues", "/api/workers", "/api/dead",
        "/api/dead/events?limit=20", "/api/redrives", "/api/search?q=page", "/api/rejects",
        "/api/series?minutes=5", "/api/sources?hours=1", "/api/upstreams?hours=1", "/api/system",
        "/dashboard", "/health"};
    const char *path = paths[dice_upto(&v->dice, COUNT(paths))];
    ask(v, path, "GET", path, AUTH, NULL);
    rest(v, 50, 300);
}

/* --- one watches ------------------------------------------------------------------------- */

static int dial(int port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Until then, or the end of the stream; reads: takes what comes. */
static void hold(int fd, int64_t until_ms, bool reads, struct buf *in)
{
    for (int64_t now; !stopped && (now = harness_now_ms()) < until_ms;) {
        struct pollfd p = {.fd = fd, .events = reads ? POLLIN : 0};
        if (poll(&p, 1, (int)(until_ms - now)) <= 0)
            continue;
        ssize_t n = recv(fd, buf_reserve(in, 65536), 65535, MSG_DONTWAIT);
        if (n <= 0)
            return;
        in->len += (size_t)n;
        in->data[in->len] = '\0';
    }
}

static void read_stream(struct viewer *v, const struct buf *in)
{
    const char *text = buf_str(in);
    int status = strncmp(text, "HTTP/1.1 ", 9) == 0 ? atoi(text + 9) : 0;
    count(v, "/api/live", status);
    if (!foreseen(status))
        wrong(v, "/api/live is answered %.300s", text);
    if (status == 200 && strstr(text, "\nevent: ") && !strstr(text, "\nevent: answer\n") &&
        !strstr(text, "\nevent: trouble\n"))
        wrong(v, "a live stream says %.300s", strstr(text, "\nevent: "));
}

/* Some never read, as a browser on a laptop that sleeps. */
static void watch_live(struct viewer *v)
{
    static const char *const targets[] = {"of=%2Fapi%2Foverview", "of=%2Fapi%2Fevents",
        "of=%2Fapi%2Fworkers&of=%2Fapi%2Fqueues", "of=%2Fapi%2Fdead&of=%2Fapi%2Fredrives"};
    enum { AT_ONCE = 3 };
    struct {
        int fd;
        struct buf in;
    } streams[AT_ONCE] = {0};
    bool reads = dice_upto(&v->dice, 4) != 0;
    for (int i = 0; i < AT_ONCE; i++) {
        streams[i].fd = dial(stack_producer(v->s, dice_upto(&v->dice, HOSTS))->port);
        if (streams[i].fd >= 0)
            dprintf(streams[i].fd, "GET /api/live?%s HTTP/1.1\r\nHost: chaos\r\n" AUTH "\r\n",
                targets[dice_upto(&v->dice, COUNT(targets))]);
    }
    int64_t end = harness_now_ms() + dice_between(&v->dice, 300, 6000);
    for (int i = 0; i < AT_ONCE; i++) {
        if (streams[i].fd < 0) {
            count(v, "/api/live", 0);
            continue;
        }
        hold(streams[i].fd, i == AT_ONCE - 1 ? end : harness_now_ms() + 200, reads, &streams[i].in);
        hold(streams[i].fd, harness_now_ms() + 50, true, &streams[i].in);
        read_stream(v, &streams[i].in);
        close(streams[i].fd);
        buf_release(&streams[i].in);
    }
    rest(v, 20, 200);
}

/* --- one measures ------------------------------------------------------------------------ */

/* The counters of a page, as they stood when it was last looked at. */
struct page {
    int pid; /* the supervisor that they are of */
    int n;
    struct series {
        char name[NAME_LEN];
        double value;
    } series[MAX_SERIES];
};

/* Pages of one program list the same series in the same order, but for those that are new. */
static struct series *series_of(struct page *p, const char *name, int *at)
{
    for (int i = 0; i < p->n; i++) {
        int k = (*at + i) % p->n;
        if (strcmp(p->series[k].name, name) != 0)
            continue;
        *at = k + 1;
        return &p->series[k];
    }
    if (p->n == MAX_SERIES)
        return NULL;
    snprintf(p->series[p->n].name, NAME_LEN, "%s", name);
    p->series[p->n].value = 0;
    return &p->series[p->n++];
}

static void read_metrics(struct viewer *v, const char *program, struct page *p, const char *body)
{
    char *text = mem_strdup(body), *rest = NULL, name[NAME_LEN];
    bool counts = false;
    int at = 0;
    for (char *l = strtok_r(text, "\n", &rest); l; l = strtok_r(NULL, "\n", &rest)) {
        if (strncmp(l, "# TYPE ", 7) == 0)
            counts = strstr(l, " counter") || strstr(l, " histogram");
        char *value = strrchr(l, ' ');
        if (*l == '#' || !counts)
            continue;
        if (!value) {
            wrong(v, "%s: a line of /metrics: %s", program, l);
            continue;
        }
        snprintf(name, sizeof(name), "%.*s", (int)(value - l), l);
        struct series *s = series_of(p, name, &at);
        if (s && atof(value) < s->value)
            wrong(v, "%s: %s falls from %.17g to %s", program, name, s->value, value + 1);
        if (s)
            s->value = atof(value);
    }
    free(text);
}

static int steady_pid(struct viewer *v, int unit)
{
    int pid = atomic_load(&v->notice->units[unit].pid);
    int64_t since = atomic_load(&v->notice->units[unit].since_ms);
    return pid && harness_now_ms() - since > SETTLE_MS ? pid : 0;
}

static void scrape(struct viewer *v, int unit, const char *path, struct page *page)
{
    const struct unit *u = &v->s->units[unit];
    const char *program = u->producer ? "producer" : "worker";
    int before = steady_pid(v, unit);
    struct test_reply r = test_http(u->admin_port, "GET", path, NULL, NULL, 0);
    count(v, path, r.status);
    if (!before || steady_pid(v, unit) != before)
        return; /* who answered is not known */
    if (r.status == 0 && r.seconds > HANG_S)
        wrong(v, "%s: %s is not answered in %.0f s", program, path, r.seconds);
    if (r.status != 0 && r.status != 200 && (r.status != 503 || strcmp(path, "/readyz") != 0))
        wrong(v, "%s: %s is answered %d %s", program, path, r.status, r.body);
    if (!page || r.status != 200)
        return;
    if (page->pid != before) {
        page->pid = before;
        page->n = 0;
    }
    read_metrics(v, program, page, r.body);
}

static void measure(struct viewer *v)
{
    static struct page pages[UNITS];
    for (int i = 0; i < UNITS && !stopped; i++) {
        if (!v->s->units[i].admin_port) {
            ask_host(v, i, "/livez of WEBHOOK_PORT", "GET", "/livez", NULL, NULL);
            ask_host(v, i, "/metrics of WEBHOOK_PORT", "GET", "/metrics", AUTH, NULL);
            continue;
        }
        scrape(v, i, "/metrics", &pages[i]);
        scrape(v, i, "/livez", NULL);
        scrape(v, i, "/readyz", NULL);
    }
    rest(v, 200, 800);
}

/* --- one acts ---------------------------------------------------------------------------- */

static void sign_in(struct viewer *v)
{
    struct test_reply r = ask(v, "sign in", "POST", "/dashboard/session",
        "Content-Type: application/json\r\n", "{\"secret\":\"" CHAOS_API_SECRET "\"}");
    const char *cookie = r.status == 200 ? test_reply_header(&r, "Set-Cookie") : NULL;
    if (!cookie)
        return;
    snprintf(v->cookie, sizeof(v->cookie), "%.*s", (int)strcspn(cookie, ";"), cookie);
    snprintf(v->csrf, sizeof(v->csrf), "%s", test_reply_member(&r, "csrf"));
}

/* Under the cookie, which every producer of every host takes. */
static struct test_reply act(
    struct viewer *v, const char *what, const char *method, const char *path, const char *body)
{
    char *headers = mem_printf("Cookie: %s\r\nX-CSRF-Token: %s\r\n%s", v->cookie, v->csrf,
        body ? "Content-Type: application/json\r\n" : "");
    struct test_reply r = ask(v, what, method, path, headers, body);
    free(headers);
    return r;
}

/* False: others still had it when he lost patience. */
static bool take_turn(struct viewer *v)
{
    int64_t end = harness_now_ms() + TURN_MS;
    bool taken = false;
    while (!stopped && !(taken = stack_take_turn(v->s, TURN_VIEWER)) && harness_now_ms() < end)
        rest(v, 20, 50);
    return taken;
}

/* Until it is answered with that, also when the viewer is to leave: others wait for it. */
static void insist(struct viewer *v, const char *what, const char *path, int status)
{
    int64_t end = harness_now_ms() + LEAVE_MS / 2;
    bool at_once = true;
    while (act(v, what, "POST", path, "{}").status != status && harness_now_ms() < end) {
        at_once = false;
        poll(NULL, 0, 300);
    }
    if (!at_once && !stopped)
        poll(NULL, 0, ECHO_MS);
}

static void pause_queue(struct viewer *v)
{
    const char *name = dice_upto(&v->dice, 2) ? "crawl" : "change";
    if (!take_turn(v))
        return;
    if (act(v, "pause", "POST", harness_text("/api/queues/%s/pause", name),
            "{\"reason\":\"chaos\"}")
            .status != 200)
        poll(NULL, 0, ECHO_MS);
    rest(v, 200, 2000);
    insist(v, "resume", harness_text("/api/queues/%s/resume", name), 200);
    stack_end_turn(v->s);
}

static bool redrive_ends(struct viewer *v, const char *path)
{
    for (int64_t end = harness_now_ms() + REDRIVE_MS; !stopped && harness_now_ms() < end;) {
        struct test_reply r = act(v, "a plan", "GET", path, NULL);
        const char *state = r.status == 200 ? test_reply_member(&r, "state") : "";
        if (strcmp(state, "done") == 0 || strcmp(state, "stopped") == 0)
            return true;
        rest(v, 100, 400);
    }
    return false;
}

/* A plan whose producer was killed says that it is being applied until it is stopped. Only then may others
 * prove that all is done. */
static void stop_plan(struct viewer *v, const char *path)
{
    char *stop = mem_printf("%s/stop", path);
    for (int64_t end = harness_now_ms() + LEAVE_MS / 2; harness_now_ms() < end;) {
        int status = act(v, "redrive stop", "POST", stop, "{}").status;
        if (status == 200 || status == 409 || status == 404)
            break;
        poll(NULL, 0, 300);
    }
    free(stop);
    if (!stopped)
        poll(NULL, 0, ECHO_MS); /* what was taken up by then is in Redis, or with the reconciler */
}

static void apply(struct viewer *v, const char *token)
{
    char *path = mem_printf("/api/redrives/%s", token), *how = mem_printf("%s/apply", path);
    char body[BODY_LEN];
    snprintf(body, sizeof(body), "{\"per_second\":%d}", dice_between(&v->dice, 5, 60));
    int status = act(v, "redrive apply", "POST", how, body).status;
    if (dice_upto(&v->dice, 3) == 0) /* somebody else at the same button */
        act(v, "redrive apply", "POST", how, body);
    if (status == 0 || dice_upto(&v->dice, 4) == 0 || !redrive_ends(v, path))
        stop_plan(v, path);
    if (dice_upto(&v->dice, 2)) { /* what was stopped goes on; what is done is refused */
        act(v, "redrive apply", "POST", how, body);
        if (!redrive_ends(v, path))
            stop_plan(v, path);
    }
    free(path);
    free(how);
}

static void redrive(struct viewer *v)
{
    static const char *const filters[] = {"{}", "{\"filter\":{\"error\":\"503\"}}",
        "{\"filter\":{\"url\":\"http://page.test/flaky/*\"},\"reason\":\"chaos\"}"};
    if (!take_turn(v))
        return;
    struct test_reply r = act(
        v, "redrive plan", "POST", "/api/redrives", filters[dice_upto(&v->dice, COUNT(filters))]);
    const char *token = r.status == 201 ? test_reply_member(&r, "token") : "";
    if (*token)
        apply(v, token);
    stack_end_turn(v->s);
}

static void order_worker(struct viewer *v)
{
    static const char *const orders[] = {
        "{\"order\":\"quiet\"}", "{\"order\":\"kick\"}", "{\"order\":null}"};
    struct test_reply r = act(v, "/api/workers", "GET", "/api/workers", NULL);
    const char *at = r.body, *id = NULL;
    for (int n = dice_between(&v->dice, 1, 4); n && (at = strstr(at, "\"id\":\"")); n--)
        id = at += strlen("\"id\":\"");
    if (r.status != 200 || !id)
        return;
    const char *path = harness_text("/api/workers/%.*s/orders", (int)strcspn(id, "\""), id);
    int k = dice_upto(&v->dice, COUNT(orders));
    act(v, "workers order", "POST", path, orders[k]);
    if (k != 0)
        return;
    rest(v, 200, 1500);
    act(v, "workers order", "POST", path, orders[2]);
}

/* Never above info: who looks after the programs reads there which processes they have. */
static void set_log_level(struct viewer *v)
{
    static const char *const levels[] = {"{\"level\":\"debug\",\"minutes\":1}",
        "{\"level\":\"info\",\"minutes\":1}", "{\"level\":null}"};
    act(v, "log level", "POST", "/api/system/log-level", levels[dice_upto(&v->dice, 3)]);
}

static void use_dashboard(struct viewer *v)
{
    static void (*const deeds[])(struct viewer *) = {
        sign_in, pause_queue, redrive, redrive, order_worker, set_log_level};
    if (!*v->csrf)
        sign_in(v);
    else
        deeds[dice_upto(&v->dice, COUNT(deeds))](v);
    rest(v, 100, 800);
}

/* --- the processes ----------------------------------------------------------------------- */

static void (*const lives[])(struct viewer *) = {look_around, watch_live, measure, use_dashboard};
enum { VIEWERS = COUNT(lives) };

struct viewers {
    struct stack *s;
    pid_t pids[VIEWERS];
    const char *files[VIEWERS];
};

_Noreturn static void run(struct viewer *v, void (*live)(struct viewer *))
{
    const struct sigaction on = {.sa_handler = on_stop}; /* no SA_RESTART: it ends a wait */
    sigaction(SIGTERM, &on, NULL);
    while (!stopped)
        live(v);
    for (int i = 0; i < v->ndeeds; i++)
        dprintf(v->fd, "did\t%s\t%d\t%d\t%d\n", v->deeds[i].what, v->deeds[i].good,
            v->deeds[i].refused, v->deeds[i].silent);
    _exit(0);
}

struct viewers *viewers_new(struct stack *s, uint64_t seed)
{
    struct viewers *all = mem_new(struct viewers);
    all->s = s;
    s->notice =
        mmap(NULL, sizeof(*s->notice), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (s->notice == MAP_FAILED)
        harness_fail("no shared memory for the viewers");
    for (int i = 0; i < VIEWERS; i++) {
        struct viewer v = {.s = s, .notice = s->notice};
        v.dice = dice_of(seed, 200 + (uint64_t)i);
        all->files[i] = harness_text("%s/viewer-%d", s->dir, i);
        v.fd = open(all->files[i], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        pid_t parent = getpid();
        all->pids[i] = fork();
        if (all->pids[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != parent)
                _exit(1);
            run(&v, lives[i]);
        }
        if (all->pids[i] < 0 || v.fd < 0)
            harness_fail("a viewer does not start");
        close(v.fd);
    }
    return all;
}

void viewers_step(struct viewers *all)
{
    for (int i = 0; i < UNITS; i++) {
        struct unit *u = &all->s->units[i];
        int pid = u->proc && test_proc_running(u->proc) ? (int)test_proc_pid(u->proc) : 0;
        if (pid == atomic_load(&all->s->notice->units[i].pid))
            continue;
        atomic_store(&all->s->notice->units[i].since_ms, harness_now_ms());
        atomic_store(&all->s->notice->units[i].pid, pid);
    }
}

static void wait_for_one(struct viewers *all, int i)
{
    int64_t end = harness_now_ms() + LEAVE_MS;
    int status;
    pid_t got;
    while ((got = waitpid(all->pids[i], &status, WNOHANG)) == 0) {
        if (harness_now_ms() > end)
            harness_fail("viewer %d does not come to an end", i);
        stack_tend(all->s);
        viewers_step(all);
        harness_pause(20);
    }
    if (got != all->pids[i] || status != 0)
        harness_fail("viewer %d ended with status %d", i, status);
}

static void read_file(const char *path, struct verdict *v)
{
    char *text = harness_slurp(path, 64 << 20), *rest = NULL;
    int found = 0;
    for (char *l = strtok_r(text, "\n", &rest); l; l = strtok_r(NULL, "\n", &rest)) {
        char what[64];
        int good, refused, silent;
        if (strncmp(l, "wrong\t", 6) == 0 && found++ < SHOWN)
            verdict_add(v, "a viewer: %s", l + 6);
        else if (sscanf(l, "did\t%63[^\t]\t%d\t%d\t%d", what, &good, &refused, &silent) == 4)
            printf("  %-28s %5d %5d %5d\n", what, good, refused, silent);
    }
    if (found > SHOWN)
        verdict_add(v, "viewers: %d more of %s", found - SHOWN, path);
    free(text);
}

void viewers_end(struct viewers *all, struct verdict *v)
{
    for (int i = 0; i < VIEWERS; i++)
        kill(all->pids[i], SIGTERM);
    for (int i = 0; i < VIEWERS; i++)
        wait_for_one(all, i);
    printf("%-30s %5s %5s %5s\n", "Viewers", "good", "not", "none");
    for (int i = 0; i < VIEWERS; i++)
        read_file(all->files[i], v);
    munmap(all->s->notice, sizeof(*all->s->notice));
    all->s->notice = NULL;
    free(all);
}

/* --- the books --------------------------------------------------------------------------- */

/* clang-format off */
const struct check viewer_checks[] = {
    {"an event put back by a producer more or less often than its plans say",
     "WITH plans AS (SELECT c.event_id, count(*) AS n FROM webhook.redrives r"
        "   JOIN webhook.redrive_items i USING (token) JOIN webhook.change_events c ON c.id = i.row_id"
        "   WHERE r.planned_by LIKE 'dashboard@%' AND i.outcome = 'queued' GROUP BY 1),"
        " done AS (SELECT event_id, count(*) AS n FROM chaos.history WHERE what = 'event'"
        "   AND writer LIKE 'hookline-producer%' AND old_status LIKE 'failed%' AND status = 'queued'"
        "   GROUP BY 1)"
        " SELECT event_id || ': ' || coalesce(d.n, 0) || ' times, planned ' || coalesce(p.n, 0)"
        " FROM plans p FULL JOIN done d USING (event_id) WHERE p.n IS DISTINCT FROM d.n",
     IS_DOUBLED, false},
    {NULL, NULL, JUST_A_VIOLATION, false},
};
/* clang-format on */
