/* admin: see admin.h. First the questions, then the process that serves them on a port of its own. */
#include "io/admin.h"

#include "base/clock.h"
#include "base/log.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    BACKLOG = 256,
    MAX_CONNECTIONS = 500, /* slow ones must not keep a probe from its answer */
    MAX_HEADER = 8192,
    MAX_BODY = 1024,
    REQUEST_MS = 5000,
    IDLE_MS = 20000,
    HEARTBEAT_MS = 500,
    TURN_NS = 100000, /* the least that the kernel grants */
    LINGER_MS = 250,  /* a signal to the whole group may reach us before the supervisor drains */
};

/* --- health ------------------------------------------------------------------------------ */

static const char *role_of(const struct admin *a)
{
    return a->program == METER_P ? "producer" : "worker";
}

static double seconds_since(int64_t ms)
{
    return (double)(clock_mono_ms() - ms) / 1000;
}

static bool is_live(const struct admin *a, struct buf *why)
{
    int64_t beat = atomic_load(&a->board->beat_ms);
    if (clock_mono_ms() - beat < ADMIN_LIVE_MS)
        return true;
    buf_printf(why, "the supervisor has not come round for %.1f s", seconds_since(beat));
    return false;
}

/* Of the role that does the work; one that starts beside the one it replaces is not waited for. */
static bool counts(const struct admin *a, const struct board_place *p)
{
    return atomic_load(&p->state) != BOARD_FREE && !atomic_load(&p->extra) &&
           strcmp(p->role, role_of(a)) == 0;
}

/* One process that can take events in is enough. */
static bool producer_ready(const struct admin *a, struct buf *why)
{
    int all, ready;
    board_count(a->board, role_of(a), &all, &ready);
    for (int i = 0; i < BOARD_PLACES; i++) {
        const struct board_place *p = &a->board->places[i];
        if (atomic_load(&p->state) == BOARD_READY && strcmp(p->role, role_of(a)) == 0 &&
            meter_read(board_cells(a->board, i), M_CAN_ACCEPT, 0, 0) &&
            clock_mono_ms() - atomic_load(board_beat(a->board, i)) < ADMIN_LIVE_MS)
            return true;
    }
    if (!ready)
        buf_printf(why, "none of %d processes is ready", all);
    else
        buf_puts(why, "no process can keep an event: PostgreSQL is away, and the spool takes none");
    return false;
}

/* The gauge is as old as the process's last sign of life. */
static int64_t lease_age_ms(const struct admin *a, int place)
{
    int64_t told = meter_read(board_cells(a->board, place), M_LEASE_AGE, 0, 0) / 1000;
    return told + clock_mono_ms() - atomic_load(board_beat(a->board, place));
}

static bool workers_ready(const struct admin *a, struct buf *why)
{
    int all = 0;
    for (int i = 0; i < BOARD_PLACES; i++) {
        const struct board_place *p = &a->board->places[i];
        if (!counts(a, p))
            continue;
        all++;
        if (atomic_load(&p->state) != BOARD_READY) {
            buf_printf(why, "%s is not ready: it has no lease yet", p->process);
            return false;
        }
        int64_t age = lease_age_ms(a, i);
        if (age < a->lease_ms)
            continue;
        buf_printf(why, "%s has not renewed its lease for %.1f s", p->process, (double)age / 1000);
        return false;
    }
    if (!all)
        buf_puts(why, "no process was started yet");
    return all > 0;
}

static bool is_ready(const struct admin *a, struct buf *why)
{
    if (atomic_load(&a->board->draining)) {
        buf_puts(why, "draining");
        return false;
    }
    return a->program == METER_P ? producer_ready(a, why) : workers_ready(a, why);
}

static bool has_started(const struct admin *a, struct buf *why)
{
    if (atomic_load(&a->board->was_ready))
        return true;
    if (is_ready(a, why))
        buf_puts(why, "not every process was ready yet");
    return false;
}

/* --- answers ----------------------------------------------------------------------------- */

static void answer_metrics(struct httpd_req *req, const struct admin *a)
{
    struct buf out = {0};
    board_print(a->board, a->program, &out);
    httpd_reply(req, 200, "text/plain; version=0.0.4; charset=utf-8", buf_str(&out), out.len);
    buf_release(&out);
}

static void answer_probe(
    struct httpd_req *req, const struct admin *a, bool (*good)(const struct admin *, struct buf *))
{
    struct buf out = {0};
    bool yes = good(a, &out);
    if (yes)
        buf_puts(&out, "ok");
    buf_putc(&out, '\n');
    httpd_add_header(req, "Cache-Control", "no-store");
    httpd_reply(req, yes ? 200 : 503, "text/plain; charset=utf-8", buf_str(&out), out.len);
    buf_release(&out);
}

static const struct {
    const char *path;
    bool (*good)(const struct admin *a, struct buf *why);
} probes[] = {
    {ADMIN_LIVE,    is_live    },
    {ADMIN_READY,   is_ready   },
    {ADMIN_STARTUP, has_started},
};

