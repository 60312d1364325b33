/* hooklinectl import: what hooklinectl export wrote, into this Redis. The file is read through before
 * anything is changed. How far it has come is noted in Redis with each step: after an interruption it
 * goes on there. */
#include "worker/ctl/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/pgarray.h"
#include "base/uuid.h"
#include "domain/store_transfer.h"
#include "worker/ctl/confirm.h"
#include "worker/ctl/listing.h"
#include "worker/ctl/transfer.h"

enum { OPT_LIVE = 1, OPT_MERGE, OPT_QUIET };
enum { BATCH = 256, BATCH_BYTES = 1024 * 1024 };
#define TOMBSTONE_MS INT64_C(86400000)

/* clang-format off */
static const struct ctl_option options[] = {
    {OPT_MERGE, "merge", NULL, "this Redis may have jobs already; what both have is kept once"},
    {OPT_LIVE, "live", NULL, "while the queues move, and of a file that was made so"},
    {OPT_QUIET, "quiet", NULL, "no progress"},
    CTL_WRITER_OPTIONS,
    CTL_JSON_OPTION,
    {0},
};
/* clang-format on */

static ctl_run_fn run;

const struct ctl_command cmd_import = {
    .name = "import",
    .summary = "put what export wrote into this Redis",
    .words = "FILE",
    .about =
        "Puts the jobs, dead letters and all else that 'hooklinectl export' wrote to FILE into "
        "the\n"
        "Redis of WEBHOOK_REDIS_URL, each once, however often it is run: an import that was\n"
        "interrupted goes on. Jobs that the database knows as done are left out. All queues must\n"
        "be paused and fenced, and this Redis without jobs, or it exits with 2.\n",
    .examples = "hooklinectl import --dry-run /backup/queue.jsonl\n"
                "hooklinectl import --yes --reason 'new Redis' /backup/queue.jsonl\n",
    .options = options,
    .run = run,
};

struct import_run {
    struct ctl_args *args;
    struct session session;
    struct transfer *transfer;
    struct transfer_manners manners;
    struct transfer_holds holds;
    struct transfer_progress progress;
    struct transfer_state state; /* as Redis has it */
    struct hl_err err;
    const char *path, *prefix; /* borrowed */
    FILE *file;
    /* What the file says of itself. */
    struct transfer_counts counts;
    int64_t lines; /* records, pieces of large jobs included */
    char *generation, *at;
    bool moved; /* made while the queues rested */
    char digest[65];
    /* The batch at hand. */
    struct transfer_item items[BATCH];
    struct transfer_record records[BATCH];
    char until[24]; /* when the tombstones of jobs that are done are forgotten */
    size_t n;
    size_t bytes;
    bool merge, live, quiet;
};

/* --- reading the file through ------------------------------------------------------------- */

static int unusable(const struct import_run *m, const char *why)
{
    return ctl_fail(CTL_ERROR, "%s: %s; nothing was changed", m->path, why);
}

static int take_header(struct import_run *m, const json_t *header)
{
    const char *prefix = json_get_string(header, "prefix");
    const char *generation = json_get_string(header, "generation");
    const char *at = json_get_string(header, "at");
    if (!prefix || !generation || !at)
        return unusable(m, "its header is not whole");
    if (strcmp(prefix, m->prefix) != 0)
        return ctl_fail(CTL_ERROR,
            "%s is of queues with the prefix '%s', and WEBHOOK_QUEUE_PREFIX is '%s': they must be "
            "the same",
            m->path, prefix, m->prefix);
    m->generation = mem_strdup(generation);
    m->at = mem_strdup(at);
    m->moved = json_get_string(header, "pause") != NULL;
    return CTL_OK;
}

static int take_trailer(
    struct import_run *m, const struct transfer_reader *r, const json_t *trailer)
{
    const char *digest = json_get_string(trailer, "sha256");
    if (strcmp(digest, r->digest) != 0)
        return unusable(m, "it was changed since it was written: its digest is another");
    if (json_integer_value(json_object_get(trailer, "records")) != m->counts.records)
        return unusable(m, "it has another number of records than its last line says");
    memcpy(m->digest, r->digest, sizeof(m->digest));
    return CTL_OK;
}

static int take_line(struct import_run *m, const struct transfer_reader *r, enum transfer_line line,
    const struct transfer_item *item)
{
    if ((r->number == 1) != (line == TRANSFER_LINE_HEADER))
        return unusable(m, "it is no file of hooklinectl export");
    if (*m->digest)
        return unusable(m, "there is something behind its last line");
    switch (line) {
    case TRANSFER_LINE_HEADER: return take_header(m, item->root);
    case TRANSFER_LINE_TRAILER: return take_trailer(m, r, item->root);
    case TRANSFER_LINE_RECORD:
        m->lines++;
        if (item->record.kind != TRANSFER_BLOB)
            transfer_count(&m->counts, item->record.kind);
        return CTL_OK;
    default: return CTL_OK;
    }
}

