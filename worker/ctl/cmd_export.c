/* hooklinectl export: what Redis holds of an installation, into a file. Nothing is changed. What was
 * written before an interruption stands in FILE.part, and is gone on with in the same pause. */
#include "worker/ctl/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "worker/ctl/listing.h"
#include "worker/ctl/transfer.h"

enum { OPT_LIVE = 1, OPT_IGNORE_SILENT, OPT_QUIET };

/* clang-format off */
static const struct ctl_option options[] = {
    {OPT_LIVE, "live", NULL, "while the queues move: a copy, which must not be imported as a move"},
    {OPT_IGNORE_SILENT, "ignore-silent", NULL, "leave out producers not heard of for a minute"},
    {OPT_QUIET, "quiet", NULL, "no progress"},
    CTL_JSON_OPTION,
    {0},
};
/* clang-format on */

static ctl_run_fn run;

const struct ctl_command cmd_export = {
    .name = "export",
    .summary = "write all that Redis holds to a file",
    .words = "FILE",
    .about =
        "Writes the jobs of both queues (delivered or not, waiting for their time, large ones),\n"
        "dead letters, refused webhooks and what is remembered of deliveries to FILE, for\n"
        "'hooklinectl import' into another Redis. All queues must be paused and fenced, the\n"
        "spools empty and no producer silent, or it exits with 2. Run again after an\n"
        "interruption, it goes on. FILE has whole events in it: it is made readable for its\n"
        "owner only.\n",
    .examples = "hooklinectl export /backup/queue.jsonl\n"
                "hooklinectl export --live --json copy.jsonl\n",
    .options = options,
    .run = run,
};

/* A record of the page at hand: its line ends there in `page`. */
struct piece {
    size_t end;
    enum transfer_kind kind;
    char *blob; /* the name of what is kept beside it; NULL = nothing */
    int64_t blob_len;
};

struct export_run {
    struct session session;
    struct transfer *transfer;
    struct transfer_manners manners;
    struct transfer_holds holds;
    struct transfer_progress progress;
    struct hl_err err;
    const char *path, *prefix; /* borrowed */
    char *part;
    FILE *file;
    EVP_MD_CTX *hash; /* of what was written */
    struct transfer_counts counts;
    int64_t resumed; /* records that were there already */
    /* Where it goes on. */
    enum transfer_place place;
    bool placed; /* the line of the place is written */
    char after[48];
    struct buf page;
    struct piece *pieces;
    size_t npieces;
    struct buf generation, blob; /* answers */
    bool live, ignore_silent, quiet, json;
};

static int broken(const struct export_run *x)
{
    return ctl_fail(CTL_ERROR, "%s: %s", x->part, strerror(errno));
}

/* --- the file ---------------------------------------------------------------------------- */

static int open_part(struct export_run *x)
{
    if (access(x->path, F_OK) == 0)
        return ctl_fail(CTL_ERROR, "%s is there already; name another file", x->path);
    int fd = open(x->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return broken(x);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        close(fd);
        return ctl_fail(CTL_NOT_EMPTY, "another export is writing %s", x->part);
    }
    x->file = fdopen(fd, "r+");
    return x->file && fchmod(fd, 0600) == 0 ? CTL_OK : broken(x); /* whoever made it, and how */
}

static bool put(struct export_run *x, const char *data, size_t len)
{
    EVP_DigestUpdate(x->hash, data, len);
    return fwrite(data, 1, len, x->file) == len;
}

/* Frees the line. */
static bool put_line(struct export_run *x, struct buf *line)
{
    bool fine = put(x, buf_str(line), line->len);
    buf_release(line);
    return fine;
}

struct holds_text {
    char text[112];
};

static struct holds_text holds_text(const struct transfer_holds *h)
{
    struct holds_text t;
    snprintf(t.text, sizeof(t.text), "%lld change, %lld crawl, %lld dead, %lld left",
        (long long)h->change, (long long)h->crawl, (long long)h->dead, (long long)h->left);
    return t;
}

static int begin(struct export_run *x)
{
    const struct holds_text holds = holds_text(&x->holds);
    const struct transfer_origin o = {.prefix = x->prefix,
        .generation = buf_str(&x->generation),
        .pause = x->live ? NULL : x->manners.pause,
        .run_id = redis_info(x->session.redis)->run_id,
        .holds = holds.text};
    struct buf line = {0};
    transfer_line_header(&line, &o);
    return ftruncate(fileno(x->file), 0) == 0 && fseeko(x->file, 0, SEEK_SET) == 0 &&
                   put_line(x, &line)
               ? CTL_OK
               : broken(x);
}

/* --- going on ---------------------------------------------------------------------------- */

