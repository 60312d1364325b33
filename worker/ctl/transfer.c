/* transfer: see transfer.h. Owns the form of the file. */
#include "worker/ctl/transfer.h"

#include "base/clock.h"
#include "base/digest.h"
#include "base/mem.h"
#include "base/timestamp.h"
#include "domain/queue_census.h"
#include "domain/store_transfer.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BAR = 30, SHOW_EVERY_MS = 200 };

/* --- counting ---------------------------------------------------------------------------- */

void transfer_count(struct transfer_counts *c, enum transfer_kind kind)
{
    c->records++;
    c->of[kind]++;
}

int64_t transfer_jobs(const struct transfer_counts *c)
{
    return c->of[TRANSFER_JOB] + c->of[TRANSFER_LATER];
}

int64_t transfer_remembered(const struct transfer_counts *c)
{
    return c->of[TRANSFER_DONE] + c->of[TRANSFER_SEEN];
}

void transfer_put_counts(struct buf *b, const struct transfer_counts *c)
{
    json_put_int(b, "jobs", transfer_jobs(c));
    json_put_int(b, "later", c->of[TRANSFER_LATER]);
    json_put_int(b, "dead", c->of[TRANSFER_DEAD]);
    json_put_int(b, "rejects", c->of[TRANSFER_REJECT]);
    json_put_int(b, "done", c->of[TRANSFER_DONE]);
    json_put_int(b, "seen", c->of[TRANSFER_SEEN]);
}

/* --- writing ----------------------------------------------------------------------------- */

static void put_base64(struct buf *b, const char *data, size_t len)
{
    unsigned char *to = (unsigned char *)buf_reserve(b, 4 * ((len + 2) / 3) + 1);
    b->len += (size_t)EVP_EncodeBlock(to, (const unsigned char *)data, (int)len);
    b->data[b->len] = '\0';
}

void transfer_line_header(struct buf *b, const struct transfer_origin *o)
{
    char at[TIMESTAMP_ISO_LEN + 1];
    timestamp_iso(clock_wall_us(), at);
    buf_putc(b, '{');
    json_put_int(b, "hookline_export", TRANSFER_VERSION);
    json_put_text(b, "prefix", o->prefix);
    json_put_text(b, "at", at);
    json_put_text(b, "generation", o->generation);
    json_put_text(b, "pause", o->pause);
    json_put_text(b, "redis", o->run_id);
    json_put_text(b, "holds", o->holds);
    buf_puts(b, "}\n");
}

void transfer_line_place(struct buf *b, enum transfer_place place)
{
    buf_putc(b, '{');
    json_put_text(b, "place", transfer_places[place]);
    buf_puts(b, "}\n");
}

void transfer_line_record(struct buf *b, const struct transfer_record *r)
{
    const struct transfer_kind_info *kind = &transfer_kinds[r->kind];
    buf_putc(b, '{');
    json_put_text(b, "kind", kind->name);
    for (size_t i = 0; i < TRANSFER_TEXTS && kind->texts[i]; i++)
        json_put_text(b, kind->texts[i], r->texts[i]);
    if (r->n)
        buf_puts(b, ",\"values\":[");
    for (size_t i = 0; i < r->n; i++) {
        buf_puts(b, i ? ",\"" : "\"");
        put_base64(b, r->values[i].data, r->values[i].len);
        buf_putc(b, '"');
    }
    buf_puts(b, r->n ? "]}\n" : "}\n");
}

void transfer_line_trailer(
    struct buf *b, const struct transfer_counts *c, const char digest[static 65])
{
    buf_putc(b, '{');
    json_put_int(b, "records", c->records);
    transfer_put_counts(b, c);
    json_put_text(b, "sha256", digest);
    buf_puts(b, "}\n");
}

EVP_MD_CTX *transfer_hash_new(void)
{
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    if (!hash || EVP_DigestInit_ex(hash, EVP_sha256(), NULL) != 1)
        abort(); /* out of memory */
    return hash;
}

