/* meter: see meter.h. A meter's cells lie one behind the other: for each pair of label values one; a
 * histogram's: for each the buckets, those beyond the last bound, and the sum. */
#include "base/meter.h"

#include "base/mem.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* --- the table --------------------------------------------------------------------------- */

enum kind { COUNTER, GAUGE, HISTOGRAM };
enum how { SUM, MAX, EACH };
enum { P = METER_P, W = METER_W, PW = METER_P | METER_W };

struct label {
    const char *name;
    const char *const *values;
    int n;
};
#define V(list, value, text)        text,
#define LABEL_VALUES(list, l, vals) static const char *const values_##list[] = {vals};
METER_LABELS(LABEL_VALUES)
#undef V
#define LABEL(list, l, vals)                                                                       \
    static const struct label label_##list = {l, values_##list, list##_COUNT};
METER_LABELS(LABEL)

struct buckets {
    double scale;
    int n;
    double bounds[METER_BUCKETS_MAX];
};
#define BOUNDS(...) (int)(sizeof((double[]){__VA_ARGS__}) / sizeof(double))
#define BUCKETS(name, factor, ...)                                                                 \
    static const struct buckets buckets_##name = {factor, BOUNDS(__VA_ARGS__), {__VA_ARGS__}};
METER_BUCKETS(BUCKETS)

