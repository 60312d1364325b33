/* loop: see loop.h. A thin layer over libevent's core: it owns the promise that nothing runs inside
 * the call that armed it. */
#include "io/loop.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdlib.h>

struct loop {
    struct event_base *base;
    struct list deferred; /* waiting for the end of a turn */
    struct list running;  /* being run now; cancel must find them too */
    struct event *tick;   /* refreshes now_ms even when idle */
    int64_t now_ms;
    bool stopping;
};

/* What these calls defer waits for the next turn, so that descriptors and timers get theirs. */
static void run_deferred(struct loop *l)
{
    for (struct list_node *n; (n = list_pop(&l->deferred));) {
        LIST_OF(n, struct defer, node)->in_run = true;
        list_push(&l->running, n);
    }
    for (struct list_node *n; (n = list_pop(&l->running));) {
        struct defer *d = LIST_OF(n, struct defer, node);
        d->in_run = false;
        d->fn(d->ctx);
    }
}

static void tick(evutil_socket_t fd, short what, void *arg)
{
    struct loop *l = arg;
    (void)fd;
    (void)what;
    l->now_ms = clock_mono_ms();
}

struct loop *loop_new(struct hl_err *err)
{
    struct loop *l = mem_new(struct loop);
    const struct timeval period = {.tv_usec = 500000};

    list_init(&l->deferred);
    list_init(&l->running);
    l->now_ms = clock_mono_ms();
    l->base = event_base_new();
    if (!l->base)
        goto fail;
    l->tick = event_new(l->base, -1, EV_PERSIST, tick, l);
    if (!l->tick || event_add(l->tick, &period) < 0)
        goto fail;
    return l;
fail:
    hl_fail(err, HL_FATAL,
        "the event loop cannot be set up (libevent, epoll); check the limit on "
        "open files");
    loop_free(l);
    return NULL;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    if (l->tick)
        event_free(l->tick);
    if (l->base)
        event_base_free(l->base);
    free(l);
}

bool loop_turn(struct loop *l)
{
    int wait = l->deferred.len ? EVLOOP_ONCE | EVLOOP_NONBLOCK : EVLOOP_ONCE;
    l->now_ms = clock_mono_ms();
    if (event_base_loop(l->base, wait) < 0)
        return false;
    run_deferred(l);
    return true;
}

void loop_run(struct loop *l)
{
    l->stopping = false;
    while (!l->stopping && loop_turn(l))
        ;
}

void loop_stop(struct loop *l)
{
    l->stopping = true;
}

struct event_base *loop_base(struct loop *l)
{
    return l->base;
}

int64_t loop_now_ms(const struct loop *l)
{
    return l->now_ms;
}

void loop_defer(struct loop *l, struct defer *d, loop_fn *fn, void *ctx)
{
    if (list_linked(&d->node))
        return;
    d->fn = fn;
    d->ctx = ctx;
    d->in_run = false;
    list_push(&l->deferred, &d->node);
}

void loop_defer_cancel(struct loop *l, struct defer *d)
{
    if (!list_linked(&d->node))
        return;
    list_remove(d->in_run ? &l->running : &l->deferred, &d->node);
    d->in_run = false;
}

static void timer_fired(evutil_socket_t fd, short what, void *arg)
{
    struct timer *t = arg;
    (void)fd;
    (void)what;
    t->fn(t->ctx);
}

void timer_init(struct loop *l, struct timer *t, loop_fn *fn, void *ctx)
{
    t->fn = fn;
    t->ctx = ctx;
    event_assign(&t->ev, l->base, -1, 0, timer_fired, t);
}

void timer_start(struct timer *t, int64_t ms)
{
    if (ms < 0)
        ms = 0;
    const struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    event_add(&t->ev, &tv);
}

void timer_stop(struct timer *t)
{
    if (t->fn)
        event_del(&t->ev);
}

bool timer_running(const struct timer *t)
{
    return t->fn && event_pending(&t->ev, EV_TIMEOUT, NULL);
}

static void watch_fired(evutil_socket_t fd, short what, void *arg)
{
    struct watch *w = arg;
    (void)fd;
    w->fn(what & (EV_READ | EV_WRITE), w->ctx);
}

void watch_start(
    struct loop *l, struct watch *w, int fd, int what, void (*fn)(int, void *), void *ctx)
{
    w->fn = fn;
    w->ctx = ctx;
    w->what = 0;
    event_assign(&w->ev, l->base, fd, EV_PERSIST, watch_fired, w);
    watch_set(w, what);
}

void watch_set(struct watch *w, int what)
{
    if (w->what == what)
        return;
    struct event_base *base = event_get_base(&w->ev);
    int fd = event_get_fd(&w->ev);
    if (w->what)
        event_del(&w->ev);
    w->what = (short)what;
    if (!what)
        return;
    event_assign(&w->ev, base, fd, (short)(what | EV_PERSIST), watch_fired, w);
    event_add(&w->ev, NULL);
}

void watch_stop(struct watch *w)
{
    if (w->fn && w->what)
        event_del(&w->ev);
    w->what = 0;
}

static void sig_fired(evutil_socket_t signo, short what, void *arg)
{
    struct sigwatch *s = arg;
    (void)signo;
    (void)what;
    s->fn(s->ctx);
}

void sigwatch_start(struct loop *l, struct sigwatch *s, int signo, loop_fn *fn, void *ctx)
{
    s->fn = fn;
    s->ctx = ctx;
    event_assign(&s->ev, l->base, signo, EV_SIGNAL | EV_PERSIST, sig_fired, s);
    event_add(&s->ev, NULL);
}

void sigwatch_stop(struct sigwatch *s)
{
    if (s->fn)
        event_del(&s->ev);
    s->fn = NULL;
}
