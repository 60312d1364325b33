/* hooklinectl dead: what will never be done unless somebody wants it: failed events and dead letters. */
#include "worker/ctl/commands.h"

#include "base/json.h"
#include "base/mem.h"
#include "worker/ctl/confirm.h"
#include "worker/ctl/dead_look.h"
#include "worker/ctl/dead_retry.h"
#include "worker/ctl/interrupt.h"
#include "worker/ctl/listing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPT_ALL = 1, OPT_CONFIRM };
enum { MAX_IDS = 1000, SAMPLE = 10 };

/* --- what its actions share -------------------------------------------------------------- */

enum { N_COLUMNS = 12 };
static const struct column columns[N_COLUMNS] = {
    {"id",              "ID",     COLUMN_TEXT,  0 },
    {"kind",            "KIND",   COLUMN_TEXT,  0 },
    {"event_id",        NULL,     COLUMN_TEXT,  0 },
    {"change_event_id", NULL,     COLUMN_INT,   0 },
    {"letter",          NULL,     COLUMN_TEXT,  0 },
    {"died_at",         "DIED",   COLUMN_AGO,   0 },
    {"url",             "URL",    COLUMN_TEXT,  24},
    {"watch_id",        NULL,     COLUMN_TEXT,  0 },
    {"error",           "ERROR",  COLUMN_TEXT,  20},
    {"attempts",        "TRIES",  COLUMN_INT,   0 },
    {"bytes",           "SIZE",   COLUMN_BYTES, 0 },
    {"status",          "STATUS", COLUMN_STATE, 0 },
};

/* clang-format off */
#define FILTERS                                                                                    \
    {CTL_URL, "url", "URL", "of this page only"},                                                  \
    {CTL_WATCH_ID, "watch-id", "ID", "of this watch only"},                                        \
    {CTL_SINCE, "since", "TIME", "died then or later: ISO 8601, or a duration ago as 2h"},         \
    {CTL_UNTIL, "until", "TIME", "died before: likewise"},                                         \
    {CTL_ERROR_LIKE, "error", "TEXT", "whose error has this text in it, in any case"},             \
    CTL_LIMIT_OPTION
/* clang-format on */

struct number {
    char text[24];
};

static const char *number(struct number *n, int64_t v, int64_t none)
{
    snprintf(n->text, sizeof(n->text), "%lld", (long long)v);
    return v == none ? NULL : n->text;
}

static const char *given(const char *text)
{
    return text && *text ? text : NULL;
}

/* By which the actions know it. */
static const char *id_of(const struct dead_item *i, struct number *row)
{
    if (i->kind != DEAD_EVENT)
        return i->entry;
    return *i->event_id ? i->event_id : number(row, i->row_id, 0);
}

static void add_row(struct listing *l, const struct dead_item *i)
{
    struct number id, row, at, attempts, bytes;
    const char *row_id = number(&row, i->row_id, 0);
    listing_add(
        l, (const char *[]){id_of(i, &id), dead_kind_names[i->kind], given(i->event_id), row_id,
               given(i->entry), number(&at, i->at, -1), i->url, i->watch, i->error,
               number(&attempts, i->attempts, -1), number(&bytes, i->bytes, -1), i->status});
}

static void fill(struct listing *l, const struct dead_look *look, size_t most)
{
    for (size_t i = 0; i < look->n && i < most; i++)
        add_row(l, &look->items[i]);
}

/* What an action is about: IDs, or a filter. */
struct dead_verb {
    struct ctl_args *args;
    struct dead_look look;
    char **ids; /* borrowed from argv */
    int nids;
    bool all;
    const char *confirmed;
    int (*run)(struct dead_verb *v);
};

static bool is_filtered(const struct ctl_shared *s)
{
    return s->url || s->watch_id || s->since || s->until || s->error;
}

