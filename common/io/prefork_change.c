/* prefork_change: the fleet changes while it runs: new settings, more or fewer children, quiet,
 * successors for those who have had enough; and it tells its state. Signals only say what is
 * wanted; change_goes_on brings it about, one child after the other. */
#include "io/prefork_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <string.h>

enum {
    TIRED_MIN_MS = 1000, /* who is tired sooner than this waits: no storm of successors */
};

/* --- how many ---------------------------------------------------------------------------- */

/* Its place is one of those that were asked for: not on its way out, no second one. */
static bool counts(const struct child *c, const struct prefork_role *role)
{
    return c->role == role && !c->retired && !c->replaces;
}

static int places(const struct supervisor *s, const struct prefork_role *role)
{
    int n = 0;
    LIST_EACH(&s->children, node)
    {
        n += counts(child_at(node), role);
    }
    return n;
}

static struct child *successor_of(const struct supervisor *s, const struct child *c)
{
    LIST_EACH(&s->children, n)
    {
        if (child_at(n)->replaces == c)
            return child_at(n);
    }
    return NULL;
}

static struct child *place(const struct supervisor *s, const struct prefork_role *role, int index)
{
    LIST_EACH(&s->children, n)
    {
        if (counts(child_at(n), role) && child_at(n)->index == index)
            return child_at(n);
    }
    return NULL;
}

/* Places are added at the lowest free index and taken from the highest. */
static void add(struct supervisor *s, const struct prefork_role *role)
{
    int index = 0;
    while (place(s, role, index))
        index++;
    child_new(s, role, index);
}

static void take(struct supervisor *s, const struct prefork_role *role)
{
    struct child *last = NULL;
    LIST_EACH(&s->children, n)
    {
        if (counts(child_at(n), role) && (!last || child_at(n)->index > last->index))
            last = child_at(n);
    }
    if (!last)
        return;
    struct child *successor = successor_of(s, last);
    if (successor)
        child_retire(s, successor);
    child_retire(s, last);
}

static void resize(struct supervisor *s, const struct prefork_role *role, int n)
{
    while (places(s, role) < n)
        add(s, role);
    while (places(s, role) > n)
        take(s, role);
}

/* What SIGTTIN and SIGTTOU did stays, until the settings name another number. */
static void follow_counts(struct supervisor *s)
{
    const struct prefork_role *roles = s->conf->roles;
    for (int i = 0; roles[i].name; i++) {
        if (roles[i].count != s->counts[i])
            resize(s, &roles[i], roles[i].count);
        s->counts[i] = roles[i].count;
    }
}

void change_begins(struct supervisor *s)
{
    size_t n = 0;
    while (s->conf->roles[n].name)
        n++;
    s->counts = mem_array(n + 1, sizeof(*s->counts));
    follow_counts(s);
}

/* --- signals ----------------------------------------------------------------------------- */

static void grow(struct supervisor *s)
{
    const struct prefork_role *role = s->conf->roles;
    int n = places(s, role);
    if (n < PREFORK_MAX)
        resize(s, role, ++n);
    log_info("fleet_resized", LOG_S("role", role->name), LOG_I("processes", n));
}

static void shrink(struct supervisor *s)
{
    const struct prefork_role *role = s->conf->roles;
    int n = places(s, role);
    if (n > 1)
        resize(s, role, --n);
    log_info("fleet_resized", LOG_S("role", role->name), LOG_I("processes", n));
}

/* A successor that has the old settings may never become ready with them. */
static void drop_successors(struct supervisor *s)
{
    LIST_EACH(&s->children, n)
    {
        child_at(n)->proving = false;
        if (child_at(n)->replaces)
            child_retire(s, child_at(n));
    }
}

static void reload(struct supervisor *s)
{
    log_info("reload_started");
    if (s->conf->on_reload && !s->conf->on_reload(s->conf->ctx)) {
        log_error("reload_refused", LOG_S("remedy", "mend the settings and send SIGHUP again; "
                                                    "the processes keep those they have"));
        return;
    }
    s->generation++;
    s->reloading = true;
    s->quiet = false; /* successors work again */
    drop_successors(s);
    follow_counts(s);
    drain_check_grace(s);
    LIST_EACH(&s->children, n) /* what kept a child from living may be mended */
    {
        child_at(n)->start_at = child_at(n)->backoff_ms = 0;
    }
}

