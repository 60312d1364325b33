/* bench_load: see bench_load.h. One loop: a timer that is exact to microseconds sends what is due; an
 * answer frees its connection, by which what is late goes at once. */
#include "worker/ctl/bench_load.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

enum { LOOK_MS = 100, TELL_EVERY = 10 /* looks */ };

struct driver {
    const struct bench_plan *plan;
    struct bench_load *load;
    struct loop *loop;
    struct bench_http *http;
    int clock_fd;
    struct watch clock;
    struct timer look;
    struct sigwatch ends[2];
    int64_t t0;      /* clock_mono_us() when event 0 is due */
    int64_t next;    /* event to be sent */
    int64_t total;   /* plan's, or less once it was broken off */
    int64_t last_us; /* of the last answer, or of the signal that ended it */
    int looks;
    struct { /* of the second that is shown */
        int64_t sent, accepted, faults;
        struct histogram response;
    } shown;
    struct buf body, request;
};

static int64_t due_us(const struct driver *d, int64_t n)
{
    return d->t0 + pace_due_us(&d->plan->pace, n);
}

/* --- sending ----------------------------------------------------------------------------- */

static void arm(struct driver *d)
{
    int64_t us = due_us(d, d->next);
    const struct itimerspec at = {
        .it_value = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000}
    };
    timerfd_settime(d->clock_fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static bool send_next(struct driver *d)
{
    if (bench_http_busy(d->http) == d->plan->connections)
        return false;
    bench_request_put(&d->plan->request, d->next, &d->body, &d->request);
    return bench_http_send(d->http, d->request.data, d->request.len, d->next);
}

/* on_time: a connection was free all the while, so that nobody but we were late. */
static void send_due(struct driver *d, bool on_time)
{
    struct bench_load *load = d->load;
    while (d->next < d->total) {
        int64_t late = clock_mono_us() - due_us(d, d->next);
        if (late < 0) {
            arm(d);
            return;
        }
        if (!send_next(d))
            return; /* the next answer goes on */
        bool measured = d->next++ >= d->plan->first;
        load->sent_all++;
        load->sent += measured;
        d->shown.sent++;
        if (measured && on_time)
            histogram_add(&load->late, late);
    }
}

static void on_clock(int what, void *ctx)
{
    struct driver *d = ctx;
    uint64_t times;
    (void)what;
    if (read(d->clock_fd, &times, sizeof(times)) == (ssize_t)sizeof(times))
        send_due(d, true);
}

/* --- answers ----------------------------------------------------------------------------- */

/* The id is in the first member "job_id" of the answer. */
static void keep_id(struct bench_load *load, int64_t n, const struct bench_answer *answer)
{
    static const char member[] = "\"job_id\":\"";
    char text[UUID_STRLEN + 1];
    const char *at = memmem(answer->body, answer->len, member, strlen(member));
    if (!at || answer->body + answer->len - at < (ptrdiff_t)(strlen(member) + UUID_STRLEN))
        return;
    snprintf(text, sizeof(text), "%.*s", UUID_STRLEN, at + strlen(member));
    if (uuid_parse(text, &load->kept[load->n_kept].id))
        load->kept[load->n_kept++].n = n;
}

static bool is_accepted(const struct driver *d, enum bench_end end, const struct bench_answer *a)
{
    return end == BENCH_ANSWERED &&
           (a->status == 202 || (a->status == 200 && d->plan->request.source == PAYLOAD_CRAWL));
}

static void count(struct driver *d, int64_t n, enum bench_end end,
    const struct bench_answer *answer, int64_t us, int64_t now)
{
    struct bench_load *load = d->load;
    bool accepted = is_accepted(d, end, answer);
    load->ends[end]++;
    load->accepted += accepted;
    load->duplicates += accepted && answer->duplicate;
    if (end == BENCH_ANSWERED && !accepted)
        load->statuses[answer->status]++;
    if (accepted || end == BENCH_TIMEOUT) { /* a quick refusal is not a good answer */
        histogram_add(&load->response, now - due_us(d, n));
        histogram_add(&load->service, us);
    }
    if (accepted && d->plan->keep_ids)
        keep_id(load, n, answer);
}

static void on_done(
    int64_t n, enum bench_end end, const struct bench_answer *answer, int64_t us, void *ctx)
{
    struct driver *d = ctx;
    int64_t now = clock_mono_us();
    bool accepted = is_accepted(d, end, answer);
    d->last_us = now;
    d->load->accepted_all += accepted;
    d->shown.accepted += accepted;
    d->shown.faults += !accepted;
    if (accepted || end == BENCH_TIMEOUT)
        histogram_add(&d->shown.response, now - due_us(d, n));
    if (n >= d->plan->first)
        count(d, n, end, answer, us, now);
    send_due(d, false);
    if (d->next >= d->total && bench_http_busy(d->http) == 0)
        loop_stop(d->loop);
}

/* --- looking after it -------------------------------------------------------------------- */

/* Due, and not sent for want of a free connection. */
static int64_t waiting(const struct driver *d)
{
    int64_t due = pace_count(&d->plan->pace, clock_mono_us() - d->t0);
    return (due < d->total ? due : d->total) - d->next;
}

static void tell(struct driver *d)
{
    fprintf(stderr, "%5.0f s  %8lld sent  %8lld accepted  %6lld not  p99 %.2f ms  %lld waiting\n",
        (double)(clock_mono_us() - d->t0) / 1e6, (long long)d->shown.sent,
        (long long)d->shown.accepted, (long long)d->shown.faults,
        (double)histogram_at(&d->shown.response, 99) / 1e3, (long long)waiting(d));
    memset(&d->shown, 0, sizeof(d->shown));
}

static void on_look(void *ctx)
{
    struct driver *d = ctx;
    timer_start(&d->look, LOOK_MS);
    bench_http_sweep(d->http);
    if (d->plan->progress && ++d->looks % TELL_EVERY == 0)
        tell(d);
    int64_t over = due_us(d, d->total) + d->plan->timeout_ms * 1000;
    if (clock_mono_us() > over && d->next < d->total) {
        d->total = d->next; /* what could not be sent by now is given up */
        if (bench_http_busy(d->http) == 0)
            loop_stop(d->loop);
    }
}

static void on_signal(void *ctx)
{
    struct driver *d = ctx;
    d->load->broken_off = true;
    d->last_us = clock_mono_us();
    d->total = d->next;
    if (bench_http_busy(d->http) == 0)
        loop_stop(d->loop);
}

/* What was due and not sent had waited so long, at least. */
static void count_unsent(struct driver *d)
{
    int64_t now = clock_mono_us(), all = d->plan->total;
    if (d->load->broken_off) {
        int64_t due = pace_count(&d->plan->pace, now - d->t0);
        all = due < all ? due : all;
    }
    for (int64_t n = d->next > d->plan->first ? d->next : d->plan->first; n < all; n++) {
        d->load->unsent++;
        histogram_add(&d->load->response, now - due_us(d, n));
    }
}

/* Of all that was to be measured: as long as it was to take, or longer when answers came late. */
static int64_t span_us(const struct driver *d)
{
    int64_t from = due_us(d, d->plan->first), to = due_us(d, d->plan->total);
    if (d->load->broken_off || d->last_us > to)
        to = d->last_us;
    return to > from ? to - from : 0;
}

/* --- running ----------------------------------------------------------------------------- */

static void drive(struct driver *d)
{
    struct loop *l = d->loop;
    watch_start(l, &d->clock, d->clock_fd, WATCH_READ, on_clock, d);
    timer_init(l, &d->look, on_look, d);
    timer_start(&d->look, LOOK_MS);
    sigwatch_start(l, &d->ends[0], SIGINT, on_signal, d);
    sigwatch_start(l, &d->ends[1], SIGTERM, on_signal, d);

    d->t0 = d->last_us = clock_mono_us() + 1000;
    d->load->start_us = clock_wall_us() + 1000;
    arm(d);
    loop_run(l);

    d->load->span_us = span_us(d);
    count_unsent(d);
    sigwatch_stop(&d->ends[0]);
    sigwatch_stop(&d->ends[1]);
    timer_stop(&d->look);
    watch_stop(&d->clock);
}

static enum hl_rc start(struct driver *d, struct hl_err *err)
{
    const struct bench_plan *p = d->plan;
    d->clock_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    if (d->clock_fd < 0)
        return hl_fail(err, HL_FATAL, "cannot make a timer: %s", strerror(errno));
    if (!(d->loop = loop_new(err)))
        return HL_FATAL;
    d->http = bench_http_new(d->loop, &p->target, p->connections, p->timeout_ms, on_done, d, err);
    return d->http ? HL_OK : err->rc;
}

enum hl_rc bench_load_run(
    struct bench_load *load, const struct bench_plan *plan, struct hl_err *err)
{
    struct driver *d = mem_new(struct driver);
    d->plan = plan;
    d->load = load;
    d->total = plan->total;
    *load = (struct bench_load){0};
    if (plan->keep_ids)
        load->kept = mem_array((size_t)plan->total, sizeof(*load->kept));
    enum hl_rc rc = start(d, err);
    if (rc == HL_OK)
        drive(d);
    bench_http_free(d->http);
    loop_free(d->loop);
    if (d->clock_fd >= 0)
        close(d->clock_fd);
    buf_release(&d->body);
    buf_release(&d->request);
    free(d);
    return rc;
}

void bench_load_release(struct bench_load *load)
{
    free(load->kept);
    load->kept = NULL;
}
