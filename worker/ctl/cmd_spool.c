/* hooklinectl spool: what is safe on a producer's disk only. list shows the folder here and what
 * producers elsewhere tell of theirs; push works off a folder whose producer is gone. */
#include "worker/ctl/commands.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "domain/migrate.h"
#include "worker/ctl/confirm.h"
#include "worker/ctl/listing.h"
#include "worker/ctl/session.h"
#include "worker/ctl/spool_folder.h"
#include "worker/ctl/spool_push.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OPT_SPOOL = 1, OPT_QUIET };
enum { SILENT_S = 60 }; /* a holder not heard of for longer is gone */

/* clang-format off */
static const struct ctl_option list_options[] = {
    {OPT_SPOOL, "spool", "DIR", "look there, not in WEBHOOK_SPOOL_DIR"},
    CTL_READER_OPTIONS,
    {0},
};
static const struct ctl_option push_options[] = {
    {OPT_SPOOL, "spool", "DIR", "work off that folder, not WEBHOOK_SPOOL_DIR"},
    {OPT_QUIET, "quiet", NULL, "no progress"},
    CTL_JSON_OPTION,
    CTL_WRITER_OPTIONS,
    {0},
};
/* clang-format on */

static ctl_run_fn run_list, run_push;

static const struct ctl_command spool_list_command = {
    .name = "spool list",
    .summary = "list the segments with events that are on a disk only",
    .about = "Shows the segments in the spool's folder here: records, bytes, what is damaged, and "
             "which\n"
             "process holds them; then those of other folders and hosts, as their producers told\n"
             "PostgreSQL. Records that were worked off count until their segment is emptied.\n",
    .examples = "hooklinectl spool list\n"
                "hooklinectl spool list --spool /mnt/disk-of-host-7/spool\n"
                "hooklinectl spool list --json | jq '.spools[] | select(.state == \"silent\")'\n",
    .options = list_options,
    .run = run_list,
};

static const struct ctl_command spool_push_command = {
    .name = "spool push",
    .summary = "work off a folder whose producer is gone",
    .about =
        "Brings the records of a folder home, as a producer would: change events into PostgreSQL\n"
        "and Redis, Firecrawl's into Redis. For the disk of a host that is gone, or a copy of it.\n"
        "Segments that a living process of this host holds are left alone; a record leaves its\n"
        "segment after it is safe, and pushing it again changes nothing. Exits with 2 when\n"
        "segments are left that this release cannot read.\n",
    .examples =
        "hooklinectl spool push --spool /mnt/disk-of-host-7/spool --dry-run\n"
        "hooklinectl spool push --spool /mnt/disk-of-host-7/spool --yes --reason 'host 7 died'\n",
    .options = push_options,
    .run = run_push,
};

static const struct ctl_command *const actions[] = {&spool_list_command, &spool_push_command, NULL};

const struct ctl_command cmd_spool = {
    .name = "spool",
    .summary = "what is safe on a disk only: list, push",
    .about =
        "While PostgreSQL (or, for Firecrawl's events, Redis) is away producers keep what they\n"
        "accept in a folder, and bring it home by themselves later.\n",
    .actions = actions,
};

/* --- what is shown ----------------------------------------------------------------------- */

/* clang-format off */
static const struct column columns[] = {
    {.key = "segment",       .title = "SEGMENT", .shrink = 20          },
    {.key = "state",         .title = "STATE",   .kind = COLUMN_STATE  },
    {.key = "queue",         .title = "QUEUE"                          },
    {.key = "records",       .title = "RECORDS", .kind = COLUMN_INT    },
    {.key = "bytes",         .title = "BYTES",   .kind = COLUMN_BYTES  },
    {.key = "unreadable",    .title = "UNREADABLE",     .kind = COLUMN_INT    },
    {.key = "damaged_bytes", .title = "DAMAGED", .kind = COLUMN_BYTES  },
    {.key = "held_by",       .title = "HELD BY"                        },
    {.key = "touched_at",    .title = "TOUCHED", .kind = COLUMN_AGO    },
    {.key = "host",          .title = "HOST"                           },
    {.key = "folder",        .title = "FOLDER",  .shrink = 20          },
};
/* clang-format on */
enum { NCOLUMNS = sizeof(columns) / sizeof(*columns) };

/* The row of webhook.spools that is about the segment; -1 = there is none. */
static int row_about(const PGresult *rows, const char *segment)
{
    for (int i = 0; rows && i < PQntuples(rows); i++)
        if (strcmp(db_text(rows, i, 0), segment) == 0)
            return i;
    return -1;
}

static const char *state_of(const struct folder_segment *g)
{
    return g->held ? "held" : g->records || g->damaged ? "orphan" : "empty";
}