static int verify(struct import_run *m)
{
    struct transfer_reader r;
    struct transfer_item item = {0};
    struct hl_err err = {0};
    enum transfer_line line;
    int code = CTL_OK;

    transfer_reader_init(&r, m->file);
    while (code == CTL_OK && (line = transfer_read(&r, &item, &err)) != TRANSFER_LINE_NONE) {
        code = line == TRANSFER_LINE_BAD ? unusable(m, err.msg) : take_line(m, &r, line, &item);
        transfer_item_release(&item);
    }
    transfer_reader_release(&r);
    if (code == CTL_OK && !*m->digest)
        code = unusable(m, "it is not whole: its last line is missing");
    return code;
}

/* --- what may be done -------------------------------------------------------------------- */

static void got_state(
    enum hl_rc rc, const struct transfer_state *state, const struct hl_err *err, void *ctx)
{
    struct import_run *m = ctx;
    if (rc != HL_OK)
        m->err = *err;
    else
        m->state = *state;
    session_answered(&m->session);
}

/* Puts records, or with n 0 asks how far this file has come. */
static int put(struct import_run *m, const struct transfer_record *records, size_t n)
{
    session_asked(&m->session);
    int64_t before = m->state.records;
    transfer_put(m->transfer, m->digest, before, before + (int64_t)n, records, n, got_state, m);
    session_wait(&m->session);
    if (m->err.rc != HL_OK) {
        int code = ctl_fail_err(&m->err);
        if (n)
            ctl_fail(code, "run it again: it goes on where it was");
        return code;
    }
    if (n && !m->state.done)
        return ctl_fail(CTL_NOT_EMPTY, "another import of %s is at work", m->path);
    return CTL_OK;
}

static int check_rest(const struct import_run *m)
{
    struct buf why = {0};
    int code = CTL_OK;
    if (!m->live && transfer_moves(&m->manners, &why))
        code = ctl_fail(
            CTL_NOT_EMPTY, "%s. Nothing was changed; --live imports all the same", buf_str(&why));
    buf_release(&why);
    if (code == CTL_OK && !m->live && !m->moved)
        code = ctl_fail(CTL_NOT_EMPTY,
            "%s was made while the queues moved: what was done since is in it, too. --live imports "
            "it all the same",
            m->path);
    return code;
}

static int check_target(const struct import_run *m)
{
    int64_t jobs = m->holds.change + m->holds.crawl;
    if (jobs && !m->merge && !m->state.records)
        return ctl_fail(CTL_NOT_EMPTY,
            "this Redis has %lld jobs already. Is it the right one? --merge keeps them, and adds "
            "those that are not among them",
            (long long)jobs);
    return CTL_OK;
}

static int look(struct import_run *m)
{
    int code = put(m, NULL, 0);
    if (code != CTL_OK || m->state.whole)
        return code;
    if (session_redis_evicts(&m->session))
        return CTL_ERROR;
    code = transfer_ask_manners(&m->session, &m->manners);
    if (code == CTL_OK)
        code = check_rest(m);
    if (code == CTL_OK)
        code = transfer_ask_holds(&m->session, &m->holds);
    return code == CTL_OK ? check_target(m) : code;
}

/* --- putting ----------------------------------------------------------------------------- */

/* Where its queue, id and digest stand; NULL = it is no job with an id. */
static const int *job_texts(const struct transfer_record *r)
{
    static const int job[] = {JOB_QUEUE, JOB_ID, JOB_DIGEST};
    static const int later[] = {LATER_QUEUE, LATER_ID, LATER_DIGEST};
    struct uuid id;
    const int *at = r->kind == TRANSFER_JOB ? job : r->kind == TRANSFER_LATER ? later : NULL;
    return at && uuid_parse(r->texts[at[1]], &id) ? at : NULL;
}

/* A job whose rows are written needs no doing. */
static void mark_finished(struct import_run *m, const char *id)
{
    for (size_t i = 0; i < m->n; i++) {
        struct transfer_record *r = &m->records[i];
        const int *at = job_texts(r);
        if (at && strcasecmp(r->texts[at[1]], id) == 0)
            *r = (struct transfer_record){
                .kind = TRANSFER_FINISHED,
                .texts = {r->texts[at[0]], r->texts[at[1]], r->texts[at[2]], m->until}
            };
    }
}