void admin_answer(struct httpd_req *req, const struct admin *a)
{
    const char *path = httpd_route_path(req);
    for (size_t i = 0; i < sizeof(probes) / sizeof(*probes); i++) {
        if (strcmp(path, probes[i].path) == 0) {
            answer_probe(req, a, probes[i].good);
            return;
        }
    }
    answer_metrics(req, a);
}

/* --- the process ------------------------------------------------------------------------- */

struct server {
    struct admin admin;
    const struct admin_conf *conf;
    struct prefork_slot *slot;
    struct loop *loop;
    struct httpd *httpd;
    struct timer heartbeat, retry, linger;
    struct sigwatch term;
    int listen_fd;
    bool said;
};

static void answer(struct httpd_req *req, void *ctx)
{
    const struct server *s = ctx;
    admin_answer(req, &s->admin);
}

static const struct httpd_route routes[] = {
    {"GET",   ADMIN_METRICS, answer, 0, 0},
    {"GET", ADMIN_LIVE, answer, 0, 0},
    {"GET",      ADMIN_READY, answer, 0, 0},
    {"GET",   ADMIN_STARTUP, answer, 0, 0},
    {0},
};

static void serve(struct server *s)
{
    const struct httpd_conf conf = {
        .routes = routes,
        .ctx = s,
        .max_header = MAX_HEADER,
        .max_body = MAX_BODY,
        .max_connections = MAX_CONNECTIONS,
        .header_timeout_ms = REQUEST_MS,
        .body_timeout_ms = REQUEST_MS,
        .idle_timeout_ms = IDLE_MS,
        .write_timeout_ms = REQUEST_MS,
    };
    s->httpd = httpd_new(s->loop, s->listen_fd, &conf);
}

static void open_port(void *ctx)
{
    struct server *s = ctx;
    struct hl_err err;
    int port;
    s->listen_fd = httpd_listen(s->conf->address, s->conf->port, BACKLOG, &port, &err);
    if (s->listen_fd >= 0) {
        log_info("admin_listening", LOG_S("address", s->conf->address), LOG_I("port", port));
        serve(s);
        return;
    }
    if (!s->said)
        log_error("admin_port_failed", LOG_S("error", err.msg), LOG_S("address", s->conf->address),
            LOG_I("port", s->conf->port), LOG_S("setting", s->conf->setting),
            LOG_S("remedy", "it is tried again; there are no metrics and probes until then"));
    s->said = true;
    timer_start(&s->retry, ADMIN_RETRY_MS);
}

static void heartbeat(void *ctx)
{
    struct server *s = ctx;
    if (!prefork_beat(s->slot)) /* the supervisor is gone: there is nothing to look at */
        loop_stop(s->loop);
    timer_start(&s->heartbeat, HEARTBEAT_MS);
}

static bool others_work(const struct server *s)
{
    const struct board *b = s->admin.board;
    for (int i = 0; i < BOARD_PLACES; i++) {
        int state = atomic_load(&b->places[i].state);
        if (i != s->slot->place && (state == BOARD_STARTING || state == BOARD_READY))
            return true;
    }
    return false;
}

static void lingered(void *ctx)
{
    struct server *s = ctx;
    if (!atomic_load(&s->admin.board->draining) || !others_work(s))
        loop_stop(s->loop);
}

/* A service manager tells the whole group. Then health is answered until the others have left, and the
 * supervisor says so once more. */
static void on_term(void *ctx)
{
    struct server *s = ctx;
    if (others_work(s))
        timer_start(&s->linger, LINGER_MS);
    else
        loop_stop(s->loop);
}

static void close_all(struct server *s)
{
    timer_stop(&s->heartbeat);
    timer_stop(&s->retry);
    timer_stop(&s->linger);
    sigwatch_stop(&s->term);
    httpd_free(s->httpd);
    if (s->listen_fd >= 0)
        close(s->listen_fd);
    loop_free(s->loop);
}

/* Those at work may keep every core busy: this process needs one rarely, for a moment, and soon. Kernels
 * from 6.12 on let whoever asks for short turns in before the others; to older ones it means nothing. */
static void ask_for_short_turns(void)
{
    const struct { /* as in linux/sched/types.h, which does not go with sched.h */
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } attr = {.size = sizeof(attr),
        .policy = SCHED_OTHER,
        .nice = getpriority(PRIO_PROCESS, 0),
        .runtime = TURN_NS};
    syscall(SYS_sched_setattr, 0, &attr, 0);
}

int admin_run(struct prefork_slot *slot, const struct admin_conf *conf)
{
    struct server s = {.slot = slot, .conf = conf, .listen_fd = -1};
    struct hl_err err;

    s.admin = (struct admin){slot->board, conf->program, conf->lease_ms};
    s.loop = loop_new(&err);
    if (!s.loop) {
        log_error("start_failed", LOG_S("error", err.msg));
        return EXIT_FAILURE;
    }
    ask_for_short_turns();
    sigwatch_start(s.loop, &s.term, SIGTERM, on_term, &s);
    timer_init(s.loop, &s.heartbeat, heartbeat, &s);
    timer_init(s.loop, &s.retry, open_port, &s);
    timer_init(s.loop, &s.linger, lingered, &s);
    heartbeat(&s);
    open_port(&s);
    loop_run(s.loop);
    close_all(&s);
    return EXIT_SUCCESS;
}