static bool member_is(const json_t *o, const char *key, const char *expected)
{
    const char *text = json_get_string(o, key);
    return text && expected && strcmp(text, expected) == 0;
}

/* The file was begun in this very pause, of this Redis, which has what it had. */
static bool same_origin(const struct export_run *x, const json_t *header)
{
    const struct holds_text holds = holds_text(&x->holds);
    return !x->live && member_is(header, "prefix", x->prefix) &&
           member_is(header, "generation", buf_str(&x->generation)) &&
           member_is(header, "pause", x->manners.pause) &&
           member_is(header, "redis", redis_info(x->session.redis)->run_id) &&
           member_is(header, "holds", holds.text);
}

/* What is whole so far: of a stream up to an entry, of other places all or nothing. */
struct whole {
    int64_t offset;
    struct transfer_counts counts;
    enum transfer_place place;
    bool placed;
    char after[48];
};

static void take_record(
    struct whole *w, struct transfer_counts *counts, const struct transfer_record *r, int64_t end)
{
    const char *entry = r->texts[r->kind == TRANSFER_JOB ? JOB_ENTRY : 0];
    if (r->kind != TRANSFER_BLOB)
        transfer_count(counts, r->kind);
    if (!w->placed || r->kind == TRANSFER_BLOB)
        return;
    w->offset = end;
    w->counts = *counts;
    snprintf(w->after, sizeof(w->after), "%s", entry);
}

static void take_place(struct whole *w, const struct transfer_counts *counts,
    enum transfer_place place, int64_t start, int64_t end)
{
    bool stream = transfer_is_stream(place);
    *w = (struct whole){
        .offset = stream ? end : start, .counts = *counts, .place = place, .placed = stream};
}

/* offset 0: it is of no use. */
static void read_part(const struct export_run *x, struct whole *w)
{
    struct transfer_reader r;
    struct transfer_item item = {0};
    struct transfer_counts counts = {0};
    struct hl_err err;
    enum transfer_line line;

    transfer_reader_init(&r, x->file);
    int64_t start = 0;
    while ((line = transfer_read(&r, &item, &err)) < TRANSFER_LINE_TRAILER) {
        if (line == TRANSFER_LINE_HEADER && (start || !same_origin(x, item.root)))
            break;
        if (line == TRANSFER_LINE_HEADER)
            w->offset = r.offset;
        else if (line == TRANSFER_LINE_PLACE)
            take_place(w, &counts, item.place, start, r.offset);
        else
            take_record(w, &counts, &item.record, r.offset);
        start = r.offset;
        transfer_item_release(&item);
    }
    transfer_item_release(&item);
    transfer_reader_release(&r);
}

static bool hash_again(struct export_run *x, int64_t len)
{
    char bytes[16384];
    if (fseeko(x->file, 0, SEEK_SET) != 0)
        return false;
    while (len > 0) {
        size_t want = len < (int64_t)sizeof(bytes) ? (size_t)len : sizeof(bytes);
        size_t got = fread(bytes, 1, want, x->file);
        if (!got)
            return false;
        EVP_DigestUpdate(x->hash, bytes, got);
        len -= (int64_t)got;
    }
    return true;
}

static int go_on_or_begin(struct export_run *x)
{
    struct whole w = {0};
    read_part(x, &w);
    if (!w.offset)
        return begin(x);
    if (!hash_again(x, w.offset) || ftruncate(fileno(x->file), w.offset) != 0 ||
        fseeko(x->file, w.offset, SEEK_SET) != 0)
        return broken(x);
    x->counts = w.counts;
    x->resumed = w.counts.records;
    x->place = w.place;
    x->placed = w.placed;
    memcpy(x->after, w.after, sizeof(x->after));
    return CTL_OK;
}

/* --- page by page ------------------------------------------------------------------------ */

static void got_record(const struct transfer_record *r, void *ctx)
{
    struct export_run *x = ctx;
    transfer_line_record(&x->page, r);
    x->pieces = mem_grow(x->pieces, (x->npieces + 1) * sizeof(*x->pieces));
    x->pieces[x->npieces++] = (struct piece){.end = x->page.len,
        .kind = r->kind,
        .blob = r->blob ? mem_strdup(r->blob) : NULL,
        .blob_len = r->blob_len};
}

static void got_page(enum hl_rc rc, const char *next, const struct hl_err *err, void *ctx)
{
    struct export_run *x = ctx;
    if (rc != HL_OK)
        x->err = *err;
    snprintf(x->after, sizeof(x->after), "%s", next);
    session_answered(&x->session);
}

