/* audit_report: see audit_report.h. */
#include "worker/ctl/audit_report.h"

#include "base/json.h"
#include "base/text.h"
#include "worker/ctl/listing.h"

#include <stdio.h>

enum { LINE_CHARS = 2000 };

static size_t of_class(const struct audit_report *r, enum audit_class class)
{
    size_t sum = 0;
    for (int v = 0; v < AUDIT_NVERDICTS; v++)
        if (audit_verdict_info((enum audit_verdict)v)->class == class)
            sum += r->counts[v];
    return sum;
}

size_t audit_report_count(struct audit_report *r)
{
    for (size_t i = 0; i < r->set->n; i++) {
        r->counts[audit_judge(&r->set->facts[i], &r->mode)]++;
        r->answered += (r->set->facts[i].flags & AUDIT_RECEIPT) != 0;
    }
    return of_class(r, AUDIT_WRONG);
}

static const struct column wrong_columns[] = {
    {"event_id", "EVENT", COLUMN_TEXT, 0 },
    {"what",     "WHAT",  COLUMN_TEXT, 0 },
    {"where",    "WHERE", COLUMN_TEXT, 20},
};
static const struct column summary_columns[] = {
    {NULL, "FOUND",   COLUMN_TEXT, 0 },
    {NULL, "EVENTS",  COLUMN_INT,  0 },
    {NULL, "MEANING", COLUMN_TEXT, 20},
};

/* The first `limit` discrepancies. */
static struct listing list_wrong(const struct audit_report *r)
{
    struct listing l = {.columns = wrong_columns, .n = 3};
    for (size_t i = 0; i < r->set->n && listing_rows(&l) < (size_t)r->limit; i++) {
        const struct audit_fact *f = &r->set->facts[i];
        const struct audit_verdict_info *v = audit_verdict_info(audit_judge(f, &r->mode));
        char id[UUID_STRLEN + 1];
        struct buf where = {0};
        if (v->class != AUDIT_WRONG)
            continue;
        uuid_format(&f->id, id);
        audit_where(f, &where);
        listing_add(&l, (const char *[]){id, v->word, buf_str(&where)});
        buf_release(&where);
    }
    return l;
}

static void add_work(struct buf *out, int64_t n, const char *what)
{
    if (n)
        buf_printf(out, "%s%lld %s", out->len ? ", " : "", (long long)n, what);
}

void audit_report_work(const struct audit_work *w, struct buf *out)
{
    add_work(out, w->due, "queued");
    add_work(out, w->in_progress, "in progress");
    add_work(out, w->stream, "in the stream");
    add_work(out, w->later, "later");
    add_work(out, w->spooled_bytes, "bytes or more in spools");
}

/* --- text -------------------------------------------------------------------------------- */

static void print_discrepancies(const struct audit_report *r, size_t wrong)
{
    if (!wrong)
        return;
    struct listing l = list_wrong(r);
    listing_print(&l);
    listing_release(&l);
    if (wrong > (size_t)r->limit)
        printf("... and %zu more\n", wrong - (size_t)r->limit);
    puts("");
}

static void print_summary(const struct audit_report *r)
{
    struct listing l = {.columns = summary_columns, .n = 3};
    char number[24];
    for (int i = 0; i < AUDIT_NVERDICTS; i++) {
        const struct audit_verdict_info *v = audit_verdict_info((enum audit_verdict)i);
        if (!r->counts[i] && v->class != AUDIT_WRONG)
            continue;
        snprintf(number, sizeof(number), "%zu", r->counts[i]);
        listing_add(&l, (const char *[]){v->word, number, v->about});
    }
    listing_print(&l);
    listing_release(&l);
}

static void print_note(int64_t n, const char *what)
{
    if (n)
        printf("Note: %lld %s\n", (long long)n, what);
}

static void print_segments(const struct audit_report *r)
{
    for (size_t i = 0; i < r->look->nsegments; i++) {
        const struct audit_segment *s = &r->look->segments[i];
        struct buf b = {0}, line = {0};
        buf_printf(&b,
            "Note: %lld bytes of events are in the spool %s of host %s (%s), which cannot be "
            "read here; its producer was heard of %lld s ago",
            (long long)s->bytes, s->name, s->host, s->folder, (long long)s->seen_s);
        text_one_line(buf_str(&b), LINE_CHARS, &line);
        buf_putc(&line, '\n');
        print_tamed(&line);
        buf_release(&b);
    }
}

