/* top_view: see top_view.h. */
#include "worker/ctl/top_view.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_UPSTREAMS = 5, EVENTS_ONCE = 20, ROOMY = 6 };

void view_release(struct top_view *v)
{
    for (size_t i = 0; i < TOP_PANES; i++)
        free(v->at[i].key);
    buf_release(&v->typed);
}

/* --- selecting --------------------------------------------------------------------------- */

static size_t rows_of(const struct top_look *l, enum top_pane pane)
{
    return listing_rows(&l->panes[pane]);
}

static void select_row(struct top_view *v, const struct top_look *l, enum top_pane pane, size_t row)
{
    size_t rows = rows_of(l, pane);
    free(v->at[pane].key);
    v->at[pane].row = row < rows ? row : rows ? rows - 1 : 0;
    v->at[pane].key = rows ? mem_strdup(listing_cell(&l->panes[pane], v->at[pane].row, 0)) : NULL;
}

void view_follow(struct top_view *v, const struct top_look *l)
{
    for (enum top_pane p = 0; p < TOP_PANES; p++) {
        size_t row = v->at[p].row;
        bool at_rest = p != v->pane && row == 0; /* nobody is there: what is new is seen */
        for (size_t i = 0; !at_rest && v->at[p].key && i < rows_of(l, p); i++)
            if (strcmp(listing_cell(&l->panes[p], i, 0), v->at[p].key) == 0)
                row = i;
        select_row(v, l, p, row);
    }
    if (!rows_of(l, v->pane))
        v->pane = PANE_QUEUES; /* has rows always */
}

/* The next pane with rows in this direction; the same when there is none. */
static enum top_pane pane_beside(const struct top_look *l, enum top_pane pane, int step)
{
    for (int p = (int)pane + step; p >= 0 && p < TOP_PANES; p += step)
        if (rows_of(l, (enum top_pane)p))
            return (enum top_pane)p;
    return pane;
}

void view_move(struct top_view *v, const struct top_look *l, int rows)
{
    int step = rows < 0 ? -1 : 1;
    for (; rows; rows -= step) {
        size_t row = v->at[v->pane].row;
        bool at_end = step < 0 ? row == 0 : row + 1 >= rows_of(l, v->pane);
        enum top_pane beside = at_end ? pane_beside(l, v->pane, step) : v->pane;
        if (at_end && beside == v->pane)
            return;
        size_t entry = step < 0 ? rows_of(l, beside) - 1 : 0;
        v->pane = beside;
        select_row(v, l, beside, at_end ? entry : step < 0 ? row - 1 : row + 1);
    }
}

void view_next_pane(struct top_view *v, const struct top_look *l, int panes)
{
    int p = (int)v->pane;
    do
        p = (p + panes + TOP_PANES) % TOP_PANES;
    while (!rows_of(l, (enum top_pane)p) && p != (int)v->pane);
    v->pane = (enum top_pane)p;
}

const char *view_selected(const struct top_view *v, const struct top_look *l, enum top_pane pane)
{
    if (v->pane != pane || v->at[pane].row >= rows_of(l, pane))
        return NULL;
    return listing_cell(&l->panes[pane], v->at[pane].row, 0);
}

/* --- pieces ------------------------------------------------------------------------------ */

/* A line of text in a colour; the text may come from anywhere. */
static void add_text(struct canvas *c, enum colour hue, const char *text)
{
    struct buf line = {0};
    buf_puts(&line, colour_code(hue, c->colour));
    put_cell(&line, text, c->width ? c->width : 500);
    canvas_add(c, buf_str(&line));
    buf_release(&line);
}

static void put_clock(struct buf *b, int64_t us)
{
    char text[16] = "";
    time_t t = (time_t)(us / 1000000);
    struct tm tm;
    if (localtime_r(&t, &tm) && strftime(text, sizeof(text), "%H:%M:%S", &tm))
        buf_puts(b, text);
}

static const char *const store_names[] = {[TOP_POSTGRES] = "PostgreSQL", [TOP_REDIS] = "Redis"};

static void put_health(struct buf *b, const struct top_look *l, enum top_store store)
{
    const struct top_health *h = &l->stores[store];
    buf_printf(b, " | %s ", store_names[store]);
    if (h->away_us) {
        buf_puts(b, "away since ");
        put_clock(b, h->away_us);
    } else {
        buf_puts(b, h->answered ? "ok" : "...");
    }
}

/* When, how the stores are, how busy the connections. */
static void add_title(struct canvas *c, const struct top_look *l)
{
    struct buf b = {0};
    bool away = l->stores[TOP_POSTGRES].away_us || l->stores[TOP_REDIS].away_us;
    buf_puts(&b, "hooklinectl top ");
    put_clock(&b, clock_wall_us());
    for (enum top_store i = 0; i < TOP_STORES; i++)
        put_health(&b, l, i);
    if (l->pool.workers)
        buf_printf(&b, " | pool %lld/%lld busy", (long long)l->pool.busy, (long long)l->pool.max);
    add_text(c, away ? RED : BOLD, buf_str(&b));
    buf_release(&b);
}