void transfer_hash_hex(const EVP_MD_CTX *hash, char out[static 65])
{
    unsigned char raw[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *end = EVP_MD_CTX_new();
    if (!end || EVP_MD_CTX_copy_ex(end, hash) != 1 || EVP_DigestFinal_ex(end, raw, NULL) != 1)
        abort(); /* out of memory */
    EVP_MD_CTX_free(end);
    digest_hex(raw, DIGEST_LEN, out);
}

/* --- reading ----------------------------------------------------------------------------- */

void transfer_item_release(struct transfer_item *i)
{
    json_decref(i->root);
    free(i->values);
    buf_release(&i->bytes);
    *i = (struct transfer_item){0};
}

void transfer_reader_init(struct transfer_reader *r, FILE *file)
{
    *r = (struct transfer_reader){.file = file, .hash = transfer_hash_new()};
}

void transfer_reader_release(struct transfer_reader *r)
{
    EVP_MD_CTX_free(r->hash);
    free(r->line);
    *r = (struct transfer_reader){0};
}

/* Appends what it stands for; false when it is no base64. */
static bool decode(struct buf *b, const char *text, size_t len)
{
    unsigned char *to = (unsigned char *)buf_reserve(b, len / 4 * 3 + 1);
    if (len % 4)
        return false;
    int n = len ? EVP_DecodeBlock(to, (const unsigned char *)text, (int)len) : 0;
    if (n < 0)
        return false;
    for (size_t i = len; i > 0 && i + 2 > len && text[i - 1] == '='; i--)
        n--;
    b->len += (size_t)n;
    b->data[b->len] = '\0';
    return true;
}

static bool read_values(struct transfer_item *item)
{
    const json_t *values = json_object_get(item->root, "values");
    size_t n = json_array_size(values), at = 0;
    item->values = mem_array(n + 1, sizeof(*item->values));
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(values, i);
        size_t before = item->bytes.len;
        if (!json_is_string(v) ||
            !decode(&item->bytes, json_string_value(v), json_string_length(v)))
            return false;
        item->values[i].len = item->bytes.len - before;
    }
    for (size_t i = 0; i < n; at += item->values[i++].len)
        item->values[i].data = buf_str(&item->bytes) + at;
    item->record.values = item->values;
    item->record.n = n;
    return true;
}

/* Values that each kind has; 0 of streams: an even number, at most TRANSFER_MAX_VALUES. */
static bool right_number(const struct transfer_record *r)
{
    switch (r->kind) {
    case TRANSFER_SEEN:
    case TRANSFER_LATER:
    case TRANSFER_BLOB: return r->n == 1;
    case TRANSFER_JOB:
    case TRANSFER_DEAD:
    case TRANSFER_REJECT: return r->n > 0 && r->n % 2 == 0 && r->n <= TRANSFER_MAX_VALUES;
    default: return r->n == 0;
    }
}

static bool read_record(struct transfer_item *item)
{
    const char *kind = json_get_string(item->root, "kind");
    struct transfer_record *r = &item->record;
    int k = 0;
    while (k < TRANSFER_FINISHED && strcmp(transfer_kinds[k].name, kind) != 0)
        k++;
    if (k == TRANSFER_FINISHED)
        return false;
    r->kind = (enum transfer_kind)k;
    for (size_t i = 0; i < TRANSFER_TEXTS; i++) {
        const char *name = transfer_kinds[k].texts[i];
        r->texts[i] = name ? json_get_string(item->root, name) : "";
        if (!r->texts[i])
            return false;
    }
    bool queued = k == TRANSFER_JOB || k == TRANSFER_LATER;
    if (queued && strcmp(r->texts[0], "change") != 0 && strcmp(r->texts[0], "crawl") != 0)
        return false;
    return read_values(item) && right_number(r);
}

static bool read_place(struct transfer_item *item)
{
    const char *name = json_get_string(item->root, "place");
    for (int i = 0; i < TRANSFER_NPLACES; i++)
        if (strcmp(transfer_places[i], name) == 0) {
            item->place = (enum transfer_place)i;
            return true;
        }
    return false;
}

static enum transfer_line bad(const struct transfer_reader *r, struct hl_err *err, const char *why)
{
    hl_fail(err, HL_FATAL, "line %lld %s", (long long)r->number, why);
    return TRANSFER_LINE_BAD;
}

static enum transfer_line read_line(
    struct transfer_reader *r, struct transfer_item *item, struct hl_err *err)
{
    const json_t *o = item->root;
    if (json_object_get(o, "hookline_export")) {
        int64_t version = json_integer_value(json_object_get(o, "hookline_export"));
        return version == TRANSFER_VERSION
                   ? TRANSFER_LINE_HEADER
                   : bad(r, err, "is of another version of this file format");
    }
    if (json_get_string(o, "sha256"))
        return TRANSFER_LINE_TRAILER;
    if (json_get_string(o, "place"))
        return read_place(item) ? TRANSFER_LINE_PLACE : bad(r, err, "names an unknown place");
    if (json_get_string(o, "kind"))
        return read_record(item) ? TRANSFER_LINE_RECORD
                                 : bad(r, err, "is a record that this release does not know");
    return bad(r, err, "is nothing that an export has");
}