static int reconcile(struct import_run *m)
{
    struct answer a = {.session = &m->session};
    struct buf ids = {0};
    bool any = false;

    pgarray_begin(&ids);
    for (size_t i = 0; i < m->n; i++) {
        const int *at = job_texts(&m->records[i]);
        any |= at != NULL;
        if (at)
            pgarray_text(&ids, m->records[i].texts[at[1]]);
    }
    pgarray_end(&ids);
    int code = CTL_OK;
    if (any) {
        store_transfer_finished(m->session.store, buf_str(&ids), answer_keep, answer_asked(&a));
        code = answer_wait(&a);
        for (int i = 0; code == CTL_OK && i < PQntuples(a.rows); i++)
            mark_finished(m, db_text(a.rows, i, 0));
        answer_release(&a);
    }
    buf_release(&ids);
    return code;
}

static int put_batch(struct import_run *m)
{
    int code = m->n ? reconcile(m) : CTL_OK;
    if (code == CTL_OK && m->n)
        code = put(m, m->records, m->n);
    for (size_t i = 0; i < m->n; i++)
        transfer_item_release(&m->items[i]);
    m->n = m->bytes = 0;
    transfer_progress_show(&m->progress, m->state.records);
    return code;
}

/* Takes the item over. */
static int add(struct import_run *m, struct transfer_item *item)
{
    m->items[m->n] = *item;
    m->records[m->n++] = item->record;
    m->bytes += item->bytes.len;
    *item = (struct transfer_item){0};
    return m->n == BATCH || m->bytes >= BATCH_BYTES ? put_batch(m) : CTL_OK;
}

/* A file that lost its end since it was read through must not be taken for done. */
static int check_all_put(const struct import_run *m, bool as_read)
{
    if (as_read && m->state.records == m->lines)
        return CTL_OK;
    return ctl_fail(CTL_ERROR,
        "%s was changed while it was imported: %lld of its %lld records are in Redis. Put it back "
        "as "
        "it was, and run it again: it goes on where it was",
        m->path, (long long)m->state.records, (long long)m->lines);
}

/* The last record. The generation of the rows becomes Redis' own where the file has all that they
 * ask for: else a janitor fills up what is missing. */
static int put_end(struct import_run *m)
{
    bool all = m->moved && m->manners.generation && *m->generation &&
               strcmp(m->generation, m->manners.generation) == 0;
    const struct transfer_record end = {
        .kind = TRANSFER_END, .texts = {all ? m->generation : "", "", "", ""}
    };
    if (!all)
        fputs("The file may lack jobs of rows that are queued: the janitor will look for them.\n",
            stderr);
    return put(m, &end, 1);
}

static int put_all(struct import_run *m)
{
    struct transfer_reader r;
    struct transfer_item item = {0};
    struct hl_err err = {0};
    enum transfer_line line;
    int64_t skip = m->state.records;
    bool as_read = false;
    int code = CTL_OK;

    rewind(m->file);
    transfer_reader_init(&r, m->file);
    transfer_progress_init(&m->progress, m->quiet, "import", m->lines);
    while (code == CTL_OK && (line = transfer_read(&r, &item, &err)) != TRANSFER_LINE_NONE) {
        if (line == TRANSFER_LINE_BAD)
            code = ctl_fail(CTL_ERROR, "%s: %s; it was changed meanwhile", m->path, err.msg);
        else if (line == TRANSFER_LINE_TRAILER)
            as_read = strcmp(r.digest, m->digest) == 0;
        else if (line == TRANSFER_LINE_RECORD && skip > 0)
            skip--;
        else if (line == TRANSFER_LINE_RECORD)
            code = add(m, &item);
        transfer_item_release(&item);
    }
    if (code == CTL_OK)
        code = put_batch(m);
    while (m->n)
        transfer_item_release(&m->items[--m->n]);
    transfer_progress_end(&m->progress);
    transfer_reader_release(&r);
    if (code == CTL_OK)
        code = check_all_put(m, as_read);
    return code == CTL_OK ? put_end(m) : code;
}

/* --- the verb ---------------------------------------------------------------------------- */

static void show(const struct import_run *m)
{
    const struct transfer_counts *c = &m->counts;
    int64_t held = m->holds.change + m->holds.crawl;
    fprintf(stderr,
        "%s of %s: %lld jobs (%lld of them wait for their time), %lld dead letters, %lld refused "
        "webhooks, %lld things remembered\n",
        m->path, m->at, (long long)transfer_jobs(c), (long long)c->of[TRANSFER_LATER],
        (long long)c->of[TRANSFER_DEAD], (long long)c->of[TRANSFER_REJECT],
        (long long)transfer_remembered(c));
    if (m->state.records)
        fprintf(stderr, "%lld of its %lld records are in Redis already.\n",
            (long long)m->state.records, (long long)m->lines);
    if (held)
        fprintf(stderr, "Redis has %lld jobs.\n", (long long)held);
}