/* A line for each store that is away: why, and how old the numbers are. */
static void add_aways(struct canvas *c, const struct top_look *l)
{
    for (enum top_store i = 0; i < TOP_STORES; i++) {
        const struct top_health *h = &l->stores[i];
        struct buf b = {0};
        if (!h->away_us)
            continue;
        buf_puts(&b, store_names[i]);
        if (h->answered) {
            buf_puts(&b, " is away, its numbers are from before ");
            put_clock(&b, h->away_us);
        } else {
            buf_puts(&b, " has not answered");
        }
        buf_printf(&b, ": %s", h->err.msg);
        add_text(c, RED, buf_str(&b));
        buf_release(&b);
    }
}

static int aways(const struct top_look *l)
{
    return (l->stores[TOP_POSTGRES].away_us != 0) + (l->stores[TOP_REDIS].away_us != 0);
}

static const char *nothing_in(const struct top_look *l, enum top_pane pane)
{
    static const char *const empty[] = {[PANE_QUEUES] = "There are no queues.",
        [PANE_UPSTREAMS] = "No upstream host is in trouble.",
        [PANE_WORKERS] = "There are no workers.",
        [PANE_EVENTS] = "There are no such events."};
    return l->stores[TOP_POSTGRES].answered ? empty[pane] : "Not known yet.";
}

/* The start of a line of a text; NULL = it has not so many. */
static const char *line_of(const char *text, size_t n)
{
    for (; n && text; n--) {
        text = strchr(text, '\n');
        text = text && text[1] ? text + 1 : NULL;
    }
    return text;
}

static void add_line(struct canvas *c, const char *line)
{
    char *one = mem_strndup(line, strcspn(line, "\n"));
    canvas_add(c, one);
    free(one);
}

/* The row that is selected is in sight. */
static void scroll_to(size_t row, size_t rows, size_t shown, size_t *first)
{
    if (*first + shown > rows)
        *first = rows > shown ? rows - shown : 0;
    if (row < *first)
        *first = row;
    if (row >= *first + shown)
        *first = row - shown + 1;
}

/* In so many lines: a heading where there are two, then rows. */
static void add_pane(
    struct top_view *v, const struct top_look *l, enum top_pane p, size_t lines, struct canvas *c)
{
    const struct listing *rows = &l->panes[p];
    struct buf text = {0};
    if (!lines)
        return;
    listing_put(rows, &text, c->width, c->colour);
    const char *body = line_of(buf_str(&text), 1);
    size_t shown = lines > 1 ? lines - 1 : 1;
    if (lines > 1)
        add_line(c, buf_str(&text));
    if (!rows_of(l, p))
        add_text(c, DIM, nothing_in(l, p));
    else
        scroll_to(v->at[p].row, rows_of(l, p), shown, &v->at[p].first);
    for (size_t i = v->at[p].first; body && i < v->at[p].first + shown && i < rows_of(l, p); i++) {
        bool selected = c->height && v->pane == p && i == v->at[p].row;
        const char *line = line_of(body, i);
        if (selected)
            canvas_add_marked(c, line);
        else
            add_line(c, line);
    }
    buf_release(&text);
}

/* --- the list ---------------------------------------------------------------------------- */

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t wanted(const struct top_look *l, enum top_pane p)
{
    size_t rows = rows_of(l, p);
    if (p == PANE_UPSTREAMS && !rows)
        return 0;
    if (p == PANE_UPSTREAMS)
        rows = least(rows, MOST_UPSTREAMS);
    return 1 + (rows ? rows : 1);
}

/* Lines for each pane: first a heading and the selected row, then from above; workers and events
 * share what is left. */
static void allot(const struct top_view *v, const struct top_look *l, size_t space, size_t *lines)
{
    lines[v->pane] = least(least(2, wanted(l, v->pane)), space);
    space -= lines[v->pane];
    for (int round = 0; round < 2; round++) {
        for (enum top_pane p = 0; p < TOP_PANES; p++) {
            size_t more = least(wanted(l, p) - lines[p], space);
            if (p == PANE_WORKERS && round == 0)
                more = least(more, (space + 1) / 2);
            if (lines[p] + more == 1 && space > 1)
                more = 0; /* a heading without a row is of no use */
            lines[p] += more;
            space -= more;
        }
    }
}

