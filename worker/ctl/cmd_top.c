/* hooklinectl top: the fleet on the whole screen, and the keys to act on it. Owns the command, what
 * keys do, and the orders given by them. */
#include "worker/ctl/commands.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/pgarray.h"
#include "base/text.h"
#include "domain/store_operator.h"
#include "domain/store_orders.h"
#include "worker/ctl/top_keys.h"
#include "worker/ctl/top_view.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

enum { OPT_INTERVAL = 1, OPT_ONCE };
enum { DEFAULT_INTERVAL_MS = 2000, MIN_INTERVAL_MS = 200, MAX_INTERVAL_MS = 3600000 };
enum { ESCAPE_MS = 100, PAGE = 10, MAX_TYPED = 200 };

/* clang-format off */
static const struct ctl_option options[] = {
    {OPT_INTERVAL, "interval", "DURATION", "look again so often (default 2s)"},
    {OPT_ONCE, "once", NULL, "print one picture and end; also where no terminal is"},
    {CTL_REASON, "reason", "TEXT", "why, for webhook.operator_log"},
    {0},
};
/* clang-format on */

static ctl_run_fn run;

const struct ctl_command cmd_top = {
    .name = "top",
    .summary = "watch queues, workers and events on the whole screen, and act on them",
    .about =
        "Shows queues (ready, pending with a worker, for later, dead, age of the oldest, what\n"
        "comes in and goes out a second, retries included), upstream hosts in trouble, workers\n"
        "and the newest events, and looks again every 2 seconds. The arrow keys or j and k\n"
        "select; p pauses or resumes the selected queue, w makes the selected worker quiet or\n"
        "takes that back (both ask first, and are kept in webhook.operator_log), Enter opens an\n"
        "event, / filters them, ? shows all keys, q ends. A store that is away is shown as it\n"
        "was, and since when.\n",
    .examples = "hooklinectl top\n"
                "hooklinectl top --interval 500ms\n"
                "hooklinectl top --once | head -5\n",
    .options = options,
    .run = run,
};

/* An order that was confirmed: written down, given, written down again. */
struct act {
    bool running;
    bool is_pause; /* of a queue; else quiet, of a worker */
    bool on;
    char *target;
    char *who;
    int64_t log_id;
};

struct top {
    struct session session;
    struct top_look look;
    struct top_view view;
    struct top_keys keys;
    struct watch input;
    struct timer refresh, escape;
    struct sigwatch ends[3], resized, suspended, continued;
    struct act act;
    int64_t interval_ms;
    const char *reason;
    bool colour, ended;
    bool pasting; /* the keys that come are none */
    bool gone;    /* the terminal */
};

/* --- the picture ------------------------------------------------------------------------- */

static void end(struct top *t)
{
    t->ended = true;
    loop_stop(t->session.loop);
}

static void draw(struct top *t)
{
    struct canvas c = {0};
    int width, height;
    screen_size(&width, &height);
    canvas_begin(&c, width, height, t->colour);
    view_draw(&t->view, &t->look, &c);
    if (!screen_show(&c)) {
        t->gone = true;
        end(t);
    }
    canvas_release(&c);
}

static void looked(void *ctx)
{
    struct top *t = ctx;
    view_follow(&t->view, &t->look);
    if (!t->ended)
        draw(t);
}

/* Draws, when the terminal is ours: after Ctrl-Z and bg it is not. */
static void come_back(struct top *t)
{
    if (!screen_resume())
        return;
    watch_set(&t->input, WATCH_READ);
    draw(t);
}

static void look_due(void *ctx)
{
    struct top *t = ctx;
    if (!screen_is_open())
        come_back(t);
    look_again(&t->look);
    draw(t); /* the clock goes on also when nobody answers */
    timer_start(&t->refresh, t->interval_ms);
}