static void got_bytes(
    enum hl_rc rc, const void *data, size_t len, const struct hl_err *err, void *ctx)
{
    struct export_run *x = ctx;
    if (rc != HL_OK)
        x->err = *err;
    buf_clear(&x->blob);
    buf_append(&x->blob, data, len);
    session_answered(&x->session);
}

/* In pieces, before the record that needs it. */
static int copy_blob(struct export_run *x, const struct piece *piece)
{
    int64_t at = 0;
    do {
        char offset[24];
        struct buf line = {0};
        session_asked(&x->session);
        transfer_blob(x->transfer, piece->blob, at, got_bytes, x);
        session_wait(&x->session);
        if (x->err.rc != HL_OK)
            return ctl_fail_err(&x->err);
        if (!x->blob.len)
            return CTL_OK; /* the job was done meanwhile */
        snprintf(offset, sizeof(offset), "%lld", (long long)at);
        const struct transfer_value bytes = {x->blob.data, x->blob.len};
        transfer_line_record(&line, &(struct transfer_record){
                                        .kind = TRANSFER_BLOB,
                                        .texts = {piece->blob, offset, "", ""},
                                        .values = &bytes,
                                        .n = 1
        });
        if (!put_line(x, &line))
            return broken(x);
        at += (int64_t)x->blob.len;
    } while (at < piece->blob_len);
    return CTL_OK;
}

static int put_page(struct export_run *x)
{
    size_t start = 0;
    int code = CTL_OK;
    for (size_t i = 0; i < x->npieces && code == CTL_OK; i++) {
        const struct piece *piece = &x->pieces[i];
        if (piece->blob)
            code = copy_blob(x, piece);
        if (code == CTL_OK && !put(x, x->page.data + start, piece->end - start))
            code = broken(x);
        transfer_count(&x->counts, piece->kind);
        start = piece->end;
    }
    if (code == CTL_OK && fflush(x->file) != 0)
        code = broken(x);
    transfer_progress_show(&x->progress, transfer_jobs(&x->counts) + x->counts.of[TRANSFER_DEAD]);
    return code;
}

static void drop_page(struct export_run *x)
{
    for (size_t i = 0; i < x->npieces; i++)
        free(x->pieces[i].blob);
    x->npieces = 0;
    buf_clear(&x->page);
}

static int copy_place(struct export_run *x)
{
    struct buf line = {0};
    if (!x->placed) {
        transfer_line_place(&line, x->place);
        if (!put_line(x, &line))
            return broken(x);
    }
    do {
        session_asked(&x->session);
        transfer_page(x->transfer, x->place, x->after, got_record, got_page, x);
        session_wait(&x->session);
        int code = x->err.rc == HL_OK ? put_page(x) : ctl_fail_err(&x->err);
        drop_page(x);
        if (code != CTL_OK)
            return code;
    } while (*x->after);
    x->placed = false;
    return CTL_OK;
}

/* --- the end ----------------------------------------------------------------------------- */

/* While nothing moves it has now what it had at first, and it is the same pause. */
static int check_unmoved(struct export_run *x)
{
    struct transfer_manners m;
    struct transfer_holds h;
    if (x->live)
        return CTL_OK;
    int code = transfer_ask_manners(&x->session, &m);
    if (code == CTL_OK)
        code = transfer_ask_holds(&x->session, &h);
    if (code == CTL_OK && (!m.pause || strcmp(m.pause, x->manners.pause) != 0 || m.spools ||
                              memcmp(&h, &x->holds, sizeof(h)) != 0))
        code = ctl_fail(
            CTL_NOT_EMPTY, "the queues moved while they were read; once they rest, run it again");
    transfer_manners_release(&m);
    return code;
}