/* What came of the whole file, over all attempts. */
static void report(const struct import_run *m, bool before)
{
    const struct transfer_state *s = &m->state;
    struct buf b = {0};
    if (m->args->shared.json) {
        buf_puts(&b, "{\"version\":1");
        json_put_text(&b, "file", m->path);
        json_put_int(&b, "affected", before ? 0 : s->put);
        json_put_int(&b, "put", s->put);
        json_put_int(&b, "there_already", s->known);
        json_put_int(&b, "finished_meanwhile", s->finished);
        json_put_key(&b, "imported_before");
        buf_puts(&b, before ? "true" : "false");
        transfer_put_counts(&b, &m->counts);
        buf_putc(&b, '}');
    } else {
        buf_printf(&b,
            "%s%lld jobs put into the queues, %lld were there already, %lld were finished "
            "meanwhile and are left out",
            before ? "This file was imported before: " : "", (long long)s->put, (long long)s->known,
            (long long)s->finished);
    }
    print_line(&b);
    buf_release(&b);
}

static int do_it(struct import_run *m)
{
    struct oplog log;
    struct buf detail = {0};
    buf_putc(&detail, '{');
    json_put_text(&detail, "file", m->path);
    json_put_text(&detail, "sha256", m->digest);
    json_put_int(&detail, "records", m->lines);
    buf_putc(&detail, '}');
    int code = oplog_begin(&m->session, m->args, buf_str(&detail), &log);
    buf_release(&detail);
    if (code != CTL_OK)
        return code;
    code = put_all(m);
    int logged = oplog_end(&m->session, &log, m->state.put,
        code == CTL_OK ? "done" : "broken off, may be gone on with");
    if (code == CTL_OK)
        report(m, false);
    return code == CTL_OK ? logged : code;
}

static int decide(struct import_run *m)
{
    int code = look(m);
    if (code != CTL_OK)
        return code;
    if (m->state.whole) {
        report(m, true);
        return CTL_OK;
    }
    show(m);
    code = confirm(m->args, "Put them into Redis?");
    return code >= 0 ? code : do_it(m);
}

/* It is read twice, which a pipe cannot be. */
static int open_file(struct import_run *m)
{
    struct stat st;
    m->file = fopen(m->path, "re");
    if (!m->file)
        return ctl_fail(CTL_ERROR, "%s: %s", m->path, strerror(errno));
    if (fstat(fileno(m->file), &st) == 0 && S_ISREG(st.st_mode))
        return CTL_OK;
    fclose(m->file);
    return ctl_fail(
        CTL_ERROR, "%s is no regular file, and is read twice: make a file of it first", m->path);
}

static int do_import(struct import_run *m, const struct config *cfg)
{
    struct hl_err err;
    int64_t until = clock_wall_us() / 1000 + TOMBSTONE_MS;
    m->prefix = cfg->queue_prefix;
    snprintf(m->until, sizeof(m->until), "%lld", (long long)until);
    int code = open_file(m);
    if (code != CTL_OK)
        return code;
    code = verify(m);
    if (code == CTL_OK && session_open(&m->session, cfg, &err) != HL_OK)
        code = ctl_fail_err(&err);
    else if (code == CTL_OK) {
        m->transfer = transfer_new(m->session.redis, cfg->queue_prefix);
        code = decide(m);
        session_close(&m->session);
        transfer_free(m->transfer);
        transfer_manners_release(&m->manners);
    }
    fclose(m->file);
    free(m->generation);
    free(m->at);
    return code;
}

static int run(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&cmd_import, ctl, argc, argv);
    struct config cfg;
    bool merge = false, live = false, quiet = false;
    int key;

    while ((key = ctl_next(&args)) != 0) {
        merge |= key == OPT_MERGE;
        live |= key == OPT_LIVE;
        quiet |= key == OPT_QUIET;
    }
    if (args.done >= 0)
        return args.done;
    if (args.rest != argc - 1 || !*argv[args.rest])
        return ctl_usage_error(&cmd_import, "name the file to read");
    int code = confirm_possible(&args);
    if (code >= 0)
        return code;
    if (!ctl_config(ctl, &cfg))
        return CTL_ERROR;
    struct import_run *m = mem_new(struct import_run);
    m->args = &args;
    m->path = argv[args.rest];
    m->merge = merge;
    m->live = live;
    m->quiet = quiet;
    code = do_import(m, &cfg);
    free(m);
    config_release(&cfg);
    return code;
}
