/* dead_sweep: see dead_sweep.h. */
#include "worker/ctl/dead_sweep.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { AT_ONCE = 100000 }; /* events, for one walk along all letters */

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* --- the walk ---------------------------------------------------------------------------- */

static void got_letters(enum hl_rc rc, const struct queue_letter *letters, size_t n,
    const struct hl_err *err, void *ctx)
{
    struct dead_sweep *sweep = ctx;
    (void)err;
    sweep->got = rc == HL_OK ? n : 0;
    sweep->nfound = 0;
    for (size_t i = 0; i < sweep->got; i++) {
        snprintf(sweep->before, sizeof(sweep->before), "%s", letters[i].entry);
        if (!letters[i].crawl &&
            bsearch(letters[i].id, sweep->ids, sweep->n, sizeof(*sweep->ids), compare))
            snprintf(sweep->found[sweep->nfound++], QUEUE_ENTRY_MAX, "%s", letters[i].entry);
    }
    session_answered(sweep->session);
}

static void dropped(enum hl_rc rc, int64_t moved, bool left, void *ctx)
{
    (void)rc;
    (void)moved;
    (void)left;
    session_answered(ctx);
}

static void drop_found(struct dead_sweep *sweep)
{
    const char *entries[QUEUE_LETTERS_MAX];
    for (size_t i = 0; i < sweep->nfound; i++)
        entries[i] = sweep->found[i];
    if (!sweep->nfound)
        return;
    session_asked(sweep->session);
    queue_letters_drop(sweep->session->queue, entries, sweep->nfound, dropped, sweep->session);
    session_wait(sweep->session);
}

/* The place behind a letter, from where a walk meets that first. */
static void behind(const char *entry, char before[QUEUE_ENTRY_MAX])
{
    char *seq;
    unsigned long long ms = strtoull(entry, &seq, 10);
    snprintf(before, QUEUE_ENTRY_MAX, "%llu-%llu", ms, strtoull(seq + 1, NULL, 10) + 1);
}

static void walk(struct dead_sweep *sweep)
{
    if (*sweep->newest && sweep->n) {
        qsort(sweep->ids, sweep->n, sizeof(*sweep->ids), compare);
        behind(sweep->newest, sweep->before);
        do {
            session_asked(sweep->session);
            queue_letters(
                sweep->session->queue, sweep->before, QUEUE_LETTERS_MAX, got_letters, sweep);
            session_wait(sweep->session);
            drop_found(sweep);
        } while (sweep->got == QUEUE_LETTERS_MAX);
    }
    sweep->n = 0;
}

/* --- from the first event to the last ---------------------------------------------------- */

static void got_newest(enum hl_rc rc, const struct queue_letter *letters, size_t n,
    const struct hl_err *err, void *ctx)
{
    struct dead_sweep *sweep = ctx;
    (void)err;
    if (rc == HL_OK && n)
        snprintf(sweep->newest, sizeof(sweep->newest), "%s", letters[0].entry);
    session_answered(sweep->session);
}

void dead_sweep_begin(struct dead_sweep *sweep, struct session *s)
{
    *sweep = (struct dead_sweep){.session = s};
    session_asked(s);
    queue_letters(s->queue, "", 1, got_newest, sweep);
    session_wait(s);
}

void dead_sweep_note(struct dead_sweep *sweep, const char *event_id)
{
    if (!*sweep->newest || strlen(event_id) != UUID_STRLEN)
        return;
    if (!sweep->ids)
        sweep->ids = mem_array(AT_ONCE, sizeof(*sweep->ids));
    memcpy(sweep->ids[sweep->n++], event_id, UUID_STRLEN + 1);
    if (sweep->n == AT_ONCE)
        walk(sweep);
}

void dead_sweep_end(struct dead_sweep *sweep)
{
    walk(sweep);
    free(sweep->ids);
    sweep->ids = NULL;
}