static void notice(struct top *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void notice(struct top *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(t->view.notice, sizeof(t->view.notice), fmt, ap);
    va_end(ap);
}

/* --- orders ------------------------------------------------------------------------------ */

static void act_over(struct top *t)
{
    free(t->act.target);
    free(t->act.who);
    t->act = (struct act){0};
    look_now(&t->look);
    draw(t);
}

static void act_ended(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct top *t = ctx;
    (void)rows;
    if (t->look.closing)
        return;
    if (rc != HL_OK)
        notice(t, "Done, but the operator log does not know how it ended: %s", err->msg);
    act_over(t);
}

static const char *act_word(const struct act *a)
{
    return a->is_pause ? a->on ? "paused" : "resumed" : a->on ? "told to be quiet" : "told to work";
}

static void act_done(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct top *t = ctx;
    int changed = rc == HL_OK ? PQntuples(rows) : 0;
    if (t->look.closing)
        return;
    if (rc != HL_OK)
        notice(t, "%s: %s", t->act.target, err->msg);
    else if (changed)
        notice(t, "%s was %s.", t->act.target, act_word(&t->act));
    else
        notice(t, "%s was not changed: somebody else was faster.", t->act.target);
    store_operator_end(
        t->session.store, t->act.log_id, changed, rc == HL_OK ? "done" : err->msg, act_ended, t);
    draw(t);
}

static void act_begun(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct top *t = ctx;
    struct act *a = &t->act;
    struct buf target = {0};
    if (t->look.closing)
        return;
    if (rc != HL_OK) {
        notice(t, "Nothing was done: %s", err->msg);
        act_over(t);
        return;
    }
    a->log_id = db_int(rows, 0, 0);
    pgarray_begin(&target);
    pgarray_text(&target, a->target);
    if (a->is_pause)
        store_pause(t->session.store, pgarray_end(&target), a->on, a->who, act_done, t);
    else
        store_order(t->session.store, pgarray_end(&target), a->on ? "quiet" : NULL, act_done, t);
    buf_release(&target);
}

static const char *act_command(const struct act *a)
{
    return a->is_pause ? a->on ? "top pause" : "top resume" : a->on ? "top quiet" : "top unquiet";
}

/* What was asked was answered with yes. */
static void act_begin(struct top *t)
{
    struct act *a = &t->act;
    struct buf detail = {0};
    a->running = true;
    a->who = operator_name();
    buf_putc(&detail, '{');
    json_put_text(&detail, a->is_pause ? "queue" : "worker", a->target);
    buf_putc(&detail, '}');
    const struct operator_act act = {.operator= a->who,
        .command = act_command(a),
        .reason = t->reason,
        .detail = buf_str(&detail)};
    store_operator_begin(t->session.store, &act, act_begun, t);
    buf_release(&detail);
    notice(t, "%s: under way ...", a->target);
}

/* --- what keys do ------------------------------------------------------------------------ */

static void ask(struct top *t, bool is_pause, bool on, const char *target, const char *question)
{
    struct act *a = &t->act;
    free(a->target);
    *a = (struct act){.is_pause = is_pause, .on = on, .target = mem_strdup(target)};
    snprintf(t->view.question, sizeof(t->view.question), question, target);
    t->view.mode = TOP_ASKING;
    keys_drop(&t->keys); /* typed before anybody could read the question: no answer to it */
    tcflush(STDIN_FILENO, TCIFLUSH);
}

static const char *selected_cell(const struct top *t, enum top_pane pane, size_t column)
{
    const char *cell = listing_cell(&t->look.panes[pane], t->view.at[pane].row, column);
    return cell ? cell : "";
}

/* Orders are given on what is known: an old picture would turn a pause into its opposite. */
static bool may_order(struct top *t, const char *target, const char *what)
{
    if (t->act.running)
        notice(t, "The order before is still under way.");
    else if (!target)
        notice(t, "Select a %s first (arrow keys, or j and k).", what);
    else if (t->look.stores[TOP_POSTGRES].away_us)
        notice(t, "PostgreSQL is away: orders are given there.");
    else if (!t->look.stores[TOP_POSTGRES].answered)
        notice(t, "PostgreSQL has not answered yet.");
    else
        return true;
    return false;
}

static void do_pause(struct top *t)
{
    const char *queue = view_selected(&t->view, &t->look, PANE_QUEUES);
    if (!may_order(t, queue, "queue"))
        return;
    if (strncmp(selected_cell(t, PANE_QUEUES, QUEUE_ROW_STATE), "paused", 6) == 0)
        ask(t, true, false, queue, "Resume queue %s?");
    else
        ask(t, true, true, queue,
            "Pause queue %s? Nothing new of it is begun until it is resumed.");
}

static void do_quiet(struct top *t)
{
    const char *worker = view_selected(&t->view, &t->look, PANE_WORKERS);
    if (!may_order(t, worker, "worker"))
        return;
    const char *orders = selected_cell(t, PANE_WORKERS, WORKER_ROW_ORDERS);
    if (strcmp(orders, "kick") == 0)
        notice(t, "%s ends its jobs and is replaced: it was kicked.", worker);
    else if (strcmp(orders, "quiet") == 0)
        ask(t, false, false, worker, "Let worker %s take work again?");
    else
        ask(t, false, true, worker,
            "Make worker %s quiet? It ends its jobs and takes no new ones.");
}

static void do_open(struct top *t)
{
    const char *event = view_selected(&t->view, &t->look, PANE_EVENTS);
    if (!event) {
        notice(t, "Select an event first (arrow keys, or j and k).");
        return;
    }
    t->view.mode = TOP_EVENT;
    t->view.scroll = 0;
    look_open(&t->look, atoll(event));
}

static void do_filter(struct top *t)
{
    t->view.mode = TOP_TYPING;
    buf_clear(&t->view.typed);
    buf_puts(&t->view.typed, t->look.search);
}

static void do_help(struct top *t)
{
    t->view.mode = TOP_HELP;
    t->view.scroll = 0;
}

static void do_back(struct top *t)
{
    if (t->view.mode == TOP_EVENT)
        look_open(&t->look, 0);
    t->view.mode = TOP_LIST;
    t->view.scroll = 0;
}

static void do_redraw(struct top *t)
{
    screen_forget();
    look_again(&t->look);
}

static void move(struct top *t, int rows)
{
    if (t->view.mode == TOP_LIST)
        view_move(&t->view, &t->look, rows);
    else
        t->view.scroll += rows;
}

static void do_up(struct top *t)
{
    move(t, -1);
}

static void do_down(struct top *t)
{
    move(t, 1);
}

static void do_page_up(struct top *t)
{
    move(t, -PAGE);
}

static void do_page_down(struct top *t)
{
    move(t, PAGE);
}

static void do_first(struct top *t)
{
    move(t, -100000);
}

static void do_last(struct top *t)
{
    move(t, 100000);
}

static void do_next_pane(struct top *t)
{
    view_next_pane(&t->view, &t->look, 1);
}

static void do_pane_before(struct top *t)
{
    view_next_pane(&t->view, &t->look, -1);
}

enum {
    IN_LIST = 1 << TOP_LIST,
    IN_TEXT = 1 << TOP_EVENT | 1 << TOP_HELP,
    IN_BOTH = IN_LIST | IN_TEXT
};

/* clang-format off */
static const struct {
    int key;
    int modes;
    void (*fn)(struct top *t);
} bindings[] = {
    {'q',           IN_BOTH, end           },
    {'?',           IN_LIST, do_help       },
    {'h',           IN_LIST, do_help       },
    {'p',           IN_LIST, do_pause      },
    {'w',           IN_LIST, do_quiet      },
    {KEY_ENTER,     IN_LIST, do_open       },
    {'/',           IN_LIST, do_filter     },
    {'r',           IN_BOTH, do_redraw     },
    {0x0c,          IN_BOTH, do_redraw     }, /* Ctrl-L */
    {KEY_TAB,       IN_LIST, do_next_pane  },
    {KEY_BACKTAB,   IN_LIST, do_pane_before},
    {'k',           IN_BOTH, do_up         },
    {KEY_UP,        IN_BOTH, do_up         },
    {'j',           IN_BOTH, do_down       },
    {KEY_DOWN,      IN_BOTH, do_down       },
    {KEY_PAGE_UP,   IN_BOTH, do_page_up    },
    {KEY_PAGE_DOWN, IN_BOTH, do_page_down  },
    {' ',           IN_BOTH, do_page_down  },
    {KEY_HOME,      IN_BOTH, do_first      },
    {'g',           IN_BOTH, do_first      },
    {KEY_END,       IN_BOTH, do_last       },
    {'G',           IN_BOTH, do_last       },
    {KEY_ESCAPE,    IN_TEXT, do_back       },
    {KEY_ENTER,     IN_TEXT, do_back       },
    {KEY_LEFT,      IN_TEXT, do_back       },
    {'?',           IN_TEXT, do_back       },
};
/* clang-format on */

static const struct top_help help[] = {
    {"arrows, j k",   "select; in an event: scroll"                             },
    {"Tab",           "the next pane; Shift-Tab: the one before"                },
    {"PgUp PgDn g G", "further at once; to the first, to the last"              },
    {"p",             "pause or resume the selected queue (asks)"               },
    {"w",             "make the selected worker quiet, or take that back (asks)"},
    {"Enter",         "open the selected event: what happened to it"            },
    {"Esc",           "back"                                                    },
    {"/",             "which events: a status, parts of URL, watch, id, error"  },
    {"r",             "look again now, draw anew"                               },
    {"?",             "this text"                                               },
    {"q",             "end; Ctrl-C likewise, Ctrl-Z stops it until fg"          },
    {NULL,            NULL                                                      },
};

/* The answer to a question: anything but y is a no. */
static void answer_key(struct top *t, int key)
{
    t->view.mode = TOP_LIST;
    if (key == 'y' || key == 'Y')
        act_begin(t);
    else
        notice(t, "Nothing was changed.");
}

static void typed_end(struct top *t)
{
    struct buf words = {0};
    text_one_line(buf_str(&t->view.typed), MAX_TYPED, &words);
    look_search(&t->look, buf_str(&words));
    buf_release(&words);
    t->view.mode = TOP_LIST;
}

/* Takes the last character away, all bytes of it. */
static void rub_out(struct buf *b)
{
    while (b->len && (b->data[b->len - 1] & 0xc0) == 0x80)
        b->len--;
    b->len -= b->len > 0;
    if (b->data)
        b->data[b->len] = '\0';
}

static void typing_key(struct top *t, int key)
{
    if (key == KEY_ENTER)
        typed_end(t);
    else if (key == KEY_ESCAPE)
        t->view.mode = TOP_LIST;
    else if (key == KEY_BACKSPACE)
        rub_out(&t->view.typed);
    else if (key >= ' ' && key < 256 && t->view.typed.len < MAX_TYPED)
        buf_putc(&t->view.typed, (char)key);
}

/* Of what is pasted only a filter takes something, and no line's end ends it. */
static bool is_pasted(struct top *t, int key)
{
    if (key == KEY_PASTE || key == KEY_PASTE_END)
        t->pasting = key == KEY_PASTE;
    else if (t->pasting && t->view.mode == TOP_TYPING && key >= ' ' && key < 256 &&
             key != KEY_BACKSPACE)
        return false;
    return t->pasting || key == KEY_PASTE_END;
}

static void on_key(struct top *t, int key)
{
    if (is_pasted(t, key))
        return;
    t->view.notice[0] = '\0';
    if (t->view.mode == TOP_ASKING) {
        answer_key(t, key);
        return;
    }
    if (t->view.mode == TOP_TYPING) {
        typing_key(t, key);
        return;
    }
    for (size_t i = 0; i < sizeof(bindings) / sizeof(bindings[0]); i++) {
        if (bindings[i].key == key && bindings[i].modes & 1 << t->view.mode) {
            bindings[i].fn(t);
            return;
        }
    }
}

/* --- the terminal ------------------------------------------------------------------------ */

static void no_more_came(void *ctx)
{
    struct top *t = ctx;
    int key = keys_flush(&t->keys);
    if (key != KEY_NONE)
        on_key(t, key);
    if (!t->ended)
        draw(t);
}

/* The picture of it is yet to come: a paste is drawn once. */
static bool more_came(void)
{
    return poll(&(struct pollfd){.fd = STDIN_FILENO, .events = POLLIN}, 1, 0) > 0;
}

static void input_ready(int what, void *ctx)
{
    struct top *t = ctx;
    char bytes[64];
    (void)what;
    if (!screen_is_open()) {
        watch_set(&t->input, 0); /* typed for somebody else */
        return;
    }
    ssize_t n = read(STDIN_FILENO, bytes, sizeof(bytes));
    if (n <= 0) {
        t->gone = n == 0 || (errno != EINTR && errno != EAGAIN);
        if (t->gone)
            end(t);
        return;
    }
    keys_feed(&t->keys, bytes, (size_t)n);
    for (int key; !t->ended && (key = keys_next(&t->keys)) != KEY_NONE;)
        on_key(t, key);
    if (keys_partial(&t->keys))
        timer_start(&t->escape, ESCAPE_MS);
    else
        timer_stop(&t->escape);
    if (!t->ended && !more_came())
        draw(t);
}

static void on_end(void *ctx)
{
    end(ctx);
}

static void on_resize(void *ctx)
{
    draw(ctx);
}

static void on_suspend(void *ctx)
{
    screen_suspend();
    come_back(ctx);
}

/* Stopped by somebody who did not ask: the shell may have taken the terminal meanwhile. */
static void on_continue(void *ctx)
{
    screen_close();
    come_back(ctx);
}

static void watch_terminal(struct top *t)
{
    static const int ends[] = {SIGINT, SIGTERM, SIGHUP};
    struct loop *l = t->session.loop;
    watch_start(l, &t->input, STDIN_FILENO, WATCH_READ, input_ready, t);
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        sigwatch_start(l, &t->ends[i], ends[i], on_end, t);
    sigwatch_start(l, &t->resized, SIGWINCH, on_resize, t);
    sigwatch_start(l, &t->suspended, SIGTSTP, on_suspend, t);
    sigwatch_start(l, &t->continued, SIGCONT, on_continue, t);
    timer_init(l, &t->refresh, look_due, t);
    timer_init(l, &t->escape, no_more_came, t);
}

static void unwatch_terminal(struct top *t)
{
    watch_stop(&t->input);
    for (size_t i = 0; i < sizeof(t->ends) / sizeof(t->ends[0]); i++)
        sigwatch_stop(&t->ends[i]);
    sigwatch_stop(&t->resized);
    sigwatch_stop(&t->suspended);
    sigwatch_stop(&t->continued);
    timer_stop(&t->refresh);
    timer_stop(&t->escape);
}

/* --- running ----------------------------------------------------------------------------- */

static int live(struct top *t)
{
    struct hl_err err;
    watch_terminal(t);
    if (screen_open(&err) != HL_OK) {
        unwatch_terminal(t);
        return ctl_fail_err(&err);
    }
    look_due(t);
    while (!t->ended)
        loop_run(t->session.loop);
    screen_close();
    unwatch_terminal(t);
    if (t->act.running)
        return ctl_fail(CTL_ERROR,
            "ended while an order was under way; webhook.operator_log may know how it ended");
    return CTL_OK;
}

static void looked_once(void *ctx)
{
    struct top *t = ctx;
    if (!look_busy(&t->look))
        loop_stop(t->session.loop);
}

static int once(struct top *t)
{
    struct canvas c = {0};
    int code = CTL_OK;
    t->look.changed = looked_once;
    look_again(&t->look);
    loop_run(t->session.loop);
    canvas_begin(&c, terminal_width(), 0, t->colour);
    view_draw(&t->view, &t->look, &c);
    for (int i = 0; i < c.n; i++)
        puts(buf_str(&c.lines[i]));
    canvas_release(&c);
    for (int i = TOP_STORES - 1; i >= 0; i--)
        if (t->look.stores[i].away_us)
            code = ctl_fail_err(&t->look.stores[i].err);
    return code;
}

static int show(const struct config *cfg, struct top *t, bool only_once)
{
    struct hl_err err;
    if (session_open(&t->session, cfg, &err) != HL_OK)
        return ctl_fail_err(&err);
    look_init(&t->look, &t->session, cfg->lease_ms, looked, t);
    t->view.help = help;
    t->colour = terminal_colour();
    int code = only_once ? once(t) : live(t);
    look_end(&t->look);
    session_close(&t->session);
    look_release(&t->look);
    view_release(&t->view);
    free(t->act.target);
    free(t->act.who);
    return code;
}

static bool take_interval(struct ctl_args *args, int64_t *ms)
{
    if (!ctl_duration(args, "interval", ms))
        return false;
    if (*ms >= MIN_INTERVAL_MS && *ms <= MAX_INTERVAL_MS)
        return true;
    args->done = ctl_usage_error(args->command, "--interval takes a duration from 200ms to 1h");
    return false;
}

static bool has_screen(void)
{
    const char *kind = getenv("TERM");
    return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && !(kind && strcmp(kind, "dumb") == 0);
}

static int run(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&cmd_top, ctl, argc, argv);
    struct top t = {.interval_ms = DEFAULT_INTERVAL_MS};
    bool only_once = false;
    for (int key; (key = ctl_next(&args)) != 0;) {
        only_once |= key == OPT_ONCE;
        if (key == OPT_INTERVAL && !take_interval(&args, &t.interval_ms))
            break;
    }
    if (args.done >= 0)
        return args.done;
    if (!only_once && !has_screen())
        return ctl_usage_error(&cmd_top, "top needs a terminal with a screen to show itself on; "
                                         "'hooklinectl status --watch' prints to "
                                         "anything, 'hooklinectl top --once' a single picture");
    struct config cfg;
    if (!ctl_config(ctl, &cfg))
        return CTL_ERROR;
    t.reason = args.shared.reason;
    int code = show(&cfg, &t, only_once);
    config_release(&cfg);
    return code;
}
