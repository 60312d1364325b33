/* hooklinectl queues: what each queue holds, and how fast it moves. */
#include "worker/ctl/commands.h"

#include "base/clock.h"
#include "base/json.h"
#include "worker/ctl/census.h"
#include "worker/ctl/listing.h"

#include <stdio.h>
#include <string.h>

enum { RATE_MS = 1000 }; /* between two looks, when there was none before */

/* clang-format off */
static const struct ctl_option options[] = {
    CTL_READER_OPTIONS,
    {0},
};

static const struct column columns[] = {
    {"queue",   "QUEUE",   COLUMN_TEXT,     0},
    {"ready",   "READY",   COLUMN_INT,      0},
    {"pending", "PENDING", COLUMN_INT,      0},
    {"later",   "LATER",   COLUMN_INT,      0},
    {"oldest_ms", "OLDEST", COLUMN_DURATION, 0},
    {"in_per_second",  "IN/S",  COLUMN_FLOAT, 0},
    {"out_per_second", "OUT/S", COLUMN_FLOAT, 0},
    {"paused",  "PAUSED",  COLUMN_BOOL,     0},
    {"fenced",  "FENCED",  COLUMN_BOOL,     0},
    {"workers", "WORKERS", COLUMN_INT,      0},
};
/* clang-format on */
enum { NCOLUMNS = sizeof(columns) / sizeof(*columns) };

static ctl_run_fn run;

const struct ctl_command cmd_queues = {
    .name = "queues",
    .summary = "show what each queue holds, and how fast it moves",
    .about =
        "Shows for each queue: jobs ready in Redis, pending (a worker has them) and waiting for\n"
        "later, how old the oldest that is not done is, how many come and go in a second\n"
        "(what is put back comes again), whether it is paused or fenced, and the workers that\n"
        "take jobs. Dead letters of both are counted together. It looks twice, a second apart.\n",
    .examples = "hooklinectl queues\n"
                "hooklinectl queues --watch=5\n"
                "hooklinectl queues --json | jq '.queues[] | select(.paused)'\n",
    .options = options,
    .run = run,
};

static const char *const queue_names[] = {[QUEUE_CHANGE] = "change", [QUEUE_CRAWL] = "crawl"};

struct queues {
    const struct config *cfg;
    bool json;
    int64_t before_ms; /* of the look before; 0 = none yet */
    struct {
        int64_t added, length;
    } before[2];
};

static void remember(struct queues *q, const struct census *c)
{
    q->before_ms = clock_mono_ms();
    for (int k = 0; k < 2; k++) {
        q->before[k].added = c->numbers[k].added;
        q->before[k].length = c->numbers[k].length;
    }
}

struct cell {
    char text[32];
};

static struct cell number(int64_t n)
{
    struct cell c = {""};
    if (n >= 0)
        snprintf(c.text, sizeof(c.text), "%lld", (long long)n);
    return c;
}

/* Nothing where it cannot be told: an old Redis, or one that was emptied in between. */
static struct cell rate(int64_t n, int64_t ms, bool known)
{
    struct cell c = {""};
    if (known && n >= 0 && ms > 0)
        snprintf(c.text, sizeof(c.text), "%.1f", (double)n * 1000 / (double)ms);
    return c;
}

static void add_queue(
    struct listing *l, const struct queues *q, const struct census *c, enum queue_kind k)
{
    const struct queue_tally_numbers *n = &c->numbers[k];
    int64_t ms = clock_mono_ms() - q->before_ms;
    int64_t in = n->added - q->before[k].added;
    int64_t out = in - (n->length - q->before[k].length);
    int64_t oldest = k == QUEUE_CHANGE && c->rows_oldest_ms >= 0 ? c->rows_oldest_ms : n->oldest_ms;
    bool known = n->added >= 0 && q->before[k].added >= 0;
    int64_t ready = n->length - n->pending;

    listing_add(
        l, (const char *[NCOLUMNS]){queue_names[k], number(ready > 0 ? ready : 0).text,
               number(n->pending).text, number(n->later).text, number(oldest).text,
               rate(in, ms, known).text, rate(out, ms, known).text, c->paused[k] ? "t" : "f",
               c->fenced[k] ? "t" : "f", number(c->workers.alive).text});
}

static void print(const struct queues *q, const struct census *c)
{
    struct listing l = {.columns = columns, .n = NCOLUMNS};
    struct buf b = {0};
    add_queue(&l, q, c, QUEUE_CHANGE);
    add_queue(&l, q, c, QUEUE_CRAWL);
    if (q->json) {
        buf_puts(&b, "{\"version\":1,\"queues\":");
        listing_put_json(&l, &b);
        json_put_int(&b, "dead_letters", c->dead);
        buf_putc(&b, '}');
        print_line(&b);
    } else {
        listing_print(&l);
        printf("\n%lld dead letters\n", (long long)c->dead);
    }
    listing_release(&l);
    buf_release(&b);
}

static int look(struct session *s, const struct queues *q, struct census *c)
{
    const struct census_ask ask = {
        .queues = {true, true},
          .lease_ms = q->cfg->lease_ms
    };
    census_release(c);
    census_take(s, &ask, c);
    return c->rc == HL_OK ? CTL_OK : ctl_fail_err(&c->err);
}

static int show(void *ctx)
{
    struct queues *q = ctx;
    struct session s;
    struct census c = {0};
    struct hl_err err;

    if (session_open(&s, q->cfg, &err) != HL_OK)
        return ctl_fail_err(&err);
    int code = look(&s, q, &c);
    if (code == CTL_OK && !q->before_ms) {
        remember(q, &c);
        session_pause(&s, RATE_MS);
        code = look(&s, q, &c);
    }
    if (code == CTL_OK) {
        print(q, &c);
        remember(q, &c);
    }
    census_release(&c);
    session_close(&s);
    return code;
}

static int run(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&cmd_queues, ctl, argc, argv);
    struct config cfg;
    if (ctl_parse(&args) >= 0)
        return args.done;
    if (!ctl_config(ctl, &cfg))
        return CTL_ERROR;
    struct queues q = {.cfg = &cfg, .json = args.shared.json};
    int code = ctl_watch(&args.shared, show, &q);
    config_release(&cfg);
    return code;
}