/* The words behind the options; a writer says what it means. -1: go on; else the exit code. */
static int take_words(struct dead_verb *v)
{
    const struct ctl_shared *s = &v->args->shared;
    const char *name = v->args->command->name;
    v->ids = v->args->argv + v->args->rest;
    v->nids = v->args->argc - v->args->rest;
    v->look.limit = s->limit;
    v->look.filter = (struct failed_filter){s->url, s->watch_id, s->since, s->until, s->error};
    if (v->nids > MAX_IDS)
        return ctl_usage_error(v->args->command, "%s takes at most %d IDs", name, MAX_IDS);
    if ((v->nids > 0) + is_filtered(s) + v->all != 1)
        return ctl_usage_error(
            v->args->command, "say which: %s ID..., or a filter as --since, or --all", name);
    return -1;
}

static int with_session(struct dead_verb *v)
{
    struct config cfg;
    struct session s;
    struct hl_err err;
    if (!ctl_config(v->args->ctl, &cfg))
        return CTL_ERROR;
    bool open = session_open(&s, &cfg, &err) == HL_OK;
    v->look.session = &s;
    int code = open ? v->run(v) : ctl_fail_err(&err);
    dead_look_release(&v->look);
    if (open)
        session_close(&s);
    config_release(&cfg);
    return code;
}

/* A filter means nothing, so nothing is to be done. */
static int say_nothing(const struct ctl_args *args)
{
    if (args->shared.json)
        printf("{\"version\":1,\"dry_run\":%s,\"found\":0,\"affected\":0}\n",
            args->shared.dry_run ? "true" : "false");
    else
        puts("Nothing of that kind is dead.");
    return CTL_OK;
}

/* What a writer is about to touch. -1: go on; else the exit code. */
static int look_and_show(struct dead_verb *v)
{
    struct listing l = {.columns = columns, .n = N_COLUMNS};
    int code = v->nids ? dead_look_find(&v->look, v->ids, v->nids) : dead_look_list(&v->look);
    if (code != CTL_OK)
        return code;
    if (!v->look.n)
        return say_nothing(v->args);
    if (v->args->shared.json)
        return -1;
    fill(&l, &v->look, SAMPLE);
    listing_print(&l);
    listing_release(&l);
    if (v->look.n > SAMPLE)
        printf("... and %zu more.\n", v->look.n - SAMPLE);
    if (v->look.more)
        puts("There are others beyond --limit, which are not touched.");
    return -1;
}

/* By these a trace of an event finds what was done to its letters. */
static void put_events_of_letters(const struct dead_verb *v, struct buf *b)
{
    bool any = false;
    for (size_t i = 0; i < v->look.n && i < MAX_IDS; i++) {
        const struct dead_item *item = &v->look.items[i];
        if (item->kind == DEAD_EVENT || !*item->event_id)
            continue;
        buf_puts(b, any ? "," : "");
        json_put_string(b, item->event_id);
        any = true;
    }
}

/* The beginning of a writer's JSON object. */
static void put_found(const struct dead_verb *v, struct buf *b)
{
    buf_printf(b, "{\"version\":1,\"dry_run\":%s,\"found\":%zu,\"more\":%s",
        v->args->shared.dry_run ? "true" : "false", v->look.n, v->look.more ? "true" : "false");
}

static int begin_log(const struct dead_verb *v, struct oplog *log)
{
    struct buf b = {0};
    buf_puts(&b, "{\"ids\":[");
    for (size_t i = 0; i < v->look.n && i < MAX_IDS; i++) {
        struct number row;
        buf_puts(&b, i ? "," : "");
        json_put_string(&b, id_of(&v->look.items[i], &row));
    }
    buf_puts(&b, "],\"events\":[");
    put_events_of_letters(v, &b);
    buf_puts(&b, "]}");
    int code = oplog_begin(v->look.session, v->args, buf_str(&b), log);
    buf_release(&b);
    return code;
}

/* --- list -------------------------------------------------------------------------------- */

/* clang-format off */
static const struct ctl_option list_options[] = {
    FILTERS,
    CTL_READER_OPTIONS,
    {0},
};
/* clang-format on */

static ctl_run_fn run_list, run_show, run_retry, run_purge;

