/* hooklinectl search: full-text search over the documents. */
#include "worker/ctl/commands.h"

#include "base/json.h"
#include "worker/ctl/listing.h"
#include "worker/ctl/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPT_LIMIT = 1 };
enum { DEFAULT_LIMIT = 10, MAX_LIMIT = 1000, SNIPPET_CHARS = 300 };

/* clang-format off */
static const struct ctl_option options[] = {
    {OPT_LIMIT, "limit", "N", "at most N documents (default 10, at most 1000)"},
    CTL_READER_OPTIONS,
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
    .examples = "hooklinectl search \"price list\" or catalogue\n"
                "hooklinectl search --json --limit 3 heron | jq -r '.documents[].url'\n",
    .options = options,
    .run = run,
};

/* In the order of store_search. */
enum { URL, TITLE, DESCRIPTION, SNIPPET, RANK, SCRAPED_AT, N_COLUMNS };
static const struct column columns[N_COLUMNS] = {
    [URL] = {"url",         NULL, COLUMN_TEXT,  0},
    [TITLE] = {"title",       NULL, COLUMN_TEXT,  0},
    [DESCRIPTION] = {"description", NULL, COLUMN_TEXT,  0},
    [SNIPPET] = {"snippet",     NULL, COLUMN_TEXT,  0},
    [RANK] = {"rank",        NULL, COLUMN_FLOAT, 0},
    [SCRAPED_AT] = {"scraped_at",  NULL, COLUMN_TIME,  0},
};

struct search {
    struct ctl_args *args;
    struct session session;
    const char *words;
    int limit;
};

static void print_json(const struct listing *l)
{
    struct buf b = {0};
    buf_puts(&b, "{\"version\":1,\"documents\":");
    listing_put_json(l, &b);
    buf_putc(&b, '}');
    print_line(&b);
    buf_release(&b);
}

/* Nothing of an empty text. colour: of the line. */
static void put_text(struct buf *b, const char *indent, const char *text, enum colour colour)
{
    struct buf line = {0};
    bool coloured = colour != PLAIN && terminal_colour();
    put_cell(&line, text ? text : "", SNIPPET_CHARS);
    if (line.len)
        buf_printf(b, "%s%s%s%s\n", indent, colour_code(colour, coloured), line.data,
            colour_code(PLAIN, coloured));
    buf_release(&line);
}

/* A document is a paragraph: its texts are too long for a table. */
static void print_documents(const struct listing *l)
{
    struct buf b = {0};
    for (size_t i = 0; i < listing_rows(l); i++) {
        const char *title = listing_cell(l, i, TITLE);
        if (i)
            buf_putc(&b, '\n');
        put_text(&b, "", title && *title ? title : "(no title)", BOLD);
        put_text(&b, "  ", listing_cell(l, i, URL), CYAN);
        put_text(&b, "  ", listing_cell(l, i, SNIPPET), PLAIN);
    }
    fputs(buf_str(&b), stdout);
    buf_release(&b);
}

static int show(void *ctx)
{
    struct search *s = ctx;
    struct answer a = {.session = &s->session};
    struct listing l = {.columns = columns, .n = N_COLUMNS};
    store_search(s->session.store, s->words, s->limit, answer_keep, answer_asked(&a));
    int code = answer_wait(&a);
    if (code == CTL_OK)
        listing_add_rows(&l, a.rows);
    answer_release(&a);
    if (code == CTL_OK && s->args->shared.json)
        print_json(&l);
    else if (code == CTL_OK)
        print_documents(&l);
    if (code == CTL_OK && !listing_rows(&l))
        code = ctl_fail(CTL_NOT_EMPTY, "no document holds these words");
    listing_release(&l);
    return code;
}

static int run(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&cmd_search, ctl, argc, argv);
    struct search s = {.args = &args, .limit = DEFAULT_LIMIT};
    struct buf words = {0};
    int key;

    while ((key = ctl_next(&args)) != 0)
        if (key == OPT_LIMIT && !ctl_count(&args, "limit", MAX_LIMIT, &s.limit))
            break;
    if (args.done >= 0)
        return args.done;
    if (args.rest >= argc)
        return ctl_usage_error(&cmd_search, "give the words to search for");
    for (int i = args.rest; i < argc; i++)
        buf_printf(&words, i > args.rest ? " %s" : "%s", argv[i]);
    s.words = buf_str(&words);
    int code = session_watch(&args, &s.session, show, &s);
    buf_release(&words);
    return code;
}
