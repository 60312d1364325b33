/* drain_show: what people and programs see of a drain: progress, then the proof or what is left. */
#include "worker/ctl/drain.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "base/timestamp.h"
#include "worker/ctl/listing.h"

#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { BAR = 20, LINE_EVERY_MS = 5000 };

static const char *const queue_names[] = {[QUEUE_CHANGE] = "change", [QUEUE_CRAWL] = "crawl"};

const char *drain_state_name(enum drain_state s)
{
    static const char *const names[] = {
        [DRAIN_LOOKING] = "looking",
        [DRAIN_FENCING] = "fencing",
        [DRAIN_DRAINING] = "draining",
        [DRAIN_STUCK] = "stuck",
        [DRAIN_UNREACHABLE] = "unreachable",
        [DRAIN_SETTLING] = "settling",
        [DRAIN_EMPTY] = "empty",
        [DRAIN_NOT_EMPTY] = "not_empty",
        [DRAIN_TIMEOUT] = "timeout",
        [DRAIN_INTERRUPTED] = "interrupted",
    };
    return names[s];
}

/* --- progress ---------------------------------------------------------------------------- */

static void put_bar(struct buf *b, int64_t done, int64_t total)
{
    int full = total ? (int)(done * BAR / total) : BAR;
    buf_putc(b, '[');
    for (int i = 0; i < BAR; i++)
        buf_putc(b, i < full ? '#' : '.');
    buf_puts(b, "] ");
}

static void put_labelled(struct buf *b, const char *label, int64_t ms)
{
    buf_puts(b, label);
    put_duration(b, ms > 0 ? ms : 0);
}

/* What is in the way, or takes its time. */
static void put_blocks(struct buf *b, const struct drain *d)
{
    const struct census *c = &d->now;
    const char *stuck = NULL;
    for (size_t i = 0; i < c->nleft && !stuck; i++)
        stuck = c->left[i].stuck;
    if (c->rc != HL_OK)
        buf_printf(b, "; %s", c->err.msg);
    if (stuck)
        buf_printf(b, "; stuck: %s", stuck);
    for (int k = 0; k < 2; k++)
        if (c->paused[k] && d->ask.queues[k] && !stuck)
            buf_printf(b, "; %s is paused", queue_names[k]);
    if (c->upstream) {
        buf_printf(b, "; circuit of %s open", c->upstream);
        put_labelled(b, " for ", c->upstream_ms);
    }
    if (c->later && d->ask.retries != RETRIES_IGNORE) {
        buf_printf(b, "; %lld for a later attempt", (long long)c->later);
        put_labelled(b, ", the next in ", (c->next_due_us - c->at_us) / 1000);
    }
    if (d->compared && d->has_first && c->heard_of)
        buf_printf(b, "; waits for word of %s", c->heard_of);
    if (c->rows_oldest_ms > 0)
        put_labelled(b, "; oldest ", c->rows_oldest_ms);
}

static void put_progress(struct buf *b, const struct drain *d)
{
    int64_t total = d->done + d->now.events;
    buf_printf(b, "%s, %lld of %lld done", drain_state_name(d->state), (long long)d->done,
        (long long)total);
    if (d->rate >= 0.05)
        buf_printf(b, ", %.1f/s", d->rate);
    if (d->rate >= 0.05 && d->now.events)
        put_labelled(b, ", about ", (int64_t)((double)d->now.events / d->rate * 1000));
    put_blocks(b, d);
}

/* Of the terminal that the bar is on; standard output may be elsewhere. */
static int bar_width(void)
{
    struct winsize size;
    bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
    return known ? size.ws_col - 1 : 79;
}

static void progress_bar(struct drain *d)
{
    struct buf line = {0}, shown = {0};
    put_bar(&line, d->done, d->done + d->now.events);
    put_progress(&line, d);
    put_cell(&shown, buf_str(&line), bar_width());
    fprintf(stderr, "\r\033[K%s", buf_str(&shown));
    d->bar = true;
    buf_release(&line);
    buf_release(&shown);
}

static void progress_line(struct drain *d)
{
    struct buf line = {0};
    put_progress(&line, d);
    text_tame(line.data, line.len);
    fprintf(stderr, "%s\n", buf_str(&line));
    buf_release(&line);
}

static void put_state(struct buf *b, const struct drain *d)
{
    buf_puts(b, "{\"version\":1");
    json_put_text(b, "state", drain_state_name(d->state));
    json_put_int(b, "done", d->done);
    json_put_int(b, "events", d->now.events);
    json_put_key(b, "rate");
    json_put_2dp(b, d->rate);
    json_put_key(b, "left");
    census_put_left_json(&d->now, b);
    json_put_text(b, "error", d->now.rc == HL_OK ? NULL : d->now.err.msg);
}

static void progress_json(const struct drain *d)
{
    struct buf b = {0};
    put_state(&b, d);
    buf_putc(&b, '}');
    print_line(&b);
    fflush(stdout);
}

void drain_progress(struct drain *d)
{
    int64_t now = clock_mono_ms();
    bool news = d->state != d->said;
    if (d->quiet)
        return;
    if (d->args->shared.json) {
        if (news)
            progress_json(d);
    } else if (isatty(STDERR_FILENO)) {
        progress_bar(d);
    } else if (news || now - d->said_ms >= LINE_EVERY_MS) {
        progress_line(d);
        d->said_ms = now;
    }
    d->said = d->state;
}