static bool sync_folder(const char *path)
{
    char *copy = mem_strdup(path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool fine = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    free(copy);
    return fine;
}

/* FILE is whole once it is there. Not every file system can refuse to replace one. */
static bool publish(const struct export_run *x)
{
    if (renameat2(AT_FDCWD, x->part, AT_FDCWD, x->path, RENAME_NOREPLACE) == 0)
        return true;
    return errno == EINVAL && access(x->path, F_OK) != 0 && rename(x->part, x->path) == 0;
}

static int finish(struct export_run *x)
{
    char digest[65];
    struct buf line = {0};
    transfer_hash_hex(x->hash, digest);
    transfer_line_trailer(&line, &x->counts, digest);
    bool fine = put_line(x, &line) && fflush(x->file) == 0 && fsync(fileno(x->file)) == 0 &&
                publish(x) && sync_folder(x->path);
    return fine ? CTL_OK : broken(x);
}

static void report(const struct export_run *x)
{
    const struct transfer_counts *c = &x->counts;
    struct buf b = {0};
    if (x->json) {
        buf_puts(&b, "{\"version\":1");
        json_put_text(&b, "file", x->path);
        json_put_key(&b, "live");
        buf_puts(&b, x->live ? "true" : "false");
        json_put_int(&b, "records", c->records);
        json_put_int(&b, "resumed", x->resumed);
        transfer_put_counts(&b, c);
        buf_putc(&b, '}');
    } else {
        buf_printf(&b,
            "%s: %lld jobs (%lld of them wait for their time), %lld dead letters, %lld refused "
            "webhooks, %lld things remembered",
            x->path, (long long)transfer_jobs(c), (long long)c->of[TRANSFER_LATER],
            (long long)c->of[TRANSFER_DEAD], (long long)c->of[TRANSFER_REJECT],
            (long long)transfer_remembered(c));
    }
    print_line(&b);
    buf_release(&b);
}

/* --- the verb ---------------------------------------------------------------------------- */

static int check_rest(const struct export_run *x)
{
    struct buf why = {0};
    int code = CTL_OK;
    bool moves = transfer_moves(&x->manners, &why);
    if (!moves && !x->live && !x->ignore_silent && x->manners.silent_producers)
        return ctl_fail(CTL_NOT_EMPTY,
            "%lld producers have not been heard of for a minute, and may still bring events to "
            "this "
            "Redis. Nothing was written; --ignore-silent leaves them out",
            (long long)x->manners.silent_producers);
    if (moves && x->live)
        fprintf(stderr,
            "This is a copy, not a move: %s. What is done from now on is in the file all the "
            "same.\n",
            buf_str(&why));
    else if (moves)
        code = ctl_fail(CTL_NOT_EMPTY, "%s. Nothing was written; --live makes a copy all the same",
            buf_str(&why));
    buf_release(&why);
    return code;
}

static int look(struct export_run *x)
{
    int code = transfer_ask_manners(&x->session, &x->manners);
    if (code == CTL_OK)
        code = check_rest(x);
    if (code == CTL_OK)
        code = transfer_ask_holds(&x->session, &x->holds);
    if (code != CTL_OK)
        return code;
    session_asked(&x->session);
    transfer_generation(x->transfer, got_bytes, x);
    session_wait(&x->session);
    buf_append(&x->generation, x->blob.data, x->blob.len);
    return x->err.rc == HL_OK ? CTL_OK : ctl_fail_err(&x->err);
}

static int copy_all(struct export_run *x)
{
    int code = go_on_or_begin(x);
    transfer_progress_init(
        &x->progress, x->quiet, "export", x->holds.change + x->holds.crawl + x->holds.dead);
    for (; code == CTL_OK && x->place < TRANSFER_NPLACES; x->place++)
        code = copy_place(x);
    transfer_progress_end(&x->progress);
    if (code == CTL_OK)
        code = check_unmoved(x);
    return code == CTL_OK ? finish(x) : code;
}

static int do_export(struct export_run *x, const struct config *cfg)
{
    struct hl_err err;
    if (session_open(&x->session, cfg, &err) != HL_OK)
        return ctl_fail_err(&err);
    x->prefix = cfg->queue_prefix;
    x->part = mem_printf("%s.part", x->path);
    x->transfer = transfer_new(x->session.redis, cfg->queue_prefix);
    x->hash = transfer_hash_new();
    int code = look(x);
    if (code == CTL_OK)
        code = open_part(x);
    if (code == CTL_OK)
        code = copy_all(x);
    if (code == CTL_OK)
        report(x);
    if (x->file)
        fclose(x->file);
    session_close(&x->session);
    transfer_free(x->transfer);
    transfer_manners_release(&x->manners);
    EVP_MD_CTX_free(x->hash);
    buf_release(&x->page);
    buf_release(&x->generation);
    buf_release(&x->blob);
    free(x->pieces);
    free(x->part);
    return code;
}

static int run(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&cmd_export, ctl, argc, argv);
    struct export_run x = {0};
    struct config cfg;
    int key;

    while ((key = ctl_next(&args)) != 0) {
        x.live |= key == OPT_LIVE;
        x.quiet |= key == OPT_QUIET;
        x.ignore_silent |= key == OPT_IGNORE_SILENT;
    }
    if (args.done >= 0)
        return args.done;
    if (args.rest != argc - 1 || !*argv[args.rest])
        return ctl_usage_error(&cmd_export, "name the file to write");
    if (!ctl_config(ctl, &cfg))
        return CTL_ERROR;
    x.path = argv[args.rest];
    x.json = args.shared.json;
    int code = do_export(&x, &cfg);
    config_release(&cfg);
    return code;
}