enum transfer_line transfer_read(
    struct transfer_reader *r, struct transfer_item *item, struct hl_err *err)
{
    ssize_t len = getline(&r->line, &r->room, r->file);
    struct hl_err why;
    if (len <= 0)
        return ferror(r->file) ? bad(r, err, "cannot be read") : TRANSFER_LINE_NONE;
    r->number++;
    if (r->line[len - 1] != '\n')
        return bad(r, err, "is torn: the file is not whole");
    item->root = json_parse(r->line, (size_t)len, &why);
    if (!json_is_object(item->root))
        return bad(r, err, "is no JSON object");
    enum transfer_line line = read_line(r, item, err);
    if (line == TRANSFER_LINE_TRAILER)
        transfer_hash_hex(r->hash, r->digest);
    EVP_DigestUpdate(r->hash, r->line, (size_t)len);
    r->offset += len;
    return line;
}

/* --- asking ------------------------------------------------------------------------------ */

int transfer_ask_manners(struct session *s, struct transfer_manners *m)
{
    struct answer a = {.session = s};
    *m = (struct transfer_manners){0};
    store_transfer_state(s->store, answer_keep, answer_asked(&a));
    int code = answer_wait(&a);
    if (code == CTL_OK) {
        m->generation = mem_strdup(db_text(a.rows, 0, TRANSFER_GENERATION));
        if (!PQgetisnull(a.rows, 0, TRANSFER_PAUSE))
            m->pause = mem_strdup(db_text(a.rows, 0, TRANSFER_PAUSE));
        m->running = db_int(a.rows, 0, TRANSFER_RUNNING);
        m->spools = db_int(a.rows, 0, TRANSFER_SPOOLS);
        m->open_producers = db_int(a.rows, 0, TRANSFER_OPEN);
        m->silent_producers = db_int(a.rows, 0, TRANSFER_SILENT);
    }
    answer_release(&a);
    return code;
}

void transfer_manners_release(struct transfer_manners *m)
{
    free(m->generation);
    free(m->pause);
    *m = (struct transfer_manners){0};
}

static void add_why(struct buf *why, int64_t n, const char *what)
{
    if (n)
        buf_printf(why, "%s%lld %s", why->len ? "; " : "", (long long)n, what);
}

bool transfer_moves(const struct transfer_manners *m, struct buf *why)
{
    if (!m->pause)
        buf_puts(why,
            "not all queues are paused and fenced (hooklinectl pause, hooklinectl pause --intake)");
    add_why(why, m->open_producers, "producers have not noted yet that the queues are fenced");
    add_why(why, m->running, "events are being worked on");
    add_why(why, m->spools, "spool segments have events that are not in Redis yet");
    return why->len > 0;
}

struct holds_call {
    struct session *session;
    struct transfer_holds *holds;
    struct hl_err err;
};

static int64_t jobs_in(const struct queue_tally *q)
{
    return q->length + q->later_jobs;
}

static int64_t left_of(const struct queue_tally *q)
{
    return q->added - q->length;
}

static void got_tally(
    enum hl_rc rc, const struct queue_tallies *t, const struct hl_err *err, void *ctx)
{
    struct holds_call *c = ctx;
    if (rc != HL_OK) {
        c->err = *err;
    } else {
        const struct queue_tally *change = &t->queues[QUEUE_CHANGE];
        const struct queue_tally *crawl = &t->queues[QUEUE_CRAWL];
        *c->holds = (struct transfer_holds){.change = jobs_in(change),
            .crawl = jobs_in(crawl),
            .dead = t->dead,
            .left = left_of(change) + left_of(crawl)};
    }
    session_answered(c->session);
}

int transfer_ask_holds(struct session *s, struct transfer_holds *h)
{
    struct holds_call c = {.session = s, .holds = h};
    session_asked(s);
    queue_tally(s->queue, s->crawl_queue, got_tally, &c);
    session_wait(s);
    return c.err.rc == HL_OK ? CTL_OK : ctl_fail_err(&c.err);
}

/* --- progress ---------------------------------------------------------------------------- */

void transfer_progress_init(
    struct transfer_progress *p, bool quiet, const char *what, int64_t total)
{
    *p = (struct transfer_progress){
        .shown = !quiet && isatty(STDERR_FILENO), .what = what, .total = total};
}

void transfer_progress_show(struct transfer_progress *p, int64_t done)
{
    int64_t now = clock_mono_ms();
    if (!p->shown || now - p->last_ms < SHOW_EVERY_MS)
        return;
    p->last_ms = now;
    int full = p->total > 0 && done < p->total ? (int)(BAR * done / p->total) : BAR;
    fprintf(stderr, "\r%s [%.*s%*s] %lld of %lld\033[K", p->what, full,
        "##############################", BAR - full, "", (long long)done, (long long)p->total);
}

void transfer_progress_end(struct transfer_progress *p)
{
    if (p->shown && p->last_ms)
        fputs("\r\033[K", stderr);
}
