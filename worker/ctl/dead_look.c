/* dead_look: see dead_look.h. */
#include "worker/ctl/dead_look.h"

#include "base/crawl_job.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/timestamp.h"
#include "domain/store_view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEX_BYTES = 256 };

const char *const dead_kind_names[] = {[DEAD_EVENT] = "event",
    [DEAD_LETTER] = "letter",
    [DEAD_CRAWL] = "crawl",
    [DEAD_BYTES] = "bytes"};

/* --- items ------------------------------------------------------------------------------- */

static struct dead_item *add_item(struct dead_look *look)
{
    if ((look->n & (look->n - 1)) == 0)
        look->items = mem_grow(look->items, (look->n ? look->n * 2 : 1) * sizeof(*look->items));
    struct dead_item *item = &look->items[look->n++];
    *item = (struct dead_item){.attempts = -1, .bytes = -1};
    return item;
}

static void item_release(struct dead_item *item)
{
    char *const texts[] = {
        item->url, item->watch, item->error, item->status, item->blob, item->detail};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        free(texts[i]);
}

static void drop_item(struct dead_look *look, size_t i)
{
    item_release(&look->items[i]);
    memmove(&look->items[i], &look->items[i + 1], (--look->n - i) * sizeof(*look->items));
}

static void cut_items(struct dead_look *look, size_t limit)
{
    while (look->n > limit)
        item_release(&look->items[--look->n]);
}

void dead_look_release(struct dead_look *look)
{
    cut_items(look, 0);
    free(look->items);
    look->items = NULL;
}

static int newest_first(const void *a, const void *b)
{
    const struct dead_item *x = a, *y = b;
    return x->at != y->at ? (x->at < y->at) - (x->at > y->at)
                          : (x->row_id < y->row_id) - (x->row_id > y->row_id);
}