static void add_segment(
    struct listing *l, const struct folder_segment *g, const char *host, const char *dir)
{
    char numbers[6][24];
    const int64_t values[] = {g->records, g->bytes, g->odd, g->damaged, g->holder, g->written_at};
    for (int i = 0; i < 6; i++)
        snprintf(numbers[i], sizeof(numbers[i]), "%lld", (long long)values[i]);
    listing_add(l, (const char *[NCOLUMNS]){g->name, state_of(g), g->crawl ? "crawl" : "change",
                       numbers[0], numbers[1], numbers[2], numbers[3],
                       g->holder ? numbers[4] : NULL, numbers[5], host, dir});
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

static void add_elsewhere(struct listing *l, const PGresult *rows, int row)
{
    char seen[24];
    int64_t silent_s = db_int(rows, row, 5);
    const char *name = db_text(rows, row, 0);
    snprintf(
        seen, sizeof(seen), "%lld", (long long)(clock_wall_us() - silent_s * INT64_C(1000000)));
    listing_add(
        l, (const char *[NCOLUMNS]){name, silent_s > SILENT_S ? "silent" : "elsewhere",
               ends_with(name, ".crawl") ? "crawl" : "change", NULL, db_text(rows, row, 4), NULL,
               NULL, db_text(rows, row, 3), seen, db_text(rows, row, 1), db_text(rows, row, 2)});
}

static void add_folder(
    struct listing *l, const struct folder *f, const char *dir, const PGresult *rows)
{
    char here[65] = "";
    gethostname(here, sizeof(here) - 1);
    for (size_t i = 0; i < f->n; i++) {
        int row = row_about(rows, f->segments[i].name);
        add_segment(l, &f->segments[i], row < 0 ? here : db_text(rows, row, 1), dir);
    }
}

static bool in_folder(const struct folder *f, const char *segment)
{
    for (size_t i = 0; i < f->n; i++)
        if (strcmp(f->segments[i].name, segment) == 0)
            return true;
    return false;
}

/* --- spool list -------------------------------------------------------------------------- */

struct view {
    const struct ctl_args *args;
    const struct config *cfg;
    const char *dir; /* NULL = the setting's, which may be missing: no producer runs here */
};

/* -1, or the exit code. */
static int read_here(const struct view *v, struct folder *f)
{
    struct hl_err err;
    const char *dir = v->dir ? v->dir : v->cfg->spool_dir;
    *f = (struct folder){0};
    if (!v->dir && access(dir, F_OK) != 0)
        return -1;
    return folder_read(f, dir, &err) == HL_OK ? -1 : ctl_fail_err(&err);
}

static int ask_rows(struct session *s, struct answer *a)
{
    *a = (struct answer){.session = s};
    store_list_spools(s->store, answer_keep, answer_asked(a));
    return answer_wait(a);
}

static void print_list(const struct listing *l, bool json, bool whole)
{
    struct buf out = {0};
    if (json) {
        buf_puts(&out, "{\"version\":1,\"spools\":");
        listing_put_json(l, &out);
        json_put_key(&out, "complete");
        buf_puts(&out, whole ? "true}" : "false}");
        print_line(&out);
    } else if (listing_rows(l)) {
        listing_print(l);
    } else if (whole) {
        puts("There is nothing in the spools.");
    }
    buf_release(&out);
}

static int show_list(void *ctx)
{
    const struct view *v = ctx;
    struct listing l = {.columns = columns, .n = NCOLUMNS};
    struct folder here;
    struct session s;
    struct answer a = {0};
    struct hl_err err;

    int code = read_here(v, &here);
    if (code >= 0)
        return code;
    code = session_open(&s, v->cfg, &err) == HL_OK ? ask_rows(&s, &a) : ctl_fail_err(&err);
    add_folder(&l, &here, v->dir ? v->dir : v->cfg->spool_dir, a.rows);
    for (int i = 0; a.rows && i < PQntuples(a.rows); i++)
        if (!in_folder(&here, db_text(a.rows, i, 0)))
            add_elsewhere(&l, a.rows, i);
    print_list(&l, v->args->shared.json, code == CTL_OK);
    listing_release(&l);
    answer_release(&a);
    session_close(&s);
    folder_release(&here);
    return code;
}

static int run_list(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&spool_list_command, ctl, argc, argv);
    struct config cfg;
    struct view v = {.args = &args, .cfg = &cfg};
    int key;

    while ((key = ctl_next(&args)) != 0)
        if (key == OPT_SPOOL)
            v.dir = args.value;
    if (args.done >= 0)
        return args.done;
    if (!ctl_config(ctl, &cfg))
        return CTL_ERROR;
    int code = ctl_watch(&args.shared, show_list, &v);
    config_release(&cfg);
    return code;
}