static void print_notes(const struct audit_report *r)
{
    print_note((int64_t)r->receipts->damaged, "lines of the journals are no receipts");
    print_note((int64_t)r->receipts->expired,
        "receipts may be older than WEBHOOK_EVENT_RETENTION_DAYS "
        "allows rows to be, and were passed over");
    print_note(r->look->no_jobs, "entries of the stream are no jobs; a worker quarantines them");
    print_note(r->look->no_job_letters,
        "dead letters name no event: their bytes are no job, or their id is another's");
    print_note(r->look->spool_no_jobs,
        "records of spools are no jobs of this version; see the producers' logs");
    print_note(
        r->look->spool_no_frames, "places of spool segments are damaged, torn, or being written");
    print_segments(r);
}

static void print_verdict(const struct audit_report *r, size_t wrong)
{
    struct buf work = {0};
    puts("");
    if (r->receipts->given)
        printf("%zu events with a receipt: ", r->answered);
    else
        printf("No receipts were given, so nothing can be said of lost events. ");
    printf("%zu at an end, %zu under way, %zu wrong\n", of_class(r, AUDIT_HOME),
        of_class(r, AUDIT_UNDER_WAY), wrong);
    if (r->waited && !r->quiet) {
        audit_report_work(&r->work, &work);
        printf("Not quiet in time: %s\n", work.len ? work.data : "the stores could not be asked");
    }
    buf_release(&work);
}

void audit_report_text(const struct audit_report *r)
{
    size_t wrong = of_class(r, AUDIT_WRONG);
    print_discrepancies(r, wrong);
    print_summary(r);
    print_notes(r);
    print_verdict(r, wrong);
}

/* --- JSON -------------------------------------------------------------------------------- */

static void put_flag(struct buf *b, const char *key, bool known, bool value)
{
    json_put_key(b, key);
    buf_puts(b, !known ? "null" : value ? "true" : "false");
}

static void put_receipts(const struct audit_report *r, struct buf *b)
{
    const struct audit_receipts *a = r->receipts;
    json_put_key(b, "receipts");
    if (!a->given) {
        buf_puts(b, "null");
        return;
    }
    buf_putc(b, '{');
    json_put_int(b, "files", (int64_t)a->files);
    json_put_int(b, "lines", (int64_t)a->lines);
    json_put_int(b, "events", (int64_t)r->answered);
    json_put_int(b, "damaged", (int64_t)a->damaged);
    json_put_int(b, "expired", (int64_t)a->expired);
    buf_putc(b, '}');
}

static void put_events(const struct audit_report *r, struct buf *b)
{
    json_put_key(b, "events");
    buf_putc(b, '{');
    for (int v = 0; v < AUDIT_NVERDICTS; v++)
        json_put_int(b, audit_verdict_info((enum audit_verdict)v)->word, (int64_t)r->counts[v]);
    buf_putc(b, '}');
}

static void put_unread(const struct audit_report *r, struct buf *b)
{
    json_put_key(b, "unread_spools");
    buf_putc(b, '[');
    for (size_t i = 0; i < r->look->nsegments; i++) {
        const struct audit_segment *s = &r->look->segments[i];
        buf_puts(b, i ? ",{" : "{");
        json_put_text(b, "segment", s->name);
        json_put_text(b, "host", s->host);
        json_put_text(b, "folder", s->folder);
        json_put_int(b, "bytes", s->bytes);
        json_put_int(b, "seen_seconds_ago", s->seen_s);
        buf_putc(b, '}');
    }
    buf_putc(b, ']');
}

void audit_report_json(const struct audit_report *r)
{
    struct buf b = {0};
    buf_puts(&b, "{\"version\":1");
    put_flag(&b, "quiet", r->waited, r->quiet);
    put_receipts(r, &b);
    put_events(r, &b);
    json_put_int(&b, "home", (int64_t)of_class(r, AUDIT_HOME));
    json_put_int(&b, "under_way", (int64_t)of_class(r, AUDIT_UNDER_WAY));
    json_put_int(&b, "wrong", (int64_t)of_class(r, AUDIT_WRONG));
    json_put_key(&b, "discrepancies");
    struct listing wrong = list_wrong(r);
    listing_put_json(&wrong, &b);
    listing_release(&wrong);
    json_put_key(&b, "no_jobs");
    buf_putc(&b, '{');
    json_put_int(&b, "stream", r->look->no_jobs);
    json_put_int(&b, "dead", r->look->no_job_letters);
    json_put_int(&b, "spool", r->look->spool_no_jobs);
    json_put_int(&b, "spool_damaged", r->look->spool_no_frames);
    buf_putc(&b, '}');
    put_unread(r, &b);
    buf_putc(&b, '}');
    print_line(&b);
    buf_release(&b);
}