static int compare_ids(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* --- letters ----------------------------------------------------------------------------- */

static void put_clean(struct buf *b, const char *key, const char *text)
{
    char *copy = text_utf8_copy(text);
    json_put_text(b, key, copy);
    free(copy);
}

static char *hex_detail(const struct queue_letter *l)
{
    struct buf b = {0}, hex = {0};
    for (size_t i = 0; l->job && i < l->len && i < HEX_BYTES; i++)
        buf_printf(&hex, "%02x", ((const unsigned char *)l->job)[i]);
    buf_putc(&b, '{');
    json_put_text(&b, "hex", buf_str(&hex));
    buf_putc(&b, '}');
    buf_release(&hex);
    return buf_detach(&b);
}

static char *event_detail(const struct change_event *ev)
{
    struct buf b = {0};
    char at[TIMESTAMP_ISO_LEN + 1];
    timestamp_iso(ev->detected_at, at);
    buf_putc(&b, '{');
    json_put_text(&b, "detected_at", at);
    put_clean(&b, "diff_summary", ev->diff_summary);
    put_clean(&b, "snapshot_url", ev->snapshot_url);
    buf_putc(&b, '}');
    return buf_detach(&b);
}

static char *crawl_detail(const struct queue_letter *l)
{
    struct crawl_job job;
    struct buf b = {0};
    char at[TIMESTAMP_ISO_LEN + 1];
    buf_putc(&b, '{');
    if (l->blob) {
        put_clean(&b, "blob", l->blob);
    } else if (crawl_job_peek(l->job, l->len, &job, NULL) == HL_OK) {
        timestamp_iso(job.received_at, at);
        json_put_text(&b, "received_at", at);
        put_clean(&b, "request_id", job.request_id);
        buf_printf(&b, ",\"reconciled\":%s", job.reconciled ? "true" : "false");
        crawl_job_release(&job);
    }
    buf_putc(&b, '}');
    return buf_detach(&b);
}

/* What kind of letter it is; takes what its job tells. */
static void take_job(struct dead_item *item, const struct queue_letter *l)
{
    struct uuid id;
    struct change_event ev;
    bool named = uuid_parse(l->id, &id);
    item->kind = DEAD_BYTES;
    if (named)
        uuid_format(&id, item->event_id);
    if (named && l->crawl) {
        item->kind = DEAD_CRAWL;
        item->detail = crawl_detail(l);
        return;
    }
    enum hl_rc rc = named && l->job ? event_decode(l->job, l->len, &ev, NULL) : HL_FATAL;
    if (rc == HL_OK) {
        item->kind = uuid_equal(&ev.id, &id) ? DEAD_LETTER : DEAD_BYTES;
        item->url = text_utf8_copy(ev.watch_url);
        item->watch = text_utf8_copy(ev.watch_id);
        item->detail = event_detail(&ev);
        event_release(&ev);
        return;
    }
    if (rc == HL_LOST) /* of a newer version: a job all the same */
        item->kind = DEAD_LETTER;
    item->detail = hex_detail(l);
}

static void take_letter(struct dead_look *look, const struct queue_letter *l)
{
    struct dead_item *item = add_item(look);
    snprintf(item->entry, sizeof(item->entry), "%s", l->entry);
    item->at = queue_letter_us(l->entry);
    item->error = text_utf8_copy(l->reason);
    item->blob = mem_strdup(l->blob);
    item->bytes = (int64_t)l->len;
    take_job(item, l);
}

static bool is_text_meant(const char *asked, const char *text)
{
    return !asked || (text && strcmp(asked, text) == 0);
}

static bool is_meant(const struct failed_filter *f, const struct dead_item *item)
{
    return is_text_meant(f->url, item->url) && is_text_meant(f->watch, item->watch) &&
           (!f->since || item->at >= *f->since) && (!f->until || item->at < *f->until) &&
           (!f->error || strcasestr(item->error, f->error));
}

static bool is_wanted(const struct dead_look *look, const char *event_id)
{
    return !look->wanted ||
           bsearch(&event_id, look->wanted, look->nwanted, sizeof(*look->wanted), compare_ids);
}

static void got_letters(enum hl_rc rc, const struct queue_letter *letters, size_t n,
    const struct hl_err *err, void *ctx)
{
    struct dead_look *look = ctx;
    look->got = n;
    if (rc != HL_OK)
        look->err = *err;
    for (size_t i = 0; rc == HL_OK && i < n; i++) {
        snprintf(look->before, sizeof(look->before), "%s", letters[i].entry);
        take_letter(look, &letters[i]);
        const struct dead_item *item = &look->items[look->n - 1];
        look->past = look->filter.since && item->at < *look->filter.since;
        if (!is_wanted(look, item->event_id) || !is_meant(&look->filter, item))
            drop_item(look, look->n - 1);
    }
    session_answered(look->session);
}

/* The text of an array of the ids of the page's change events. */
static void put_ids(const struct dead_look *look, struct buf *b)
{
    buf_putc(b, '{');
    for (size_t i = look->first; i < look->n; i++)
        if (look->items[i].kind == DEAD_LETTER ||
            (look->items[i].kind == DEAD_BYTES && *look->items[i].event_id))
            buf_printf(b, "%s%s", b->len > 1 ? "," : "", look->items[i].event_id);
    buf_putc(b, '}');
}

/* A row is there: its letter is not a thing of its own where that is failed. */
static void take_status(struct dead_look *look, const char *event_id, const char *status)
{
    for (size_t i = look->n; i-- > look->first;) {
        struct dead_item *item = &look->items[i];
        if (item->kind == DEAD_CRAWL || strcmp(item->event_id, event_id) != 0)
            continue;
        free(item->status);
        item->status = mem_strdup(status);
        if (!look->letters_only && strncmp(status, "failed", 6) == 0)
            drop_item(look, i);
    }
}

static int ask_rows(struct dead_look *look)
{
    struct answer a = {.session = look->session};
    struct buf ids = {0};
    int code = CTL_OK;
    put_ids(look, &ids);
    if (ids.len > 2) {
        store_failed_known(look->session->store, buf_str(&ids), answer_keep, answer_asked(&a));
        code = answer_wait(&a);
    }
    for (int i = 0; a.rows && i < PQntuples(a.rows); i++)
        take_status(look, db_text(a.rows, i, 0), db_text(a.rows, i, 1));
    answer_release(&a);
    buf_release(&ids);
    return code;
}

/* The place behind the last letter that is meant. */
static void start_walk(struct dead_look *look)
{
    const int64_t *until = look->filter.until;
    look->err = (struct hl_err){0};
    look->past = false;
    look->before[0] = '\0';
    if (until)
        snprintf(look->before, sizeof(look->before), "%lld-0",
            *until > 0 ? (long long)((*until - 1) / 1000 + 1) : 1);
}

/* From the newest on, until there are enough (0 = all). */
static int walk_letters(struct dead_look *look, size_t enough)
{
    int code = CTL_OK;
    start_walk(look);
    do {
        look->first = look->n;
        session_asked(look->session);
        queue_letters(look->session->queue, look->before, QUEUE_LETTERS_MAX, got_letters, look);
        session_wait(look->session);
        code = look->err.rc ? ctl_fail_err(&look->err) : ask_rows(look);
    } while (code == CTL_OK && look->got == QUEUE_LETTERS_MAX && !look->past &&
             (!enough || look->n < enough));
    return code;
}

/* --- rows -------------------------------------------------------------------------------- */

static char *cell(const PGresult *rows, int row, int col)
{
    return PQgetisnull(rows, row, col) ? NULL : mem_strdup(PQgetvalue(rows, row, col));
}

static void take_row(struct dead_look *look, const PGresult *rows, int row)
{
    struct dead_item *item = add_item(look);
    item->kind = DEAD_EVENT;
    item->row_id = db_int(rows, row, FAILED_ID);
    item->epoch = db_int(rows, row, FAILED_EPOCH);
    item->at = db_int(rows, row, FAILED_AT);
    item->attempts = db_int(rows, row, FAILED_ATTEMPTS);
    item->url = cell(rows, row, FAILED_URL);
    item->watch = cell(rows, row, FAILED_WATCH_ID);
    item->error = cell(rows, row, FAILED_ERROR);
    item->status = mem_strdup("failed");
    snprintf(item->event_id, sizeof(item->event_id), "%s", db_text(rows, row, FAILED_EVENT_ID));
}

static int walk_rows(struct dead_look *look, int limit)
{
    int64_t before = 0;
    for (int got = 0; got < limit;) {
        struct answer a = {.session = look->session};
        store_failed(look->session->store, &look->filter, before, limit - got, answer_keep,
            answer_asked(&a));
        int code = answer_wait(&a);
        for (int i = 0; code == CTL_OK && i < PQntuples(a.rows); i++) {
            if (PQgetisnull(a.rows, i, FAILED_ID))
                continue;
            take_row(look, a.rows, i);
            got++;
        }
        bool end = code != CTL_OK || PQgetisnull(a.rows, 0, FAILED_EDGE);
        before = end ? 0 : db_int(a.rows, 0, FAILED_EDGE);
        answer_release(&a);
        if (end)
            return code;
    }
    return CTL_OK;
}

int dead_look_list(struct dead_look *look)
{
    const size_t limit = (size_t)look->limit;
    int code = walk_letters(look, limit + 1);
    if (code == CTL_OK && !look->letters_only)
        code = walk_rows(look, look->limit + 1);
    if (look->n)
        qsort(look->items, look->n, sizeof(*look->items), newest_first);
    look->more = look->n > limit;
    cut_items(look, limit);
    return code;
}

/* --- by their IDs ------------------------------------------------------------------------ */

static int64_t row_number(const char *id)
{
    size_t digits = strspn(id, "0123456789");
    return digits > 0 && digits <= 18 && !id[digits] ? strtoll(id, NULL, 10) : 0;
}

static char *row_detail(const PGresult *rows)
{
    struct buf b = {0};
    char at[TIMESTAMP_ISO_LEN + 1];
    timestamp_iso(db_int(rows, 0, VIEW_DETECTED), at);
    buf_putc(&b, '{');
    json_put_text(&b, "detected_at", at);
    json_put_text(
        &b, "diff_summary", PQgetisnull(rows, 0, VIEW_DIFF) ? NULL : db_text(rows, 0, VIEW_DIFF));
    json_put_text(&b, "snapshot_url",
        PQgetisnull(rows, 0, VIEW_SNAPSHOT) ? NULL : db_text(rows, 0, VIEW_SNAPSHOT));
    json_put_key(&b, "metadata");
    buf_puts(&b, PQgetisnull(rows, 0, VIEW_METADATA) ? "null" : db_text(rows, 0, VIEW_METADATA));
    buf_putc(&b, '}');
    return buf_detach(&b);
}

/* Adds the row as an item where it is failed. */
static void take_event(struct dead_look *look, const PGresult *rows)
{
    if (PQntuples(rows) == 0 || strncmp(db_text(rows, 0, VIEW_STATUS), "failed", 6) != 0)
        return;
    const int at = PQgetisnull(rows, 0, VIEW_FINISHED) ? VIEW_CREATED : VIEW_FINISHED;
    struct dead_item *item = add_item(look);
    item->kind = DEAD_EVENT;
    item->row_id = db_int(rows, 0, VIEW_ID);
    item->epoch = db_int(rows, 0, VIEW_EPOCH);
    item->at = db_int(rows, 0, at);
    item->attempts = db_int(rows, 0, VIEW_ATTEMPTS);
    item->url = cell(rows, 0, VIEW_WATCH_URL);
    item->watch = cell(rows, 0, VIEW_WATCH_ID);
    item->error = cell(rows, 0, VIEW_ERROR);
    item->status = cell(rows, 0, VIEW_STATUS);
    item->detail = row_detail(rows);
    snprintf(item->event_id, sizeof(item->event_id), "%s", db_text(rows, 0, VIEW_EVENT_ID));
}

static int find_row(struct dead_look *look, const char *event_id, int64_t row_id)
{
    struct answer a = {.session = look->session};
    view_event(
        look->session->store, &(struct view_key){event_id, row_id}, answer_keep, answer_asked(&a));
    int code = answer_wait(&a);
    if (code == CTL_OK)
        take_event(look, a.rows);
    answer_release(&a);
    return code;
}

/* A letter of a failed row stands for that. */
static int find_letter(struct dead_look *look, const char *entry)
{
    char id[UUID_STRLEN + 1];
    const size_t first = look->first = look->n;
    session_asked(look->session);
    queue_letter(look->session->queue, entry, got_letters, look);
    session_wait(look->session);
    if (look->err.rc)
        return ctl_fail_err(&look->err);
    if (look->n == first)
        return CTL_OK;
    snprintf(id, sizeof(id), "%s", look->items[first].event_id);
    int code = ask_rows(look);
    if (code != CTL_OK || look->n > first)
        return code;
    code = find_row(look, id, 0);
    if (look->n > first)
        snprintf(look->items[first].entry, QUEUE_ENTRY_MAX, "%s", entry);
    return code;
}

/* One of the IDs that were given. */
struct named {
    const char *id;
    char event_id[UUID_STRLEN + 1]; /* whose letters are looked for; "" = none are */
    bool found;
};

/* A letter, or a failed row. */
static int find_named(struct dead_look *look, struct named *named)
{
    struct uuid uuid;
    const size_t before = look->n;
    int code = CTL_OK;
    if (queue_letter_is_entry(named->id)) {
        code = find_letter(look, named->id);
    } else if (uuid_parse(named->id, &uuid)) {
        uuid_format(&uuid, named->event_id);
        code = look->letters_only ? CTL_OK : find_row(look, named->event_id, 0);
    } else if (!look->letters_only) {
        code = find_row(look, NULL, row_number(named->id));
        if (look->n > before)
            snprintf(named->event_id, UUID_STRLEN + 1, "%s", look->items[before].event_id);
    }
    named->found = look->n > before;
    return code;
}

/* What was named twice is here once. */
static void drop_known(struct dead_look *look, size_t first)
{
    for (size_t i = look->n; i-- > first;) {
        const struct dead_item *item = &look->items[i];
        for (size_t k = 0; k < first; k++) {
            const struct dead_item *other = &look->items[k];
            if (item->row_id != other->row_id ||
                (!item->row_id && strcmp(item->entry, other->entry)))
                continue;
            drop_item(look, i);
            break;
        }
    }
}

/* A letter stands for itself unless the failed row of its event is here, which takes its name. */
static void take_found(struct dead_look *look, struct dead_item *letter)
{
    const size_t before = look->n;
    for (size_t i = 0; i < before; i++) {
        struct dead_item *item = &look->items[i];
        if (item->kind != DEAD_EVENT || strcmp(item->event_id, letter->event_id) != 0)
            continue;
        if (!*item->entry) /* of several the newest, which comes first */
            snprintf(item->entry, sizeof(item->entry), "%s", letter->entry);
        return;
    }
    *add_item(look) = *letter;
    *letter = (struct dead_item){0};
    drop_known(look, before);
}

/* The letters of all events that were named, in one walk. */
static int find_letters(struct dead_look *look, struct named *named, int n)
{
    struct dead_look letters = {.session = look->session, .letters_only = true};
    const char **wanted = mem_array((size_t)n, sizeof(*wanted));
    for (int i = 0; i < n; i++)
        if (*named[i].event_id)
            wanted[letters.nwanted++] = named[i].event_id;
    qsort(wanted, letters.nwanted, sizeof(*wanted), compare_ids);
    letters.wanted = wanted;
    int code = letters.nwanted ? walk_letters(&letters, 0) : CTL_OK;
    for (size_t k = 0; k < letters.n; k++) {
        for (int i = 0; i < n; i++)
            named[i].found |= strcmp(named[i].event_id, letters.items[k].event_id) == 0;
        take_found(look, &letters.items[k]);
    }
    dead_look_release(&letters);
    free(wanted);
    return code;
}

static int all_found(const struct dead_look *look, const struct named *named, int n)
{
    for (int i = 0; i < n; i++)
        if (!named[i].found)
            return ctl_fail(CTL_NOT_EMPTY,
                "%s is not among the dead%s; 'hooklinectl dead list' shows them", named[i].id,
                look->letters_only ? " letters" : "");
    return CTL_OK;
}

int dead_look_find(struct dead_look *look, char *const *ids, int n)
{
    struct named *named = mem_array((size_t)n, sizeof(*named));
    int code = CTL_OK;
    for (int i = 0; code == CTL_OK && i < n; i++) {
        const size_t before = look->n;
        named[i].id = ids[i];
        code = find_named(look, &named[i]);
        drop_known(look, before);
    }
    code = code ? code : find_letters(look, named, n);
    code = code ? code : all_found(look, named, n);
    free(named);
    return code;
}