static const struct meter {
    enum kind kind;
    int who;
    const char *name;
    const struct label *a, *b;
    enum how how;
    const struct buckets *buckets;
    const char *help;
} meters[METER_COUNT] = {
#define C(id, who, name, a, b, help)                                                               \
    [M_##id] = {COUNTER, who, name, &label_##a, &label_##b, SUM, NULL, help},
#define G(id, who, name, a, b, how, help)                                                          \
    [M_##id] = {GAUGE, who, name, &label_##a, &label_##b, how, NULL, help},
#define H(id, who, name, a, b, buckets, help)                                                      \
    [M_##id] = {HISTOGRAM, who, name, &label_##a, &label_##b, SUM, &buckets_##buckets, help},
    METERS(C, G, H)};

/* --- cells ------------------------------------------------------------------------------- */

static int width(const struct meter *m)
{
    return m->kind == HISTOGRAM ? m->buckets->n + 2 : 1;
}

static int series(const struct meter *m)
{
    return m->a->n * m->b->n;
}

static int first_cell[METER_COUNT + 1];

static void place_cells(void)
{
    if (first_cell[METER_COUNT])
        return;
    for (int i = 0; i < METER_COUNT; i++)
        first_cell[i + 1] = first_cell[i] + width(&meters[i]) * series(&meters[i]);
}

size_t meter_cells(void)
{
    place_cells();
    return (size_t)first_cell[METER_COUNT];
}

static meter_cell *mine;

/* Kept for a process that has no other any more. */
static meter_cell *own_cells(void)
{
    static meter_cell *own;
    if (!own)
        own = mem_zero(meter_cells() * sizeof(*own));
    return own;
}

void meter_use(meter_cell *cells)
{
    place_cells();
    mine = cells;
}

/* -1: no such series. */
static int cell_at(enum meter_id id, int a, int b)
{
    const struct meter *m = &meters[id];
    if (a < 0 || b < 0 || a >= m->a->n || b >= m->b->n)
        return -1;
    place_cells();
    return first_cell[id] + (a * m->b->n + b) * width(m);
}

static meter_cell *cells_of(enum meter_id id, int a, int b)
{
    int at = cell_at(id, a, b);
    if (at < 0)
        return NULL;
    if (!mine)
        mine = own_cells();
    return mine + at;
}

static int64_t get(const meter_cell *cell)
{
    return atomic_load_explicit(cell, memory_order_relaxed);
}

static void set(meter_cell *cell, int64_t n)
{
    atomic_store_explicit(cell, n, memory_order_relaxed);
}

void meter_clear_gauges(meter_cell *cells)
{
    place_cells();
    for (int i = 0; i < METER_COUNT; i++)
        for (int c = first_cell[i]; meters[i].kind == GAUGE && c < first_cell[i + 1]; c++)
            set(&cells[c], 0);
}

/* --- writing: one writer a cell, so that no atomic sum is needed --------------------------- */

void meter_add(enum meter_id id, int a, int b, int64_t n)
{
    meter_cell *cell = cells_of(id, a, b);
    if (cell && meters[id].kind == COUNTER)
        set(cell, get(cell) + n);
}

void meter_set(enum meter_id id, int a, int b, int64_t value)
{
    meter_cell *cell = cells_of(id, a, b);
    if (cell && meters[id].kind == GAUGE)
        set(cell, value);
}

void meter_observe(enum meter_id id, int a, int64_t value)
{
    const struct buckets *k = meters[id].buckets;
    meter_cell *cell = cells_of(id, a, 0);
    if (!cell || !k)
        return;
    int i = 0;
    while (i < k->n && (double)value * k->scale > k->bounds[i])
        i++;
    set(&cell[i], get(&cell[i]) + 1);
    set(&cell[k->n + 1], get(&cell[k->n + 1]) + value);
}

/* --- reading ----------------------------------------------------------------------------- */

int64_t meter_get(enum meter_id id, int a, int b)
{
    const meter_cell *cell = cells_of(id, a, b);
    return cell && meters[id].kind != HISTOGRAM ? get(cell) : 0;
}

int64_t meter_read(const meter_cell *cells, enum meter_id id, int a, int b)
{
    int at = cell_at(id, a, b);
    return at >= 0 && meters[id].kind != HISTOGRAM ? get(&cells[at]) : 0;
}

int meter_bounds(enum meter_id id, const double **bounds)
{
    const struct buckets *k = meters[id].buckets;
    *bounds = k ? k->bounds : NULL;
    return k ? k->n : 0;
}

int64_t meter_bucket(enum meter_id id, int a, int i)
{
    const struct buckets *k = meters[id].buckets;
    const meter_cell *cell = cells_of(id, a, 0);
    return cell && k && i >= 0 && i <= k->n ? get(&cell[i]) : 0;
}

/* --- printing ---------------------------------------------------------------------------- */

struct print {
    const struct meter *m;
    const struct meter_row *rows;
    size_t n;
    int first; /* of the meter's cells */
    struct buf *out;
};

/* `cell` of the meter, over all rows. */
static int64_t together(const struct print *p, int cell)
{
    int64_t all = 0;
    for (size_t i = 0; i < p->n; i++) {
        if (p->m->kind == GAUGE && !p->rows[i].process)
            continue;
        int64_t n = get(&p->rows[i].cells[p->first + cell]);
        if (p->m->how == MAX)
            all = n > all ? n : all;
        else
            all += n;
    }
    return all;
}

static void put_escaped(struct buf *out, const char *s)
{
    for (; *s; s++) {
        if (*s == '\\' || *s == '"')
            buf_putc(out, '\\');
        if (*s == '\n')
            buf_puts(out, "\\n");
        else
            buf_putc(out, *s);
    }
}

static void put_label(struct buf *out, const char **before, const char *name, const char *value)
{
    if (!*name)
        return;
    buf_printf(out, "%s%s=\"", *before, name);
    put_escaped(out, value);
    buf_putc(out, '"');
    *before = ",";
}

/* NAME{a="..",b="..",more="value"} */
static void put_series(
    const struct print *p, const char *suffix, int a, int b, const char *more, const char *value)
{
    const char *before = "{";
    buf_printf(p->out, "%s%s", p->m->name, suffix);
    put_label(p->out, &before, p->m->a->name, p->m->a->values[a]);
    put_label(p->out, &before, p->m->b->name, p->m->b->values[b]);
    put_label(p->out, &before, more, value);
    buf_puts(p->out, *before == ',' ? "} " : " ");
}

static bool in_seconds(const struct meter *m)
{
    size_t len = strlen(m->name), tail = strlen("_seconds");
    return len > tail && strcmp(m->name + len - tail, "_seconds") == 0;
}

static void put_value(const struct print *p, int64_t value)
{
    if (in_seconds(p->m))
        buf_printf(p->out, "%.6f\n", (double)value / 1e6);
    else
        buf_printf(p->out, "%lld\n", (long long)value);
}

static void put_histogram(const struct print *p, int a, int cell)
{
    const struct buckets *k = p->m->buckets;
    int64_t below = 0;
    char bound[32];
    for (int i = 0; i <= k->n; i++) {
        below += together(p, cell + i);
        snprintf(bound, sizeof(bound), "%g", i < k->n ? k->bounds[i] : 0);
        put_series(p, "_bucket", a, 0, "le", i < k->n ? bound : "+Inf");
        buf_printf(p->out, "%lld\n", (long long)below);
    }
    put_series(p, "_sum", a, 0, "", "");
    put_value(p, together(p, cell + k->n + 1));
    put_series(p, "_count", a, 0, "", "");
    buf_printf(p->out, "%lld\n", (long long)below);
}

static void put_each(const struct print *p, int a, int b, int cell)
{
    for (size_t i = 0; i < p->n; i++) {
        if (!p->rows[i].process)
            continue;
        put_series(p, "", a, b, "process", p->rows[i].process);
        put_value(p, get(&p->rows[i].cells[p->first + cell]));
    }
}

static void put_one(const struct print *p, int a, int b)
{
    int cell = (a * p->m->b->n + b) * width(p->m);
    if (p->m->kind == HISTOGRAM) {
        put_histogram(p, a, cell);
    } else if (p->m->how == EACH) {
        put_each(p, a, b, cell);
    } else {
        put_series(p, "", a, b, "", "");
        put_value(p, together(p, cell));
    }
}

void meter_print(
    enum meter_program program, const struct meter_row *rows, size_t n, struct buf *out)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    place_cells();
    for (int i = 0; i < METER_COUNT; i++) {
        const struct meter *m = &meters[i];
        struct print p = {.m = m, .rows = rows, .n = n, .first = first_cell[i], .out = out};
        if (!(m->who & (int)program))
            continue;
        buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name, types[m->kind]);
        for (int a = 0; a < m->a->n; a++)
            for (int b = 0; b < m->b->n; b++)
                put_one(&p, a, b);
    }
}