void change_quiet(struct supervisor *s)
{
    s->quiet = true;
    LIST_EACH(&s->children, n)
    {
        if (child_at(n)->pid)
            atomic_store(&child_at(n)->slot->quiet, true);
    }
}

static void quiet(struct supervisor *s)
{
    if (!s->conf->quiets)
        return;
    log_info("quiet", LOG_S("ended_by", "SIGHUP"));
    change_quiet(s);
    LIST_EACH(&s->children, n)
    {
        if (child_at(n)->pid)
            kill(child_at(n)->pid, PREFORK_QUIET);
    }
}

static const char *condition(const struct child *c)
{
    if (!c->pid)
        return "waits to start";
    if (c->hung || c->unready)
        return "killed";
    if (c->retired || c->renewed)
        return "leaves";
    return child_is_ready(c) ? "works" : "starts";
}

static void tell_state(struct supervisor *s)
{
    int64_t now = clock_mono_ms();
    LIST_EACH(&s->children, n)
    {
        const struct child *c = child_at(n);
        if (c->slot) /* its process may have run wild */
            c->slot->instance[sizeof(c->slot->instance) - 1] = '\0';
        log_info("state_child", LOG_S("role", c->role->name), LOG_I("index", c->index),
            LOG_I("child", c->pid), LOG_S("instance", c->slot ? c->slot->instance : ""),
            LOG_S("condition", condition(c)), LOG_I("age_ms", c->pid ? now - c->started_at : 0),
            LOG_I("silent_ms", c->pid ? now - atomic_load(&c->slot->beat_ms) : 0),
            LOG_I("crashes", c->crashes), LOG_B("quiet", s->quiet),
            LOG_I("backoff_ms", c->backoff_ms));
        if (c->pid)
            kill(c->pid, PREFORK_STATE);
    }
}

static const struct {
    int signo;
    void (*act)(struct supervisor *s);
    bool when_draining;
} actions[] = {
    {SIGHUP,  reload,     false},
    {SIGUSR1, quiet,      true },
    {SIGUSR2, tell_state, true },
    {SIGTTIN, grow,       false},
    {SIGTTOU, shrink,     false},
};
enum { NACTIONS = sizeof(actions) / sizeof(actions[0]) };

void change_signals(sigset_t *set)
{
    for (size_t i = 0; i < NACTIONS; i++)
        sigaddset(set, actions[i].signo);
}

void change_signal(struct supervisor *s, int signo)
{
    for (size_t i = 0; i < NACTIONS; i++)
        if (actions[i].signo == signo && (!s->draining || actions[i].when_draining))
            actions[i].act(s);
}

/* --- successors -------------------------------------------------------------------------- */

/* A place whose process is down starts the next one with the newest settings anyway. */
static bool wants_successor(const struct supervisor *s, const struct child *c, int64_t now)
{
    if (!c->pid || c->retired || c->hung || c->unready)
        return false;
    return c->generation != s->generation ||
           (atomic_load(&c->slot->tired) && now - c->started_at >= TIRED_MIN_MS);
}

static void succeed(struct supervisor *s, struct child *c)
{
    log_info("child_to_be_replaced", LOG_S("role", c->role->name), LOG_I("index", c->index),
        LOG_I("child", c->pid), LOG_B("settings", c->generation != s->generation));
    if (c->role->alone) {
        c->renewed = true;
        child_ask_to_leave(c);
        return;
    }
    child_new(s, c->role, c->index)->replaces = c;
}

/* True while a replacement is under way; there is one at most. */
static bool replacing(struct supervisor *s)
{
    LIST_EACH(&s->children, n)
    {
        struct child *c = child_at(n);
        if (!c->renewed && !c->proving && !c->replaces)
            continue;
        if (c->renewed || !child_is_ready(c))
            return true;
        c->proving = false;
        struct child *old = c->replaces;
        c->replaces = NULL;
        if (old)
            child_retire(s, old);
        return false;
    }
    return false;
}

void change_goes_on(struct supervisor *s)
{
    int64_t now = clock_mono_ms();

    if (replacing(s))
        return;
    LIST_EACH(&s->children, n)
    {
        if (wants_successor(s, child_at(n), now)) {
            succeed(s, child_at(n));
            return;
        }
    }
    if (s->reloading)
        log_info("reload_finished");
    s->reloading = false;
}