static const struct ctl_command dead_list = {
    .name = "dead list",
    .summary = "list failed events and dead letters",
    .about =
        "Lists what died, the newest first: event (its row is failed), letter (a job in Redis\n"
        "whose event has no failed row), crawl (an event of Firecrawl's), bytes (no job). The\n"
        "letter of an event whose row is failed is not listed besides.\n",
    .examples = "hooklinectl dead list --since 2h\n"
                "hooklinectl dead list --error 'HTTP 503' --limit 1000 --json\n",
    .options = list_options,
    .run = run_list,
};

static int list_once(void *ctx)
{
    struct dead_verb *v = ctx;
    struct listing l = {.columns = columns, .n = N_COLUMNS};
    struct buf b = {0};
    int code = dead_look_list(&v->look);
    if (code == CTL_OK)
        fill(&l, &v->look, v->look.n);
    if (code == CTL_OK && v->args->shared.json) {
        buf_puts(&b, "{\"version\":1,\"dead\":");
        listing_put_json(&l, &b);
        buf_printf(&b, ",\"more\":%s}", v->look.more ? "true" : "false");
        print_line(&b);
    } else if (code == CTL_OK && !v->look.n) {
        puts("There are no dead letters, and no failed events.");
    } else {
        listing_print(&l);
    }
    if (v->look.more && !v->args->shared.json)
        printf("There are more than --limit %d.\n", v->look.limit);
    dead_look_release(&v->look);
    listing_release(&l);
    buf_release(&b);
    return code;
}

static int watch_list(struct dead_verb *v)
{
    return ctl_watch(&v->args->shared, list_once, v);
}

static int run_list(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&dead_list, ctl, argc, argv);
    struct dead_verb v = {.args = &args, .run = watch_list, .all = true};
    if (ctl_parse(&args) >= 0)
        return args.done;
    v.all = !is_filtered(&args.shared);
    int code = take_words(&v);
    return code >= 0 ? code : with_session(&v);
}

/* --- show -------------------------------------------------------------------------------- */

/* clang-format off */
static const struct ctl_option show_options[] = {
    CTL_JSON_OPTION,
    {0},
};
/* clang-format on */

static const struct ctl_command dead_show = {
    .name = "dead show",
    .summary = "show one of them, with what it holds",
    .words = "ID",
    .about =
        "Shows a failed event or a dead letter. ID: of the event, of its row, or of the letter\n"
        "(1700000000000-0). Exits with 2 when there is none.\n",
    .examples = "hooklinectl dead show 1764000000000-0\n",
    .options = show_options,
    .run = run_show,
};

static void show_text(const struct listing *l, const struct dead_item *item)
{
    struct hl_err err;
    listing_print_one(l, 0);
    json_t *detail = item->detail ? json_parse(item->detail, strlen(item->detail), &err) : NULL;
    char *text = detail ? json_dumps(detail, JSON_INDENT(2) | JSON_PRESERVE_ORDER) : NULL;
    struct buf lines = {0};
    if (text)
        buf_printf(&lines, "\n%s\n", text);
    print_tamed(&lines);
    free(text);
    json_decref(detail);
}

static int show_item(struct dead_verb *v)
{
    struct listing l = {.columns = columns, .n = N_COLUMNS};
    struct buf b = {0};
    int code = dead_look_find(&v->look, v->ids, v->nids);
    if (code != CTL_OK)
        return code;
    const struct dead_item *item = &v->look.items[0];
    add_row(&l, item);
    if (v->args->shared.json) {
        buf_puts(&b, "{\"version\":1,\"dead\":");
        listing_put_json_row(&l, 0, &b);
        buf_printf(&b, ",\"detail\":%s}", item->detail ? item->detail : "null");
        print_line(&b);
    } else {
        show_text(&l, item);
    }
    listing_release(&l);
    buf_release(&b);
    return CTL_OK;
}

static int run_show(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&dead_show, ctl, argc, argv);
    struct dead_verb v = {.args = &args, .run = show_item};
    if (ctl_parse(&args) >= 0)
        return args.done;
    if (args.rest != argc - 1)
        return ctl_usage_error(&dead_show, "say which one: dead show ID");
    int code = take_words(&v);
    return code >= 0 ? code : with_session(&v);
}

/* --- retry ------------------------------------------------------------------------------- */

