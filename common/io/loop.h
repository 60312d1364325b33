/* loop: the one event loop of a process. Timers, descriptors, signals and deferred calls.
 * Callbacks run from loop_run (loop_turn) only, never inside the call that armed them.
 * Single-threaded, but for offload.h. After a fork the child builds a loop of its own and never
 * touches the parent's. */
#ifndef HL_IO_LOOP_H
#define HL_IO_LOOP_H

#include "base/err.h"
#include "base/list.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>

struct loop;

struct loop *loop_new(struct hl_err *err); /* NULL on failure, err filled */
void loop_free(struct loop *l); /* NULL ok; everything armed on it must be stopped before */
void loop_run(struct loop *l);  /* until loop_stop */
/* One turn: waits until something happens, half a second at most, and runs it. For who looks at a
 * condition between turns. False when the kernel refuses. */
bool loop_turn(struct loop *l);
void loop_stop(struct loop *l); /* from a callback: loop_run returns after the present turn */
struct event_base *loop_base(struct loop *l);
/* Milliseconds of clock_mono_ms() at which the loop last came round; a watchdog reads it. */
int64_t loop_now_ms(const struct loop *l);

typedef void loop_fn(void *ctx);

/* A call at the end of this turn of the loop: for callbacks that must not run inside the call that
 * arms them, and for work that wants to see everything else of this turn first (batches). Armed in
 * a deferred call it runs in the next turn, after descriptors and timers had theirs.
 * The struct is the caller's, embedded, zero-initialised, and must live until run or cancelled. */
struct defer {
    struct list_node node;
    loop_fn *fn;
    void *ctx;
    bool in_run; /* private */
};
void loop_defer(struct loop *l, struct defer *d, loop_fn *fn, void *ctx); /* armed already: no-op */
void loop_defer_cancel(struct loop *l, struct defer *d);                  /* not armed: no-op */

/* One-shot timer, embedded. timer_start on a running timer moves it. */
struct timer {
    struct event ev;
    loop_fn *fn;
    void *ctx;
};
void timer_init(struct loop *l, struct timer *t, loop_fn *fn, void *ctx);
void timer_start(struct timer *t, int64_t ms);
void timer_stop(struct timer *t); /* fine on one that was never initialised (all zeros) */
bool timer_running(const struct timer *t);

/* A descriptor, embedded, level-triggered and persistent; the owner closes the descriptor. */
enum { WATCH_READ = EV_READ, WATCH_WRITE = EV_WRITE };
struct watch {
    struct event ev;
    void (*fn)(int what, void *ctx); /* what: WATCH_READ | WATCH_WRITE */
    void *ctx;
    short what;
};
void watch_start(
    struct loop *l, struct watch *w, int fd, int what, void (*fn)(int, void *), void *ctx);
void watch_set(struct watch *w, int what); /* 0 = pause; the watch stays armed for later */
void watch_stop(struct watch *w);          /* before the descriptor is closed; all zeros ok */

/* A signal, embedded; runs from the loop, free to do anything. */
struct sigwatch {
    struct event ev;
    loop_fn *fn;
    void *ctx;
};
void sigwatch_start(struct loop *l, struct sigwatch *s, int signo, loop_fn *fn, void *ctx);
void sigwatch_stop(struct sigwatch *s);

#endif