/* --- spool push -------------------------------------------------------------------------- */

struct sums {
    int64_t segments, records; /* to be pushed */
    int64_t held;              /* segments with records that a process holds */
    bool change, crawl;        /* there are such */
};

static bool holds_something(const struct folder_segment *g)
{
    return g->records || g->damaged;
}

static struct sums sum_up(const struct folder *f)
{
    struct sums sum = {0};
    for (size_t i = 0; i < f->n; i++) {
        const struct folder_segment *g = &f->segments[i];
        if (!holds_something(g))
            continue;
        sum.held += g->held;
        if (g->held)
            continue;
        sum.segments++;
        sum.records += g->records;
        sum.change |= !g->crawl;
        sum.crawl |= g->crawl;
    }
    return sum;
}

/* To standard error: the result is what goes to standard output. */
static void show_orphans(const struct folder *f, const char *dir, const struct sums *sum)
{
    struct listing l = {.columns = columns, .n = NCOLUMNS};
    struct buf out = {0};
    for (size_t i = 0; i < f->n; i++)
        if (!f->segments[i].held && holds_something(&f->segments[i]))
            add_segment(&l, &f->segments[i], NULL, dir);
    listing_put(&l, &out, 0, false);
    fputs(buf_str(&out), stderr);
    if (sum->held)
        fprintf(stderr, "%lld more are held by living processes, which bring them home.\n",
            (long long)sum->held);
    buf_release(&out);
    listing_release(&l);
}

/* -1, or the exit code: PostgreSQL answers, and has the schema of this release. */
static int database_ready(struct session *s)
{
    struct answer a = {.session = s};
    store_schema_version(s->store, answer_keep, answer_asked(&a));
    int code = answer_wait(&a);
    int version = code == CTL_OK ? (int)db_int(a.rows, 0, 0) : 0;
    answer_release(&a);
    if (code != CTL_OK)
        return code;
    if (version >= migrate_latest())
        return -1;
    return ctl_fail(CTL_ERROR, "the schema is older than this release: run 'hooklinectl migrate'");
}

struct redis_ready {
    struct session *session;
    struct hl_err err;
};

static void redis_answered(
    enum hl_rc rc, const struct queue_stats *stats, const struct hl_err *err, void *ctx)
{
    struct redis_ready *r = ctx;
    (void)stats;
    if (rc != HL_OK)
        r->err = *err;
    session_answered(r->session);
}

/* The same of Redis. Change events need it for publishing only, which the janitor can do later. */
static int redis_ready(struct session *s, bool needed)
{
    struct redis_ready r = {.session = s};
    session_asked(s);
    queue_stats(s->queue, redis_answered, &r);
    session_wait(s);
    if (r.err.rc != HL_OK && needed)
        return ctl_fail_err(&r.err);
    if (r.err.rc != HL_OK) {
        ctl_fail(0, "%s; the workers' janitor will publish what is pushed", r.err.msg);
        return -1;
    }
    return needed && session_redis_evicts(s) ? CTL_ERROR : -1;
}

struct progress {
    int64_t total, told_at; /* ms; 0 = never */
};

static void tell_progress(struct push *p)
{
    struct progress *told = p->ctx;
    bool terminal = isatty(STDERR_FILENO);
    int64_t now = clock_mono_ms(), done = p->change + p->crawl + p->buried;
    if (told->told_at && now - told->told_at < (terminal ? 200 : 5000))
        return;
    told->told_at = now;
    fprintf(stderr, terminal ? "\r%lld of %lld records\033[K" : "%lld of %lld records\n",
        (long long)done, (long long)told->total);
}