/* clang-format off */
static const struct ctl_option retry_options[] = {
    FILTERS,
    {OPT_ALL, "all", NULL, "all of them, up to --limit"},
    CTL_WRITER_OPTIONS,
    CTL_JSON_OPTION,
    {0},
};
/* clang-format on */

static const struct ctl_command dead_retry_command = {
    .name = "dead retry",
    .summary = "put them back into the queue",
    .words = "[ID...]",
    .about =
        "Puts failed events and dead letters back, as if they had never been tried: those with\n"
        "these IDs, or those that a filter means (at most --limit). The letter leaves with the\n"
        "step that puts its job back. What was tried meanwhile is left alone. For many, and\n"
        "slowly: 'hooklinectl redrive'. Exits with 2 when something could not be put back.\n",
    .examples =
        "hooklinectl dead retry 1764000000000-0\n"
        "hooklinectl dead retry --since 2h --error 'HTTP 503' --limit 500 --reason mended\n",
    .options = retry_options,
    .run = run_retry,
};

static void retry_json(const struct dead_verb *v, const struct dead_retry *r)
{
    struct buf b = {0};
    put_found(v, &b);
    json_put_int(&b, "affected", r->done);
    json_put_int(&b, "changed", r->changed);
    json_put_int(&b, "refused", r->refused);
    json_put_int(&b, "unpublished", r->jobs.left);
    buf_putc(&b, '}');
    print_line(&b);
}

static int report_retry(const struct dead_verb *v, const struct dead_retry *r)
{
    const int64_t left = (int64_t)r->n - r->done - r->changed - r->refused;
    if (v->args->shared.json)
        retry_json(v, r);
    else
        printf("%lld put back, %lld were no longer dead, %lld could not be put back.\n",
            (long long)r->done, (long long)r->changed, (long long)r->refused);
    putback_explain(&r->jobs);
    if (left)
        ctl_fail(CTL_NOT_EMPTY, "%lld were not tried", (long long)left);
    return left || r->refused ? CTL_NOT_EMPTY : CTL_OK;
}

static const char *outcome_of(int code, bool all)
{
    return code != CTL_OK ? "broken off" : all ? "done" : "interrupted";
}

static int retry_logged(struct dead_verb *v, struct dead_retry *r)
{
    struct oplog log;
    int code = begin_log(v, &log);
    if (code != CTL_OK)
        return code;
    code = dead_retry(r);
    bool all = r->done + r->changed + r->refused == (int64_t)r->n;
    int logged = oplog_end(v->look.session, &log, r->done, outcome_of(code, all));
    int reported = report_retry(v, r);
    return code ? code : logged ? logged : reported;
}

static int retry_items(struct dead_verb *v)
{
    struct dead_retry r = {.session = v->look.session};
    int code = look_and_show(v);
    if (code >= 0)
        return code;
    r.items = v->look.items;
    r.n = v->look.n;
    if (v->args->shared.json && v->args->shared.dry_run)
        retry_json(v, &r);
    code = confirm(v->args, "Put %zu back?", v->look.n);
    if (code >= 0)
        return code;
    interrupt_watch();
    code = retry_logged(v, &r);
    interrupt_leave();
    return code;
}

/* Of a writer: its options, its words, whether it can ask. */
static int run_writer(struct dead_verb *v)
{
    int key;
    while ((key = ctl_next(v->args)) != 0) {
        v->all |= key == OPT_ALL;
        if (key == OPT_CONFIRM)
            v->confirmed = v->args->value;
    }
    if (v->args->done >= 0)
        return v->args->done;
    int code = take_words(v);
    code = code >= 0 ? code : confirm_possible(v->args);
    return code >= 0 ? code : with_session(v);
}

static int run_retry(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&dead_retry_command, ctl, argc, argv);
    struct dead_verb v = {.args = &args, .run = retry_items};
    return run_writer(&v);
}

/* --- purge ------------------------------------------------------------------------------- */

/* clang-format off */
static const struct ctl_option purge_options[] = {
    FILTERS,
    {OPT_ALL, "all", NULL, "all of them, up to --limit"},
    {OPT_CONFIRM, "confirm", "N", "how many; what --yes does not answer"},
    CTL_WRITER_OPTIONS,
    CTL_JSON_OPTION,
    {0},
};
/* clang-format on */