/* --- the end ----------------------------------------------------------------------------- */

static void put_proof(struct buf *b, const struct drain *d)
{
    char at[TIMESTAMP_ISO_LEN + 1];
    json_put_key(b, "proof");
    if (d->state != DRAIN_EMPTY) {
        buf_puts(b, "null");
        return;
    }
    buf_puts(b, "{\"reads\":[");
    timestamp_iso(d->first.at_us, at);
    json_put_string(b, at);
    buf_putc(b, ',');
    timestamp_iso(d->now.at_us, at);
    json_put_string(b, at);
    buf_putc(b, ']');
    json_put_key(b, "fingerprint");
    buf_puts(b, d->now.fingerprint);
    json_put_int(b, "spool_folders", (int64_t)d->now.folders_read);
    json_put_int(b, "producers", d->now.producers);
    json_put_int(b, "producers_ignored", d->now.producers_silent);
    buf_putc(b, '}');
}

static void put_end(struct buf *b, const struct drain *d)
{
    static const char *const retries[] = {
        [RETRIES_WAIT] = "wait", [RETRIES_NOW] = "now", [RETRIES_IGNORE] = "ignore"};
    put_state(b, d);
    json_put_key(b, "empty");
    buf_puts(b, d->state == DRAIN_EMPTY ? "true" : "false");
    json_put_key(b, "intake");
    buf_putc(b, '{');
    for (int k = 0; k < 2; k++)
        if (d->ask.queues[k])
            json_put_text(b, queue_names[k],
                d->now.rc != HL_OK                ? NULL
                : d->now.fenced[k] && !d->unfence ? "fenced"
                                                  : "open");
    buf_putc(b, '}');
    json_put_text(b, "retries", retries[d->ask.retries]);
    json_put_int(b, "retries_ignored", d->now.ignored);
    json_put_int(b, "hastened", d->hastened);
    json_put_int(b, "affected", d->fences + d->hastened);
    json_put_int(b, "dead_letters", d->now.dead);
    json_put_int(b, "crawls_to_ask", d->now.crawls_to_ask);
    put_proof(b, d);
    buf_putc(b, '}');
}

static void say_intake(const struct drain *d)
{
    for (int k = 0; k < 2; k++) {
        if (!d->ask.queues[k])
            continue;
        if (d->now.fenced[k] && !d->unfence)
            printf("  intake    %s: fenced; `hooklinectl drain --unfence --queue %s` lifts it\n",
                queue_names[k], queue_names[k]);
        else
            printf(
                "  intake    %s: open; what was accepted since is not spoken of\n", queue_names[k]);
    }
}

static void say_empty(const struct drain *d)
{
    struct buf b = {0};
    put_local_time(&b, d->first.at_us);
    buf_puts(&b, " and ");
    put_local_time(&b, d->now.at_us);
    printf("Empty: nothing was left on two looks, and nothing happened between them.\n"
           "  looked    %s\n"
           "  queues    %s%s\n",
        buf_str(&b), d->ask.queues[QUEUE_CHANGE] ? "change " : "",
        d->ask.queues[QUEUE_CRAWL] ? "crawl" : "");
    say_intake(d);
    printf("  spools    %zu of %zu folders are here, and empty; %lld producers known",
        d->now.folders_read, d->ask.nspools, (long long)d->now.producers);
    if (d->now.producers_silent)
        printf(", of which %lld silent ones were left out (--ignore-silent)",
            (long long)d->now.producers_silent);
    putchar('\n');
    if (d->now.crawls_to_ask && d->ask.queues[QUEUE_CRAWL])
        printf(
            "  crawls    Firecrawl will still be asked about %lld: pages that it never sent become "
            "jobs\n",
            (long long)d->now.crawls_to_ask);
    if (d->now.ignored)
        printf("  retries   %lld wait for a later attempt and were not counted "
               "(--include-retries=ignore)\n",
            (long long)d->now.ignored);
    if (d->now.dead)
        printf("  dead      %lld dead letters stay where they are\n", (long long)d->now.dead);
    buf_release(&b);
}

static void say_left(const struct drain *d)
{
    struct buf b = {0};
    buf_puts(&b, "Not empty:\n");
    census_put_left(&d->now, &b);
    print_tamed(&b);
    if (!d->now.nleft)
        puts("  nothing was left when it was last looked at; a second look is missing");
}

void drain_progress_ends(struct drain *d)
{
    if (d->bar)
        fputs("\r\033[K", stderr);
    d->bar = false;
}

void drain_report(struct drain *d)
{
    if (d->args->shared.json) {
        struct buf b = {0};
        put_end(&b, d);
        print_line(&b);
    } else if (d->state == DRAIN_EMPTY) {
        say_empty(d);
    } else if (d->now.rc == HL_OK) {
        say_left(d);
    }
    if (!d->args->shared.json && d->state != DRAIN_EMPTY && d->fence && !d->unfence)
        puts("The intake stays fenced; `hooklinectl resume --intake` opens it.");
    fflush(stdout);
}
