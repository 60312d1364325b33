/* hooklinectl search: full-text search over the documents. */
#include "worker/ctl/commands.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "worker/ctl/session.h"

#include <stdio.h>
#include <stdlib.h>

enum { OPT_JSON = 1, OPT_LIMIT };
enum { DEFAULT_LIMIT = 10, MAX_LIMIT = 1000, COLUMNS = 6, SNIPPET_CHARS = 300 };

/* clang-format off */
static const struct ctl_option options[] = {
    {OPT_JSON, "json", NULL, "print one JSON object per document"},
    {OPT_LIMIT, "limit", "N", "at most N documents (default 10, at most 1000)"},
    {0},
};
/* clang-format on */

static ctl_run_fn run;

const struct ctl_command cmd_search = {
    .name = "search",
    .summary = "search the documents",
    .words = "WORDS...",
    .about =
        "Finds documents that hold all the words; \"quoted phrases\", or, and -word work as in\n"
        "web searches. The best match comes first. Exits with 2 when nothing was found.\n",
    .examples = "hooklinectl search \"price list\" or catalogue\n",
    .options = options,
    .run = run,
};

struct search {
    struct session session;
    struct hl_err err;
    bool json;
    int found;
};

static void print_json(const PGresult *rows, int i)
{
    static const char *const keys[COLUMNS] = {
        "url", "title", "description", "snippet", "rank", "scraped_at"};
    struct buf b = {0};
    buf_putc(&b, '{');
    for (int k = 0; k < COLUMNS; k++) {
        json_put_key(&b, keys[k]);
        if (k == 4)
            buf_puts(&b, db_text(rows, i, k));
        else
            json_put_string(&b, db_text(rows, i, k));
    }
    buf_putc(&b, '}');
    puts(buf_str(&b));
    buf_release(&b);
}

static void print_line(const char *indent, const char *text)
{
    struct buf b = {0};
    text_one_line(text, SNIPPET_CHARS, &b);
    if (b.len)
        printf("%s%s\n", indent, b.data);
    buf_release(&b);
}

static void print_text(const PGresult *rows, int i)
{
    if (i)
        puts("");
    print_line("", db_text(rows, i, 1)[0] ? db_text(rows, i, 1) : "(no title)");
    print_line("  ", db_text(rows, i, 0));
    print_line("  ", db_text(rows, i, 3));
}

static void found(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct search *s = ctx;
    if (rc != HL_OK)
        s->err = *err;
    s->found = rc == HL_OK ? PQntuples(rows) : 0;
    for (int i = 0; i < s->found; i++) {
        if (s->json)
            print_json(rows, i);
        else
            print_text(rows, i);
    }
    session_answered(&s->session);
}

static int search(const struct config *cfg, const char *words, int limit, bool json)
{
    struct search s = {.json = json};
    struct hl_err err;

    if (session_open(&s.session, cfg, &err) != HL_OK)
        return ctl_fail_err(&err);
    session_asked(&s.session);
    store_search(s.session.store, words, limit, found, &s);
    session_wait(&s.session);
    session_close(&s.session);
    if (s.err.rc != HL_OK)
        return ctl_fail_err(&s.err);
    if (!s.found)
        return ctl_fail(CTL_NOT_EMPTY, "no document holds these words");
    return CTL_OK;
}

static int run(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&cmd_search, ctl, argc, argv);
    struct buf words = {0};
    bool json = false;
    int limit = DEFAULT_LIMIT;
    int key;

    while ((key = ctl_next(&args)) != 0) {
        json |= key == OPT_JSON;
        if (key == OPT_LIMIT && !ctl_count(&args, "limit", MAX_LIMIT, &limit))
            break;
    }
    if (args.done >= 0)
        return args.done;
    if (args.rest >= argc)
        return ctl_usage_error(&cmd_search, "give the words to search for");
    for (int i = args.rest; i < argc; i++)
        buf_printf(&words, i > args.rest ? " %s" : "%s", argv[i]);
    struct config cfg;
    if (!ctl_config(ctl, &cfg)) {
        buf_release(&words);
        return CTL_ERROR;
    }
    int code = search(&cfg, buf_str(&words), limit, json);
    config_release(&cfg);
    buf_release(&words);
    return code;
}