/* What follows stands on a line of its own. */
static void end_progress(const struct progress *told)
{
    if (told->told_at && isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
}

static int64_t affected(const struct push *p)
{
    return p->change + p->crawl + p->buried;
}

static void print_result(const struct push *p, const struct sums *left, bool json)
{
    struct buf out = {0};
    if (!json) {
        printf("%lld change events and %lld of Firecrawl's are home; %lld of them were there "
               "before.\n",
            (long long)p->change, (long long)p->crawl, (long long)p->known);
        if (p->unpublished)
            printf("%lld are not in Redis yet: the janitor publishes them.\n",
                (long long)p->unpublished);
        if (p->buried)
            printf("%lld records became dead letters.\n", (long long)p->buried);
        if (p->cut_bytes)
            printf("%lld damaged bytes are kept beside, in *.cut.\n", (long long)p->cut_bytes);
        return;
    }
    buf_puts(&out, "{\"version\":1");
    json_put_int(&out, "affected", affected(p));
    json_put_int(&out, "change", p->change);
    json_put_int(&out, "crawl", p->crawl);
    json_put_int(&out, "known_before", p->known);
    json_put_int(&out, "unpublished", p->unpublished);
    json_put_int(&out, "dead_letters", p->buried);
    json_put_int(&out, "cut_bytes", p->cut_bytes);
    json_put_int(&out, "left_segments", left->segments);
    json_put_int(&out, "held_segments", left->held);
    buf_putc(&out, '}');
    print_line(&out);
    buf_release(&out);
}

/* What the folder looks like now decides. */
static int conclude(
    const struct ctl_args *args, const struct push *p, const struct sums *shown, enum hl_rc rc)
{
    struct folder now;
    struct hl_err err;
    struct sums left = {0};
    if (folder_read(&now, p->dir, &err) == HL_OK) {
        left = sum_up(&now);
        folder_release(&now);
    }
    print_result(p, &left, args->shared.json);
    if (rc == HL_OK && !left.segments && affected(p) != shown->records)
        fprintf(stderr, "%lld records had been shown: the folder changed meanwhile.\n",
            (long long)shown->records);
    if (rc != HL_OK || !left.segments)
        return CTL_OK;
    return ctl_fail(CTL_NOT_EMPTY,
        "%lld segments are left in %s: they hold records of a newer release, or cannot be read or "
        "written; 'hooklinectl spool list' shows them",
        (long long)left.segments, p->dir);
}

static int push_all(struct session *s, const struct ctl_args *args, const char *dir,
    const struct sums *sum, bool quiet)
{
    struct progress told = {.total = sum->records};
    struct push p = {
        .session = s, .dir = dir, .progress = quiet ? NULL : tell_progress, .ctx = &told};
    struct hl_err err;
    struct oplog log;
    struct buf detail = {0};

    buf_putc(&detail, '{');
    json_put_text(&detail, "folder", dir);
    json_put_int(&detail, "records", sum->records);
    buf_putc(&detail, '}');
    int code = oplog_begin(s, args, buf_str(&detail), &log);
    buf_release(&detail);
    if (code != CTL_OK)
        return code;
    enum hl_rc rc = push_change(&p, &err);
    if (rc == HL_OK && sum->crawl)
        rc = push_crawl(&p, &err);
    end_progress(&told);
    code = conclude(args, &p, sum, rc);
    if (rc != HL_OK)
        code = ctl_fail_err(&err);
    int logged = oplog_end(s, &log, affected(&p), rc == HL_OK ? "done" : err.msg);
    return code == CTL_OK ? logged : code;
}

/* -1, or the exit code: what is pushed leaves the folder. */
static int can_be_emptied(const char *dir)
{
    if (access(dir, W_OK) == 0)
        return -1;
    return ctl_fail(CTL_ERROR,
        "%s cannot be written (%s), and what is pushed leaves it: push a copy of it", dir,
        strerror(errno));
}

static int push_folder(
    const struct ctl_args *args, const struct config *cfg, const char *dir, bool quiet)
{
    struct folder f;
    struct session s;
    struct hl_err err;

    if (folder_read(&f, dir, &err) != HL_OK)
        return ctl_fail_err(&err);
    struct sums sum = sum_up(&f);
    if (sum.segments)
        show_orphans(&f, dir, &sum);
    folder_release(&f);
    if (!sum.segments) {
        print_result(&(struct push){0}, &sum, args->shared.json);
        fprintf(stderr, "There is nothing to push in %s.\n", dir);
        return CTL_OK;
    }
    int code = can_be_emptied(dir);
    if (code >= 0)
        return code;
    code = confirm(args, "Bring %lld records of %lld segments home?", (long long)sum.records,
        (long long)sum.segments);
    if (code >= 0)
        return code;
    if (session_open(&s, cfg, &err) != HL_OK)
        return ctl_fail_err(&err);
    code = database_ready(&s);
    if (code < 0)
        code = redis_ready(&s, sum.crawl);
    if (code < 0)
        code = push_all(&s, args, dir, &sum, quiet);
    session_close(&s);
    return code;
}

static int run_push(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&spool_push_command, ctl, argc, argv);
    const char *dir = NULL;
    bool quiet = false;
    int key;

    while ((key = ctl_next(&args)) != 0) {
        if (key == OPT_SPOOL)
            dir = args.value;
        quiet |= key == OPT_QUIET;
    }
    if (args.done >= 0)
        return args.done;
    int code = confirm_possible(&args);
    if (code >= 0)
        return code;
    struct config cfg;
    if (!ctl_config(ctl, &cfg))
        return CTL_ERROR;
    code = push_folder(&args, &cfg, dir ? dir : cfg.spool_dir, quiet);
    config_release(&cfg);
    return code;
}