static const struct ctl_command dead_purge = {
    .name = "dead purge",
    .summary = "delete dead letters for good",
    .words = "[ID...]",
    .about =
        "Deletes dead letters, with the large jobs kept beside them: those with these IDs (of\n"
        "letters, or of events), or those that a filter means (at most --limit). The rows of\n"
        "failed events stay as they are; retention deletes those. A letter without a row is\n"
        "all that is left of its event. Asks twice: --yes and --confirm N answer.\n",
    .examples = "hooklinectl dead purge 1764000000000-0\n"
                "hooklinectl dead purge --until 30d --limit 10000 --yes --confirm 118\n",
    .options = purge_options,
    .run = run_purge,
};

struct purge {
    struct session *session;
    int64_t done, gone;
    size_t asked; /* of the call under way */
    int code;
};

static void purged(enum hl_rc rc, int64_t moved, bool left, void *ctx)
{
    struct purge *p = ctx;
    (void)left;
    p->done += moved;
    if (rc != HL_OK)
        p->code = ctl_fail(CTL_UNREACHABLE, "Redis did not answer; some may be deleted already");
    else
        p->gone += (int64_t)p->asked - moved;
    session_answered(p->session);
}

static void drop_letters(struct purge *p, const struct dead_look *look)
{
    for (size_t at = 0; at < look->n && p->code == CTL_OK && !interrupted();
         at += QUEUE_LETTERS_MAX) {
        const char *entries[QUEUE_LETTERS_MAX];
        size_t n = 0;
        while (n < QUEUE_LETTERS_MAX && at + n < look->n) {
            entries[n] = look->items[at + n].entry;
            n++;
        }
        p->asked = n;
        session_asked(p->session);
        queue_letters_drop(p->session->queue, entries, n, purged, p);
        session_wait(p->session);
    }
}

static void purge_json(const struct dead_verb *v, const struct purge *p)
{
    struct buf b = {0};
    put_found(v, &b);
    json_put_int(&b, "affected", p->done);
    json_put_int(&b, "gone", p->gone);
    buf_putc(&b, '}');
    print_line(&b);
}

static int purge_logged(struct dead_verb *v, struct purge *p)
{
    struct oplog log;
    int code = begin_log(v, &log);
    if (code != CTL_OK)
        return code;
    drop_letters(p, &v->look);
    bool all = p->done + p->gone == (int64_t)v->look.n;
    code = oplog_end(v->look.session, &log, p->done, outcome_of(p->code, all));
    if (v->args->shared.json)
        purge_json(v, p);
    else
        printf("%lld deleted, %lld were gone already.\n", (long long)p->done, (long long)p->gone);
    if (p->code == CTL_OK && !all)
        p->code = ctl_fail(CTL_NOT_EMPTY, "interrupted; the others are still there");
    return p->code ? p->code : code;
}

static int purge_items(struct dead_verb *v)
{
    struct purge p = {.session = v->look.session};
    v->look.letters_only = true;
    int code = look_and_show(v);
    if (code >= 0)
        return code;
    if (v->args->shared.json && v->args->shared.dry_run)
        purge_json(v, &p);
    code = confirm_loss(
        v->args, (int64_t)v->look.n, v->confirmed, "Delete %zu dead letters for good?", v->look.n);
    if (code >= 0)
        return code;
    interrupt_watch();
    code = purge_logged(v, &p);
    interrupt_leave();
    return code;
}

static int run_purge(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&dead_purge, ctl, argc, argv);
    struct dead_verb v = {.args = &args, .run = purge_items};
    return run_writer(&v);
}

/* --- the noun ---------------------------------------------------------------------------- */

static const struct ctl_command *const actions[] = {
    &dead_list, &dead_show, &dead_retry_command, &dead_purge, NULL};

const struct ctl_command cmd_dead = {
    .name = "dead",
    .summary = "failed events and dead letters: list, show, retry, purge",
    .about = "What will never be done unless somebody wants it: events whose row is failed, and\n"
             "letters in Redis of jobs that could not be done.\n",
    .actions = actions,
};
