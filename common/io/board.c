/* board: see board.h. Owns the shared memory and who has which place in it. */
#include "io/board.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* What a child owns. */
struct own {
    _Atomic int64_t beat_ms;
    meter_cell cells[];
};

static size_t pages(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (size + page - 1) / page * page;
}

static size_t own_size(void)
{
    return pages(sizeof(struct own) + meter_cells() * sizeof(meter_cell));
}

/* Untouched pages of it take no memory. */
static size_t board_size(void)
{
    return pages(sizeof(struct board)) + (BOARD_PLACES + 1) * own_size();
}

struct board *board_new(void)
{
    void *p = mmap(NULL, board_size(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    struct board *b = p;
    atomic_store(&b->started_ms, clock_mono_ms());
    atomic_store(&b->beat_ms, clock_mono_ms());
    return b;
}

void board_free(struct board *b)
{
    if (b)
        munmap(b, board_size());
}

static struct own *own_at(const struct board *b, int place)
{
    char *first = (char *)(uintptr_t)b + pages(sizeof(*b));
    return (struct own *)(void *)(first + (size_t)place * own_size());
}

meter_cell *board_cells(const struct board *b, int place)
{
    return own_at(b, place)->cells;
}

_Atomic int64_t *board_beat(const struct board *b, int place)
{
    return &own_at(b, place)->beat_ms;
}

/* Where that is not granted, all stays as it was: it protects, no more. */
void board_enter(struct board *b, int place)
{
    meter_use(place >= 0 ? board_cells(b, place) : NULL);
    if (mprotect(b, board_size(), PROT_READ) == 0 && place >= 0)
        mprotect(own_at(b, place), own_size(), PROT_READ | PROT_WRITE);
}

/* --- places ------------------------------------------------------------------------------ */

static enum board_state state_of(const struct board_place *p)
{
    return (enum board_state)atomic_load(&p->state);
}

static bool is_used(const struct board_place *p)
{
    return p->process[0] != '\0';
}

static bool is_taken(const struct board *b, const char *process)
{
    for (int i = 0; i < BOARD_PLACES; i++)
        if (state_of(&b->places[i]) != BOARD_FREE && strcmp(b->places[i].process, process) == 0)
            return true;
    return false;
}

/* One that had this name, or else one that nobody had, or else another one of the role: what its
 * predecessors counted stays with their role. */
static int find_free(const struct board *b, const char *role, const char *process)
{
    int fresh = -1, other = -1;
    for (int i = 0; i < BOARD_PLACES; i++) {
        const struct board_place *p = &b->places[i];
        if (state_of(p) != BOARD_FREE)
            continue;
        if (strcmp(p->process, process) == 0)
            return i;
        if (fresh < 0 && !is_used(p))
            fresh = i;
        if (other < 0 && strcmp(p->role, role) == 0)
            other = i;
    }
    return fresh >= 0 ? fresh : other;
}

int board_take(struct board *b, const char *role, const char *process, bool extra)
{
    char name[sizeof(b->places[0].process)];
    snprintf(name, sizeof(name), "%s", process);
    for (int i = 1; is_taken(b, name); i++)
        snprintf(name, sizeof(name), "%.20s.%d", process, i);
    int place = find_free(b, role, name);
    if (place < 0)
        return -1;
    struct board_place *p = &b->places[place];
    snprintf(p->role, sizeof(p->role), "%s", role);
    snprintf(p->process, sizeof(p->process), "%s", name);
    atomic_store(&p->extra, extra);
    atomic_store(&p->state, BOARD_GONE); /* until it is started */
    return place;
}

void board_start(struct board *b, int place, int64_t pid)
{
    struct board_place *p = &b->places[place];
    atomic_store(&p->pid, pid);
    atomic_store(&p->started_ms, clock_mono_ms());
    atomic_store(board_beat(b, place), clock_mono_ms());
    atomic_fetch_add(&p->starts, 1);
    atomic_store(&p->state, BOARD_STARTING);
}

void board_end(struct board *b, int place, enum board_end how, enum board_state then)
{
    struct board_place *p = &b->places[place];
    atomic_store(&p->state, then);
    atomic_store(&p->pid, 0);
    if (how != BOARD_EXPECTED)
        atomic_fetch_add(&p->crashes, 1);
    if (how == BOARD_HUNG)
        atomic_fetch_add(&p->hangs, 1);
    meter_clear_gauges(board_cells(b, place));
}

void board_leave(struct board *b, int place)
{
    atomic_store(&b->places[place].state, BOARD_FREE);
}

void board_count(const struct board *b, const char *role, int *all, int *ready)
{
    *all = *ready = 0;
    for (int i = 0; i < BOARD_PLACES; i++) {
        const struct board_place *p = &b->places[i];
        enum board_state state = state_of(p);
        if (state == BOARD_FREE || strcmp(p->role, role) != 0)
            continue;
        ++*all;
        *ready += state == BOARD_READY;
    }
}

bool board_is_first(const struct board *b, int place)
{
    for (int i = 0; i <= place; i++)
        if (state_of(&b->places[i]) == BOARD_READY &&
            strcmp(b->places[i].role, b->places[place].role) == 0)
            return i == place;
    return false;
}

/* --- for Prometheus ------------------------------------------------------------------------ */

/* A role that was ever there. */
struct sum {
    const char *role;
    int64_t states[BOARD_STATES];
    int64_t starts, crashes, hangs;
};
enum { ROLES_MAX = 8 };

static struct sum *sum_of(struct sum *sums, const char *role)
{
    struct sum *s = sums;
    while (s < sums + ROLES_MAX - 1 && s->role && strcmp(s->role, role) != 0)
        s++;
    if (!s->role)
        s->role = role;
    return s;
}

static void add_up(const struct board *b, struct sum *sums)
{
    for (int i = 0; i < BOARD_PLACES; i++) {
        const struct board_place *p = &b->places[i];
        if (!is_used(p))
            continue;
        struct sum *s = sum_of(sums, p->role);
        s->states[state_of(p)]++;
        s->starts += atomic_load(&p->starts);
        s->crashes += atomic_load(&p->crashes);
        s->hangs += atomic_load(&p->hangs);
    }
}

static void put_family(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_processes(struct buf *out, const struct sum *sums)
{
    static const char *const states[BOARD_STATES] = {
        [BOARD_STARTING] = "starting", [BOARD_READY] = "ready", [BOARD_GONE] = "gone"};
    put_family(out, "hookline_processes", "gauge",
        "Processes of this fleet by role and state; gone: it will be started again.");
    for (const struct sum *s = sums; s->role; s++)
        for (int i = BOARD_STARTING; i < BOARD_STATES; i++)
            buf_printf(out, "hookline_processes{role=\"%s\",state=\"%s\"} %lld\n", s->role,
                states[i], (long long)s->states[i]);
}

static void put_ends(struct buf *out, const struct sum *sums)
{
    /* clang-format off */
    static const struct {
        const char *name;
        size_t at;
        const char *help;
    } families[] = {
        {"hookline_process_starts_total", offsetof(struct sum, starts), "Processes started."},
        {"hookline_process_crashes_total", offsetof(struct sum, crashes),
            "Processes that ended unasked, for any reason."},
        {"hookline_process_hangs_total", offsetof(struct sum, hangs),
            "Processes that the watchdog ended."},
    };
    /* clang-format on */
    for (size_t i = 0; i < sizeof(families) / sizeof(*families); i++) {
        put_family(out, families[i].name, "counter", families[i].help);
        for (const struct sum *s = sums; s->role; s++)
            buf_printf(out, "%s{role=\"%s\"} %lld\n", families[i].name, s->role,
                (long long)*(const int64_t *)(const void *)((const char *)s + families[i].at));
    }
}

static void put_own(const struct board *b, enum meter_program program, struct buf *out)
{
    struct sum sums[ROLES_MAX + 1] = {0};
    add_up(b, sums);
    put_family(out, "hookline_build_info", "gauge", "1; the labels say what runs here.");
    buf_printf(out, "hookline_build_info{version=\"%s\",program=\"%s\"} 1\n", HOOKLINE_VERSION,
        program == METER_P ? "hookline-producer" : "hookline-worker");
    put_processes(out, sums);
    put_ends(out, sums);
    put_family(out, "hookline_supervisor_beat_age_seconds", "gauge",
        "Time since the supervisor last looked after its processes.");
    buf_printf(out, "hookline_supervisor_beat_age_seconds %.3f\n",
        (double)(clock_mono_ms() - atomic_load(&b->beat_ms)) / 1000);
}

void board_print(const struct board *b, enum meter_program program, struct buf *out)
{
    struct meter_row *rows = mem_array(BOARD_PLACES + 1, sizeof(*rows));
    size_t n = 0;

    put_own(b, program, out);
    rows[n++] = (struct meter_row){board_cells(b, BOARD_PLACES), NULL};
    for (int i = 0; i < BOARD_PLACES; i++) {
        const struct board_place *p = &b->places[i];
        bool lives = state_of(p) == BOARD_STARTING || state_of(p) == BOARD_READY;
        if (is_used(p))
            rows[n++] = (struct meter_row){board_cells(b, i), lives ? p->process : NULL};
    }
    meter_print(program, rows, n, out);
    free(rows);
}