static void add_footer(const struct top_view *v, const struct top_look *l, struct canvas *c)
{
    struct buf b = {0};
    if (v->mode == TOP_TYPING) {
        buf_printf(&b, "/%s_", buf_str(&v->typed));
    } else if (v->mode == TOP_ASKING) {
        buf_printf(&b, "%s [y/N]", v->question);
    } else if (v->notice[0]) {
        buf_puts(&b, v->notice);
    } else if (v->mode != TOP_LIST) {
        buf_puts(&b, "Esc back | j k scroll | q quit");
    } else {
        if (*l->search)
            buf_printf(&b, "events: %s | ", l->search);
        buf_puts(&b, "q quit | ? help | p pause | w quiet | Enter event | / filter");
    }
    add_text(c, v->mode == TOP_ASKING || v->notice[0] ? YELLOW : DIM, buf_str(&b));
    buf_release(&b);
}

static bool has_footer(const struct top_view *v, const struct canvas *c)
{
    bool needed = v->mode == TOP_ASKING || v->mode == TOP_TYPING || v->notice[0];
    return c->height > 1 || (c->height == 1 && needed);
}

static void draw_list(struct top_view *v, const struct top_look *l, struct canvas *c)
{
    size_t lines[TOP_PANES] = {0};
    int end = c->height - has_footer(v, c);
    if (c->height > 2)
        add_title(c, l);
    if (c->height >= ROOMY + aways(l))
        add_aways(c, l);
    allot(v, l, (size_t)(end > c->n ? end - c->n : 0), lines);
    for (enum top_pane p = 0; p < TOP_PANES; p++)
        add_pane(v, l, p, lines[p], c);
}

/* Everything, of no height. */
static void draw_once(struct top_view *v, const struct top_look *l, struct canvas *c)
{
    add_title(c, l);
    add_aways(c, l);
    for (enum top_pane p = 0; p < TOP_PANES; p++) {
        size_t rows = rows_of(l, p);
        if (!wanted(l, p))
            continue;
        canvas_add(c, "");
        add_pane(v, l, p, 1 + (p == PANE_EVENTS ? least(rows, EVENTS_ONCE) : rows ? rows : 1), c);
    }
}

/* --- an event, the help ------------------------------------------------------------------ */

static void put_field(struct buf *b, const struct listing *of, size_t k, bool colour)
{
    const char *value = listing_cell(of, 0, k);
    enum column_kind kind = of->columns[k].kind;
    if (!value || !*value)
        return;
    buf_printf(b, "%s%-13s%s", colour_code(BOLD, colour), of->columns[k].title,
        colour_code(PLAIN, colour));
    if (kind == COLUMN_STATE)
        buf_puts(b, colour_code(colour_of_state(value), colour));
    if (kind == COLUMN_TIME)
        put_local_time(b, atoll(value));
    else
        put_cell(b, value, 500);
    buf_puts(b, colour_code(PLAIN, colour));
    buf_putc(b, '\n');
}

static void put_event(struct buf *b, const struct top_look *l, const struct canvas *c)
{
    if (!listing_rows(&l->event)) {
        buf_printf(b, "Event %lld: not known (yet)\n", (long long)l->opened);
        return;
    }
    for (size_t k = 0; k < l->event.n; k++)
        put_field(b, &l->event, k, c->colour);
    buf_putc(b, '\n');
    listing_put(&l->timeline, b, c->width, c->colour);
}

static void put_help(struct buf *b, const struct top_help *help)
{
    for (; help->keys; help++)
        buf_printf(b, "%-14s %s\n", help->keys, help->what);
}

/* A text that may be longer than the screen. */
static void draw_text(struct top_view *v, const char *text, struct canvas *c)
{
    int end = c->height - has_footer(v, c), lines = 0;
    for (const char *at = text; *at; at += strcspn(at, "\n") + 1)
        lines++;
    if (v->scroll > lines - end + c->n)
        v->scroll = lines - end + c->n;
    if (v->scroll < 0)
        v->scroll = 0;
    for (int i = v->scroll; i < lines && c->n < end; i++)
        add_line(c, line_of(text, (size_t)i));
}

static void draw_document(struct top_view *v, const struct top_look *l, struct canvas *c)
{
    struct buf text = {0};
    if (c->height > 2)
        add_title(c, l);
    if (v->mode == TOP_HELP)
        put_help(&text, v->help);
    else
        put_event(&text, l, c);
    draw_text(v, buf_str(&text), c);
    buf_release(&text);
}

void view_draw(struct top_view *v, const struct top_look *l, struct canvas *c)
{
    if (!c->height) {
        draw_once(v, l, c);
        return;
    }
    if (v->mode == TOP_HELP || v->mode == TOP_EVENT)
        draw_document(v, l, c);
    else
        draw_list(v, l, c);
    canvas_fill(c, c->height - has_footer(v, c));
    if (has_footer(v, c))
        add_footer(v, l, c);
}
